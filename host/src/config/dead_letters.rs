//! `[dead_letters]`: how much is kept of guest calls that failed.

use super::document::Section;
use crate::dead_letters::DeadLetterSettings;

const GIB: u64 = 1 << 30;

/// Reads the section; without it the defaults hold.
pub(super) fn settings(top: &Section<'_, '_>) -> DeadLetterSettings {
    let mut settings = DeadLetterSettings::default();
    let Some(section) = top.section("dead_letters", "[dead_letters]") else {
        return settings;
    };
    section.count(
        "route_letters_max",
        1..=100_000,
        &mut settings.route_letters_max,
    );
    section.size(
        "route_bytes_max",
        64 << 10..=GIB,
        &mut settings.route_bytes_max,
    );
    section.size(
        "tenant_bytes_max",
        64 << 10..=GIB,
        &mut settings.tenant_bytes_max,
    );
    section.size(
        "payload_bytes_max",
        0..=GIB,
        &mut settings.payload_bytes_max,
    );
    section.finish();
    settings
}
