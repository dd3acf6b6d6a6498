//! A healthy client with a stopwatch, on a thread of its own, so that what else a test does
//! is not measured as the server's delay.
//!
//! Never sends faster than its interval: it shows what a well-behaved neighbour feels.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::deadline::STEP;
use crate::frame::{Decoder, Frame, MASK};
use crate::http::{Head, Response};

/// What other programs on the same cores can add to a latency: far below the deadlines for which
/// somebody who is held up would wait.
const NOISE: Duration = Duration::from_millis(250);

/// An echo client that measures until it is stopped.
#[derive(Debug)]
pub struct Meter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

/// Round trips, sorted.
#[derive(Clone, Debug)]
pub struct Latencies(Vec<Duration>);

impl Meter {
    /// Connects to an echo route and sends a message each interval.
    pub fn start(address: SocketAddr, target: &str, interval: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let target = target.to_owned();
        let thread = std::thread::spawn(move || measure(address, &target, interval, &stopped));
        Self { stop, thread }
    }

    /// Ends the session and gives what was measured.
    ///
    /// # Panics
    /// When the client was not answered, or not with what it had sent.
    pub fn stop(self) -> Latencies {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(times) => Latencies::of(times),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Measures for a while.
    pub async fn during(
        address: SocketAddr,
        target: &str,
        interval: Duration,
        time: Duration,
    ) -> Latencies {
        let meter = Self::start(address, target, interval);
        tokio::time::sleep(time).await;
        meter.stop()
    }
}

impl Latencies {
    /// Sorts what was measured.
    pub fn of(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "at least one round trip was measured");
        times.sort_unstable();
        Self(times)
    }

    /// What several have measured at the same time.
    pub fn merged(several: impl Iterator<Item = Self>) -> Self {
        Self::of(several.flat_map(|one| one.0).collect())
    }

    /// The one with the least p99.
    pub fn best(several: Vec<Self>) -> Self {
        let best = several.into_iter().min_by_key(Self::p99);
        best.expect("something was measured")
    }

    /// The time within which `percent` of the round trips stayed.
    pub fn percentile(&self, percent: f64) -> Duration {
        let at = (self.0.len() as f64 * percent / 100.0).ceil() as usize;
        self.0[at.clamp(1, self.0.len()) - 1]
    }

    /// 50 of 100 were at least as fast.
    pub fn p50(&self) -> Duration {
        self.percentile(50.0)
    }

    /// 99 of 100 were at least as fast.
    pub fn p99(&self) -> Duration {
        self.percentile(99.0)
    }

    /// The slowest.
    pub fn max(&self) -> Duration {
        self.percentile(100.0)
    }

    /// How many were measured.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Asserts that p99 is at most `factor` times that of `before`, beyond what other programs on
    /// the same cores can add: a quarter of a second, and half of what it was. So it finds who waits
    /// for others; the ratio itself is for whoever reads the figures.
    pub fn assert_within(&self, factor: f64, before: &Self) {
        let limit = before.p99().mul_f64(factor + 0.5) + NOISE;
        assert!(
            self.p99() <= limit,
            "p99 {:?}, before {:?}, limit {limit:?}",
            self.p99(),
            before.p99()
        );
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(
            formatter,
            "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms of {}",
            millis(self.p50()),
            millis(self.p99()),
            millis(self.max()),
            self.count()
        )
    }
}

fn measure(
    address: SocketAddr,
    target: &str,
    interval: Duration,
    stop: &AtomicBool,
) -> Vec<Duration> {
    let mut client = Client::connect(address, target);
    let mut times = Vec::new();
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let text = format!("healthy {}", times.len());
        let start = Instant::now();
        client.echo(&text);
        times.push(start.elapsed());
        due += interval;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    times
}

/// The plainest blocking client.
struct Client {
    stream: TcpStream,
    decoder: Decoder,
}

impl Client {
    fn connect(address: SocketAddr, target: &str) -> Self {
        let mut stream = TcpStream::connect(address).expect("a healthy client can connect");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        stream
            .set_read_timeout(Some(STEP))
            .expect("a timeout can be set");
        stream
            .write_all(&Head::upgrade(target).bytes())
            .expect("a healthy client can ask");
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = stream
                .read(&mut buffer)
                .expect("a healthy client is answered");
            assert!(
                count > 0,
                "a healthy client is answered, not closed: {}",
                String::from_utf8_lossy(&read)
            );
            read.extend_from_slice(&buffer[..count]);
            if let Some((response, length)) = Response::parse(&read) {
                assert_eq!(response.status, 101, "a healthy client is let in");
                let mut decoder = Decoder::default();
                decoder.push(&read[length..]);
                return Self { stream, decoder };
            }
        }
    }

    fn echo(&mut self, text: &str) {
        self.stream
            .write_all(&Frame::text(text).encode(Some(MASK)))
            .expect("a healthy client can send");
        let mut buffer = [0; 4096];
        loop {
            match self.decoder.take() {
                Some(frame) if frame.opcode == crate::frame::opcode::PING => {
                    let pong = Frame::pong(frame.payload).encode(Some(MASK));
                    self.stream
                        .write_all(&pong)
                        .expect("a healthy client can answer");
                }
                Some(frame) => {
                    assert_eq!(frame, Frame::text(text), "a healthy client gets its echo");
                    return;
                }
                None => {
                    let count = self
                        .stream
                        .read(&mut buffer)
                        .expect("a healthy client is answered");
                    assert!(count > 0, "a healthy client's session stays open");
                    self.decoder.push(&buffer[..count]);
                }
            }
        }
    }
}
