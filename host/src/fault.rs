//! Everything that can go wrong while a session is served, sorted by who is to blame, and the one
//! place where a fault gets its close cause, its metric label and its log level.
//!
//! Endings that are nobody's fault (a close frame, a drain) are not faults: see
//! [`wharf_protocol::Cause`]. Configuration errors are the operator's and have their own type.

use std::fmt;

use tracing::Level;
use wharf_protocol::Cause;

use crate::budget::Limit;
use crate::id::IncidentId;

/// What went wrong, by whom it was caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The component misbehaved: bills its tenant, pages no one.
    Guest(GuestFault),
    /// The server could not do its part.
    Host(HostFault),
}

/// How a component can fail. After any of these its Store is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GuestFault {
    /// A trap, with wasmtime's own words.
    Trap(String),
    /// A growth of memory or of a table was refused, and the guest gave up.
    OutOfMemory,
    /// The call's CPU time was used up.
    OutOfCpu,
    /// The call's wall time was used up, most often in a host call that waits.
    OutOfTime,
    /// Recursion beyond the stack.
    StackOverflow,
    /// A limit on what a guest may hold or pass, with the limit's name.
    LimitReached(String),
}

/// How the server can fail a component or a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostFault {
    /// Every instance slot is in use.
    InstancesExhausted,
    /// The tenant has as much of that as it may, so the instance cannot start.
    OverBudget(Limit),
    /// The engine failed in a way that no guest can cause.
    Engine(String),
}

/// A fault under the number by which its clients, the log and operators name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incident {
    pub(crate) id: IncidentId,
    pub(crate) fault: Fault,
}

impl Incident {
    /// How the sessions that it ends are closed.
    pub(crate) fn cause(&self) -> Cause {
        self.fault.cause(self.id)
    }
}

impl From<Fault> for Incident {
    fn from(fault: Fault) -> Self {
        let id = IncidentId::random();
        Self { id, fault }
    }
}

impl Fault {
    /// Whether it may go well once other instances have ended.
    pub(crate) fn is_for_want_of_room(&self) -> bool {
        matches!(
            self,
            Self::Host(HostFault::InstancesExhausted | HostFault::OverBudget(_))
        )
    }
}

/// How a fault ends a session.
enum Closing {
    HandlerFailed,
    OverCapacity,
}

impl Fault {
    /// The metric label: short, stable, in snake case.
    pub(crate) fn label(&self) -> &'static str {
        self.row().0
    }

    /// How the sessions that it ends are closed; the peer is told the incident, so that it can be
    /// found in the log.
    pub(crate) fn cause(&self, incident: IncidentId) -> Cause {
        match self.row().1 {
            Closing::HandlerFailed => Cause::HandlerFailed {
                incident: incident.to_string(),
            },
            Closing::OverCapacity => Cause::OverCapacity,
        }
    }

    /// How loudly it is logged.
    pub(crate) fn level(&self) -> Level {
        self.row().2
    }

    /// One row for each fault: a new one does not compile until it has all three.
    fn row(&self) -> (&'static str, Closing, Level) {
        use {Fault::*, GuestFault::*, HostFault::*};
        match self {
            Guest(Trap(_)) => ("guest_trap", Closing::HandlerFailed, Level::WARN),
            Guest(OutOfMemory) => ("guest_out_of_memory", Closing::HandlerFailed, Level::WARN),
            Guest(OutOfCpu) => ("guest_out_of_cpu", Closing::HandlerFailed, Level::WARN),
            Guest(OutOfTime) => ("guest_out_of_time", Closing::HandlerFailed, Level::WARN),
            Guest(StackOverflow) => ("guest_stack_overflow", Closing::HandlerFailed, Level::WARN),
            Guest(LimitReached(_)) => ("guest_limit", Closing::HandlerFailed, Level::WARN),
            Host(InstancesExhausted) => ("instances_exhausted", Closing::OverCapacity, Level::WARN),
            Host(OverBudget(_)) => ("over_budget", Closing::OverCapacity, Level::WARN),
            Host(Engine(_)) => ("engine", Closing::HandlerFailed, Level::ERROR),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use {Fault::*, GuestFault::*, HostFault::*};
        match self {
            Guest(Trap(text)) => write!(formatter, "the handler trapped: {text}"),
            Guest(OutOfMemory) => formatter.write_str("the handler ran out of memory"),
            Guest(OutOfCpu) => formatter.write_str("the handler used up its CPU time for a call"),
            Guest(OutOfTime) => formatter.write_str("the handler used up its wall time for a call"),
            Guest(StackOverflow) => formatter.write_str("the handler overflowed its stack"),
            Guest(LimitReached(limit)) => write!(formatter, "the handler broke a limit: {limit}"),
            Host(InstancesExhausted) => formatter.write_str("every instance slot is in use"),
            Host(OverBudget(limit)) => {
                write!(formatter, "the tenant is at its limit of {}", limit.label())
            }
            Host(Engine(text)) => write!(formatter, "the engine failed: {text}"),
        }
    }
}

impl std::error::Error for Fault {}

impl From<GuestFault> for Fault {
    fn from(fault: GuestFault) -> Self {
        Fault::Guest(fault)
    }
}

impl From<HostFault> for Fault {
    fn from(fault: HostFault) -> Self {
        Fault::Host(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_server_asks_the_client_to_come_back() {
        let cause = Fault::from(HostFault::InstancesExhausted).cause(IncidentId::random());
        assert_eq!(cause, Cause::OverCapacity);
    }

    #[test]
    fn labels_are_fit_for_metrics() {
        let label = Fault::from(GuestFault::OutOfCpu).label();
        assert!(
            label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        );
    }
}
