// A notice board: topics, keys and values, timers, and what stays with a
// session.
//
// | from the client | to the client |
// | --- | --- |
// | `name NAME` | `hello NAME`; notes carry it from now on, also after the instance has slept |
// | `note TEXT` | to all: `note NUMBER NAME: TEXT` |
// | `list` | `NUMBER NAME: TEXT` for each note, or `no notes` |
// | `remind MILLISECONDS TEXT` | `will do`; later to all: `reminder TEXT` |
// | `who` | how many are there |
// | (anything else) | what to say instead |
#include "notes.h"
#define WHARF_WORLD notes
#include <wharf.h>

static const char BOARD[] = "notes";
static const char SORRY[] = "sorry: the storage did not answer";

// Tells all members of the board, wherever they are.
static void publish(const char *text) {
    wharf_text_t topic = wharf_text(BOARD);
    wharf_message_t message = {.tag = WHARF_WEBSOCKET_TYPES_MESSAGE_TEXT};
    message.val.text = wharf_text(text);
    wharf_websocket_topics_topic_error_t error;
    uint64_t recipients;
    wharf_websocket_topics_publish(&topic, &message, NULL, &recipients, &error);
}

// The bucket "default"; false if the host does not give it.
static bool board(wasi_keyvalue_store_own_bucket_t *bucket) {
    wharf_text_t name = wharf_text("default");
    wasi_keyvalue_store_error_t error;
    if (wasi_keyvalue_store_open(&name, bucket, &error)) return true;
    wasi_keyvalue_store_error_free(&error);
    return false;
}

static char *name(wharf_session_t session, const char *text) {
    wharf_bytes_t bytes = {(uint8_t *)text, strlen(text)};
    wharf_websocket_sessions_session_error_t error;
    if (!wharf_websocket_sessions_set_attachment(session, &bytes, &error)) {
        return wharf_join("sorry: a name has 16 KiB at most", NULL);
    }
    return wharf_join("hello ", text, NULL);
}

// Stores a note under its number, with zeros in front so that keys are in its
// order.
static char *note(wharf_session_t session, const char *text) {
    wasi_keyvalue_store_own_bucket_t bucket;
    if (!board(&bucket)) return wharf_join(SORRY, NULL);
    wasi_keyvalue_store_borrow_bucket_t notes = wasi_keyvalue_store_borrow_bucket(bucket);
    wharf_text_t counter = wharf_text("notes");
    wasi_keyvalue_store_error_t error;
    int64_t number = 0;
    bool is_stored = wasi_keyvalue_atomics_increment(notes, &counter, 1, &number, &error);
    wharf_bytes_t who;
    wharf_websocket_sessions_attachment(session, &who);
    char *by = who.len ? wharf_copy(who.ptr, who.len) : wharf_join("somebody", NULL);
    notes_list_u8_free(&who);
    char *line = wharf_join(wharf_decimal((uint64_t)number, 1).text, " ", by, ": ", text, NULL);
    char *key = wharf_join("note/", wharf_decimal((uint64_t)number, 12).text, NULL);
    if (is_stored) {
        wharf_text_t name = wharf_text(key);
        wharf_bytes_t value = {(uint8_t *)line, strlen(line)};
        is_stored = wasi_keyvalue_store_method_bucket_set(notes, &name, &value, &error);
    }
    if (is_stored) {
        char *news = wharf_join("note ", line, NULL);
        publish(news);
        free(news);
    } else {
        wasi_keyvalue_store_error_free(&error);
    }
    wasi_keyvalue_store_bucket_drop_own(bucket);
    free(by);
    free(line);
    free(key);
    return is_stored ? NULL : wharf_join(SORRY, NULL);
}

// Appends the note of one key.
static char *with(char *list, wasi_keyvalue_store_borrow_bucket_t notes, wharf_text_t *key) {
    notes_option_list_u8_t value;
    wasi_keyvalue_store_error_t error;
    if (key->len < 5 || strncmp((const char *)key->ptr, "note/", 5)) return list;
    if (!wasi_keyvalue_store_method_bucket_get(notes, key, &value, &error)) {
        wasi_keyvalue_store_error_free(&error);
        return list;
    }
    if (!value.is_some) return list;
    char *line = wharf_copy(value.val.ptr, value.val.len);
    char *longer = list ? wharf_join(list, "\n", line, NULL) : wharf_join(line, NULL);
    notes_list_u8_free(&value.val);
    free(line);
    free(list);
    return longer;
}

static char *list(void) {
    wasi_keyvalue_store_own_bucket_t bucket;
    if (!board(&bucket)) return wharf_join(SORRY, NULL);
    wasi_keyvalue_store_borrow_bucket_t notes = wasi_keyvalue_store_borrow_bucket(bucket);
    char *lines = NULL, *after = wharf_join("note/", NULL);
    while (after) {
        wharf_text_t cursor = wharf_text(after);
        wasi_keyvalue_store_key_response_t page;
        wasi_keyvalue_store_error_t error;
        bool is_there = wasi_keyvalue_store_method_bucket_list_keys(notes, &cursor, &page, &error);
        free(after);
        after = NULL;
        if (!is_there) {
            wasi_keyvalue_store_error_free(&error);
            break;
        }
        for (size_t i = 0; i < page.keys.len; i++) {
            lines = with(lines, notes, &page.keys.ptr[i]);
        }
        if (page.cursor.is_some) after = wharf_copy(page.cursor.val.ptr, page.cursor.val.len);
        notes_list_string_free(&page.keys);
        notes_option_string_free(&page.cursor);
    }
    wasi_keyvalue_store_bucket_drop_own(bucket);
    return lines ? lines : wharf_join("no notes", NULL);
}

static char *remind(const char *text) {
    char *what;
    unsigned long long milliseconds = strtoull(text, &what, 10);
    if (what == text || what[0] != ' ' || !what[1]) {
        return wharf_join("say remind, milliseconds, and what of", NULL);
    }
    wharf_text_t name = wharf_text(what + 1);
    wharf_websocket_timers_timer_error_t error;
    bool is_set = wharf_websocket_timers_set(&name, milliseconds, &error);
    return wharf_join(is_set ? "will do" : "sorry: no such timer can be set", NULL);
}

static char *who(void) {
    wharf_text_t topic = wharf_text(BOARD);
    wharf_websocket_topics_topic_error_t error;
    uint64_t count = 0;
    wharf_websocket_topics_count(&topic, &count, &error);
    return wharf_join(wharf_decimal(count, 1).text, NULL);
}

static char *obey(wharf_session_t session, const char *text) {
    if (!strncmp(text, "name ", 5)) return name(session, text + 5);
    if (!strncmp(text, "note ", 5)) return note(session, text + 5);
    if (!strncmp(text, "remind ", 7)) return remind(text + 7);
    if (!strcmp(text, "list")) return list();
    if (!strcmp(text, "who")) return who();
    return wharf_join("say name, note, list, remind, who", NULL);
}

void exports_wharf_websocket_handler_on_open(uint64_t session) {
    wharf_text_t topic = wharf_text(BOARD), info = wharf_text("");
    wharf_websocket_topics_topic_error_t error;
    wharf_websocket_topics_subscribe(session, &topic, &info, &error);
}

void exports_wharf_websocket_handler_on_messages(exports_wharf_websocket_handler_list_delivery_t *batch) {
    for (size_t i = 0; i < batch->len; i++) {
        char *text = wharf_message_text(&batch->ptr[i].message);
        char *answer = obey(batch->ptr[i].session, text ? text : "");
        if (answer) wharf_send_text(batch->ptr[i].session, answer);
        free(answer);
        free(text);
    }
    exports_wharf_websocket_handler_list_delivery_free(batch);
}

void exports_wharf_websocket_handler_on_close(uint64_t session, exports_wharf_websocket_handler_ending_t *ending) {
    (void)session;
    exports_wharf_websocket_handler_ending_free(ending);
}

void exports_wharf_websocket_timer_handler_on_timer(notes_string_t *name) {
    char *what = wharf_copy(name->ptr, name->len);
    char *text = wharf_join("reminder ", what, NULL);
    publish(text);
    free(text);
    free(what);
    wharf_text_free(name);
}
