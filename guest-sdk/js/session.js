// Sessions: what a handler is called for, in words that read well.
//
//     import { serve } from "wharf-guest/session.js";
//
//     export const handler = serve({
//       onMessage(session, message) { session.send(message); },
//     });
import * as wire from "wharf:websocket/sessions@0.1.0";

/** Why something was not done; `code` is the contract's word for it, such as "closed" or "full". */
export class WharfError extends Error {
  constructor(what, reason) {
    const code = typeof reason === "string" ? reason : reason?.tag ?? String(reason);
    const more = reason?.val === undefined || reason?.val === null ? "" : ` (${shown(reason.val)})`;
    super(`${what}: ${code}${more}`);
    this.code = code;
    this.value = reason?.val;
  }
}

function shown(value) {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** What the host answered, of something that was thrown; undefined if it was thrown by the script. */
export function answerOf(thrown) {
  return thrown?.payload;
}

/** Does it, and throws the host's answer as a WharfError. */
export function attempt(what, deed) {
  try {
    return deed();
  } catch (thrown) {
    const answer = answerOf(thrown);
    throw answer === undefined ? thrown : new WharfError(what, answer);
  }
}

/** Text as it is, anything else as bytes. */
export function asMessage(message) {
  return typeof message === "string"
    ? { tag: "text", val: message }
    : { tag: "binary", val: message };
}

/** One WebSocket of this instance. Good until its `onClose`. */
export class Session {
  constructor(id) {
    this.id = id;
  }

  /** All clients of this instance, or those with a tag. */
  static all(tag = null) {
    return wire.list(tag).map((id) => new Session(id));
  }

  static find(name) {
    const id = wire.find(name);
    return id === null || id === undefined ? undefined : new Session(id);
  }

  static count() {
    return Number(wire.count());
  }

  /** Queues a message: a string or a Uint8Array. Throws "closed", "full" or "too-large". */
  send(message) {
    attempt("send", () => wire.send(this.id, asMessage(message)));
  }

  /** As `send`, and whether it was queued. */
  trySend(message) {
    try {
      wire.trySend(this.id, asMessage(message));
      return true;
    } catch {
      return false;
    }
  }

  close(code = 1000, reason = "") {
    wire.close(this.id, { code, reason });
  }

  /** What the handshake said, while the session is open. */
  get request() {
    return wire.request(this.id) ?? undefined;
  }

  get subprotocol() {
    return wire.subprotocol(this.id) ?? undefined;
  }

  /** Unique across servers, never used again. */
  get name() {
    return wire.name(this.id) ?? undefined;
  }

  get queuedBytes() {
    return Number(wire.queuedBytes(this.id));
  }

  /** Bytes that stay with the session while the instance sleeps: 16 KiB at most. */
  get attachment() {
    return Uint8Array.from(wire.attachment(this.id));
  }

  set attachment(bytes) {
    attempt("attachment", () => wire.setAttachment(this.id, bytes));
  }

  get tags() {
    return wire.tags(this.id);
  }

  set tags(tags) {
    attempt("tags", () => wire.setTags(this.id, tags));
  }

  /** The host answers `request` with `response` by itself; without arguments no more. */
  autoRespond(request, response) {
    const pair = request === undefined ? null : [request, response];
    attempt("autoRespond", () => wire.setAutoResponse(this.id, pair));
  }

  setPingInterval(milliseconds) {
    wire.setPingInterval(this.id, milliseconds ?? null);
  }

  setTimeout(milliseconds) {
    wire.setTimeout(this.id, milliseconds);
  }
}

/**
 * A handler of up to three methods: `onOpen(session)`, `onMessage(session, message)` with a string
 * or a Uint8Array, `onClose(session, { code, reason, clean, initiator })`. Export what it returns as
 * `handler`.
 */
export function serve({ onOpen, onMessage, onClose }) {
  return {
    onOpen(id) {
      onOpen?.(new Session(id));
    },
    onMessages(batch) {
      if (!onMessage) return;
      for (const { session, message } of batch) {
        onMessage(new Session(session), message.val);
      }
    },
    onClose(id, ending) {
      onClose?.(new Session(id), ending);
    },
  };
}
