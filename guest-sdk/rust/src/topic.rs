//! Topics as a handler sees them: names, and what the host does with them. It
//! keeps no state of its own.

use std::fmt;

use crate::bindings::wharf::websocket::topics as host;
use crate::{Message, Session};

pub use host::{Member, TopicError};

/// A topic of the deployment's tenant, by its name: what is published in it
/// reaches all members, in whichever instance they are.
///
/// ```no_run
/// # use wharf_guest::{Session, Topic};
/// # fn example(session: Session) -> Result<(), wharf_guest::TopicError> {
/// let room = Topic::new("room/1");
/// session.subscribe(room, "Ada")?;
/// room.publish("hello")?;
/// room.publish_but(session, "Ada is here")?;
/// for member in room.members()? {
///     println!("{}: {}", member.name, member.info);
/// }
/// # Ok(()) }
/// ```
///
/// The deployment grants names: `topics = ["room/*"]` in its `[route.grants]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Topic<'a>(&'a str);

impl<'a> Topic<'a> {
    /// The topic of that name, 256 bytes at most. Nothing is created.
    #[must_use]
    pub const fn new(name: &'a str) -> Self {
        Topic(name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'a str {
        self.0
    }

    /// Sends a message to all members. The host encodes it once, and whoever
    /// reads too slowly misses it. To how many members it is on its way.
    ///
    /// # Errors
    /// [`TopicError::Denied`] without a grant, [`TopicError::Limit`] when the
    /// topic's bytes a second or another limit is reached.
    pub fn publish<'m>(self, message: impl Into<Message<'m>>) -> Result<u64, TopicError> {
        host::publish(self.0, message.into().into_param(), None)
    }

    /// As [`publish`](Topic::publish), to all but one.
    ///
    /// # Errors
    /// As [`publish`](Topic::publish).
    pub fn publish_but<'m>(
        self,
        except: Session,
        message: impl Into<Message<'m>>,
    ) -> Result<u64, TopicError> {
        host::publish(self.0, message.into().into_param(), Some(except.id()))
    }

    /// Who is a member now, oldest session first.
    ///
    /// # Errors
    /// [`TopicError::Denied`], or [`TopicError::Limit`] where there are more
    /// than 10,000: [`count`](Topic::count) still answers then.
    pub fn members(self) -> Result<Vec<Member>, TopicError> {
        host::presence(self.0)
    }

    /// How many are members now.
    ///
    /// # Errors
    /// [`TopicError::Denied`].
    pub fn count(self) -> Result<u64, TopicError> {
        host::count(self.0)
    }
}

impl<'a> From<&'a str> for Topic<'a> {
    fn from(name: &'a str) -> Self {
        Topic(name)
    }
}

impl<'a> From<&'a String> for Topic<'a> {
    fn from(name: &'a String) -> Self {
        Topic(name)
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Membership.
impl Session {
    /// Makes the session a member, until it unsubscribes or ends. `info` is
    /// what [`Topic::members`] says of it, 1 KiB at most; subscribing again
    /// changes it.
    ///
    /// # Errors
    /// [`TopicError::Denied`] without a grant, [`TopicError::Limit`] with what
    /// is reached, [`TopicError::Closed`].
    pub fn subscribe<'t>(self, topic: impl Into<Topic<'t>>, info: &str) -> Result<(), TopicError> {
        host::subscribe(self.id(), topic.into().0, info)
    }

    /// Ends a membership, if there is one.
    pub fn unsubscribe<'t>(self, topic: impl Into<Topic<'t>>) {
        host::unsubscribe(self.id(), topic.into().0);
    }
}
