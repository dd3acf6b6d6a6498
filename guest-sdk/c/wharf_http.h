// Requests to the world outside, for worlds with `include
// wharf:websocket/outbound-http@0.1.0`. Include it behind wharf.h. A call waits
// until all of the response is there; meanwhile the instance serves nobody else.
#ifndef WHARF_HTTP_H
#define WHARF_HTTP_H

#include <strings.h>

// Headers, or trailers: names and values, ended by a pair of NULLs.
typedef struct {
    const char *name;
    const char *value;
} wharf_header_t;

typedef struct {
    // "GET" if it is NULL.
    const char *method;
    // https://host:port/path?query, or http.
    const char *url;
    const wharf_header_t *headers;
    // With body_len bytes; none if it is NULL.
    const uint8_t *body;
    size_t body_len;
    const wharf_header_t *trailers;
} wharf_request_t;

typedef wasi_http_types_list_tuple2_field_name_field_value_t wharf_fields_t;

typedef struct {
    // 0 if there is no response; then `error` says why.
    uint16_t status;
    // Of wasi:http, such as WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED.
    uint8_t error;
    wharf_fields_t headers;
    wharf_fields_t trailers;
    // With a zero behind it.
    uint8_t *body;
    size_t body_len;
} wharf_response_t;

static inline void wharf_response_free(wharf_response_t *response) {
    wasi_http_types_list_tuple2_field_name_field_value_free(&response->headers);
    wasi_http_types_list_tuple2_field_name_field_value_free(&response->trailers);
    free(response->body);
    *response = (wharf_response_t){0};
}

// The first value of a header, as a copy with a zero at its end, or NULL; free() it.
static inline char *wharf_field(const wharf_fields_t *fields, const char *name) {
    for (size_t i = 0; i < fields->len; i++) {
        const wasi_http_types_field_name_t *key = &fields->ptr[i].f0;
        const wasi_http_types_field_value_t *value = &fields->ptr[i].f1;
        if (key->len == strlen(name) && !strncasecmp((const char *)key->ptr, name, key->len)) {
            return wharf_copy(value->ptr, value->len);
        }
    }
    return NULL;
}

static inline bool wharf_make_fields(const wharf_header_t *headers, wasi_http_types_own_fields_t *made) {
    size_t count = 0;
    while (headers && headers[count].name) count++;
    wharf_fields_t list = {malloc((count + 1) * sizeof(*list.ptr)), count};
    if (!list.ptr) abort();
    for (size_t i = 0; i < count; i++) {
        list.ptr[i].f0 = wharf_text(headers[i].name);
        list.ptr[i].f1.ptr = (uint8_t *)headers[i].value;
        list.ptr[i].f1.len = strlen(headers[i].value);
    }
    wasi_http_types_header_error_t error;
    bool is_made = wasi_http_types_static_fields_from_list(&list, made, &error);
    free(list.ptr);
    return is_made;
}

// What write() and read() answer: a code of wasi:http, or -1 if all went well.
static inline int wharf_stream_code(wasi_io_streams_stream_error_t *error) {
    if (error->tag == WASI_IO_STREAMS_STREAM_ERROR_CLOSED) return -1;
    wasi_http_types_error_code_t code;
    int found = WASI_HTTP_TYPES_ERROR_CODE_HTTP_PROTOCOL_ERROR;
    wasi_io_error_own_error_t failed = error->val.last_operation_failed;
    if (wasi_http_types_http_error_code(wasi_io_error_borrow_error(failed), &code)) {
        found = code.tag;
        wasi_http_types_error_code_free(&code);
    }
    wasi_io_error_error_drop_own(failed);
    return found;
}

static inline int wharf_write_body(wasi_http_types_own_outgoing_body_t body, const wharf_request_t *asked) {
    // What one write may hold (wasi:io/streams).
    const size_t piece_max = 4096;
    wasi_io_streams_own_output_stream_t stream;
    if (!wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(body), &stream)) {
        return WASI_HTTP_TYPES_ERROR_CODE_HTTP_PROTOCOL_ERROR;
    }
    int code = -1;
    for (size_t at = 0; at < asked->body_len && code < 0; at += piece_max) {
        size_t left = asked->body_len - at;
        wharf_bytes_t piece = {(uint8_t *)asked->body + at, left < piece_max ? left : piece_max};
        wasi_io_streams_stream_error_t error;
        if (!wasi_io_streams_method_output_stream_blocking_write_and_flush(
                wasi_io_streams_borrow_output_stream(stream), &piece, &error)) {
            code = wharf_stream_code(&error);
            if (code < 0) code = WASI_HTTP_TYPES_ERROR_CODE_HTTP_PROTOCOL_ERROR;
        }
    }
    wasi_io_streams_output_stream_drop_own(stream);
    wasi_http_types_own_fields_t trailers;
    if (code >= 0) {
        wasi_http_types_outgoing_body_drop_own(body);
        return code;
    }
    if (asked->trailers && !wharf_make_fields(asked->trailers, &trailers)) {
        wasi_http_types_outgoing_body_drop_own(body);
        return WASI_HTTP_TYPES_ERROR_CODE_HTTP_PROTOCOL_ERROR;
    }
    wasi_http_types_error_code_t error;
    if (!wasi_http_types_static_outgoing_body_finish(body, asked->trailers ? &trailers : NULL, &error)) {
        code = error.tag;
        wasi_http_types_error_code_free(&error);
    }
    return code;
}

// Reads a response to its end.
static inline int wharf_read_response(wasi_http_types_own_incoming_response_t came, wharf_response_t *response) {
    // What one read fetches.
    const uint64_t piece_max = 64 * 1024;
    wasi_http_types_borrow_incoming_response_t head = wasi_http_types_borrow_incoming_response(came);
    response->status = wasi_http_types_method_incoming_response_status(head);
    wasi_http_types_own_fields_t fields = wasi_http_types_method_incoming_response_headers(head);
    wasi_http_types_method_fields_entries(wasi_http_types_borrow_fields(fields), &response->headers);
    wasi_http_types_fields_drop_own(fields);
    wasi_http_types_own_incoming_body_t body;
    wasi_io_streams_own_input_stream_t stream;
    // Both are given once, and this is the first time.
    if (!wasi_http_types_method_incoming_response_consume(head, &body)) abort();
    if (!wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(body), &stream)) abort();
    wasi_http_types_incoming_response_drop_own(came);
    wasi_io_streams_stream_error_t error;
    wharf_bytes_t piece;
    response->body = (uint8_t *)wharf_copy(NULL, 0);
    while (wasi_io_streams_method_input_stream_blocking_read(
            wasi_io_streams_borrow_input_stream(stream), piece_max, &piece, &error)) {
        uint8_t *grown = realloc(response->body, response->body_len + piece.len + 1);
        if (!grown) abort();
        response->body = grown;
        if (piece.len) memcpy(grown + response->body_len, piece.ptr, piece.len);
        response->body_len += piece.len;
        grown[response->body_len] = 0;
        WHARF_NAME(list_u8_free)(&piece);
    }
    wasi_io_streams_input_stream_drop_own(stream);
    int code = wharf_stream_code(&error);
    if (code >= 0) {
        wasi_http_types_incoming_body_drop_own(body);
        return code;
    }
    wasi_http_types_own_future_trailers_t future = wasi_http_types_static_incoming_body_finish(body);
    wasi_http_types_borrow_future_trailers_t waiting = wasi_http_types_borrow_future_trailers(future);
    wasi_io_poll_own_pollable_t pollable = wasi_http_types_method_future_trailers_subscribe(waiting);
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(pollable));
    wasi_io_poll_pollable_drop_own(pollable);
    wasi_http_types_result_result_option_own_trailers_error_code_void_t trailers;
    if (wasi_http_types_method_future_trailers_get(waiting, &trailers) && !trailers.is_err) {
        if (trailers.val.ok.is_err) {
            code = trailers.val.ok.val.err.tag;
            wasi_http_types_error_code_free(&trailers.val.ok.val.err);
        } else if (trailers.val.ok.val.ok.is_some) {
            fields = trailers.val.ok.val.ok.val;
            wasi_http_types_method_fields_entries(wasi_http_types_borrow_fields(fields), &response->trailers);
            wasi_http_types_fields_drop_own(fields);
        }
    }
    wasi_http_types_future_trailers_drop_own(future);
    return code;
}

static inline void wharf_set_method(wasi_http_types_borrow_outgoing_request_t request, const char *name) {
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    wasi_http_types_method_t method = {.tag = WASI_HTTP_TYPES_METHOD_OTHER};
    method.val.other = wharf_text(name);
    for (uint8_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (!strcmp(name, known[i])) method.tag = i;
    }
    wasi_http_types_method_outgoing_request_set_method(request, &method);
}

// Sends a request and fills in the response; true if there is one. Free it in
// either case.
static inline bool wharf_fetch(const wharf_request_t *asked, wharf_response_t *response) {
    *response = (wharf_response_t){.error = WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_URI_INVALID};
    bool is_plain = !strncmp(asked->url, "http://", 7);
    if (!is_plain && strncmp(asked->url, "https://", 8)) return false;
    char *authority = wharf_copy((const uint8_t *)asked->url + (is_plain ? 7 : 8),
                                 strlen(asked->url) - (is_plain ? 7 : 8));
    size_t end = strcspn(authority, "/?#");
    bool has_path = authority[end] && authority[end] != '#';
    char *path = wharf_join(has_path ? authority + end : "/", NULL);
    authority[end] = 0;
    path[strcspn(path, "#")] = 0;
    int code = WASI_HTTP_TYPES_ERROR_CODE_HTTP_PROTOCOL_ERROR;
    wasi_http_types_own_fields_t headers;
    if (wharf_make_fields(asked->headers, &headers)) {
        wasi_http_types_own_outgoing_request_t request = wasi_http_types_constructor_outgoing_request(headers);
        wasi_http_types_borrow_outgoing_request_t making = wasi_http_types_borrow_outgoing_request(request);
        wasi_http_types_scheme_t scheme = {.tag = is_plain ? WASI_HTTP_TYPES_SCHEME_HTTP : WASI_HTTP_TYPES_SCHEME_HTTPS};
        wharf_text_t host = wharf_text(authority), way = wharf_text(path);
        wharf_set_method(making, asked->method ? asked->method : "GET");
        wasi_http_types_method_outgoing_request_set_scheme(making, &scheme);
        wasi_http_types_method_outgoing_request_set_authority(making, &host);
        wasi_http_types_method_outgoing_request_set_path_with_query(making, &way);
        bool has_body = asked->body || asked->trailers;
        wasi_http_types_own_outgoing_body_t body;
        if (has_body && !wasi_http_types_method_outgoing_request_body(making, &body)) abort();
        wasi_http_types_own_future_incoming_response_t future;
        wasi_http_types_error_code_t error;
        if (!wasi_http_outgoing_handler_handle(request, NULL, &future, &error)) {
            code = error.tag;
            wasi_http_types_error_code_free(&error);
            if (has_body) wasi_http_types_outgoing_body_drop_own(body);
        } else {
            code = has_body ? wharf_write_body(body, asked) : -1;
            wasi_http_types_borrow_future_incoming_response_t waiting = wasi_http_types_borrow_future_incoming_response(future);
            wasi_http_types_result_result_own_incoming_response_error_code_void_t came;
            if (code < 0) {
                wasi_io_poll_own_pollable_t pollable = wasi_http_types_method_future_incoming_response_subscribe(waiting);
                wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(pollable));
                wasi_io_poll_pollable_drop_own(pollable);
                // It is ready, and taken once.
                if (!wasi_http_types_method_future_incoming_response_get(waiting, &came) || came.is_err) abort();
                if (came.val.ok.is_err) {
                    code = came.val.ok.val.err.tag;
                    wasi_http_types_error_code_free(&came.val.ok.val.err);
                } else {
                    code = wharf_read_response(came.val.ok.val.ok, response);
                }
            }
            wasi_http_types_future_incoming_response_drop_own(future);
        }
    }
    free(authority);
    free(path);
    if (code >= 0) {
        response->status = 0;
        response->error = (uint8_t)code;
    }
    return code < 0;
}

// What a code means here, for a person.
static inline const char *wharf_http_error(uint8_t code) {
    switch (code) {
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED: return "the route was not granted this host and port";
    case WASI_HTTP_TYPES_ERROR_CODE_DESTINATION_IP_PROHIBITED: return "the host's addresses are private, which the route was not granted";
    case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_LIMIT_REACHED: return "the tenant has as many connections as it may have";
    case WASI_HTTP_TYPES_ERROR_CODE_DNS_ERROR: return "the host has no address";
    case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_REFUSED: return "nobody listens at this host and port";
    case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_TIMEOUT: return "connecting took too long";
    case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_READ_TIMEOUT: return "no response began in time";
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_RESPONSE_TIMEOUT: return "the response was not complete in time";
    case WASI_HTTP_TYPES_ERROR_CODE_TLS_CERTIFICATE_ERROR: return "the host's certificate is not trusted";
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_URI_INVALID: return "no address such as https://host/path";
    default: return "the request failed";
    }
}

#endif
