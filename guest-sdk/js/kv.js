// Keys and values that outlive the server. The world has to include `wharf:websocket/keyvalue`, and
// the deployment to grant the bucket.
import * as store from "wazi:keyvalue/store@0.2.0-draft2";
import * as atomics from "wazi:keyvalue/atomics@0.2.0-draft2";
import { attempt } from "wharf-guest/session.js";
import { decode, encode } from "wharf-guest/utf8.js";

/** One bucket of the tenant. What is set is durable when `set` returns. */
export class Bucket {
  #bucket;

  constructor(name) {
    this.#bucket = attempt(`bucket ${name}`, () => store.open(name));
  }

  /** The bytes of a key, or undefined. */
  get(key) {
    const value = attempt(`get ${key}`, () => this.#bucket.get(key));
    return value === null || value === undefined ? undefined : Uint8Array.from(value);
  }

  /** The same as text. */
  getText(key) {
    const value = this.get(key);
    return value && decode(value);
  }

  /** Sets a string or a Uint8Array. */
  set(key, value) {
    const bytes = typeof value === "string" ? encode(value) : value;
    attempt(`set ${key}`, () => this.#bucket.set(key, bytes));
  }

  delete(key) {
    attempt(`delete ${key}`, () => this.#bucket.delete(key));
  }

  has(key) {
    return attempt(`exists ${key}`, () => this.#bucket.exists(key));
  }

  /** Adds to a number, at once for all who do so; the sum. */
  increment(key, delta = 1) {
    return Number(attempt(`increment ${key}`, () => atomics.increment(this.#bucket, key, delta)));
  }

  /** All keys behind `after`, in order. */
  *keys(after = null) {
    for (let cursor = after; ; ) {
      const page = attempt("keys", () => this.#bucket.listKeys(cursor));
      yield* page.keys;
      cursor = page.cursor;
      if (cursor === null || cursor === undefined) return;
    }
  }
}
