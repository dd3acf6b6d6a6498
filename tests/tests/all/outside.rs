//! What handlers say to the world outside and hear from it: the log, settings and secrets, clocks.

use std::time::{Duration, Instant};

use serde_json::Value;
use wharf_tests::deadline::{alone, eventually, scenario};
use wharf_tests::figure::figure;
use wharf_tests::peer::Peer;
use wharf_tests::server::{Child, start};
use wharf_tests::site::{Folder, Mount, Site};

use crate::promises::covers;
use crate::village::{MIB, PATIENCE, Village, expect_failed};

/// The guest `envoy` with all that it imports.
fn envoy(path: &str) -> Mount {
    let mount = Mount::new(path, "envoy").grant("logging", true);
    // It imports HTTP, too; nobody is asked here.
    mount
        .config("greeting", "hello")
        .grant("http", ["localhost:1"])
}

/// Sends a command and expects its answer.
async fn ask(peer: &mut Peer, command: &str, answer: &str) {
    peer.send_text(command).await;
    assert_eq!(peer.text().await, answer, "{command:?}");
}

/// The log's lines from guests that fit.
fn said(log: &str, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .filter(|line: &Value| line["target"] == "guest" && fits(line))
        .collect()
}

/// The one line that fits, once it is there.
async fn the_line(server: &Child, fits: impl Fn(&Value) -> bool) -> Value {
    let limit = Duration::from_secs(5);
    let (line, _) = eventually(limit, "the line is in the log", || {
        let log = server.log();
        let whole = log.rfind('\n').map_or("", |end| &log[..=end]);
        said(whole, &fits).pop().ok_or(log)
    })
    .await;
    line
}

#[test]
fn a_handler_without_wasi_knows_what_time_it_is() {
    covers("clocks.coarse");
    scenario(async {
        let server = start(&Site::new().mount(envoy("/"))).await;
        let mut peer = Peer::connect(server.address, "/").await;
        let mut before = 0;
        for _ in 0..3 {
            let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
            peer.send_text("clock").await;
            let answer = peer.text().await;
            let (server, unix) = answer.split_once(' ').unwrap();
            let (server, unix): (u64, u64) = (server.parse().unwrap(), unix.parse().unwrap());
            assert!(server >= before, "{answer} after {before}");
            assert!((since_1970..since_1970 + 60).contains(&unix), "{answer}");
            before = server;
        }
    });
}

#[test]
fn what_a_handler_logs_says_of_whom_it_is() {
    covers("log.tenant");
    scenario(async {
        let server = Child::start(&Site::new().mount(envoy("/acme").set("tenant", "acme")));
        let mut peer = Peer::connect(server.address, "/acme").await;
        for level in ["debug", "info", "warn", "error"] {
            ask(&mut peer, &format!("log {level} rooms full {level}"), "ok").await;
        }
        for (level, shown) in [("info", "INFO"), ("warn", "WARN"), ("error", "ERROR")] {
            let line = the_line(&server, |line| line["message"] == format!("full {level}")).await;
            assert_eq!(line["level"], shown);
            for (field, value) in [
                ("tenant", "acme"),
                ("route", "/acme"),
                ("component", "envoy"),
                ("source", "log"),
                ("context", "rooms"),
            ] {
                assert_eq!(line[field], value, "{line}");
            }
            assert!(line["session"].is_u64(), "{line}");
        }
        let quiet = |line: &Value| line["message"] == "full debug";
        assert!(said(&server.log(), quiet).is_empty(), "info and above");
    });
}

#[test]
fn no_message_looks_like_two() {
    covers("log.tenant");
    scenario(async {
        let server = Child::start(&Site::new().mount(envoy("/")));
        let mut peer = Peer::connect(server.address, "/").await;
        let forged = "a\r\n{\"target\":\"guest\",\"tenant\":\"other\"}\u{1b}[2J\u{2028}\u{202e}";
        ask(&mut peer, &format!("log info c {forged}"), "ok").await;
        let line = the_line(&server, |line| line["context"] == "c").await;
        let shown =
            "a\\r\\n{\"target\":\"guest\",\"tenant\":\"other\"}\\u{1b}[2J\\u{2028}\\u{202e}";
        assert_eq!(line["message"], shown);
        let other = said(&server.log(), |line| line["tenant"] == "other");
        assert!(other.is_empty(), "{other:?}");
        ask(&mut peer, "log-long 10000", "ok").await;
        the_line(&server, |line| {
            line["context"] == "long"
                && line["message"]
                    .as_str()
                    .is_some_and(|text| text.len() < 4096)
        })
        .await;
        let pieces = said(&server.log(), |line| line["context"] == "long");
        let text: Vec<&str> = pieces
            .iter()
            .filter_map(|line| line["message"].as_str())
            .collect();
        assert!(text.len() == 3 && text.concat() == "x".repeat(10_000));
    });
}

#[test]
fn a_handler_that_logs_without_end_is_bounded_and_its_tenant_told_how_much_was_lost() {
    covers("log.bounded");
    alone(async {
        let hostile = envoy("/flood")
            .set("tenant", "loud")
            .guest("cpu_per_call", "3s");
        let mut village = Village::new([hostile, envoy("/calm").set("tenant", "calm")]).await;
        let before = village.server.log().len();
        let start = Instant::now();
        let peak = village.peak_of(async {
            let mut flood = village.enter("/flood").await;
            flood.send_text("log-flood").await;
            // Its neighbour is heard meanwhile: another tenant has a budget of its own.
            let mut calm = village.enter("/calm").await;
            ask(&mut calm, "log info calm still heard", "ok").await;
            expect_failed(&mut flood, PATIENCE).await;
        });
        let peak = peak.await;
        let seconds = start.elapsed().as_secs_f64();
        let written = (village.server.log().len() - before) as f64;
        the_line(&village.server, |line| line["message"] == "still heard").await;
        let dropped = the_line(&village.server, |line| line["dropped"].is_u64()).await;
        assert_eq!(dropped["tenant"], "loud", "{dropped}");
        let lines = said(&village.server.log(), |line| line["context"] == "flood").len() as f64;
        figure(
            "log.bounded",
            format!(
                "{:.2} MiB/s and {:.0} lines/s of log for {seconds:.1} s, {} dropped at first count, + {}",
                written / seconds / MIB as f64,
                lines / seconds,
                dropped["dropped"],
                wharf_tests::figure::bytes(peak),
            ),
        );
        // A second's worth may be written at once.
        assert!(written <= (seconds + 1.0) * MIB as f64, "{written} bytes");
        assert!(lines <= (seconds + 1.0) * 2_000.0, "{lines} lines");
        assert!(peak <= 4 * MIB, "{peak}");
        village.assert_untouched().await;
    });
}

#[test]
fn settings_and_secrets_reach_the_handler_and_secrets_nothing_else() {
    covers("config.settings");
    scenario(async {
        let folder = Folder::new();
        let secret = "s3cr3t-of-the-test";
        folder.write("token.txt", format!("{secret}\n"));
        let mount = envoy("/").config("rounds", 7).config("loud", true);
        let mount = mount.secret_file("token", "token.txt");
        let site = Site::new().mount(mount).mount(envoy("/bare"));
        let server = Child::start_in(folder, &site);
        let mut peer = Peer::connect(server.address, "/").await;
        for (command, answer) in [
            ("get greeting", "some hello"),
            ("get rounds", "some 7"),
            ("get loud", "some true"),
            ("get token", "some s3cr3t-of-the-test"),
            ("get nothing", "none"),
            ("all", "greeting=hello loud=true rounds=7"),
        ] {
            ask(&mut peer, command, answer).await;
        }
        let mut bare = Peer::connect(server.address, "/bare").await;
        ask(&mut bare, "get token", "none").await;
        ask(&mut bare, "all", "greeting=hello").await;
        assert!(!server.log().contains(secret), "{}", server.log());
    });
}

#[test]
fn a_handler_that_guesses_finds_no_setting_but_its_own() {
    covers("guest.settings");
    alone(async {
        let theirs = "s3cr3t-of-the-other";
        let folder = Folder::new();
        folder.write("token.txt", format!("{theirs}\n"));
        let victim = envoy("/victim").set("tenant", "victim");
        let victim = victim.secret_file("token", "token.txt");
        let hostile = envoy("/").set("tenant", "hostile");
        let server = Child::start_in(folder, &Site::new().mount(victim).mount(hostile));
        let mut peer = Peer::connect(server.address, "/").await;
        let mut guesses: Vec<String> = [
            "token",
            "TOKEN",
            "token.txt",
            "../token",
            "victim/token",
            "/victim/token",
            "victim.token",
            "route.secrets.token",
            "token\0",
            "\u{2024}token",
            "PATH",
            "HOME",
            "",
            " ",
            "*",
            "%",
        ]
        .map(str::to_owned)
        .into();
        guesses.extend((0..1_000).map(|number| format!("token{number}")));
        guesses.push("t".repeat(1_000_000));
        for guess in &guesses {
            ask(&mut peer, &format!("get {guess}"), "none").await;
        }
        ask(&mut peer, "all", "greeting=hello").await;
        let log = server.log();
        assert!(!log.contains(theirs) && !log.contains("tttttttt"), "{log}");
        figure("guest.settings", format!("0 of {} guesses", guesses.len()));
        server.assert_healthy();
    });
}

#[test]
fn a_secret_that_is_not_there_is_an_error_with_its_line() {
    covers("config.settings");
    let folder = Folder::new();
    let site = Site::new().mount(envoy("/").secret_file("token", "missing.txt"));
    let config = folder.write("wharf.toml", site.toml());
    let output = wharf_tests::server::run(&["serve", "--config", &config.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("wharf.toml:") && said.contains("[route.secrets] token"),
        "{said}"
    );
}

#[test]
fn logging_and_settings_are_refused_by_name_where_they_were_not_granted() {
    covers("outside.granted");
    let folder = Folder::new();
    let site = Site::new().mount(Mount::new("/", "envoy"));
    let config = folder.write("wharf.toml", site.toml());
    let output = wharf_tests::server::run(&["serve", "--config", &config.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for name in [
        "wasi:logging/logging",
        "[route.grants] logging",
        "wasi:config/store",
        "[route.config]",
    ] {
        assert!(said.contains(name), "{name} is not in {said}");
    }
}

#[test]
fn clocks_show_milliseconds_and_more_only_where_it_was_granted() {
    covers("clocks.coarse");
    scenario(async {
        let precise = Mount::new("/precise", "wasi").grant("clocks", "precise");
        let site = Site::new().mount(Mount::new("/", "wasi")).mount(precise);
        let server = start(&site).await;
        let mut peer = Peer::connect(server.address, "/").await;
        ask_clocks(&mut peer, |resolution, step| {
            resolution == 1_000_000 && step % 1_000_000 == 0
        })
        .await;
        let mut peer = Peer::connect(server.address, "/precise").await;
        ask_clocks(&mut peer, |resolution, step| {
            resolution < 1_000_000 && step < 1_000_000
        })
        .await;
    });
}

async fn ask_clocks(peer: &mut Peer, fits: impl Fn(u64, u64) -> bool) {
    peer.send_text("clocks").await;
    let answer = peer.text().await;
    let numbers = answer.split_once(' ').map(|(a, b)| (a.parse(), b.parse()));
    let Some((Ok(resolution), Ok(step))) = numbers else {
        panic!("{answer}");
    };
    assert!(fits(resolution, step), "{answer}");
}
