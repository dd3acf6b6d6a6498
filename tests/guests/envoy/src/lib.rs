//! A handler that deals with the world outside, on demand. Each text message
//! is one command; words are separated by one space, TEXT goes to the end:
//!
//! | command | what it does | answer |
//! | --- | --- | --- |
//! | `log LEVEL CONTEXT TEXT` | logs a message | `ok` |
//! | `log-flood` | logs messages of 100 bytes without end | never |
//! | `log-long BYTES` | logs one message of so many bytes | `ok` |
//! | `get KEY` | reads a setting or a secret | `some VALUE` or `none` |
//! | `all` | lists the settings | `KEY=VALUE` each, separated by spaces |
//!
//! Everything else is echoed.

use wharf_guest::{Handler, Message, Session, log, settings};

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
