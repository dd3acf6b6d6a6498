// Sends every message back as it came: text as text, bytes as bytes.
//
// websocket_handler.h is generated from the contract (the folder `wit`): it
// declares what the host offers and the three functions that it calls.
#include "websocket_handler.h"

// A session has opened. `session` is a number, good until on_close.
void exports_wharf_websocket_handler_on_open(uint64_t session) {
    (void)session;
}

// All messages that have arrived since the last call, from any session.
void exports_wharf_websocket_handler_on_messages(exports_wharf_websocket_handler_list_delivery_t *batch) {
    for (size_t i = 0; i < batch->len; i++) {
        // The host copies the message while `send` runs, so it may lie where
        // it is. A session that has closed meanwhile needs no answer.
        wharf_websocket_sessions_session_error_t error;
        wharf_websocket_sessions_send(batch->ptr[i].session, &batch->ptr[i].message, &error);
    }
    // What a call passes in belongs to the handler.
    exports_wharf_websocket_handler_list_delivery_free(batch);
}

// The session has ended, in whatever way. It cannot be sent to any more.
void exports_wharf_websocket_handler_on_close(uint64_t session, exports_wharf_websocket_handler_ending_t *ending) {
    (void)session;
    exports_wharf_websocket_handler_ending_free(ending);
}
