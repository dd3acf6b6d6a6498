//! How the running server gives way to a successor, and what it does until its last session has
//! ended.
//!
//! Until the successor has said that it accepts, everything can go on as it was. What cannot be in
//! two processes moves in between: see [`Server::make_room`].

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, interval, sleep_until, timeout_at};
use wharf::Server;

use super::launcher::{Launcher, Started};
use super::link::{Downwards, Word};
use super::sockets::Sockets;

/// How long those may take that have to leave before the successor begins: a peer has 5 s for its
/// close, and a handler a little for its last words.
const LEAVE_WITHIN: Duration = Duration::from_secs(8);
/// How long the sessions that are left in the end are asked to leave, one after the other.
const SPREAD_MAX: Duration = Duration::from_secs(30);
/// How long operators may take to read what they have asked.
const ANSWERS: Duration = Duration::from_secs(5);
/// How often the successor hears how many sessions are left.
const REPORT: Duration = Duration::from_millis(500);

/// The process that serves from now on.
#[derive(Debug)]
pub(crate) struct Successor {
    pub(crate) process: u32,
    link: Downwards,
}

/// Starts a successor and makes room for it. When this fails, no successor is there, and the server
/// serves as before. Not to be given up in the middle, but by who ends the server.
pub(crate) async fn hand_over(
    server: &Server,
    launcher: &Launcher,
    sockets: &Sockets,
    program: Option<&Path>,
    ready_within: Duration,
) -> Result<Successor> {
    let Started { process, link } = launcher.launch(program, &sockets.listeners())?;
    tracing::info!(process, "a successor starts");
    let mut link = Downwards::new(link)?;
    link.say(&Word::Sockets(sockets.names()));
    let deadline = Instant::now() + ready_within;
    let mut has_left = false;
    let why = loop {
        match timeout_at(deadline, link.hear()).await {
            Ok(Some(Word::Prepared)) => {
                has_left = true;
                match server.make_room(LEAVE_WITHIN).await {
                    Ok(0) => {}
                    Ok(instances) => tracing::warn!(
                        instances,
                        "not everybody has left in time: what these store from now on is refused"
                    ),
                    Err(error) => break format!("{error:#}"),
                }
                link.say(&Word::Released);
            }
            Ok(Some(Word::Ready)) if has_left => return Ok(Successor { process, link }),
            Ok(Some(Word::Failed(why))) => break why,
            Ok(Some(_)) => {}
            Ok(None) => break "it has ended".to_owned(),
            Err(_) => break format!("it was not ready within {ready_within:?}"),
        }
    };
    // It is gone before the storage is opened here again.
    let ended = launcher.end();
    if has_left {
        server.go_on().await?;
    }
    let ended = ended.unwrap_or_else(|error| format!("{error:#}"));
    Err(anyhow!("{why} ({ended})"))
}

impl Successor {
    /// Lets the sessions that are here go on until they end, or for that time; then asks those that
    /// are left to come again, each at a moment of its own. Returns how many were left in the end.
    pub(crate) async fn outlast(mut self, server: &Server, drain_for: Duration) -> usize {
        let until = Instant::now() + drain_for;
        let mut report = interval(REPORT);
        let mut is_alone = false;
        loop {
            tokio::select! {
                () = sleep_until(until) => break,
                word = self.link.hear(), if !is_alone => match word {
                    Some(Word::End) => break,
                    Some(_) => {}
                    // Whoever ends it says so before: its sessions are gone, those here are not.
                    None => {
                        is_alone = true;
                        tracing::error!(process = self.process, "the successor has ended");
                    }
                },
                _ = report.tick() => {
                    let sessions = server.stats().sessions_open as u64;
                    if sessions == 0 {
                        break;
                    }
                    self.link.say(&Word::Sessions(sessions));
                }
            }
        }
        server.answer_operators(ANSWERS).await;
        server.close_within(SPREAD_MAX.min(drain_for / 4)).await
    }
}
