// Named timers that outlive sessions, instance and server. The world has to include
// `wharf:websocket/timed`, the script to export `timerHandler = { onTimer(name) {} }`, and the
// deployment to grant them.
import * as wire from "wharf:websocket/timers@0.1.0";
import { attempt } from "wharf-guest/session.js";

/** Calls `onTimer(name)` in so many milliseconds; one of that name is set anew. */
export function set(name, milliseconds) {
  attempt(`timer ${name}`, () => wire.set(name, milliseconds));
}

export function cancel(name) {
  attempt(`timer ${name}`, () => wire.cancel(name));
}
