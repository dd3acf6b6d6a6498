//! After a trap: what a fresh instance finds and what is lost with the old one, which call costs
//! which session, and when an instance is given up.

use std::time::{Duration, Instant};

use serde_json::json;
use wharf_tests::deadline::scenario;
use wharf_tests::figure::figure;
use wharf_tests::frame::{Frame, MASK};
use wharf_tests::http::Head;
use wharf_tests::peer::{Peer, exchange};
use wharf_tests::server::start;
use wharf_tests::site::{Mount, Site};

use crate::dead_letters::LetterOffice;
use crate::promises::covers;

const MODELS: [&str; 3] = ["session", "{key}", "shared"];

/// A handler that says what it remembers, and goes on after a trap.
fn sleeper(instance: &str) -> Mount {
    let mount = Mount::new("/s/{key}", "sleeper").set("instance", instance);
    let mount = mount.grant("topics", true).grant("timers", true);
    mount.set("after_trap", "restart")
}

/// A mount that goes on after a trap, all of whose sessions share an instance.
fn shared(path: &str, guest: &str) -> Mount {
    Mount::new(path, guest)
        .shared()
        .set("after_trap", "restart")
}

async fn ask(peer: &mut Peer, command: &str) -> String {
    peer.send_text(command).await;
    peer.text().await
}

async fn tell(peer: &mut Peer, commands: &[&str]) {
    for command in commands {
        assert_eq!(ask(peer, command).await, "ok", "{command:?}");
    }
}

/// The incident of a close reason.
fn incident(reason: &str) -> String {
    let incident = reason.strip_prefix("handler failed ");
    incident.unwrap_or_else(|| panic!("{reason:?}")).to_owned()
}

#[test]
fn sessions_stay_and_only_the_memory_is_lost() {
    covers("trap.restart");
    scenario(async {
        for instance in MODELS {
            let site = Site::new().section("storage", "path", "memory");
            let herald = Mount::new("/herald", "herald").grant("topics", true);
            let server = LetterOffice::start(site.mount(herald).mount(sleeper(instance)));
            let mut herald = Peer::connect(server.address(), "/herald").await;
            let mut peer = Peer::connect(server.address(), "/s/a").await;
            tell(&mut peer, &["keep this", "tag seat", "join news"]).await;
            tell(&mut peer, &["auto hello host", "timer tea 1000"]).await;
            let name = ask(&mut peer, "name").await;

            // What was sent before the trap has left; what waits behind it is answered afterwards.
            peer.send_text("trap last words").await;
            peer.expect_text("last words").await;
            let began = Instant::now();
            let memory = ask(&mut peer, "memory").await;
            let pause = began.elapsed();
            assert_eq!(
                memory, "opened 0, messages 1, found [\"this\"]",
                "{instance}"
            );
            assert_eq!(ask(&mut peer, "tagged seat").await, "1");
            assert_eq!(ask(&mut peer, "name").await, name);
            assert_eq!(ask(&mut peer, "hello").await, "host");
            assert_eq!(ask(&mut herald, "pub news flash").await, "1");
            peer.expect_text("flash").await;
            let timer = peer.text().await;
            assert_eq!(timer, "timer tea, opened 0, messages 3, found [\"this\"]");

            let letters = server.letters("default");
            assert_eq!(letters.len(), 1, "{letters:?}");
            let letter = server.letter(letters[0]["incident"].as_str().unwrap());
            assert_eq!(letter["call"], "on-messages");
            assert_eq!(letter["outcome"], "restarted");
            assert_eq!(letter["sessions"], json!([name]));
            assert_eq!(letter["messages"][0]["text"], "trap last words");
            peer.leave(1000).await;
            figure(
                "trap.restart",
                format!(
                    "{instance}: from the last words before a trap to the next answer {pause:?}"
                ),
            );
        }
    });
}

/// Messages of one session under load.
const MESSAGES: usize = 400;

/// Says all of them at once, some of which trap; those that were answered.
async fn talk(mut peer: Peer, number: usize) -> Vec<String> {
    let mut frames = Vec::new();
    for message in 0..MESSAGES {
        let is_poison = (message + number * 31) % 97 == 50;
        let text = match is_poison {
            true => "boom".to_owned(),
            false => format!("{number}-{message}"),
        };
        frames.extend(Frame::text(text).encode(Some(MASK)));
    }
    peer.raw(frames).await;
    let mut answered = Vec::new();
    loop {
        // The end may be in a batch that traps, too: then it is said again.
        let answer = tokio::time::timeout(Duration::from_millis(200), peer.text());
        let Ok(answer) = answer.await else {
            peer.send_text("end").await;
            continue;
        };
        match answer.rsplit_once(' ').unwrap().1 {
            "end" => break answered,
            text => answered.push(text.to_owned()),
        }
    }
}

#[test]
fn nothing_behind_a_trap_is_lost_or_doubled() {
    covers("trap.order");
    scenario(async {
        const PEERS: usize = 8;
        let heir = Mount::new("/h", "heir").shared();
        let heir = heir.config("version", "1").config("message", "trap");
        // Each trap is forgotten before the next one, so that there may be many.
        let heir = heir
            .set("after_trap", "restart")
            .set("traps_within", "20ms");
        let server = LetterOffice::start(Site::new().mount(heir));
        let mut tasks = Vec::new();
        for number in 0..PEERS {
            let peer = Peer::connect(server.address(), "/h").await;
            tasks.push(tokio::spawn(talk(peer, number)));
        }
        let (mut answers, mut answered) = (Vec::new(), 0);
        for task in tasks {
            let of_one = task.await.unwrap();
            let order = |text: &String| text.rsplit_once('-').unwrap().1.parse::<u32>().unwrap();
            assert!(
                of_one.is_sorted_by(|a, b| order(a) < order(b)),
                "{of_one:?}"
            );
            answered += of_one.len();
            answers.extend(of_one);
        }
        let (mut dead, mut booms) = (Vec::new(), 0);
        let letters = server.letters("default");
        for letter in &letters {
            let letter = server.letter(letter["incident"].as_str().unwrap());
            for message in letter["messages"].as_array().unwrap() {
                match message["text"].as_str().unwrap() {
                    "boom" => booms += 1,
                    "end" => {}
                    text => dead.push(text.to_owned()),
                }
            }
        }
        // What was answered in a call before its trap is in the letter too: the call is known, not
        // how far it came.
        let both = dead.iter().filter(|text| answers.contains(text)).count();
        answers.extend(dead.clone());
        answers.sort_unstable();
        answers.dedup();
        assert_eq!(answers.len() + booms, PEERS * MESSAGES);
        assert!(letters.len() > 1 && booms >= letters.len());
        figure(
            "trap.order",
            format!(
                "{} messages, {} traps: {answered} answered, {} in letters ({both} of them answered \
                 before the trap), {booms} that trapped, 0 lost, 0 doubled",
                PEERS * MESSAGES,
                letters.len(),
                dead.len()
            ),
        );
    });
}

#[test]
fn an_instance_that_traps_again_and_again_is_given_up() {
    covers("trap.gives-up");
    scenario(async {
        let server = LetterOffice::start(
            Site::new()
                .section("storage", "path", "memory")
                .mount(sleeper("{key}").set("traps_max", 2)),
        );
        let mut peer = Peer::connect(server.address(), "/s/a").await;
        let mut other = Peer::connect(server.address(), "/s/a").await;
        let mut elsewhere = Peer::connect(server.address(), "/s/b").await;
        // A memory that is made while a session carries this does not come up.
        tell(&mut peer, &["keep trap"]).await;
        for (text, letters) in [("trap one", 1), ("two", 2), ("three", 3)] {
            peer.send_text(text).await;
            server.letters_once("default", letters).await;
        }
        peer.expect_text("one").await;
        let reason = peer.expect_closed(1011).await;
        assert_eq!(other.expect_closed(1011).await, reason, "one incident");
        assert_eq!(ask(&mut elsewhere, "tagged x").await, "0");
        let letters = server.letters("default");
        let outcomes: Vec<_> = letters.iter().map(|letter| &letter["outcome"]).collect();
        assert_eq!(outcomes, ["closed", "restarted", "restarted"]);
        assert_eq!(letters[0]["incident"], incident(&reason));
        assert_eq!(letters[0]["sessions_closed"], 2);
        // Who comes next gets an instance with a clean slate.
        let mut next = Peer::connect(server.address(), "/s/a").await;
        assert_eq!(
            ask(&mut next, "memory").await,
            "opened 1, messages 1, found []"
        );
    });
}

/// A call that fails, beside a session that shares its instance.
struct Case {
    mount: Mount,
    /// What its letter says.
    call: &'static str,
    kind: &'static str,
    deed: Deed,
}

enum Deed {
    /// A message; its session stays.
    Says(&'static str),
    /// A handshake with that query; its session gets 1011.
    Opens(&'static str),
    /// A session with that query leaves.
    Leaves(&'static str),
    /// A handshake with that query gets 500.
    Asks(&'static str),
}

fn cases() -> Vec<Case> {
    use Deed::{Asks, Leaves, Opens, Says};
    let hostile = || {
        let mount = shared("/x", "hostile").guest("cpu_per_call", "100ms");
        mount.guest("memory_bytes_max", "16MiB")
    };
    let case = |call, kind, mount, deed| Case {
        mount,
        call,
        kind,
        deed,
    };
    let hasty = hostile().guest("cpu_per_call", "30s");
    let hasty = hasty.guest("wall_per_call", "200ms");
    vec![
        case("on-messages", "guest_trap", hostile(), Says("trap")),
        case("on-messages", "guest_trap", hostile(), Says("list-binary")),
        case("on-messages", "guest_out_of_cpu", hostile(), Says("spin")),
        case(
            "on-messages",
            "guest_out_of_cpu",
            hostile(),
            Says("spin-host"),
        ),
        case(
            "on-messages",
            "guest_out_of_memory",
            hostile(),
            Says("touch"),
        ),
        case("on-messages", "guest_trap", hostile(), Says("recurse")),
        case("on-open", "guest_trap", hostile(), Opens("open=trap")),
        case("on-open", "guest_out_of_time", hasty, Opens("open=spin")),
        case("on-close", "guest_trap", hostile(), Leaves("close=trap")),
        case(
            "on-connect",
            "guest_trap",
            shared("/x", "gate"),
            Asks("trap"),
        ),
    ]
}

#[test]
fn each_call_that_fails_costs_its_own_session_at_most() {
    covers("trap.calls");
    scenario(async {
        for case in cases() {
            let Case {
                mount, call, kind, ..
            } = case;
            let echo = match call {
                "on-connect" => ("echo still here", "still here"),
                _ => ("still here", "still here "),
            };
            let server = LetterOffice::start(Site::new().mount(mount));
            let mut neighbour = Peer::connect(server.address(), "/x").await;
            let mut told = None;
            match case.deed {
                Deed::Says(text) => {
                    let mut peer = Peer::connect(server.address(), "/x").await;
                    peer.send_text(text).await;
                    // In a call of its own: it would share the fate of its batch.
                    server.letters_once("default", 1).await;
                    peer.send_text("again").await;
                    assert_eq!(peer.text().await.trim_end(), "again", "{text}");
                    assert_eq!(neighbour.text().await.trim_end(), "again", "{text}");
                    peer.leave(1000).await;
                }
                Deed::Opens(query) => {
                    let target = format!("/x?{query}");
                    let mut peer = Peer::connect(server.address(), &target).await;
                    peer.send_text("never heard").await;
                    told = Some(incident(&peer.expect_closed(1011).await));
                }
                Deed::Leaves(query) => {
                    let target = format!("/x?{query}");
                    Peer::connect(server.address(), &target)
                        .await
                        .leave(1000)
                        .await;
                }
                Deed::Asks(query) => {
                    let head = Head::upgrade(&format!("/x?{query}"));
                    let response = exchange(server.address(), &head).await;
                    assert_eq!(response.status, 500);
                    let text = response.text();
                    let (_, incident) = text.trim_end().split_once("Incident ").unwrap();
                    told = Some(incident.to_owned());
                }
            }
            let answer = ask(&mut neighbour, echo.0).await;
            assert_eq!(answer.trim_end(), echo.1.trim_end(), "{call} {kind}");
            let letters = server.letters("default");
            let [letter] = &letters[..] else {
                panic!("{call} {kind}: {letters:?}");
            };
            assert_eq!(letter["call"], call, "{letter}");
            assert_eq!(letter["kind"], kind, "{letter}");
            assert_eq!(letter["outcome"], "restarted", "{letter}");
            let closed = usize::from(call == "on-open");
            assert_eq!(letter["sessions_closed"], closed, "{letter}");
            if let Some(told) = told {
                assert_eq!(letter["incident"], told, "{call}");
            }
            server.assert_healthy();
        }
    });
}

#[test]
fn a_timer_that_traps_comes_again_to_the_fresh_instance() {
    covers("trap.calls");
    scenario(async {
        for instance in MODELS {
            let site = Site::new().section("storage", "path", "memory");
            let server = LetterOffice::start(site.mount(sleeper(instance)));
            let mut peer = Peer::connect(server.address(), "/s/a").await;
            tell(&mut peer, &["timer trap-once 10"]).await;
            let letters = server.letters_once("default", 1).await;
            assert_eq!(letters[0]["call"], "on-timer");
            assert_eq!(letters[0]["timer"], "trap-once");
            tell(&mut peer, &["keep calm"]).await;
            let said = peer.text().await;
            assert_eq!(
                said, "timer trap-once, opened 0, messages 1, found []",
                "{instance}"
            );
            assert_eq!(server.letters("default").len(), 1);
        }
    });
}

#[test]
fn a_control_frame_that_traps_is_not_answered_and_its_session_stays() {
    covers("trap.calls");
    scenario(async {
        let server =
            LetterOffice::start(Site::new().mount(shared("/x", "raw").websocket("raw", true)));
        let mut peer = Peer::connect(server.address(), "/x").await;
        assert_eq!(ask(&mut peer, "answer trap").await, "so be it");
        peer.send(Frame::ping("poison")).await;
        // It is told of the ping before the trap.
        peer.expect_text("ping poison").await;
        peer.send(Frame::ping("harmless")).await;
        peer.expect_text("ping harmless").await;
        assert_eq!(
            peer.frame().await.payload,
            b"harmless",
            "its pong, and no other"
        );
        let letters = server.letters("default");
        let letter = server.letter(letters[0]["incident"].as_str().unwrap());
        assert_eq!(letter["call"], "on-control");
        assert_eq!(letter["messages"][0]["kind"], "ping");
        assert_eq!(letter["messages"][0]["base64"], "cG9pc29u");
    });
}

#[test]
fn an_old_version_that_traps_over_its_state_is_followed_by_the_new_one() {
    covers("trap.calls");
    covers("swap.export-fails");
    scenario(async {
        let heir = |version: &str| {
            let mount = Mount::new("/h", "heir")
                .shared()
                .set("after_trap", "restart");
            mount.config("version", version)
        };
        let server = start(&Site::new().mount(heir("1").config("export", "trap"))).await;
        let mut peer = Peer::connect(server.address, "/h").await;
        assert_eq!(ask(&mut peer, "x").await, "1 1 1 x");
        server.reload(&Site::new().mount(heir("2"))).await.unwrap();
        assert_eq!(ask(&mut peer, "y").await, "2 1 1 y");
    });
}

#[test]
fn by_default_all_sessions_of_the_instance_are_closed_and_a_letter_is_kept() {
    covers("trap.close");
    scenario(async {
        let server = LetterOffice::start(Site::new().mount(Mount::new("/x", "hostile").shared()));
        let mut neighbour = Peer::connect(server.address(), "/x").await;
        let mut peer = Peer::connect(server.address(), "/x").await;
        peer.send_text("trap").await;
        let reason = peer.expect_closed(1011).await;
        assert_eq!(neighbour.expect_closed(1011).await, reason);
        let letter = server.letter(&incident(&reason));
        assert_eq!(letter["outcome"], "closed");
        assert_eq!(letter["sessions_closed"], 2);
        assert_eq!(letter["messages"][0]["text"], "trap");
    });
}

#[test]
fn a_conversation_cannot_go_on_after_a_trap() {
    covers("trap.conversations");
    scenario(async {
        let mount = Mount::new("/x", "talker").set("after_trap", "restart");
        let folder = wharf_tests::site::Folder::new();
        let config = folder.write("wharf.toml", Site::new().mount(mount).toml());
        let config = wharf::Config::load(&config).unwrap();
        let started = wharf::Server::builder().configured(config).start().await;
        let error = format!("{:#}", started.expect_err("it is refused"));
        assert!(error.contains("after_trap"), "{error}");
        assert!(error.contains("conversation"), "{error}");
    });
}

#[test]
fn a_crash_loop_leaves_its_worker_to_the_others() {
    covers("trap.crash-loop");
    scenario(async {
        const CRASHERS: usize = 50;
        let echo = Mount::new("/echo", "echo").shared();
        let hostile = Mount::new("/x", "hostile").set("after_trap", "restart");
        let hostile = hostile.set("traps_max", 100);
        let server = LetterOffice::start(Site::new().mount(echo).mount(hostile));
        let mut peer = Peer::connect(server.address(), "/echo").await;
        let mut quiet = Vec::new();
        for _ in 0..500 {
            quiet.push(echoed(&mut peer).await);
        }
        let mut crashers = tokio::task::JoinSet::new();
        for _ in 0..CRASHERS {
            let mut crasher = Peer::connect(server.address(), "/x").await;
            crashers.spawn(async move {
                loop {
                    crasher.send_text("trap").await;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        }
        let mut disturbed = Vec::new();
        for _ in 0..500 {
            disturbed.push(echoed(&mut peer).await);
        }
        crashers.shutdown().await;
        server.assert_healthy();
        let traps = server.letters("default").len();
        let p99 = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times[times.len() * 99 / 100]
        };
        figure(
            "trap.crash-loop",
            format!(
                "{CRASHERS} instances that trap again and again ({traps} letters kept) beside an echo: p99 \
                 {:?}, without them {:?}",
                p99(&mut disturbed),
                p99(&mut quiet)
            ),
        );
    });
}

async fn echoed(peer: &mut Peer) -> Duration {
    let began = Instant::now();
    peer.expect_echo("x").await;
    began.elapsed()
}
