//! The sessions that are bound to one instance: all that its guest can reach.
//!
//! A number that is not in here means nothing to the guest, whoever else may have it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Outbox;

/// From here on the sessions are kept in a tree: a list costs an instance of few sessions nearly
/// nothing, a tree is quick with many.
const LISTED_MAX: usize = 8;

/// The sessions of one instance; a clone means the same sets.
#[derive(Clone, Default)]
pub(crate) struct Members(Rc<RefCell<Sets>>);

enum Sets {
    /// One whose client came, or none: an instance of one session pays for no more.
    Alone(Option<Outbox>),
    Many(Box<Many>),
}

/// Those whose clients came, and those that the guest opened itself: a guest that speaks to all of
/// its clients does not mean the others.
#[derive(Default)]
struct Many {
    came: Set,
    opened: Set,
}

enum Set {
    /// By number, the lowest first.
    Listed(Vec<Outbox>),
    Tree(BTreeMap<u64, Outbox>),
}

impl Default for Sets {
    fn default() -> Self {
        Self::Alone(None)
    }
}

impl Sets {
    fn insert(&mut self, outbox: Outbox) {
        match self {
            Self::Alone(place @ None) if !outbox.is_opened() => *place = Some(outbox),
            _ => self.many().insert(outbox),
        }
    }

    fn many(&mut self) -> &mut Many {
        if let Self::Alone(first) = self {
            let mut many = Many::default();
            if let Some(first) = first.take() {
                many.insert(first);
            }
            *self = Self::Many(many.into());
        }
        match self {
            Self::Many(many) => many,
            Self::Alone(_) => unreachable!("it was replaced above"),
        }
    }

    fn remove(&mut self, id: u64) -> Option<Outbox> {
        match self {
            Self::Alone(place) => place.take_if(|only| only.id() == id),
            Self::Many(many) => {
                let came = many.came.remove(id);
                came.or_else(|| many.opened.remove(id))
            }
        }
    }

    fn get(&self, id: u64) -> Option<&Outbox> {
        match self {
            Self::Alone(only) => only.as_ref().filter(|only| only.id() == id),
            Self::Many(many) => many.came.get(id).or_else(|| many.opened.get(id)),
        }
    }

    /// Those whose clients came, oldest first.
    fn came(&self) -> impl Iterator<Item = &Outbox> {
        let (only, many) = match self {
            Self::Alone(only) => (only.as_ref(), None),
            Self::Many(many) => (None, Some(many.came.iter())),
        };
        only.into_iter().chain(many.into_iter().flatten())
    }

    /// Those that the guest opened, oldest first.
    fn opened(&self) -> impl Iterator<Item = &Outbox> {
        let many = match self {
            Self::Alone(_) => None,
            Self::Many(many) => Some(many.opened.iter()),
        };
        many.into_iter().flatten()
    }

    fn counts(&self) -> (usize, usize) {
        match self {
            Self::Alone(only) => (only.iter().count(), 0),
            Self::Many(many) => (many.came.len(), many.opened.len()),
        }
    }
}

impl Many {
    fn insert(&mut self, outbox: Outbox) {
        match outbox.is_opened() {
            true => self.opened.insert(outbox),
            false => self.came.insert(outbox),
        }
    }
}

impl Default for Set {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Set {
    fn insert(&mut self, outbox: Outbox) {
        match self {
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
            Self::Listed(list) => {
                let place = list.iter().position(|outbox| outbox.id() == id)?;
                Some(list.remove(place))
            }
            Self::Tree(tree) => tree.remove(&id),
        }
    }

    fn get(&self, id: u64) -> Option<&Outbox> {
        match self {
            Self::Listed(list) => list.iter().find(|outbox| outbox.id() == id),
            Self::Tree(tree) => tree.get(&id),
        }
    }

    /// All of them, oldest first.
    fn iter(&self) -> impl Iterator<Item = &Outbox> {
        let (list, tree): (&[Outbox], _) = match self {
            Self::Listed(list) => (list, None),
            Self::Tree(tree) => (&[], Some(tree)),
        };
        list.iter()
            .chain(tree.into_iter().flat_map(BTreeMap::values))
    }

    fn len(&self) -> usize {
        match self {
            Self::Listed(list) => list.len(),
            Self::Tree(tree) => tree.len(),
        }
    }
}

/// The numbers of those that carry the tag, or of all.
fn numbers<'a>(of: impl Iterator<Item = &'a Outbox>, tag: Option<&str>) -> Vec<u64> {
    let carries = |outbox: &Outbox, tag: &str| {
        outbox.facts(|facts| facts.is_some_and(|facts| facts.tags().iter().any(|t| **t == *tag)))
    };
    of.filter(|outbox| tag.is_none_or(|tag| carries(outbox, tag)))
        .map(Outbox::id)
        .collect()
}

impl Members {
    /// Binds a session.
    pub(crate) fn insert(&self, outbox: Outbox) {
        self.0.borrow_mut().insert(outbox);
    }

    /// Unbinds a session: its number means nothing from now on.
    pub(crate) fn remove(&self, id: u64) -> Option<Outbox> {
        self.0.borrow_mut().remove(id)
    }

    /// The session with that number, if it is bound here.
    pub(crate) fn get(&self, id: u64) -> Option<Outbox> {
        self.0.borrow().get(id).cloned()
    }

    /// The sessions of clients that carry the tag, or all of them, oldest first.
    pub(crate) fn list(&self, tag: Option<&str>) -> Vec<u64> {
        numbers(self.0.borrow().came(), tag)
    }

    /// As [`Members::list`], of those that the guest opened.
    pub(crate) fn list_opened(&self, tag: Option<&str>) -> Vec<u64> {
        numbers(self.0.borrow().opened(), tag)
    }

    /// The session with that name, if it is bound here.
    pub(crate) fn find(&self, name: &str) -> Option<u64> {
        let sets = self.0.borrow();
        let any = sets.came().chain(sets.opened()).next()?;
        let id = any.lane().session_named(name)?;
        sets.get(id).map(Outbox::id)
    }

    /// How many clients there are.
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().counts().0
    }

    /// How many sessions the guest has opened.
    pub(crate) fn count_opened(&self) -> usize {
        self.0.borrow().counts().1
    }

    /// Every bound session, for what concerns all of them.
    pub(crate) fn all(&self) -> Vec<Outbox> {
        let sets = self.0.borrow();
        sets.came().chain(sets.opened()).cloned().collect()
    }

    /// Every session that the guest has opened.
    pub(crate) fn opened(&self) -> Vec<Outbox> {
        self.0.borrow().opened().cloned().collect()
    }
}
