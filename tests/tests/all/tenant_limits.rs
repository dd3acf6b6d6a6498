//! Limits of a tenant in the place of those that the server has for every tenant: smaller and larger
//! ones, beside tenants without. And conversations, which wait for their tenant's turn as calls do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;
use wharf_tests::deadline::{eventually, scenario};
use wharf_tests::feed::Feed;
use wharf_tests::peer::Peer;
use wharf_tests::server::{Child, start};
use wharf_tests::site::{Mount, Site};
use wharf_tests::upstream::Upstream;

use crate::promises::covers;
use crate::village::ended;

/// A route for each of three tenants: `small` and `large` have limits of their own, `plain` has none.
const TENANTS: [&str; 3] = ["small", "plain", "large"];

fn site(mount: impl Fn(&str) -> Mount) -> Site {
    let one =
        |site: Site, tenant: &&str| site.mount(mount(&format!("/{tenant}")).set("tenant", *tenant));
    TENANTS.iter().fold(Site::new(), one)
}

/// Limits of `small` and of `large`, under one key.
fn limited(site: Site, key: &str, small: &str, large: &str) -> Site {
    let value = |text: &str| match text.parse() {
        Ok(number) => wharf_tests::site::Value::Number(number),
        Err(_) => text.into(),
    };
    site.section("tenant.small.limits", key, value(small))
        .section("tenant.large.limits", key, value(large))
}

async fn asked(peer: &mut Peer, command: &str) -> String {
    peer.send_text(command).await;
    peer.text().await
}

/// What each tenant is told who asks for that.
async fn each(address: SocketAddr, command: &str) -> [String; 3] {
    let mut answers = [const { String::new() }; 3];
    for (tenant, answer) in TENANTS.iter().zip(&mut answers) {
        let mut peer = Peer::connect(address, &format!("/{tenant}")).await;
        *answer = asked(&mut peer, command).await;
    }
    answers
}

/// The number at the begin of an answer.
fn count(answer: &str) -> u64 {
    let word = answer.split(' ').next().unwrap_or_default();
    word.parse().unwrap_or_else(|_| panic!("{answer:?}"))
}

#[test]
fn what_a_tenant_stores_has_its_own_limits() {
    covers("budgets.overrides");
    scenario(async {
        let guest = |path: &str| {
            let store = Mount::new(path, "store").grant("keyvalue", ["default"]);
            store.grant("timers", true).shared()
        };
        let stored = |site: Site| {
            site.section("storage", "path", "memory")
                .section("storage", "tenant_keys_max", 20)
                .section("storage", "tenant_timers_max", 20)
        };
        let site = stored(site(guest));
        let site = limited(site, "stored_keys_max", "5", "40");
        let site = limited(site, "stored_timers_max", "3", "30");
        let server = start(&site).await;
        let keys = each(server.address, "fill\tdefault\t1").await;
        assert_eq!(
            keys.each_ref().map(|answer| count(answer)),
            [5, 20, 40],
            "{keys:?}"
        );
        let timers = each(server.address, "timers").await;
        assert_eq!(
            timers.each_ref().map(|answer| count(answer)),
            [3, 20, 30],
            "{timers:?}"
        );
        // From a reload on there is more room, or less.
        let other = limited(site, "stored_keys_max", "6", "30");
        server.reload(&other).await.unwrap();
        let added = each(server.address, "set\tdefault\tmore\tx").await;
        assert_eq!(added[0], "ok");
        assert!(
            added[1..].iter().all(|answer| answer.starts_with("error ")),
            "{added:?}"
        );
    });
}

#[test]
fn bytes_that_a_tenant_stores_have_their_own_limit() {
    covers("budgets.overrides");
    scenario(async {
        let guest = |path: &str| Mount::new(path, "store").grant("keyvalue", ["default"]);
        let guest = |path: &str| guest(path).grant("timers", true);
        let site = site(guest).section("storage", "path", "memory").section(
            "storage",
            "tenant_bytes_max",
            "256KiB",
        );
        let site = limited(site, "stored_bytes_max", "64KiB", "1MiB");
        let server = start(&site).await;
        let filled = each(server.address, "fill\tdefault\t4096").await;
        // A value takes its bytes, and a little for its key.
        for (answer, most) in filled.iter().zip([16, 64, 256]) {
            let fits = count(answer);
            assert!(fits < most && fits > most * 3 / 4, "{answer}: {most}");
        }
    });
}

#[test]
fn topics_of_a_tenant_have_a_limit() {
    covers("budgets.topics");
    scenario(async {
        let guest = |path: &str| Mount::new(path, "herald").grant("topics", true).shared();
        let server = Child::start(&limited(site(guest), "topics_max", "3", "7").section(
            "admin",
            "listen",
            "127.0.0.1:0",
        ));
        let mut peers = Vec::new();
        for (tenant, expect) in TENANTS.iter().zip([3, 10, 7]) {
            let mut peer = Peer::connect(server.address, &format!("/{tenant}")).await;
            let answer = asked(&mut peer, "sub-many 10").await;
            assert_eq!(count(&answer), expect, "{tenant}: {answer}");
            peers.push(peer);
        }
        let small = &mut peers[0];
        let answer = asked(small, "sub other x").await;
        assert_eq!(answer, "limit 3", "a further one");
        assert_eq!(
            asked(small, "sub many/1 again").await,
            "ok",
            "one that is there"
        );
        // Who leaves a topic that nobody else is in makes room for another.
        assert_eq!(asked(small, "unsub many/2").await, "ok");
        assert_eq!(asked(small, "sub other x").await, "ok");
        let row = "wharf_tenant_limit_hits_total{tenant=\"small\",limit=\"topics\"} ";
        let head = wharf_tests::http::Head::get("/metrics");
        let metrics = wharf_tests::peer::exchange(server.admin(), &head).await;
        let hits = metrics.text();
        let hits = hits
            .lines()
            .find_map(|line| line.strip_prefix(row))
            .map(str::to_owned);
        assert_eq!(hits.as_deref(), Some("2"));
    });
}

/// How many messages of a tenant the log has.
fn logged(log: &str, tenant: &str, context: &str) -> usize {
    let whole = log.rfind('\n').map_or("", |end| &log[..=end]);
    let lines = whole
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let own = lines.filter(|line| line["tenant"] == tenant && line["context"] == context);
    own.count()
}

#[test]
fn the_log_of_a_tenant_has_its_own_limit() {
    covers("budgets.overrides");
    scenario(async {
        const LINES: usize = 30;
        let guest = |path: &str| {
            let envoy = Mount::new(path, "envoy").grant("logging", true);
            envoy
                .config("greeting", "hello")
                .grant("http", ["localhost:1"])
        };
        let site = site(guest).section("log", "tenant_lines_per_second_max", 4);
        let server = Child::start(&limited(site, "log_lines_per_second_max", "1", "10000"));
        let mut took = Vec::new();
        for tenant in TENANTS {
            let mut peer = Peer::connect(server.address, &format!("/{tenant}")).await;
            let begin = Instant::now();
            for _ in 0..LINES {
                assert_eq!(asked(&mut peer, "log info here said").await, "ok");
            }
            took.push(begin.elapsed());
        }
        let all = || {
            let log = server.log();
            let found = TENANTS.map(|tenant| logged(&log, tenant, "here"));
            (found[2] == LINES)
                .then_some(found)
                .ok_or(format!("{found:?}"))
        };
        let (found, _) = eventually(Duration::from_secs(10), "the last line", all).await;
        // A second's worth at once, and what the time was worth.
        for (place, per_second) in [(0, 1.0), (1, 4.0)] {
            let most = per_second * (took[place].as_secs_f64() + 1.0);
            let lines = found[place] as f64;
            assert!((1.0..=most).contains(&lines), "{place}: {lines} of {most}");
        }
    });
}

#[test]
fn connections_that_a_tenants_handlers_open_have_their_own_limits() {
    covers("budgets.overrides");
    scenario(async {
        let (upstream, feed) = (Upstream::start(None).await, Feed::start(None).await);
        let (host, other) = (upstream.address.to_string(), feed.address.to_string());
        let asks = |path: &str| {
            let envoy = Mount::new(path, "envoy").grant("logging", true);
            let envoy = envoy.config("greeting", "hello").grant("http", [&*host]);
            envoy.grant("private_addresses", true)
        };
        let site_of = |site: Site| {
            site.section("outbound", "tenant_connections_max", 6)
                .section("outbound", "tenant_websockets_max", 6)
                .section("outbound", "total_timeout", "2s")
        };
        let asking = limited(site_of(site(asks)), "outbound_connections_max", "2", "9");
        let server = start(&asking).await;
        let begun = each(server.address, &format!("flood {host} 20")).await;
        for (answer, expect) in begun.iter().zip([2, 6, 9]) {
            assert!(
                answer.starts_with(&format!("{expect} begun, then")),
                "{answer}"
            );
        }
        let dials = |path: &str| {
            let dialer = Mount::new(path, "dialer").grant("websocket", [&*other]);
            dialer.grant("private_addresses", true)
        };
        let dialing = limited(site_of(site(dials)), "outbound_websockets_max", "2", "9");
        let server = start(&dialing).await;
        let open = each(server.address, &format!("flood ws://{other}/echo 20")).await;
        for (answer, expect) in open.iter().zip([2, 6, 9]) {
            let right = format!("{expect} open, then there are {expect} already");
            assert_eq!(*answer, right);
        }
    });
}

#[test]
fn a_conversation_waits_for_its_tenants_turn_and_gets_it() {
    covers("budgets.turns");
    scenario(async {
        const SPINNERS: usize = 6;
        /// Answers that their neighbours get before the first of them is cut.
        const ANSWERS_MIN: usize = 20;
        let busy = Mount::new("/busy", "hostile-talker").set("tenant", "busy");
        let calm = Mount::new("/calm", "talker").set("tenant", "calm").shared();
        let site = Site::new()
            .mount(busy.guest("cpu_per_call", "500ms"))
            .mount(calm);
        let server = start(&site).await;
        // One of the tenant that spins, and one beside it; all on one worker.
        let stop = Arc::new(AtomicBool::new(false));
        let mut talking = JoinSet::new();
        let counts = ["/busy", "/calm"].map(|path| (path, Arc::<AtomicUsize>::default()));
        for (path, count) in &counts {
            let peer = Peer::connect(server.address, path).await;
            talking.spawn(talk(peer, Arc::clone(&stop), Arc::clone(count)));
        }
        let mut spinners = JoinSet::new();
        for _ in 0..SPINNERS {
            let mut peer = Peer::connect(server.address, "/busy").await;
            peer.expect_echo("before").await;
            spinners.spawn(async move {
                peer.send_text("spin").await;
                ended(&mut peer).await
            });
        }
        let answers = || {
            counts
                .each_ref()
                .map(|(_, count)| count.load(Ordering::Relaxed))
        };
        let before = answers();
        let mut ends = vec![spinners.join_next().await.unwrap().unwrap()];
        let beside = answers();
        while let Some(end) = spinners.join_next().await {
            ends.push(end.unwrap());
        }
        stop.store(true, Ordering::Relaxed);
        while let Some(done) = talking.join_next().await {
            done.unwrap();
        }
        // Each has had all of its time, and none of it was taken for waiting.
        assert_eq!(ends, [Some(1011); SPINNERS]);
        let [own, calm] = [0, 1].map(|place| beside[place] - before[place]);
        assert!(calm >= ANSWERS_MIN, "{calm} answers beside them");
        assert!(
            own >= 1,
            "the tenant's other conversations have their turns, too"
        );
    });
}

/// Says something again and again; how often it is answered.
async fn talk(mut peer: Peer, stop: Arc<AtomicBool>, answers: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        peer.expect_echo("in turn").await;
        answers.fetch_add(1, Ordering::Relaxed);
    }
    peer.leave(1000).await;
}
