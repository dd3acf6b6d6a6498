// Messages to the tenant's log. The world has to include `wharf:websocket/logging`, and the
// deployment to grant it.
import { log } from "wazi:logging/logging@0.1.0-draft";

export const trace = (context, message) => log("trace", context, message);
export const debug = (context, message) => log("debug", context, message);
export const info = (context, message) => log("info", context, message);
export const warn = (context, message) => log("warn", context, message);
export const error = (context, message) => log("error", context, message);
