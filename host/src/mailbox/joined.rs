//! Messages to many sessions at once. What a guest call publishes to the same sessions is encoded
//! once, joined, and goes to each of them in one write, past its queue where nothing is in there.
//!
//! Nothing waits here longer than a call does until it ends or first waits. Whoever writes to a
//! session meanwhile, or asks what is queued, first has all that is joined put into the queues
//! ([`super::cork::Cork::settle`]), so each session gets everything in the order of the calls.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use wharf_protocol::{Broadcast, MessageKind};

use super::Outbox;
use super::outbox::CORK_BYTES_MAX;
use crate::metrics::TopicCounters;

/// Who gets a message. Shared with whoever keeps it, so that joining copies no list.
pub(crate) type Audience = Rc<Vec<Outbox>>;

/// What one worker has joined.
#[derive(Default)]
pub(super) struct Joined {
    run: RefCell<Run>,
    waits: Cell<bool>,
}

/// Messages that follow each other, to the same sessions. Its memory serves the next one.
#[derive(Default)]
struct Run {
    /// None before the first message.
    to: Option<(Audience, Arc<TopicCounters>)>,
    /// Uncompressed, one behind the other.
    frames: Vec<u8>,
    messages: Vec<Joint>,
    payload_bytes: usize,
    longest_bytes: usize,
}

/// One message of a run.
struct Joint {
    kind: MessageKind,
    payload: Range<usize>,
    /// A session of the audience that does not get it.
    except: Option<u64>,
}

/// Whether what is joined may go past the queues.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Queue,
    Write,
}

impl Joined {
    /// Whether anything waits.
    #[inline]
    pub(super) fn waits(&self) -> bool {
        self.waits.get()
    }

    /// Adds a message. Text has to be UTF-8.
    pub(super) fn add(
        &self,
        audience: &Audience,
        (kind, payload): (MessageKind, &[u8]),
        except: Option<u64>,
        counters: &Arc<TopicCounters>,
    ) {
        if self.waits() && !self.run.borrow().is_for(audience) {
            self.hand_out(Way::Queue);
        }
        let mut run = self.run.borrow_mut();
        run.to
            .get_or_insert_with(|| (audience.clone(), counters.clone()));
        Broadcast::append_plain(kind, payload, &mut run.frames);
        let end = run.frames.len();
        run.messages.push(Joint {
            kind,
            payload: end - payload.len()..end,
            except,
        });
        run.payload_bytes += payload.len();
        run.longest_bytes = run.longest_bytes.max(payload.len());
        self.waits.set(true);
        drop(run);
        if end >= CORK_BYTES_MAX {
            self.hand_out(Way::Write);
        }
    }

    /// Gives all sessions what is joined for them.
    pub(super) fn hand_out(&self, way: Way) {
        if !self.waits.replace(false) {
            return;
        }
        // Sessions are written to or woken, and call no one, so nothing is joined meanwhile.
        let mut run = self.run.borrow_mut();
        run.hand_out(way);
        run.clear();
    }
}

impl Run {
    fn is_for(&self, audience: &Audience) -> bool {
        let to = self.to.as_ref();
        to.is_some_and(|(known, _)| Rc::ptr_eq(known, audience))
    }

    fn hand_out(&self, way: Way) {
        let Some((audience, counters)) = &self.to else {
            return;
        };
        let mut forms: Vec<Broadcast<'_>> = Vec::new();
        let (mut due, mut queued) = (0, 0);
        for outbox in &**audience {
            let excepted = self
                .messages
                .iter()
                .filter(|joint| joint.is_not_for(outbox));
            let excepted = excepted.count();
            due += self.messages.len() - excepted;
            if excepted == 0 && outbox.take_frames(&self.frames, self.longest_bytes, way) {
                let counts = outbox.counts();
                counts.send_all(self.messages.len(), self.payload_bytes);
                queued += self.messages.len();
                continue;
            }
            if forms.is_empty() {
                forms.extend(self.messages.iter().map(|joint| self.form(joint)));
            }
            for (joint, form) in self.messages.iter().zip(&mut forms) {
                if !joint.is_not_for(outbox) && outbox.queue_broadcast(form).is_ok() {
                    queued += 1;
                }
            }
        }
        counters.add(queued as u64, (due - queued) as u64);
    }

    fn form(&self, joint: &Joint) -> Broadcast<'_> {
        Broadcast::new(joint.kind, &self.frames[joint.payload.clone()])
    }

    fn clear(&mut self) {
        self.to = None;
        self.messages.clear();
        self.frames.clear();
        self.frames.shrink_to(CORK_BYTES_MAX);
        (self.payload_bytes, self.longest_bytes) = (0, 0);
    }
}

impl Joint {
    fn is_not_for(&self, outbox: &Outbox) -> bool {
        self.except == Some(outbox.id())
    }
}
