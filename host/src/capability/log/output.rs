//! A guest's stdout and stderr as WASI sees them: whole lines go to its tenant's log. Always ready,
//! never blocks a guest and never fails a write.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::{InstanceLog, LINE_BYTES_MAX, Source};

/// What a guest may write at once; its language's runtime cuts what it prints to this.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// One output of one instance.
#[derive(Clone)]
pub(crate) struct Output(Arc<Mutex<Lines>>);

impl Output {
    pub(crate) fn new(log: Arc<InstanceLog>, source: Source) -> Self {
        Self(Arc::new(Mutex::new(Lines {
            log,
            source,
            partial: Vec::new(),
        })))
    }

    fn append(&self, bytes: &[u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes);
    }
}

/// Joins what is written into lines.
struct Lines {
    log: Arc<InstanceLog>,
    source: Source,
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
        self.log.print(self.source, line);
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

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // WASI 0.2 asks for the other one; this is for 0.3, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Output {
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
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_pieces_is_held_until_its_line_ends() {
        let output = Output::new(InstanceLog::for_test(), Source::Stdout);
        let partial = || output.0.lock().expect("not poisoned").partial.clone();
        output.append(b"hel");
        assert_eq!(partial(), b"hel");
        output.append(b"lo\nwor");
        assert_eq!(partial(), b"wor");
        output.append(&[b'x'; 3 * LINE_BYTES_MAX]);
        assert!(partial().len() <= LINE_BYTES_MAX);
    }
}
