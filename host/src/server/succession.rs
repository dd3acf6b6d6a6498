//! How a server makes room for its successor, step by step: holds, leaves, is gone. Each step but the
//! last can be taken back.
//!
//! Knows no other process: whoever calls this tells the successor what it may do. What may be in one
//! process only (rooms, topics, what is stored) leaves before the successor begins, so that it is
//! never in two.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::sync::oneshot;

use super::worker::Control;
use super::{Server, builder};
use crate::admin::UpgradeRequest;
use crate::rights::Held;

impl Server {
    /// Listens on an address as [`Builder::listen`](super::Builder::listen) does; for
    /// [`Builder::socket`](super::Builder::socket).
    ///
    /// # Errors
    /// Why that cannot be done.
    pub fn bind(address: &str) -> Result<TcpListener> {
        builder::bind(address)
    }

    /// Makes room for a successor: accepts nothing (connections wait in the kernel's queue), asks the
    /// sessions of routes that share something (a keyed instance, topics, what is stored) to come
    /// again with 1012, waits up to `within` for their end, and closes the storage. Other sessions
    /// notice nothing. Returns how many instances had not ended; what these store from now on is
    /// refused.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn make_room(&self, within: Duration) -> Result<usize> {
        self.ask(|done| Control::Hold { done }).await;
        let left = self.ask(|done| Control::Leave { within, done }).await;
        self.with_stores(|store| {
            store.give_away();
            Ok(())
        })
        .await?;
        Ok(left.into_iter().sum())
    }

    /// There is no successor after all: opens the storage again, and accepts what has come meanwhile.
    ///
    /// # Errors
    /// When the storage cannot be opened; then what needs it is refused, and the rest goes on.
    pub async fn go_on(&self) -> Result<()> {
        let reopened = self.with_stores(|store| store.take_back()).await;
        for worker in &self.workers {
            // One that has ended accepts nothing.
            let _ = worker.send(Control::GoOn);
        }
        reopened
    }

    /// The successor accepts from now on: lets go of the listening sockets. Sessions that are here
    /// stay, and their handlers.
    pub fn be_gone(&self) {
        self.status.be_gone();
        for worker in &self.workers {
            let _ = worker.send(Control::BeGone);
        }
    }

    /// After [`Server::be_gone`]: waits until the operators who were accepted here have their
    /// answers, at most so long. Somebody among them may have asked for the successor.
    pub async fn answer_operators(&self, within: Duration) {
        if self.admin.is_some() {
            // Who reads a log for ever is cut.
            let _ = tokio::time::timeout(within, self.status.answered()).await;
        }
    }

    /// Asks all sessions to come again, with 1012, each at a moment of its own within `spread`.
    /// Returns how many had not ended a little later.
    pub async fn close_within(&self, spread: Duration) -> usize {
        let left = self.ask(|done| Control::CloseWithin { spread, done }).await;
        left.into_iter().sum()
    }

    /// Whether every worker has answered within that time: one that does not is held by something
    /// that never ends.
    pub async fn is_alive(&self, within: Duration) -> bool {
        let answers = self.ask(|done| Control::Ping { done });
        let answers = tokio::time::timeout(within, answers).await;
        answers.is_ok_and(|answers| answers.len() == self.workers.len())
    }

    /// The next wish of an operator for an upgrade, over the admin listener. From the first call on
    /// such wishes are taken; before, they are refused.
    pub async fn upgrade_requested(&self) -> UpgradeRequest {
        self.status.upgrade_wanted().await
    }

    /// Shows operators which rights the process has given up.
    pub fn show_rights(&self, held: &Held) {
        self.status.show_rights(held.rows());
    }

    /// Shows operators how many sessions the process has left that was here before; `None` when it
    /// has ended.
    pub fn show_predecessor(&self, sessions: Option<u64>) {
        self.status.show_predecessor(sessions);
    }

    /// The answers of all workers that live.
    async fn ask<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Control) -> Vec<T> {
        let asked = self.workers.iter().map(|worker| {
            let (done, answer) = oneshot::channel();
            // One that has ended does not answer.
            let _ = worker.send(question(done));
            answer
        });
        let asked: Vec<_> = asked.collect();
        let mut answers = Vec::new();
        for answer in asked {
            answers.extend(answer.await.ok());
        }
        answers
    }

    /// Does something with each store, on a thread that may stand still.
    async fn with_stores(
        &self,
        act: impl Fn(&crate::storage::Storage) -> Result<(), String> + Send + 'static,
    ) -> Result<()> {
        let stores = self.stores.clone();
        let (done, acted) = oneshot::channel();
        let thread = std::thread::Builder::new().name("wharf-stores".into());
        thread
            .spawn(move || drop(done.send(stores.iter().try_for_each(act))))
            .context("a thread for the storage")?;
        let acted = acted.await.context("the storage was left as it is")?;
        acted.map_err(|reason| anyhow!(reason))
    }
}
