//! What guests print: whole lines of stdout and stderr, to the tracing target `guest`, at most
//! [`BYTES_PER_SECOND_MAX`] for each program; what is more is dropped and counted.
//!
//! Never blocks a guest and never fails a write. Control characters are escaped, so that a guest
//! cannot write to the operator's terminal.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// The tracing target of guests' lines.
const TARGET: &str = "guest";
/// Bytes that all instances of one program may log in a second, and at once.
const BYTES_PER_SECOND_MAX: u64 = 1 << 20;
/// What the log adds to a line, about: the time, the program's name, field names.
const ENVELOPE_BYTES: u64 = 256;
/// Between two reports of dropped lines.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A longer line is cut into pieces of this size.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// What a guest may write at once; its language's runtime cuts what it prints to this.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Where the instances of one program log to.
#[derive(Clone)]
pub(crate) struct GuestLog(Arc<Shared>);

struct Shared {
    program: Arc<str>,
    /// Contended only by instances of one program that print at the same time.
    budget: Mutex<Budget>,
}

/// Which of a guest's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl GuestLog {
    /// A log for the program of that name.
    pub(crate) fn new(program: Arc<str>) -> Self {
        Self(Arc::new(Shared {
            program,
            budget: Mutex::new(Budget::new(Instant::now())),
        }))
    }

    /// One output of one instance.
    pub(super) fn stream(&self, stream: Stream) -> LogStream {
        LogStream(Arc::new(Mutex::new(Lines {
            log: self.clone(),
            stream,
            partial: Vec::new(),
        })))
    }

    fn line(&self, stream: Stream, line: &[u8]) {
        let line = printable(line);
        let mut budget = self.0.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = budget.admit(line.len(), Instant::now());
        drop(budget);
        let program = &*self.0.program;
        match admitted {
            Admitted::No => {}
            Admitted::Yes { dropped } => {
                if dropped > 0 {
                    tracing::warn!(target: TARGET, program, dropped, "lines dropped: over 1 MiB/s");
                }
                tracing::info!(target: TARGET, program, stream = stream.name(), "{line}");
            }
        }
    }
}

/// Bytes that may be logged, and how many lines could not be.
struct Budget {
    bytes: u64,
    refilled: Instant,
    dropped: u64,
    reported: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Admitted {
    /// Log it, after saying how many lines before it were not, if it is time to.
    Yes {
        dropped: u64,
    },
    No,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            bytes: BYTES_PER_SECOND_MAX,
            refilled: now,
            dropped: 0,
            reported: None,
        }
    }

    /// A line costs about what is written, so that empty lines are bounded too.
    fn admit(&mut self, line_bytes: usize, now: Instant) -> Admitted {
        let elapsed = now.saturating_duration_since(self.refilled);
        let refill = elapsed.as_micros() as u64 * BYTES_PER_SECOND_MAX / 1_000_000;
        if refill > 0 {
            self.bytes = (self.bytes.saturating_add(refill)).min(BYTES_PER_SECOND_MAX);
            self.refilled = now;
        }
        let cost = line_bytes as u64 + ENVELOPE_BYTES;
        if cost + ENVELOPE_BYTES > self.bytes {
            self.dropped += 1;
            return Admitted::No;
        }
        self.bytes -= cost;
        let was_reported = self.reported.is_some_and(|at| now < at + REPORT_INTERVAL);
        if self.dropped == 0 || was_reported {
            return Admitted::Yes { dropped: 0 };
        }
        self.bytes -= ENVELOPE_BYTES;
        self.reported = Some(now);
        Admitted::Yes {
            dropped: std::mem::take(&mut self.dropped),
        }
    }
}

/// Joins what is written into lines.
struct Lines {
    log: GuestLog,
    stream: Stream,
    /// The line that has not ended yet, at most [`LINE_BYTES_MAX`].
    partial: Vec<u8>,
}

impl Lines {
    fn write(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.append(bytes);
    }

    fn append(&mut self, mut bytes: &[u8]) {
        while self.partial.len() + bytes.len() > LINE_BYTES_MAX {
            let (piece, rest) = bytes.split_at(LINE_BYTES_MAX - self.partial.len());
            self.partial.extend_from_slice(piece);
            self.end_line();
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
    }

    fn end_line(&mut self) {
        let line = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
        self.log.line(self.stream, line);
        self.partial.clear();
    }
}

impl Drop for Lines {
    /// A guest's last words often lack a newline: a panic message is one.
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            self.end_line();
        }
    }
}

/// The line as text, with control characters escaped.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\t' {
            // Writing to a String cannot fail.
            let _ = write!(printable, "{}", character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

/// An output as WASI sees it. Always ready.
#[derive(Clone)]
pub(super) struct LogStream(Arc<Mutex<Lines>>);

impl LogStream {
    fn append(&self, bytes: &[u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes);
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // WASI 0.2 asks for the other one; this is for 0.3, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 5,000 lines of a KiB, envelope and all, are logged.
    fn admitted(budget: &mut Budget, at: Instant) -> usize {
        let line = 1024 - ENVELOPE_BYTES as usize;
        let flood = (0..5_000).map(|_| budget.admit(line, at));
        flood.filter(|admitted| *admitted != Admitted::No).count()
    }

    #[test]
    fn a_flood_is_cut_at_a_mebibyte_a_second_and_counted() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        assert_eq!(admitted(&mut budget, start), 1023);
        let dropped = budget.dropped;
        assert_eq!(dropped, 5_000 - 1023);
        let later = start + Duration::from_secs(1);
        assert_eq!(budget.admit(0, later), Admitted::Yes { dropped });
        assert_eq!(admitted(&mut budget, later), 1023);
        let much_later = start + Duration::from_secs(3_600);
        let unused_does_not_add_up = admitted(&mut budget, much_later);
        assert_eq!(unused_does_not_add_up, 1023);
    }

    #[test]
    fn dropped_lines_are_reported_once_a_second_and_none_is_forgotten() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let (mut reports, mut reported, mut dropped) = (0, 0, 0);
        for millisecond in 0..2_500 {
            let now = start + Duration::from_millis(millisecond);
            for _ in 0..100 {
                match budget.admit(100, now) {
                    Admitted::No => dropped += 1,
                    Admitted::Yes { dropped: 0 } => {}
                    Admitted::Yes { dropped } => {
                        reports += 1;
                        reported += dropped;
                    }
                }
            }
        }
        assert_eq!(reports, 3);
        assert_eq!(reported + budget.dropped, dropped);
    }

    #[test]
    fn empty_lines_are_bounded_too() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        let lines = (0..10_000).map(|_| budget.admit(0, now));
        let admitted = lines.filter(|admitted| *admitted != Admitted::No).count();
        assert_eq!(admitted as u64, BYTES_PER_SECOND_MAX / ENVELOPE_BYTES - 1);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable(b"a\x1b[2Jb\tc"), "a\\u{1b}[2Jb\tc");
        assert_eq!(printable(&[b'x', 0xff]), "x\u{fffd}");
    }

    #[test]
    fn what_is_written_in_pieces_is_held_until_its_line_ends() {
        let log = GuestLog::new("test".into());
        let stream = log.stream(Stream::Stdout);
        let spent = || BYTES_PER_SECOND_MAX - log.0.budget.lock().expect("not poisoned").bytes;
        stream.append(b"hel");
        assert_eq!(spent(), 0);
        stream.append(b"lo\nwor");
        assert_eq!(spent(), 5 + ENVELOPE_BYTES);
        assert_eq!(stream.0.lock().expect("not poisoned").partial, b"wor");
        stream.append(&[b'x'; 3 * LINE_BYTES_MAX]);
        assert!(stream.0.lock().expect("not poisoned").partial.len() <= LINE_BYTES_MAX);
    }
}
