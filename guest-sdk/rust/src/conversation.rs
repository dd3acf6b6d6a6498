//! Handlers that are coroutines: one function for each session, which waits for its messages. What
//! it knows of the session stands in its variables. Needs the feature `conversation`.
//!
//! ```no_run
//! use wharf_guest::conversation::{Incoming, Session};
//!
//! async fn converse(session: Session, mut incoming: Incoming) {
//!     let mut count = 0;
//!     while let Some(message) = incoming.next().await {
//!         count += 1;
//!         if session.send(&message).await.is_err() {
//!             return;
//!         }
//!     }
//! }
//!
//! wharf_guest::converse!(converse);
//! # fn main() {}
//! ```
//!
//! The function begins with the session and may last as long as it does. Returning closes the
//! session with code 1000, unless it was [closed](crate::Session::close) before. When the session ends first, in whatever way,
//! [`next`](Incoming::next) answers `None`, [`ending`](Incoming::ending) says why, and the
//! function has some seconds to return (`wall_per_call` of the route, 10 s).
//!
//! Every wait has to end in one of the host's: a function that awaits nothing but what its own
//! program would have to bring about (a channel between two of its tasks of which none waits for
//! the host, `std::future::pending`) can never be woken, and panics in wit-bindgen as soon as it
//! is found waiting: 1011. [`poll_fn`](std::future::poll_fn) that wakes itself goes on, and counts as
//! running: `cpu_per_call`.
//!
//! Only what is awaited here (`next`, [`send`](Session::send), [`flush`](Session::flush)) lets
//! other conversations of the instance go on. A panic ends the instance, with 1011.

use std::collections::VecDeque;
use std::ops::Deref;

use wit_bindgen::StreamReader;

use crate::bindings::conversation::wharf::websocket::conversation as host;
use crate::bindings::wharf::websocket::types::MessageResult;
use crate::{Ending, SendError};

/// Messages that are taken over from the host at once, if so many are there.
const READ_MAX: usize = 16;

/// The session of a conversation: a [`crate::Session`] whose sending can be awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Session(crate::Session);

impl Session {
    /// Queues a message. While the session's queue is full it waits, for the route's write timeout
    /// at most; other conversations go on meanwhile.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::TooLarge`] with the limit in bytes, or
    /// [`SendError::Full`]: the timeout has passed, or another `send` of this session waits
    /// already.
    pub async fn send<'a>(self, message: impl Into<crate::Message<'a>>) -> Result<(), SendError> {
        let message = message.into();
        // Nearly always there is room, and nothing is copied.
        match self.0.try_send(message) {
            Err(SendError::Full) => host::send(self.0.id(), owned(message)).await,
            answer => answer,
        }
    }

    /// Waits until all that was queued before has been written.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the session ends first, [`SendError::Full`] when the write
    /// timeout passes.
    pub async fn flush(self) -> Result<(), SendError> {
        host::flush(self.0.id()).await
    }
}

impl Deref for Session {
    type Target = crate::Session;

    fn deref(&self) -> &crate::Session {
        &self.0
    }
}

/// The messages of one session, in order.
///
/// What is not read makes the host read no further from the client; who wants no messages drops
/// it.
#[derive(Debug)]
pub struct Incoming {
    session: u64,
    stream: WireStream,
    ahead: VecDeque<MessageResult>,
}

impl Incoming {
    /// Waits for the next message; `None` once the session has ended.
    pub async fn next(&mut self) -> Option<Message> {
        if self.ahead.is_empty() {
            let room = Vec::with_capacity(READ_MAX);
            let (_, read) = self.stream.read(room).await;
            self.ahead = read.into();
        }
        self.ahead.pop_front().map(Message::from)
    }

    /// Waits for the next text; `None` once the session has ended. Bytes that come before it are
    /// passed over.
    pub async fn next_text(&mut self) -> Option<String> {
        loop {
            if let Message::Text(text) = self.next().await? {
                return Some(text);
            }
        }
    }

    /// How the session ended; `None` while it has not.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        host::ended(self.session)
    }
}

/// One whole WebSocket message, kept by the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text, valid UTF-8.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Message {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        crate::Message::from(self).as_text()
    }

    /// The payload, of either kind.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        crate::Message::from(self).as_bytes()
    }
}

impl<'a> From<&'a Message> for crate::Message<'a> {
    fn from(message: &'a Message) -> Self {
        match message {
            Message::Text(text) => crate::Message::Text(text),
            Message::Binary(bytes) => crate::Message::Binary(bytes),
        }
    }
}

impl From<MessageResult> for Message {
    fn from(message: MessageResult) -> Self {
        match message {
            MessageResult::Text(text) => Message::Text(text),
            MessageResult::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

fn owned(message: crate::Message<'_>) -> MessageResult {
    match message {
        crate::Message::Text(text) => MessageResult::Text(text.to_owned()),
        crate::Message::Binary(bytes) => MessageResult::Binary(bytes.to_owned()),
    }
}

/// What the host hands over.
#[doc(hidden)]
pub type WireStream = StreamReader<MessageResult>;

/// Where the macro enters.
#[doc(hidden)]
pub async fn converse<F: Future<Output = ()>>(
    conversation: impl FnOnce(Session, Incoming) -> F,
    session: u64,
    stream: WireStream,
) {
    let incoming = Incoming {
        session,
        stream,
        ahead: VecDeque::new(),
    };
    conversation(Session(crate::Session::from_id(session)), incoming).await;
}

/// Exports a conversation: an `async fn(Session, Incoming)` of
/// [`conversation`](crate::conversation). A component has either this or a handler.
///
/// ```ignore
/// wharf_guest::converse!(my_conversation);
/// ```
#[macro_export]
macro_rules! converse {
    ($conversation:path) => {
        const _: () = {
            use $crate::bindings::conversation::exports::wharf::websocket::conversation_handler as wire;

            struct WharfConversation;

            impl wire::Guest for WharfConversation {
                async fn converse(session: u64, incoming: $crate::conversation::WireStream) {
                    $crate::conversation::converse($conversation, session, incoming).await;
                }
            }

            $crate::bindings::conversation::export_conversation!(
                WharfConversation with_types_in $crate::bindings::conversation
            );
        };
    };
}
