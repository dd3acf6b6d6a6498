// What a handler in C writes often, over the generated bindings. Include the
// generated header first, and say what its world is called, for the names of
// its texts carry that:
//
//     #include "app.h"
//     #define WHARF_WORLD app
//     #include <wharf.h>
//
// Who owns what: a text of `wharf_text` is the caller's own and is freed by
// nobody; what the host gives is freed with `wharf_text_free` or the generated
// `…_free`.
#ifndef WHARF_H
#define WHARF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WHARF_JOINED_(world, name) world##_##name
#define WHARF_JOINED(world, name) WHARF_JOINED_(world, name)
#define WHARF_NAME(name) WHARF_JOINED(WHARF_WORLD, name)

// UTF-8 with a length, without a zero at its end.
typedef WHARF_NAME(string_t) wharf_text_t;
typedef WHARF_NAME(list_u8_t) wharf_bytes_t;
typedef wharf_websocket_types_session_id_t wharf_session_t;
typedef wharf_websocket_types_message_t wharf_message_t;

// A text that lies where `text` does.
static inline wharf_text_t wharf_text(const char *text) {
    return (wharf_text_t){(uint8_t *)text, strlen(text)};
}

static inline void wharf_text_free(wharf_text_t *text) {
    WHARF_NAME(string_free)(text);
}

// A copy with a zero at its end; free() it.
static inline char *wharf_copy(const uint8_t *bytes, size_t len) {
    char *copy = malloc(len + 1);
    if (!copy) abort();
    if (len) memcpy(copy, bytes, len);
    copy[len] = 0;
    return copy;
}

// The text of a message with a zero at its end, NULL for a binary one; free() it.
static inline char *wharf_message_text(const wharf_message_t *message) {
    if (message->tag != WHARF_WEBSOCKET_TYPES_MESSAGE_TEXT) return NULL;
    return wharf_copy(message->val.text.ptr, message->val.text.len);
}

// Texts one behind the other, the last of them NULL; free() it. The C library's
// printf would import its input and output, which a handler does not have.
__attribute__((sentinel))
static inline char *wharf_join(const char *first, ...) {
    va_list texts;
    size_t len = 0;
    va_start(texts, first);
    for (const char *text = first; text; text = va_arg(texts, const char *)) len += strlen(text);
    va_end(texts);
    char *joined = malloc(len + 1), *end = joined;
    if (!joined) abort();
    va_start(texts, first);
    for (const char *text = first; text; text = va_arg(texts, const char *)) {
        size_t bytes = strlen(text);
        memcpy(end, text, bytes);
        end += bytes;
    }
    va_end(texts);
    *end = 0;
    return joined;
}

// A number in decimal digits, with zeros in front if there are fewer than
// `digits_min` (20 at most).
typedef struct {
    char text[21];
} wharf_decimal_t;

static inline wharf_decimal_t wharf_decimal(uint64_t number, int digits_min) {
    char digits[21];
    int at = 20;
    digits[at] = 0;
    while (at > 0 && (number || at == 20 || 20 - at < digits_min)) {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    }
    wharf_decimal_t decimal;
    memcpy(decimal.text, digits + at, (size_t)(21 - at));
    return decimal;
}

// Sends a text. False if the session is closed, full, or the text too large.
static inline bool wharf_send_text(wharf_session_t session, const char *text) {
    wharf_message_t message = {.tag = WHARF_WEBSOCKET_TYPES_MESSAGE_TEXT};
    wharf_websocket_sessions_session_error_t error;
    message.val.text = wharf_text(text);
    return wharf_websocket_sessions_send(session, &message, &error);
}

// Passes a message on as it is.
static inline bool wharf_send(wharf_session_t session, wharf_message_t *message) {
    wharf_websocket_sessions_session_error_t error;
    return wharf_websocket_sessions_send(session, message, &error);
}

#endif
