//! A guessing game, as a conversation: the function runs once for each session, and what it knows
//! stands in its variables, across every wait for the player's next words.
//!
//! | from the server | from the player |
//! | --- | --- |
//! | `What is your name?` | `Ada` |
//! | `Ada, guess my number: 1 to 100.` | `50` |
//! | `Higher.` or `Lower.` | `75` |
//! | `Right, Ada, in 2 guesses. Once more?` | `yes`, or anything else to end it |

use std::cmp::Ordering;

use wharf_guest::SendError;
use wharf_guest::conversation::{Incoming, Session};

async fn converse(session: Session, mut incoming: Incoming) {
    // The player has left, or the session is closing: there is nobody to answer.
    let _ = play(session, &mut incoming).await;
}

async fn play(session: Session, incoming: &mut Incoming) -> Result<(), SendError> {
    session.send("What is your name?").await?;
    let name = said(incoming).await?;
    for round in 0.. {
        let number = choose(session, round);
        session
            .send(&format!("{name}, guess my number: 1 to 100."))
            .await?;
        let mut guesses = 0;
        loop {
            let Ok(guess) = said(incoming).await?.parse::<u64>() else {
                session.send("That is no number.").await?;
                continue;
            };
            guesses += 1;
            match number.cmp(&guess) {
                Ordering::Greater => session.send("Higher.").await?,
                Ordering::Less => session.send("Lower.").await?,
                Ordering::Equal => break,
            }
        }
        session
            .send(&format!("Right, {name}, in {guesses} guesses. Once more?"))
            .await?;
        if said(incoming).await? != "yes" {
            break;
        }
    }
    // Returning closes the session with 1000.
    session.send(&format!("Good bye, {name}.")).await
}

async fn said(incoming: &mut Incoming) -> Result<String, SendError> {
    let text = incoming.next_text().await.ok_or(SendError::Closed)?;
    Ok(text.trim().to_owned())
}

/// Another number for each session and round; no player sees more of it than a game needs.
fn choose(session: Session, round: u64) -> u64 {
    let seed = (session.id() + 1) * 7919 + round * 104_729;
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 100 + 1
}

wharf_guest::converse!(converse);
