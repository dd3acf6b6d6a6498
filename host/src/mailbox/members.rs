//! The sessions that are bound to one instance: all that its guest can reach.
//!
//! A number that is not in here means nothing to the guest, whoever else may have it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Outbox;

/// From here on the sessions are kept in a tree: a list costs an instance of few sessions nearly
/// nothing, a tree is quick with many. An instance of one session has no list either.
const LISTED_MAX: usize = 8;

/// The sessions of one instance; a clone means the same sets.
#[derive(Clone, Default)]
pub(crate) struct Members(Rc<RefCell<Sets>>);

/// Those whose clients came, and those that the guest opened itself: a guest that speaks to all of
/// its clients does not mean the others.
#[derive(Default)]
struct Sets {
    came: Set,
    /// Boxed and only there once there was one.
    opened: Option<Box<Set>>,
}

enum Set {
    One(Outbox),
    /// By number, the lowest first.
    Listed(Vec<Outbox>),
    Tree(BTreeMap<u64, Outbox>),
}

impl Default for Set {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Set {
    fn insert(&mut self, outbox: Outbox) {
        match self {
            Self::Listed(list) if list.is_empty() => *self = Self::One(outbox),
            Self::One(first) => {
                let mut both = vec![first.clone(), outbox];
                both.sort_by_key(Outbox::id);
                *self = Self::Listed(both);
            }
            Self::Listed(list) if list.len() < LISTED_MAX => {
                list.reserve_exact(1);
                let place = list.partition_point(|other| other.id() < outbox.id());
                list.insert(place, outbox);
            }
            Self::Listed(list) => {
                let tree = list.drain(..).chain([outbox]);
                *self = Self::Tree(tree.map(|outbox| (outbox.id(), outbox)).collect());
            }
            Self::Tree(tree) => drop(tree.insert(outbox.id(), outbox)),
        }
    }

    fn remove(&mut self, id: u64) -> Option<Outbox> {
        match self {
            Self::One(only) if only.id() != id => None,
            Self::One(_) => match std::mem::take(self) {
                Self::One(only) => Some(only),
                Self::Listed(_) | Self::Tree(_) => None,
            },
            Self::Listed(list) => {
                let place = list.iter().position(|outbox| outbox.id() == id)?;
                Some(list.remove(place))
            }
            Self::Tree(tree) => tree.remove(&id),
        }
    }

    fn get(&self, id: u64) -> Option<&Outbox> {
        match self {
            Self::One(only) => (only.id() == id).then_some(only),
            Self::Listed(list) => list.iter().find(|outbox| outbox.id() == id),
            Self::Tree(tree) => tree.get(&id),
        }
    }

    /// All of them, oldest first.
    fn iter(&self) -> impl Iterator<Item = &Outbox> {
        let (list, tree): (&[Outbox], _) = match self {
            Self::One(only) => (std::slice::from_ref(only), None),
            Self::Listed(list) => (list, None),
            Self::Tree(tree) => (&[], Some(tree)),
        };
        list.iter()
            .chain(tree.into_iter().flat_map(BTreeMap::values))
    }

    /// The numbers of those that carry the tag, or of all.
    fn list(&self, tag: Option<&str>) -> Vec<u64> {
        let carries = |outbox: &Outbox, tag: &str| {
            outbox
                .facts(|facts| facts.is_some_and(|facts| facts.tags().iter().any(|t| **t == *tag)))
        };
        let wanted = self
            .iter()
            .filter(|outbox| tag.is_none_or(|tag| carries(outbox, tag)));
        wanted.map(Outbox::id).collect()
    }

    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Listed(list) => list.len(),
            Self::Tree(tree) => tree.len(),
        }
    }
}

impl Members {
    /// Binds a session.
    pub(crate) fn insert(&self, outbox: Outbox) {
        let mut sets = self.0.borrow_mut();
        if outbox.is_opened() {
            sets.opened.get_or_insert_default().insert(outbox);
        } else {
            sets.came.insert(outbox);
        }
    }

    /// Unbinds a session: its number means nothing from now on.
    pub(crate) fn remove(&self, id: u64) -> Option<Outbox> {
        let sets = &mut *self.0.borrow_mut();
        let came = sets.came.remove(id);
        came.or_else(|| sets.opened.as_mut()?.remove(id))
    }

    /// The session with that number, if it is bound here.
    pub(crate) fn get(&self, id: u64) -> Option<Outbox> {
        let sets = self.0.borrow();
        let came = sets.came.get(id);
        came.or_else(|| sets.opened.as_ref()?.get(id)).cloned()
    }

    /// The sessions of clients that carry the tag, or all of them, oldest first.
    pub(crate) fn list(&self, tag: Option<&str>) -> Vec<u64> {
        self.0.borrow().came.list(tag)
    }

    /// As [`Members::list`], of those that the guest opened.
    pub(crate) fn list_opened(&self, tag: Option<&str>) -> Vec<u64> {
        let sets = self.0.borrow();
        let opened = sets.opened.as_ref();
        opened.map_or_else(Vec::new, |set| set.list(tag))
    }

    /// The session with that name, if it is bound here.
    pub(crate) fn find(&self, name: &str) -> Option<u64> {
        let any = |set: &Set| {
            let outbox = set.iter().next()?;
            outbox.lane().session_named(name)
        };
        let sets = self.0.borrow();
        let id = any(&sets.came).or_else(|| any(sets.opened.as_ref()?))?;
        self.get(id).map(|outbox| outbox.id())
    }

    /// How many clients there are.
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().came.len()
    }

    /// How many sessions the guest has opened.
    pub(crate) fn count_opened(&self) -> usize {
        self.0.borrow().opened.as_ref().map_or(0, |set| set.len())
    }

    /// Every bound session, for what concerns all of them.
    pub(crate) fn all(&self) -> Vec<Outbox> {
        let mut all: Vec<Outbox> = self.0.borrow().came.iter().cloned().collect();
        all.append(&mut self.opened());
        all
    }

    /// Every session that the guest has opened.
    pub(crate) fn opened(&self) -> Vec<Outbox> {
        let sets = self.0.borrow();
        let opened = sets.opened.iter().flat_map(|set| set.iter());
        opened.cloned().collect()
    }
}
