// A notice board: topics, keys and values, timers, and what stays with a session.
//
// | from the client | to the client |
// | --- | --- |
// | `name NAME` | `hello NAME`; notes carry it from now on, also after the instance has slept |
// | `note TEXT` | to all: `note NUMBER NAME: TEXT` |
// | `list` | `NUMBER NAME: TEXT` for each note, or `no notes` |
// | `remind MILLISECONDS TEXT` | `will do`; later to all: `reminder TEXT` |
// | `who` | how many are there |
// | (anything else) | what to say instead |
import { Bucket } from "wharf-guest/kv.js";
import { serve } from "wharf-guest/session.js";
import * as timers from "wharf-guest/timers.js";
import * as topics from "wharf-guest/topics.js";
import { decode, encode } from "wharf-guest/utf8.js";

const BOARD = "notes";

/** Each note under its number, with zeros in front so that keys are in its order. */
const keyOf = (number) => `note/${String(number).padStart(12, "0")}`;

const commands = {
  name(session, name) {
    session.attachment = encode(name);
    return `hello ${name}`;
  },
  note(session, text) {
    const board = new Bucket("default");
    const number = board.increment("notes");
    const name = decode(session.attachment) || "somebody";
    board.set(keyOf(number), `${number} ${name}: ${text}`);
    topics.publish(BOARD, `note ${number} ${name}: ${text}`);
  },
  list() {
    const board = new Bucket("default");
    const notes = [...board.keys("note/")].filter((key) => key.startsWith("note/"));
    return notes.map((key) => board.getText(key)).join("\n") || "no notes";
  },
  remind(session, text) {
    const [, milliseconds, what] = /^(\d+) (.+)$/.exec(text) ?? [];
    if (!what) return "say remind, milliseconds, and what of";
    timers.set(what, Number(milliseconds));
    return "will do";
  },
  who() {
    return String(topics.count(BOARD));
  },
};

export const handler = serve({
  onOpen(session) {
    topics.subscribe(session, BOARD);
  },
  onMessage(session, message) {
    const [, verb, rest] = /^(\w+) ?(.*)$/s.exec(String(message)) ?? [];
    const known = Object.hasOwn(commands, verb ?? "");
    try {
      const answer = known ? commands[verb](session, rest) : `say ${Object.keys(commands).join(", ")}`;
      if (answer) session.send(answer);
    } catch (error) {
      session.trySend(`sorry: ${error.message}`);
    }
  },
});

export const timerHandler = {
  onTimer(name) {
    topics.publish(BOARD, `reminder ${name}`);
  },
};
