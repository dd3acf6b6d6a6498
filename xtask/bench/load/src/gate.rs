//! Stops at two moments for the program that started this one, which has
//! something to do to the server there.

use std::io::Write;

use anyhow::ensure;

/// Prints the word and waits for a line on the standard input.
pub(crate) fn stop_at(word: &str) -> anyhow::Result<()> {
    println!("{word}");
    std::io::stdout().flush()?;
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line)?;
    ensure!(read > 0, "nobody is there who says to go on");
    Ok(())
}
