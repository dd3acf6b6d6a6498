//! A well-behaved conversation. It echoes every message, but for these texts:
//!
//! | text | what it does |
//! | --- | --- |
//! | `observe` | this session is told of every other that ends in this instance |
//! | `count` | answers how many messages it has had, this one too |
//! | `pour N BYTES` | sends N messages of that size, then `poured`, without reading |
//! | `flush` | waits until all is written, then answers `flushed` |
//! | `close` | closes with 4001, then reads on to the end |
//! | `return` | answers `bye` and returns |

use wharf_guest::SendError;
use wharf_guest::conversation::{Incoming, Session};

async fn converse(session: Session, mut incoming: Incoming) {
    let greets = session
        .request()
        .is_some_and(|request| request.query.as_deref() == Some("greet"));
    if greets {
        let _ = session.send("hello").await;
    }
    let heard = talk(session, &mut incoming).await;
    let ending = match incoming.ending() {
        Some(ending) => format!(
            "{} {:?} clean={} by {:?}, after {heard}",
            ending.code, ending.reason, ending.clean, ending.initiator
        ),
        None => format!("open, after {heard}"),
    };
    for observer in wharf_guest::Session::with_tag("observer") {
        if observer != *session {
            let _ = observer.try_send(&ending);
        }
    }
}

/// How many messages there were.
async fn talk(session: Session, incoming: &mut Incoming) -> usize {
    let mut heard = 0;
    while let Some(message) = incoming.next().await {
        heard += 1;
        let words: Vec<&str> = message.as_text().unwrap_or("").split(' ').collect();
        let answer = match *words {
            ["observe"] => {
                let _ = session.set_tags(&["observer"]);
                session.send("observing").await
            }
            ["count"] => session.send(&heard.to_string()).await,
            ["pour", count, bytes] => pour(session, number(count), number(bytes)).await,
            ["flush"] => {
                let _ = session.flush().await;
                session.send("flushed").await
            }
            ["close"] => {
                session.close(4001, "closed by its handler");
                Ok(())
            }
            ["return"] => {
                let _ = session.send("bye").await;
                return heard;
            }
            _ => session.send(&message).await,
        };
        // An ended session is told by the stream.
        let _ = answer;
    }
    heard
}

async fn pour(session: Session, count: usize, bytes: usize) -> Result<(), SendError> {
    let text = "x".repeat(bytes);
    for _ in 0..count {
        session.send(&text).await?;
    }
    session.send("poured").await
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or(0)
}

wharf_guest::converse!(converse);
