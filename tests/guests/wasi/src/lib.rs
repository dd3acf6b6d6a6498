//! A handler that uses WASI, and misuses it on demand. Each text message is
//! one command:
//!
//! | command | what it does | answer |
//! | --- | --- | --- |
//! | `print TEXT`, `print-error TEXT` | writes a line to stdout, to stderr | `ok` |
//! | `log` | writes lines of 100 bytes to stdout without end | never |
//! | `log-line` | writes one line of 16 MiB | `ok` |
//! | `sandbox` | counts what it was given | `environment 0 arguments 0 directories 0` |
//! | `handles` | creates pollables and keeps them, without end | never: must trap |
//! | `handles COUNT` | creates that many and keeps them | `ok` |
//! | `sleep` | waits an hour inside the host | never |
//! | `clocks` | reads both clocks a thousand times | `N M`: resolution in ns, and the greatest common divisor of all that was read |
//! | `random BYTES` | asks for random bytes | how many came |
//!
//! Everything else is echoed. Each ending is written to stdout as `probe` tells
//! it to its observers: in a drain there is no session left to tell.

wit_bindgen::generate!({ path: "wit", generate_all });

use wasi::cli::environment::{get_arguments, get_environment};
use wasi::cli::{stderr::get_stderr, stdout::get_stdout};
use wasi::clocks::monotonic_clock::{self, subscribe_duration};
use wasi::clocks::wall_clock;
use wasi::filesystem::preopens::get_directories;
use wasi::io::streams::OutputStream;
use wasi::random::random::get_random_bytes;
use wharf_guest::{Ending, Handler, Initiator, Message, Session};

/// Nanoseconds.
const HOUR: u64 = 3_600_000_000_000;

/// What one write to a stream may hold (wasi:io/streams).
const WRITE_BYTES_MAX: usize = 4096;

#[derive(Default)]
struct Wasi;

impl Handler for Wasi {
    fn on_message(&mut self, session: Session, message: Message<'_>) {
        let Message::Text(command) = message else {
            let _ = session.send(message);
            return;
        };
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let answer = match verb {
            "print" => write(&get_stdout(), &format!("{rest}\n")),
            "print-error" => write(&get_stderr(), &format!("{rest}\n")),
            "log" => loop {
                write(&get_stdout(), &format!("{}\n", "x".repeat(99)));
            },
            "log-line" => write(&get_stdout(), &format!("{}\n", "x".repeat(16 << 20))),
            "sandbox" => format!(
                "environment {} arguments {} directories {}",
                get_environment().len(),
                get_arguments().len(),
                get_directories().len(),
            ),
            "handles" if rest.is_empty() => loop {
                std::mem::forget(subscribe_duration(HOUR));
            },
            "handles" => {
                for _ in 0..number(rest) {
                    std::mem::forget(subscribe_duration(HOUR));
                }
                "ok".to_owned()
            }
            "sleep" => {
                subscribe_duration(HOUR).block();
                "ok".to_owned()
            }
            "clocks" => clocks(),
            "random" => get_random_bytes(number(rest)).len().to_string(),
            _ => command.to_owned(),
        };
        let _ = session.send(&answer);
    }

    fn on_close(&mut self, session: Session, ending: Ending) {
        let initiator = match ending.initiator {
            Initiator::Peer => "peer",
            Initiator::Handler => "handler",
            Initiator::Host => "host",
        };
        let event = format!(
            "{{\"event\":\"close\",\"session\":{},\"code\":{},\"reason\":{:?},\"clean\":{},\"initiator\":\"{initiator}\"}}\n",
            session.id(),
            ending.code,
            ending.reason,
            ending.clean,
        );
        write(&get_stdout(), &event);
    }
}

fn write(stream: &OutputStream, text: &str) -> String {
    for part in text.as_bytes().chunks(WRITE_BYTES_MAX) {
        if stream.blocking_write_and_flush(part).is_err() {
            return "closed".to_owned();
        }
    }
    "ok".to_owned()
}

/// What the clocks say of themselves, and in which steps they really move.
fn clocks() -> String {
    let mut step = 0;
    for _ in 0..1_000 {
        step = divisor(step, monotonic_clock::now());
        step = divisor(step, wall_clock::now().nanoseconds.into());
    }
    let wall = wall_clock::resolution();
    assert_eq!(wall.seconds, 0, "finer than a second");
    let finest = monotonic_clock::resolution().min(wall.nanoseconds.into());
    format!("{finest} {step}")
}

fn divisor(left: u64, right: u64) -> u64 {
    if right == 0 {
        left
    } else {
        divisor(right, left % right)
    }
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

wharf_guest::export!(Wasi);
