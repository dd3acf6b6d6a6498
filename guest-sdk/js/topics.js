// Topics: a message for many sessions, wherever they are. The world has to include
// `wharf:websocket/topical`, and the deployment to grant names.
import * as wire from "wharf:websocket/topics@0.1.0";
import { asMessage, attempt } from "wharf-guest/session.js";

/** Makes a session a member; `info` is what it says of itself. */
export function subscribe(session, topic, info = "") {
  attempt(`subscribe to ${topic}`, () => wire.subscribe(session.id, topic, info));
}

export function unsubscribe(session, topic) {
  wire.unsubscribe(session.id, topic);
}

/** Sends to all members but `except`; to how many it is on its way. */
export function publish(topic, message, except) {
  const one = except?.id ?? null;
  return Number(attempt(`publish in ${topic}`, () => wire.publish(topic, asMessage(message), one)));
}

/** Who is a member: `{ name, info }` each. */
export function members(topic) {
  return attempt(`members of ${topic}`, () => wire.presence(topic));
}

export function count(topic) {
  return Number(attempt(`members of ${topic}`, () => wire.count(topic)));
}
