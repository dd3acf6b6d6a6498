//! What a manifest asks for, against what its tenant may have. Pure.

use super::error::DeployError;
use crate::catalog::{Grants, WebSocketSettings};
use crate::config::{Manifest, RouteConfig, TenantPlace, TenantRules};
use crate::guest::GuestLimits;

/// Whether a manifest asks for nothing that its tenant may not have.
pub(crate) fn allow(manifest: &Manifest, rules: &TenantRules) -> Result<(), DeployError> {
    match refused(&manifest.route, rules) {
        refused if refused.is_empty() => Ok(()),
        refused => Err(DeployError::NotAllowed(refused)),
    }
}

/// What is asked for and may not be had, each with what would be right.
pub(super) fn refused(asked: &RouteConfig, rules: &TenantRules) -> Vec<String> {
    let mut refused = Vec::new();
    host(asked, &rules.place, &mut refused);
    grants(&asked.grants, &rules.grants, &mut refused);
    guest(&asked.guest, &rules.guest, &asked.websocket, &mut refused);
    websocket(&asked.websocket, &rules.websocket, &mut refused);
    refused
}

fn host(asked: &RouteConfig, place: &TenantPlace, refused: &mut Vec<String>) {
    let Some(host) = &asked.host else { return };
    if !place.hosts.contains(host) {
        refused.push(match place.hosts.as_slice() {
            [] => {
                format!("[route] host = {host:?}: the tenant has no hosts of its own, leave it out")
            }
            hosts => format!(
                "[route] host = {host:?}: right is one of {}",
                hosts.join(", ")
            ),
        });
    }
}

fn grants(asked: &Grants, allowed: &Grants, refused: &mut Vec<String>) {
    for bucket in &asked.keyvalue {
        if !allowed.keyvalue.contains(bucket) {
            refused.push(format!("[route.grants] keyvalue: the bucket {bucket:?}"));
        }
    }
    for topic in &asked.topics {
        if !allowed.topics.iter().any(|wide| wide.includes(topic)) {
            refused.push(format!("[route.grants] topics: {topic}"));
        }
    }
    for (name, asked, allowed) in [
        ("http", &asked.http, &allowed.http),
        ("websocket", &asked.websocket, &allowed.websocket),
    ] {
        for destination in asked {
            if !allowed.iter().any(|wide| wide.includes(destination)) {
                refused.push(format!("[route.grants] {name}: {destination}"));
            }
        }
    }
    for (name, asked, allowed) in [
        ("timers", asked.timers, allowed.timers),
        ("logging", asked.logging, allowed.logging),
        (
            "private_addresses",
            asked.private_addresses,
            allowed.private_addresses,
        ),
        (
            "clocks = \"precise\"",
            asked.precise_clocks,
            allowed.precise_clocks,
        ),
    ] {
        if asked && !allowed {
            refused.push(format!("[route.grants] {name}"));
        }
    }
}

fn guest(
    asked: &GuestLimits,
    allowed: &GuestLimits,
    websocket: &WebSocketSettings,
    refused: &mut Vec<String>,
) {
    // A handler can always send on what its route lets in, and that is limited below.
    let hostcall_bytes_max = allowed
        .hostcall_bytes_max
        .max(websocket.max_message_bytes.saturating_mul(2));
    let milliseconds = |duration: std::time::Duration| duration.as_millis() as u64;
    for (name, asked, allowed) in [
        (
            "memory_bytes_max",
            asked.memory_bytes_max as u64,
            allowed.memory_bytes_max as u64,
        ),
        (
            "table_elements_max",
            asked.table_elements_max as u64,
            allowed.table_elements_max as u64,
        ),
        (
            "cpu_per_call in ms",
            milliseconds(asked.cpu_per_call),
            milliseconds(allowed.cpu_per_call),
        ),
        (
            "wall_per_call in ms",
            milliseconds(asked.wall_per_call),
            milliseconds(allowed.wall_per_call),
        ),
        (
            "hostcall_bytes_max",
            asked.hostcall_bytes_max as u64,
            hostcall_bytes_max as u64,
        ),
        (
            "handles_max",
            asked.handles_max as u64,
            allowed.handles_max as u64,
        ),
        (
            "component_bytes_max",
            asked.component_bytes_max as u64,
            allowed.component_bytes_max as u64,
        ),
    ] {
        over("[route.guest]", name, asked, allowed, refused);
    }
}

/// What costs memory for each session, and what is the operator's to decide.
fn websocket(asked: &WebSocketSettings, allowed: &WebSocketSettings, refused: &mut Vec<String>) {
    for (name, asked, allowed) in [
        (
            "max_message_bytes",
            asked.max_message_bytes as u64,
            allowed.max_message_bytes as u64,
        ),
        (
            "outbox_bytes_max",
            asked.outbox_bytes_max as u64,
            allowed.outbox_bytes_max as u64,
        ),
    ] {
        over("[route.websocket]", name, asked, allowed, refused);
    }
    for (name, asked, allowed) in [
        (
            "compression_context_takeover",
            asked.compression_context_takeover,
            allowed.compression_context_takeover,
        ),
        ("mask_outgoing", asked.mask_outgoing, allowed.mask_outgoing),
        ("raw", asked.raw, allowed.raw),
    ] {
        if asked && !allowed {
            refused.push(format!("[route.websocket] {name}"));
        }
    }
}

fn over(section: &str, name: &str, asked: u64, allowed: u64, refused: &mut Vec<String>) {
    if asked > allowed {
        refused.push(format!(
            "{section} {name} = {asked}: right is at most {allowed}"
        ));
    }
}
