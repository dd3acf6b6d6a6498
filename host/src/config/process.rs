//! `[process]`: which rights the process gives up after its start.

use super::document::Section;
use crate::rights::Sandbox;

/// Reads the section, if there is one.
pub(super) fn sandbox(top: &Section<'_, '_>) -> Sandbox {
    const RIGHT: &str = "right is \"best-effort\", \"required\" or \"off\"";
    let Some(section) = top.section("process", "[process]") else {
        return Sandbox::default();
    };
    let text = section.text("sandbox", RIGHT);
    let sandbox = text.as_deref().and_then(Sandbox::parse);
    if text.is_some() && sandbox.is_none() {
        section.refuse("sandbox", RIGHT);
    }
    section.finish();
    sandbox.unwrap_or_default()
}
