//! `cargo xtask bench`: Wharf against raw TCP and other WebSocket servers, on
//! this machine, in one run. It builds everything in release, starts each
//! server in turn on one processor, loads it from another, and prints one
//! table. What could not be built or started is said. It accepts no figure of
//! an echo whose bytes were not compared.

mod build;
mod figures;
pub(crate) mod instructions;
mod json;
mod machine;
mod measure;
mod peers;
mod picture;
mod rows;
mod server;
mod table;
mod wharf;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::outcome::Outcome;
use machine::Machine;
use measure::Plan;
use peers::{PEERS, Peer};
use rows::{ROWS, Row};

/// What `cargo xtask bench` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the rows that matter most; ends within three minutes, building
    /// not counted
    #[arg(long)]
    quick: bool,
    /// Only these servers
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    only: Vec<String>,
    /// Only these rows
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    rows: Vec<String>,
    /// Rounds of all rows and servers, of which the median is taken
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Milliseconds that are measured each time
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(20..=60_000))]
    window_ms: Option<u64>,
    /// Write all figures, of each round too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the most important rows, as in docs/bench.svg
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Take what earlier runs have built
    #[arg(long)]
    no_build: bool,
    /// List servers and rows, and run nothing
    #[arg(long)]
    list: bool,
}

/// Measures, prints, writes. Servers that are missing are counted as not run.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<Outcome> {
    if arguments.list {
        list();
        return Ok(Outcome::default());
    }
    let rows = select(
        &ROWS,
        &arguments.rows,
        "row",
        |row| row.name,
        |row| !arguments.quick || row.quick,
    )?;
    let chosen = select(
        &PEERS,
        &arguments.only,
        "server",
        |peer| peer.name,
        |peer| !peer.on_request,
    )?;
    let built = build::build(root, &chosen, !arguments.no_build)?;
    let machine = Machine::look(root)?;
    let plan = Plan::new(arguments.quick, arguments.rounds, arguments.window_ms);
    let results = measure::measure(&built, &machine, &plan, &rows)?;
    table::print(&results, &machine);
    if let Some(file) = &arguments.json {
        write(file, &json::text(&results, &machine)?)?;
    }
    if let Some(file) = &arguments.svg {
        write(file, &picture::draw(&results, &machine))?;
    }
    Ok(Outcome {
        passed: results.measured(),
        failed: results.failures.len(),
        not_run: results.left_out.clone(),
    })
}

/// Those that were named; those that belong to a run by themselves if none was.
fn select<T>(
    all: &'static [T],
    names: &[String],
    kind: &str,
    name: impl Fn(&T) -> &'static str,
    by_itself: impl Fn(&T) -> bool,
) -> anyhow::Result<Vec<&'static T>> {
    for wanted in names {
        if !all.iter().any(|one| name(one) == wanted) {
            let known: Vec<&str> = all.iter().map(name).collect();
            bail!(
                "there is no {kind} `{wanted}`; there are: {}",
                known.join(", ")
            );
        }
    }
    let wanted = |one: &&T| {
        if names.is_empty() {
            by_itself(one)
        } else {
            names.iter().any(|wanted| wanted == name(one))
        }
    };
    Ok(all.iter().filter(wanted).collect())
}

fn list() {
    println!("servers (* only if named by --only):");
    for Peer {
        name,
        about,
        on_request,
        ..
    } in &PEERS
    {
        println!(
            "  {name:<26}{} {about}",
            if *on_request { "*" } else { " " }
        );
    }
    println!("rows (+ also with --quick):");
    for Row {
        name, title, quick, ..
    } in &ROWS
    {
        println!("  {name:<26}{} {title}", if *quick { "+" } else { " " });
    }
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
    }
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    println!("written: {}", file.display());
    Ok(())
}
