//! The sessions that are bound to one instance: all that its guest can reach.
//!
//! A number that is not in here means nothing to the guest, whoever else may have it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Outbox;

/// The sessions of one instance; a clone means the same set.
#[derive(Clone, Default)]
pub(crate) struct Members(Rc<RefCell<BTreeMap<u64, Outbox>>>);

impl Members {
    /// Binds a session.
    pub(crate) fn insert(&self, outbox: Outbox) {
        self.0.borrow_mut().insert(outbox.id(), outbox);
    }

    /// Unbinds a session: its number means nothing from now on.
    pub(crate) fn remove(&self, id: u64) -> Option<Outbox> {
        self.0.borrow_mut().remove(&id)
    }

    /// The session with that number, if it is bound here.
    pub(crate) fn get(&self, id: u64) -> Option<Outbox> {
        self.0.borrow().get(&id).cloned()
    }

    /// The sessions that carry the tag, or all of them, oldest first.
    pub(crate) fn list(&self, tag: Option<&str>) -> Vec<u64> {
        let carries = |outbox: &Outbox, tag: &str| {
            outbox
                .facts(|facts| facts.is_some_and(|facts| facts.tags().iter().any(|t| **t == *tag)))
        };
        let members = self.0.borrow();
        let wanted = members
            .values()
            .filter(|outbox| tag.is_none_or(|tag| carries(outbox, tag)));
        wanted.map(Outbox::id).collect()
    }

    /// The session with that name, if it is bound here.
    pub(crate) fn find(&self, name: &str) -> Option<u64> {
        let members = self.0.borrow();
        let (_, any) = members.first_key_value()?;
        let id = any.lane().session_named(name)?;
        members.contains_key(&id).then_some(id)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Every bound session, for what concerns all of them.
    pub(crate) fn all(&self) -> Vec<Outbox> {
        self.0.borrow().values().cloned().collect()
    }
}
