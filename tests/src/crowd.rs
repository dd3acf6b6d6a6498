//! Many healthy sessions that talk a little, on a thread of their own: the neighbours of whatever
//! a test does to the server.
//!
//! Never goes faster than its pace and never forgives: a session that is not answered, or not
//! with what it said, fails the test.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::http::Head;
use crate::meter::Latencies;
use crate::peer::Peer;
use crate::stream::{Dial, Stream};

/// Echo sessions that talk until they are stopped.
#[derive(Debug)]
pub struct Crowd {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Round trips since the last [`Crowd::take`]. Contended by nobody but a test that looks.
    times: Mutex<Vec<Duration>>,
}

impl Crowd {
    /// Opens the sessions; each sends a message every `pause`.
    pub async fn start(
        address: SocketAddr,
        target: &str,
        sessions: usize,
        pause: Duration,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let (own, target) = (Arc::clone(&shared), target.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }
                .enable_all()
                .build()
                .expect("a runtime for the crowd");
            runtime.block_on(async {
                let mut peers = Vec::with_capacity(sessions);
                for number in 0..sessions {
                    let stream = Stream::dial(address, Dial::from(70 + (number % 8) as u8)).await;
                    peers.push(Peer::open(stream, &Head::upgrade(&target)).await);
                }
                // Nobody waits any more: the test has failed.
                let _ = ready.send(());
                let mut talking = JoinSet::new();
                for (number, peer) in peers.into_iter().enumerate() {
                    talking.spawn(talk(peer, number, pause, Arc::clone(&own)));
                }
                while let Some(done) = talking.join_next().await {
                    done.expect("a healthy session stays healthy");
                }
            });
        });
        is_ready.await.expect("the crowd gets in");
        Self { shared, thread }
    }

    /// What was measured since the last time.
    pub fn take(&self) -> Latencies {
        Latencies::of(std::mem::take(&mut *self.shared.times.lock().unwrap()))
    }

    /// Forgets what was measured.
    pub fn forget(&self) {
        self.shared.times.lock().unwrap().clear();
    }

    /// What is measured from now on for a while.
    pub async fn during(&self, time: Duration) -> Latencies {
        self.forget();
        tokio::time::sleep(time).await;
        self.take()
    }

    /// Ends the sessions.
    ///
    /// # Panics
    /// When one of them was harmed.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

async fn talk(mut peer: Peer, number: usize, pause: Duration, shared: Arc<Shared>) {
    // Not all in the same moment.
    tokio::time::sleep(pause.mul_f64((number % 100) as f64 / 100.0)).await;
    for round in 0_u64.. {
        if shared.stop.load(Ordering::Relaxed) {
            return peer.leave(1000).await;
        }
        let start = Instant::now();
        peer.expect_echo(&format!("neighbour {number} round {round}"))
            .await;
        let took = start.elapsed();
        shared.times.lock().unwrap().push(took);
        tokio::time::sleep(pause.saturating_sub(took)).await;
    }
}
