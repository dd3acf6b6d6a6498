//! Peers that are not read from, because their conversation has left too much unread: whoever is
//! there stays, whoever is gone is noticed.

use std::time::Instant;

use wharf_tests::deadline::scenario;
use wharf_tests::frame::{Frame, opcode};
use wharf_tests::http::Head;
use wharf_tests::peer::{Peer, exchange};
use wharf_tests::server::Child;
use wharf_tests::site::{Mount, Site};

use crate::promises::covers;
use crate::village::PATIENCE;

/// A session that is sent more than its conversation lets in.
async fn held_back(server: &Child, path: &str) -> Peer {
    let mut peer = Peer::connect(server.address, path).await;
    peer.send_text("deaf").await;
    peer.expect_text("deaf").await;
    for _ in 0..16 {
        peer.send(Frame::binary(vec![7; 16 << 10])).await;
    }
    peer
}

/// How many sessions ended with 1011 for a ping that was not answered.
async fn given_up(server: &Child) -> Result<(), String> {
    let response = exchange(server.admin(), &Head::get("/metrics")).await;
    let text = String::from_utf8(response.body).unwrap();
    let is_it = |line: &&str| {
        line.starts_with("wharf_endings_total") && line.contains("1011") && line.contains("host")
    };
    let count = text.lines().find(is_it).map(|line| line.ends_with(" 1"));
    count.filter(|is_one| *is_one).map(drop).ok_or(text)
}

#[test]
fn who_is_not_read_from_is_pinged_and_a_machine_that_is_gone_is_noticed() {
    covers("keepalive.paused");
    scenario(async {
        let mount = Mount::new("/", "hostile-talker").guest("wall_per_call", "500ms");
        let mount = mount.websocket("ping_interval", "100ms");
        let site = Site::new()
            .section("admin", "listen", "127.0.0.1:0")
            .mount(mount.websocket("timeout", "700ms"));
        let server = Child::start(&site);
        let mut peer = held_back(&server, "/").await;
        // Its pongs cannot be read; its machine acknowledges the pings, and it stays.
        for _ in 0..6 {
            let ping = peer.frame().await;
            assert_eq!(ping.opcode, opcode::PING);
            peer.send(Frame::pong(&ping.payload)).await;
        }
        given_up(&server).await.expect_err("it is there");
        peer.stream.vanish();
        let began = Instant::now();
        while let Err(text) = given_up(&server).await {
            assert!(began.elapsed() < PATIENCE, "{text}");
        }
    });
}
