//! The figures that a run leaves behind: one line `figure: …` for each row of the fault catalogue.
//!
//! Written past the test runner's capture, so that a passing run shows them too.

use std::io::Write as _;
use std::sync::Mutex;

static LINES: Mutex<()> = Mutex::new(());

/// Prints one figure under the id of its row.
pub fn figure(id: &str, text: impl AsRef<str>) {
    let _one_at_a_time = LINES.lock();
    let line = format!("figure: {id}: {}\n", text.as_ref());
    // A closed standard output is no reason for a test to fail.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

/// Bytes as people read them.
pub fn bytes(count: u64) -> String {
    match count {
        0..=10_239 => format!("{count} B"),
        10_240..=10_485_759 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}
