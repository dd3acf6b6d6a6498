//! Conversations through real clients: handlers that are coroutines, in every instance model.

use std::time::Duration;

use wharf_tests::deadline::{STEP, alone, eventually, scenario};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::frame::{Frame, opcode};
use wharf_tests::http::Head;
use wharf_tests::peer::Peer;
use wharf_tests::server::{Child, Local, run, start};
use wharf_tests::site::{Folder, Mount, Site};
use wharf_tests::stream::{Dial, Stream};
use wharf_tests::upstream::Upstream;

use crate::promises::covers;
use crate::village::expect_failed;

/// What the guest under test may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

fn talker(path: &str) -> Mount {
    Mount::new(path, "talker")
}

/// One worker, and every instance model.
async fn server() -> Local {
    let site = Site::new()
        .mount(talker("/own"))
        .mount(talker("/rooms/{room}").set("instance", "{room}"))
        .mount(talker("/shared").shared());
    start(&site).await
}

const PATHS: [&str; 3] = ["/own", "/rooms/a", "/shared"];

async fn observer(server: &Local, path: &str) -> Peer {
    let mut observer = Peer::connect(server.address, path).await;
    observer.send_text("observe").await;
    observer.expect_text("observing").await;
    observer
}

#[test]
fn a_conversation_gets_every_message_in_order() {
    covers("conversation.stream");
    scenario(async {
        let server = server().await;
        for path in PATHS {
            let mut peer = Peer::connect(server.address, &format!("{path}?greet")).await;
            peer.expect_text("hello").await;
            peer.expect_echo("one by one").await;
            peer.send_binary([0, 255, 1]).await;
            peer.expect_binary(&[0, 255, 1]).await;
            // Many at once, and a message in fragments among them.
            let text = |word: &str, first: bool, last: bool| Frame {
                fin: last,
                opcode: if first { opcode::TEXT } else { 0 },
                ..Frame::text(word)
            };
            let mut bytes = Vec::new();
            for number in 0..500 {
                bytes.extend(Frame::text(number.to_string()).encode(peer.key));
                if number == 250 {
                    for frame in [
                        text("frag", true, false),
                        text("men", false, false),
                        text("ted", false, true),
                    ] {
                        bytes.extend(frame.encode(peer.key));
                    }
                }
            }
            peer.raw(bytes).await;
            for number in 0..500 {
                peer.expect_text(&format!("{number}")).await;
                if number == 250 {
                    peer.expect_text("fragmented").await;
                }
            }
            peer.send_text("count").await;
            peer.expect_text("504").await;
            peer.leave(1000).await;
        }
    });
}

#[test]
fn conversations_of_one_instance_go_on_beside_each_other() {
    covers("conversation.stream");
    scenario(async {
        let server = server().await;
        let mut peers = Vec::new();
        for number in 0..50 {
            let mut peer = Peer::connect(server.address, "/shared").await;
            for _ in 0..number {
                peer.send_text("count").await;
            }
            peers.push(peer);
        }
        assert_eq!(server.server.stats().instances_live, 1);
        for (number, peer) in peers.iter_mut().enumerate() {
            for count in 1..=number {
                peer.expect_text(&count.to_string()).await;
            }
        }
        for peer in peers {
            peer.leave(1000).await;
        }
    });
}

#[test]
fn conversations_leave_nothing_behind_in_their_instance() {
    covers("conversation.return");
    scenario(async {
        let server = server().await;
        // More than the handles that an instance may hold.
        for number in 0..1_100 {
            let mut peer = Peer::connect(server.address, "/shared").await;
            if number % 2 == 0 {
                peer.send_text("return").await;
                peer.expect_text("bye").await;
                peer.expect_closed(1000).await;
            } else {
                peer.leave(1000).await;
            }
        }
        let mut peer = Peer::connect(server.address, "/shared").await;
        peer.expect_echo("still here").await;
        assert_eq!(server.server.stats().instances_live, 1);
    });
}

#[test]
fn returning_closes_with_1000() {
    covers("conversation.return");
    scenario(async {
        let server = server().await;
        for path in PATHS {
            let mut peer = Peer::connect(server.address, path).await;
            peer.send_text("return").await;
            peer.send_text("is not read any more").await;
            peer.expect_text("bye").await;
            peer.expect_closed(1000).await;
        }
        let gone = || match server.server.stats().sessions_open {
            0 => Ok(()),
            open => Err(format!("{open} sessions")),
        };
        eventually(PATIENCE, "all sessions end", gone).await;
    });
}

#[test]
fn a_conversation_sees_how_its_session_ended() {
    covers("conversation.stream");
    scenario(async {
        let server = server().await;
        for path in ["/rooms/b", "/shared"] {
            let mut observer = observer(&server, path).await;
            let mut peer = Peer::connect(server.address, path).await;
            peer.expect_echo("one").await;
            peer.leave(4321).await;
            observer
                .expect_text("4321 \"\" clean=true by Initiator::Peer, after 1")
                .await;
            let mut peer = Peer::connect(server.address, path).await;
            peer.send_text("close").await;
            peer.expect_closed(4001).await;
            observer
                .expect_text(
                    "4001 \"closed by its handler\" clean=true by Initiator::Handler, after 1",
                )
                .await;
            let mut peer = Peer::connect(server.address, path).await;
            peer.send_text("never answered").await;
            peer.stream.reset();
            let lost = observer.text().await;
            assert!(
                lost.starts_with("1006 ") && lost.contains("clean=false by Initiator::Peer"),
                "{lost}"
            );
            let mut peer = Peer::connect(server.address, path).await;
            peer.send_text("return").await;
            peer.expect_text("bye").await;
            peer.expect_closed(1000).await;
            observer.expect_text("open, after 1").await;
            observer.leave(1000).await;
        }
    });
}

#[test]
fn what_was_said_before_a_close_is_answered_before_it() {
    covers("conversation.stream");
    scenario(async {
        let server = server().await;
        for path in PATHS {
            let mut peer = Peer::connect(server.address, path).await;
            let mut bytes = Vec::new();
            for number in 0..100 {
                bytes.extend(Frame::text(number.to_string()).encode(peer.key));
            }
            bytes.extend(Frame::close(3000, "enough").encode(peer.key));
            peer.raw(bytes).await;
            for number in 0..100 {
                peer.expect_text(&format!("{number}")).await;
            }
            peer.expect_close(3000).await;
            peer.expect_eof().await;
        }
    });
}

#[test]
fn a_drain_answers_what_was_read_and_ends_the_stream() {
    covers("conversation.stream");
    scenario(async {
        let server = server().await;
        let mut peers = Vec::new();
        for path in PATHS {
            let mut peer = Peer::connect(server.address, path).await;
            peer.expect_echo("here").await;
            peer.send_text("last words").await;
            peers.push(peer);
        }
        // Read by the server before it drains: the session's task runs first.
        for peer in &mut peers {
            peer.expect_text("last words").await;
        }
        let drained = tokio::spawn(async move { server.server.drain(STEP).await });
        for peer in &mut peers {
            peer.expect_closed(1001).await;
        }
        assert_eq!(drained.await.unwrap(), 0, "sessions that were left");
    });
}

#[test]
fn a_send_waits_for_a_slow_reader_while_others_go_on() {
    covers("conversation.stream");
    scenario(async {
        let server = server().await;
        for path in PATHS {
            let stream = Stream::dial(server.address, Dial::small_buffers()).await;
            let mut slow = Peer::open(stream, &Head::upgrade(path)).await;
            // Far more than the queue and the socket's buffers hold.
            slow.send_text("pour 512 16384").await;
            // Of the same instance, but for `session`.
            let mut other = Peer::connect(server.address, path).await;
            for number in 0..100 {
                other.expect_echo(&format!("{number}")).await;
            }
            for _ in 0..512 {
                assert_eq!(slow.text().await.len(), 16384);
            }
            slow.expect_text("poured").await;
            slow.send_text("flush").await;
            slow.expect_text("flushed").await;
            other.leave(1000).await;
            slow.leave(1000).await;
        }
    });
}

#[test]
fn a_conversation_that_does_not_read_holds_back_its_own_peer() {
    covers("conversation.deaf");
    scenario(async {
        let deaf = |path: &str| Mount::new(path, "hostile-talker");
        let server = start(
            &Site::new()
                .mount(deaf("/own"))
                .mount(deaf("/shared").shared()),
        )
        .await;
        for path in ["/own", "/shared"] {
            let stream = Stream::dial(server.address, Dial::small_buffers()).await;
            let mut peer = Peer::open(stream, &Head::upgrade(path)).await;
            peer.expect_echo("first").await;
            peer.send_text("deaf").await;
            peer.expect_text("deaf").await;
            // Far more than may wait for it, and than the sockets hold.
            let block = Frame::binary(vec![7; 16 << 10]).encode(peer.key);
            let mut sent = 0;
            loop {
                let written = peer.raw_or_fail(&block);
                match tokio::time::timeout(Duration::from_millis(500), written).await {
                    Ok(written) => written.unwrap(),
                    Err(_) => break,
                }
                sent += block.len();
                assert!(sent < 32 << 20, "the peer is held back");
            }
            let mut other = Peer::connect(server.address, path).await;
            for number in 0..100 {
                other.expect_echo(&format!("{number}")).await;
            }
            other.leave(1000).await;
        }
    });
}

#[test]
fn a_close_is_answered_although_the_conversation_does_not_read() {
    covers("conversation.deaf");
    scenario(async {
        let deaf = |path: &str| {
            let mount = Mount::new(path, "hostile-talker").guest("wall_per_call", "1s");
            mount.websocket("close_timeout", "300ms")
        };
        let server = start(
            &Site::new()
                .mount(deaf("/own"))
                .mount(deaf("/shared").shared()),
        )
        .await;
        for deed in ["deaf", "mute"] {
            let mut peer = Peer::connect(server.address, "/own").await;
            peer.send_text(deed).await;
            peer.expect_text(deed).await;
            // A message lies before the close frame: one that reads would answer it first.
            peer.send_text("unread").await;
            peer.send(Frame::close(3000, "enough")).await;
            peer.expect_close(3000).await;
            peer.expect_eof().await;
        }
        // The function has its wall time to return. It does not, and takes its instance along.
        let mut beside = Peer::connect(server.address, "/shared").await;
        beside.expect_echo("together").await;
        let mut peer = Peer::connect(server.address, "/shared").await;
        peer.send_text("deaf").await;
        peer.expect_text("deaf").await;
        peer.leave(1000).await;
        expect_failed(&mut beside, PATIENCE).await;
        let gone = || match server.server.stats() {
            stats if stats.sessions_open + stats.instances_live == 0 => Ok(()),
            stats => Err(format!("{stats:?}")),
        };
        eventually(PATIENCE, "nothing is left", gone).await;
    });
}

#[test]
fn a_conversation_that_never_returns_ends_with_its_instance() {
    covers("conversation.return");
    scenario(async {
        let stays = |path: &str| {
            let mount = Mount::new(path, "hostile-talker");
            mount.guest("wall_per_call", "500ms")
        };
        let server = start(
            &Site::new()
                .mount(stays("/own"))
                .mount(stays("/shared").shared()),
        )
        .await;
        for path in ["/own", "/shared"] {
            let mut beside = Peer::connect(server.address, path).await;
            beside.expect_echo("here").await;
            let mut peer = Peer::connect(server.address, path).await;
            peer.send_text("stay").await;
            peer.expect_text("stay").await;
            peer.send_text("it reads").await;
            peer.leave(1000).await;
            if path == "/shared" {
                expect_failed(&mut beside, PATIENCE).await;
            } else {
                beside.expect_echo("another instance").await;
                beside.leave(1000).await;
            }
        }
        let gone = || match server.server.stats() {
            stats if stats.sessions_open + stats.instances_live == 0 => Ok(()),
            stats => Err(format!("{stats:?}")),
        };
        eventually(PATIENCE, "nothing is left", gone).await;
    });
}

#[test]
fn a_conversation_uses_what_its_route_was_granted() {
    covers("conversation.grants");
    scenario(async {
        let upstream = Upstream::start(None).await;
        let host = upstream.address.to_string();
        let scribe = |path: &str| {
            let mount = Mount::new(path, "scribe").grant("keyvalue", ["default"]);
            let mount = mount.grant("topics", true).grant("http", [host.as_str()]);
            mount.grant("private_addresses", true)
        };
        let site = Site::new()
            .section("storage", "path", "memory")
            .mount(scribe("/own"))
            .mount(scribe("/shared").shared());
        let server = start(&site).await;
        let mut members = Vec::new();
        for path in ["/own", "/own", "/shared", "/shared"] {
            let mut peer = Peer::connect(server.address, path).await;
            peer.send_text("join news").await;
            peer.expect_text("joined").await;
            members.push(peer);
        }
        for (number, path) in ["/own", "/shared"].into_iter().enumerate() {
            let mut peer = Peer::connect(server.address, path).await;
            for (command, answer) in [
                ("set k v".to_owned(), "set"),
                ("get k".to_owned(), "v"),
                (format!("add sum{number} 5"), "5"),
                (format!("add sum{number} -7"), "-2"),
                (format!("fetch http://{host}/hello"), "200 hello"),
                ("tell news today".to_owned(), "4"),
            ] {
                peer.send_text(&command).await;
                assert_eq!(peer.text().await, answer, "{path}: {command}");
            }
            for member in &mut members {
                member.expect_text("today").await;
            }
            peer.leave(1000).await;
        }
        // Who has left is no member any more, though the function has not returned by itself.
        members.pop().unwrap().leave(1000).await;
        let mut peer = Peer::connect(server.address, "/own").await;
        peer.send_text("tell news tomorrow").await;
        peer.expect_text("3").await;
    });
}

#[test]
fn a_conversation_is_refused_where_it_would_sleep_or_was_not_granted() {
    covers("conversation.grants");
    let refusal = |mount: Mount| {
        let folder = Folder::new();
        let config = folder.write("wharf.toml", Site::new().mount(mount).toml());
        let output = run(&["serve", "--config", config.to_str().unwrap()]);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let idle = refusal(talker("/dialogue").set("idle", "30s"));
    let right = "the route /dialogue has `idle`, and its component is a conversation";
    assert!(idle.contains(right), "{idle}");
    let ungranted = refusal(Mount::new("/", "scribe"));
    for import in [
        "wharf:websocket/topics@0.1.0",
        "wasi:keyvalue/store@0.2.0-draft2",
        "wasi:http/outgoing-handler@0.2",
    ] {
        assert!(ungranted.contains(import), "{import}: {ungranted}");
    }
}

#[test]
fn an_idle_conversation_holds_little() {
    covers("conversation.idle");
    alone(async {
        let dialogue = |path: &str| Mount::new(path, "dialogue");
        let site = Site::new().workers(1).mount(dialogue("/own"));
        let shared = dialogue("/shared").shared().guest("handles_max", 16);
        let server = Child::start(&site.mount(shared));
        let process = server.process();
        let mut results = Vec::new();
        // What a fresh server and a fresh instance take is there by then.
        let mut quiet = Vec::new();
        for path in ["/shared", "/own"] {
            quiet.push(talking(&server, path, 200).await);
            let before = process.resident_bytes();
            let count = 1_000;
            quiet.push(talking(&server, path, count).await);
            let each = process.resident_bytes().saturating_sub(before) / count;
            assert!(each < 128 << 10, "{path}: {}", bytes(each));
            results.push(format!("{path}: {}", bytes(each)));
        }
        for peer in quiet.iter_mut().flatten() {
            peer.expect_echo("still here").await;
        }
        figure("conversation.idle", results.join(", "));
        server.assert_healthy();
    });
}

/// Sessions that have said something each.
async fn talking(server: &Child, path: &str, count: u64) -> Vec<Peer> {
    let mut peers = Vec::new();
    for number in 0..count {
        let mut peer = Peer::connect(server.address, path).await;
        peer.expect_echo(&format!("{number}")).await;
        peers.push(peer);
    }
    peers
}

#[test]
fn the_example_plays() {
    covers("conversation.return");
    scenario(async {
        let game = Mount::new("/game", "coroutine");
        let server = start(&Site::new().mount(game)).await;
        let mut peer = Peer::connect(server.address, "/game").await;
        peer.expect_text("What is your name?").await;
        peer.send_text(" Ada ").await;
        for _ in 0..2 {
            peer.expect_text("Ada, guess my number: 1 to 100.").await;
            peer.send_text("seven").await;
            peer.expect_text("That is no number.").await;
            let (mut low, mut high, mut guesses) = (1, 100, 0);
            loop {
                let guess = (low + high) / 2;
                peer.send_text(guess.to_string()).await;
                guesses += 1;
                match peer.text().await.as_str() {
                    "Higher." => low = guess + 1,
                    "Lower." => high = guess - 1,
                    said => {
                        let right = format!("Right, Ada, in {guesses} guesses. Once more?");
                        assert_eq!(said, right);
                        break;
                    }
                }
            }
            peer.send_text("yes").await;
        }
        peer.expect_text("Ada, guess my number: 1 to 100.").await;
        peer.leave(1000).await;
    });
}
