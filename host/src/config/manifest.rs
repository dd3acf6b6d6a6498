//! `wharf.toml` beside a guest: what its author asks for. Read by the code that reads the
//! operator's routes, but it comes from outside: it names no file, no secret and no tenant.

use std::path::Path;

use super::ConfigError;
use super::document::Section;
use super::route::{self, RouteConfig};
use crate::catalog::Rollout;

/// The longest manifest, in bytes.
const MANIFEST_BYTES_MAX: usize = 64 << 10;
/// The section that says which path the handler serves.
const ROUTE: &str = "[route]";

/// A checked manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// What is served, and how. `component` is empty: it was uploaded with the manifest. `tenant` is
    /// whoever deploys it, never what a manifest says.
    pub route: RouteConfig,
    /// What becomes of the sessions of the version before.
    pub rollout: Rollout,
}

impl Manifest {
    /// Checks a text that came from a file of that name.
    ///
    /// # Errors
    /// Every problem that it has, with its line and what would be right.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        if text.len() > MANIFEST_BYTES_MAX {
            let bytes = text.len();
            let line = format!(
                "{}: it has {bytes} bytes; at most {MANIFEST_BYTES_MAX} are allowed",
                file.display()
            );
            return Err(ConfigError { lines: vec![line] });
        }
        let manifest = super::checked(text, file, |_, top, _| read(top))?;
        Ok(manifest.expect("a manifest without problems has a route"))
    }
}

fn read(top: &Section<'_, '_>) -> Option<Manifest> {
    let route = route(top);
    let rollout = rollout(top, "[rollout]").unwrap_or_default();
    Some(Manifest {
        route: route?,
        rollout,
    })
}

fn route(top: &Section<'_, '_>) -> Option<RouteConfig> {
    let Some(section) = top.section("route", ROUTE) else {
        if !top.has("route") {
            top.missing("route", "right is a table [route] with `path = \"/\"`");
        }
        return None;
    };
    for (key, why) in [
        (
            "component",
            "it is uploaded with the manifest: leave it out",
        ),
        ("tenant", "it is whoever deploys: leave it out"),
        (
            "secrets",
            "they are the operator's: a manifest names none of the server's files and variables",
        ),
    ] {
        if section.has(key) {
            section.refuse(key, why);
        }
    }
    // Whether there is a storage, the operator has said when he granted what needs it.
    let route = route::served(&section, true);
    section.finish();
    Some(route)
}

/// `[rollout]`, or `[route.rollout]` in a server's own file; `None` if there is none.
pub(super) fn rollout(above: &Section<'_, '_>, name: &'static str) -> Option<Rollout> {
    const POLICY: &str = "right is \"swap\", \"drain\" or \"restart\"";
    let section = above.section("rollout", name)?;
    let mut rollout = match section.text("policy", POLICY).as_deref() {
        None => Rollout::default(),
        Some("swap") => Rollout::Swap,
        Some("drain") => Rollout::DRAIN,
        Some("restart") => Rollout::RESTART,
        Some(_) => {
            section.refuse("policy", POLICY);
            Rollout::default()
        }
    };
    let (has_deadline, has_jitter) = (section.has("deadline"), section.has("jitter"));
    if let Rollout::Drain { deadline } = &mut rollout {
        section.duration("deadline", deadline);
    } else if has_deadline {
        section.refuse("deadline", "only `policy = \"drain\"` has one");
    }
    if let Rollout::Restart { jitter } = &mut rollout {
        section.duration("jitter", jitter);
    } else if has_jitter {
        section.refuse("jitter", "only `policy = \"restart\"` has one");
    }
    section.finish();
    Some(rollout)
}
