//! Deploys in a folder of their own: what is refused and why, what is kept, what can be taken back.
//! The components are compiled in this process; what a process of its own does is tried with the
//! real command, in `tests/`.

mod damage;
mod model;

use std::path::PathBuf;

use super::*;
use crate::catalog::{Destination, TopicPattern};
use crate::config::{DeploymentSettings, TenantRules};
use crate::digest::Digest;
use crate::guest::ProgramError;
use crate::guest::tests::component;
use crate::id::random_u64;

/// The least that a manifest says.
const PLAIN: &str = "[route]\npath = \"/\"\n";

/// A folder of a test's own, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let name = format!("wharf-control-{:016x}", random_u64());
        Self(std::env::temp_dir().join(name))
    }

    /// Settings for two tenants, one of whom may have nothing but sessions.
    fn settings(&self) -> DeploymentSettings {
        let mut settings = DeploymentSettings::new(&self.0);
        settings.versions_kept = 3;
        settings.tenant_deployments_max = 2;
        for tenant in ["acme", "zebra"] {
            let rules = TenantRules::default();
            settings.tenants.insert(tenant.to_owned(), rules);
        }
        settings
    }

    fn open(&self) -> Registry {
        Registry::open(self.settings()).expect("it opens")
    }

    fn with(&self, change: impl FnOnce(&mut TenantRules)) -> Registry {
        let mut settings = self.settings();
        change(settings.tenants.get_mut("acme").expect("it is there"));
        Registry::open(settings).expect("it opens")
    }

    /// The files in a part of the folder.
    fn files(&self, part: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.join(part)).expect("the folder is there");
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        files
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A component that differs from the others by a number.
fn numbered(number: u32) -> Vec<u8> {
    component(&format!(
        "(func (export \"number\") (result i32) (i32.const {number}))"
    ))
}

fn upload<'a>(name: &'a str, component: &'a [u8], manifest: &'a str) -> Upload<'a> {
    Upload {
        tenant: "acme",
        name,
        component,
        manifest,
        signature: None,
        by: "ann",
    }
}

fn deploy(
    registry: &Registry,
    name: &str,
    component: &[u8],
    expected: u64,
) -> Result<Published, DeployError> {
    registry.deploy(&upload(name, component, PLAIN), expected, &mut |_| {})
}

/// What a manifest and a component are answered.
#[track_caller]
fn refused(registry: &Registry, component: &[u8], manifest: &str) -> DeployError {
    let upload = upload("chat", component, manifest);
    let outcome = registry.deploy(&upload, 0, &mut |_| {});
    let error = outcome.map(drop).expect_err(manifest);
    assert_eq!(
        registry.generation("acme", "chat"),
        Ok(0),
        "nothing changed"
    );
    error
}

#[test]
fn a_deploy_goes_up_step_by_step_and_is_there_after_a_restart() {
    let place = Place::new();
    let registry = place.open();
    let first = numbered(1);
    let mut steps = Vec::new();
    let published = registry
        .deploy(&upload("chat", &first, PLAIN), 0, &mut |step| {
            steps.push(step);
        })
        .expect("it is deployed");
    assert!(steps.is_sorted(), "{steps:?}");
    assert_eq!(steps.first(), Some(&Step::ArtifactWritten));
    assert_eq!(steps.last(), Some(&Step::Collected));
    assert_eq!(steps.len(), 10);
    let deployment = published.deployment;
    assert_eq!(deployment.generation, 1);
    assert_eq!(deployment.current.artifact, Digest::of(&first));
    assert_eq!(deployment.current.by, "ann");
    assert_eq!(deployment.previous, None);
    assert_eq!(published.manifest.route.tenant, "acme");
    assert_eq!(published.manifest.route.rollout, None, "the route's rule");
    drop(registry);

    let registry = place.open();
    assert_eq!(registry.get("acme", "chat"), Ok(deployment.clone()));
    assert_eq!(registry.list(None), Ok(vec![deployment.clone()]));
    let current = registry.current("acme", "chat").expect("it is sound");
    assert_eq!(current.deployment, deployment);
    assert_eq!(registry.artifact(&Digest::of(&first)), Ok(first));
    assert!(place.files("drafts").is_empty());
}

#[test]
fn generations_only_rise_and_going_back_is_a_verb_of_its_own() {
    let place = Place::new();
    let registry = place.open();
    let (first, second) = (numbered(1), numbered(2));
    deploy(&registry, "chat", &first, 0).expect("the first");
    deploy(&registry, "chat", &second, 1).expect("the second");
    for stale in [0, 1, 3] {
        let error = deploy(&registry, "chat", &first, stale).expect_err("a replay");
        let right = DeployError::Conflict {
            expected: stale,
            found: 2,
        };
        assert_eq!(error, right);
    }
    let back = registry
        .roll_back("acme", "chat", 2, "bob")
        .expect("there is a previous one");
    assert_eq!(back.deployment.generation, 3);
    assert_eq!(back.deployment.current.number, 1);
    let previous = back.deployment.previous.as_ref();
    assert_eq!(previous.map(|version| version.number), Some(2));
    let again = registry.roll_back("acme", "chat", 2, "bob");
    assert!(matches!(again, Err(DeployError::Conflict { found: 3, .. })));
    deploy(&registry, "chat", &second, 3).expect("deployed again");
    let history = registry.history("acme", "chat").expect("it is there");
    let lines: Vec<_> = history
        .iter()
        .map(|entry| (entry.generation, entry.change, entry.version, &*entry.by))
        .collect();
    let expect = [
        (1, Change::Deployed, Some(1), "ann"),
        (2, Change::Deployed, Some(2), "ann"),
        (3, Change::RolledBack, Some(1), "bob"),
        (4, Change::Deployed, Some(4), "ann"),
    ];
    assert_eq!(lines, expect);
}

#[test]
fn what_becomes_of_a_version_on_trial_is_one_change_each() {
    let place = Place::new();
    let registry = place.open();
    for (expected, number) in [(0, 1), (1, 2)] {
        deploy(&registry, "chat", &numbered(number), expected).expect("deployed");
    }
    assert_eq!(registry.promote("acme", "chat", "ann"), Ok(3));
    deploy(&registry, "chat", &numbered(3), 3).expect("the third");
    assert_eq!(registry.take_back("acme", "chat", "a rule"), Ok(5));
    // One that takes its place leads back to what was there before it.
    deploy(&registry, "chat", &numbered(4), 5).expect("the fourth");
    let (component, next) = (numbered(5), "in its place");
    let upload = upload("chat", &component, PLAIN);
    let prepare = || registry.prepare(&upload, &mut |_| {}).expect("it is sound");
    let late = registry.publish(prepare().superseding(next), 5, &mut |_| {});
    assert!(matches!(late, Err(DeployError::Conflict { found: 6, .. })));
    let published = registry.publish(prepare().superseding(next), 6, &mut |_| {});
    let deployment = published.expect("it is the current one").deployment;
    assert_eq!((deployment.generation, deployment.current.number), (8, 8));
    assert_eq!(deployment.previous.map(|version| version.number), Some(2));
    let history = registry.history("acme", "chat").expect("it is there");
    let lines: Vec<_> = history.iter().skip(2).collect();
    let lines = lines
        .iter()
        .map(|entry| (entry.change, entry.version, &*entry.by));
    let expect = [
        (Change::Promoted, Some(2), "ann"),
        (Change::Deployed, Some(4), "ann"),
        (Change::RolledBack, Some(2), "a rule"),
        (Change::Deployed, Some(6), "ann"),
        (Change::RolledBack, Some(2), next),
        (Change::Deployed, Some(8), "ann"),
    ];
    assert_eq!(lines.collect::<Vec<_>>(), expect);
    let nothing = registry.promote("acme", "other", "ann");
    assert_eq!(nothing, Err(DeployError::NotFound));
}

#[test]
fn what_was_deleted_keeps_its_generation() {
    let place = Place::new();
    let registry = place.open();
    let first = numbered(1);
    deploy(&registry, "chat", &first, 0).expect("deployed");
    assert!(matches!(
        registry.roll_back("acme", "chat", 1, "ann"),
        Err(DeployError::NoPrevious)
    ));
    assert_eq!(registry.delete("acme", "chat", 1, "ann"), Ok(2));
    assert_eq!(registry.get("acme", "chat"), Err(DeployError::NotFound));
    assert_eq!(registry.list(Some("acme")), Ok(Vec::new()));
    assert_eq!(
        registry.delete("acme", "chat", 2, "ann"),
        Err(DeployError::NotFound)
    );
    assert!(place.files("artifacts").is_empty());
    let replay = deploy(&registry, "chat", &first, 0).map(drop);
    let found = DeployError::Conflict {
        expected: 0,
        found: 2,
    };
    assert_eq!(replay, Err(found));
    let anew = deploy(&registry, "chat", &first, 2).expect("deployed anew");
    assert_eq!(anew.deployment.generation, 3);
    assert_eq!(anew.deployment.previous, None);
    let history = registry.history("acme", "chat").expect("it is kept");
    assert_eq!(history.len(), 3);
}

#[test]
fn of_two_who_deploy_at_once_one_is_told() {
    let place = Place::new();
    let registry = place.open();
    let (first, second) = (numbered(1), numbered(2));
    let prepare = |component: &[u8]| {
        registry
            .prepare(&upload("chat", component, PLAIN), &mut |_| {})
            .expect("it is sound")
    };
    let (a, b) = (prepare(&first), prepare(&second));
    assert_eq!(registry.generation("acme", "chat"), Ok(0));
    registry.publish(a, 0, &mut |_| {}).expect("the first");
    let error = registry.publish(b, 0, &mut |_| {}).expect_err("too late");
    assert!(matches!(error, DeployError::Conflict { found: 1, .. }));
}

#[test]
fn tenants_do_not_see_each_other() {
    let place = Place::new();
    let registry = place.open();
    let first = numbered(1);
    deploy(&registry, "chat", &first, 0).expect("deployed");
    assert_eq!(registry.get("zebra", "chat"), Err(DeployError::NotFound));
    let foreign = registry.delete("zebra", "chat", 1, "eve");
    assert!(foreign.is_err(), "{foreign:?}");
    let mut own = upload("chat", &first, PLAIN);
    own.tenant = "zebra";
    let published = registry.deploy(&own, 0, &mut |_| {}).expect("its own");
    assert_eq!(published.deployment.generation, 1);
    assert_eq!(registry.list(None).map(|all| all.len()), Ok(2));
    registry.delete("zebra", "chat", 1, "eve").expect("its own");
    registry.current("acme", "chat").expect("it is untouched");
    own.tenant = "nobody";
    let unknown = registry.deploy(&own, 0, &mut |_| {}).map(drop);
    assert_eq!(
        unknown,
        Err(DeployError::UnknownTenant("nobody".to_owned()))
    );
}

#[test]
fn only_the_last_versions_are_kept_and_nothing_that_is_in_use() {
    let place = Place::new();
    let registry = place.open();
    for number in 0..3 {
        let component = numbered(number);
        deploy(&registry, "chat", &component, number.into()).expect("deployed");
    }
    registry.roll_back("acme", "chat", 3, "ann").expect("back");
    let shared = numbered(0);
    deploy(&registry, "other", &shared, 0).expect("the same component elsewhere");
    for number in 4..7 {
        let component = numbered(number);
        deploy(&registry, "chat", &component, number.into()).expect("deployed");
    }
    let versions = registry.versions("acme", "chat").expect("they are there");
    let numbers: Vec<u64> = versions.iter().map(|version| version.number).collect();
    assert_eq!(numbers, [5, 6, 7]);
    assert_eq!(
        place.files("artifacts").len(),
        4,
        "three and the shared one"
    );
    assert_eq!(place.files("compiled").len(), 4);
    registry
        .current("acme", "other")
        .expect("its component is kept");
    let third = deploy(&registry, "third", &shared, 0).map(drop);
    assert_eq!(third, Err(DeployError::TooMany(2)));
}

#[test]
fn a_manifest_is_answered_with_its_lines() {
    let place = Place::new();
    let registry = place.open();
    let component = numbered(1);
    for (manifest, expect) in [
        (
            "",
            "wharf.toml:1: route is missing: right is a table [route] with `path = \"/\"`",
        ),
        (
            "[route]\npath = \"/\"\ncomponent = \"a.wasm\"\ntenant = \"zebra\"\n",
            "wharf.toml:3: [route] component = \"a.wasm\": it is uploaded with the manifest: leave it out\n\
             wharf.toml:4: [route] tenant = \"zebra\": it is whoever deploys: leave it out",
        ),
        (
            "[route]\npath = \"/\"\n[route.secrets]\nkey = { file = \"/etc/passwd\" }\n",
            "wharf.toml:3: [route] secrets = [route.secrets]: they are the operator's: a manifest \
             names none of the server's files and variables",
        ),
        (
            "[route]\npath = \"/\"\nidlle = \"30s\"\n[rollout]\npolicy = \"swop\"\n",
            "wharf.toml:3: [route] has no key idlle: did you mean idle?\n\
             wharf.toml:5: [rollout] policy = \"swop\": right is \"swap\", \"drain\" or \"restart\"",
        ),
        (
            "[route]\npath = \"/\"\n[rollout]\npolicy = \"swap\"\ndeadline = \"1s\"\n",
            "wharf.toml:5: [rollout] deadline = \"1s\": only `policy = \"drain\"` has one",
        ),
    ] {
        let error = refused(&registry, &component, manifest);
        assert!(matches!(error, DeployError::Manifest(_)), "{error:?}");
        assert_eq!(error.to_string(), expect);
    }
    let long = format!("{PLAIN}#{}", "x".repeat(64 << 10));
    let error = refused(&registry, &component, &long).to_string();
    assert!(error.contains("at most 65536"), "{error}");
}

#[test]
fn a_manifest_gets_no_more_than_its_tenant_may_have() {
    const ASKING: &str = "[route]\npath = \"/\"\n[route.grants]\nkeyvalue = [\"a\", \"b\"]\n\
        topics = [\"room/*\"]\nhttp = [\"x.example\", \"*.example\"]\ntimers = true\n\
        websocket = [\"feed.example:443\", \"x.example\"]\nprivate_addresses = true\n\
        [route.guest]\nmemory_bytes_max = \"128MiB\"\n[route.websocket]\nmax_message_bytes = \"2MiB\"\n";
    let place = Place::new();
    let component = numbered(1);
    let registry = place.with(|rules| {
        rules.grants.keyvalue = vec!["a".to_owned()];
        rules.grants.topics = vec![TopicPattern::parse("room/a").expect("a pattern")];
        let destination = Destination::parse("*.example").expect("a destination");
        rules.grants.http = vec![destination];
        let feed = Destination::parse("feed.example").expect("a destination");
        rules.grants.websocket = vec![feed];
    });
    let error = refused(&registry, &component, ASKING);
    let expect = [
        "[route.grants] keyvalue: the bucket \"b\"",
        "[route.grants] topics: room/*",
        "[route.grants] websocket: x.example:443",
        "[route.grants] timers",
        "[route.grants] private_addresses",
        "[route.guest] memory_bytes_max = 134217728: right is at most 67108864",
        "[route.websocket] max_message_bytes = 2097152: right is at most 1048576",
    ];
    assert_eq!(
        error,
        DeployError::NotAllowed(expect.map(str::to_owned).into())
    );
    drop(registry);
    let registry = place.with(|rules| {
        rules.grants.keyvalue = vec!["a".to_owned(), "b".to_owned()];
        rules.grants.topics = vec![TopicPattern::any()];
        rules.grants.timers = true;
        let destination = Destination::parse("*.example").expect("a destination");
        rules.grants.http = vec![destination.clone()];
        rules.grants.websocket = vec![destination];
        rules.grants.private_addresses = true;
        rules.guest.memory_bytes_max = 128 << 20;
        rules.websocket.max_message_bytes = 2 << 20;
    });
    let asking = upload("chat", &component, ASKING);
    let published = registry.deploy(&asking, 0, &mut |_| {}).expect("allowed");
    assert!(published.manifest.route.grants.timers);
}

#[test]
fn a_component_that_cannot_run_changes_nothing() {
    let place = Place::new();
    let registry = place.open();
    let error = refused(&registry, b"no component", PLAIN);
    assert_eq!(error, DeployError::Program(ProgramError::NotWebAssembly));
    let small = "[route]\npath = \"/\"\n[route.guest]\ncomponent_bytes_max = 100\n";
    let error = refused(&registry, &numbered(1), small);
    assert!(matches!(
        error,
        DeployError::Program(ProgramError::TooLarge { bytes_max: 100, .. })
    ));
    let mut broken = numbered(1);
    let end = broken.len() - 3;
    broken.truncate(end);
    let error = refused(&registry, &broken, PLAIN);
    assert!(
        matches!(error, DeployError::Program(ProgramError::Invalid(_))),
        "{error:?}"
    );
    let starts_badly = component("(func $start (unreachable)) (start $start)");
    let error = refused(&registry, &starts_badly, PLAIN);
    assert!(matches!(error, DeployError::Start(_)), "{error:?}");
    let spins = component("(func $start (loop (br 0))) (start $start)");
    let short = "[route]\npath = \"/\"\n[route.guest]\ncpu_per_call = \"20ms\"\n";
    let error = refused(&registry, &spins, short);
    assert!(error.to_string().contains("CPU"), "{error}");
    let huge = component("(memory 2000)");
    let error = refused(&registry, &huge, PLAIN);
    assert!(matches!(error, DeployError::Program(_)), "{error:?}");
    for wrong in ["", "..", "%2e%2e", "a/b", "Chat", &"a".repeat(300)] {
        let component = numbered(1);
        let named = upload(wrong, &component, PLAIN);
        let outcome = registry.deploy(&named, 0, &mut |_| {}).map(drop);
        assert_eq!(outcome, Err(DeployError::Name), "{wrong}");
    }
    drop(registry);
    drop(place.open());
    assert!(
        place.files("artifacts").is_empty(),
        "what was refused is removed"
    );
    assert!(place.files("compiled").is_empty());
    assert!(place.files("drafts").is_empty());
}

#[test]
fn only_the_server_can_look_into_its_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let registry = place.open();
    deploy(&registry, "chat", &numbered(1), 0).expect("deployed");
    let mode = |path: &std::path::Path| {
        let metadata = std::fs::metadata(path).expect("it is there");
        metadata.permissions().mode() & 0o777
    };
    for part in ["", "artifacts", "compiled", "drafts"] {
        assert_eq!(mode(&place.0.join(part)), 0o700, "{part}");
    }
    for part in ["artifacts", "compiled"] {
        assert_eq!(mode(&place.files(part)[0]), 0o600, "{part}");
    }
    let second = Registry::open(place.settings());
    let error = second.expect_err("it is open already").to_string();
    assert!(error.contains("another process has it open"), "{error}");
}

#[test]
fn components_of_a_tenant_with_keys_have_to_be_signed() {
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    let secret = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(secret.as_ref()).expect("a key");
    let public = pair.public_key().as_ref().try_into().expect("32 bytes");
    let place = Place::new();
    let registry = place.with(|rules| rules.signers = vec![public]);
    let (first, second) = (numbered(1), numbered(2));
    let error = refused(&registry, &first, PLAIN);
    assert!(matches!(error, DeployError::Signature(_)), "{error:?}");
    let signature = pair.sign(Digest::of(&first).as_bytes());
    let mut signed = upload("chat", &second, PLAIN);
    signed.signature = Some(signature.as_ref());
    let error = registry.deploy(&signed, 0, &mut |_| {}).map(drop);
    assert!(matches!(error, Err(DeployError::Signature(_))));
    signed.component = &first;
    let published = registry
        .deploy(&signed, 0, &mut |_| {})
        .expect("it is signed");
    assert!(published.deployment.current.signed_by.is_some());
}

#[test]
fn what_another_build_has_compiled_is_compiled_again() {
    let place = Place::new();
    let registry = place.open();
    deploy(&registry, "chat", &numbered(1), 0).expect("deployed");
    let own = &registry.0.compatibility;
    let large = crate::guest::EngineConfig { instances_max: 9 };
    let serving = crate::guest::Engine::new(&large).expect("an engine");
    assert_eq!(serving.compatibility(), *own, "its size is no part of it");
    let compiled = registry.current("acme", "chat").expect("it is sound");
    let limits = crate::guest::GuestLimits::default();
    let grants = crate::catalog::Grants::default();
    crate::guest::Program::load(&serving, "chat", &compiled.component, &limits, &grants)
        .expect("the engine that serves can load it");
}
