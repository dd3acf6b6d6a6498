//! Conversations through real clients: handlers that are coroutines, in every instance model.

use std::time::Duration;

use wharf_tests::deadline::{STEP, eventually, scenario};
use wharf_tests::frame::{Frame, opcode};
use wharf_tests::http::Head;
use wharf_tests::peer::Peer;
use wharf_tests::server::{Local, start};
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::{Dial, Stream};

use crate::promises::covers;

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
