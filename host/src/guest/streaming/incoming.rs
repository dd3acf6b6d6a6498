//! The messages of one conversation on their way into its stream.
//!
//! Bounded by what puts in: a session is not read while it has too much unfinished, and a message
//! is finished when the guest asks for the next. Knows neither sessions nor inboxes; it tells how
//! much was finished to whoever made it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use send_wrapper::SendWrapper;
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, StreamProducer, StreamResult, VecBuffer};
use wharf_protocol::MessageKind;

use super::super::state::State;
use crate::capability::bindings::StreamedMessage;

/// A clone means the same messages.
#[derive(Clone)]
pub(crate) struct Incoming(Rc<Shared>);

struct Shared {
    queue: RefCell<VecDeque<StreamedMessage>>,
    /// Count and payload bytes of what the guest has and may still be working on.
    given: Cell<(usize, usize)>,
    /// Nothing more will be put in.
    ended: Cell<bool>,
    /// Nobody will read what is put in.
    unwanted: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    finished: Box<dyn Fn(usize, usize)>,
}

impl Incoming {
    /// `finished` is told the count and the payload bytes of messages that are done with.
    pub(crate) fn new(finished: impl Fn(usize, usize) + 'static) -> Self {
        Self(Rc::new(Shared {
            queue: RefCell::default(),
            given: Cell::default(),
            ended: Cell::new(false),
            unwanted: Cell::new(false),
            reader: RefCell::default(),
            finished: Box::new(finished),
        }))
    }

    /// Puts in a message; it is finished at once if nobody wants it.
    pub(crate) fn push(&self, kind: MessageKind, payload: Vec<u8>) {
        if self.0.unwanted.get() {
            return (self.0.finished)(1, payload.len());
        }
        let message = StreamedMessage::new(kind, payload);
        self.0.queue.borrow_mut().push_back(message);
        self.wake();
    }

    /// Nothing more will come: the stream ends behind what is in it.
    pub(crate) fn end(&self) {
        self.0.ended.set(true);
        self.wake();
    }

    /// Whatever is in it, or comes, is finished: nobody will read it.
    pub(crate) fn discard(&self) {
        self.0.unwanted.set(true);
        self.finish_given();
        let queue = std::mem::take(&mut *self.0.queue.borrow_mut());
        if !queue.is_empty() {
            let bytes = queue.iter().map(StreamedMessage::len).sum();
            (self.0.finished)(queue.len(), bytes);
        }
        self.wake();
    }

    /// What feeds the guest's stream; there is one for each conversation.
    pub(super) fn producer(&self) -> Producer {
        Producer(SendWrapper::new(self.clone()))
    }

    fn finish_given(&self) {
        let (count, bytes) = self.0.given.take();
        if count > 0 {
            (self.0.finished)(count, bytes);
        }
    }

    fn wake(&self) {
        if let Some(reader) = self.0.reader.borrow_mut().take() {
            reader.wake();
        }
    }

    fn hand_out(&self, room: usize) -> Vec<StreamedMessage> {
        let mut queue = self.0.queue.borrow_mut();
        let count = queue.len().min(room);
        let messages: Vec<StreamedMessage> = queue.drain(..count).collect();
        let bytes = messages.iter().map(StreamedMessage::len).sum();
        self.0.given.set((count, bytes));
        messages
    }
}

/// The writing end of a conversation's stream. A Store's data has to be `Send`, the sessions of a
/// worker are not: an instance never leaves its thread.
pub(super) struct Producer(SendWrapper<Incoming>);

impl StreamProducer<State> for Producer {
    type Item = StreamedMessage;
    type Buffer = VecBuffer<StreamedMessage>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'a, State>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let incoming = &self.0;
        // Who reads again is done with what was read before.
        incoming.finish_given();
        let room = destination.remaining(&mut store).unwrap_or(1);
        if !incoming.0.queue.borrow().is_empty() {
            let messages = incoming.hand_out(room);
            if !messages.is_empty() {
                // A message is like a call: it has CPU time of its own.
                let state = store.data_mut();
                state.limiter.forget();
                state.meter.reset();
            }
            destination.set_buffer(messages.into());
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        if incoming.0.ended.get() {
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        if finish {
            return Poll::Ready(Ok(StreamResult::Cancelled));
        }
        *incoming.0.reader.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Producer {
    /// The guest has dropped its end, or its Store is gone.
    fn drop(&mut self) {
        self.0.discard();
    }
}
