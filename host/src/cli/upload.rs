//! A body of multipart/form-data (RFC 7578), sent a piece at a time so that progress can be shown.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, SizeHint};

/// What stands between the parts. Components and manifests that hold it are refused by the server as
/// broken; none does by accident.
macro_rules! boundary {
    () => {
        "wharf-5b1c7a54e06f4dd3a3a9"
    };
}

/// The value of Content-Type.
pub(super) const CONTENT_TYPE: &str = concat!("multipart/form-data; boundary=", boundary!());
/// Bytes that are sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// One part.
pub(super) struct Part {
    head: String,
    content: Bytes,
}

impl Part {
    pub(super) fn new(name: &str, file: &str, content: Bytes) -> Self {
        let head = format!(
            concat!(
                "--",
                boundary!(),
                "\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\n",
                "Content-Type: application/octet-stream\r\n\r\n"
            ),
            name, file
        );
        Self { head, content }
    }
}

/// The parts as a body; without any, an empty one. `observe` is told how many bytes are on their way.
pub(super) fn body(
    parts: Vec<Part>,
    observe: impl FnMut(usize) + Send + Sync + Unpin + 'static,
) -> BoxBody<Bytes, Infallible> {
    let mut pieces = Vec::new();
    let has_parts = !parts.is_empty();
    for part in parts {
        pieces.push(Bytes::from(part.head));
        let mut content = part.content;
        while !content.is_empty() {
            pieces.push(content.split_to(PIECE_BYTES.min(content.len())));
        }
        pieces.push(Bytes::from_static(b"\r\n"));
    }
    if has_parts {
        pieces.push(Bytes::from_static(
            concat!("--", boundary!(), "--\r\n").as_bytes(),
        ));
    }
    pieces.reverse();
    BoxBody::new(Upload {
        left: pieces.iter().map(Bytes::len).sum(),
        pieces,
        sent: 0,
        observe,
    })
}

struct Upload<F> {
    /// The next one last.
    pieces: Vec<Bytes>,
    sent: usize,
    left: usize,
    observe: F,
}

impl<F: FnMut(usize) + Unpin> Body for Upload<F> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(piece) = self.pieces.pop() else {
            return Poll::Ready(None);
        };
        self.sent += piece.len();
        self.left -= piece.len();
        let sent = self.sent;
        (self.observe)(sent);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}
