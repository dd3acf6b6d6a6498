//! `[outbound]`: the limits of connections that handlers open; and the grant of them to a route.

use std::path::Path;

use super::document::Section;
use crate::catalog::Destination;
use crate::outbound::OutboundSettings;

const GRANT: &str =
    "right is a list of hosts with their ports, such as [\"api.example:443\", \"*.example:8080\"]";

/// Reads the section, if there is one. `folder` is the config file's.
pub(super) fn settings(top: &Section<'_, '_>, folder: &Path) -> OutboundSettings {
    const GIB: u64 = 1 << 30;
    const ROOTS: &str = "right is the path of a PEM file with certificates";
    let mut settings = OutboundSettings::default();
    let Some(section) = top.section("outbound", "[outbound]") else {
        return settings;
    };
    section.count(
        "tenant_connections_max",
        0..=100_000,
        &mut settings.tenant_connections_max,
    );
    section.count(
        "tenant_websockets_max",
        0..=1_000_000,
        &mut settings.tenant_websockets_max,
    );
    section.count(
        "instance_websockets_max",
        0..=1_000_000,
        &mut settings.instance_websockets_max,
    );
    section.duration("connect_timeout", &mut settings.connect_timeout);
    section.duration("first_byte_timeout", &mut settings.first_byte_timeout);
    section.duration("total_timeout", &mut settings.total_timeout);
    section.size(
        "request_bytes_max",
        0..=GIB,
        &mut settings.request_bytes_max,
    );
    section.size(
        "response_bytes_max",
        0..=GIB,
        &mut settings.response_bytes_max,
    );
    if let Some(file) = section.text("roots", ROOTS) {
        let file = folder.join(file);
        if !file.is_file() {
            section.refuse("roots", format_args!("there is no file {}", file.display()));
        }
        settings.roots = Some(file);
    }
    section.finish();
    settings
}

/// Reads `http` or `websocket` of `[route.grants]`.
pub(super) fn grant(section: &Section<'_, '_>, key: &'static str) -> Vec<Destination> {
    let mut destinations = Vec::new();
    for text in section.texts(key, GRANT).unwrap_or_default() {
        match Destination::parse(&text) {
            Ok(destination) => destinations.push(destination),
            Err(why) => section.refuse(key, format_args!("{text:?}: {why}")),
        }
    }
    destinations
}
