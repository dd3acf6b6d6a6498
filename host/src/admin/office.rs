//! Where requests to the admin listener are answered: what needs no token here, the rest by the
//! API, once a token has shown who asks. Whatever changes something, or is refused, has its line in
//! the log, under the target `audit`.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::mpsc::UnboundedSender;

use super::access::{Access, Denial};
use super::answer::{Body, Refusal, with_type};
use super::api::Uploads;
use super::canaries::CanaryDesk;
use super::deployer::Deployer;
use super::listener::Deadline;
use super::question::{Question, ask_all};
use super::settings::AdminToken;
use super::{AdminParts, Status, api, exposition};
use crate::budget::Budgets;
use crate::capability::GuestLogs;
use crate::dead_letters::DeadLetters;
use crate::metrics::Report;
use crate::traces::TraceCounters;

const TEXT: &str = "text/plain; charset=utf-8";
const OPENAPI: &str = include_str!("openapi.json");
/// Guesses that are not looked at get one line together in this time.
const GUESSES_REPORT: Duration = Duration::from_secs(1);

/// What all connections of the listener share.
pub(super) struct Office {
    pub(super) workers: Vec<UnboundedSender<Question>>,
    pub(super) status: Arc<Status>,
    pub(super) logs: GuestLogs,
    pub(super) dead_letters: DeadLetters,
    pub(super) canaries: Box<dyn CanaryDesk>,
    pub(super) budgets: Budgets,
    pub(super) deployer: Option<Arc<dyn Deployer>>,
    pub(super) uploads: Uploads,
    traces: Option<Arc<TraceCounters>>,
    /// Cloned once for each stream of a log.
    pub(super) streams: Rc<()>,
    access: RefCell<Access>,
    /// Requests that were refused unseen, and when that was last told.
    unseen: Cell<(u64, Option<Instant>)>,
}

/// A request, its sender, and the connection's deadline.
pub(super) struct Asked<'a> {
    pub(super) request: Request<Incoming>,
    pub(super) token: AdminToken,
    pub(super) deadline: &'a Deadline,
}

impl Office {
    pub(super) fn new(parts: AdminParts) -> Self {
        let AdminParts {
            settings,
            workers,
            status,
            logs,
            dead_letters,
            canaries,
            budgets,
            deployer,
            traces,
        } = parts;
        Self {
            workers,
            status,
            logs,
            dead_letters,
            canaries,
            budgets,
            deployer,
            uploads: Uploads::default(),
            traces,
            streams: Rc::default(),
            access: RefCell::new(Access::new(settings.tokens, Instant::now())),
            unseen: Cell::default(),
        }
    }

    /// Answers a request.
    pub(super) async fn serve(
        &self,
        peer: IpAddr,
        request: Request<Incoming>,
        deadline: &Deadline,
    ) -> Response<Body> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/healthz" if reads => with_type(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" if reads => self.readiness(),
            "/metrics" if reads => self.metrics().await,
            "/openapi.json" if reads => with_type(StatusCode::OK, "application/json", OPENAPI),
            _ => self.serve_api(peer, request, deadline).await,
        }
    }

    async fn serve_api(
        &self,
        peer: IpAddr,
        request: Request<Incoming>,
        deadline: &Deadline,
    ) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let token = match self.identify(peer, &request) {
            Ok(token) => token,
            Err(refusal) => return refusal.into_response(),
        };
        let name = token.name.clone();
        let asked = Asked {
            request,
            token,
            deadline,
        };
        let answer = api::answer(self, asked).await;
        let status = match &answer {
            Ok(response) => response.status(),
            Err(refusal) => refusal.status(),
        };
        let (token, status) = (name, status.as_u16());
        if method == Method::GET && status < 400 {
            tracing::debug!(target: "audit", token, %peer, %method, path, status, "read");
        } else {
            tracing::info!(target: "audit", token, %peer, %method, path, status, "asked");
        }
        answer.unwrap_or_else(Refusal::into_response)
    }

    /// Whose token the request carries.
    fn identify(&self, peer: IpAddr, request: &Request<Incoming>) -> Result<AdminToken, Refusal> {
        let presented = request.headers().get(AUTHORIZATION);
        let presented = presented.map(|value| value.as_bytes());
        let now = (Instant::now(), SystemTime::now());
        let mut access = self.access.borrow_mut();
        let judged = access.judge(peer, presented, now);
        judged.map_err(|denial| {
            const PLACE: &str = "header Authorization";
            let right = match access.has_tokens() {
                true => {
                    "Authorization: Bearer TOKEN, with a token whose SHA-256 is in [admin.token]"
                }
                false => "the server knows no token: `wharf token` makes one, for [admin.token]",
            };
            let refuse = |what| Refusal::new(StatusCode::UNAUTHORIZED, what, PLACE, right);
            match denial {
                Denial::Missing => refuse("the request carries no token"),
                Denial::Wrong | Denial::Expired => {
                    let (method, path) = (request.method(), request.uri().path());
                    tracing::warn!(target: "audit", %peer, %method, path, ?denial, "token refused");
                    match denial {
                        Denial::Expired => refuse("the token has expired"),
                        _ => refuse("the token is not known"),
                    }
                }
                Denial::TooMany {
                    retry_after_seconds,
                } => {
                    self.count_unseen(peer);
                    let what = "too many wrong tokens: this one was not looked at";
                    Refusal::new(StatusCode::TOO_MANY_REQUESTS, what, PLACE, right)
                        .retry_after(retry_after_seconds)
                }
            }
        })
    }

    fn count_unseen(&self, peer: IpAddr) {
        let (count, told) = self.unseen.get();
        let (count, now) = (count + 1, Instant::now());
        if told.is_none_or(|told| now.duration_since(told) >= GUESSES_REPORT) {
            tracing::warn!(target: "audit", %peer, count, "tokens refused unseen; the peer is the last of them");
            self.unseen.set((0, Some(now)));
        } else {
            self.unseen.set((count, told));
        }
    }

    fn readiness(&self) -> Response<Body> {
        if self.status.is_draining() {
            return with_type(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n");
        }
        with_type(StatusCode::OK, TEXT, "ready\n")
    }

    async fn metrics(&self) -> Response<Body> {
        let (report, silent) = self.report().await;
        let (traces, canaries) = (self.traces.as_ref(), self.canaries.canaries());
        let traces = traces.map(|counters| counters.figures());
        let beside = exposition::Beside {
            letters: self.dead_letters.figures(),
            canaries: canaries.rows(),
            ends: canaries.tallies(),
            tenants: self.budgets.all(),
            deploys: self.deployer.as_ref().map(|deployer| deployer.tallies()),
            traces: traces.unwrap_or_default(),
            silent,
        };
        let text = exposition::text(report, beside, &self.status);
        with_type(StatusCode::OK, exposition::CONTENT_TYPE, text)
    }

    /// What all workers have counted, and how many of them did not answer.
    pub(super) async fn report(&self) -> (Report, usize) {
        let answers = ask_all(&self.workers, |reply| Question::Report { reply }).await;
        let (mut report, mut silent) = (Report::default(), 0);
        for answer in answers {
            match answer {
                Some(answer) => report.add(answer),
                None => silent += 1,
            }
        }
        (report, silent)
    }
}
