//! A conversation that does one harm, as the first message says:
//!
//! | text | what it does |
//! | --- | --- |
//! | `trap` | panics |
//! | `spin` | loops |
//! | `yield` | loops, and lets others run each time |
//! | `grow` | takes memory without end |
//! | `flood BYTES` | sends without end, awaiting each |
//! | `sends BYTES` | begins sends without end and awaits none; answers nothing |
//! | `deaf` | answers `deaf`, and neither reads nor returns any more |
//! | `mute` | answers `mute`, drops the stream, and does not return |
//! | `stay` | answers `stay`, reads to the end, and does not return |
//! | `push BYTES` | begins 10,000 sends and awaits none; answers how many are refused at once |
//!
//! Anything else it echoes.

use std::future::poll_fn;
use std::hint::black_box;
use std::pin::Pin;
use std::task::Poll;

use wharf_guest::SendError;
use wharf_guest::bindings::conversation::wit_stream;
use wharf_guest::bindings::wharf::websocket::types::MessageResult;
use wharf_guest::conversation::{Incoming, Session};

type Sending = Pin<Box<dyn Future<Output = Result<(), SendError>>>>;

async fn converse(session: Session, mut incoming: Incoming) {
    while let Some(message) = incoming.next().await {
        let text = message.as_text().unwrap_or("");
        match text.split_once(' ').unwrap_or((text, "")) {
            ("trap", _) => panic!("as it was told"),
            ("spin", _) => spin(),
            ("yield", _) => yield_for_ever().await,
            ("grow", _) => grow(),
            ("flood", bytes) => {
                let text = "x".repeat(number(bytes));
                while session.send(&text).await.is_ok() {}
            }
            (deed @ "deaf", _) => {
                let _ = session.send(deed).await;
                wait_for_ever().await;
            }
            (deed @ "mute", _) => {
                let _ = session.send(deed).await;
                drop(incoming);
                return wait_for_ever().await;
            }
            (deed @ "stay", _) => {
                let _ = session.send(deed).await;
                while incoming.next().await.is_some() {}
                wait_for_ever().await;
            }
            ("sends", bytes) => drop(begin(session, number(bytes), usize::MAX).await),
            ("push", bytes) => {
                let (refused, _waiting) = begin(session, number(bytes), 10_000).await;
                let _ = session.send(&format!("{refused} refused")).await;
            }
            _ => drop(session.send(&message).await),
        }
    }
}

fn spin() -> ! {
    let mut count = 0_u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

async fn yield_for_ever() {
    poll_fn(|context| {
        context.waker().wake_by_ref();
        Poll::<()>::Pending
    })
    .await;
}

/// Waits for what nobody will write. A task that waits for nothing at all panics.
async fn wait_for_ever() {
    let (writer, mut reader) = wit_stream::new::<MessageResult>();
    let _ = reader.read(Vec::with_capacity(1)).await;
    drop(writer);
}

fn grow() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Begins sends; how many were refused at once, and those that wait.
async fn begin(session: Session, bytes: usize, count: usize) -> (usize, Vec<Sending>) {
    let mut waiting: Vec<Sending> = Vec::new();
    let mut refused = 0;
    for _ in 0..count {
        let text = "x".repeat(bytes);
        let mut sending: Sending = Box::pin(async move { session.send(&text).await });
        match poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => refused += 1,
            Poll::Pending => waiting.push(sending),
        }
    }
    (refused, waiting)
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or(0)
}

wharf_guest::converse!(converse);
