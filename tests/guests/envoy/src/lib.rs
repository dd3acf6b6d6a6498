//! A handler that deals with the world outside, on demand. Each text message
//! is one command; words are separated by one space, TEXT goes to the end:
//!
//! | command | what it does | answer |
//! | --- | --- | --- |
//! | `log LEVEL CONTEXT TEXT` | logs a message | `ok` |
//! | `log-flood` | logs messages of 100 bytes without end | never |
//! | `log-long BYTES` | logs one message of so many bytes | `ok` |
//! | `fetch METHOD URL BODY` | sends a request | `STATUS BYTES TEXT`: at most 200 bytes of it; or `error CODE` |
//! | `hasty MILLISECONDS URL` | asks for a URL, and gives up when its body stands still for so long | as `fetch` |
//! | `header NAME URL` | asks for a URL | the value of a header of the response, or `none` |
//! | `trailer NAME URL` | asks for a URL | the value of a trailer of the response, or `none` |
//! | `trail NAME VALUE URL BODY` | posts a body with a trailer behind it | as `fetch` |
//! | `flood HOST:PORT COUNT` | begins that many requests at once and keeps them | `N begun, then CODE` |
//! | `body BYTES URL` | posts so many bytes | as `fetch` |
//! | `clock` | looks at both clocks | `MILLISECONDS SECONDS`, of the server and since 1970 |
//! | `get KEY` | reads a setting or a secret | `some VALUE` or `none` |
//! | `all` | lists the settings | `KEY=VALUE` each, separated by spaces |
//!
//! Everything else is echoed.

use std::time::Duration;

use wharf_guest::bindings::http::wasi::http::outgoing_handler;
use wharf_guest::bindings::http::wasi::http::types::{Fields, OutgoingRequest, Scheme};
use wharf_guest::http::{self, Request, Response};
use wharf_guest::{Handler, Message, Session, clock, log, settings};

#[derive(Default)]
struct Envoy;

impl Handler for Envoy {
    fn on_message(&mut self, session: Session, message: Message<'_>) {
        let Message::Text(command) = message else {
            let _ = session.send(message);
            return;
        };
        let (verb, rest) = cut(command);
        let answer = match verb {
            "log" => say(rest),
            "log-flood" => loop {
                log::info("flood", &"x".repeat(100));
            },
            "log-long" => {
                let bytes: usize = rest.parse().expect("a number of bytes");
                log::info("long", &"x".repeat(bytes));
                "ok".to_owned()
            }
            "fetch" => fetch(rest),
            "hasty" => {
                let (milliseconds, url) = cut(rest);
                let timeout = milliseconds.parse().expect("a number of milliseconds");
                shown(
                    Request::get(url)
                        .between_bytes(Duration::from_millis(timeout))
                        .send(),
                )
            }
            "header" => header(rest),
            "trailer" => {
                let (name, url) = cut(rest);
                match http::get(url) {
                    Ok(response) => response.trailer(name).unwrap_or("none").to_owned(),
                    Err(error) => format!("error {error}"),
                }
            }
            "trail" => {
                let (name, rest) = cut(rest);
                let (value, rest) = cut(rest);
                let (url, body) = cut(rest);
                shown(Request::post(url).body(body).trailer(name, value).send())
            }
            "flood" => flood(rest),
            "body" => {
                let (bytes, url) = cut(rest);
                let bytes = "x".repeat(bytes.parse().expect("a number of bytes"));
                shown(Request::post(url).body(bytes).send())
            }
            "clock" => {
                let (server, unix) = (clock::monotonic(), clock::unix());
                format!("{} {}", server.as_millis(), unix.as_secs())
            }
            "get" => match settings::get(rest) {
                Some(value) => format!("some {value}"),
                None => "none".to_owned(),
            },
            "all" => {
                let all = settings::all().into_iter();
                let pairs: Vec<String> = all.map(|(key, value)| format!("{key}={value}")).collect();
                pairs.join(" ")
            }
            _ => command.to_owned(),
        };
        let _ = session.send(&answer);
    }
}

fn fetch(rest: &str) -> String {
    let (method, rest) = cut(rest);
    let (url, body) = cut(rest);
    shown(Request::new(method, url).body(body).send())
}

fn shown(outcome: Result<Response, http::Error>) -> String {
    match outcome {
        Ok(response) => {
            let text: String = response.text().chars().take(200).collect();
            format!("{} {} {text}", response.status, response.bytes().len())
        }
        Err(error) => format!("error {error}"),
    }
}

fn header(rest: &str) -> String {
    let (name, url) = cut(rest);
    match http::get(url) {
        Ok(response) => response.header(name).unwrap_or("none").to_owned(),
        Err(error) => format!("error {error}"),
    }
}

/// Begins requests to `http://AUTHORITY` without waiting for any.
fn flood(rest: &str) -> String {
    let (authority, count) = cut(rest);
    let count: usize = count.parse().expect("a number of requests");
    let mut begun = Vec::new();
    for _ in 0..count {
        let request = OutgoingRequest::new(Fields::new());
        let _ = request.set_scheme(Some(&Scheme::Http));
        let _ = request.set_authority(Some(authority));
        match outgoing_handler::handle(request, None) {
            Ok(future) => begun.push(future),
            Err(code) => return format!("{} begun, then {code:?}", begun.len()),
        }
    }
    format!("{} begun", begun.len())
}

fn say(rest: &str) -> String {
    let (level, rest) = cut(rest);
    let (context, text) = cut(rest);
    match level {
        "trace" => log::trace(context, text),
        "debug" => log::debug(context, text),
        "info" => log::info(context, text),
        "warn" => log::warn(context, text),
        "error" => log::error(context, text),
        _ => return "no such level".to_owned(),
    }
    "ok".to_owned()
}

fn cut(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

wharf_guest::export!(Envoy);
