//! A conversation that opens WebSockets. Each text of a client:
//!
//! | text | what it does | answer |
//! | --- | --- | --- |
//! | `open URL` | opens a connection, which becomes a conversation of its own | `open`, or `error …` |
//! | anything else | goes to all connections | none |
//!
//! What a connection says goes to all clients, and how it ended: `ended CODE after N`.

use wharf_guest::client;
use wharf_guest::conversation::{Incoming, Session};

async fn converse(session: Session, incoming: Incoming) {
    if client::all().contains(&*session) {
        listen(incoming).await;
    } else {
        serve(session, incoming).await;
    }
}

async fn serve(session: Session, mut incoming: Incoming) {
    while let Some(text) = incoming.next_text().await {
        let Some(url) = text.strip_prefix("open ") else {
            for connection in client::all() {
                let _ = connection.try_send(&text);
            }
            continue;
        };
        let answer = match client::connect(url) {
            Ok(_) => "open".to_owned(),
            Err(error) => format!("error {error}"),
        };
        let _ = session.send(&answer).await;
    }
}

async fn listen(mut incoming: Incoming) {
    let mut heard = 0;
    while let Some(message) = incoming.next().await {
        heard += 1;
        tell(message.as_text().unwrap_or("bytes"));
        if message.as_text() == Some("enough") {
            // Returning closes it.
            return;
        }
    }
    let code = incoming.ending().map_or(0, |ending| ending.code);
    tell(&format!("ended {code} after {heard}"));
}

fn tell(text: &str) {
    for client in wharf_guest::Session::all() {
        let _ = client.try_send(text);
    }
}

wharf_guest::converse!(converse);
