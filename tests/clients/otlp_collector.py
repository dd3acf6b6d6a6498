"""A collector of traces: python otlp_collector.py WHARF ECHO.wasm

Starts a server that traces every session, talks to it, and decodes what it exports with the schema
that OpenTelemetry publishes (the package `opentelemetry-proto`). One line of output for each check;
the exit code says whether all passed.
"""

import asyncio
import base64
import http.server
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from websockets.asyncio.client import connect

WAIT_SECONDS_MAX = 20
TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT = "b7ad6b7169203331"

exports = queue.Queue()


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        exports.put((self.path, self.headers["content-type"], body))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def decoded(body):
    """OTLP writes ids in hexadecimal digits where protobuf's JSON has base64; all else is the same."""
    request = json.loads(body)
    for of_resource in request["resourceSpans"]:
        for of_scope in of_resource["scopeSpans"]:
            for span in of_scope["spans"]:
                for holder in [span, *span.get("links", [])]:
                    for key in ("traceId", "spanId", "parentSpanId"):
                        if key in holder:
                            raw = bytes.fromhex(holder[key])
                            holder[key] = base64.b64encode(raw).decode()
    # What the schema does not know is an error.
    return json_format.ParseDict(request, ExportTraceServiceRequest())


def collect(names):
    spans = {}
    while not names <= spans.keys():
        path, content_type, body = exports.get(timeout=WAIT_SECONDS_MAX)
        expect((path, content_type), ("/v1/traces", "application/json"), "request")
        for of_resource in decoded(body).resource_spans:
            resource = values(of_resource.resource.attributes)
            expect(resource["service.name"], "wharf", "service")
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    spans.setdefault(span.name, span)
    return spans


def values(attributes):
    kinds = ("string_value", "int_value", "bool_value")
    pairs = ((one.key, one.value, one.value.WhichOneof("value")) for one in attributes)
    found = {}
    for key, value, kind in pairs:
        expect(kind in kinds, True, f"kind of {key}")
        found[key] = getattr(value, kind)
    return found


def expect(actual, wanted, what):
    if actual != wanted:
        raise AssertionError(f"{what}: {actual!r:.200} where {wanted!r:.200} was right")


def serve(wharf, component, folder, endpoint):
    config = os.path.join(folder, "wharf.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(
            f"""
listen = "127.0.0.1:0"
[traces]
endpoint = "{endpoint}"
sample_one_in = 1
accept_traceparent = true
export_every = "10ms"
[[route]]
path = "/echo"
component = {json.dumps(os.path.abspath(component))}
tenant = "acme"
"""
        )
    server = subprocess.Popen(
        [wharf, "serve", "--config", config],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    address = server.stdout.readline().strip().rsplit("/", 1)[1]
    return server, address


async def talk(address):
    headers = {"traceparent": f"00-{TRACE}-{CLIENT}-01"}
    async with connect(f"ws://{address}/echo", additional_headers=headers) as socket:
        await socket.send("hello")
        expect(await socket.recv(), "hello", "payload")


def handshake(spans):
    span = spans["GET /echo"]
    expect(span.trace_id.hex(), TRACE, "trace")
    expect(span.parent_span_id.hex(), CLIENT, "parent")
    expect(span.kind, Span.SPAN_KIND_SERVER, "kind")
    said = values(span.attributes)
    expect(said["http.response.status_code"], 101, "status")
    expect(said["wharf.tenant"], "acme", "tenant")
    expect(span.status.code, Status.STATUS_CODE_UNSET, "status of the span")


def session(spans):
    span = spans["session"]
    expect(span.trace_id.hex(), TRACE, "trace")
    expect(span.parent_span_id, spans["GET /echo"].span_id, "parent")
    expect(values(span.attributes)["wharf.close.code"], 1000, "close code")


def calls(spans):
    for name in ("on-open", "on-messages", "on-close"):
        span = spans[name]
        expect(span.parent_span_id, spans["session"].span_id, f"parent of {name}")
        expect(span.kind, Span.SPAN_KIND_CONSUMER, f"kind of {name}")
    said = values(spans["on-messages"].attributes)
    expect(said["messaging.batch.message_count"], 1, "messages")


def times(spans):
    outer = spans["session"]
    for span in spans.values():
        expect(span.start_time_unix_nano <= span.end_time_unix_nano, True, f"times of {span.name}")
    inner = spans["on-messages"]
    expect(outer.start_time_unix_nano <= inner.start_time_unix_nano, True, "begin")
    expect(inner.end_time_unix_nano <= outer.end_time_unix_nano, True, "end")


def main():
    wharf, component = sys.argv[1:]
    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        server, address = serve(wharf, component, folder, endpoint)
        try:
            asyncio.run(talk(address))
            names = {"GET /echo", "session", "on-open", "on-messages", "on-close"}
            spans = collect(names)
        finally:
            server.terminate()
            server.wait()
        for check in (handshake, session, calls, times):
            try:
                check(spans)
                print(f"ok {check.__name__}")
            except (AssertionError, KeyError) as error:
                failed += 1
                print(f"FAILED {check.__name__}: {error!r}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
