//! Handlers that want too much memory, break, or pass lists that cannot be. Each ends alone.

use wharf_tests::deadline::{alone, scenario};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::frame::opcode;
use wharf_tests::guests;
use wharf_tests::http::Head;
use wharf_tests::peer::{Incoming, Peer};
use wharf_tests::server::{Child, run};
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::Stream;

use crate::promises::covers;
use crate::village::{HEALTHY, MIB, PATIENCE, Village, expect_failed};

#[test]
fn a_guest_that_breaks_ends_alone() {
    covers("guest.memory");
    covers("ends.handler-failed");
    alone(async {
        const LIMIT: u64 = 16 * MIB;
        let hostile = Mount::new("/hostile", "hostile").guest("memory_bytes_max", LIMIT);
        let mut village = Village::new([hostile.guest("cpu_per_call", "2s")]).await;
        let mut results = Vec::new();
        for deed in ["grow", "touch", "recurse", "trap", "panic"] {
            let peak = village.peak_of(async {
                let mut peer = village.enter("/hostile").await;
                peer.send_text(deed).await;
                if deed == "grow" {
                    let report = peer.text().await;
                    let pages: u64 = report.trim_start_matches("grow ").parse().unwrap();
                    assert!(pages * 65_536 <= LIMIT, "{report}");
                } else {
                    expect_failed(&mut peer, PATIENCE).await;
                }
            });
            let peak = peak.await;
            results.push(format!("{deed} + {}", bytes(peak)));
            assert!(peak <= LIMIT + 2 * MIB, "{deed}: bound = its limit: {peak}");
        }
        for deed in ["trap", "touch", "recurse"] {
            let mut in_open = village.enter(&format!("/hostile?open={deed}")).await;
            expect_failed(&mut in_open, PATIENCE).await;
            let in_close = village.enter(&format!("/hostile?close={deed}")).await;
            in_close.leave(1000).await;
        }
        village.assert_untouched().await;
        figure(
            "guest.memory",
            format!(
                "limit {}: {}; 0 of {HEALTHY} others touched",
                bytes(LIMIT),
                results.join(", ")
            ),
        );
    });
}

#[test]
fn a_guest_that_breaks_where_it_is_started_or_given_room_ends_alone() {
    covers("guest.memory");
    covers("ends.handler-failed");
    alone(async {
        const BROKEN: [&str; 5] = [
            "start-trap",
            "realloc-trap",
            "realloc-outside",
            "realloc-unaligned",
            "recurse",
        ];
        let mounts = BROKEN.iter().chain(&["table-grow"]);
        let mut village =
            Village::new(mounts.map(|name| Mount::new(&format!("/{name}"), name))).await;
        let mut worst = 0;
        for name in BROKEN {
            let peak = village.peak_of(async {
                let stream = Stream::tcp(village.server.address).await;
                match Peer::try_open(stream, &Head::upgrade(&format!("/{name}"))).await {
                    Ok(mut peer) => {
                        peer.send_text("a message").await;
                        expect_failed(&mut peer, PATIENCE).await;
                    }
                    Err(refusal) => {
                        assert!((500..=503).contains(&refusal.status), "{name}: {refusal:?}");
                    }
                }
            });
            worst = worst.max(peak.await);
        }
        // A refused growth is an answer: this one goes on.
        let table = village.peak_of(async {
            village
                .enter("/table-grow")
                .await
                .expect_echo("as far as it goes")
                .await;
        });
        let table = table.await;
        village.assert_untouched().await;
        figure(
            "guest.memory",
            format!(
                "{} guests that break when started or given room: + {} at most; a table at its limit + {}",
                BROKEN.len(),
                bytes(worst),
                bytes(table)
            ),
        );
        assert!(worst <= 4 * MIB && table <= 4 * MIB, "{worst}, {table}");
    });
}

#[test]
fn a_guest_that_asks_for_too_much_from_its_start_on_is_not_served() {
    covers("guest.memory");
    scenario(async {
        for (name, asked) in [("start-memory", "131072000"), ("start-table", "10000000")] {
            let file = guests::path(name);
            let output = run(&["serve", file.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                !output.status.success() && text.contains(asked),
                "{name}: {text}"
            );
        }
        figure(
            "guest.memory",
            "125 MiB and 10,000,000 table entries at the start: refused before serving",
        );
    });
}

#[test]
fn lists_that_cannot_be_are_refused_before_they_are_copied() {
    covers("guest.lists");
    alone(async {
        const IMPOSSIBLE: [&str; 8] = [
            "list-binary",
            "list-text",
            "list-attachment",
            "list-reason",
            "list-tags",
            "list-end",
            "bad-utf8",
            "bad-kind",
        ];
        let mut village = Village::new([Mount::new("/hostile", "hostile")]).await;
        let fail = async |deed: &str| {
            let mut peer = village.enter("/hostile").await;
            peer.send_text(deed).await;
            expect_failed(&mut peer, PATIENCE).await;
        };
        fail("bad-kind").await;
        let mut worst = 0;
        for deed in IMPOSSIBLE {
            worst = worst.max(village.peak_of(fail(deed)).await);
        }
        let mut answers = Vec::new();
        for (deed, own) in [
            ("large-binary", 32),
            ("large-text", 32),
            ("amplify-tags", 16),
        ] {
            answers.push(pass_too_much(&village, deed, own * MIB).await);
        }
        figure(
            "guest.lists",
            format!(
                "{} impossible lists: + {} at most; {}",
                IMPOSSIBLE.len(),
                bytes(worst),
                answers.join(", ")
            ),
        );
        assert!(worst <= 2 * MIB, "at most twice the message limit: {worst}");
        village.assert_untouched().await;
    });
}

/// A list that exists in the guest's memory (`own` bytes of it) and is too large for the host: the
/// guest is told or ends; nothing of it is copied.
async fn pass_too_much(village: &Village, deed: &str, own: u64) -> String {
    let mut answer = String::new();
    let peak = village.peak_of(async {
        let mut peer = village.enter("/hostile").await;
        peer.send_text(deed).await;
        answer = match peer.next_but_pings_within(PATIENCE).await {
            Incoming::Frame(frame) if frame.opcode == opcode::CLOSE => {
                format!("{deed} {:?}", frame.close_reason().map(|(code, _)| code))
            }
            Incoming::Frame(frame) => String::from_utf8(frame.payload).unwrap(),
            Incoming::End(end) => panic!("{deed}: {end:?}"),
        };
    });
    let beyond = peak.await.saturating_sub(own);
    let refused = answer.contains("too-large:") || answer.ends_with("Some(1011)");
    assert!(refused, "{answer}");
    assert!(beyond <= 4 * MIB, "{deed}: {beyond} beyond the guest's own");
    format!("{answer} + {} beyond the guest's own", bytes(beyond))
}

#[test]
fn sessions_of_others_answer_as_closed_ones() {
    covers("session.messages");
    scenario(async {
        let server = Child::start(&Site::new().mount(Mount::new("/hostile", "hostile")));
        let _neighbour = Peer::connect(server.address, "/hostile").await;
        let mut peer = Peer::connect(server.address, "/hostile").await;
        let _after = Peer::connect(server.address, "/hostile").await;
        for (deed, answer) in [
            ("foreign", "foreign ok"),
            ("attachment", "attachment too-large:16384"),
            ("tags", "tags too-large:10 too-large:256"),
            ("auto-response", "auto-response too-large:2048"),
        ] {
            peer.send_text(deed).await;
            peer.expect_text(answer).await;
        }
        server.assert_healthy();
    });
}

#[test]
fn what_was_not_granted_is_refused_before_it_runs() {
    covers("guest.imports");
    scenario(async {
        let wanted = [
            "stranger:danger/files@1.2.3",
            "stranger:danger/network@1.2.3",
        ];
        let file = guests::path("ungranted");
        let path = file.to_str().unwrap();
        for arguments in [
            vec!["serve", path, "--listen", "127.0.0.1:0"],
            vec!["check", path],
        ] {
            let output = run(&arguments);
            let text =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!output.status.success(), "{arguments:?}: {text}");
            for import in wanted {
                assert!(
                    text.contains(import),
                    "{arguments:?}: each import is named: {text}"
                );
            }
        }
        let builder = wharf::Server::builder().engine(|engine| engine.instances_max = 64);
        let route = wharf::Route::new("/x").component_file(file);
        let error = format!("{:#}", builder.route(route).start().await.unwrap_err());
        assert!(
            wanted.iter().all(|import| error.contains(import)),
            "{error}"
        );
        figure(
            "guest.imports",
            "refused by serve, check and the library, 2 of 2 imports named, nothing was run",
        );
    });
}
