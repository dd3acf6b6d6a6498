//! The deeds, by name.
//!
//! | deed | what it does | how it ends by itself |
//! | --- | --- | --- |
//! | `spin` | loops | never |
//! | `spin-bulk` | fills 8 MiB of memory, again and again | never |
//! | `spin-host` | calls a cheap host function, again and again | never |
//! | `grow` | grows memory until it is refused | `grow PAGES` |
//! | `touch` | allocates and writes until it is refused | never: traps |
//! | `recurse` | recurses without end | never: traps |
//! | `trap`, `panic` | `unreachable`, a Rust panic | never |
//! | `flood` | sends 64 KiB to its own session, without end, whatever it answers | never |
//! | `flood-small` | the same with one byte | never |
//! | `try-flood` | `try-send`s 1 KiB until refused | `try-flood COUNT ERROR` |
//! | `wait-send` | `send`s 64 KiB until that fails: waits while the client does not read | `wait-send COUNT ERROR` |
//! | `wait-flush` | fills the queue, then `flush`es | `wait-flush OUTCOME` |
//! | `list-binary`, `list-text`, `list-attachment`, `list-reason` | passes 2^31 bytes | never: must trap |
//! | `list-tags` | passes 2^27 tags | never: must trap |
//! | `list-end` | passes bytes that end one behind the memory | never: must trap |
//! | `large-binary`, `large-text` | passes 32 MiB that exist | `large-… OUTCOME`, unless it traps |
//! | `amplify-tags` | passes 1,000,000 tags that are all the same 1 MiB | `amplify-tags OUTCOME`, unless it traps |
//! | `bad-utf8` | sends a text that is not UTF-8 | never: must trap |
//! | `bad-kind` | sends a message of a third kind | never: must trap |
//! | `foreign` | every call on numbers that are not its sessions | `foreign ok`, or what went wrong |
//! | `close-twice` | closes with 4001, then 4002 | `close-twice` |
//! | `close-code` | closes with 1005, which must not be sent | `close-code` |
//! | `close-long` | closes with 4003 and a reason of 1,000 three-byte characters | `close-long` |
//! | `send-after-close` | closes with 4004, then sends | `send-after-close OUTCOME` |
//! | `attachment` | sets one of 16 KiB + 1 | `attachment OUTCOME` |
//! | `attachment-large` | sets one of 10 MiB | `attachment-large OUTCOME`, unless it traps |
//! | `tags` | sets 11, then one of 257 characters | `tags OUTCOME OUTCOME` |
//! | `auto-response` | sets one with 2 KiB + 1 | `auto-response OUTCOME` |
//! | `settings` | sets and asks everything 100,000 times | `settings` |

use std::arch::wasm32;
use std::hint::black_box;
use std::time::Duration;

use wharf_guest::{SendError, Session};

use crate::raw;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Does what the word says; returns what came of it.
pub(crate) fn perform(session: Session, deed: &str) -> String {
    let outcome = match deed {
        "spin" => spin(),
        "spin-bulk" => spin_bulk(),
        "spin-host" => loop {
            black_box(Session::count());
        },
        "grow" => grow().to_string(),
        "touch" => touch(),
        "recurse" => recurse(1).to_string(),
        "trap" => wasm32::unreachable(),
        "panic" => panic!("the client asked for it"),
        "flood" => flood(session, 64 * KIB),
        "flood-small" => flood(session, 1),
        "try-flood" => until_refused(|| session.try_send(&"x".repeat(KIB))),
        "wait-send" => until_refused(|| session.send(&"x".repeat(64 * KIB))),
        "wait-flush" => {
            until_refused(|| session.try_send(&"x".repeat(KIB)));
            outcome(session.flush())
        }
        "large-binary" => outcome(session.send(&vec![0; 32 * MIB])),
        "large-text" => outcome(session.send(&"x".repeat(32 * MIB))),
        "foreign" => foreign(session),
        "attachment" => outcome(session.set_attachment(&[1; 16 * KIB + 1])),
        "attachment-large" => outcome(session.set_attachment(&vec![1; 10 * MIB])),
        "tags" => tags(session),
        "auto-response" => outcome(session.set_auto_response(&"x".repeat(2 * KIB + 1), "y")),
        "settings" => settings(session),
        _ if deed.starts_with("close") || deed == "send-after-close" => close(session, deed),
        _ => match raw::perform(session, deed) {
            Some(outcome) => outcome,
            None => return deed.to_owned(),
        },
    };
    format!("{deed} {outcome}")
}

fn spin() -> ! {
    let mut count = 0_u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

fn spin_bulk() -> ! {
    let mut memory = vec![0_u8; 8 * MIB];
    loop {
        black_box(&mut memory).fill(1);
    }
}

/// Grows by 16 pages at a time; how many pages there are in the end.
fn grow() -> usize {
    while wasm32::memory_grow(0, 16) != usize::MAX {}
    wasm32::memory_size(0)
}

fn touch() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1_u8; MIB]));
    }
}

#[allow(unconditional_recursion, reason = "that is the deed")]
fn recurse(depth: u64) -> u64 {
    // Used after the call, so that it is not a loop.
    let room = black_box([depth; 16]);
    black_box(recurse(depth + 1)) + room[0]
}

fn flood(session: Session, bytes: usize) -> ! {
    let text = "x".repeat(bytes);
    loop {
        let _ = session.send(&text);
    }
}

fn until_refused(send: impl Fn() -> Result<(), SendError>) -> String {
    let mut count = 0_u64;
    loop {
        match send() {
            Ok(()) => count += 1,
            refused => return format!("{count} {}", outcome(refused)),
        }
    }
}

/// Numbers that are no session of this instance must answer as closed ones.
fn foreign(own: Session) -> String {
    for id in [
        0,
        own.id() + 1,
        own.id() + 1000,
        u64::from(u32::MAX),
        u64::MAX,
    ] {
        let session = Session::from_id(id);
        if Session::all().contains(&session) {
            continue;
        }
        let refused = [
            session.send("x"),
            session.try_send(b"x"),
            session.flush(),
            session.set_attachment(b"x"),
            session.set_tags(&["x"]),
            session.set_auto_response("x", "y"),
            session.clear_auto_response(),
        ];
        if refused
            .iter()
            .any(|answer| !matches!(answer, Err(SendError::Closed)))
        {
            return format!("{id} was not closed: {refused:?}");
        }
        session.set_ping_interval(Some(Duration::from_millis(1)));
        session.set_timeout(Duration::from_millis(1));
        session.close(4000, "x");
        let empty = session.request().is_none()
            && session.subprotocol().is_none()
            && session.name().is_none()
            && session.attachment().is_empty()
            && session.tags().is_empty()
            && session.queued_bytes() == 0;
        if !empty {
            return format!("{id} has something to tell");
        }
    }
    "ok".to_owned()
}

fn close(session: Session, deed: &str) -> String {
    match deed {
        "close-twice" => {
            session.close(4001, "first");
            session.close(4002, "second");
        }
        "close-code" => session.close(1005, "must not be sent"),
        "close-long" => session.close(4003, &"€".repeat(1000)),
        "send-after-close" => {
            session.close(4004, "closed first");
            return outcome(session.send("too late"));
        }
        _ => {}
    }
    String::new()
}

fn tags(session: Session) -> String {
    let many = outcome(session.set_tags(&["x"; 11]));
    let long = outcome(session.set_tags(&["x".repeat(257)]));
    format!("{many} {long}")
}

fn settings(session: Session) -> String {
    for round in 0..100_000_u64 {
        session.set_ping_interval(Some(Duration::from_millis(30_000 + round)));
        session.set_timeout(Duration::from_millis(15_000 + round));
        let _ = session.set_tags(&[round.to_string()]);
        let _ = session.set_attachment(&round.to_le_bytes());
        black_box(session.request());
    }
    String::new()
}

pub(crate) fn outcome(result: Result<(), SendError>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(SendError::Closed) => "closed".to_owned(),
        Err(SendError::Full) => "full".to_owned(),
        Err(SendError::TooLarge(limit)) => format!("too-large:{limit}"),
    }
}
