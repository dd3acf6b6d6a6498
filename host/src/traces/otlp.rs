//! Spans as OTLP writes them in JSON (OpenTelemetry Protocol 1.x, "JSON Protobuf Encoding"): ids in
//! hexadecimal digits, 64-bit numbers as texts, enums as numbers.

use std::time::SystemTime;

use serde_json::{Value as Json, json};

use super::span::{Span, Value};

/// The status of a span that failed.
const STATUS_ERROR: u8 = 2;

/// The body of one export.
pub(super) fn request(spans: &[Span]) -> String {
    let scope = json!({ "name": "wharf", "version": env!("CARGO_PKG_VERSION") });
    let resource = [
        attribute("service.name", &"wharf".into()),
        attribute("service.version", &env!("CARGO_PKG_VERSION").into()),
        attribute("process.pid", &u64::from(std::process::id()).into()),
    ];
    let spans: Vec<Json> = spans.iter().map(span).collect();
    let scope_spans = [json!({ "scope": scope, "spans": spans })];
    let resource_spans =
        [json!({ "resource": { "attributes": resource }, "scopeSpans": scope_spans })];
    json!({ "resourceSpans": resource_spans }).to_string()
}

fn span(span: &Span) -> Json {
    let attributes = span.attributes.iter();
    let attributes: Vec<Json> = attributes
        .map(|(key, value)| attribute(key, value))
        .collect();
    let mut written = json!({
        "traceId": span.context.trace_id(),
        "spanId": span.context.span_id(),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": nanoseconds(span.begin),
        "endTimeUnixNano": nanoseconds(span.end),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        written["parentSpanId"] = parent.span_id().into();
    }
    if !span.links.is_empty() {
        let links = span.links.iter();
        let links =
            links.map(|link| json!({ "traceId": link.trace_id(), "spanId": link.span_id() }));
        written["links"] = links.collect();
    }
    if let Some(error) = &span.error {
        written["status"] = json!({ "code": STATUS_ERROR, "message": error });
    }
    written
}

fn attribute(key: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Flag(flag) => json!({ "boolValue": flag }),
    };
    json!({ "key": key, "value": value })
}

fn nanoseconds(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_nanos().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace_context::TraceContext;
    use crate::traces::Kind;

    #[test]
    fn a_span_is_written_as_the_protocol_wants_it() {
        let parent = TraceContext::root();
        let mut one = Span::begin("GET /a", Kind::Server, Some(parent));
        one.set("text", "a\"b");
        one.set("number", 101_u16);
        one.set("flag", true);
        one.link(parent);
        one.link(parent);
        one.fail("it trapped");
        one.end();
        let body: Json = serde_json::from_str(&request(&[one.clone()])).expect("it is JSON");
        let written = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(written["traceId"], parent.trace_id());
        assert_eq!(written["parentSpanId"], parent.span_id());
        assert_eq!(written["spanId"], one.context().span_id());
        assert_eq!(written["kind"], 2);
        let expect = json!([
            { "key": "text", "value": { "stringValue": "a\"b" } },
            { "key": "number", "value": { "intValue": "101" } },
            { "key": "flag", "value": { "boolValue": true } },
        ]);
        assert_eq!(written["attributes"], expect);
        assert_eq!(written["links"].as_array().map(Vec::len), Some(1));
        assert_eq!(
            written["status"],
            json!({ "code": 2, "message": "it trapped" })
        );
        let time = |key: &str| -> u128 {
            let text = written[key].as_str().expect("a text");
            text.parse().expect("a number")
        };
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
        let root = Span::begin("x", Kind::Internal, None);
        let body: Json = serde_json::from_str(&request(&[root])).expect("it is JSON");
        let written = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(written.get("parentSpanId"), None);
        assert_eq!(written.get("status"), None);
    }
}
