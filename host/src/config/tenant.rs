//! `[tenant.NAME]`: what holds for a tenant, whichever of its routes and deployments it concerns.
//! Each table below it has a type of its own here.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::document::{Section, Value};
use super::{route, tenant_limits};
use crate::budget::TenantLimits;
use crate::catalog::{self, Grants, InstanceModel, WebSocketSettings};
use crate::guest::GuestLimits;

/// Bytes of a public key of ed25519.
const KEY_BYTES: usize = 32;
const TENANT: &str = "[tenant.NAME]";
const DEPLOY: &str = "[tenant.NAME.deploy]";

/// What holds for a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantSettings {
    /// What it may deploy, and where that is served. `None`: nothing.
    pub deploy: Option<TenantRules>,
    /// How much of the server it may use.
    pub limits: TenantLimits,
}

/// What a tenant's manifests may ask for, and where its deployments are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantRules {
    /// Where its deployments are served. Default: everywhere, at the paths of their manifests.
    pub place: TenantPlace,
    /// What its components may use at most. Default: nothing.
    pub grants: Grants,
    /// The largest limits that a manifest may set. Default: those of a route.
    pub guest: GuestLimits,
    /// The largest message, outbox and compression that a manifest may set. Default: those of a route.
    pub websocket: WebSocketSettings,
    /// The ed25519 keys of which one has to have signed each component. Default: none; components
    /// need no signature.
    pub signers: Vec<[u8; KEY_BYTES]>,
    /// The line of the configuration in which they stand, for messages.
    pub line: Option<usize>,
}

impl TenantRules {
    /// Whether they say the same, wherever they stand.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let of = |rules: &Self| Self {
            line: None,
            ..rules.clone()
        };
        of(self) == of(other)
    }
}

/// The part of the server's hosts and paths that is a tenant's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantPlace {
    /// The hosts; none: every host.
    pub hosts: Vec<String>,
    /// What stands before the paths of its manifests: `/acme`, without a slash at its end; nothing is
    /// all of the hosts.
    pub path_prefix: String,
}

impl TenantPlace {
    /// The path of a route, from the one in its manifest.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.path_prefix)
    }

    /// Whether some host and path are in both. A host's own routes come before those of every host,
    /// so a place with hosts and one without do not meet.
    fn overlaps(&self, other: &Self) -> bool {
        let share_hosts = match (self.hosts.is_empty(), other.hosts.is_empty()) {
            (true, true) => true,
            (false, false) => self.hosts.iter().any(|host| other.hosts.contains(host)),
            _ => false,
        };
        let is_below = |inner: &str, outer: &str| {
            let rest = inner.strip_prefix(outer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        share_hosts
            && (is_below(&self.path_prefix, &other.path_prefix)
                || is_below(&other.path_prefix, &self.path_prefix))
    }
}

/// Reads all tenants that the file names.
pub(super) fn tenants(top: &Section<'_, '_>) -> BTreeMap<String, TenantSettings> {
    let mut tenants = BTreeMap::new();
    let Some(all) = top.section("tenant", TENANT) else {
        return tenants;
    };
    for (name, value) in all.entries() {
        if let Some(settings) = tenant(top, &all, (name, value)) {
            if let Some(owner) = owner(&tenants, &settings) {
                let why = format!(
                    "its deployments would be served where those of the tenant {owner} are: right \
                     are `hosts` or a `path_prefix` of its own"
                );
                all.refuse_hidden(name, value, why);
            }
            tenants.insert(name.to_owned(), settings);
        }
    }
    tenants
}

/// Who is there already.
fn owner<'a>(
    tenants: &'a BTreeMap<String, TenantSettings>,
    settings: &TenantSettings,
) -> Option<&'a str> {
    let own = &settings.deploy.as_ref()?.place;
    let mut others = tenants.iter();
    let place = |settings: &'a TenantSettings| settings.deploy.as_ref().map(|rules| &rules.place);
    let found = others.find(|(_, other)| place(other).is_some_and(|other| other.overlaps(own)));
    found.map(|(name, _)| name.as_str())
}

/// One `[tenant.NAME]`.
fn tenant(
    top: &Section<'_, '_>,
    all: &Section<'_, '_>,
    (name, value): (&str, &Value<'_>),
) -> Option<TenantSettings> {
    if !route::is_tenant_name(name) {
        all.refuse_hidden(name, value, route::TENANT_NAME);
        return None;
    }
    let Some(section) = all.inner(TENANT, value) else {
        all.refuse_hidden(name, value, "right is a table, written [tenant.NAME]");
        return None;
    };
    let mut settings = TenantSettings::default();
    let place = place(&section, name);
    if let Some(deploy) = section.section("deploy", DEPLOY) {
        if !top.has("deployments") {
            const NOWHERE: &str = "the server keeps no deployments: add `[deployments]` with \
                `path = \"deployments\"`";
            section.refuse("deploy", NOWHERE);
        }
        settings.deploy = Some(TenantRules {
            place,
            ..rules(&deploy, top.has("storage"))
        });
        deploy.finish();
    } else if !section.has("deploy") {
        for key in ["hosts", "path_prefix"] {
            if section.has(key) {
                let why = "it says where deployments are served, and the tenant may deploy \
                    nothing: add a table [tenant.NAME.deploy], or leave it out";
                section.refuse(key, why);
            }
        }
    }
    if let Some(limits) = section.section("limits", "[tenant.NAME.limits]") {
        settings.limits = tenant_limits::limits(&limits);
        limits.finish();
    }
    section.finish();
    Some(settings)
}

fn place(section: &Section<'_, '_>, name: &str) -> TenantPlace {
    const HOSTS: &str =
        "right is a list of hosts without scheme, port or path, such as [\"acme.example\"]";
    const PREFIX: &str =
        "right is a path without parameters, such as \"/acme\", or \"/\" for all paths";
    let hosts = section.texts("hosts", HOSTS).unwrap_or_default();
    if !hosts.iter().all(|host| route::is_host(host)) || (hosts.is_empty() && section.has("hosts"))
    {
        section.refuse("hosts", HOSTS);
    }
    let path_prefix = match section.text("path_prefix", PREFIX) {
        Some(prefix) => {
            let is_path = catalog::params_of(&prefix).is_ok_and(|params| params.is_empty());
            let rest = prefix.trim_end_matches('/');
            if !is_path || rest.contains("//") || prefix.len() > rest.len() + 1 {
                section.refuse("path_prefix", PREFIX);
            }
            rest.to_owned()
        }
        None if hosts.is_empty() => format!("/{name}"),
        None => String::new(),
    };
    let mut hosts: Vec<String> = hosts.iter().map(|host| catalog::host_of(host)).collect();
    hosts.sort_unstable();
    hosts.dedup();
    TenantPlace { hosts, path_prefix }
}

/// Reads one `[tenant.NAME.deploy]`.
fn rules(section: &Section<'_, '_>, has_storage: bool) -> TenantRules {
    let mut rules = TenantRules {
        signers: signers(section),
        line: Some(section.line()),
        ..TenantRules::default()
    };
    if let Some(section) = section.section("grants", "[tenant.NAME.deploy.grants]") {
        rules.grants = route::grants(&section);
        if rules.grants.need_storage(&InstanceModel::Shared) && !has_storage {
            route::refuse_storage(&section, &rules.grants);
        }
        section.finish();
    }
    if let Some(section) = section.section("websocket", "[tenant.NAME.deploy.websocket]") {
        route::websocket(&section, &mut rules.websocket);
        section.finish();
    }
    if let Some(section) = section.section("guest", "[tenant.NAME.deploy.guest]") {
        route::guest_limits(&section, &mut rules.guest);
        section.finish();
    }
    rules
}

fn signers(section: &Section<'_, '_>) -> Vec<[u8; KEY_BYTES]> {
    const SIGNERS: &str = "right is a list of ed25519 public keys, each 32 bytes in base64";
    let texts = section.texts("signers", SIGNERS).unwrap_or_default();
    let read = |text: &String| BASE64.decode(text).ok()?.try_into().ok();
    let keys: Option<Vec<[u8; KEY_BYTES]>> = texts.iter().map(read).collect();
    if keys.is_none() {
        section.refuse("signers", SIGNERS);
    }
    keys.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("wharf.toml")).map_err(|error| error.to_string())
    }

    /// Keys of `[deployments]` and of the tenant `acme`, who may deploy; and what is said of them.
    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        let error = parse(text).map(drop).expect_err("the document is wrong");
        let lines = error
            .lines()
            .map(|line| line.strip_prefix("wharf.toml:").unwrap_or(line));
        assert_eq!(lines.collect::<Vec<_>>(), expect, "{text}");
    }

    #[test]
    fn a_tenant_has_a_place_and_rules() {
        let text = "[deployments]\npath = \"d\"\n\
            [tenant.a]\nhosts = [\"B.example\", \"a.example\", \"a.example\"]\n\
            [tenant.a.deploy.grants]\ntopics = true\n\
            [tenant.a.deploy.guest]\nmemory_bytes_max = \"1MiB\"\n\
            [tenant.b.deploy]\n\
            [tenant.c]\npath_prefix = \"/x/y\"\nhosts = \"c.example\"\ndeploy = {}\n\
            [tenant.d]\n";
        let config = parse(text).expect("it is right");
        let place = |name: &str| {
            let rules = config.tenants[name].deploy.as_ref().expect("it may deploy");
            (rules.place.hosts.join(" "), rules.place.path("/z"))
        };
        assert_eq!(place("a"), ("a.example b.example".into(), "/z".into()));
        assert_eq!(place("b"), (String::new(), "/b/z".into()));
        assert_eq!(place("c"), ("c.example".into(), "/x/y/z".into()));
        assert_eq!(config.tenants["d"], TenantSettings::default());
        let rules = config.tenants["a"].deploy.as_ref().expect("it may deploy");
        assert_eq!(rules.guest.memory_bytes_max, 1 << 20);
        assert_eq!(rules.grants.topics.len(), 1);
    }

    #[test]
    fn what_is_wrong_with_a_tenant_is_said() {
        let prefix =
            "right is a path without parameters, such as \"/acme\", or \"/\" for all paths";
        for wrong in ["acme", "//", "/a//b", "/{a}", "", "/a b"] {
            let text = format!(
                "[deployments]\npath = \"d\"\n[tenant.a]\npath_prefix = \"{wrong}\"\ndeploy = {{}}"
            );
            let line = format!("4: [tenant.NAME] path_prefix = \"{wrong}\": {prefix}");
            check(&text, &[&line]);
        }
        check(
            "[deployments]\npath = \"d\"\n[tenant.a]\nhosts = [\"http://a\"]\ndeploy = {}",
            &[
                "4: [tenant.NAME] hosts = [\"http://a\"]: right is a list of hosts without scheme, port or path, such as [\"acme.example\"]",
            ],
        );
        check(
            "[tenant.a]\npath_prefix = \"/x\"\n[tenant.b.deploy]\n[tenant.A]\n[tenant.c]\nlimit = 1",
            &[
                "2: [tenant.NAME] path_prefix = \"/x\": it says where deployments are served, and the tenant may deploy nothing: add a table [tenant.NAME.deploy], or leave it out",
                "3: [tenant.NAME] deploy = [tenant.b.deploy]: the server keeps no deployments: add `[deployments]` with `path = \"deployments\"`",
                "4: [tenant.NAME] A: right is a name of 1 to 63 of the characters a to z, 0 to 9 and `-`, such as \"acme\"",
                "6: [tenant.NAME] has no key limit: did you mean limits?",
            ],
        );
    }

    #[test]
    fn two_tenants_have_two_places() {
        check(
            "[deployments]\npath = \"d\"\n[tenant.a]\npath_prefix = \"/x\"\ndeploy = {}\n\
             [tenant.b]\npath_prefix = \"/x/y\"\ndeploy = {}\n",
            &[
                "6: [tenant.NAME] b: its deployments would be served where those of the tenant a are: right are `hosts` or a `path_prefix` of its own",
            ],
        );
    }

    #[test]
    fn places_meet_where_hosts_and_paths_do() {
        let place = |hosts: &[&str], path_prefix: &str| TenantPlace {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            path_prefix: path_prefix.to_owned(),
        };
        for (first, second, expect) in [
            (place(&[], "/a"), place(&[], "/a"), true),
            (place(&[], "/a"), place(&[], "/a/b"), true),
            (place(&[], ""), place(&[], "/a"), true),
            (place(&[], "/a"), place(&[], "/ab"), false),
            (place(&["a"], ""), place(&["a", "b"], "/b"), true),
            (place(&["a"], "/a"), place(&["a"], "/b"), false),
            (place(&["a"], ""), place(&["b"], ""), false),
            (place(&["a"], "/a"), place(&[], "/a"), false),
        ] {
            assert_eq!(first.overlaps(&second), expect, "{first:?} {second:?}");
            assert_eq!(second.overlaps(&first), expect, "{second:?} {first:?}");
        }
    }
}
