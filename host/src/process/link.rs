//! What a server and its successor say to each other: one JSON object a line. The two may be of
//! different versions: what one does not know it passes over, and what is said never changes its
//! meaning.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt as _;

/// One thing that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The server: these are the sockets that you have, in their order, each with the address by
    /// which the configuration named it, or `admin`; `manager ADDRESS` is of a service manager.
    Sockets(Vec<String>),
    /// The successor: everything is compiled and checked; it waits for the storage.
    Prepared,
    /// The server: the storage is yours.
    Released,
    /// The successor: it accepts.
    Ready,
    /// The successor: it cannot, and ends.
    Failed(String),
    /// The server: so many sessions are left here.
    Sessions(u64),
    /// The successor: it gives way itself, so end what is left soon.
    End,
    /// Something that a newer version says.
    Unknown,
}

impl Word {
    fn to_line(&self) -> String {
        let value = match self {
            Self::Sockets(addresses) => json!({ "say": "sockets", "addresses": addresses }),
            Self::Prepared => json!({ "say": "prepared" }),
            Self::Released => json!({ "say": "released" }),
            Self::Ready => json!({ "say": "ready" }),
            Self::Failed(why) => json!({ "say": "failed", "why": why }),
            Self::Sessions(count) => json!({ "say": "sessions", "count": count }),
            Self::End => json!({ "say": "end" }),
            Self::Unknown => json!({}),
        };
        format!("{value}\n")
    }

    fn of_line(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        match value["say"].as_str() {
            Some("sockets") => {
                let addresses = value["addresses"].as_array().into_iter().flatten();
                let text = |address: &Value| address.as_str().unwrap_or_default().to_owned();
                Self::Sockets(addresses.map(text).collect())
            }
            Some("prepared") => Self::Prepared,
            Some("released") => Self::Released,
            Some("ready") => Self::Ready,
            Some("failed") => Self::Failed(value["why"].as_str().unwrap_or_default().to_owned()),
            Some("sessions") => Self::Sessions(value["count"].as_u64().unwrap_or(0)),
            Some("end") => Self::End,
            _ => Self::Unknown,
        }
    }
}

/// The successor's end, for a thread that may wait.
#[derive(Debug)]
pub(crate) struct Upwards {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Upwards {
    pub(crate) fn new(stream: UnixStream) -> Result<Self> {
        stream.set_nonblocking(false)?;
        let lines = BufReader::new(stream.try_clone().context("the way to the old process")?);
        Ok(Self { stream, lines })
    }

    /// A second handle that only speaks.
    pub(crate) fn speaker(&self) -> Result<Speaker> {
        Ok(Speaker(self.stream.try_clone()?))
    }

    /// What the server says next; `None` when it has ended.
    pub(crate) fn hear(&mut self, within: Option<Duration>) -> Option<Word> {
        self.stream.set_read_timeout(within).ok()?;
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(1..) => Some(Word::of_line(&line)),
            Ok(0) | Err(_) => None,
        }
    }
}

/// Says things to the old process, which may not be there any more.
#[derive(Debug)]
pub(crate) struct Speaker(UnixStream);

impl Speaker {
    pub(crate) fn say(&self, word: &Word) {
        // One that has ended needs to hear nothing.
        let _ = (&self.0).write_all(word.to_line().as_bytes());
    }
}

/// The server's end.
#[derive(Debug)]
pub(crate) struct Downwards {
    speaker: Speaker,
    lines: tokio::io::BufReader<tokio::net::UnixStream>,
    line: Vec<u8>,
}

impl Downwards {
    pub(crate) fn new(stream: UnixStream) -> Result<Self> {
        stream.set_nonblocking(true)?;
        let speaker = Speaker(stream.try_clone().context("the way to the new process")?);
        let stream = tokio::net::UnixStream::from_std(stream)?;
        Ok(Self {
            speaker,
            lines: tokio::io::BufReader::new(stream),
            line: Vec::new(),
        })
    }

    /// A successor that does not read misses what there is no room for.
    pub(crate) fn say(&self, word: &Word) {
        self.speaker.say(word);
    }

    /// What the successor says next; `None` when it has ended. What was read is not lost when this
    /// is given up.
    pub(crate) async fn hear(&mut self) -> Option<Word> {
        match self.lines.read_until(b'\n', &mut self.line).await {
            Ok(1..) => {
                let line = std::mem::take(&mut self.line);
                Some(Word::of_line(&String::from_utf8_lossy(&line)))
            }
            Ok(0) | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let words = [
            Word::Sockets(vec!["127.0.0.1:0".to_owned(), "[::1]:80".to_owned()]),
            Word::Prepared,
            Word::Released,
            Word::Ready,
            Word::Failed("line one\nline two".to_owned()),
            Word::Sessions(3),
            Word::End,
        ];
        for word in words {
            let line = word.to_line();
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert_eq!(Word::of_line(&line), word);
        }
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        for line in ["", "\n", "{", "[]", "{\"say\":\"sing\"}", "{\"say\":7}"] {
            assert_eq!(Word::of_line(line), Word::Unknown, "{line:?}");
        }
    }
}
