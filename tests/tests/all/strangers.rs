//! Ten tenants who use the same names for everything: no one ever reads what another has left.
//!
//! What each does is up to chance, and the guest looks at all that it reads. The seed is in the
//! figure and in every failure. `WHARF_STRANGERS_OPERATIONS` says how many operations, a million if not set.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use wharf_tests::deadline::alone;
use wharf_tests::figure::figure;
use wharf_tests::frame::Frame;
use wharf_tests::peer::Peer;
use wharf_tests::server::start;
use wharf_tests::site::{Mount, Site};

use crate::promises::covers;

const TENANTS: u64 = 10;
const SESSIONS: u64 = 2;
/// So many fit into one call's CPU time.
const OPERATIONS_A_CALL: u64 = 250;

#[test]
fn no_tenant_reads_what_another_has_left() {
    covers("tenants.apart");
    let operations: u64 = std::env::var("WHARF_STRANGERS_OPERATIONS").map_or(1_000_000, |text| {
        text.parse().expect("a number of operations")
    });
    let seed = rand_seed();
    alone(async move {
        let site = Site::new().section("storage", "path", "memory").workers(2);
        let site = (1..=TENANTS).fold(site, |site, tenant| site.mount(route(tenant)));
        let server = start(&site).await;
        let calls = operations / (TENANTS * SESSIONS * OPERATIONS_A_CALL);
        let mut tasks = JoinSet::new();
        for number in 0..TENANTS * SESSIONS {
            let tenant = number % TENANTS + 1;
            tasks.spawn(live(
                server.address,
                tenant,
                seed + number * 1_000_003,
                calls,
            ));
        }
        let (mut done, mut seen) = (0, 0);
        while let Some(counts) = tasks.join_next().await {
            let counts = counts.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            done += counts.0;
            seen += counts.1;
        }
        find_each_other(server.address).await;
        figure(
            "tenants.apart",
            format!(
                "{done} operations of {TENANTS} tenants on the same keys, topics and timers (seed {seed}): {seen} reads, 0 of them foreign"
            ),
        );
        assert!(seen > done / 10, "much was read: {seen} of {done}");
    });
}

fn route(tenant: u64) -> Mount {
    Mount::new(&format!("/{tenant}"), "stranger")
        .set("tenant", format!("tenant-{tenant}"))
        .grant("keyvalue", ["default"])
        .grant("topics", true)
        .grant("timers", true)
}

/// Runs one session's calls; how much it did, and how much it read.
async fn live(address: SocketAddr, tenant: u64, seed: u64, calls: u64) -> (u64, u64) {
    let mut peer = Peer::connect(address, &format!("/{tenant}")).await;
    let (mut done, mut seen) = (0, 0);
    for call in 0..calls {
        let seed = seed.wrapping_mul(6_364_136_223_846_793_005) + call + 1;
        peer.send_text(format!("run {tenant} {seed} {OPERATIONS_A_CALL}"))
            .await;
        loop {
            let text = peer.text().await;
            if let Some(counts) = text.strip_prefix("done ") {
                let (did, read) = counts.split_once(' ').unwrap();
                done += did.parse::<u64>().unwrap();
                seen += read.parse::<u64>().unwrap();
                break;
            }
            // What its topics deliver bears its own tag, too.
            assert!(
                text.starts_with(&format!("{tenant}/")),
                "tenant {tenant} is sent {text:?}"
            );
            seen += 1;
        }
    }
    // What its topics have on their way comes first.
    peer.send(Frame::close(1000, "")).await;
    peer.drain_to_close_within(1000, Duration::from_secs(20))
        .await;
    (done, seen)
}

/// Names of sessions are no way to another tenant's.
async fn find_each_other(address: SocketAddr) {
    let mut peers = Vec::new();
    for tenant in 1..=TENANTS {
        peers.push(Peer::connect(address, &format!("/{tenant}")).await);
    }
    let mut names = Vec::new();
    for peer in &mut peers {
        peer.send_text("name").await;
        names.push(peer.text().await);
    }
    for (number, peer) in peers.iter_mut().enumerate() {
        for (owner, name) in names.iter().enumerate() {
            peer.send_text(format!("find {name}")).await;
            let found = if owner == number { "mine" } else { "none" };
            assert_eq!(peer.text().await, found, "{number} looks for {owner}");
        }
    }
}

fn rand_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").subsec_nanos().into()
}
