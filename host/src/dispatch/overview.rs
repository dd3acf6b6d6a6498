//! What operators see of the sessions on this worker. Looks at each of them, so it is for people and
//! never for a message.

use std::rc::Rc;

use wharf_protocol::{OperatorReason, Phase};

use super::counting::label;
use super::hosted::{Hosted, Wakefulness};
use super::{Cause, Dispatcher};
use crate::mailbox::{Outbox, Stop};
use crate::metrics::Stage;

/// One session, as operators see it.
#[derive(Clone, Debug)]
pub(crate) struct SessionRow {
    /// As its handler's log calls it.
    pub(crate) number: u64,
    /// Unique across servers.
    pub(crate) name: String,
    pub(crate) route: String,
    /// The version that serves it.
    pub(crate) generation: u64,
    /// Whether that is a canary.
    pub(crate) is_canary: bool,
    pub(crate) worker: usize,
    pub(crate) is_open: bool,
    pub(crate) instance_asleep: bool,
    pub(crate) subprotocol: Option<String>,
    /// `None` for a connection in memory whose component does not import `request`.
    pub(crate) remote_address: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) attachment_bytes: usize,
    /// Queued for its socket.
    pub(crate) queued_bytes: usize,
    /// Read, and its handler has not finished with them.
    pub(crate) in_flight_bytes: usize,
}

impl Dispatcher {
    /// A tenant's sessions here with a number above `after`: the `limit` lowest, in order.
    pub(crate) fn sessions_of(&self, tenant: &str, after: u64, limit: usize) -> Vec<SessionRow> {
        let mut found: Vec<(u64, Rc<Hosted>)> = Vec::new();
        for hosted in self.of_tenant(tenant) {
            let numbers = hosted.members().list(None).into_iter();
            let wanted = numbers.filter(|number| *number > after);
            found.extend(wanted.map(|number| (number, Rc::clone(&hosted))));
        }
        if found.len() > limit {
            found.select_nth_unstable_by_key(limit, |(number, _)| *number);
            found.truncate(limit);
        }
        found.sort_unstable_by_key(|(number, _)| *number);
        let rows = found.into_iter().filter_map(|(number, hosted)| {
            let outbox = hosted.members().get(number)?;
            Some(self.row(&hosted, &outbox))
        });
        rows.collect()
    }

    /// A tenant's session, by its name.
    pub(crate) fn session_of(&self, tenant: &str, name: &str) -> Option<SessionRow> {
        let (hosted, outbox) = self.find_session(tenant, name)?;
        Some(self.row(&hosted, &outbox))
    }

    /// Ends a tenant's session. Whether it was here.
    pub(crate) fn kick(&self, tenant: &str, name: &str, reason: OperatorReason) -> bool {
        let Some((_, outbox)) = self.find_session(tenant, name) else {
            return false;
        };
        outbox.stop(Stop::Now(Cause::Kicked(reason)));
        true
    }

    fn find_session(&self, tenant: &str, name: &str) -> Option<(Rc<Hosted>, Outbox)> {
        let number = self.lane().session_named(name)?;
        let mut hosted = self.of_tenant(tenant).into_iter();
        hosted.find_map(|hosted| {
            let outbox = hosted.members().get(number)?;
            Some((hosted, outbox))
        })
    }

    fn of_tenant(&self, tenant: &str) -> Vec<Rc<Hosted>> {
        let all = self.0.hosted.borrow();
        let own = all
            .values()
            .filter(|hosted| *hosted.route().tenant == *tenant);
        own.cloned().collect()
    }

    fn row(&self, hosted: &Hosted, outbox: &Outbox) -> SessionRow {
        let (tags, attachment_bytes) = outbox.facts(|facts| {
            let tags = facts.map_or(&[][..], |facts| facts.tags());
            let tags = tags.iter().map(|tag| tag.to_string()).collect();
            (tags, facts.map_or(0, |facts| facts.attachment().len()))
        });
        let is_open = outbox.wire().connection().phase() == Phase::Open;
        // Most components do not ask for requests, so most sessions keep none.
        let remote_address = match outbox.request() {
            Some(request) => Some(request.said().remote.to_string()),
            None => outbox.wire().peer_address().map(|peer| peer.to_string()),
        };
        SessionRow {
            number: outbox.id(),
            name: outbox.name(),
            route: label(&hosted.route()),
            generation: hosted.generation(),
            is_canary: (hosted.route().watch).is_some_and(|watch| watch.stage == Stage::Canary),
            worker: self.0.worker,
            is_open,
            instance_asleep: hosted.wakefulness() == Wakefulness::Asleep,
            subprotocol: outbox.subprotocol(),
            remote_address,
            tags,
            attachment_bytes,
            queued_bytes: outbox.queued_bytes(),
            in_flight_bytes: outbox.in_flight_bytes(),
        }
    }
}
