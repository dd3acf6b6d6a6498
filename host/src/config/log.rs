//! `[log]`: how much the handlers of a tenant may log.

use super::document::Section;
use crate::capability::LogLimits;

/// Reads the section, if there is one.
pub(super) fn limits(top: &Section<'_, '_>) -> LogLimits {
    const GIB: u64 = 1 << 30;
    let mut limits = LogLimits::default();
    let Some(section) = top.section("log", "[log]") else {
        return limits;
    };
    // Less than this would have no room for the longest line.
    section.size(
        "tenant_bytes_per_second_max",
        16 << 10..=GIB,
        &mut limits.tenant_bytes_per_second_max,
    );
    section.count(
        "tenant_lines_per_second_max",
        1..=1_000_000,
        &mut limits.tenant_lines_per_second_max,
    );
    section.finish();
    limits
}
