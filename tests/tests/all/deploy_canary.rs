//! Canaries of deployments: what becomes of them is recorded, so that every start serves what was
//! served before.

use std::time::{Duration, Instant};

use serde_json::Value;
use wharf_tests::deadline::{eventually, scenario};
use wharf_tests::guests;
use wharf_tests::peer::Peer;

use crate::deploy_harbour::{Harbour, ask, heir};
use crate::promises::covers;

const PATIENCE: Duration = Duration::from_secs(20);
const CHAT: &str = "/v1/tenants/acme/deployments/chat";

/// Deploys `heir` as the deployment `chat` of acme, with more in its manifest.
fn deploy(harbour: &Harbour, version: u32, more: &str) -> Value {
    let manifest = harbour.write("chat.toml", heir("chat", version) + more);
    let (manifest, guest) = (manifest.display().to_string(), guests::path("heir"));
    let guest = guest.display().to_string();
    let arguments = [
        "deploy",
        &guest,
        "--name",
        "chat",
        "--manifest",
        &manifest,
        "--json",
    ];
    let told = harbour.wharf(&harbour.acme, &arguments);
    let told = told.unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&told).unwrap()
}

/// Which version a new session finds.
async fn version(harbour: &Harbour, path: &str) -> (String, Peer) {
    let mut peer = harbour.connect(path).await;
    peer.send_text("x").await;
    let answer = peer.text().await;
    let version = answer.split(' ').next().unwrap().to_owned();
    (version, peer)
}

#[test]
fn a_canary_of_a_deployment_that_fails_is_taken_back_in_the_registry_too() {
    covers("canary.deployed");
    scenario(async {
        let mut harbour = Harbour::start(|site| site);
        deploy(&harbour, 1, "");
        let mut old = harbour.connect("/acme/chat").await;
        ask(&mut old, "a", "1 1 1 a").await;
        let canary = "message = \"trap\"\n[rollout.canary]\nshare = \"100%\"\ntraps_max = 0\n";
        let told = deploy(&harbour, 2, canary);
        assert_eq!(told["rollout"], "canary", "{told}");
        let (found, mut bad) = version(&harbour, "/acme/chat").await;
        assert_eq!(found, "2");
        bad.send_text("boom").await;
        bad.expect_close(1011).await;
        let recorded = || {
            let (_, found) = harbour.curl(&harbour.acme, &[], CHAT);
            let text = found.to_string();
            match text.contains("automatic rollback: its handler failed 1 times") {
                true => Ok(found),
                false => Err(text),
            }
        };
        let (found, _) = eventually(PATIENCE, "it is recorded", recorded).await;
        assert_eq!(found["generation"], 3, "{found}");
        // The workers are told a moment after it is recorded.
        let begin = Instant::now();
        while version(&harbour, "/acme/chat").await.0 != "1" {
            assert!(begin.elapsed() < PATIENCE, "it is served on");
        }
        ask(&mut old, "b", "1 2 2 b").await;
        harbour.restart("");
        assert_eq!(version(&harbour, "/acme/chat").await.0, "1");
    });
}

#[test]
fn a_canary_that_is_cut_short_by_a_restart_begins_again() {
    covers("canary.restart");
    scenario(async {
        let mut harbour = Harbour::start(|site| site);
        deploy(&harbour, 1, "");
        let canary = "[rollout.canary]\nquery = \"canary=yes\"\n";
        deploy(&harbour, 2, canary);
        let (all, named) = ("/acme/chat", "/acme/chat?canary=yes");
        for _ in 0..2 {
            assert_eq!(version(&harbour, all).await.0, "1");
            assert_eq!(version(&harbour, named).await.0, "2");
            harbour.restart("");
        }
        // Another one takes its place, and what it goes back to is what everybody has found.
        deploy(&harbour, 3, canary);
        assert_eq!(version(&harbour, all).await.0, "1");
        assert_eq!(version(&harbour, named).await.0, "3");
        let told = harbour.wharf(&harbour.acme, &["abort", "chat"]).unwrap();
        assert!(told.contains("is aborted"), "{told}");
        for _ in 0..2 {
            assert_eq!(version(&harbour, all).await.0, "1");
            assert_eq!(version(&harbour, named).await.0, "1");
            harbour.restart("");
        }
    });
}
