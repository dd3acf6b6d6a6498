//! The figures as one SVG for the README: a panel of bars for each row that
//! matters most, shorter is better. It has no fonts, scripts or links of its
//! own and follows the reader's light or dark scheme.

use std::fmt::Write as _;

use super::figures::{self, Figures};
use super::machine::Machine;
use super::measure::{Results, RowResult};
use super::table;

/// In this order, those that were measured.
const PANELS: [&str; 6] = [
    "echo-125-d1",
    "echo-125-d16",
    "echo-16k-d1",
    "fan-out",
    "connect",
    "idle",
];

const COLUMNS: usize = 2;
const PANEL_WIDTH: f64 = 430.0;
const MARGIN: f64 = 16.0;
const TITLE_HEIGHT: f64 = 44.0;
const LINE_HEIGHT: f64 = 18.0;
const NAME_WIDTH: f64 = 150.0;
const VALUE_WIDTH: f64 = 62.0;
/// A bar is cut at so many times the shortest of the peers, so that the short
/// ones can be told apart.
const BAR_MAX: f64 = 6.0;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:13px}.u,.f{fill:#57606a}\
.n{text-anchor:end}.w{font-weight:600}rect{fill:#afb8c1}.w+rect{fill:#0969da}.b{fill:#fff}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.u,.f{fill:#9198a1}rect{fill:#59636e}\
.w+rect{fill:#4493f8}.b{fill:#0d1117}}";

/// The picture of a run.
pub(super) fn draw(results: &Results, machine: &Machine) -> String {
    let rows: Vec<&RowResult> = PANELS
        .iter()
        .filter_map(|name| results.rows.iter().find(|row| row.row.name == *name))
        .collect();
    let mut body = String::new();
    let mut y = MARGIN;
    for pair in rows.chunks(COLUMNS) {
        let mut height: f64 = 0.0;
        for (column, row) in pair.iter().enumerate() {
            let x = MARGIN + column as f64 * (PANEL_WIDTH + MARGIN);
            height = height.max(panel(row, x, y, &mut body));
        }
        y += height + MARGIN;
    }
    let worth = table::worth(results, machine);
    for line in [machine.line().as_str()]
        .into_iter()
        .chain(worth.split("; "))
    {
        y += LINE_HEIGHT;
        let _ = writeln!(
            body,
            r#"<text class="f" x="{MARGIN}" y="{y}">{}</text>"#,
            escaped(line)
        );
    }
    let width = MARGIN + COLUMNS as f64 * (PANEL_WIDTH + MARGIN);
    let height = y + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>Wharf and other WebSocket servers: shorter is better</title>\n<style>{STYLE}</style>\n\
         <rect class=\"b\" width=\"{width}\" height=\"{height}\"/>\n{body}</svg>\n"
    )
}

/// Draws one row; the answer is its height.
fn panel(row: &RowResult, x: f64, y: f64, body: &mut String) -> f64 {
    let figures = figures::of_row(row);
    let _ = writeln!(
        body,
        "<text class=\"t\" x=\"{x}\" y=\"{}\">{}</text>\n<text class=\"u\" x=\"{x}\" y=\"{}\">{}, less is better</text>",
        y + 14.0,
        escaped(row.row.title),
        y + 31.0,
        escaped(&table::unit(row.row.figure)),
    );
    let scale = scale(&figures);
    for (index, one) in figures.iter().enumerate() {
        let top = y + TITLE_HEIGHT + index as f64 * LINE_HEIGHT;
        let room = PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH;
        let length = (one.value.max(0.0) / scale).min(1.0) * room;
        let class = if one.peer.wharf().is_some() {
            "n w"
        } else {
            "n"
        };
        let bar_x = x + NAME_WIDTH + 8.0;
        let _ = writeln!(
            body,
            "<text class=\"{class}\" x=\"{}\" y=\"{}\">{}</text><rect x=\"{bar_x}\" y=\"{}\" width=\"{length:.1}\" height=\"12\" rx=\"2\"/>\
             <text x=\"{:.1}\" y=\"{}\">{}</text>",
            x + NAME_WIDTH,
            top + 10.0,
            escaped(one.peer.name),
            top,
            bar_x + length + 5.0,
            top + 10.0,
            table::number(one.value),
        );
        if one.value > scale {
            // A gap that says: longer than drawn.
            let gap = bar_x + length - 16.0;
            let _ = writeln!(
                body,
                "<path class=\"b\" d=\"M{gap} {}l5 -16h4l-5 16z\"/>",
                top + 14.0
            );
        }
    }
    TITLE_HEIGHT + figures.len() as f64 * LINE_HEIGHT
}

/// The value of the longest bar.
fn scale(figures: &[Figures]) -> f64 {
    let longest = figures.iter().map(|one| one.value).fold(0.0, f64::max);
    let others = figures.iter().filter(|one| one.peer.is_other());
    let shortest = others.map(|one| one.value).fold(f64::INFINITY, f64::min);
    longest.min(shortest * BAR_MAX).max(f64::MIN_POSITIVE)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::results;
    use super::super::machine::Machine;
    use super::{draw, escaped};

    #[test]
    fn every_server_has_a_bar() {
        let machine = Machine {
            processor: "A & B".to_owned(),
            processors: 2,
            kernel: "6.1".to_owned(),
            load_average: "0.00".to_owned(),
            revision: "abc".to_owned(),
            versions: Vec::new(),
            pins: Some((0, 1)),
        };
        let picture = draw(&results(), &machine);
        assert_eq!(picture.matches("<rect x=").count(), 4);
        assert!(picture.contains("class=\"n w\"") && picture.contains("A &amp; B"));
        assert_eq!(escaped("<a>"), "&lt;a&gt;");
    }
}
