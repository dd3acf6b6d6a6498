//! Timers that are due: each becomes a call of its instance, in order with everything else that
//! the instance has to do. Starts an instance that does not live, for as long as the call needs it.
//!
//! What is due and what comes again is `timers`' rule; this asks instances and reports.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use super::hosted::Use;
use super::placement::{self, InstanceKey};
use super::{Dispatcher, Hosted, Stay};
use crate::catalog::{InstanceModel, Route, Side};
use crate::fault::Fault;
use crate::mailbox::{TimerCall, Work};
use crate::timers::{Due, Home, Outcome, Owner};

/// Instances of one tenant that one worker asks at a time: after a restart much may be due at
/// once, and a tenant whose handlers wait holds up nobody else's timers.
const TENANT_CALLS_MAX: usize = 64;

impl Dispatcher {
    /// Calls this worker's timers when they are due, until it drains.
    pub(crate) async fn run_timers(&self) {
        self.load_timers(|_| true);
        let calls: RefCell<HashMap<Arc<str>, Rc<Semaphore>>> = RefCell::default();
        loop {
            let due = self.services().timers.due().await;
            if self.draining().is_some() {
                // What is stored comes after the restart.
                return;
            }
            if let Owner::Home(_) = &due.owner {
                match self.stay() {
                    Stay::Here => {}
                    // It may be called here yet, or in the next process.
                    Stay::Leaving => {
                        self.services().timers.put_off(&due);
                        continue;
                    }
                    // The next process has read it from the storage.
                    Stay::Gone => continue,
                }
            }
            let (route, permits) = match &due.owner {
                Owner::Session(_) => (None, None),
                Owner::Home(home) => {
                    let mut calls = calls.borrow_mut();
                    let permits = calls.entry(Arc::clone(&home.tenant));
                    let permits =
                        permits.or_insert_with(|| Semaphore::new(TENANT_CALLS_MAX).into());
                    (
                        self.timed_route(&home.tenant, &home.route),
                        Some(Rc::clone(permits)),
                    )
                }
            };
            let dispatcher = self.clone();
            tokio::task::spawn_local(async move {
                let _permit = match &permits {
                    Some(permits) => permits.acquire().await.ok(),
                    None => None,
                };
                dispatcher.call(route.as_ref(), due).await;
            });
        }
    }

    /// Whose the timers of an instance are.
    pub(super) fn owner_of(&self, hosted: &Hosted) -> Owner {
        let route = hosted.route();
        let (key, worker) = match hosted.key() {
            None => return Owner::Session(hosted.serial()),
            Some(key @ InstanceKey::Shared(_)) => ("", self.worker_of(key)),
            Some(key @ InstanceKey::Keyed(_, text)) => (text.as_str(), self.worker_of(key)),
        };
        Owner::Home(Arc::new(Home {
            tenant: Arc::clone(&route.tenant),
            route: route.name().into(),
            key: key.into(),
            worker,
        }))
    }

    fn worker_of(&self, key: &InstanceKey) -> usize {
        placement::worker_of(key, self.0.peers.len())
    }

    /// The route of that tenant and name, if its instances can be found again and take timers.
    fn timed_route(&self, tenant: &Arc<str>, name: &str) -> Option<Arc<Route>> {
        let catalog = self.catalog();
        let route = catalog.named(tenant, name)?;
        let program = self.newest(route.id, Side::Stable)?.program;
        let may = route.grants.timers && route.instance != InstanceModel::Session;
        (may && program.has_timers()).then(|| Arc::clone(route))
    }

    /// Takes over the stored timers of the routes that are new here.
    pub(super) fn load_timers(&self, is_new: impl Fn(&Route) -> bool) {
        let others = Cell::new(0);
        let loaded = self.services().timers.load(|tenant, name, key| {
            let route = self.timed_route(&tenant.into(), name)?;
            if !is_new(&route) {
                others.set(others.get() + 1);
                return None;
            }
            let instance = key_of(&route, key);
            Some(Home {
                tenant: Arc::clone(&route.tenant),
                route: name.into(),
                key: key.into(),
                worker: self.worker_of(&instance),
            })
        });
        match loaded {
            Ok(unloaded) if unloaded > others.get() && self.0.worker == 0 => tracing::warn!(
                timers = unloaded - others.get(),
                "timers are stored for routes that are not here, or take none any more: they stay"
            ),
            Ok(_) => {}
            Err(error) => tracing::error!("the stored timers could not be read: {error}"),
        }
    }

    async fn call(&self, route: Option<&Arc<Route>>, due: Due) {
        let hosted = match (&due.owner, route) {
            (Owner::Session(serial), _) => self.0.hosted.borrow().get(serial).cloned(),
            (Owner::Home(home), Some(route)) => {
                let key = Some(key_of(route, &home.key));
                let side = self.side_of_key(&key, route);
                self.instance_for(key, side, route)
            }
            (Owner::Home(_), None) => None,
        };
        // The session has ended meanwhile, and its timers with it.
        let Some(hosted) = hosted else { return };
        let usage = Use::new(hosted);
        let (answer, answered) = oneshot::channel();
        let call = TimerCall {
            name: due.name.clone(),
            wanted: Rc::clone(&due.wanted),
            answer,
        };
        let outcome = match usage.hosted().inbox().push(Work::Timer(call)) {
            Ok(()) => match answered.await {
                Ok(Ok(())) => Outcome::Done,
                Ok(Err(Fault::Guest(_))) => Outcome::Failed,
                Ok(Err(Fault::Host(_))) | Err(_) => Outcome::NotAsked,
            },
            Err(_) => Outcome::NotAsked,
        };
        self.services().timers.settle(&due, outcome).await;
    }
}

/// The instance that a stored key means on a route.
fn key_of(route: &Route, key: &str) -> InstanceKey {
    match route.instance {
        InstanceModel::Keyed(_) => InstanceKey::Keyed(route.id, key.to_owned()),
        InstanceModel::Shared | InstanceModel::Session => InstanceKey::Shared(route.id),
    }
}
