//! `wharf.toml` beside a guest: what its author asks for. Read by the code that reads the
//! operator's routes, but it comes from outside: it names no file, no secret and no tenant.

use std::path::Path;

use super::ConfigError;
use super::document::Section;
use super::route::{self, RouteConfig};
use crate::catalog::{Canary, InstanceModel, Rollout};

/// The longest manifest, in bytes.
const MANIFEST_BYTES_MAX: usize = 64 << 10;
/// The section that says which path the handler serves.
const ROUTE: &str = "[route]";

/// A checked manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// What is served, and how; its `rollout` is the manifest's. `component` is empty: it was uploaded
    /// with the manifest. `tenant` is whoever deploys it, never what a manifest says.
    pub route: RouteConfig,
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
    let asked = top.section("rollout", "[rollout]");
    let (rollout, canary) = rollout(asked, "[rollout.canary]", route.as_ref());
    Some(Manifest {
        route: RouteConfig {
            rollout,
            canary,
            ..route?
        },
    })
}

fn route(top: &Section<'_, '_>) -> Option<RouteConfig> {
    if top.is_list("route") {
        top.refuse(
            "route",
            "a list of tables stands in a server's configuration, for `wharf serve`; right is one \
             [route], without a `component`",
        );
        return None;
    }
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

/// `[rollout]`, or `[route.rollout]` in a server's own file: how the version before gives way, if that
/// is said, and with whom a new one begins, likewise.
pub(super) fn rollout(
    section: Option<Section<'_, '_>>,
    canary: &'static str,
    of: Option<&RouteConfig>,
) -> (Option<Rollout>, Option<Canary>) {
    const POLICY: &str = "right is \"swap\", \"drain\" or \"restart\"";
    let Some(section) = section else {
        return (None, None);
    };
    let (has_deadline, has_jitter) = (section.has("deadline"), section.has("jitter"));
    let mut rollout = match section.text("policy", POLICY).as_deref() {
        None if !has_deadline => None,
        None | Some("drain") => Some(Rollout::DRAIN),
        Some("swap") => Some(Rollout::Swap),
        Some("restart") => Some(Rollout::RESTART),
        Some(_) => {
            section.refuse("policy", POLICY);
            None
        }
    };
    if let Some(Rollout::Drain { deadline }) = &mut rollout {
        section.duration("deadline", deadline);
    } else if has_deadline {
        section.refuse("deadline", "only `policy = \"drain\"` has one");
    }
    if let Some(Rollout::Restart { jitter }) = &mut rollout {
        section.duration("jitter", jitter);
    } else if has_jitter {
        section.refuse("jitter", "only `policy = \"restart\"` has one");
    }
    let instance = of.map_or(InstanceModel::Session, |route| route.instance.clone());
    let canary = super::canary::canary(&section, canary, &instance);
    section.finish();
    (rollout, canary)
}
