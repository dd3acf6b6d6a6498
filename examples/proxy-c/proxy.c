// A window to one other server, as examples/proxy in Rust: what the client asks
// for is fetched from an upstream that the operator chose, over HTTP or over a
// WebSocket.
//
// | from the client | to the client |
// | --- | --- |
// | `get PATH` | `STATUS`, an empty line, and the body |
// | `open PATH` | `open`; from now on the two talk to each other, until one of them closes |
// | (anything else) | what to say instead |
#include "proxy.h"
#define WHARF_WORLD proxy
#include <wharf.h>
#include <wharf_http.h>

// One instance for each client. No session has the number 0.
static wharf_session_t client, upstream;

// What the operator wrote for a key, or NULL; free() it.
static char *setting(const char *name) {
    wharf_text_t key = wharf_text(name);
    proxy_option_string_t value;
    wasi_config_store_error_t error;
    if (!wasi_config_store_get(&key, &value, &error)) {
        wasi_config_store_error_free(&error);
        return NULL;
    }
    if (!value.is_some) return NULL;
    char *copy = wharf_copy(value.val.ptr, value.val.len);
    wharf_text_free(&value.val);
    return copy;
}

// `Bearer TOKEN`, if there is one; free() it.
static char *authorization(void) {
    char *token = setting("token");
    if (!token) return NULL;
    char *value = wharf_join("Bearer ", token, NULL);
    free(token);
    return value;
}

static char *refused(const char *path, const char *why) {
    char *line = wharf_join(path, ": ", why, NULL);
    wharf_text_t context = wharf_text("upstream"), message = wharf_text(line);
    wasi_logging_logging_log(WASI_LOGGING_LOGGING_LEVEL_WARN, &context, &message);
    free(line);
    return wharf_join("no answer: ", why, NULL);
}

static char *get(const char *path) {
    char *base = setting("upstream"), *token = authorization();
    char *url = wharf_join(base ? base : "", path, NULL);
    wharf_header_t headers[] = {{token ? "authorization" : NULL, token}, {NULL, NULL}};
    wharf_request_t request = {.url = url, .headers = headers};
    wharf_response_t response;
    char *answer;
    if (wharf_fetch(&request, &response)) {
        answer = wharf_join(wharf_decimal(response.status, 1).text, "\n\n", (char *)response.body, NULL);
    } else {
        answer = refused(path, wharf_http_error(response.error));
    }
    wharf_response_free(&response);
    free(url);
    free(base);
    free(token);
    return answer;
}

static const char *connect_error(const wharf_websocket_client_connect_error_t *error) {
    switch (error->tag) {
    case WHARF_WEBSOCKET_CLIENT_CONNECT_ERROR_INVALID_URL: return "no address such as wss://host/path";
    case WHARF_WEBSOCKET_CLIENT_CONNECT_ERROR_NOT_GRANTED: return "the route was not granted this host and port";
    case WHARF_WEBSOCKET_CLIENT_CONNECT_ERROR_UNREACHABLE: return "nobody listens at this host and port";
    case WHARF_WEBSOCKET_CLIENT_CONNECT_ERROR_REJECTED: return "the host refused the handshake";
    default: return "the connection could not be opened";
    }
}

static char *open(const char *path) {
    char *base = setting("feed"), *token = authorization();
    char *url = wharf_join(base ? base : "", path, NULL);
    wharf_websocket_client_header_t header = {.f0 = wharf_text("authorization")};
    wharf_websocket_client_options_t options = {0};
    if (token) {
        header.f1.ptr = (uint8_t *)token;
        header.f1.len = strlen(token);
        options.headers.ptr = &header;
        options.headers.len = 1;
    }
    wharf_text_t address = wharf_text(url);
    wharf_websocket_client_connect_error_t error;
    char *answer;
    if (wharf_websocket_client_connect(&address, &options, &upstream, &error)) {
        answer = wharf_join("open", NULL);
    } else {
        answer = refused(path, connect_error(&error));
    }
    free(url);
    free(base);
    free(token);
    return answer;
}

static void obey(wharf_session_t session, wharf_message_t *message) {
    wharf_session_t other = session == upstream ? client : upstream;
    if (other) {
        // If it has closed meanwhile, the next call says so.
        wharf_send(other, message);
        return;
    }
    char *text = wharf_message_text(message), *answer;
    if (text && !strncmp(text, "get /", 5)) {
        answer = get(text + 4);
    } else if (text && !strncmp(text, "open /", 6)) {
        answer = open(text + 5);
    } else {
        answer = wharf_join("say get or open and a path, such as get /", NULL);
    }
    wharf_send_text(session, answer);
    free(answer);
    free(text);
}

void exports_wharf_websocket_handler_on_open(uint64_t session) {
    client = session;
}

void exports_wharf_websocket_handler_on_messages(exports_wharf_websocket_handler_list_delivery_t *batch) {
    for (size_t i = 0; i < batch->len; i++) {
        obey(batch->ptr[i].session, &batch->ptr[i].message);
    }
    exports_wharf_websocket_handler_list_delivery_free(batch);
}

void exports_wharf_websocket_handler_on_close(uint64_t session, exports_wharf_websocket_handler_ending_t *ending) {
    if (session == upstream) {
        upstream = 0;
        char *reason = wharf_copy(ending->reason.ptr, ending->reason.len);
        char *text = wharf_join("closed: ", wharf_decimal(ending->code, 1).text, " ", reason, NULL);
        wharf_send_text(client, text);
        free(text);
        free(reason);
    }
    exports_wharf_websocket_handler_ending_free(ending);
}
