//! What `wharf check` says about a component: which world it is, what it imports and exports, and
//! whether it would run. Compiles it and runs none of its code.

use std::fmt;
use std::time::{Duration, Instant};

use super::engine::{Engine, EngineConfig};
use super::examine::{Import, ProgramError, World, examine};
use super::limits::GuestLimits;
use super::program::link;
use crate::capability::{Capability, PACKAGE, VERSION};

/// What was found out about a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Size of its file.
    pub bytes: usize,
    /// What validating and compiling it took.
    pub compile_time: Duration,
    /// The world that it implements, if its exports are as they should be.
    pub world: Option<World>,
    /// Its imports, each granted or refused.
    pub imports: Vec<Import>,
    /// The names of its exports.
    pub exports: Vec<String>,
    /// Why it would not run.
    pub problem: Option<ProgramError>,
}

impl Report {
    /// Whether the server would serve it.
    #[must_use]
    pub fn would_run(&self) -> bool {
        self.problem.is_none()
    }
}

/// Looks at a component under the given limits.
///
/// # Errors
///
/// What could not even be compiled has nothing to report.
pub fn inspect(bytes: &[u8], limits: &GuestLimits) -> Result<Report, ProgramError> {
    let engine = Engine::new(&EngineConfig { instances_max: 1 })
        .map_err(|error| ProgramError::Invalid(error.to_string()))?;
    let started = Instant::now();
    let examined = examine(&engine, bytes, limits)?;
    let compile_time = started.elapsed();
    let world = examined
        .exports
        .as_ref()
        .ok()
        .map(super::examine::Exports::world);
    let problem = examined.check().and_then(|_| link(&examined)).err();
    Ok(Report {
        bytes: bytes.len(),
        compile_time,
        world,
        imports: examined.imports,
        exports: examined.export_names,
        problem,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.world {
            Some(world) => writeln!(formatter, "world    {world} of {PACKAGE}@{VERSION}")?,
            None => writeln!(formatter, "world    none that this host serves")?,
        }
        let milliseconds = self.compile_time.as_millis();
        writeln!(
            formatter,
            "size     {} bytes, compiled in {milliseconds} ms",
            self.bytes
        )?;
        let width = self
            .imports
            .iter()
            .map(|import| import.name.len())
            .max()
            .unwrap_or(0);
        column(
            formatter,
            "imports",
            self.imports.iter().map(|import| {
                let verdict = match &import.verdict {
                    Ok(Capability::Types) => "granted: types only".to_owned(),
                    Ok(Capability::Sessions) => "granted: its own sessions".to_owned(),
                    Ok(Capability::Topics) => "if its route was granted topics".to_owned(),
                    Ok(Capability::Wasi) => "granted: WASI with nothing behind it".to_owned(),
                    Ok(Capability::KeyValue) => {
                        "with the grant keyvalue: keys and values in buckets".to_owned()
                    }
                    Ok(Capability::Logging) => {
                        "with the grant logging: messages to its tenant's log".to_owned()
                    }
                    Ok(Capability::Settings) => {
                        "with [route.config]: its route's settings and secrets".to_owned()
                    }
                    Ok(Capability::Http) => {
                        "with the grant http: requests to the hosts that it names".to_owned()
                    }
                    Ok(Capability::Client) => {
                        "with the grant websocket: WebSockets to the hosts that it names".to_owned()
                    }
                    Ok(Capability::Timers) => "with the grant timers: its own timers".to_owned(),
                    Ok(Capability::Conversation) => "granted: its own sessions, awaited".to_owned(),
                    Ok(Capability::Control) => {
                        "on a raw route: control frames to its own sessions".to_owned()
                    }
                    Err(reason) => format!("REFUSED: {reason}"),
                };
                format!("{:width$}  {verdict}", import.name)
            }),
        )?;
        column(formatter, "exports", self.exports.iter().cloned())?;
        match &self.problem {
            None => write!(formatter, "verdict  it would run"),
            Some(problem) => write!(formatter, "verdict  it would not run: {problem}"),
        }
    }
}

fn column(
    formatter: &mut fmt::Formatter<'_>,
    title: &str,
    lines: impl ExactSizeIterator<Item = String>,
) -> fmt::Result {
    if lines.len() == 0 {
        return writeln!(formatter, "{title:<9}nothing");
    }
    for (index, line) in lines.enumerate() {
        let title = if index == 0 { title } else { "" };
        writeln!(formatter, "{title:<9}{line}")?;
    }
    Ok(())
}
