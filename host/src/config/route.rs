//! `[[route]]` and `[[page]]`: a path and what answers on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use wharf_protocol::origin_allowed;

use super::document::Section;
use crate::catalog::{
    self, AfterTrap, Canary, Grants, InstanceModel, OriginRule, Page, Rollout, Settings, Template,
    WebSocketSettings,
};
use crate::guest::GuestLimits;

const GIB: u64 = 1 << 30;
const COMPONENT: &str = "right is the path of a component, such as \"chat.wasm\"";
const INSTANCE: &str = "right is \"session\", \"shared\" or a template such as \"{room}\"";
const ORIGINS: &str = "right is \"any\", \"same\" or a list such as [\"https://a.example\"]";
const SUBPROTOCOLS: &str = "right is a list of names, such as [\"chat.v1\"]";

/// A checked route.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// Its path, such as `/rooms/{room}`.
    pub path: String,
    /// The host it belongs to; `None` is every host.
    pub host: Option<String>,
    /// The component's file.
    pub component: PathBuf,
    /// Which instance serves a session.
    pub instance: InstanceModel,
    /// How long an instance has nothing to do before it sleeps; `None`: it never does.
    pub idle: Option<Duration>,
    /// What becomes of an instance's sessions when its component fails.
    pub after_trap: AfterTrap,
    /// Whether calls that failed leave a dead letter.
    pub dead_letters: bool,
    /// Who may connect from a browser.
    pub origins: OriginRule,
    /// What it speaks.
    pub subprotocols: Vec<String>,
    /// What it asks of its WebSockets.
    pub websocket: WebSocketSettings,
    /// The limits of its component.
    pub guest: GuestLimits,
    /// Whose it is.
    pub tenant: String,
    /// What its component may use beside its sessions.
    pub grants: Grants,
    /// What its component may read of `wasi:config`; `None` is not even an empty list.
    pub settings: Option<Settings>,
    /// How the version before gives way to this one; `None`: see [`crate::Route::rollout`].
    pub rollout: Option<Rollout>,
    /// Who finds a new version first; `None`: everybody does.
    pub canary: Option<Canary>,
}

/// Reads one `[[route]]`; what is wrong is noted in the document. `folder` is the config file's;
/// `has_storage` says whether there is anything to store in.
pub(super) fn route(
    section: &Section<'_, '_>,
    folder: &Path,
    has_storage: bool,
) -> Option<RouteConfig> {
    let mut route = served(section, has_storage);
    route.tenant = tenant(section);
    let asked = section.section("rollout", "[route.rollout]");
    (route.rollout, route.canary) =
        super::manifest::rollout(asked, "[route.rollout.canary]", Some(&route));
    route.component = component(section, folder);
    super::values::secrets(section, folder, &mut route.settings);
    // Without a path there is a problem already.
    (!route.path.is_empty()).then_some(route)
}

/// What a route and a manifest have in common: everything that names nothing of the server's.
pub(super) fn served(section: &Section<'_, '_>, has_storage: bool) -> RouteConfig {
    let (path, params) = path(section).unzip();
    let mut route = RouteConfig {
        path: path.unwrap_or_default(),
        host: host(section),
        component: PathBuf::new(),
        instance: instance(section, params.as_deref()),
        idle: None,
        after_trap: after_trap(section),
        dead_letters: true,
        origins: origins(section),
        subprotocols: subprotocols(section),
        websocket: WebSocketSettings::default(),
        guest: GuestLimits::default(),
        tenant: catalog::DEFAULT_TENANT.to_owned(),
        grants: Grants::default(),
        settings: super::values::settings(section),
        rollout: None,
        canary: None,
    };
    section.duration_or_off("idle", &mut route.idle);
    section.flag("dead_letters", &mut route.dead_letters);
    if let Some(section) = section.section("grants", "[route.grants]") {
        route.grants = grants(&section);
        if route.grants.need_storage(&route.instance) && !has_storage {
            refuse_storage(&section, &route.grants);
        }
        section.finish();
    }
    if let Some(section) = section.section("websocket", "[route.websocket]") {
        websocket(&section, &mut route.websocket);
        section.finish();
    }
    guest(section, &mut route);
    route
}

fn component(section: &Section<'_, '_>, folder: &Path) -> PathBuf {
    let Some(file) = section.text("component", COMPONENT) else {
        if !section.has("component") {
            section.missing("component", COMPONENT);
        }
        return PathBuf::new();
    };
    let file = folder.join(file);
    if !file.is_file() {
        section.refuse(
            "component",
            format_args!(
                "there is no file {}: build the handler first, or name another file",
                file.display()
            ),
        );
    }
    file
}

/// Reads one `[[page]]`.
pub(super) fn page(section: &Section<'_, '_>, folder: &Path) -> Option<(String, Page)> {
    const FILE: &str = "right is the path of a file, such as \"page.html\"";
    let path = path(section);
    let Some(file) = section.text("file", FILE) else {
        if !section.has("file") {
            section.missing("file", FILE);
        }
        return None;
    };
    let (path, params) = path?;
    if !params.is_empty() {
        section.refuse("path", "a page has one path, without parameters");
        return None;
    }
    let file = folder.join(file);
    section.note_file(&file);
    match std::fs::read(&file) {
        Ok(bytes) => Some((
            path,
            Page {
                body: Bytes::from(bytes),
                content_type: content_type(&file),
            },
        )),
        Err(error) => {
            section.refuse(
                "file",
                format_args!("{} cannot be read: {error}", file.display()),
            );
            None
        }
    }
}

/// The value of Content-Type for a file's name.
fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("ico") => "image/x-icon",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

fn path(section: &Section<'_, '_>) -> Option<(String, Vec<String>)> {
    const PATH: &str = "right is a path, such as \"/rooms/{room}\"";
    let Some(path) = section.text("path", PATH) else {
        if !section.has("path") {
            section.missing("path", PATH);
        }
        return None;
    };
    match catalog::params_of(&path) {
        Ok(params) => Some((path, params)),
        Err(error) => {
            section.refuse("path", error);
            None
        }
    }
}

fn host(section: &Section<'_, '_>) -> Option<String> {
    const HOST: &str = "right is a host without scheme, port or path, such as \"a.example\"";
    let host = section.text("host", HOST)?;
    if !is_host(&host) {
        section.refuse("host", HOST);
        return None;
    }
    Some(catalog::host_of(&host))
}

/// A name of a host, or an address in brackets.
pub(super) fn is_host(host: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_address = host.starts_with('[') && host.ends_with(']');
    !host.is_empty() && (is_address || host.bytes().all(fits))
}

/// Without parameters there was no path to check the template against.
fn instance(section: &Section<'_, '_>, params: Option<&[String]>) -> InstanceModel {
    let text = section.text("instance", INSTANCE);
    let Some(params) = params else {
        return InstanceModel::Session;
    };
    match text.as_deref() {
        None | Some("session") => InstanceModel::Session,
        Some("shared") => InstanceModel::Shared,
        Some(text) if !text.contains(['{', '}']) => {
            section.refuse("instance", INSTANCE);
            InstanceModel::Session
        }
        Some(text) => match Template::parse(text, params) {
            Ok(template) => InstanceModel::Keyed(template),
            Err(error) => {
                section.refuse("instance", error);
                InstanceModel::Session
            }
        },
    }
}

/// `after_trap`, and the two keys that only a restart has.
fn after_trap(section: &Section<'_, '_>) -> AfterTrap {
    const AFTER_TRAP: &str = "right is \"close\" or \"restart\"";
    const ONLY_RESTART: &str = "only `after_trap = \"restart\"` has it";
    let (has_max, has_within) = (section.has("traps_max"), section.has("traps_within"));
    let mut after_trap = match section.text("after_trap", AFTER_TRAP).as_deref() {
        None | Some("close") => AfterTrap::Close,
        Some("restart") => AfterTrap::RESTART,
        Some(_) => {
            section.refuse("after_trap", AFTER_TRAP);
            return AfterTrap::Close;
        }
    };
    if let AfterTrap::Restart {
        traps_max,
        traps_within,
    } = &mut after_trap
    {
        section.count("traps_max", 1..=100, traps_max);
        section.duration("traps_within", traps_within);
    } else {
        for (key, is_there) in [("traps_max", has_max), ("traps_within", has_within)] {
            if is_there {
                section.refuse(key, ONLY_RESTART);
            }
        }
    }
    after_trap
}

fn origins(section: &Section<'_, '_>) -> OriginRule {
    let Some(origins) = section.texts("origins", ORIGINS) else {
        return OriginRule::SameOrigin;
    };
    match origins.as_slice() {
        [only] if only == "any" => return OriginRule::Any,
        [only] if only == "same" => return OriginRule::SameOrigin,
        _ => {}
    }
    for origin in &origins {
        // An origin that the rule can read is one that its own list lets in.
        let rule = OriginRule::List(vec![origin.clone()]);
        if !origin_allowed(Some(origin.as_bytes()), "", &rule) {
            let right = "an origin is a scheme, a host and perhaps a port, such as \"https://a.example\", without a path";
            section.refuse("origins", format_args!("{origin:?} is no origin: {right}"));
        }
    }
    OriginRule::List(origins)
}

fn subprotocols(section: &Section<'_, '_>) -> Vec<String> {
    let names = section
        .texts("subprotocols", SUBPROTOCOLS)
        .unwrap_or_default();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    for (place, name) in names.iter().enumerate() {
        if name.is_empty() || !name.bytes().all(fits) {
            section.refuse(
                "subprotocols",
                format_args!("{name:?} is no name that a header can carry"),
            );
        } else if names[..place].contains(name) {
            section.refuse("subprotocols", format_args!("{name:?} stands there twice"));
        }
    }
    names
}

/// What a name of a tenant is.
pub(super) const TENANT_NAME: &str =
    "right is a name of 1 to 63 of the characters a to z, 0 to 9 and `-`, such as \"acme\"";

/// Whose a route is.
pub(super) fn tenant(section: &Section<'_, '_>) -> String {
    let Some(name) = section.text("tenant", TENANT_NAME) else {
        return catalog::DEFAULT_TENANT.to_owned();
    };
    if !is_tenant_name(&name) {
        section.refuse("tenant", TENANT_NAME);
    }
    name
}

/// What may stand in a path of the API without any thought.
pub(super) fn is_tenant_name(name: &str) -> bool {
    const BYTES_MAX: usize = 63;
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

/// A table of grants, of a route or of all that a tenant may have.
pub(super) fn grants(section: &Section<'_, '_>) -> Grants {
    let mut grants = Grants {
        topics: super::topic::grant(section),
        keyvalue: buckets(section),
        http: super::outbound::grant(section, "http"),
        websocket: super::outbound::grant(section, "websocket"),
        precise_clocks: has_precise_clocks(section),
        ..Grants::default()
    };
    section.flag("timers", &mut grants.timers);
    section.flag("logging", &mut grants.logging);
    section.flag("private_addresses", &mut grants.private_addresses);
    grants
}

/// Says that there is nothing to keep what is granted.
pub(super) fn refuse_storage(section: &Section<'_, '_>, grants: &Grants) {
    const NO_STORAGE: &str = "the server has no storage: add `[storage]` with \
        `path = \"wharf.redb\"`, or `path = \"memory\"` for what may be lost at its end";
    let key = match grants.keyvalue.is_empty() {
        true => "timers",
        false => "keyvalue",
    };
    section.refuse(key, NO_STORAGE);
}

/// What its clocks show.
fn has_precise_clocks(section: &Section<'_, '_>) -> bool {
    const CLOCKS: &str = "right is \"coarse\", for whole milliseconds, or \"precise\"";
    match section.text("clocks", CLOCKS).as_deref() {
        Some("precise") => true,
        None | Some("coarse") => false,
        Some(_) => {
            section.refuse("clocks", CLOCKS);
            false
        }
    }
}

/// Names of buckets: as a tenant's.
fn buckets(section: &Section<'_, '_>) -> Vec<String> {
    const BUCKETS: &str = "right is a list of bucket names, such as [\"default\"], each of up to 64 \
        letters, digits, `-`, `_` and `.`";
    let names = section.texts("keyvalue", BUCKETS).unwrap_or_default();
    if !names.iter().all(|name| is_name(name)) {
        section.refuse("keyvalue", BUCKETS);
        return Vec::new();
    }
    names
}

/// Short, and without what would need escaping anywhere.
pub(super) fn is_name(name: &str) -> bool {
    const CHARS_MAX: usize = 64;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= CHARS_MAX && name.bytes().all(fits)
}

pub(super) fn websocket(section: &Section<'_, '_>, settings: &mut WebSocketSettings) {
    section.duration_or_off("ping_interval", &mut settings.ping_interval);
    section.duration("timeout", &mut settings.timeout);
    section.size("max_frame_bytes", 125..=GIB, &mut settings.max_frame_bytes);
    section.size(
        "max_message_bytes",
        1..=GIB,
        &mut settings.max_message_bytes,
    );
    section.count(
        "fragments_max",
        1..=u64::from(u32::MAX),
        &mut settings.fragments_max,
    );
    section.duration("message_duration_max", &mut settings.message_duration_max);
    section.duration("close_timeout", &mut settings.close_timeout);
    section.flag("raw", &mut settings.raw);
    section.flag("mask_outgoing", &mut settings.mask_outgoing);
    section.flag("compression", &mut settings.compression);
    section.size(
        "compress_min_bytes",
        0..=GIB,
        &mut settings.compress_min_bytes,
    );
    section.count("compression_level", 0..=9, &mut settings.compression_level);
    section.flag(
        "compression_context_takeover",
        &mut settings.compression_context_takeover,
    );
    section.count(
        "compression_window_bits",
        9..=15,
        &mut settings.compression_window_bits,
    );
    section.size("outbox_bytes_max", 1..=GIB, &mut settings.outbox_bytes_max);
    section.duration("slow_consumer_timeout", &mut settings.slow_consumer_timeout);
    section.duration("write_timeout", &mut settings.write_timeout);
    if settings.max_frame_bytes < settings.max_message_bytes as u64
        && !section.has("max_frame_bytes")
    {
        settings.max_frame_bytes = settings.max_message_bytes as u64;
    }
}

/// `[route.guest]`; a message that the route lets in is one that its handler can send on.
fn guest(section: &Section<'_, '_>, route: &mut RouteConfig) {
    let message_bytes_max = route.websocket.max_message_bytes;
    let enough = message_bytes_max.saturating_mul(2);
    let limits = &mut route.guest;
    limits.hostcall_bytes_max = limits.hostcall_bytes_max.max(enough);
    let Some(section) = section.section("guest", "[route.guest]") else {
        return;
    };
    guest_limits(&section, limits);
    if limits.hostcall_bytes_max < message_bytes_max {
        section.refuse(
            "hostcall_bytes_max",
            format_args!(
                "the handler could not send a message of max_message_bytes ({message_bytes_max})"
            ),
        );
    }
    section.finish();
}

/// A table of limits, of a route or the largest that a tenant may ask for.
pub(super) fn guest_limits(section: &Section<'_, '_>, limits: &mut GuestLimits) {
    section.size(
        "memory_bytes_max",
        64 << 10..=4 * GIB,
        &mut limits.memory_bytes_max,
    );
    section.count(
        "table_elements_max",
        1..=10_000_000,
        &mut limits.table_elements_max,
    );
    section.duration("cpu_per_call", &mut limits.cpu_per_call);
    section.duration("wall_per_call", &mut limits.wall_per_call);
    section.size(
        "hostcall_bytes_max",
        1 << 10..=4 * GIB,
        &mut limits.hostcall_bytes_max,
    );
    section.count("handles_max", 1..=1_000_000, &mut limits.handles_max);
    section.size(
        "component_bytes_max",
        8..=GIB,
        &mut limits.component_bytes_max,
    );
}
