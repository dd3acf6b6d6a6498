//! The operators' side: health, metrics and the API, on a listener and a thread of their own.
//!
//! Serves no session, and touches none but by asking its worker with a [`Question`], which is
//! answered between two messages. So nothing that happens here can hold up a message, and whatever
//! keeps the workers busy cannot hide that they live.

mod access;
mod answer;
mod api;
mod canaries;
mod deployer;
mod exposition;
mod listener;
mod office;
mod question;
mod settings;
mod status;
mod streaming;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

pub(crate) use self::canaries::{Canaries, CanaryDesk, CanaryEnd, CanaryOrder, CanaryRow, Outcome};
pub(crate) use self::deployer::{
    ChangeTarget, Declined, DeployEnd, DeployOutcome, DeployParcel, DeployTallies, Deployer,
    DeploymentDetail, DeploymentRow, DeploymentState, HistoryRow, VersionRow, Why,
};
use self::office::Office;
pub(crate) use self::question::Question;
pub use self::settings::{AdminScope, AdminSettings, AdminToken, new_admin_token};
pub(crate) use self::status::Status;
pub use self::status::UpgradeRequest;
use crate::budget::Budgets;
use crate::capability::GuestLogs;
use crate::dead_letters::DeadLetters;
use crate::traces::TraceCounters;

/// The running listener. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

/// What it is made of.
pub(crate) struct AdminParts {
    pub(crate) settings: AdminSettings,
    /// The way to every worker, in order.
    pub(crate) workers: Vec<UnboundedSender<Question>>,
    pub(crate) status: Arc<Status>,
    /// What handlers of all tenants say.
    pub(crate) logs: GuestLogs,
    /// What their calls were about that failed.
    pub(crate) dead_letters: DeadLetters,
    /// Who knows of versions on trial.
    pub(crate) canaries: Box<dyn CanaryDesk>,
    /// What tenants may use, and which of them the configuration names.
    pub(crate) budgets: Budgets,
    /// Whoever keeps the deployments, if there are any.
    pub(crate) deployer: Option<Arc<dyn Deployer>>,
    /// What became of spans; `None` if nothing is traced.
    pub(crate) traces: Option<Arc<TraceCounters>>,
}

impl Admin {
    /// Serves what connects to the listener, which does not block.
    pub(crate) fn start(
        listener: TcpListener,
        parts: AdminParts,
    ) -> Result<(Self, JoinHandle<()>)> {
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let runtime = || {
            let mut builder = Builder::new_current_thread();
            builder.enable_all().build_local(LocalOptions::default())
        };
        let thread = std::thread::Builder::new().name("wharf-admin".into());
        let thread = thread.spawn(move || {
            let served = runtime().and_then(|runtime| {
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener)?;
                    tokio::select! {
                        () = listener::serve(listener, Office::new(parts)) => {}
                        _ = stopped => {}
                    }
                    Ok(())
                })
            });
            if let Err(error) = served {
                tracing::error!("the admin listener could not start: {error}");
            }
        });
        let thread = thread.context("a thread for the admin listener")?;
        let admin = Self {
            address,
            _stop: stop,
        };
        Ok((admin, thread))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
