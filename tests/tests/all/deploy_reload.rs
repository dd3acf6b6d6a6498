//! Tenants that change while the server runs: their hosts, paths, rules and signers follow the file,
//! under what they have deployed and under open sockets.

use std::process::Stdio;

use serde_json::Value;
use wharf_tests::deadline::{STEP, eventually, scenario};
use wharf_tests::guests;
use wharf_tests::process::Process;
use wharf_tests::site::Site;

use crate::deploy_harbour::{Harbour, ask, heir};
use crate::promises::covers;

const CHAT: &str = "/v1/tenants/acme/deployments/chat";
const FIRST: &str = "If-None-Match: *";
const MARKED: &str = "[rollout.canary]\nquery = \"canary=yes\"\n";

/// Sets a key of a table of acme.
fn acme(site: Site, table: &str, key: &str, value: impl Into<wharf_tests::site::Value>) -> Site {
    site.section(&format!("tenant.acme{table}"), key, value)
}

#[test]
fn a_tenant_moves_under_open_sockets() {
    covers("deploy.tenants-reload");
    scenario(async {
        let mut harbour = Harbour::start(|site| site);
        harbour.deploy_heir("chat", 1);
        let mut old = harbour.connect("/acme/chat").await;
        ask(&mut old, "a", "1 1 1 a").await;
        let canary = heir("chat", 2) + MARKED;
        harbour.try_deploy("chat", &canary).unwrap();
        let mut tried = harbour.connect("/acme/chat?canary=yes").await;
        ask(&mut tried, "a", "2 1 1 a").await;
        harbour.change(|site| acme(site, "", "path_prefix", "/new/place"));
        harbour.reload().await.unwrap();
        ask(&mut old, "b", "1 2 2 b").await;
        ask(&mut tried, "b", "2 2 2 b").await;
        assert_eq!(harbour.status("localhost", "/acme/chat").await, 404);
        for (query, version) in [("", 1), ("?canary=yes", 2)] {
            let mut peer = harbour.connect(&format!("/new/place/chat{query}")).await;
            ask(&mut peer, "x", &format!("{version} 1 1 x")).await;
        }
        let (_, found) = harbour.curl(&harbour.acme, &[], CHAT);
        assert_eq!(found["path"], "/new/place/chat", "{found}");
        // Onto hosts of its own, and the canary goes on until somebody ends it.
        let hosts = ["a.example", "b.example"];
        harbour.change(|site| acme(acme(site, "", "path_prefix", "/"), "", "hosts", hosts));
        harbour.reload().await.unwrap();
        assert_eq!(harbour.status("localhost", "/new/place/chat").await, 404);
        for host in hosts {
            assert_eq!(harbour.status(host, "/chat").await, 101);
        }
        harbour.wharf(&harbour.acme, &["promote", "chat"]).unwrap();
        ask(&mut old, "c", "2 3 3 c").await;
        // And a restart serves the same.
        harbour.restart("");
        assert_eq!(harbour.status("a.example", "/chat").await, 101);
        assert_eq!(harbour.status("localhost", "/acme/chat").await, 404);
    });
}

#[test]
fn rules_of_tenants_follow_the_file() {
    covers("deploy.tenants-reload");
    scenario(async {
        let mut harbour = Harbour::start(|site| site);
        let long = heir("chat", 1) + "[route.websocket]\nmax_message_bytes = \"2MiB\"\n";
        let refused = harbour.try_deploy("chat", &long).unwrap_err();
        assert!(refused.contains("max_message_bytes"), "{refused}");
        harbour.change(|site| acme(site, ".deploy.websocket", "max_message_bytes", "2MiB"));
        harbour.reload().await.unwrap();
        harbour.try_deploy("chat", &long).unwrap();
        let mut peer = harbour.connect("/acme/chat").await;
        ask(&mut peer, "a", "1 1 1 a").await;
        // A tenant that was not there before, and one that signs from now on.
        let key = "l2rqbcmdWMfIGKE8sfwVMgdkYMlYPAmVmZ5gb2r9wmk=";
        harbour.change(|site| {
            let site = site.section("tenant.cosy.deploy", "signers", [""; 0]);
            site.section("tenant.bolt.deploy", "signers", [key])
        });
        harbour.reload().await.unwrap();
        let echo = ("echo", "[route]\npath = \"/\"\n");
        let cosy = "/v1/tenants/cosy/deployments/chat";
        let (status, told) = harbour.put((&harbour.operator, cosy), echo, FIRST);
        assert_eq!(status, 201, "{told}");
        assert_eq!(harbour.status("localhost", "/cosy/").await, 101);
        let bolt = "/v1/tenants/bolt/deployments/chat";
        let (status, told) = harbour.put((&harbour.bolt, bolt), echo, FIRST);
        assert_eq!(status, 403, "{told}");
        let (_, list) = harbour.curl(&harbour.operator, &[], "/v1/tenants");
        assert!(list.to_string().contains("cosy"), "{list}");
        ask(&mut peer, "b", "1 2 2 b").await;
    });
}

#[test]
fn a_reload_that_would_end_a_deployment_is_refused_whole() {
    covers("deploy.tenants-reload-refused");
    scenario(async {
        let limit =
            |site: Site, most: &'static str| acme(site, ".deploy.guest", "memory_bytes_max", most);
        let mut harbour = Harbour::start(|site| limit(site, "32MiB"));
        let large = heir("chat", 1) + "[route.guest]\nmemory_bytes_max = \"32MiB\"\n";
        harbour.try_deploy("chat", &large).unwrap();
        let mut peer = harbour.connect("/acme/chat").await;
        ask(&mut peer, "a", "1 1 1 a").await;
        let moved = |site: Site| site.section("tenant.bolt", "hosts", ["other.example"]);
        harbour.change(|site| limit(moved(site), "16MiB"));
        let refused = harbour.reload().await.unwrap_err();
        let file = std::fs::read_to_string(harbour.file("wharf.toml")).unwrap();
        let line = 1 + file
            .lines()
            .position(|line| line.starts_with("[tenant.acme.deploy"))
            .unwrap();
        for words in [
            &*format!("[tenant.acme.deploy], line {line}:"),
            "the deployment chat",
            "memory_bytes_max",
            "wharf undeploy chat --tenant acme",
        ] {
            assert!(refused.contains(words), "{words}: {refused}");
        }
        // Nothing of the file holds.
        let bolt = (
            "/v1/tenants/bolt/deployments/chat",
            "[route]\npath = \"/\"\n",
        );
        let (status, told) = harbour.put((&harbour.bolt, bolt.0), ("echo", bolt.1), FIRST);
        assert_eq!(status, 201, "{told}");
        assert_eq!(harbour.status("bolt.example", "/").await, 101);
        assert_eq!(harbour.status("other.example", "/").await, 404);
        ask(&mut peer, "b", "1 2 2 b").await;
        // Nor of one in which two tenants have the same place.
        harbour
            .change(|site| limit(site, "32MiB").section("tenant.acme", "hosts", ["other.example"]));
        let refused = harbour.reload().await.unwrap_err();
        assert!(
            refused.contains("would be served where those of the tenant"),
            "{refused}"
        );
        assert!(refused.contains("wharf.toml:"), "{refused}");
        ask(&mut peer, "c", "1 3 3 c").await;
        assert_eq!(harbour.status("localhost", "/acme/chat").await, 101);
        // Who means it takes the deployment away before.
        harbour.change(|site| limit(site.section("tenant.acme", "hosts", ["a.example"]), "16MiB"));
        harbour.reload().await.unwrap_err();
        harbour.wharf(&harbour.acme, &["undeploy", "chat"]).unwrap();
        peer.expect_close(1001).await;
        harbour.reload().await.unwrap();
        assert_eq!(harbour.status("other.example", "/").await, 101);
    });
}

#[test]
fn what_could_not_be_served_is_served_when_its_rules_allow_it() {
    covers("deploy.tenants-reload");
    scenario(async {
        let limit =
            |site: Site, most: &'static str| acme(site, ".deploy.guest", "memory_bytes_max", most);
        let mut harbour = Harbour::start(|site| limit(site, "32MiB"));
        let large =
            |version| heir("chat", version) + "[route.guest]\nmemory_bytes_max = \"32MiB\"\n";
        harbour.try_deploy("chat", &large(1)).unwrap();
        harbour.try_deploy("chat", &(large(2) + MARKED)).unwrap();
        harbour.change(|site| limit(site, "16MiB"));
        harbour.restart("");
        assert_eq!(harbour.status("localhost", "/acme/chat").await, 404);
        // A reload that changes nothing of it leaves it out.
        harbour.reload().await.unwrap();
        assert_eq!(harbour.status("localhost", "/acme/chat").await, 404);
        harbour.change(|site| limit(site, "32MiB"));
        harbour.reload().await.unwrap();
        for (query, version) in [("", 1), ("?canary=yes", 2)] {
            let mut peer = harbour.connect(&format!("/acme/chat{query}")).await;
            ask(&mut peer, "x", &format!("{version} 1 1 x")).await;
        }
        let (_, found) = harbour.curl(&harbour.acme, &[], CHAT);
        assert_eq!(
            (&found["served"], &found["problem"]),
            (&true.into(), &Value::Null)
        );
    });
}

/// Stops the compiler that the server has started, once there is one.
async fn stop_the_compiler(server: Process) -> Process {
    let probe = || {
        let mut children = server.descendants().into_iter();
        let found = children.find(|child| child.arguments().iter().any(|word| word == "compile"));
        found.ok_or_else(|| "no compiler".to_owned())
    };
    let (compiler, _) = eventually(STEP, "the server compiles", probe).await;
    compiler.signal("STOP");
    compiler
}

#[test]
fn a_deploy_whose_rules_change_meanwhile_changes_nothing() {
    covers("deploy.tenants-reload");
    scenario(async {
        let mut harbour = Harbour::start(|site| site);
        harbour.deploy_heir("other", 1);
        let manifest = "[route]\npath = \"/chat\"\n";
        let manifest = harbour.write("echo.toml", manifest).display().to_string();
        let echo = guests::path("echo-js").display().to_string();
        let from = ["deploy", &echo, "--manifest", &manifest, "--name", "chat"];
        let mut deploy = harbour.command(&harbour.acme, &from);
        let deploy = deploy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let compiler = stop_the_compiler(harbour.server().process()).await;
        harbour.change(|site| acme(site, ".deploy.websocket", "max_message_bytes", "2MiB"));
        harbour.reload().await.unwrap();
        compiler.signal("CONT");
        let told = deploy.unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(!told.status.success(), "{said}");
        for words in [
            "what the tenant acme may deploy was changed meanwhile",
            "trying again",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert_eq!(harbour.status("localhost", "/acme/chat").await, 404);
        assert_eq!(harbour.status("localhost", "/acme/other").await, 101);
        harbour.wharf(&harbour.acme, &from).unwrap();
        assert_eq!(harbour.status("localhost", "/acme/chat").await, 101);
    });
}

#[test]
fn rules_without_a_place_for_deployments_are_refused() {
    covers("deploy.tenants-reload-refused");
    scenario(async {
        let folder = wharf_tests::site::Folder::new();
        let plain = || Site::new().mount(wharf_tests::site::Mount::new("/echo", "echo"));
        let server = wharf_tests::server::start(&plain()).await;
        let path = folder.file("deployments").display().to_string();
        let rules = plain().section("deployments", "path", path).section(
            "tenant.acme.deploy",
            "signers",
            [""; 0],
        );
        let refused = format!("{:#}", server.reload(&rules).await.unwrap_err());
        assert!(refused.contains("[tenant.acme.deploy], line "), "{refused}");
        assert!(refused.contains("without [deployments]"), "{refused}");
    });
}
