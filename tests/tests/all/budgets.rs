//! Budgets of tenants: what each is worth, seen by those who are over theirs and by those beside them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wharf_tests::crowd::Crowd;
use wharf_tests::deadline::{STEP, alone, scenario};
use wharf_tests::figure::figure;
use wharf_tests::frame::Frame;
use wharf_tests::http::{Head, Response};
use wharf_tests::meter::Latencies;
use wharf_tests::peer::{Incoming, Peer, exchange};
use wharf_tests::server::{Child, start};
use wharf_tests::site::{Mount, Site, Value};
use wharf_tests::stream::Stream;

use crate::promises::covers;
use crate::village::ended;

/// A route of the tenant `small`, and one of another on the same workers.
fn site(guest: &str, limits: &[(&str, Value)]) -> Site {
    let site = Site::new()
        .mount(Mount::new("/small", guest).set("tenant", "small"))
        .mount(Mount::new("/other", "echo").set("tenant", "other").shared());
    let set = |site: Site, (key, value): &(&str, Value)| {
        site.section("tenant.small.limits", key, value.clone())
    };
    limits.iter().fold(site, set)
}

async fn try_open(address: SocketAddr, target: &str) -> Result<Peer, Response> {
    Peer::try_open(Stream::tcp(address).await, &Head::upgrade(target)).await
}

/// The refusal, which says when to come back.
async fn refused(address: SocketAddr, status: u16) -> Response {
    let refusal = try_open(address, "/small").await.expect_err("it is full");
    assert_eq!(refusal.status, status, "{:?}", refusal.text());
    let again = refusal.header("retry-after").expect("when to come back");
    assert!((1..=5).contains(&again.parse::<u32>().unwrap()), "{again}");
    refusal
}

/// Comes back until there is room.
async fn open_again(address: SocketAddr) -> Peer {
    let begin = Instant::now();
    loop {
        match try_open(address, "/small").await {
            Ok(peer) => return peer,
            Err(refusal) => assert!(begin.elapsed() < STEP, "{:?}", refusal.text()),
        }
    }
}

async fn other_is_served(address: SocketAddr) {
    let mut other = Peer::connect(address, "/other").await;
    other.expect_echo("not my limit").await;
    other.leave(1000).await;
}

/// How often a limit was met, as the metrics have it.
async fn hits(server: &Child, limit: &str) -> u64 {
    let response = exchange(server.admin(), &Head::get("/metrics")).await;
    let text = String::from_utf8(response.body).unwrap();
    let row = format!("wharf_tenant_limit_hits_total{{tenant=\"small\",limit=\"{limit}\"}} ");
    let found = text.lines().find_map(|line| line.strip_prefix(&row));
    found.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn sessions_beyond_a_tenants_limit_are_refused() {
    covers("budgets.sessions");
    scenario(async {
        let site = site("echo", &[("sessions_max", 2.into())]).workers(2);
        let server = Child::start(&site.section("admin", "listen", "127.0.0.1:0"));
        let address = server.address;
        let first = Peer::connect(address, "/small").await;
        let mut second = Peer::connect(address, "/small").await;
        let refusal = refused(address, 503).await;
        assert!(refusal.text().contains("as many sessions"), "{refusal:?}");
        other_is_served(address).await;
        second.expect_echo("still here").await;
        first.leave(1000).await;
        open_again(address).await.expect_echo("in its place").await;
        assert!(hits(&server, "sessions").await >= 1);
        server.assert_healthy();
    });
}

#[test]
fn handshakes_beyond_a_tenants_rate_are_refused() {
    covers("budgets.sessions");
    scenario(async {
        let limits = [("handshakes_per_second_max", 2.into())];
        let server = start(&site("echo", &limits)).await;
        let begin = Instant::now();
        let mut peers = Vec::new();
        for _ in 0..2 {
            peers.push(Peer::connect(server.address, "/small").await);
        }
        refused(server.address, 429).await;
        other_is_served(server.address).await;
        for _ in 0..4 {
            peers.push(open_again(server.address).await);
        }
        // Two at once and four at two a second: a slow machine can only add to it.
        assert!(begin.elapsed() >= Duration::from_millis(1_900));
    });
}

#[test]
fn instances_and_memory_beyond_a_tenants_limit_are_refused() {
    covers("budgets.instances");
    scenario(async {
        for (key, value) in [
            ("instances_max", Value::from(1)),
            // One echo has a little more than a mebibyte.
            ("memory_bytes_max", "2MiB".into()),
        ] {
            let server = start(&site("echo", &[(key, value)])).await;
            let mut first = Peer::connect(server.address, "/small").await;
            refused(server.address, 503).await;
            other_is_served(server.address).await;
            first.expect_echo("still here").await;
            first.leave(1000).await;
            open_again(server.address).await.expect_echo("next").await;
        }
    });
}

#[test]
fn a_guest_that_grows_beyond_its_tenants_memory_ends_alone() {
    covers("budgets.instances");
    scenario(async {
        let server = start(&site("hostile", &[("memory_bytes_max", "16MiB".into())])).await;
        let mut calm = Peer::connect(server.address, "/small").await;
        let mut greedy = Peer::connect(server.address, "/small").await;
        greedy.send_text("touch").await;
        assert_eq!(ended(&mut greedy).await, Some(1011));
        calm.expect_echo("not mine").await;
        other_is_served(server.address).await;
        open_again(server.address).await.expect_echo("free").await;
    });
}

/// Sends so many messages at once and gets all of them back, in order; how long that took.
async fn echo_all(peer: &mut Peer, count: usize, size: usize) -> Duration {
    let begin = Instant::now();
    let text = |number: usize| format!("{number:0>size$}");
    let mut bytes = Vec::new();
    for number in 0..count {
        bytes.extend(Frame::text(text(number)).encode(peer.key));
    }
    let (mut sent, mut next) = (0, 0);
    while next < count {
        let piece = &bytes[sent..bytes.len().min(sent + 16_384)];
        if !piece.is_empty() {
            peer.raw(piece).await;
            sent += piece.len();
        }
        while let Some(frame) = match sent < bytes.len() {
            true => peer.buffered(),
            false => Some(peer.message().await),
        } {
            assert_eq!(frame.payload, text(next).as_bytes());
            next += 1;
            if next == count {
                break;
            }
        }
    }
    begin.elapsed()
}

#[test]
fn a_tenant_over_its_rates_is_read_slower_and_loses_nothing() {
    covers("budgets.rates");
    alone(async {
        for (key, value, count, size) in [
            ("messages_in_per_second_max", Value::from(100), 300, 8),
            ("bytes_in_per_second_max", "64KiB".into(), 192, 1_024),
            ("messages_out_per_second_max", 100.into(), 300, 8),
            ("bytes_out_per_second_max", "64KiB".into(), 192, 1_024),
        ] {
            let small = Mount::new("/small", "echo").set("tenant", "small").shared();
            let small = small
                .websocket("ping_interval", "200ms")
                .websocket("timeout", "400ms")
                .websocket("compression", false);
            let other = Mount::new("/other", "echo").set("tenant", "other").shared();
            let site = Site::new().workers(2).mount(small).mount(other);
            let server = start(&site.section("tenant.small.limits", key, value)).await;
            // On both workers.
            let mut peers = Vec::new();
            for _ in 0..4 {
                peers.push(Peer::connect(server.address, "/small").await);
            }
            let begin = Instant::now();
            let mut all = tokio::task::JoinSet::new();
            for mut peer in peers {
                all.spawn(async move {
                    echo_all(&mut peer, count / 4, size).await;
                    peer.expect_echo("still here").await;
                });
            }
            while let Some(done) = all.join_next().await {
                done.unwrap();
            }
            other_is_served(server.address).await;
            let took = begin.elapsed();
            // A second's worth at once, then two seconds' worth, of which each worker may have taken
            // a piece before.
            assert!(took >= Duration::from_millis(1_800), "{key}: {took:?}");
            figure(
                "budgets.rates",
                format!("{key}: three seconds' worth in {took:.2?}"),
            );
        }
    });
}

#[test]
fn a_handler_that_sends_more_than_its_tenant_may_is_told_so() {
    covers("budgets.rates");
    scenario(async {
        let limits = [("messages_out_per_second_max", 10.into())];
        let server = start(&site("probe", &limits)).await;
        let mut peer = Peer::connect(server.address, "/small").await;
        let told = Instant::now();
        peer.send_text("try-fill 100 8").await;
        peer.send_text("filled").await;
        let mut came = 0;
        let filled = loop {
            match peer.text().await {
                text if text == "xxxxxxxx" => came += 1,
                text => break text,
            }
        };
        assert_eq!(filled, format!("{came} error full"));
        // A second's worth that it has, and another that it may owe.
        assert!((19..=40).contains(&came), "{came}");
        assert!(told.elapsed() >= Duration::from_millis(500), "it was owed");
    });
}

#[test]
fn a_tenant_whose_queues_are_full_is_not_read() {
    covers("budgets.queued");
    scenario(async {
        let small = Mount::new("/small", "wasi").set("tenant", "small");
        let small = small.guest("wall_per_call", "5s");
        let limits = ("tenant.small.limits", "queued_bytes_max");
        let site = Site::new()
            .mount(small)
            .mount(Mount::new("/other", "echo").set("tenant", "other").shared())
            .section(limits.0, limits.1, "64KiB");
        let server = start(&site).await;
        let mut busy = Peer::connect(server.address, "/small").await;
        let mut waiting = Peer::connect(server.address, "/small").await;
        waiting.expect_echo("read").await;
        busy.send_text("sleep").await;
        busy.send_text("x".repeat(70_000)).await;
        // Nothing tells when it has been read, but that the tenant's other session is read no more.
        let begin = Instant::now();
        loop {
            waiting.send_text("and now?").await;
            match waiting.poll_within(Duration::from_millis(300)).await {
                Some(answer) => {
                    assert_eq!(answer, Incoming::Frame(Frame::text("and now?")));
                    assert!(begin.elapsed() < Duration::from_secs(3), "it is still read");
                }
                None => break,
            }
        }
        other_is_served(server.address).await;
        assert_eq!(ended(&mut busy).await, Some(1011));
        waiting.expect_text("and now?").await;
        waiting.expect_echo("again").await;
    });
}

#[test]
fn other_limits_hold_from_a_reload_on() {
    covers("budgets.reload");
    scenario(async {
        let server = start(&site("echo", &[])).await;
        let mut first = Peer::connect(server.address, "/small").await;
        first.expect_echo("unlimited").await;
        let limits = [
            ("sessions_max", 1.into()),
            ("messages_in_per_second_max", 20.into()),
        ];
        server.reload(&site("echo", &limits)).await.unwrap();
        refused(server.address, 503).await;
        // The session that was there is under the new rate, too.
        let took = echo_all(&mut first, 40, 8).await;
        assert!(took >= Duration::from_millis(800), "{took:?}");
        server.reload(&site("echo", &[])).await.unwrap();
        let mut second = Peer::connect(server.address, "/small").await;
        second.expect_echo("unlimited again").await;
    });
}

/// CPU time of a call of the tenant that spins.
const CALL: &str = "200ms";

/// A server with nine tenants that talk and one that spins in many instances.
/// One worker, so that the clients have a processor.
fn fair() -> Site {
    let spinner = Mount::new("/spinner", "hostile").set("tenant", "spinner");
    let spinner = spinner.guest("cpu_per_call", CALL);
    let calm = |site: Site, number: u32| {
        let mount = Mount::new(&format!("/calm{number}"), "echo").shared();
        site.mount(mount.set("tenant", format!("calm{number}")))
    };
    (0..9).fold(Site::new().workers(1).mount(spinner), calm)
}

#[test]
fn a_tenant_that_spins_in_many_instances_holds_nobody_up() {
    covers("budgets.fair");
    alone(async {
        const SPINNERS: usize = 50;
        let server = Child::start(&fair());
        let mut crowds = Vec::new();
        for number in 0..9 {
            let target = format!("/calm{number}");
            let pause = Duration::from_millis(250);
            crowds.push(Crowd::start(server.address, &target, 30, pause).await);
        }
        let measure = async |time: Duration| {
            for crowd in &crowds {
                crowd.forget();
            }
            tokio::time::sleep(time).await;
            Latencies::merged(crowds.iter().map(Crowd::take))
        };
        measure(Duration::from_secs(1)).await;
        let (mut before, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            before.push(measure(Duration::from_secs(2)).await);
            let mut spinners = tokio::task::JoinSet::new();
            for _ in 0..SPINNERS {
                let address = server.address;
                spinners.spawn(async move {
                    // One call after the other, each cut at its limit.
                    let until = Instant::now() + Duration::from_secs(3);
                    while Instant::now() < until {
                        let mut peer = Peer::connect(address, "/spinner").await;
                        peer.send_text("spin").await;
                        ended(&mut peer).await;
                    }
                });
            }
            // That they come is a moment of handshakes; what is measured is that they spin.
            tokio::time::sleep(Duration::from_millis(500)).await;
            beside.push(measure(Duration::from_secs(2)).await);
            while let Some(done) = spinners.join_next().await {
                done.unwrap();
            }
        }
        let (before, beside) = (Latencies::best(before), Latencies::best(beside));
        for crowd in crowds {
            crowd.stop();
        }
        figure(
            "budgets.fair",
            format!(
                "nine tenants with 30 sessions each, before: {before}; beside one that spins in {SPINNERS} instances: {beside}"
            ),
        );
        beside.assert_within(2.0, &before);
        // Without turns half of them would wait for most of the others' instances.
        assert!(
            beside.p50() < before.p50() + Duration::from_millis(10),
            "{beside}"
        );
        server.assert_healthy();
    });
}
