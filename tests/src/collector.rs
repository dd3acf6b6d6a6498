//! A collector of OpenTelemetry traces: takes OTLP over HTTP in JSON, and reads it as strictly as the
//! published schema is written (opentelemetry-proto 1.x, `trace/v1/trace.proto`).
//!
//! Never part of what is tested. What does not fit the schema is a panic of the test that looks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::deadline::STEP;

/// A running collector; ends with the test's runtime.
#[derive(Debug)]
pub struct Collector {
    /// Where it listens, on the loopback.
    pub address: SocketAddr,
    exports: Arc<Mutex<Vec<Export>>>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its line and headers.
    pub head: String,
    body: String,
}

/// One span, as it was exported.
#[derive(Clone, Debug)]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// The id of its parent.
    pub parent: Option<String>,
    /// What was done.
    pub name: String,
    /// 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: u64,
    /// Nanoseconds since 1970.
    pub times: (u128, u128),
    /// By key; numbers as numbers.
    pub attributes: BTreeMap<String, Value>,
    /// Traces and spans.
    pub links: Vec<(String, String)>,
    /// The message of its error, if it has one.
    pub error: Option<String>,
}

impl Collector {
    /// Starts one that answers each export with that status.
    pub async fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let exports = Arc::<Mutex<Vec<Export>>>::default();
        let to = Arc::clone(&exports);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let to = Arc::clone(&to);
                tokio::spawn(async move {
                    if let Some(export) = take(stream, status).await {
                        to.lock().unwrap().push(export);
                    }
                });
            }
        });
        Self { address, exports }
    }

    /// The base address, as a configuration names it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that it was sent.
    pub fn exports(&self) -> Vec<Export> {
        self.exports.lock().unwrap().clone()
    }

    /// All spans that it was sent.
    pub fn spans(&self) -> Vec<Span> {
        self.exports().iter().flat_map(Export::spans).collect()
    }

    /// Waits until there are spans of all these names; of a name that stands there twice, two.
    pub async fn spans_named(&self, names: &[&str]) -> Vec<Span> {
        let begin = Instant::now();
        loop {
            let spans = self.spans();
            let got: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
            let count = |names: &[&str], name| names.iter().filter(|other| **other == name).count();
            if names
                .iter()
                .all(|name| count(&got, *name) >= count(names, *name))
            {
                return spans;
            }
            assert!(begin.elapsed() < STEP, "{names:?} wanted, {got:?} there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Reads one request and answers it.
async fn take(mut stream: TcpStream, status: &str) -> Option<Export> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let text = String::from_utf8(bytes[..head].to_vec()).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    })?;
    while bytes.len() < head + length {
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    }
    let body = String::from_utf8(bytes[head..].to_vec()).ok()?;
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    stream.write_all(answer.as_bytes()).await.ok()?;
    Some(Export { head: text, body })
}

impl Export {
    /// The spans in it.
    pub fn spans(&self) -> Vec<Span> {
        let body: Value = serde_json::from_str(&self.body).expect("an export is JSON");
        let mut spans = Vec::new();
        for of_resource in list(&only(&body, &["resourceSpans"])["resourceSpans"]) {
            let of_resource = only(of_resource, &["resource", "scopeSpans"]);
            let resource = only(&of_resource["resource"], &["attributes"]);
            let attributes = attributes(&resource["attributes"]);
            assert_eq!(attributes["service.name"], "wharf");
            for of_scope in list(&of_resource["scopeSpans"]) {
                let of_scope = only(of_scope, &["scope", "spans"]);
                only(&of_scope["scope"], &["name", "version"]);
                spans.extend(list(&of_scope["spans"]).iter().map(span));
            }
        }
        spans
    }
}

fn span(value: &Value) -> Span {
    const KEYS: [&str; 10] = [
        "traceId",
        "spanId",
        "parentSpanId",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "attributes",
        "links",
        "status",
    ];
    let span = only(value, &KEYS);
    let links = span.get("links").map_or(&[][..], list).iter();
    let status = span.get("status");
    let error = status.map(|status| {
        let status = only(status, &["code", "message"]);
        assert_eq!(status["code"], 2, "only errors have a status here");
        text(&status["message"])
    });
    Span {
        trace: id(&span["traceId"], 32),
        id: id(&span["spanId"], 16),
        parent: span.get("parentSpanId").map(|parent| id(parent, 16)),
        name: text(&span["name"]),
        kind: span["kind"].as_u64().expect("a kind is a number"),
        times: (
            number(&span["startTimeUnixNano"]),
            number(&span["endTimeUnixNano"]),
        ),
        attributes: attributes(&span["attributes"]),
        links: links
            .map(|link| {
                let link = only(link, &["traceId", "spanId"]);
                (id(&link["traceId"], 32), id(&link["spanId"], 16))
            })
            .collect(),
        error,
    }
}

fn attributes(value: &Value) -> BTreeMap<String, Value> {
    let pairs = list(value).iter().map(|pair| {
        let pair = only(pair, &["key", "value"]);
        let value = pair["value"].as_object().expect("a value is an object");
        let (kind, value) = value.iter().next().expect("a value has a kind");
        let value = match kind.as_str() {
            "stringValue" => text(value).into(),
            // 64-bit numbers are texts in JSON.
            "intValue" => text(value).parse::<i64>().expect("a number").into(),
            "boolValue" => value.as_bool().expect("a flag").into(),
            other => panic!("no kind of value that is used here: {other}"),
        };
        (text(&pair["key"]), value)
    });
    pairs.collect()
}

/// An object with no keys but these.
fn only<'a>(value: &'a Value, keys: &[&str]) -> &'a Map<String, Value> {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"));
    let unknown = object.keys().find(|key| !keys.contains(&key.as_str()));
    assert_eq!(unknown, None, "{value}");
    object
}

fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_else(|| panic!("no text: {value}"));
    text.to_owned()
}

fn number(value: &Value) -> u128 {
    text(value).parse().expect("a number")
}

fn id(value: &Value, digits: usize) -> String {
    let id = text(value);
    let fits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    assert!(id.len() == digits && id.bytes().all(fits), "{id}");
    assert!(id.bytes().any(|digit| digit != b'0'), "an id of zeros");
    id
}
