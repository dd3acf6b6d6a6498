// What the operator wrote for the route, secrets too. The world has to include
// `wharf:websocket/settings`, and the route to have a `[route.config]`.
import * as wire from "wazi:config/store@0.2.0-rc.1";
import { attempt } from "wharf-guest/session.js";

/** The value of a key, or undefined. */
export function get(key) {
  return attempt(`setting ${key}`, () => wire.get(key)) ?? undefined;
}

/** All settings that are no secrets. */
export function all() {
  return Object.fromEntries(attempt("settings", () => wire.getAll()));
}
