//! WebSockets that handlers opened while their handler is replaced, and on routes that are raw.

use std::time::Duration;

use wharf_tests::deadline::{STEP, eventually, scenario};
use wharf_tests::feed::{Feed, Seen};
use wharf_tests::frame::{Frame, opcode};
use wharf_tests::peer::Peer;
use wharf_tests::server::{Local, start};
use wharf_tests::site::Mount;

use crate::client::{asked, inside, quick};
use crate::promises::covers;

/// Serves another version of the same handler from now on.
async fn replace(server: &Local, mount: &Mount, version: u64) {
    let next = mount.clone().guest("handles_max", 1_000 + version);
    let published = server.reload(&quick().mount(next)).await;
    assert_eq!(published.expect("it can be served").changed, 1);
}

async fn until_swapped(server: &Local, swaps: u64) {
    let probe = || match server.server.stats() {
        stats if (stats.swaps, stats.swaps_failed) == (swaps, 0) => Ok(()),
        stats => Err(format!("{stats:?}")),
    };
    eventually(STEP, "the instance is replaced", probe).await;
}

#[test]
fn what_a_handler_opened_stays_open_through_its_versions() {
    covers("client.swap");
    scenario(async {
        let mut feed = Feed::start(None).await;
        let mount = inside("/", feed.address).rollout("swap");
        let server = start(&quick().mount(mount.clone())).await;
        let mut peer = Peer::connect(server.address, "/").await;
        let open = format!("open ws://{}/echo", feed.address);
        assert_eq!(asked(&mut peer, &open).await, "open ");
        feed.head().await;
        assert_eq!(asked(&mut peer, "keep this").await, "ok");
        for version in 1..=3 {
            replace(&server, &mount, version).await;
            until_swapped(&server, version).await;
            // The old Store is gone: what comes is the new version's.
            feed.say("news");
            assert_eq!(peer.text().await, "got news");
            assert_eq!(asked(&mut peer, "say hello").await, "got hello");
            let who = asked(&mut peer, "who").await;
            assert_eq!(who, "1 in, 1 out, request false, kept this");
        }
        assert_eq!(feed.ready(), None, "nothing was opened or closed meanwhile");
        let ended = asked(&mut peer, "say close 4001").await;
        assert_eq!(ended, "ended 4001 done, clean true, by peer");
    });
}

#[test]
fn what_a_handler_opened_goes_when_its_version_goes() {
    covers("client.swap");
    scenario(async {
        let mut feed = Feed::start(None).await;
        let open = format!("open ws://{}/echo", feed.address);
        let drains = inside("/", feed.address).rollout("drain");
        let drains = drains.rollout_time("deadline", "3s");
        let restarts = inside("/", feed.address).rollout("restart");
        let restarts = restarts.rollout_time("jitter", "1ms");
        for (mount, stays) in [(drains, true), (restarts, false)] {
            let server = start(&quick().mount(mount.clone())).await;
            let mut peer = Peer::connect(server.address, "/").await;
            assert_eq!(asked(&mut peer, &open).await, "open ");
            feed.head().await;
            replace(&server, &mount, 1).await;
            if stays {
                // Until the deadline it is served by the old version, both ways.
                assert_eq!(asked(&mut peer, "say hello").await, "got hello");
            }
            // Where the opened one ends first, the handler says so before its client ends, too.
            let reason = peer.drain_to_close_within(1012, STEP).await;
            assert_eq!(reason, "restarting");
            let closed = feed.close().await.map(|(code, _)| code);
            assert!(matches!(closed, Some(1001 | 1012)), "{closed:?}");
            peer.send(Frame::close(1012, "")).await;
            peer.expect_eof().await;
            let probe = || match server.server.stats() {
                stats if stats.sessions_open + stats.instances_live == 0 => Ok(()),
                stats => Err(format!("{stats:?}")),
            };
            eventually(Duration::from_secs(10), "nothing is left", probe).await;
        }
    });
}

#[test]
fn a_raw_handler_sees_the_control_frames_of_what_it_opened() {
    covers("client.raw");
    scenario(async {
        let mut feed = Feed::start(None).await;
        let host = feed.address.to_string();
        let mount = Mount::new("/", "liaison").websocket("raw", true);
        let mount = mount.grant("websocket", [host.as_str()]);
        let server = start(&quick().mount(mount.grant("private_addresses", true))).await;
        let mut peer = Peer::connect(server.address, "/").await;
        assert_eq!(
            asked(&mut peer, &format!("open ws://{host}/echo")).await,
            "open"
        );
        feed.head().await;
        assert_eq!(asked(&mut peer, "hello").await, "hello");
        assert_eq!(asked(&mut peer, "ping whose").await, "pong whose");
        let Seen::Control(ping) = feed.next().await else {
            panic!("the ping comes first");
        };
        assert_eq!((ping.opcode, &*ping.payload), (opcode::PING, &b"whose"[..]));
        peer.send(Frame::ping("mine")).await;
        peer.expect_text("from the client: ping mine").await;
        let pong = peer.frame().await;
        assert_eq!((pong.opcode, &*pong.payload), (opcode::PONG, &b"mine"[..]));
        // Its own answer to the server's close, and how it ended.
        assert_eq!(asked(&mut peer, "close 4001").await, "close 4001 done");
        peer.expect_text("ended 4001").await;
        assert_eq!(feed.close().await, Some((4010, "seen".to_owned())));
    });
}
