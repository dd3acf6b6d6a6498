//! What guests say: lines of stdout and stderr and messages of `wasi:logging`, to the tracing target
//! `guest`, with the tenant, the route, the component and, where it is known, the session.
//!
//! Bounded for each tenant, over all of its instances: what is more is dropped, counted, and the
//! count logged a second later. What could make one line look like another, or drive a terminal, is
//! escaped. Never blocks a guest.

mod budget;
mod output;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::broadcast;
use tracing::Level;

use self::budget::{Admitted, Budget};
pub(super) use self::output::Output;
use crate::budget::{Budgets, Limit, TenantBudget};
use crate::catalog::Route;

/// The tracing target of what guests say.
const TARGET: &str = "guest";
/// What the log adds to a line, about, beside the names: the time, the level, the fields' own names.
const ENVELOPE_BYTES: u64 = 256;
/// From the first dropped line to the report of how many they were.
const REPORT_AFTER: Duration = Duration::from_secs(1);
/// A longer line is cut into pieces of this size.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// What is kept of the context of a message.
const CONTEXT_BYTES_MAX: usize = 256;

/// Lines that wait for a reader of the log; one that is slower misses the oldest.
const READER_LINES_MAX: usize = 256;

/// A line as readers of a tenant's log get it.
#[derive(Clone, Debug)]
pub(crate) struct LogLine {
    pub(crate) at: SystemTime,
    pub(crate) level: Level,
    pub(crate) route: Arc<str>,
    pub(crate) component: Arc<str>,
    /// The number of the session that the call was about, if it was one.
    pub(crate) session: Option<u64>,
    pub(crate) source: &'static str,
    pub(crate) context: Option<Box<str>>,
    pub(crate) text: Arc<str>,
}

/// How much the handlers of one tenant may log. What is more is dropped and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes a second, with what the log adds to each line; as much may come at once. Default 1 MiB.
    pub tenant_bytes_per_second_max: u64,
    /// Lines a second; as many may come at once. Default 2,000.
    pub tenant_lines_per_second_max: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            tenant_bytes_per_second_max: 1 << 20,
            tenant_lines_per_second_max: 2_000,
        }
    }
}

/// The logs of all tenants of a server, for all of its workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct GuestLogs {
    limits: Arc<LogLimits>,
    budgets: Budgets,
    /// Taken when an instance starts, not when it logs.
    tenants: Arc<Mutex<HashMap<Arc<str>, Arc<TenantLog>>>>,
}

impl GuestLogs {
    pub(crate) fn new(limits: LogLimits, budgets: Budgets) -> Self {
        Self {
            limits: Arc::new(limits),
            budgets,
            tenants: Arc::default(),
        }
    }

    /// The log of one instance of a route's component.
    pub(crate) fn open(&self, route: &Arc<Route>, component: &Arc<str>) -> Arc<InstanceLog> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tenants.entry(Arc::clone(&route.tenant));
        let tenant = known.or_insert_with(|| self.log_of(&route.tenant));
        Arc::new(InstanceLog {
            tenant: Arc::clone(tenant),
            route: Arc::clone(route),
            component: Arc::clone(component),
            session: AtomicU64::new(NO_SESSION),
        })
    }
}

impl GuestLogs {
    fn log_of(&self, tenant: &Arc<str>) -> Arc<TenantLog> {
        TenantLog::new(self.budgets.of(tenant), &self.limits)
    }

    /// What a tenant's handlers log from now on, as far as the log itself has it; and how many
    /// listen to that tenant now.
    pub(crate) fn listen(&self, tenant: &str) -> (broadcast::Receiver<LogLine>, usize) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let name: Arc<str> = tenant.into();
        let known = tenants.entry(Arc::clone(&name));
        let tenant = known.or_insert_with(|| self.log_of(&name));
        let lines = tenant.readers.subscribe();
        (lines, tenant.readers.receiver_count())
    }
}

/// What all instances of one tenant share.
#[derive(Debug)]
struct TenantLog {
    name: Arc<str>,
    /// What holds where the tenant has no limits of its own.
    limits: Arc<LogLimits>,
    tenant: Arc<TenantBudget>,
    /// Contended only by instances of the tenant that log at the same time.
    budget: Mutex<Budget>,
    /// Costs nothing while nobody reads.
    readers: broadcast::Sender<LogLine>,
}

impl TenantLog {
    fn new(tenant: Arc<TenantBudget>, limits: &Arc<LogLimits>) -> Arc<Self> {
        let (readers, _) = broadcast::channel(READER_LINES_MAX);
        let own = limits_of(&tenant, limits);
        Arc::new(Self {
            name: Arc::clone(tenant.tenant()),
            limits: Arc::clone(limits),
            tenant,
            budget: Mutex::new(Budget::new(&own, Instant::now())),
            readers,
        })
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a line may be logged. The first that may not has the count of all told later.
    fn admit(self: &Arc<Self>, bytes: u64) -> bool {
        let limits = limits_of(&self.tenant, &self.limits);
        let admitted = self.budget().admit(&limits, bytes, Instant::now());
        if admitted != Admitted::Yes {
            self.tenant.hit(Limit::Log);
        }
        if admitted == Admitted::First
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let tenant = Arc::clone(self);
            runtime.spawn(async move {
                tokio::time::sleep(REPORT_AFTER).await;
                tenant.report();
            });
        }
        admitted == Admitted::Yes
    }

    fn report(&self) {
        let dropped = self.budget().take_dropped();
        let tenant = &*self.name;
        tracing::warn!(target: TARGET, tenant, dropped, "lines dropped: more than the tenant may log");
    }
}

/// What holds for a tenant now: its own limits, and `every` where it has none.
fn limits_of(tenant: &TenantBudget, every: &LogLimits) -> LogLimits {
    let own = tenant.limits();
    LogLimits {
        tenant_bytes_per_second_max: own
            .log_bytes_per_second_max
            .unwrap_or(every.tenant_bytes_per_second_max),
        tenant_lines_per_second_max: own
            .log_lines_per_second_max
            .unwrap_or(every.tenant_lines_per_second_max),
    }
}

/// Which of a guest's ways to say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
    /// `wasi:logging`.
    Log,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Log => "log",
        }
    }
}

/// No session has this number.
const NO_SESSION: u64 = 0;

/// Where one instance logs to.
#[derive(Debug)]
pub(crate) struct InstanceLog {
    tenant: Arc<TenantLog>,
    route: Arc<Route>,
    component: Arc<str>,
    /// Whom the current call is about. Written and read by one thread alone.
    session: AtomicU64,
}

impl InstanceLog {
    /// The next call is about this session, or about several or none.
    pub(crate) fn is_about(&self, session: Option<u64>) {
        let session = session.unwrap_or(NO_SESSION);
        self.session.store(session, Ordering::Relaxed);
    }

    /// Logs a line of an output.
    pub(super) fn print(&self, source: Source, line: &[u8]) {
        self.emit(Level::INFO, source, None, &String::from_utf8_lossy(line));
    }

    /// Logs a message, in pieces if it is long.
    pub(super) fn say(&self, level: Level, context: &str, message: &str) {
        let context = &context[..context.floor_char_boundary(CONTEXT_BYTES_MAX)];
        let context = printable(context);
        for piece in pieces(message) {
            self.emit(level, Source::Log, Some(&context), piece);
        }
    }

    fn emit(&self, level: Level, source: Source, context: Option<&str>, text: &str) {
        if !is_wanted(level) {
            return;
        }
        let text = printable(text);
        let names = self.tenant.name.len() + self.route.pattern.len() + self.component.len();
        let context_bytes = context.map_or(0, written_bytes);
        let bytes = written_bytes(&text) + context_bytes + names as u64 + ENVELOPE_BYTES;
        if !self.tenant.admit(bytes) {
            return;
        }
        let session = self.session.load(Ordering::Relaxed);
        let session = (session != NO_SESSION).then_some(session);
        let (tenant, route) = (&*self.tenant.name, &*self.route.pattern);
        let (component, source) = (&*self.component, source.name());
        if self.tenant.readers.receiver_count() > 0 {
            // Whoever has just left gets nothing.
            let _ = self.tenant.readers.send(LogLine {
                at: SystemTime::now(),
                level,
                route: self.route.pattern.as_str().into(),
                component: Arc::clone(&self.component),
                session,
                source,
                context: context.map(Into::into),
                text: (&*text).into(),
            });
        }
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(
                    target: TARGET,
                    $level,
                    tenant,
                    route,
                    session,
                    component,
                    source,
                    context,
                    "{text}"
                )
            };
        }
        match level {
            Level::ERROR => event!(Level::ERROR),
            Level::WARN => event!(Level::WARN),
            Level::INFO => event!(Level::INFO),
            Level::DEBUG => event!(Level::DEBUG),
            Level::TRACE => event!(Level::TRACE),
        }
    }
}

/// A text in pieces that are no longer than a line; an empty one is a piece too.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (piece, left) = text.split_at(text.floor_char_boundary(LINE_BYTES_MAX));
        rest = (!left.is_empty()).then_some(left);
        Some(piece)
    })
}

/// Whether anybody listens: what nobody will see costs a tenant nothing.
fn is_wanted(level: Level) -> bool {
    match level {
        Level::ERROR => tracing::enabled!(target: TARGET, Level::ERROR),
        Level::WARN => tracing::enabled!(target: TARGET, Level::WARN),
        Level::INFO => tracing::enabled!(target: TARGET, Level::INFO),
        Level::DEBUG => tracing::enabled!(target: TARGET, Level::DEBUG),
        Level::TRACE => tracing::enabled!(target: TARGET, Level::TRACE),
    }
}

/// Bytes of a text in the log: JSON writes some characters as two.
fn written_bytes(text: &str) -> u64 {
    let doubled = |byte: &u8| matches!(byte, b'"' | b'\\' | b'\t');
    (text.len() + text.as_bytes().iter().filter(|byte| doubled(byte)).count()) as u64
}

/// The text without what could end a line, drive a terminal or turn the reading direction.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if is_deceptive(character) {
            // Writing to a String cannot fail.
            let _ = write!(printable, "{}", character.escape_default());
        } else {
            printable.push(character);
        }
    }
    Cow::Owned(printable)
}

fn is_deceptive(character: char) -> bool {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let ends_line = matches!(character, '\u{2028}' | '\u{2029}');
    turns || ends_line || (character.is_control() && character != '\t')
}

#[cfg(test)]
impl InstanceLog {
    /// One of a tenant of its own.
    pub(super) fn for_test() -> Arc<Self> {
        let target = crate::catalog::Target::Component(crate::catalog::ProgramId(0));
        let route = Arc::new(Route::new("/", target));
        GuestLogs::default().open(&route, &"test".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_a_reader_is_escaped() {
        assert_eq!(printable("a\x1b[2Jb\tc"), "a\\u{1b}[2Jb\tc");
        assert_eq!(printable("a\nINFO b\r"), "a\\nINFO b\\r");
        assert_eq!(
            printable("\u{202e}a\u{2028}\u{85}"),
            "\\u{202e}a\\u{2028}\\u{85}"
        );
        assert!(matches!(printable("plain ä😀"), Cow::Borrowed(_)));
    }

    #[test]
    fn tenants_share_no_budget_and_instances_of_one_do() {
        let logs = GuestLogs::default();
        let target = crate::catalog::Target::Component(crate::catalog::ProgramId(0));
        let of = |tenant: &str| {
            let mut route = Route::new("/", target.clone());
            route.tenant = tenant.into();
            logs.open(&Arc::new(route), &"test".into())
        };
        let (first, second, other) = (of("a"), of("a"), of("b"));
        assert!(Arc::ptr_eq(&first.tenant, &second.tenant));
        assert!(!Arc::ptr_eq(&first.tenant, &other.tenant));
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let text = "x".to_owned() + &"ä".repeat(LINE_BYTES_MAX);
        let pieces: Vec<&str> = pieces(&text).collect();
        assert!(pieces.iter().all(|piece| piece.len() <= LINE_BYTES_MAX));
        assert_eq!((pieces.len(), pieces.concat()), (3, text.clone()));
        assert_eq!(super::pieces("").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn quotes_cost_what_they_become() {
        assert_eq!(written_bytes("a\"\\b"), 6);
    }
}
