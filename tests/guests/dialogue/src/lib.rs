//! The echo as a conversation, and nothing beside it: for the benchmark, and for what an idle one costs.

use wharf_guest::conversation::{Incoming, Session};

async fn converse(session: Session, mut incoming: Incoming) {
    while let Some(message) = incoming.next().await {
        if session.send(&message).await.is_err() {
            return;
        }
    }
}

wharf_guest::converse!(converse);
