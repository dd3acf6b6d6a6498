//! A conversation that uses what its route was granted. It echoes every message, but for these texts:
//!
//! | text | what it does |
//! | --- | --- |
//! | `join TOPIC` | its session becomes a member; answers `joined` |
//! | `tell TOPIC TEXT` | publishes; answers how many get it |
//! | `set KEY VALUE`, `get KEY`, `add KEY N` | in the bucket `default`; answers what came of it |
//! | `fetch URL` | answers the status and the body |

use wharf_guest::conversation::{Incoming, Session};
use wharf_guest::kv::Bucket;
use wharf_guest::{Topic, http};

async fn converse(session: Session, mut incoming: Incoming) {
    while let Some(message) = incoming.next().await {
        let words: Vec<&str> = message.as_text().unwrap_or("").splitn(3, ' ').collect();
        let answer = match *words {
            ["join", topic] => said(session.subscribe(topic, "scribe").map(|()| "joined")),
            ["tell", topic, text] => said(Topic::new(topic).publish(text)),
            ["set", key, value] => said(bucket().set(key, value).map(|()| "set")),
            ["get", key] => said(
                bucket()
                    .get(key)
                    .map(|value| String::from_utf8(value.unwrap_or_default()).unwrap_or_default()),
            ),
            ["add", key, delta] => said(bucket().increment(key, delta.parse().unwrap_or(0))),
            ["fetch", url] => said(
                http::get(url).map(|response| format!("{} {}", response.status, response.text())),
            ),
            _ => {
                let _ = session.send(&message).await;
                continue;
            }
        };
        let _ = session.send(&answer).await;
    }
}

fn bucket() -> Bucket {
    Bucket::open("default").expect("it was granted")
}

/// What came of it, or why nothing did.
fn said<T: ToString, E: std::fmt::Debug>(outcome: Result<T, E>) -> String {
    match outcome {
        Ok(value) => value.to_string(),
        Err(error) => format!("{error:?}"),
    }
}

wharf_guest::converse!(converse);
