//! A server with a thousand healthy sessions, and hostile routes beside them on the same worker.
//!
//! Never hostile itself: what is done to the village stands in the tests.

use std::time::{Duration, Instant};

use wharf_tests::frame::{Frame, opcode};
use wharf_tests::http::Head;
use wharf_tests::peer::{Incoming, Peer};
use wharf_tests::process::Process;
use wharf_tests::server::Child;
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::{Dial, Stream};

pub(crate) const HEALTHY: usize = 1_000;
pub(crate) const MIB: u64 = 1 << 20;
/// What a hostile guest's session may take to end, whatever its limits are here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The server, and the sessions that must not notice anything.
pub(crate) struct Village {
    pub(crate) server: Child,
    healthy: Vec<Peer>,
}

impl Village {
    pub(crate) async fn new(mounts: impl IntoIterator<Item = Mount>) -> Self {
        Self::on(Site::new(), mounts).await
    }

    /// With a storage of 8 MiB for each tenant.
    pub(crate) async fn stored(mounts: impl IntoIterator<Item = Mount>) -> Self {
        let site = Site::new()
            .section("storage", "path", "wharf.redb")
            .section("storage", "cache_bytes", "4MiB");
        Self::on(site.section("storage", "tenant_bytes_max", "8MiB"), mounts).await
    }

    pub(crate) async fn on(site: Site, mounts: impl IntoIterator<Item = Mount>) -> Self {
        // The neighbours are quiet, and look up only at the end: pings would find nobody.
        let echo = Mount::new("/echo", "echo").shared();
        let site = site.mount(echo.websocket("ping_interval", "off"));
        let site = mounts.into_iter().fold(site, Site::mount);
        let server = Child::start(&site);
        let mut healthy = Vec::with_capacity(HEALTHY);
        for number in 0..HEALTHY {
            let mut peer = Peer::connect(server.address, "/echo").await;
            peer.expect_echo(&format!("neighbour {number}")).await;
            healthy.push(peer);
        }
        Self { server, healthy }
    }

    pub(crate) fn process(&self) -> Process {
        self.server.process()
    }

    /// A new session.
    pub(crate) async fn enter(&self, target: &str) -> Peer {
        Peer::open(
            Stream::tcp(self.server.address).await,
            &Head::upgrade(target),
        )
        .await
    }

    /// A new session whose client holds little of what it does not read.
    pub(crate) async fn enter_deaf(&self, target: &str) -> Peer {
        let stream = Stream::dial(self.server.address, Dial::small_buffers()).await;
        Peer::open(stream, &Head::upgrade(target)).await
    }

    /// Peak memory that a deed adds.
    pub(crate) async fn peak_of(&self, deed: impl Future<Output = ()>) -> u64 {
        self.process().reset_peak();
        let resident = self.process().resident_bytes();
        deed.await;
        self.process().peak_bytes().saturating_sub(resident)
    }

    /// Asserts that every healthy session is untouched.
    pub(crate) async fn assert_untouched(&mut self) {
        for (number, peer) in self.healthy.iter_mut().enumerate() {
            peer.expect_echo(&format!("neighbour {number} again")).await;
        }
        self.server.assert_healthy();
    }
}

/// Asserts the close that a failed handler's sessions get; gives the incident id.
pub(crate) async fn expect_failed(peer: &mut Peer, within: Duration) -> String {
    let reason = peer.drain_to_close_within(1011, within).await;
    let incident = reason.strip_prefix("handler failed ");
    let incident = incident.unwrap_or_else(|| panic!("the reason is {reason:?}"));
    assert!(incident.len() >= 8, "an incident id: {incident:?}");
    let _gone = peer
        .raw_or_fail(Frame::close(1011, "").encode(peer.key))
        .await;
    incident.to_owned()
}

/// Reads whatever comes until the close frame or the end; the code.
pub(crate) async fn ended(peer: &mut Peer) -> Option<u16> {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match peer.next_but_pings_within(left).await {
            Incoming::Frame(frame) if frame.opcode == opcode::CLOSE => {
                return frame.close_reason().map(|(code, _)| code);
            }
            Incoming::Frame(_) => {}
            Incoming::End(_) => return None,
        }
    }
}
