//! Deployments that are cut short or damaged, and the server beside them: what was acknowledged is
//! served, what is damaged is not, and everything else goes on.
//!
//! `WHARF_KILL_ROUNDS=100` makes the long run of what CI does eight times.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wharf_tests::deadline::{alone, scenario};
use wharf_tests::figure::figure;
use wharf_tests::site::Site;

use crate::deploy_harbour::{HEEDLESS, Harbour, ask, heir};
use crate::promises::covers;

const FIRST: &str = "If-None-Match: *";
const ROUNDS: u64 = 8;

/// A number up to `most`, not worth guessing.
fn random(most: u64) -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::from(since.unwrap().subsec_nanos()).wrapping_mul(0x9e37_79b9) % most
}

#[test]
fn a_server_that_is_killed_in_a_deploy_serves_the_old_version_or_the_new_one() {
    covers("deploy.killed");
    alone(async {
        let mut harbour = Harbour::start(|site| site);
        harbour.deploy_heir("chat", 1);
        let rounds =
            std::env::var("WHARF_KILL_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
        let (mut served, mut old, mut new, mut acknowledged) = (1_u32, 0, 0, 0);
        let begun = Instant::now();
        for _ in 0..rounds {
            let wanted = served + 1;
            // What was compiled is gone, so that a deploy takes all of its steps.
            let _ = fs::remove_dir_all(harbour.file("deployments/compiled"));
            fs::create_dir_all(harbour.file("deployments/compiled")).unwrap();
            let mut command = harbour.deploying("chat", &heir("chat", wanted));
            let deploying = command.stdout(Stdio::piped()).stderr(Stdio::null());
            let deploying = deploying.spawn().expect("the command can be started");
            std::thread::sleep(Duration::from_millis(random(600)));
            // It is killed here.
            harbour.restart("");
            let told = deploying.wait_with_output().unwrap().status.success();
            let mut peer = harbour.connect("/acme/chat").await;
            peer.send_text("x").await;
            let answer = peer.text().await;
            let found: u32 = answer.split(' ').next().unwrap().parse().unwrap();
            assert!(
                found == served || found == wanted,
                "{answer}: {served} or {wanted}"
            );
            assert!(!told || found == wanted, "what was acknowledged is served");
            acknowledged += u32::from(told);
            old += u32::from(found == served);
            new += u32::from(found == wanted);
            served = found;
        }
        let seconds = begun.elapsed().as_secs();
        let text = format!(
            "{rounds} servers killed at random in a deploy, in {seconds} s: {old} times the old version, \
             {new} times the new one ({acknowledged} acknowledged), 0 times neither"
        );
        figure("deploy.killed", text);
    });
}

#[test]
fn a_damaged_deployment_is_left_out_and_the_others_are_served() {
    covers("deploy.left-out");
    scenario(async {
        let mut harbour = Harbour::start(|site| site);
        let path = "/v1/tenants/acme/deployments/plain";
        let plain = "[route]\npath = \"/plain\"\n";
        let (_, told) = harbour.put((&harbour.acme, path), ("echo", plain), FIRST);
        let component = told["deployment"]["component"]
            .as_str()
            .expect("a digest")
            .to_owned();
        harbour.deploy_heir("chat", 1);
        for file in [
            format!("artifacts/{component}.wasm"),
            format!("compiled/{component}.code"),
        ] {
            let file = harbour.file(&format!("deployments/{file}"));
            let mut bytes = fs::read(&file).unwrap();
            let place = random(bytes.len() as u64) as usize;
            bytes[place] ^= 1;
            fs::write(file, bytes).unwrap();
        }
        harbour.restart("");
        assert_eq!(harbour.status("localhost", "/acme/plain").await, 404);
        let mut peer = harbour.connect("/acme/chat").await;
        ask(&mut peer, "a", "1 1 1 a").await;
        let log = harbour.server().log();
        assert!(log.contains("not served: the artifact"), "{log}");
        let listed = harbour.wharf(&harbour.acme, &["deployments"]).unwrap();
        assert!(listed.contains("NOT SERVED: the artifact"), "{listed}");
        // Uploading it again heals it.
        let (status, told) = harbour.put((&harbour.acme, path), ("echo", plain), "If-Match: \"1\"");
        assert_eq!(
            (status, &told["deployment"]["served"]),
            (200, &json!(true)),
            "{told}"
        );
        assert_eq!(harbour.status("localhost", "/acme/plain").await, 101);
        figure(
            "deploy.left-out",
            "1 of 2 damaged: not served and said so, the other one served; healed by an upload",
        );
    });
}

#[test]
fn a_tenant_that_may_no_longer_deploy_is_served_no_longer() {
    covers("deploy.left-out");
    scenario(async {
        let mut harbour = Harbour::start(|site| {
            site.section("storage", "path", "memory").section(
                "tenant.bolt.deploy.guest",
                "memory_bytes_max",
                "32MiB",
            )
        });
        let path = "/v1/tenants/bolt/deployments/chat";
        let manifest = "[route]\npath = \"/\"\n[route.guest]\nmemory_bytes_max = \"32MiB\"\n";
        let (status, told) = harbour.put((&harbour.bolt, path), ("echo", manifest), FIRST);
        assert_eq!(status, 201, "{told}");
        harbour
            .change(|site| site.section("tenant.bolt.deploy.guest", "memory_bytes_max", "16MiB"));
        harbour.restart("");
        assert_eq!(harbour.status("bolt.example", "/").await, 404);
        let (_, row) = harbour.curl(&harbour.bolt, &[], path);
        let problem = row["problem"].as_str().unwrap_or_default();
        assert!(problem.contains("memory_bytes_max"), "{row}");
    });
}

/// Allows `cosy` what the examples ask for.
fn generous(site: Site) -> Site {
    let grants = "tenant.cosy.deploy.grants";
    let flags = ["timers", "logging", "topics", "private_addresses"];
    let site = flags
        .into_iter()
        .fold(site, |site, flag| site.section(grants, flag, true));
    site.section("storage", "path", "memory")
        .section("tenant.cosy.deploy.websocket", "raw", true)
        .section(grants, "keyvalue", ["default", "counters", "missed"])
        .section(grants, "http", ["127.0.0.1:8000"])
        .section(grants, "websocket", ["127.0.0.1:8001"])
}

#[test]
fn every_example_is_deployed_with_its_manifest() {
    covers("deploy.serving");
    scenario(async {
        let harbour = Harbour::start(generous);
        let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
        let mut names = Vec::new();
        for entry in fs::read_dir(examples).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let manifest = fs::read_to_string(entry.path().join("wharf.toml"));
            let manifest = manifest.unwrap_or_else(|error| panic!("{name}/wharf.toml: {error}"));
            // Each at a place of its own.
            let manifest = manifest.replace("path = \"/", &format!("path = \"/{name}/"));
            let path = format!("/v1/tenants/cosy/deployments/{name}");
            let parts = (name.as_str(), manifest.as_str());
            let (status, told) = harbour.put((&harbour.operator, &path), parts, FIRST);
            assert_eq!(status, 201, "{name}: {told}");
            names.push(name);
        }
        assert!(names.len() >= 14, "{names:?}");
        for echo in ["echo", "echo-c", "echo-js"] {
            let mut peer = harbour.connect(&format!("/cosy/{echo}/")).await;
            peer.expect_echo(echo).await;
            peer.leave(1000).await;
        }
    });
}

#[test]
fn a_full_disk_stops_deploys_and_nothing_else() {
    covers("deploy.serving");
    scenario(async {
        let mut harbour = Harbour::start(|site| site);
        harbour.deploy_heir("chat", 1);
        // No file may be larger than so many times 512 bytes, and a write beyond fails.
        harbour.restart(&format!("{HEEDLESS} ulimit -f 2048;"));
        let mut peer = harbour.connect("/acme/chat").await;
        ask(&mut peer, "a", "1 1 1 a").await;
        let path = "/v1/tenants/acme/deployments/more";
        for _ in 0..3 {
            let parts = ("echo-js", "[route]\npath = \"/more\"\n");
            let (status, told) = harbour.put((&harbour.acme, path), parts, FIRST);
            assert_eq!(status, 507, "{told}");
        }
        ask(&mut peer, "b", "1 2 2 b").await;
        assert_eq!(harbour.status("localhost", "/acme/chat").await, 101);
        let (status, row) = harbour.curl(&harbour.acme, &[], "/v1/tenants/acme/deployments/chat");
        assert_eq!((status, &row["generation"]), (200, &json!(1)), "{row}");
        harbour.restart("");
        let told = harbour.deploy_heir("chat", 2);
        assert_eq!(
            told["deployment"]["generation"], 2,
            "there is room again: {told}"
        );
        figure(
            "deploy.serving",
            "3 deploys on a full disk: 507; the open session and new ones are served",
        );
    });
}

#[test]
fn what_says_that_it_is_ill_is_not_served() {
    covers("deploy.health");
    scenario(async {
        let harbour = Harbour::start(|site| site);
        harbour.deploy_heir("chat", 1);
        let mut peer = harbour.connect("/acme/chat").await;
        let path = "/v1/tenants/acme/deployments/chat";
        for (health, words) in [("no words today", "no words today"), ("trap", "not well")] {
            let manifest = heir("chat", 2) + &format!("health = \"{health}\"\n");
            let (status, told) = harbour.put(
                (&harbour.acme, path),
                ("heir", &manifest),
                "If-Match: \"1\"",
            );
            assert_eq!(status, 422, "{told}");
            let what = told["error"]["what"].as_str().unwrap_or_default();
            assert!(what.contains(words), "{told}");
        }
        ask(&mut peer, "a", "1 1 1 a").await;
        let (_, row): (u16, Value) = harbour.curl(&harbour.acme, &[], path);
        assert_eq!(row["generation"], 1, "{row}");
    });
}
