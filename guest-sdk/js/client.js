// WebSockets that the handler opens itself. The world has to include
// `wharf:websocket/outbound-websocket`, and the deployment to grant the host.
import * as wire from "wharf:websocket/client@0.1.0";
import { Session, attempt } from "wharf-guest/session.js";
import { encode } from "wharf-guest/utf8.js";

/**
 * Opens one and waits for its handshake; meanwhile the instance serves nobody else. Its messages come
 * to `onMessage`, its end to `onClose`. `headers` is an object; `timeout` is in milliseconds.
 */
export function connect(url, { subprotocols = [], headers = {}, timeout = null } = {}) {
  const pairs = Object.entries(headers).map(([name, value]) => [name, encode(value)]);
  const options = { subprotocols, headers: pairs, timeoutMilliseconds: timeout };
  return new Session(attempt(`connect to ${url}`, () => wire.connect(url, options)));
}

/** All that this instance has opened, or those with a tag. */
export function all(tag = null) {
  return wire.list(tag).map((id) => new Session(id));
}
