// A WebSocket that comes back by itself and gets what it missed: see README.md
// and docs/recovery.md. It keeps positions, never messages.

const PROTOCOL = "wharf.recover.v1";
/** A connection that has lived for so long counts as a good one. */
const GOOD_AFTER_MS = 5_000;
/** Bytes of positions that a request carries; servers accept 8 KiB in all. */
const QUERY_BYTES_MAX = 6_000;

export class Connection {
  /** What was published, in order: `topic` is null for whatever carries no position. */
  onmessage = (topic, data) => {};
  /** Messages of the topic were missed and will not come. */
  onlost = (topic) => {};
  /** "connecting", "open", "waiting" or "closed". */
  onstate = (state) => {};

  #url;
  #options;
  #socket = null;
  #positions = new Map();
  /** Topics with a position that the last request had no room for. */
  #unasked = new Set();
  #attempts = 0;
  #timer;
  #isClosed = false;

  constructor(url, options = {}) {
    this.#url = String(url).replace(/#.*/, "");
    this.#options = { protocols: [], retryFirstMs: 500, retryMaxMs: 15_000, WebSocket: globalThis.WebSocket, ...options };
    // After this turn, so that the callbacks can be set.
    this.#timer = setTimeout(() => this.#connect(), 0);
  }

  /** Sends now, or answers false: nothing is kept until the connection is back. */
  send(data) {
    if (this.#socket?.readyState !== 1) return false;
    this.#socket.send(data);
    return true;
  }

  /** Ends it for good. */
  close(code = 1000, reason = "") {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    if (this.#socket) this.#socket.close(code, reason);
    else this.onstate("closed");
  }

  /** What was seen last of a topic: { epoch, offset }. */
  position(topic) {
    return this.#positions.get(topic);
  }

  #connect() {
    const { WebSocket, protocols } = this.#options;
    this.onstate("connecting");
    const socket = new WebSocket(this.#address(), [PROTOCOL, ...protocols]);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    let openedAt = Infinity;
    socket.onopen = () => {
      openedAt = Date.now();
      this.onstate("open");
    };
    socket.onmessage = ({ data }) => this.#receive(data);
    // What matters of an error is the close that follows.
    socket.onerror = () => {};
    socket.onclose = () => {
      this.#socket = null;
      if (this.#isClosed) return this.onstate("closed");
      if (Date.now() - openedAt > GOOD_AFTER_MS) this.#attempts = 0;
      this.onstate("waiting");
      this.#timer = setTimeout(() => this.#connect(), this.#pause());
    };
  }

  /** Full jitter: anything up to a ceiling that doubles. */
  #pause() {
    const { retryFirstMs, retryMaxMs } = this.#options;
    const ceiling = Math.min(retryMaxMs, retryFirstMs * 2 ** this.#attempts);
    this.#attempts += 1;
    return Math.random() * ceiling;
  }

  #address() {
    let address = this.#url;
    let room = QUERY_BYTES_MAX;
    this.#unasked.clear();
    for (const [topic, { epoch, offset }] of this.#positions) {
      const asked = `recover=${encodeURIComponent(topic)}:${epoch}:${offset}`;
      room -= asked.length + 1;
      if (room < 0) this.#unasked.add(topic);
      else address += (address.includes("?") ? "&" : "?") + asked;
    }
    return address;
  }

  #receive(data) {
    if (typeof data !== "string") return this.onmessage(null, new Uint8Array(data));
    const envelope = parse(data);
    if (!envelope) return this.onmessage(null, data);
    const { topic, epoch, offset, text, binary, recovered } = envelope;
    const seen = this.#positions.get(topic);
    const isMessage = text !== undefined || binary !== undefined;
    if (seen && seen.epoch === epoch && isMessage && offset <= seen.offset) return;
    this.#positions.set(topic, { epoch, offset });
    if (this.#isGap(seen, envelope)) this.onlost(topic);
    if (text !== undefined) this.onmessage(topic, text);
    if (binary !== undefined) this.onmessage(topic, bytes(binary));
  }

  #isGap(seen, { topic, epoch, offset, recovered }) {
    const wasAsked = !this.#unasked.delete(topic);
    if (recovered !== undefined) return !recovered;
    if (!seen) return false;
    if (seen.epoch !== epoch) return true;
    // One further: a message that left out this session.
    return offset > seen.offset + (wasAsked ? 1 : 0);
  }
}

/** The envelope, if the text is one. */
function parse(data) {
  if (!data.startsWith('{"topic":')) return null;
  try {
    const envelope = JSON.parse(data);
    const { topic, epoch, offset } = envelope;
    const is = typeof topic === "string" && typeof epoch === "string" && Number.isInteger(offset);
    return is ? envelope : null;
  } catch {
    return null;
  }
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
