//! Canaries through the front door: who finds a new version first, that nobody else notices, and
//! that it goes forward or back by itself, or when an operator says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use wharf_tests::deadline::scenario;
use wharf_tests::figure::figure;
use wharf_tests::http::Head;
use wharf_tests::peer::{Peer, exchange};
use wharf_tests::server::{Local, run, start};
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::Stream;

use crate::promises::covers;

const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than any test.
const LONG: &str = "1h";

/// A handler that says its version, counts, and hands over its counts; with an instance for each
/// session.
fn heir(version: u64) -> Mount {
    Mount::new("/{key}", "heir").config("version", version.to_string())
}

/// The next version, for a share and for long enough.
fn canary(version: u64, share: &str) -> Mount {
    heir(version).canary("share", share).canary("for", LONG)
}

/// A server that operators reach.
struct Served {
    server: Local,
    token: String,
    site: Site,
}

impl Served {
    async fn start(mount: Mount) -> Self {
        Self::start_with(mount, 1).await
    }

    async fn start_with(mount: Mount, workers: u64) -> Self {
        let (token, sha256) = wharf::new_admin_token().expect("there is randomness");
        let site = Site::new()
            .workers(workers)
            .section("admin", "listen", "127.0.0.1:0")
            .section("admin.token.op", "sha256", sha256)
            .section("admin.token.op", "operator", true);
        let server = start(&site.clone().mount(mount)).await;
        Self {
            server,
            token,
            site,
        }
    }

    async fn reload(&self, mount: Mount) -> wharf::Replaced {
        let replaced = self.server.reload(&self.site.clone().mount(mount)).await;
        replaced.unwrap_or_else(|error| panic!("{error:#}"))
    }

    async fn refusal(&self, mount: Mount) -> String {
        let replaced = self.server.reload(&self.site.clone().mount(mount)).await;
        format!("{:#}", replaced.expect_err("it cannot be"))
    }

    async fn enter(&self, key: &str) -> Peer {
        Peer::connect(self.server.address, &format!("/{key}")).await
    }

    /// Which version new sessions find, in order.
    async fn versions(&self, count: usize) -> Vec<(u64, Peer)> {
        let mut found = Vec::new();
        for number in 0..count {
            let mut peer = self.enter(&format!("new-{number}")).await;
            found.push((version_of(&mut peer).await, peer));
        }
        found
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        let address = self.server.server.admin_addr().expect("it was asked for");
        let head = Head::get(path).request_line(&format!("{method} {path} HTTP/1.1"));
        let head = head.header("authorization", &format!("Bearer {}", self.token));
        let head = head.header("content-length", "0");
        let response = exchange(address, &head).await;
        let body = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
        (response.status, body)
    }

    async fn canaries(&self) -> Value {
        let (status, body) = self.ask("GET", "/v1/tenants/default/canary").await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn order(&self, verb: &str) -> (u16, Value) {
        self.ask("POST", &format!("/v1/tenants/default/canary/{verb}"))
            .await
    }

    /// Runs a `wharf` command against it; its standard output.
    fn wharf(&self, arguments: &[&str]) -> String {
        let address = self.server.server.admin_addr().expect("it was asked for");
        let admin = format!("http://{address}");
        let reach = ["--admin", &admin, "--token", &self.token];
        let output = run(&[arguments, &reach].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("it writes UTF-8")
    }

    /// Waits until the last version on trial has ended, and tells how.
    async fn ended(&self, ends: usize) -> Value {
        let begin = tokio::time::Instant::now();
        loop {
            let mut said = self.canaries().await;
            if said["ended"]
                .as_array()
                .is_some_and(|all| all.len() >= ends)
            {
                return said["ended"][0].take();
            }
            assert!(begin.elapsed() < PATIENCE, "{said}");
            tokio::task::yield_now().await;
        }
    }
}

async fn ask(peer: &mut Peer, text: &str) -> String {
    peer.send_text(text).await;
    peer.text().await
}

/// The first word of an answer.
fn first(answer: &str) -> u64 {
    let word = answer.split(' ').next().unwrap_or_default();
    word.parse().unwrap_or_else(|_| panic!("{answer:?}"))
}

async fn version_of(peer: &mut Peer) -> u64 {
    first(&ask(peer, "x").await)
}

/// Waits until a session is served by that version.
async fn until_version(peer: &mut Peer, version: u64) {
    let begin = tokio::time::Instant::now();
    while version_of(peer).await != version {
        assert!(begin.elapsed() < PATIENCE, "it never became {version}");
    }
}

fn count(found: &[(u64, Peer)], version: u64) -> usize {
    found.iter().filter(|(of, _)| *of == version).count()
}

/// A session that talks on, and checks that its own messages are all counted, in order.
async fn talk(mut peer: Peer, version: u64, is_over: Arc<AtomicBool>) -> u64 {
    let mut own = 0;
    while !is_over.load(Ordering::Relaxed) {
        own += 1;
        let text = format!("m{own}");
        let answer = ask(&mut peer, &text).await;
        assert_eq!(answer, format!("{version} {own} {own} {text}"));
    }
    peer.leave(1000).await;
    own
}

#[test]
fn a_share_of_new_sessions_finds_a_canary_and_nobody_else_does() {
    covers("canary.share");
    scenario(async {
        for (model, workers, slack) in [("session", 1, 1), ("session", 2, 2), ("shared", 1, 1)] {
            let of = |mount: Mount| mount.set("instance", model);
            let served = Served::start_with(of(heir(1)), workers).await;
            let mut old = served.versions(5).await;
            let replaced = served.reload(of(canary(2, "25%"))).await;
            assert_eq!((replaced.changed, replaced.canaries), (0, 1));
            let mut new = served.versions(40).await;
            let found = count(&new, 2);
            assert!(found.abs_diff(10) <= slack, "{model}: {found} of 40");
            for (version, peer) in new.iter_mut().chain(&mut old) {
                assert_eq!(version_of(peer).await, *version, "nobody changes sides");
            }
            let said = served.canaries().await;
            assert_eq!(said["canaries"][0]["counted"]["sessions"], found, "{said}");
            figure(
                "canary.share",
                format!("{model}, {workers} workers, 25%: {found} of 40 new sessions"),
            );
        }
    });
}

#[test]
fn a_key_is_in_one_version_for_as_long_as_its_room_lives() {
    covers("canary.keys");
    scenario(async {
        const ROOMS: usize = 60;
        for policy in ["swap", "drain", "restart"] {
            let of = |mount: Mount| mount.set("instance", "{key}").rollout(policy);
            let served = Served::start_with(of(heir(1)), 2).await;
            let mut early = Vec::new();
            for room in 0..ROOMS / 2 {
                early.push(served.enter(&format!("room{room}")).await);
            }
            served.reload(of(canary(2, "50%"))).await;
            let mut in_canary = Vec::new();
            for room in 0..ROOMS {
                let name = format!("room{room}");
                let (mut one, mut other) = (served.enter(&name).await, served.enter(&name).await);
                let mut versions = Vec::new();
                for peer in [&mut one, &mut other]
                    .into_iter()
                    .chain(early.get_mut(room))
                {
                    versions.push(version_of(peer).await);
                }
                versions.dedup();
                assert!(versions.len() == 1, "{policy}, {name}: {versions:?}");
                let is_early = room < ROOMS / 2;
                assert!(policy == "swap" || !is_early || versions == [1], "{name}");
                in_canary.push(versions == [2]);
            }
            let of_new = in_canary[ROOMS / 2..].iter().filter(|is| **is).count();
            // Four standard deviations of thirty throws.
            assert!(of_new.abs_diff(15) <= 11, "{policy}: {of_new} of 30");
            // A larger share takes no room out of the canary.
            served.reload(of(canary(2, "75%"))).await;
            for (room, was_in) in in_canary.iter().enumerate() {
                let mut peer = served.enter(&format!("room{room}")).await;
                assert!(version_of(&mut peer).await == 2 || !was_in, "room{room}");
            }
        }
    });
}

#[test]
fn who_is_named_finds_a_canary_before_others() {
    covers("canary.named");
    scenario(async {
        let served = Served::start(heir(1)).await;
        let marks = [
            (
                "header",
                "X-Canary: yes",
                Head::upgrade("/a").header("x-canary", "yes"),
            ),
            (
                "cookie",
                "canary=yes",
                Head::upgrade("/a").header("cookie", "a=b; canary=yes"),
            ),
            ("query", "canary=yes", Head::upgrade("/a?canary=yes")),
        ];
        for (version, (key, value, head)) in (2..).zip(marks) {
            let mount = heir(version).canary(key, value).canary("for", LONG);
            served.reload(mount).await;
            let stream = Stream::tcp(served.server.address).await;
            let mut named = Peer::open(stream, &head).await;
            assert_eq!(version_of(&mut named).await, version, "{key}");
            let others = served.versions(20).await;
            assert_eq!(count(&others, 1), 20, "{key}");
        }
        let of = |mount: Mount| mount.set("instance", "{key}");
        let served = Served::start(of(heir(1))).await;
        served.reload(of(heir(2)).canary("keys", ["vip"])).await;
        assert_eq!(version_of(&mut served.enter("vip").await).await, 2);
        assert_eq!(version_of(&mut served.enter("vip2").await).await, 1);
    });
}

#[test]
fn one_that_traps_goes_back_by_itself_and_the_others_lose_nothing() {
    covers("canary.traps");
    scenario(async {
        const SESSIONS: usize = 12;
        let served = Served::start_with(heir(1), 2).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let mut talking = JoinSet::new();
        for number in 0..SESSIONS {
            let peer = served.enter(&number.to_string()).await;
            talking.spawn(talk(peer, 1, is_over.clone()));
        }
        let bad = canary(2, "50%").config("message", "trap");
        served.reload(bad.clone().canary("traps_max", 2)).await;
        // Healthy sessions of the canary go back with what they know.
        let mut found = served.versions(40).await;
        let mut of_canary: Vec<Peer> = found
            .extract_if(.., |(version, _)| *version == 2)
            .map(|(_, peer)| peer)
            .collect();
        for _ in 0..3 {
            let mut peer = of_canary.pop().expect("half of forty");
            peer.send_text("boom").await;
            peer.expect_close(1011).await;
        }
        let ended = served.ended(1).await;
        assert_eq!(ended["outcome"], "rolled_back", "{ended}");
        assert_eq!(ended["cause"], "traps", "{ended}");
        assert_eq!(ended["counted"]["traps"], 3, "{ended}");
        for peer in &mut of_canary {
            until_version(peer, 1).await;
        }
        let back = of_canary.len();
        let answer = ask(&mut of_canary[0], "y").await;
        assert!(
            answer.ends_with(" y") && !answer.starts_with("1 1 "),
            "{answer}"
        );
        let ended = served.ended(1).await;
        assert_eq!(ended["outcome"], "rolled_back", "{ended}");
        assert_eq!(ended["cause"], "traps", "{ended}");
        assert_eq!(
            count(&served.versions(20).await, 1),
            20,
            "nobody finds it any more"
        );
        // Reading the file again does not try it again; a change of it does.
        assert_eq!(served.reload(bad.canary("traps_max", 2)).await.canaries, 0);
        assert_eq!(count(&served.versions(20).await, 1), 20);
        assert_eq!(served.reload(canary(3, "50%")).await.canaries, 1);
        is_over.store(true, Ordering::Relaxed);
        let messages: u64 = talking.join_all().await.into_iter().sum();
        figure(
            "canary.traps",
            format!(
                "taken back after 3 traps, {back} sessions went along; {SESSIONS} sessions of the version before: {messages} messages, 0 lost, 0 closed"
            ),
        );
    });
}

#[test]
fn one_that_takes_too_long_goes_back_by_itself() {
    covers("canary.latency");
    scenario(async {
        let served = Served::start(heir(1)).await;
        // A loop of that length takes more than a millisecond on any machine.
        let slow = canary(2, "100%").config("rounds", "20000000");
        served.reload(slow.canary("latency_p99_max", "1ms")).await;
        let mut peer = served.enter("a").await;
        let mut asked = 0;
        while version_of(&mut peer).await == 2 {
            asked += 1;
            assert!(asked < 1_000, "{}", served.canaries().await);
        }
        let ended = served.ended(1).await;
        assert_eq!(ended["cause"], "latency", "{ended}");
        assert!(
            ended["counted"]["latency_p99_at_most_ms"].as_f64() > Some(1.0),
            "{ended}"
        );
        figure(
            "canary.latency",
            format!("back after {asked} calls: {}", ended["reason"]),
        );
    });
}

#[test]
fn one_whose_calls_run_out_of_time_goes_back_by_itself() {
    covers("canary.timeouts");
    scenario(async {
        let of = |mount: Mount| mount.guest("cpu_per_call", "50ms");
        let served = Served::start(of(heir(1))).await;
        let spins = canary(2, "100%").config("message", "spin");
        served.reload(of(spins).canary("timeouts_max", 0)).await;
        let mut peer = served.enter("a").await;
        peer.send_text("boom").await;
        peer.expect_close(1011).await;
        let ended = served.ended(1).await;
        assert_eq!(
            (&ended["cause"], &ended["outcome"]),
            (&"timeouts".into(), &"rolled_back".into())
        );
        assert_eq!(count(&served.versions(5).await, 1), 5);
    });
}

#[test]
fn one_that_behaves_is_followed_by_everybody() {
    covers("canary.promoted");
    scenario(async {
        for model in ["session", "{key}", "shared"] {
            let of = |mount: Mount| mount.set("instance", model);
            let served = Served::start(of(heir(1))).await;
            let mut old = served.versions(4).await;
            let good = heir(2).canary("share", "50%").canary("for", "300ms");
            served.reload(of(good)).await;
            let mut new = served.versions(8).await;
            let ended = served.ended(1).await;
            assert_eq!(
                (&ended["cause"], &ended["outcome"]),
                (&"time".into(), &"promoted".into())
            );
            for (_, peer) in new.iter_mut().chain(&mut old) {
                until_version(peer, 2).await;
            }
            assert_eq!(count(&served.versions(4).await, 2), 4, "{model}");
            // All of them follow the next version, wherever they began.
            served.reload(of(heir(3))).await;
            for (_, peer) in new.iter_mut().chain(&mut old) {
                until_version(peer, 3).await;
            }
        }
    });
}

#[test]
fn one_that_fails_after_its_promotion_is_taken_back_whole() {
    covers("canary.watched");
    scenario(async {
        for model in ["session", "{key}", "shared"] {
            let of = |mount: Mount| mount.set("instance", model);
            let served = Served::start(of(heir(1))).await;
            let mut old = served.enter("a").await;
            let late = heir(2).config("message", "trap").canary("for", "100ms");
            let late = late.canary("watch", LONG).canary("traps_max", 0);
            let late = late.canary("calls_min", 0);
            served.reload(of(late)).await;
            served.ended(1).await;
            until_version(&mut old, 2).await;
            let said = served.canaries().await;
            assert_eq!(said["canaries"][0]["stage"], "watched", "{said}");
            let mut bad = served.enter("b").await;
            bad.send_text("boom").await;
            bad.expect_close(1011).await;
            let ended = served.ended(2).await;
            assert_eq!(
                (&ended["stage"], &ended["cause"]),
                (&"watched".into(), &"traps".into())
            );
            if model != "shared" {
                until_version(&mut old, 1).await;
            }
            assert_eq!(count(&served.versions(4).await, 1), 4, "{model}");
        }
    });
}

#[test]
fn one_that_nobody_has_used_is_not_followed() {
    covers("canary.unused");
    scenario(async {
        let served = Served::start(heir(1)).await;
        let unused = heir(2).canary("query", "canary=yes").canary("for", "1ms");
        served.reload(unused.canary("calls_min", 2)).await;
        let marked = |key: &str| format!("/{key}?canary=yes");
        let mut peer = Peer::connect(served.server.address, &marked("a")).await;
        let on_trial = served.canaries().await["canaries"][0].take();
        assert_eq!(on_trial["calls_min"], 2, "{on_trial}");
        // Long after its time, and after many looks at it.
        let until = on_trial["until_unix_ms"].as_u64().unwrap() + 1_000;
        while now_unix_ms() < until {
            let said = served.canaries().await;
            assert_eq!(said["canaries"][0]["stage"], "canary", "{said}");
            tokio::task::yield_now().await;
        }
        for _ in 0..2 {
            assert_eq!(version_of(&mut peer).await, 2);
        }
        let ended = served.ended(1).await;
        assert_eq!(
            (&ended["outcome"], &ended["cause"]),
            (&"promoted".into(), &"time".into())
        );
        assert!(ended["counted"]["calls"].as_u64() >= Some(2), "{ended}");
    });
}

fn now_unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis() as u64
}

#[test]
fn a_canary_among_more_routes_than_the_metrics_have_rows_is_judged() {
    covers("canary.many-routes");
    scenario(async {
        /// As many as have a row of their own.
        const ROUTES: usize = 1_000;
        let bad = canary(2, "100%").config("message", "trap");
        let all = |mount: Mount| {
            let others = (0..ROUTES).map(|n| Mount::new(&format!("/other/{n}"), "echo"));
            others
                .fold(Site::new().workers(1), Site::mount)
                .mount(mount)
        };
        let server = start(&all(heir(1))).await;
        // Each gets its row by a request; a page of another origin costs no instance.
        for number in 0..ROUTES {
            let head = Head::upgrade(&format!("/other/{number}"));
            let head = head.header("origin", "http://elsewhere.example");
            assert_eq!(exchange(server.address, &head).await.status, 403);
        }
        let replaced = server.reload(&all(bad.canary("traps_max", 0))).await;
        assert_eq!(replaced.expect("it is sound").canaries, 1);
        let mut bad = Peer::connect(server.address, "/a").await;
        assert_eq!(version_of(&mut bad).await, 2);
        bad.send_text("boom").await;
        bad.expect_close(1011).await;
        let begin = tokio::time::Instant::now();
        while version_of(&mut Peer::connect(server.address, "/a").await).await != 1 {
            assert!(begin.elapsed() < PATIENCE, "nobody has judged it");
        }
    });
}

#[test]
fn an_operator_ends_a_canary_either_way() {
    covers("canary.ordered");
    scenario(async {
        let served = Served::start(heir(1)).await;
        let mut old = served.enter("old").await;
        assert_eq!(served.order("promote").await.0, 404);
        served.reload(canary(2, "100%")).await;
        let mut new = served.enter("new").await;
        assert_eq!(version_of(&mut new).await, 2);
        let (_, sessions) = served.ask("GET", "/v1/tenants/default/sessions").await;
        let stages = sessions["sessions"].as_array().unwrap().iter();
        let stages: Vec<_> = stages
            .map(|row| (row["generation"].as_u64(), row["canary"].as_bool()))
            .collect();
        assert_eq!(
            stages,
            [(Some(1), Some(false)), (Some(2), Some(true))],
            "{sessions}"
        );
        let (status, answer) = served.order("abort").await;
        assert_eq!(
            (status, &answer["outcome"]),
            (200, &"aborted".into()),
            "{answer}"
        );
        until_version(&mut new, 1).await;
        assert_eq!(served.ended(1).await["cause"], "operator");
        served.reload(canary(3, "100%")).await;
        let (status, answer) = served.order("promote").await;
        assert_eq!(
            (status, &answer["outcome"]),
            (200, &"promoted".into()),
            "{answer}"
        );
        for peer in [&mut old, &mut new] {
            until_version(peer, 3).await;
        }
        assert_eq!(
            served.order("abort").await.0,
            404,
            "nothing is on trial any more"
        );
        let metrics = exchange(
            served.server.server.admin_addr().unwrap(),
            &Head::get("/metrics"),
        )
        .await;
        let metrics = metrics.text();
        for (outcome, count) in [("aborted", 1), ("promoted", 1)] {
            let line = format!(
                "wharf_canaries_ended_total{{tenant=\"default\",route=\"/{{key}}\",outcome=\"{outcome}\",cause=\"operator\"}} {count}"
            );
            assert!(
                metrics.lines().any(|found| found == line),
                "{line}\n{metrics}"
            );
        }
        // A library user says it without a listener.
        let route = || wharf::Route::new("/{key}");
        assert!(served.server.server.abort(route()).await.is_err());
        served.reload(canary(4, "100%")).await;
        let promoted = served.server.server.promote(route()).await;
        promoted.expect("one is under way");
        until_version(&mut old, 4).await;
    });
}

#[test]
fn the_command_shows_a_canary_and_ends_it() {
    covers("canary.ordered");
    scenario(async {
        let served = Served::start(heir(1)).await;
        let mut old = served.enter("old").await;
        served.reload(canary(2, "7%")).await;
        let shown = served.wharf(&["canary"]);
        assert!(shown.contains("7%"), "{shown}");
        let told = served.wharf(&["promote", "/{key}"]);
        assert!(told.contains("is promoted"), "{told}");
        until_version(&mut old, 2).await;
        let shown = served.wharf(&["sessions"]);
        assert!(shown.contains("VERSION"), "{shown}");
        let shown = served.wharf(&["canary"]);
        assert!(shown.contains("asked for with the token op"), "{shown}");
    });
}

#[test]
fn a_reload_in_the_middle_goes_on_changes_or_ends_a_canary() {
    covers("canary.reload");
    scenario(async {
        let served = Served::start(heir(1)).await;
        let mut old = served.enter("old").await;
        served.reload(canary(2, "100%")).await;
        let mut peer = served.enter("a").await;
        assert_eq!(version_of(&mut peer).await, 2);
        let before = served.canaries().await;
        // The same again, but for another share: who is in stays in.
        let replaced = served.reload(canary(2, "10%")).await;
        assert_eq!((replaced.changed, replaced.canaries), (0, 0));
        let after = served.canaries().await;
        assert_eq!(
            after["canaries"][0]["generation"],
            before["canaries"][0]["generation"]
        );
        assert_eq!(after["canaries"][0]["share"], "10%");
        assert_eq!(after["canaries"][0]["counted"]["sessions"], 1, "{after}");
        assert_eq!(version_of(&mut peer).await, 2);
        // Another version takes its place: who was in it goes on to that one.
        assert_eq!(served.reload(canary(3, "10%")).await.canaries, 1);
        until_version(&mut peer, 3).await;
        assert_eq!(version_of(&mut old).await, 1);
        assert_eq!(served.ended(1).await["outcome"], "superseded");
        // The version before is wanted again.
        served.reload(heir(1)).await;
        until_version(&mut peer, 1).await;
        assert_eq!(served.ended(2).await["outcome"], "aborted");
        // The same version without a canary is for everybody.
        served.reload(canary(4, "100%")).await;
        served.reload(heir(4)).await;
        until_version(&mut old, 4).await;
        assert_eq!(served.ended(3).await["cause"], "configuration");
    });
}

#[test]
fn who_cannot_be_swapped_back_stays_or_comes_again() {
    covers("canary.way-back");
    scenario(async {
        for (policy, setting, time) in [
            ("drain", "deadline", "300ms"),
            ("restart", "jitter", "100ms"),
        ] {
            let of = |mount: Mount| mount.rollout(policy).rollout_time(setting, time);
            let served = Served::start(of(heir(1))).await;
            served.reload(of(canary(2, "100%"))).await;
            let mut peer = served.enter("a").await;
            assert_eq!(version_of(&mut peer).await, 2);
            served.order("abort").await;
            assert_eq!(version_of(&mut served.enter("a").await).await, 1);
            assert_eq!(peer.expect_close(1012).await, "restarting", "{policy}");
        }
    });
}

#[test]
fn versions_that_cannot_stand_side_by_side_are_refused() {
    covers("canary.refused");
    scenario(async {
        let served = Served::start(heir(1).rollout("drain")).await;
        let mut peer = served.enter("a").await;
        let model = canary(2, "5%").set("instance", "shared");
        let refused = served.refusal(model.rollout("drain")).await;
        assert!(refused.contains("its instance model changes"), "{refused}");
        let conversation = Mount::new("/{key}", "coroutine").canary("latency_p99_max", "1s");
        let refused = served.refusal(conversation.rollout("drain")).await;
        assert!(refused.contains("a conversation's call lasts"), "{refused}");
        assert_eq!(version_of(&mut peer).await, 1);
    });
}
