// Sends every message back as it came: text as text, bytes as bytes.
//
// The imports and exports are those of the contract (the folder `wit`), with
// names in camelCase; a session is a BigInt.
import { send } from "wharf:websocket/sessions@0.1.0";

export const handler = {
  // A session has opened. It can be sent to until onClose.
  onOpen(session) {},

  // All messages that have arrived since the last call, from any session.
  // A message is { tag: "text", val: "…" } or { tag: "binary", val: Uint8Array }.
  onMessages(batch) {
    for (const { session, message } of batch) {
      try {
        send(session, message);
      } catch {
        // A session that has closed meanwhile needs no answer.
      }
    }
  },

  // The session has ended, in whatever way: { code, reason, clean, initiator }.
  onClose(session, ending) {},
};
