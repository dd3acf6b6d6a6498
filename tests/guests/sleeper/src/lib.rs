//! A handler that says what it remembers, so that a test sees what a sleep
//! took and what it left. Each text message is one command:
//!
//! | command | answer |
//! | --- | --- |
//! | `memory` | `opened N, messages N, found [ATTACHMENT …]`: what this memory has seen, and what the sessions carried when it was made |
//! | `keep TEXT` | attaches it: `ok` |
//! | `tag TEXT`, `tagged TEXT` | `ok`; how many carry it |
//! | `name`, `find NAME` | this session's name; the number of the session with that name, or `none` |
//! | `auto REQUEST RESPONSE` | `ok` |
//! | `ping MS` | `ok` |
//! | `join TOPIC`, `shout TOPIC TEXT` | `ok` |
//! | `timer NAME MS`, `cancel NAME` | `ok`; when it comes, all sessions get `timer NAME, ` and the memory |
//! | `fill COUNT SIZE` | COUNT texts of SIZE bytes, by `send` |
//! | `hoard MIB` | takes and touches so much memory: `ok` |
//! | `trap TEXT` | sends the text and panics |
//! | `spin` | never returns |
//! | `load` | attaches, tags and pairs as much as a session may carry: `ok` |
//!
//! A timer whose name begins with `trap` panics, unless a session carries the attachment `calm`.
//!
//! An ending is published in the topic `endings`: `CODE INITIATOR, ` and the
//! memory. A memory that is made while a session carries the attachment
//! `trap` panics, and one that finds `spin` spins: both wake badly.

// Its deeds exist on no other machine.
#![cfg(target_family = "wasm")]

use std::fmt::Display;
use std::time::Duration;

use wharf_guest::{Ending, Handler, Message, Session, TimerHandler, Topic, timers};

struct Sleeper {
    opened: u64,
    messages: u64,
    found: Vec<String>,
    hoard: Vec<u8>,
}

impl Default for Sleeper {
    fn default() -> Self {
        let attachments = Session::all().into_iter().map(Session::attachment);
        let texts = attachments.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let found: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
        for text in &found {
            match text.as_str() {
                "trap" => panic!("it wakes badly"),
                "spin" => loop {
                    std::hint::spin_loop();
                },
                _ => {}
            }
        }
        Self {
            opened: 0,
            messages: 0,
            found,
            hoard: Vec::new(),
        }
    }
}

impl Sleeper {
    fn memory(&self) -> String {
        let Self {
            opened,
            messages,
            found,
            ..
        } = self;
        format!("opened {opened}, messages {messages}, found {found:?}")
    }

    fn run(&mut self, session: Session, command: &str) -> Result<String, String> {
        let (verb, rest) = cut(command);
        let (first, second) = cut(rest);
        match verb {
            "memory" => return Ok(self.memory()),
            "keep" => session.set_attachment(rest.as_bytes()).map_err(said)?,
            "tag" => session.set_tags(&[rest]).map_err(said)?,
            "tagged" => return Ok(Session::with_tag(rest).len().to_string()),
            "name" => return Ok(session.name().unwrap_or_default()),
            "find" => {
                let found = Session::find(rest).map(|found| found.id().to_string());
                return Ok(found.unwrap_or("none".to_owned()));
            }
            "auto" => session.set_auto_response(first, second).map_err(said)?,
            "ping" => session.set_ping_interval(Some(milliseconds(rest))),
            "join" => session
                .subscribe(rest, "")
                .map_err(|error| format!("{error:?}"))?,
            "shout" => {
                let sent = Topic::new(first).publish(second);
                sent.map(drop).map_err(|error| format!("{error:?}"))?;
            }
            "timer" => timers::set(first, milliseconds(second)).map_err(said)?,
            "cancel" => timers::cancel(rest).map_err(said)?,
            "fill" => {
                let text = "x".repeat(number(second) as usize);
                for _ in 0..number(first) {
                    session.send(&text).map_err(said)?;
                }
            }
            "hoard" => {
                self.hoard = vec![1; (number(rest) << 20) as usize];
                self.hoard.fill(2);
            }
            "trap" => {
                session.send(rest).map_err(said)?;
                panic!("the client asked for it");
            }
            "spin" => loop {
                std::hint::spin_loop();
            },
            "load" => {
                let text = |length| "l".repeat(length);
                session.set_attachment(&[7; 16 * 1024]).map_err(said)?;
                session.set_tags(&vec![text(256); 10]).map_err(said)?;
                let pair = (text(2 * 1024), text(2 * 1024));
                session.set_auto_response(&pair.0, &pair.1).map_err(said)?;
            }
            _ => return Err(format!("unknown command {verb}")),
        }
        Ok("ok".to_owned())
    }
}

impl Handler for Sleeper {
    fn on_open(&mut self, _session: Session) {
        self.opened += 1;
    }

    fn on_message(&mut self, session: Session, message: Message<'_>) {
        self.messages += 1;
        let command = message.as_text().unwrap_or_default();
        let answer = self.run(session, command);
        let _ = session.send(&answer.unwrap_or_else(|error| format!("error {error}")));
    }

    fn on_close(&mut self, _session: Session, ending: Ending) {
        let (code, initiator) = (ending.code, ending.initiator);
        let text = format!("{code} {initiator:?}, {}", self.memory());
        let _ = Topic::new("endings").publish(&text);
    }
}

impl TimerHandler for Sleeper {
    fn on_timer(&mut self, name: &str) {
        let is_calm = |session: &Session| session.attachment() == b"calm";
        if name.starts_with("trap") && !Session::all().iter().any(is_calm) {
            panic!("the timer was set for it");
        }
        let text = format!("timer {name}, {}", self.memory());
        for session in Session::all() {
            let _ = session.try_send(&text);
        }
    }
}

fn cut(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

fn milliseconds(word: &str) -> Duration {
    Duration::from_millis(number(word))
}

fn said(error: impl Display) -> String {
    error.to_string()
}

wharf_guest::export!(Sleeper, timers);
