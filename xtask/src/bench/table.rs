//! The table in the terminal: for each row its servers, the best first, Wharf
//! marked; below, what was left out and what the figures are worth.

use super::figures::{self, Figures};
use super::machine::Machine;
use super::measure::{Results, RowResult};
use super::rows::Figure;

/// Programs beside that use more than this share of a processor make the
/// figures doubtful.
const CALM_MAX: f64 = 0.1;

pub(super) fn print(results: &Results, machine: &Machine) {
    for row in &results.rows {
        println!();
        for line in lines(row) {
            println!("{line}");
        }
    }
    println!("\n{}", machine.line());
    let versions: Vec<String> = machine
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    println!("{}", versions.join(", "));
    println!("{}", worth(results, machine));
    for line in &results.left_out {
        println!("left out: {line}");
    }
    for line in &results.failures {
        println!("FAILED: {line}");
    }
}

/// How the figures came about, and whether to trust them.
pub(super) fn worth(results: &Results, machine: &Machine) -> String {
    let (median, most) = figures::disturbance(results);
    let pinned = match machine.pins {
        Some(_) => "server and load on one processor each",
        None => "server and load NOT kept apart",
    };
    let calm = if median <= CALM_MAX {
        ""
    } else {
        ": NOT a calm machine, trust ratios only"
    };
    format!(
        "medians of {} of {} ms, {pinned}; other programs used {median:.2} processors (median, {most:.2} at most){calm}",
        match results.rounds {
            1 => "one round".to_owned(),
            rounds => format!("{rounds} rounds"),
        },
        results.window.as_millis(),
    )
}

fn lines(row: &RowResult) -> Vec<String> {
    let figure = row.row.figure;
    let unit = unit(figure);
    let mut header = format!(
        "  {:<22}{unit:>17}{:>7}{:>9}{:>9}",
        "",
        "±",
        "× limit",
        to(figure)
    );
    if figure != Figure::Memory {
        let more = format!("{:>12}{:>10}{:>10}", "a second", "p50 µs", "p99 µs");
        header.push_str(&more);
    }
    let mut lines = vec![format!("{}  [{}]", row.row.title, row.row.name), header];
    lines.extend(figures::of_row(row).iter().map(|one| line(one, figure)));
    if lines.len() == 2 {
        lines.push("  nothing was measured".to_owned());
    }
    lines
}

pub(super) fn unit(figure: Figure) -> String {
    match figure {
        Figure::Cpu(each) => format!("CPU µs/{each}"),
        Figure::Memory => "bytes/connection".to_owned(),
        Figure::Rate => "messages/s".to_owned(),
    }
}

fn to(figure: Figure) -> &'static str {
    match figure {
        Figure::Rate => "× one",
        _ => "× best",
    }
}

fn line(one: &Figures, figure: Figure) -> String {
    let mark = if one.peer.wharf().is_some() {
        '›'
    } else {
        ' '
    };
    let ratio =
        |ratio: Option<f64>| ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
    let mut line = format!(
        "{mark} {:<22}{:>17}{:>7}{:>9}{:>9}",
        one.peer.name,
        number(one.value),
        format!("{:.0} %", one.spread * 100.0),
        ratio(one.to_limit),
        ratio(one.to_best),
    );
    if figure != Figure::Memory {
        line.push_str(&format!(
            "{:>12}{:>10}{:>10}",
            number(one.per_second.round()),
            number(one.p50_us),
            number(one.p99_us)
        ));
    }
    line
}

/// Three digits that matter, thousands apart.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (index, digit) in digits.chars().enumerate() {
                let left = digits.len() - index;
                if index > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::results;
    use super::{lines, number};

    #[test]
    fn numbers_are_readable() {
        for (value, text) in [
            (0.2512, "0.25"),
            (12.34, "12.3"),
            (999.4, "999"),
            (133_376.0, "133,376"),
            (-1_234.0, "-1,234"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn wharf_is_marked() {
        let lines = lines(&results().rows[0]);
        assert_eq!(lines.len(), 6);
        assert!(lines[3].starts_with("› wharf-shared"), "{}", lines[3]);
        assert!(lines[3].contains("4.50") && lines[3].contains("0.75"));
        assert!(lines[2].starts_with("  raw-tcp"));
    }
}
