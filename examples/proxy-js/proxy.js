// A window to one other server, as examples/proxy in Rust: what the client asks for is fetched from an
// upstream that the operator chose, over HTTP or over a WebSocket.
//
// | from the client | to the client |
// | --- | --- |
// | `get PATH` | `STATUS`, an empty line, and the body |
// | `open PATH` | `open`; from now on the two talk to each other, until one of them closes |
// | (anything else) | what to say instead |
import * as client from "wharf-guest/client.js";
import { fetch } from "wharf-guest/http.js";
import * as log from "wharf-guest/log.js";
import { serve } from "wharf-guest/session.js";
import * as settings from "wharf-guest/settings.js";

// One instance for each client.
let here;
let upstream;

function headers() {
  const token = settings.get("token");
  return token ? { authorization: `Bearer ${token}` } : {};
}

function ask(message) {
  const [, verb, path] = /^(get|open) (\/.*)$/.exec(String(message)) ?? [];
  if (!verb) return "say get or open and a path, such as get /";
  try {
    if (verb === "get") {
      const response = fetch(`${settings.get("upstream")}${path}`, { headers: headers() });
      return `${response.status}\n\n${response.text()}`;
    }
    upstream = client.connect(`${settings.get("feed")}${path}`, { headers: headers() });
    return "open";
  } catch (error) {
    log.warn("upstream", `${path}: ${error.message}`);
    return `no answer: ${error.message}`;
  }
}

export const handler = serve({
  onOpen(session) {
    here = session;
  },
  onMessage(session, message) {
    const other = session.id === upstream?.id ? here : upstream;
    // If it has closed meanwhile, the next call says so.
    if (other) other.trySend(message);
    else session.send(ask(message));
  },
  onClose(session, { code, reason }) {
    if (session.id !== upstream?.id) return;
    upstream = undefined;
    here.trySend(`closed: ${code} ${reason}`);
  },
});
