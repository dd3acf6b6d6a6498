//! New versions under live sockets: what is handed over, who stays with the old version, who is
//! asked to come again, and what happens when the new one is no good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use wharf_tests::deadline::{STEP, alone, eventually, scenario};
use wharf_tests::figure::figure;
use wharf_tests::http::Head;
use wharf_tests::peer::{Peer, exchange};
use wharf_tests::server::{Child, Local, start};
use wharf_tests::site::{Folder, Mount, Site};
use wharf_tests::stream::Stream;

use crate::promises::covers;

const MODELS: [&str; 3] = ["session", "{key}", "shared"];
const PATIENCE: Duration = Duration::from_secs(20);

/// A handler that says its version, and hands over its counts.
fn heir(version: u64) -> Mount {
    let mount = Mount::new("/{key}", "heir").set("instance", "{key}");
    mount.config("version", version.to_string())
}

fn site(mount: Mount) -> Site {
    Site::new().mount(mount)
}

async fn ask(peer: &mut Peer, text: &str) -> String {
    peer.send_text(text).await;
    peer.text().await
}

async fn enter(server: &Local, key: &str) -> Peer {
    Peer::connect(server.address, &format!("/{key}")).await
}

/// Serves that mount from now on.
async fn publish(server: &Local, mount: Mount) {
    let published = server.reload(&site(mount)).await;
    let published = published.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!((published.added, published.removed), (0, 0));
}

/// Waits until so many instances have been replaced, or not, since the start.
async fn until_swapped(server: &Local, swaps: u64, failed: u64) {
    let probe = || {
        let stats = server.server.stats();
        let is_so = (stats.swaps, stats.swaps_failed) == (swaps, failed);
        is_so.then_some(()).ok_or(format!("{stats:?}"))
    };
    eventually(PATIENCE, "instances are replaced", probe).await;
}

/// What the sessions under load share.
#[derive(Default)]
struct Talk {
    /// The newest version that may have been published.
    newest: AtomicU64,
    messages: AtomicU64,
    is_over: AtomicBool,
}

/// The next word, a number.
fn number<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<u64> {
    words.next()?.parse().ok()
}

/// One session that talks on and checks every word of the answers; returns its last version.
async fn talk(mut peer: Peer, name: usize, talk: Arc<Talk>) -> u64 {
    const DEPTH: u64 = 16;
    let (mut own, mut version) = (0, 1);
    while !talk.is_over.load(Ordering::Relaxed) {
        for ahead in 1..=DEPTH {
            peer.send_text(format!("{name}-{}", own + ahead)).await;
        }
        for _ in 0..DEPTH {
            own += 1;
            let answer = peer.text().await;
            let mut words = answer.split(' ');
            let (said, total) = (number(&mut words), number(&mut words));
            let newest = talk.newest.load(Ordering::Relaxed);
            let said = said.filter(|said| (version..=newest).contains(said));
            version = said.unwrap_or_else(|| panic!("{answer:?} after version {version}"));
            assert!(total >= Some(own), "{answer:?}");
            let text = format!("{name}-{own}");
            assert_eq!(number(&mut words), Some(own), "{answer:?}");
            assert_eq!(words.next(), Some(text.as_str()), "{answer:?}");
        }
        talk.messages.fetch_add(DEPTH, Ordering::Relaxed);
    }
    peer.leave(1000).await;
    version
}

/// Swaps under load; `WHARF_SWAP_MESSAGES` asks for more of it.
#[test]
fn a_hundred_swaps_lose_double_and_close_nothing() {
    covers("swap.under-load");
    let wanted = std::env::var("WHARF_SWAP_MESSAGES").ok();
    let wanted = wanted.map_or(60_000, |text| text.parse().expect("a number of messages"));
    for model in MODELS {
        alone(swap_under_load(model, wanted));
    }
}

async fn swap_under_load(model: &str, wanted: u64) {
    const SWAPS: u64 = 100;
    const SESSIONS: usize = 24;
    let site = |version| {
        let mount = heir(version).set("instance", model);
        site(mount.rollout("swap")).workers(2)
    };
    let server = start(&site(1)).await;
    let shared = Arc::new(Talk::default());
    shared.newest.store(1, Ordering::Relaxed);
    let mut talking = JoinSet::new();
    for name in 0..SESSIONS {
        let key = if model == "{key}" { name % 3 } else { name };
        let peer = enter(&server, &format!("room{key}")).await;
        talking.spawn(talk(peer, name, shared.clone()));
    }
    for version in 2..=SWAPS + 1 {
        let before = shared.messages.load(Ordering::Relaxed);
        shared.newest.store(version, Ordering::Relaxed);
        let published = server.reload(&site(version)).await;
        assert_eq!(published.expect("it can be served").changed, 1);
        let probe = || {
            let messages = shared.messages.load(Ordering::Relaxed);
            let enough = messages >= before + wanted / SWAPS;
            enough.then_some(()).ok_or(format!("{messages} messages"))
        };
        eventually(PATIENCE, "messages come and go", probe).await;
    }
    shared.is_over.store(true, Ordering::Relaxed);
    for version in talking.join_all().await {
        assert!(version > SWAPS - 5, "one ended at version {version}");
    }
    let stats = server.server.stats();
    assert_eq!(stats.swaps_failed, 0);
    let messages = shared.messages.load(Ordering::Relaxed);
    figure(
        "swap.under-load",
        format!(
            "{model}: {SWAPS} versions, {} replaced instances under {messages} messages of \
             {SESSIONS} sessions: 0 lost, 0 doubled, 0 closed, no version went back",
            stats.swaps
        ),
    );
}

/// One session talks on one worker while all instances there are replaced; `WHARF_SWAP_SESSIONS`
/// asks for more of them.
#[test]
fn nobody_waits_while_many_instances_are_replaced() {
    covers("swap.pause");
    const SWAPS: u64 = 5;
    let wanted = std::env::var("WHARF_SWAP_SESSIONS").ok();
    let sessions = wanted.map_or(1_000, |text| text.parse().expect("a number of sessions"));
    alone(async {
        let site = |version| {
            let mount = heir(version).set("instance", "session");
            let quiet = mount.websocket("ping_interval", "off");
            site(quiet).section("engine", "instances_max", sessions + 1_000)
        };
        let server = start(&site(1)).await;
        let mut quiet = Vec::new();
        for _ in 0..sessions {
            let stream = Stream::Memory(server.server.connect().expect("the server runs"));
            let mut peer = Peer::open(stream, &Head::upgrade("/quiet")).await;
            assert_eq!(ask(&mut peer, "x").await, "1 1 1 x");
            quiet.push(peer);
        }
        let mut talker = enter(&server, "talker").await;
        let (mut own, mut version, mut waits) = (0, 1, [Vec::new(), Vec::new()]);
        for next in 2..=SWAPS + 1 {
            // Without a swap, and while one is under way.
            for (swapping, waits) in waits.iter_mut().enumerate() {
                let before = server.server.stats().swaps;
                if swapping == 1 {
                    publish(&server, heir(next).set("instance", "session")).await;
                }
                let is_over = |asked| match swapping {
                    0 => asked >= 500,
                    _ => server.server.stats().swaps > before + sessions,
                };
                let mut asked = 0;
                while !is_over(asked) {
                    (asked, own) = (asked + 1, own + 1);
                    let began = Instant::now();
                    let answer = ask(&mut talker, "x").await;
                    waits.push(began.elapsed());
                    let said = answer.split(' ').next().and_then(|word| word.parse().ok());
                    version = said.filter(|said| *said >= version).expect("a version");
                    assert_eq!(answer, format!("{version} {own} {own} x"));
                }
            }
        }
        for peer in &mut quiet {
            assert_eq!(ask(peer, "y").await, format!("{} 2 2 y", SWAPS + 1));
        }
        let [calm, swapping] = waits.map(|mut waits: Vec<Duration>| {
            waits.sort_unstable();
            let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
            format!(
                "p50 {:?}, p99 {:?}, longest {:?}",
                at(0.5),
                at(0.99),
                at(1.0)
            )
        });
        figure(
            "swap.pause",
            format!(
                "{SWAPS} versions, {sessions} instances on one worker: an answer takes {swapping} \
                 meanwhile; without a swap {calm}"
            ),
        );
    });
}

#[test]
fn what_the_old_version_knew_the_new_one_knows() {
    covers("swap.hands-over");
    for model in MODELS {
        scenario(async {
            let mount = |version| heir(version).set("instance", model).grant("topics", true);
            let server = start(&site(mount(1))).await;
            let (mut first, mut second) = (enter(&server, "a").await, enter(&server, "a").await);
            let together = model != "session";
            assert_eq!(ask(&mut first, "x").await, "1 1 1 x");
            let total = if together { 2 } else { 1 };
            assert_eq!(ask(&mut second, "x").await, format!("1 {total} 1 x"));
            // Nobody said how: both hand over, so it is a swap.
            publish(&server, mount(2).config("import", "greet")).await;
            for peer in [&mut first, &mut second] {
                peer.expect_text("hello from 2").await;
            }
            assert_eq!(ask(&mut first, "y").await, format!("2 {} 2 y", total + 1));
            let total = if together { 4 } else { 2 };
            assert_eq!(ask(&mut second, "y").await, format!("2 {total} 2 y"));
            // Another file, too: its digest differs, so it is compiled.
            let folder = Folder::new();
            let mut bytes = wharf_tests::guests::bytes("heir");
            bytes.extend(b"\0\x05\x04note");
            let file = folder.write("heir.wasm", bytes);
            let other = mount(2).set("component", file.display().to_string());
            publish(&server, other).await;
            until_swapped(&server, if together { 2 } else { 4 }, 0).await;
            assert_eq!(ask(&mut first, "z").await, format!("2 {} 3 z", total + 1));
        });
    }
}

#[test]
fn a_new_version_that_fails_leaves_the_old_one() {
    covers("swap.fails");
    scenario(async {
        let server = start(&site(heir(1))).await;
        let mut peer = enter(&server, "a").await;
        assert_eq!(ask(&mut peer, "x").await, "1 1 1 x");
        let bad = [("refuse", 2), ("trap", 3), ("spin", 4)];
        for (failed, (import, version)) in (1..).zip(bad) {
            let mount = heir(version).guest("cpu_per_call", "50ms");
            publish(&server, mount.config("import", import)).await;
            until_swapped(&server, 0, failed).await;
            let count = failed + 1;
            assert_eq!(
                ask(&mut peer, "x").await,
                format!("1 {count} {count} x"),
                "{import}"
            );
        }
        publish(&server, heir(5)).await;
        until_swapped(&server, 1, 3).await;
        assert_eq!(ask(&mut peer, "x").await, "5 5 5 x");
        // One that cannot even be compiled changes nothing at all.
        let folder = Folder::new();
        let file = folder.write("broken.wasm", b"\0asm\x0d\0\x01\0nonsense");
        let broken = heir(6).set("component", file.display().to_string());
        let error = server
            .reload(&site(broken))
            .await
            .expect_err("it is no component");
        assert!(format!("{error:#}").contains("broken"), "{error:#}");
        assert_eq!(ask(&mut peer, "x").await, "5 6 6 x");
    });
}

#[test]
fn an_old_version_that_fails_ends_its_sessions_alone() {
    covers("swap.export-fails");
    scenario(async {
        let server = start(&site(heir(1).config("export", "trap"))).await;
        let mut peer = enter(&server, "a").await;
        assert_eq!(ask(&mut peer, "x").await, "1 1 1 x");
        publish(&server, heir(2)).await;
        let reason = peer.expect_close(1011).await;
        assert!(reason.starts_with("handler failed "), "{reason}");
        let mut next = enter(&server, "a").await;
        assert_eq!(ask(&mut next, "x").await, "2 1 1 x");
    });
}

#[test]
fn who_may_stay_with_the_old_version_does_until_the_deadline() {
    covers("swap.drain");
    scenario(async {
        for model in MODELS {
            let mount = |version| {
                let mount = heir(version).set("instance", model);
                mount.rollout("drain").rollout_time("deadline", "700ms")
            };
            let server = start(&site(mount(1))).await;
            let (mut stays, leaves) = (enter(&server, "a").await, enter(&server, "b").await);
            assert_eq!(ask(&mut stays, "x").await, "1 1 1 x");
            publish(&server, mount(2)).await;
            let mut new = enter(&server, "a").await;
            assert_eq!(ask(&mut new, "x").await, "2 1 1 x");
            assert!(ask(&mut stays, "y").await.starts_with("1 2 2"), "{model}");
            leaves.leave(1000).await;
            assert_eq!(stays.expect_close(1012).await, "restarting");
            assert_eq!(ask(&mut new, "y").await, "2 2 2 y");
            let probe = || {
                let stats = server.server.stats();
                (stats.instances_live == 1)
                    .then_some(())
                    .ok_or(format!("{stats:?}"))
            };
            eventually(PATIENCE, "the old instances end", probe).await;
        }
    });
}

#[test]
fn who_should_come_again_does_not_come_with_all_the_others() {
    covers("swap.restart");
    scenario(async {
        const SESSIONS: usize = 40;
        let mount = |version| {
            let mount = heir(version).rollout("restart");
            mount.rollout_time("jitter", "1s")
        };
        let server = start(&site(mount(1))).await;
        let mut peers = Vec::new();
        for number in 0..SESSIONS {
            peers.push(enter(&server, &number.to_string()).await);
        }
        publish(&server, mount(2)).await;
        let began = Instant::now();
        let mut closing = JoinSet::new();
        for mut peer in peers {
            closing.spawn(async move {
                assert_eq!(peer.expect_close(1012).await, "restarting");
                began.elapsed()
            });
        }
        let mut moments = closing.join_all().await;
        moments.sort_unstable();
        let (first, last) = (moments[0], moments[SESSIONS - 1]);
        assert!(last - first > Duration::from_millis(200), "{moments:?}");
        let mut new = enter(&server, "1").await;
        assert_eq!(ask(&mut new, "x").await, "2 1 1 x");
    });
}

#[test]
fn a_sleeping_instance_wakes_as_the_new_version() {
    covers("swap.asleep");
    scenario(async {
        let mount = |version| heir(version).set("idle", "20ms");
        let server = start(&site(mount(1))).await;
        let mut peer = enter(&server, "a").await;
        assert_eq!(ask(&mut peer, "x").await, "1 1 1 x");
        let asleep = || {
            let stats = server.server.stats();
            (stats.instances_asleep == 1)
                .then_some(())
                .ok_or(format!("{stats:?}"))
        };
        eventually(PATIENCE, "it falls asleep", asleep).await;
        publish(&server, mount(2)).await;
        assert_eq!(
            server.server.stats().instances_asleep,
            1,
            "nobody woke it for that"
        );
        assert_eq!(ask(&mut peer, "x").await, "2 1 1 x");
    });
}

#[test]
fn what_only_sessions_notice_replaces_nothing() {
    covers("swap.settings");
    scenario(async {
        let server = start(&site(heir(1))).await;
        let mut old = enter(&server, "a").await;
        assert_eq!(ask(&mut old, "x").await, "1 1 1 x");
        let next = site(heir(1).websocket("max_message_bytes", 32));
        let published = server.reload(&next).await.expect("it can be served");
        assert_eq!((published.changed, server.server.stats().swaps), (0, 0));
        let mut new = enter(&server, "a").await;
        assert_eq!(
            ask(&mut new, "y").await,
            "1 2 1 y",
            "the instance is the same"
        );
        assert_eq!(ask(&mut old, "longer").await, "1 3 2 longer");
        new.send_text("longer than it may be here: 33 byte").await;
        new.expect_close(1009).await;
    });
}

#[test]
fn routes_come_and_go_under_live_sockets() {
    covers("swap.routes");
    scenario(async {
        let named = |path: &str| Mount::new(path, "echo");
        let both = Site::new().mount(named("/a")).mount(named("/b"));
        let server = start(&site(named("/a"))).await;
        let head = Head::upgrade("/b");
        assert_eq!(exchange(server.address, &head).await.status, 404);
        let published = server.reload(&both).await.expect("it can be served");
        assert_eq!(
            (published.added, published.changed, published.removed),
            (1, 0, 0)
        );
        let mut stays = Peer::connect(server.address, "/a").await;
        let mut leaves = Peer::connect(server.address, "/b").await;
        leaves.expect_echo("x").await;
        let published = server
            .reload(&site(named("/a")))
            .await
            .expect("it can be served");
        assert_eq!(
            (published.added, published.changed, published.removed),
            (0, 0, 1)
        );
        leaves.expect_close(1001).await;
        assert_eq!(exchange(server.address, &head).await.status, 404);
        stays.expect_echo("y").await;
        // A library user says it route by route.
        let route =
            || wharf::Route::new("/b").component_bytes("echo", wharf_tests::guests::bytes("echo"));
        server
            .server
            .publish(route())
            .await
            .expect("it can be served");
        let mut back = Peer::connect(server.address, "/b").await;
        back.expect_echo("z").await;
        server
            .server
            .withdraw(wharf::Route::new("/b"))
            .await
            .expect("it is there");
        back.expect_close(1001).await;
        let gone = server.server.withdraw(wharf::Route::new("/b")).await;
        assert!(gone.is_err_and(|error| error.to_string().contains("there is no route")));
    });
}

#[test]
fn a_rollout_that_cannot_be_is_refused_and_nothing_changes() {
    covers("swap.refused");
    scenario(async {
        let server = start(&site(heir(1))).await;
        let mut peer = enter(&server, "a").await;
        let echo = Mount::new("/{key}", "echo").set("instance", "{key}");
        let lost = echo.clone().rollout("swap");
        let model = heir(2).set("instance", "session").rollout("swap");
        let coroutine = Mount::new("/{key}", "coroutine").set("instance", "{key}");
        let conversation = coroutine.rollout("swap");
        for (mount, word) in [
            (lost, "its state would be lost"),
            (model, "its instance model changes"),
            (conversation, "a conversation cannot be swapped"),
        ] {
            let error = server.reload(&site(mount)).await.expect_err(word);
            assert!(error.to_string().contains(word), "{error:#}");
        }
        assert_eq!(ask(&mut peer, "x").await, "1 1 1 x");
        // Nobody said how: the old one stays until its sessions end.
        publish(&server, echo).await;
        assert_eq!(ask(&mut peer, "y").await, "1 2 2 y");
        let mut new = enter(&server, "a").await;
        new.expect_echo("z").await;
    });
}

/// A configuration in which something is wrong that the mutation is sure of.
fn mutant(text: &str, number: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let with_value: Vec<usize> = (0..lines.len())
        .filter(|at| lines[*at].contains(" = "))
        .collect();
    let at = with_value[number % with_value.len()];
    let (key, value) = lines[at].split_once(" = ").expect("it has a value");
    let changed = match number / with_value.len() % 5 {
        0 => format!("{key}x = {value}"),
        1 => format!("{key} = "),
        2 => format!("{key} = [[1]]"),
        3 => format!("{key} {value}"),
        _ => format!("{key} = {value}\n{key} = {value}"),
    };
    let mut lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
    lines[at] = changed;
    lines.join("\n")
}

#[test]
fn a_bad_configuration_changes_nothing_and_names_its_line() {
    covers("control.bad-config");
    scenario(async {
        const MUTANTS: usize = 100;
        // Settings for the handler itself have names of its own: every line here is one that is known.
        let known = Mount::new("/{key}", "echo").set("instance", "{key}");
        let good = site(known.websocket("max_message_bytes", 1_000)).toml();
        let mut server = Child::start(&site(heir(1)));
        let mut peer = Peer::connect(server.address, "/a").await;
        assert_eq!(ask(&mut peer, "x").await, "1 1 1 x");
        let count = |server: &Child, word: &str| server.log().matches(word).count();
        let mut unnamed = 0;
        for number in 0..MUTANTS {
            let text = mutant(&good, number);
            server.folder.write("wharf.toml", &text);
            server.signal("HUP");
            let refused = || {
                let refused = count(&server, "nothing is changed") == number + 1;
                refused.then_some(()).ok_or(text.clone())
            };
            eventually(STEP, "the mutant is refused", refused).await;
            let log = server.log();
            let last = log
                .lines()
                .rfind(|line| line.contains("nothing is changed"));
            unnamed += usize::from(!last.is_some_and(|line| line.contains("wharf.toml:")));
        }
        assert_eq!(unnamed, 0, "each error names file and line");
        assert_eq!(ask(&mut peer, "x").await, "1 2 2 x");
        server.folder.write("wharf.toml", site(heir(2)).toml());
        server.signal("HUP");
        let read = || {
            (count(&server, "read again") == 1)
                .then_some(())
                .ok_or(server.log())
        };
        eventually(STEP, "the good one is read", read).await;
        assert_eq!(ask(&mut peer, "x").await, "2 3 3 x");
        server.signal("TERM");
        peer.expect_close(1001).await;
        assert!(server.exit_within(PATIENCE).await.success());
        figure(
            "control.bad-config",
            format!("{MUTANTS} of {MUTANTS} refused with file and line, the session untouched"),
        );
    });
}
