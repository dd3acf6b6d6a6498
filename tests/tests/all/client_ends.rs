//! How WebSockets that handlers opened end, seen from both sides, and what outlives a sleep.

use std::time::Duration;

use wharf_tests::deadline::{STEP, eventually, scenario};
use wharf_tests::feed::{Feed, Seen};
use wharf_tests::frame::opcode;
use wharf_tests::peer::Peer;
use wharf_tests::server::{Local, start};
use wharf_tests::site::Mount;

use crate::client::{asked, inside, quick};
use crate::promises::covers;

/// A client whose handler has opened a connection to a path of the feed.
async fn opened(server: &Local, feed: &Feed, path: &str) -> Peer {
    let mut peer = Peer::connect(server.address, "/").await;
    let command = format!("open ws://{}/{path}", feed.address);
    assert_eq!(asked(&mut peer, &command).await, "open ");
    peer
}

#[test]
fn whatever_a_server_does_ends_its_connection_once_and_with_its_reason() {
    covers("client.ends");
    scenario(async {
        let mut feed = Feed::start(None).await;
        let mount = inside("/", feed.address);
        let server = start(&quick().mount(mount)).await;
        for (path, say, ended, code) in [
            (
                "echo",
                "say close 4001",
                "4001 done, clean true, by peer",
                Some(4001),
            ),
            ("echo", "say cut", "1006 , clean false, by peer", None),
            (
                "masked",
                "",
                "1002 frame with mask, clean false, by host",
                Some(1002),
            ),
            (
                "utf8",
                "",
                "1007 text is not UTF-8, clean false, by host",
                Some(1007),
            ),
            (
                "large/2000000",
                "",
                "1009 frame too long, clean false, by host",
                Some(1009),
            ),
            (
                "silent",
                "close 1000",
                "1000 , clean false, by handler",
                Some(1000),
            ),
        ] {
            let mut peer = opened(&server, &feed, path).await;
            if !say.is_empty() {
                peer.send_text(say).await;
            }
            assert_eq!(peer.text().await, format!("ended {ended}"), "{path}");
            feed.head().await;
            assert_eq!(feed.close().await.map(|(code, _)| code), code, "{path}");
            // Nothing more is said of it.
            let who = asked(&mut peer, "who").await;
            assert_eq!(who, "1 in, 0 out, request false, kept ", "{path}");
            peer.leave(1000).await;
        }
    });
}

#[test]
fn a_server_that_answers_no_ping_is_left() {
    covers("client.ends");
    scenario(async {
        let mut feed = Feed::start(None).await;
        let mount = inside("/", feed.address).websocket("ping_interval", "100ms");
        let server = start(&quick().mount(mount.websocket("timeout", "200ms"))).await;
        let mut peer = opened(&server, &feed, "silent").await;
        let ended = peer.text().await;
        assert_eq!(ended, "ended 1011 ping timeout, clean false, by host");
        feed.head().await;
        let Seen::Control(ping) = feed.next().await else {
            panic!("a ping comes first");
        };
        assert_eq!((ping.opcode, ping.payload.len()), (opcode::PING, 8));
        // One that answers is not.
        let mut peer = opened(&server, &feed, "echo").await;
        let is_ping = |seen| matches!(seen, Seen::Control(frame) if frame.opcode == opcode::PING);
        feed.head().await;
        let mut pings = 0;
        while pings < 4 {
            assert_eq!(asked(&mut peer, "say still").await, "got still");
            pings += usize::from(feed.ready().is_some_and(is_ping));
        }
    });
}

#[test]
fn connections_end_with_the_instance_that_opened_them() {
    covers("client.ends");
    scenario(async {
        let mut feed = Feed::start(None).await;
        let server = start(&quick().mount(inside("/", feed.address))).await;
        // The client leaves.
        let mut peer = opened(&server, &feed, "echo").await;
        let again = format!("open ws://{}/echo", feed.address);
        assert_eq!(asked(&mut peer, &again).await, "open ");
        peer.leave(1000).await;
        for _ in 0..2 {
            assert_eq!(feed.close().await, Some((1001, "going away".to_owned())));
        }
        let probe = || match server.server.stats() {
            stats if stats.sessions_open + stats.instances_live == 0 => Ok(()),
            stats => Err(format!("{stats:?}")),
        };
        eventually(STEP, "nothing is left", probe).await;
        // The handler fails.
        let mut peer = opened(&server, &feed, "echo").await;
        peer.send_text("trap").await;
        let reason = peer.expect_close(1011).await;
        assert!(reason.starts_with("handler failed "), "{reason}");
        assert_eq!(feed.close().await, Some((1011, reason)));
        // The server drains.
        let mut peer = opened(&server, &feed, "echo").await;
        let (left, ()) = tokio::join!(server.server.drain(STEP), async {
            peer.expect_closed(1001).await;
            assert_eq!(feed.close().await, Some((1001, "going away".to_owned())));
        });
        assert_eq!((left, server.server.stats().sessions_open), (0, 0));
    });
}

#[test]
fn a_shared_instance_keeps_what_it_opened_when_its_clients_leave() {
    covers("client.open");
    scenario(async {
        let feed = Feed::start(None).await;
        let server = start(&quick().mount(inside("/", feed.address).shared())).await;
        let first = opened(&server, &feed, "echo").await;
        first.leave(1000).await;
        let mut second = Peer::connect(server.address, "/").await;
        let mut third = Peer::connect(server.address, "/").await;
        assert_eq!(
            asked(&mut second, "who").await,
            "2 in, 1 out, request false, kept "
        );
        assert_eq!(asked(&mut second, "say hello").await, "got hello");
        assert_eq!(third.text().await, "got hello");
    });
}

#[test]
fn a_sleeping_instance_keeps_its_connections_and_wakes_for_them() {
    covers("client.sleep");
    scenario(async {
        let mut feed = Feed::start(None).await;
        let mount = inside("/", feed.address).set("idle", "20ms");
        let server = start(&quick().mount(mount)).await;
        let mut peer = opened(&server, &feed, "echo").await;
        assert_eq!(asked(&mut peer, "keep this").await, "ok");
        let asleep = async || {
            let probe = || match server.server.stats() {
                stats if stats.instances_asleep == 1 => Ok(()),
                stats => Err(format!("{stats:?}")),
            };
            eventually(STEP, "the instance sleeps", probe).await;
        };
        asleep().await;
        feed.say("news");
        assert_eq!(peer.text().await, "got news");
        asleep().await;
        assert_eq!(
            asked(&mut peer, "who").await,
            "1 in, 1 out, request false, kept this"
        );
        asleep().await;
        feed.say("more");
        assert_eq!(peer.text().await, "got more");
        assert_eq!(
            asked(&mut peer, "say close 4002").await,
            "ended 4002 done, clean true, by peer"
        );
        assert_eq!(feed.close().await.map(|(code, _)| code), Some(4002));
        // Its client leaves while it sleeps: what it has opened is closed, and nothing is left.
        let again = format!("open ws://{}/echo", feed.address);
        assert_eq!(asked(&mut peer, &again).await, "open ");
        asleep().await;
        peer.leave(1000).await;
        assert_eq!(feed.close().await, Some((1001, "going away".to_owned())));
        let probe = || match server.server.stats() {
            stats if stats.sessions_open + stats.instances_asleep + stats.instances_live == 0 => {
                Ok(())
            }
            stats => Err(format!("{stats:?}")),
        };
        eventually(Duration::from_secs(10), "nothing is left", probe).await;
    });
}

#[test]
fn a_connection_that_a_conversation_opens_is_one_too() {
    covers("client.open");
    scenario(async {
        let mut feed = Feed::start(None).await;
        let mount = Mount::new("/", "caller").grant("private_addresses", true);
        let host = feed.address.to_string();
        let mount = mount.grant("websocket", [host.as_str()]);
        let server = start(&quick().mount(mount)).await;
        let mut peer = Peer::connect(server.address, "/").await;
        let url = format!("open ws://{host}/echo");
        assert_eq!(asked(&mut peer, &url).await, "open");
        assert_eq!(asked(&mut peer, "one").await, "one");
        feed.say("two");
        assert_eq!(peer.text().await, "two");
        assert_eq!(asked(&mut peer, "close 4003").await, "ended 4003 after 2");
        assert_eq!(feed.close().await.map(|(code, _)| code), Some(4003));
        // Its function returns.
        assert_eq!(asked(&mut peer, &url).await, "open");
        assert_eq!(asked(&mut peer, "enough").await, "enough");
        assert_eq!(feed.close().await.map(|(code, _)| code), Some(1000));
        // Its client leaves.
        assert_eq!(asked(&mut peer, &url).await, "open");
        peer.leave(1000).await;
        assert_eq!(feed.close().await, Some((1001, "going away".to_owned())));
        let probe = || match server.server.stats() {
            stats if stats.sessions_open + stats.instances_live == 0 => Ok(()),
            stats => Err(format!("{stats:?}")),
        };
        eventually(STEP, "nothing is left", probe).await;
    });
}
