//! `[tenant.NAME.limits]`: how much of the server one tenant may use.

use super::document::Section;
use crate::budget::TenantLimits;

const MANY: u64 = 100_000_000;
const TIB: u64 = 1 << 40;

/// Reads the table of one tenant.
pub(super) fn limits(section: &Section<'_, '_>) -> TenantLimits {
    let mut limits = TenantLimits::default();
    rates(section, &mut limits);
    quotas(section, &mut limits);
    let to = &mut limits;
    section.some_count("sessions_max", 0..=MANY, &mut to.sessions_max);
    // Less than this would have no room for what one session may have unfinished.
    section.some_size("queued_bytes_max", 64 << 10..=TIB, &mut to.queued_bytes_max);
    section.some_count("instances_max", 0..=1_000_000, &mut to.instances_max);
    section.some_size("memory_bytes_max", 0..=TIB, &mut to.memory_bytes_max);
    section.count("cpu_share", 1..=10_000, &mut to.cpu_share);
    section.some_count("topics_max", 0..=MANY, &mut to.topics_max);
    limits
}

fn rates(section: &Section<'_, '_>, to: &mut TenantLimits) {
    section.some_count(
        "handshakes_per_second_max",
        0..=1_000_000,
        &mut to.handshakes_per_second_max,
    );
    section.some_count(
        "messages_in_per_second_max",
        1..=MANY,
        &mut to.messages_in_per_second_max,
    );
    section.some_size(
        "bytes_in_per_second_max",
        1..=TIB,
        &mut to.bytes_in_per_second_max,
    );
    section.some_count(
        "messages_out_per_second_max",
        1..=MANY,
        &mut to.messages_out_per_second_max,
    );
    section.some_size(
        "bytes_out_per_second_max",
        1..=TIB,
        &mut to.bytes_out_per_second_max,
    );
}

/// What the server has for every tenant, too.
fn quotas(section: &Section<'_, '_>, to: &mut TenantLimits) {
    section.some_size("stored_bytes_max", 0..=TIB, &mut to.stored_bytes_max);
    section.some_count(
        "stored_keys_max",
        0..=1_000_000_000,
        &mut to.stored_keys_max,
    );
    section.some_count(
        "stored_timers_max",
        0..=10_000_000,
        &mut to.stored_timers_max,
    );
    // As in `[log]`.
    section.some_size(
        "log_bytes_per_second_max",
        16 << 10..=1 << 30,
        &mut to.log_bytes_per_second_max,
    );
    section.some_count(
        "log_lines_per_second_max",
        1..=1_000_000,
        &mut to.log_lines_per_second_max,
    );
    section.some_count(
        "outbound_connections_max",
        0..=100_000,
        &mut to.outbound_connections_max,
    );
    section.some_count(
        "outbound_websockets_max",
        0..=1_000_000,
        &mut to.outbound_websockets_max,
    );
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_table_of_limits() {
        let text = "[tenant.acme.limits]\nsessions_max = 10\nbytes_in_per_second_max = \"1MiB\"\n\
            cpu_share = 50\n";
        let config = Config::parse(text, Path::new("wharf.toml")).expect("it is right");
        let expect = TenantLimits {
            sessions_max: Some(10),
            bytes_in_per_second_max: Some(1 << 20),
            cpu_share: 50,
            ..TenantLimits::default()
        };
        assert_eq!(config.tenants["acme"].limits, expect);
    }

    #[test]
    fn what_is_wrong_with_limits_is_said() {
        let text = "[tenant.acme.limits]\nsession_max = 10\ncpu_share = 0\nqueued_bytes_max = 1\n";
        let error = Config::parse(text, Path::new("wharf.toml")).expect_err("it is wrong");
        assert_eq!(
            error.to_string(),
            "wharf.toml:2: [tenant.NAME.limits] has no key session_max: did you mean sessions_max?\n\
             wharf.toml:3: [tenant.NAME.limits] cpu_share = 0: right is a number from 1 to 10000\n\
             wharf.toml:4: [tenant.NAME.limits] queued_bytes_max = 1: right is from 64KiB to 1024GiB"
        );
    }
}
