//! One change after the other: planned, recorded by whoever wants it recorded, and given to all
//! workers in the same order.
//!
//! Waits for the workers and for the disk, so it is called on threads that may stand still.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, anyhow, bail};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::publisher::{Change, Publisher, Reason, Replaced};
use super::recorder::Recorder;
use super::warden;
use super::worker::Control;
use crate::admin::{Canaries, DeployEnd, Outcome};
use crate::control::Registry;
use crate::dispatch::Served;
use crate::metrics::RouteKey;
use crate::traces::{OpenSpan, Traces};

/// What changes the server, and whom it tells.
pub(super) struct Publishing {
    publisher: Mutex<Publisher>,
    /// The way to each worker; none any more when the server ends.
    workers: Mutex<Vec<UnboundedSender<Control>>>,
    /// What the next start serves of deployments.
    recorder: Recorder,
    /// What operators are told of versions on trial.
    canaries: Canaries,
    /// Whether somebody watches over these.
    is_guarded: Mutex<bool>,
    /// Where changes are traced, until the server ends.
    traces: Mutex<Option<Traces>>,
}

impl Publishing {
    /// What is served goes on; canaries that begin again are watched from now on.
    pub(super) fn start(
        publisher: Publisher,
        workers: Vec<UnboundedSender<Control>>,
        (registry, traces): (Option<Registry>, Option<Traces>),
    ) -> Arc<Self> {
        let publishing = Arc::new(Self {
            publisher: Mutex::new(publisher),
            workers: Mutex::new(workers),
            recorder: Recorder::new(registry),
            canaries: Canaries::default(),
            is_guarded: Mutex::new(false),
            traces: Mutex::new(traces),
        });
        let publisher = publishing.publisher();
        publishing.canaries.show(publisher.canary_rows());
        let is_any = publisher.has_trials();
        drop(publisher);
        if is_any {
            publishing.guard();
        }
        publishing
    }

    /// Lets everybody follow a canary, see [`Publisher::promote`]. Of a deployment the registry says so
    /// first, so that the next start does not begin it again; if it cannot, nothing is changed.
    pub(super) fn promote(
        self: &Arc<Self>,
        of: &RouteKey,
        generation: Option<u64>,
        (reason, by): (Reason, &str),
    ) -> Result<Replaced> {
        let deployment = self.publisher().deployment_on_trial(of);
        let record = || match deployment {
            Some(name) => {
                let recorded = self.recorder.promote(&of.0, &name, by);
                recorded.map_err(|error| anyhow!(error))
            }
            None => Ok(()),
        };
        let done = self.change(
            |publisher| publisher.promote(of, generation, reason),
            record,
        );
        done.map(|(replaced, ())| replaced)
    }

    /// Takes a version on trial back, see [`Publisher::take_back`]. Of a deployment the registry says
    /// so, too, so that the next start serves the version before. A disk that fails is no reason to
    /// serve what fails.
    pub(super) fn take_back(
        self: &Arc<Self>,
        of: &RouteKey,
        generation: Option<u64>,
        (reason, by): (Reason, &str),
    ) -> Result<Replaced> {
        let deployment = self.publisher().deployment_on_trial(of);
        let end = match reason.outcome {
            Outcome::RolledBack => DeployEnd::RolledBackAutomatically,
            _ => DeployEnd::RolledBack,
        };
        let record = || {
            if let Some(name) = deployment {
                self.recorder.take_back((&of.0, &name), by, end);
            }
            anyhow::Ok(())
        };
        let done = self.change(
            |publisher| publisher.take_back(of, generation, reason),
            record,
        );
        done.map(|(replaced, ())| replaced)
    }

    /// What is written into the registry of it.
    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Tries again to record what a disk did not take. No change is made meanwhile.
    pub(super) fn record_again(&self) {
        let _publisher = self.publisher();
        self.recorder.try_again();
    }

    /// Plans a change, lets `record` make it lasting, and serves it when it is that. If either fails
    /// nothing is changed. When it returns, new requests find the change on every worker.
    pub(super) fn change<T, E: From<anyhow::Error>>(
        self: &Arc<Self>,
        plan: impl FnOnce(&Publisher) -> Result<Change>,
        record: impl FnOnce() -> Result<T, E>,
    ) -> Result<(Replaced, T), E> {
        let mut span = self.traces().as_ref().map(|traces| traces.open("publish"));
        let mut publisher = self.publisher();
        let workers = self.workers().clone();
        if workers.is_empty() {
            let ends = || -> Result<()> { bail!("the server is shutting down") };
            ends()?;
        }
        let change = plan(&publisher).inspect_err(|error| {
            if let Some(span) = &mut span {
                span.fail(format!("{error:#}"));
            }
        })?;
        let recorded = record()?;
        let (served, replaced) = publisher.make(change);
        if let Some(span) = &mut span {
            describe(span, &replaced);
        }
        spread(&workers, &served);
        self.canaries.show(publisher.canary_rows());
        for end in publisher.take_ends() {
            self.canaries.note(end);
        }
        let is_any = publisher.has_trials() || self.recorder.is_owing();
        drop(publisher);
        if is_any {
            self.guard();
        }
        Ok((replaced, recorded))
    }

    /// What operators are told of versions on trial.
    pub(super) fn canaries(&self) -> &Canaries {
        &self.canaries
    }

    /// Sees to it that somebody watches over the versions on trial, and what is not recorded.
    fn guard(self: &Arc<Self>) {
        let mut is_guarded = self.is_guarded();
        if !*is_guarded {
            *is_guarded = warden::start(Arc::downgrade(self));
        }
    }

    /// Whether nobody need watch any more; then nobody does.
    pub(super) fn is_at_rest(&self) -> bool {
        let mut is_guarded = self.is_guarded();
        // Whoever makes a change now comes to `guard` behind this.
        *is_guarded = self.publisher().has_trials() || self.recorder.is_owing();
        !*is_guarded
    }

    /// Contended by whoever makes a change and whoever watches.
    fn is_guarded(&self) -> MutexGuard<'_, bool> {
        self.is_guarded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Contended by whoever makes a change, and held for as long as that takes.
    pub(super) fn publisher(&self) -> MutexGuard<'_, Publisher> {
        // A change is made as a whole or not at all, so one that panicked left nothing.
        self.publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is changed any more, and no worker is kept alive for it.
    pub(super) fn end(&self) {
        self.workers().clear();
        *self.traces() = None;
    }

    fn traces(&self) -> MutexGuard<'_, Option<Traces>> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server ends.
    pub(super) fn is_ending(&self) -> bool {
        self.workers().is_empty()
    }

    pub(super) fn workers(&self) -> MutexGuard<'_, Vec<UnboundedSender<Control>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says in its span what a change of what is served came to.
fn describe(span: &mut OpenSpan, replaced: &Replaced) {
    span.set("wharf.generation", replaced.generation);
    span.set("wharf.routes.added", replaced.added);
    span.set("wharf.routes.changed", replaced.changed);
    span.set("wharf.routes.removed", replaced.removed);
}

/// Gives every worker what is served from now on, and waits until each has it.
fn spread(workers: &[UnboundedSender<Control>], served: &Served) {
    let answers = workers.iter().map(|worker| {
        let (done, answer) = oneshot::channel();
        let served = served.clone();
        // A worker that has ended serves nothing.
        let _ = worker.send(Control::Publish { served, done });
        answer
    });
    let answers: Vec<_> = answers.collect();
    for answer in answers {
        let _ = answer.blocking_recv();
    }
}
