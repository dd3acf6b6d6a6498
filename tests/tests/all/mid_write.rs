//! Clients that are killed while the server writes to them: not a byte of theirs reaches another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use wharf_tests::deadline::{scenario, step};
use wharf_tests::figure::{bytes, figure};
use wharf_tests::frame::Frame;
use wharf_tests::http::Head;
use wharf_tests::peer::Peer;
use wharf_tests::server::start;
use wharf_tests::site::{Mount, Site};
use wharf_tests::stream::{Dial, Stream};

use crate::promises::covers;

const SURVIVORS: usize = 16;
const ROUNDS: usize = 6;
const VICTIMS_A_ROUND: usize = 12;
const MASK: [u8; 4] = [1, 2, 3, 4];
/// Short ones are corked, long ones are read and written where they lie.
const SIZES: [usize; 6] = [125, 3_000, 9_000, 16_384, 70_000, 300_000];
/// More than sockets hold between a server that writes and a client that does not read.
const ENOUGH_BYTES: u64 = 12 << 20;
/// What only the killed ones send.
const OF_VICTIMS: u8 = 0xee;

#[test]
fn no_byte_of_a_killed_client_reaches_another() {
    covers("load.mid-write");
    scenario(async {
        let own = Mount::new("/own", "echo");
        let server = start(&Site::echo().mount(own).workers(2)).await;
        let over = Arc::new(AtomicBool::new(false));
        let mut survivors = JoinSet::new();
        for number in 0..SURVIVORS {
            survivors.spawn(compare(server.address, number, over.clone()));
        }
        let (mut killed, mut kept) = (0, 0);
        for round in 0..ROUNDS {
            let mut victims = JoinSet::new();
            for number in 0..VICTIMS_A_ROUND {
                let size = SIZES[(round + number) % SIZES.len()];
                victims.spawn(die(server.address, number, size));
            }
            while let Some(unread) = victims.join_next().await {
                killed += 1;
                kept += unread.unwrap();
            }
        }
        over.store(true, Ordering::Relaxed);
        let (mut messages, mut compared) = (0, 0);
        while let Some(done) = survivors.join_next().await {
            let (count, bytes) = done.unwrap();
            messages += count;
            compared += bytes;
        }
        figure(
            "load.mid-write",
            format!(
                "{killed} clients killed with {} that they had not read; 0 foreign bytes in {} of {messages} messages",
                bytes(kept),
                bytes(compared)
            ),
        );
        assert!(messages >= SURVIVORS, "each has had its echo");
    });
}

/// Compares each byte of its echoes until it is told to stop; messages and bytes.
async fn compare(address: SocketAddr, number: usize, over: Arc<AtomicBool>) -> (usize, u64) {
    let mut peer = Peer::connect(address, "/echo").await;
    let (mut count, mut compared) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let size = SIZES[(number + count) % SIZES.len()];
        let salt = number * 31 + count * 7;
        let payload: Vec<u8> = (0..size).map(|at| ((at + salt) % 200) as u8).collect();
        peer.send_binary(payload.clone()).await;
        let frame = peer.message().await;
        let foreign = frame.payload.iter().position(|byte| *byte == OF_VICTIMS);
        assert_eq!(foreign, None, "survivor {number}, message {count}");
        assert!(
            frame.payload == payload,
            "survivor {number}, message {count}"
        );
        count += 1;
        compared += size as u64;
    }
    peer.leave(1000).await;
    (count, compared)
}

/// Sends without reading until the server takes no more, because it cannot write, or for long enough
/// if it drops what it cannot write; then is gone. How many bytes it has sent.
async fn die(address: SocketAddr, number: usize, size: usize) -> u64 {
    let target = if number.is_multiple_of(2) {
        "/echo"
    } else {
        "/own"
    };
    let stream = Stream::dial(address, Dial::small_receive_buffer()).await;
    let mut peer = Peer::open(stream, &Head::upgrade(target)).await;
    let frame = Frame::binary(vec![OF_VICTIMS; size]).encode(Some(MASK));
    let frames = frame.repeat((1 << 16) / frame.len() + 1);
    let (mut sent, mut at, mut refused) = (0, 0, 0);
    while refused < 10 && sent < ENOUGH_BYTES {
        let written = step("send", async { peer.stream.send_now(&frames[at..]) }).await;
        // One that answers nobody may be cut by the server first.
        let Ok(written) = written else { break };
        refused = if written == 0 { refused + 1 } else { 0 };
        at = (at + written) % frames.len();
        sent += written as u64;
        if written == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    peer.stream.reset();
    sent
}
