//! Canaries of deployments: what becomes of them is recorded, so that every start serves what was
//! served before.

use std::time::{Duration, Instant};

use serde_json::Value;
use wharf_tests::deadline::{eventually, scenario};
use wharf_tests::peer::Peer;

use crate::deploy_harbour::{HEEDLESS, Harbour, ask, heir};
use crate::promises::covers;

const PATIENCE: Duration = Duration::from_secs(20);
const CHAT: &str = "/v1/tenants/acme/deployments/chat";
/// Whoever finds no canary, and who finds one that is marked so.
const ALL: &str = "/acme/chat";
const NAMED: &str = "/acme/chat?canary=yes";
const MARKED: &str = "[rollout.canary]\nquery = \"canary=yes\"\n";
/// A canary that fails over a word, for everybody and at once.
const BAD: &str = "message = \"trap\"\n[rollout.canary]\nshare = \"100%\"\ntraps_max = 0\n";

/// Deploys `heir` as the deployment `chat` of acme, with more in its manifest.
fn deploy(harbour: &Harbour, version: u32, more: &str) -> Value {
    let told = harbour.try_deploy("chat", &(heir("chat", version) + more));
    told.unwrap_or_else(|error| panic!("{error}"))
}

/// Which version a new session finds.
async fn version(harbour: &Harbour, path: &str) -> (String, Peer) {
    let mut peer = harbour.connect(path).await;
    peer.send_text("x").await;
    let answer = peer.text().await;
    let version = answer.split(' ').next().unwrap().to_owned();
    (version, peer)
}

/// What the registry says of the deployment, once its history has these words.
async fn recorded(harbour: &Harbour, words: &str) -> Value {
    let look = || {
        let (_, found) = harbour.curl(&harbour.acme, &[], CHAT);
        let text = found["history"].to_string();
        text.contains(words).then_some(found).ok_or(text)
    };
    eventually(PATIENCE, "it is recorded", look).await.0
}

/// Waits until new sessions find that version: workers are told a moment after it is recorded.
async fn everybody_finds(harbour: &Harbour, wanted: &str) {
    let begin = Instant::now();
    while version(harbour, ALL).await.0 != wanted {
        assert!(begin.elapsed() < PATIENCE, "{wanted} is not served");
    }
}

/// Whether the metrics have that line.
fn is_counted(harbour: &Harbour, line: &str) {
    let metrics = harbour.metrics();
    assert!(
        metrics.lines().any(|found| found == line),
        "{line}\n{metrics}"
    );
}

/// The line of what became of so many deploys of acme.
fn deploys(outcome: &str, count: u32) -> String {
    format!("wharf_deploys_total{{tenant=\"acme\",outcome=\"{outcome}\"}} {count}")
}

#[test]
fn a_canary_of_a_deployment_that_fails_is_taken_back_in_the_registry_too() {
    covers("canary.deployed");
    scenario(async {
        let mut harbour = Harbour::start(|site| site);
        deploy(&harbour, 1, "");
        let mut old = harbour.connect("/acme/chat").await;
        ask(&mut old, "a", "1 1 1 a").await;
        let told = deploy(&harbour, 2, BAD);
        assert_eq!(told["rollout"], "canary", "{told}");
        let (found, mut bad) = version(&harbour, "/acme/chat").await;
        assert_eq!(found, "2");
        bad.send_text("boom").await;
        bad.expect_close(1011).await;
        let found = recorded(&harbour, "automatic rollback: its handler failed 1 times").await;
        assert_eq!(found["generation"], 3, "{found}");
        everybody_finds(&harbour, "1").await;
        ask(&mut old, "b", "1 2 2 b").await;
        is_counted(&harbour, &deploys("deployed", 2));
        is_counted(&harbour, &deploys("rolled_back_automatically", 1));
        is_counted(&harbour, "wharf_rollbacks_unrecorded 0.0");
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
        deploy(&harbour, 2, MARKED);
        for _ in 0..2 {
            assert_eq!(version(&harbour, ALL).await.0, "1");
            assert_eq!(version(&harbour, NAMED).await.0, "2");
            harbour.restart("");
        }
        // Another one takes its place, and what it goes back to is what everybody has found.
        deploy(&harbour, 3, MARKED);
        assert_eq!(version(&harbour, ALL).await.0, "1");
        assert_eq!(version(&harbour, NAMED).await.0, "3");
        let told = harbour.wharf(&harbour.acme, &["abort", "chat"]).unwrap();
        assert!(told.contains("is aborted"), "{told}");
        for _ in 0..2 {
            assert_eq!(version(&harbour, ALL).await.0, "1");
            assert_eq!(version(&harbour, NAMED).await.0, "1");
            harbour.restart("");
        }
    });
}

#[test]
fn a_promotion_of_a_deployment_is_recorded() {
    covers("canary.promotion-recorded");
    scenario(async {
        let mut harbour = Harbour::start(|site| site);
        deploy(&harbour, 1, "");
        // By itself: it has to be used once, and its time has to be over.
        deploy(&harbour, 2, &format!("{MARKED}for = \"1ms\"\n"));
        assert_eq!(version(&harbour, NAMED).await.0, "2");
        let found = recorded(&harbour, "automatic promotion").await;
        assert_eq!(found["generation"], 3, "{found}");
        assert_eq!(
            (&found["version"], &found["previous_version"]),
            (&2.into(), &1.into())
        );
        everybody_finds(&harbour, "2").await;
        is_counted(&harbour, &deploys("promoted", 1));
        harbour.restart("");
        assert_eq!(version(&harbour, ALL).await.0, "2");
        // And by hand.
        deploy(&harbour, 4, MARKED);
        assert_eq!(version(&harbour, ALL).await.0, "2");
        let told = harbour.wharf(&harbour.acme, &["promote", "chat"]).unwrap();
        assert!(told.contains("is promoted"), "{told}");
        let found = recorded(&harbour, "\"by\":\"ann\",\"change\":\"promoted\"").await;
        assert_eq!(found["generation"], 5, "{found}");
        for _ in 0..2 {
            assert_eq!(version(&harbour, ALL).await.0, "4");
            harbour.restart("");
        }
        // What is brought back is everybody's at once, though its manifest has a canary.
        for (wanted, generation) in [("2", 6), ("4", 7)] {
            let told = harbour.wharf(&harbour.acme, &["rollback", "chat"]).unwrap();
            assert!(told.contains(&format!("generation {generation}")), "{told}");
            assert_eq!(version(&harbour, ALL).await.0, wanted);
            is_counted(&harbour, &deploys("rolled_back", 1));
            harbour.restart("");
            assert_eq!(version(&harbour, ALL).await.0, wanted);
        }
    });
}

#[test]
fn what_becomes_of_deploys_is_counted() {
    covers("deploy.counted");
    scenario(async {
        let harbour = Harbour::start(|site| site);
        deploy(&harbour, 1, "");
        let greedy = heir("chat", 2) + "[route.grants]\ntimers = true\n";
        let refused = harbour.try_deploy("chat", &greedy).unwrap_err();
        assert!(refused.contains("timers"), "{refused}");
        harbour.wharf(&harbour.acme, &["undeploy", "chat"]).unwrap();
        for outcome in ["deployed", "refused", "deleted"] {
            is_counted(&harbour, &deploys(outcome, 1));
        }
    });
}

#[test]
fn what_fails_is_taken_back_though_the_disk_fails_too() {
    covers("canary.disk");
    scenario(async {
        let mut harbour = Harbour::start(|site| site);
        deploy(&harbour, 1, "");
        harbour.restart(HEEDLESS);
        deploy(&harbour, 2, BAD);
        let (found, mut bad) = version(&harbour, ALL).await;
        assert_eq!(found, "2");
        harbour.break_disk(true);
        bad.send_text("boom").await;
        bad.expect_close(1011).await;
        everybody_finds(&harbour, "1").await;
        is_counted(&harbour, "wharf_rollbacks_unrecorded 1.0");
        let (_, status) = harbour.curl(&harbour.operator, &[], "/v1/status");
        assert_eq!(status["rollbacks_unrecorded"], 1, "{status}");
        let refused = harbour.try_deploy("chat", &heir("chat", 3)).unwrap_err();
        assert!(refused.contains("for want of a disk"), "{refused}");
        // When there is room again nobody need do anything.
        harbour.break_disk(false);
        let found = recorded(&harbour, "automatic rollback").await;
        assert_eq!(
            (&found["generation"], &found["version"]),
            (&3.into(), &1.into())
        );
        let settled = || {
            let (_, status) = harbour.curl(&harbour.operator, &[], "/v1/status");
            (status["rollbacks_unrecorded"] == 0)
                .then_some(())
                .ok_or_else(|| status.to_string())
        };
        eventually(PATIENCE, "nothing is owed", settled).await;
        harbour.restart("");
        assert_eq!(version(&harbour, ALL).await.0, "1");
    });
}

#[test]
fn a_deploy_over_what_is_not_recorded_leads_back_to_what_was_served() {
    covers("canary.disk");
    scenario(async {
        let mut harbour = Harbour::start(|site| site);
        deploy(&harbour, 1, "");
        harbour.restart(HEEDLESS);
        deploy(&harbour, 2, MARKED);
        assert_eq!(version(&harbour, NAMED).await.0, "2");
        harbour.break_disk(true);
        // Neither a deploy nor a promotion that cannot be recorded changes anything.
        let refused = harbour.try_deploy("chat", &heir("chat", 3)).unwrap_err();
        assert!(refused.contains("for want of a disk"), "{refused}");
        let refused = harbour
            .wharf(&harbour.acme, &["promote", "chat"])
            .unwrap_err();
        assert!(refused.contains("for want of a disk"), "{refused}");
        assert_eq!(version(&harbour, ALL).await.0, "1");
        assert_eq!(version(&harbour, NAMED).await.0, "2");
        harbour.break_disk(false);
        // The canary and what takes its place are recorded together.
        let told = deploy(&harbour, 3, "");
        assert_eq!(told["deployment"]["generation"], 4, "{told}");
        everybody_finds(&harbour, "3").await;
        let told = harbour.wharf(&harbour.acme, &["rollback", "chat"]).unwrap();
        assert!(told.contains("version 1"), "{told}");
        everybody_finds(&harbour, "1").await;
    });
}
