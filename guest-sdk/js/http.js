// Requests to the world outside. The world has to include `wharf:websocket/outbound-http`, and the
// deployment to grant the host.
import * as http from "wazi:http/types@0.2.2";
import { handle } from "wazi:http/outgoing-handler@0.2.2";
import { WharfError, answerOf, attempt } from "wharf-guest/session.js";
import { decode, encode } from "wharf-guest/utf8.js";

/** What one write may hold (wasi:io/streams), and one read fetches. */
const [WRITE_BYTES, READ_BYTES] = [4096, 64 * 1024];
const KNOWN = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"];

/** All of a response. */
export class Response {
  #headers;
  #trailers;

  constructor(status, headers, body, trailers) {
    this.status = status;
    /** The body, a Uint8Array. */
    this.bytes = body;
    this.#headers = headers;
    this.#trailers = trailers;
  }

  /** The first value of a header, or undefined. */
  header(name) {
    return first(this.#headers, name);
  }

  /** The first value of a header that stood behind the body. */
  trailer(name) {
    return first(this.#trailers, name);
  }

  text() {
    return decode(this.bytes);
  }

  json() {
    return JSON.parse(this.text());
  }
}

/**
 * Sends a request and waits for all of the response; meanwhile the instance serves nobody else.
 * Redirects come back as they are. Throws a WharfError whose `code` is that of wasi:http, such as
 * "HTTP-request-denied" for a host that was not granted.
 */
export function fetch(url, { method = "GET", headers = {}, body, trailers } = {}) {
  const [, scheme, authority, path] = /^(https?):\/\/([^/?#]+)([^#]*)/.exec(url) ?? [];
  if (!authority) throw new WharfError(`fetch ${url}`, "no address such as https://host/path");
  return attempt(`fetch ${url}`, () => {
    const request = new http.OutgoingRequest(fields(headers));
    request.setMethod(methodOf(method));
    request.setScheme({ tag: scheme === "http" ? "HTTP" : "HTTPS" });
    request.setAuthority(authority);
    request.setPathWithQuery(path || "/");
    const sink = body === undefined && !trailers ? undefined : request.body();
    const future = handle(request, null);
    if (sink) write(sink, typeof body === "string" ? encode(body) : body, trailers);
    wait(future);
    return read(nested(nested(future.get())));
  });
}

function fields(object) {
  const pairs = Object.entries(object).map(([name, value]) => [name, encode(value)]);
  return http.Fields.fromList(pairs);
}

function methodOf(name) {
  return KNOWN.includes(name) ? { tag: name.toLowerCase() } : { tag: "other", val: name };
}

function first(pairs, name) {
  const found = pairs.find(([key]) => key.toLowerCase() === name.toLowerCase());
  return found && decode(Uint8Array.from(found[1]));
}

function wait(future) {
  const pollable = future.subscribe();
  pollable.block();
  pollable[Symbol.dispose]();
}

/** What is in a result that is a part of another one. */
function nested(result) {
  if (result.tag !== "ok") throw failed(result.val);
  return result.val;
}

/** As what the host throws itself. */
function failed(code) {
  return { payload: code ?? { tag: "HTTP-protocol-error" } };
}

function write(sink, bytes, trailers) {
  // A stream has to go before the body that it writes, or reads: the garbage collector knows no order.
  const stream = sink.write();
  try {
    for (let at = 0; bytes && at < bytes.length; at += WRITE_BYTES) {
      stream.blockingWriteAndFlush(bytes.subarray(at, at + WRITE_BYTES));
    }
  } finally {
    stream[Symbol.dispose]();
  }
  http.OutgoingBody.finish(sink, trailers ? fields(trailers) : null);
}

/** The next bytes of a body; undefined at its end. */
function next(stream) {
  try {
    return stream.blockingRead(READ_BYTES);
  } catch (thrown) {
    const answer = answerOf(thrown);
    if (answer?.tag === "closed") return undefined;
    if (answer === undefined) throw thrown;
    const code = http.httpErrorCode(answer.val);
    answer.val[Symbol.dispose]();
    throw failed(code);
  }
}

function read(response) {
  const [status, headers] = [response.status(), response.headers()];
  const pairs = headers.entries();
  headers[Symbol.dispose]();
  const body = response.consume();
  const stream = body.stream();
  const pieces = [];
  try {
    for (let piece; (piece = next(stream)); ) pieces.push(piece);
  } finally {
    stream[Symbol.dispose]();
  }
  const future = http.IncomingBody.finish(body);
  wait(future);
  const behind = nested(nested(future.get()));
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return new Response(status, pairs, all, behind?.entries() ?? []);
}
