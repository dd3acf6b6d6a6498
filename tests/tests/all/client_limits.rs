//! Handlers and servers that go too far with WebSockets, and what they cost.

use std::net::SocketAddr;
use std::time::Instant;

use wharf_tests::deadline::{STEP, alone, scenario};
use wharf_tests::feed::Feed;
use wharf_tests::figure::{bytes, figure};
use wharf_tests::peer::Peer;
use wharf_tests::server::start;
use wharf_tests::site::{Folder, Mount, Site};

use crate::client::{asked, inside, quick};
use crate::promises::covers;
use crate::village::{MIB, Village};

/// What a deed took at its peak.
type Peak = (&'static str, u64);

/// A server that sends without end, to a handler whose client reads, or does not.
async fn endless(village: &Village, host: SocketAddr) -> [Peak; 2] {
    let open = format!("open ws://{host}/endless");
    let mut peer = village.enter("/loud").await;
    let heard = village.peak_of(async {
        assert_eq!(asked(&mut peer, &open).await, "open ");
        for _ in 0..5_000 {
            assert_eq!(peer.text().await, "got 1000 bytes");
        }
        drop(peer);
    });
    let heard = heard.await;
    let mut peer = village.enter_deaf("/loud").await;
    let unheard = village.peak_of(async {
        peer.send_text(open).await;
        let mut calm = village.enter("/calm").await;
        for _ in 0..100 {
            let who = asked(&mut calm, "who").await;
            assert_eq!(who, "1 in, 0 out, request false, kept ");
        }
        drop(peer);
    });
    [
        ("endless", heard),
        ("endless to a deaf client", unheard.await),
    ]
}

/// A server that reads nothing.
async fn deaf(village: &Village, host: SocketAddr) -> Peak {
    let mut peer = village.enter("/loud").await;
    let peak = village.peak_of(async {
        assert_eq!(
            asked(&mut peer, &format!("open ws://{host}/deaf")).await,
            "open "
        );
        let mut answers: Vec<String> = Vec::new();
        while !answers.iter().any(|answer| answer.starts_with("ended ")) {
            peer.send_text("bytes 100000").await;
            peer.send_text("who").await;
            loop {
                let answer = peer.text().await;
                if answer.contains(" in, ") {
                    break;
                }
                answers.push(answer);
            }
        }
        assert_eq!(answers[0], "error SessionError::Full");
        let ended = "ended 1008 slow consumer, clean false, by host".to_owned();
        assert!(answers.contains(&ended), "{answers:?}");
        peer.leave(1000).await;
    });
    ("deaf", peak.await)
}

/// Handlers that open one after the other; one tenant's flood leaves another its own.
async fn flood(village: &Village, host: SocketAddr) -> Peak {
    let mut peers = [village.enter("/loud").await, village.enter("/loud").await];
    let open = format!("open ws://{host}/echo");
    let peak = village.peak_of(async {
        let flood = format!("flood ws://{host}/echo 1000");
        for (peer, expect) in peers.iter_mut().zip([
            "16 open, then there are 16 already",
            "8 open, then there are 24 already",
        ]) {
            assert_eq!(asked(peer, &flood).await, expect);
        }
        let mut calm = village.enter("/calm").await;
        assert_eq!(asked(&mut calm, &open).await, "open ");
        assert_eq!(asked(&mut calm, "say hello").await, "got hello");
    });
    let peak = peak.await;
    // Who leaves gives them back.
    let [first, mut second] = peers;
    first.leave(1000).await;
    let until = Instant::now() + STEP;
    while asked(&mut second, &open).await != "open " {
        assert!(Instant::now() < until, "places come back");
    }
    ("24 opened", peak)
}

#[test]
fn hostile_servers_and_hostile_handlers_meet_their_limits() {
    covers("client.limits");
    alone(async {
        let feed = Feed::start(None).await;
        let host = feed.address;
        let site = quick()
            .section("outbound", "tenant_websockets_max", 24)
            .section("outbound", "instance_websockets_max", 16);
        let loud = inside("/loud", host).set("tenant", "loud");
        let loud = loud.websocket("slow_consumer_timeout", "1s");
        let loud = loud.websocket("write_timeout", "200ms");
        let calm = inside("/calm", host).set("tenant", "calm");
        let mut village = Village::on(site, [loud, calm]).await;
        let [heard, unheard] = endless(&village, host).await;
        let (deaf, flood) = (deaf(&village, host).await, flood(&village, host).await);
        let shown = [heard, unheard, deaf, flood].map(|(what, peak)| {
            assert!(peak <= 4 * MIB, "{what}: {peak}");
            format!("{what}: + {}", bytes(peak))
        });
        figure("client.limits", shown.join("; "));
        village.assert_untouched().await;
    });
}

#[test]
fn the_example_joins_its_client_and_an_upstream() {
    covers("client.open");
    scenario(async {
        let mut feed = Feed::start(None).await;
        let folder = Folder::new();
        let token = folder.write("token", "s3cr3t-token\n");
        let host = feed.address.to_string();
        let mount = Mount::new("/", "proxy")
            .grant("http", ["localhost:1"])
            .grant("websocket", [host.as_str()])
            .grant("private_addresses", true)
            .grant("logging", true)
            .config("feed", format!("ws://{host}"))
            .secret_file("token", token.display().to_string().as_str());
        let server = start(&Site::new().mount(mount)).await;
        let mut peer = Peer::connect(server.address, "/").await;
        assert_eq!(asked(&mut peer, "open /echo").await, "open");
        assert!(
            feed.head()
                .await
                .contains("authorization: Bearer s3cr3t-token\r\n")
        );
        assert_eq!(asked(&mut peer, "hello").await, "hello");
        feed.say("news");
        assert_eq!(peer.text().await, "news");
        assert_eq!(asked(&mut peer, "close 4001").await, "closed: 4001 done");
        let refused = asked(&mut peer, "open /status/404").await;
        assert_eq!(refused, "no answer: the host answered 404");
        let right = asked(&mut peer, "hello").await;
        assert!(right.starts_with("say get or open"), "{right}");
    });
}
