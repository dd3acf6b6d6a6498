//! Clients that keep positions, lose their connection and come back.

use serde_json::{Value, json};
use wharf_tests::deadline::scenario;
use wharf_tests::http::Head;
use wharf_tests::peer::Peer;
use wharf_tests::server::{Local, start};
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::Stream;

use crate::promises::covers;
use crate::topics::{ask, herald, keys_of_both};

const PROTOCOL: &str = "wharf.recover.v1";

fn keeper() -> Mount {
    Mount::new("/keeper/{key}", "herald")
        .set("instance", "{key}")
        .set("subprotocols", [PROTOCOL])
        .grant("topics", true)
}

async fn server() -> Local {
    let keys = [("history_messages", 5.into())];
    let site = Site::new().workers(2).mount(herald()).mount(keeper());
    start(&site.topic("kept/*", keys)).await
}

/// A client that keeps positions and subscribes as it opens.
async fn keep(server: &Local, key: &str, query: &str) -> Peer {
    let head =
        Head::upgrade(&format!("/keeper/{key}?{query}")).header("Sec-WebSocket-Protocol", PROTOCOL);
    Peer::open(Stream::tcp(server.address).await, &head).await
}

async fn envelope(peer: &mut Peer) -> Value {
    serde_json::from_str(&peer.text().await).unwrap()
}

fn recover(topic: &str, seen: &Value) -> String {
    let (epoch, offset) = (seen["epoch"].as_str().unwrap(), &seen["offset"]);
    format!(
        "join={topic}&recover={}:{epoch}:{offset}",
        topic.replace('/', "%2F")
    )
}

#[test]
fn who_comes_back_gets_what_it_missed_before_anything_newer() {
    covers("topics.recovery");
    scenario(async {
        let server = server().await;
        let keys = keys_of_both(&server).await;
        let mut publisher = Peer::connect(server.address, &format!("/herald/{}", keys[0])).await;
        // Of eight topics, some are at home on each worker.
        for (number, key) in (0..8).flat_map(|number| keys.iter().map(move |key| (number, key))) {
            let topic = format!("kept/{number}");
            let mut peer = keep(&server, key, &format!("join={topic}")).await;
            let began = envelope(&mut peer).await;
            assert_eq!(began["topic"], topic.as_str());
            assert_eq!(began["recovered"], Value::Null);
            assert_eq!(ask(&mut publisher, &format!("sub {topic} ")).await, "ok");
            publisher.send_text(format!("shout {topic} seen")).await;
            publisher.expect_text("seen").await;
            let seen = envelope(&mut peer).await;
            let first = began["offset"].as_u64().unwrap() + 1;
            let expect = |offset: u64, text: &str| json!({"topic": topic, "epoch": began["epoch"], "offset": offset, "text": text});
            assert_eq!(seen, expect(first, "seen"));
            peer.stream.reset();
            // The publisher is a member too: what it gets has been numbered.
            for text in ["missed", "missed \"too\""] {
                publisher.send_text(format!("shout {topic} {text}")).await;
                publisher.expect_text(text).await;
            }
            let mut again = keep(&server, key, &recover(&topic, &seen)).await;
            publisher.send_text(format!("shout {topic} new")).await;
            publisher.expect_text("new").await;
            assert_eq!(envelope(&mut again).await, expect(first + 1, "missed"));
            assert_eq!(
                envelope(&mut again).await,
                expect(first + 2, "missed \"too\"")
            );
            let mut rest = [envelope(&mut again).await, envelope(&mut again).await];
            // The new one may have come before the recovery, and is part of it then.
            rest.sort_by_key(|envelope| envelope["text"].is_string());
            assert_eq!(rest[0]["recovered"], true);
            assert_eq!(rest[1], expect(first + 3, "new"));
            assert_eq!(ask(&mut publisher, &format!("unsub {topic}")).await, "ok");
            again.leave(1000).await;
        }
    });
}

/// Sends a command that is not answered, and waits until it was carried out.
async fn ask_of(peer: &mut Peer, command: &str) {
    peer.send_text(command).await;
    ask(peer, "name").await;
}

#[test]
fn who_cannot_be_recovered_is_told_so() {
    covers("topics.recovery");
    scenario(async {
        let server = server().await;
        let keys = keys_of_both(&server).await;
        let mut publisher = Peer::connect(server.address, &format!("/herald/{}", keys[0])).await;
        for key in &keys {
            let topic = "kept/a";
            let mut peer = keep(&server, key, &format!("join={topic}")).await;
            let began = envelope(&mut peer).await;
            for number in 0..6 {
                ask_of(&mut publisher, &format!("shout {topic} {number}")).await;
            }
            let mut last = Value::Null;
            for _ in 0..6 {
                last = envelope(&mut peer).await;
            }
            let told = async |seen: &Value| {
                let mut again = keep(&server, key, &recover(topic, seen)).await;
                let told = envelope(&mut again).await;
                again.leave(1000).await;
                told
            };
            let here = |recovered: bool| json!({"topic": topic, "epoch": last["epoch"], "offset": last["offset"], "recovered": recovered});
            assert_eq!(told(&began).await, here(false), "only five are kept");
            assert_eq!(told(&last).await, here(true), "nothing was missed");
            let foreign = json!({"epoch": "0123456789abcdef", "offset": 1});
            assert_eq!(told(&foreign).await, here(false), "another epoch");
            peer.leave(1000).await;
        }
    });
}

#[test]
fn others_get_the_bare_messages_and_topics_without_history_have_no_numbers() {
    covers("topics.recovery");
    scenario(async {
        let server = server().await;
        let keys = keys_of_both(&server).await;
        let mut bare =
            Peer::connect(server.address, &format!("/herald/{}?join=kept/a", keys[0])).await;
        assert_eq!(ask(&mut bare, "sub bytes ").await, "ok");
        let mut keeper = keep(&server, &keys[1], "join=kept/a&join=plain").await;
        envelope(&mut keeper).await;
        assert_eq!(ask(&mut keeper, "count plain").await, "1");
        keeper.send_text("shout kept/a text").await;
        bare.expect_text("text").await;
        assert_eq!(envelope(&mut keeper).await["text"], "text");
        bare.send_text("shout plain bare").await;
        keeper.expect_text("bare").await;
    });
}
