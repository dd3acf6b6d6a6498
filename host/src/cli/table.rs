//! Rows for people: columns as wide as they have to be, numbers to the right. Never writes what
//! could drive a terminal.

use std::io::Write;

use anyhow::{Context, Result};

/// A table under construction.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self {
            rows: vec![head.map(str::to_owned).into()],
        }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        let printable = |cell: String| cell.chars().map(visible).collect();
        self.rows.push(cells.map(printable).into());
    }

    /// The lines, without an end of the last.
    pub(super) fn lines(&self) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let is_number = |column: usize| {
            let mut cells = self.rows[1..].iter().map(|row| &row[column]);
            cells.all(|cell| cell.parse::<f64>().is_ok()) && self.rows.len() > 1
        };
        let rights: Vec<bool> = (0..columns).map(is_number).collect();
        let lines = self.rows.iter().map(|row| {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = widths[column];
                match rights[column] {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:width$}"),
                }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            line.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn visible(character: char) -> char {
    if character.is_control() {
        '\u{fffd}'
    } else {
        character
    }
}

/// Writes lines to standard output.
pub(super) fn print(lines: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{lines}")
        .and_then(|()| stdout.flush())
        .context("standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_have_to_be() {
        let mut table = Table::new(["name", "count"]);
        table.row(["a".into(), "1".into()]);
        table.row(["long\x1b[2J".into(), "12345678".into()]);
        let lines = [
            "name         count",
            "a                1",
            "long\u{fffd}[2J  12345678",
        ];
        assert_eq!(table.lines().lines().collect::<Vec<_>>(), lines);
    }
}
