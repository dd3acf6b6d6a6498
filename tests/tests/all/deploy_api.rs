//! Deployments over the API and the commands, into a server with open sockets: versions come and go
//! under them, and who may not is told so.

use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use serde_json::json;
use wharf_tests::deadline::{eventually, scenario};
use wharf_tests::figure::figure;
use wharf_tests::guests;
use wharf_tests::peer::HttpPeer;

use crate::deploy_harbour::{Harbour, ask, heir};
use crate::promises::covers;

const PLAIN: &str = "[route]\npath = \"/\"\n";
const FIRST: &str = "If-None-Match: *";
/// For what comes at once, on a machine with other things to do.
const WAIT: Duration = Duration::from_secs(10);

#[test]
fn a_version_comes_and_goes_under_open_sockets() {
    covers("deploy.live");
    scenario(async {
        let mut harbour = Harbour::start(|site| site);
        let told = harbour.deploy_heir("chat", 1);
        assert_eq!(told["deployment"]["generation"], 1, "{told}");
        assert_eq!(told["deployment"]["path"], "/acme/chat", "{told}");
        let mut peer = harbour.connect("/acme/chat").await;
        ask(&mut peer, "a", "1 1 1 a").await;
        let told = harbour.deploy_heir("chat", 2);
        assert_eq!(told["rollout"], "swap", "both hand over: {told}");
        ask(&mut peer, "b", "2 2 2 b").await;
        let begun = Instant::now();
        let told = harbour.wharf(&harbour.acme, &["rollback", "chat"]).unwrap();
        let took = begun.elapsed();
        assert!(told.contains("generation 3, version 1"), "{told}");
        ask(&mut peer, "c", "1 3 3 c").await;
        let shown = harbour
            .wharf(&harbour.acme, &["deployments", "chat"])
            .unwrap();
        assert!(
            shown.contains("rolled back") && shown.contains("previous"),
            "{shown}"
        );
        let listed = harbour.wharf(&harbour.acme, &["deployments"]).unwrap();
        assert!(listed.contains("/acme/chat"), "{listed}");
        let status = harbour.wharf(&harbour.operator, &["status"]).unwrap();
        assert!(
            status
                .lines()
                .any(|line| line.split_whitespace().eq(["deployments", "1"])),
            "{status}"
        );
        // Killed: the version that was acknowledged last is served, and nothing else.
        harbour.restart("");
        let mut again = harbour.connect("/acme/chat").await;
        ask(&mut again, "d", "1 1 1 d").await;
        let gone = harbour.wharf(&harbour.acme, &["undeploy", "chat"]).unwrap();
        assert!(gone.contains("served no longer"), "{gone}");
        again.expect_close(1001).await;
        assert_eq!(harbour.status("localhost", "/acme/chat").await, 404);
        // A generation is never given out twice.
        let told = harbour.deploy_heir("chat", 3);
        assert_eq!(told["deployment"]["generation"], 5, "{told}");
        let words = "two versions and a rollback under an open socket, state handed over, 0 closed";
        figure(
            "deploy.live",
            format!("{words}; `wharf rollback` took {took:?}"),
        );
    });
}

#[test]
fn a_reload_keeps_what_is_deployed() {
    covers("deploy.live");
    scenario(async {
        let harbour = Harbour::start(|site| site);
        harbour.deploy_heir("chat", 1);
        let mut peer = harbour.connect("/acme/chat").await;
        ask(&mut peer, "a", "1 1 1 a").await;
        harbour.reload().await.unwrap();
        ask(&mut peer, "b", "1 2 2 b").await;
        assert_eq!(harbour.status("localhost", "/acme/chat").await, 101);
        assert_eq!(harbour.status("localhost", "/echo").await, 101);
    });
}

#[test]
fn two_tenants_have_two_places() {
    covers("deploy.places");
    scenario(async {
        let harbour = Harbour::start(|site| site);
        let path = "/v1/tenants/bolt/deployments/chat";
        let echo = ("echo", "[route]\npath = \"/chat\"\n");
        let (status, told) = harbour.put((&harbour.bolt, path), echo, FIRST);
        assert_eq!(status, 201, "{told}");
        harbour.deploy_heir("chat", 1);
        assert_eq!(harbour.status("bolt.example", "/chat").await, 101);
        assert_eq!(harbour.status("localhost", "/chat").await, 404);
        assert_eq!(harbour.status("localhost", "/acme/chat").await, 101);
        // Neither reaches into what is another's, or the operator's own.
        let foreign = "[route]\npath = \"/\"\nhost = \"acme.example\"\n";
        let path = "/v1/tenants/bolt/deployments/other";
        let (status, told) = harbour.put((&harbour.bolt, path), ("echo", foreign), FIRST);
        assert_eq!(status, 422, "{told}");
        let reason = "[route] host = \"acme.example\": right is one of bolt.example";
        assert_eq!(told["error"]["reasons"], json!([reason]), "{told}");
        let (status, told) = harbour.put((&harbour.bolt, path), echo, FIRST);
        assert_eq!(status, 422, "{told}");
        assert!(
            told["error"]["what"].as_str().unwrap().contains("/chat"),
            "{told}"
        );
    });
}

#[test]
fn a_deployment_takes_nothing_from_the_operator() {
    covers("deploy.places");
    scenario(async {
        let own = wharf_tests::site::Mount::new("/acme/own/{x}", "echo").shared();
        let rest = wharf_tests::site::Mount::new("/{*rest}", "echo").shared();
        let harbour = Harbour::start(|site| site.mount(own).mount(rest));
        let path = "/v1/tenants/acme/deployments/chat";
        for taking in ["/own/{x}", "/own/a", "/{*all}"] {
            let manifest = format!("[route]\npath = \"{taking}\"\n");
            let (status, told) = harbour.put((&harbour.acme, path), ("echo", &manifest), FIRST);
            assert_eq!(status, 422, "{taking}: {told}");
            let what = told["error"]["what"].as_str().unwrap();
            assert!(what.contains("/acme/own/{x}"), "{what}");
        }
        let (_, list) = harbour.curl(&harbour.acme, &[], "/v1/tenants/acme/deployments");
        assert_eq!(
            list["deployments"],
            json!([]),
            "nothing was recorded: {list}"
        );
        let (status, told) = harbour.put((&harbour.acme, path), ("echo", PLAIN), FIRST);
        assert_eq!(status, 201, "{told}");
        assert_eq!(harbour.status("localhost", "/acme/").await, 101);
    });
}

#[test]
fn who_may_not_deploy_is_told_so() {
    covers("deploy.refused");
    scenario(async {
        let harbour =
            Harbour::start(|site| site.section("deployments", "component_bytes_max", "64KiB"));
        let before = paths(harbour.file("deployments"));
        let chat = "/v1/tenants/acme/deployments/chat";
        let mut refused = 0;
        let mut check =
            |token: &str, path: &str, parts: (&str, &str), header: &str, expect: u16| {
                let (status, told) = harbour.put((token, path), parts, header);
                assert_eq!(status, expect, "{path} {header}: {told}");
                for key in ["what", "where", "right"] {
                    let text = told["error"][key].as_str().unwrap_or_default();
                    assert!(!text.is_empty(), "{told}");
                }
                refused += 1;
                told
            };
        let (acme, plain) = (harbour.acme.as_str(), ("echo-c", PLAIN));
        check("", chat, plain, FIRST, 401);
        check("wharf_guess", chat, plain, FIRST, 401);
        check(&harbour.expired, chat, plain, FIRST, 401);
        check(&harbour.bolt, chat, plain, FIRST, 403);
        let long = "a".repeat(300);
        for name in ["..", "%2e%2e", "a/b", "a%2fb", "Chat", "a_b", "%00", &long] {
            let path = format!("/v1/tenants/acme/deployments/{name}");
            check(acme, &path, plain, FIRST, 400);
        }
        check(acme, chat, plain, "If-Match: \"1\"", 412);
        check(acme, chat, plain, "If-Match: x", 400);
        check(acme, chat, plain, "X-Nothing: 1", 428);
        let mistaken = "[route]\ninstnce = \"shared\"\npath = \"/\"\n";
        let told = check(acme, chat, ("echo-c", mistaken), FIRST, 400);
        let reasons = told["error"]["reasons"].to_string();
        assert!(
            reasons.contains("wharf.toml:2") && reasons.contains("did you mean instance?"),
            "{told}"
        );
        let hungry = "[route]\npath = \"/\"\n[route.grants]\ntimers = true\nkeyvalue = [\"a\"]\n";
        let told = check(acme, chat, ("echo-c", hungry), FIRST, 422);
        let reasons = [
            "[route.grants] keyvalue: the bucket \"a\"",
            "[route.grants] timers",
        ];
        assert_eq!(told["error"]["reasons"], json!(reasons));
        let text = harbour.write("a.wasm", "(component)").display().to_string();
        check(acme, chat, (&text, PLAIN), FIRST, 422);
        let large = harbour
            .write("large.wasm", vec![0; 1 << 20])
            .display()
            .to_string();
        check(acme, chat, (&large, PLAIN), FIRST, 413);
        let nobody = chat.replace("acme", "nobody");
        check(&harbour.operator, &nobody, plain, FIRST, 404);
        broken_requests_are_refused(&harbour, chat);
        assert_eq!(
            paths(harbour.file("deployments")),
            before,
            "no file was made"
        );
        a_replay_changes_nothing(&harbour, chat);
        let words = "uploads refused, 0 files made; 3 replays refused";
        figure("deploy.refused", format!("{refused} {words}"));
    });
}

/// What is no upload at all.
fn broken_requests_are_refused(harbour: &Harbour, chat: &str) {
    let acme = harbour.acme.as_str();
    let json = ["-X", "PUT", "--data", "{}", "--header", FIRST];
    assert_eq!(harbour.curl(acme, &json, chat).0, 415);
    let missing = ["-X", "PUT", "-F", "manifest=x", "--header", FIRST];
    assert_eq!(harbour.curl(acme, &missing, chat).0, 400);
    for arguments in [&["-X", "POST"][..], &["-X", "DELETE"]] {
        let below = if arguments[1] == "POST" {
            "/rollback"
        } else {
            ""
        };
        let path = format!("{chat}{below}");
        assert_eq!(harbour.curl(acme, arguments, &path).0, 428);
    }
}

/// The same deploy twice is one deploy.
fn a_replay_changes_nothing(harbour: &Harbour, chat: &str) {
    let (acme, plain) = (harbour.acme.as_str(), ("echo-c", PLAIN));
    let (status, told) = harbour.put((acme, chat), plain, FIRST);
    assert_eq!(status, 201, "{told}");
    let (status, told) = harbour.put((acme, chat), plain, FIRST);
    assert_eq!(status, 412, "{told}");
    let (status, _) = harbour.put((acme, chat), plain, "If-Match: \"1\"");
    assert_eq!(status, 200);
    let again = ["-X", "POST", "--header", "If-Match: \"1\""];
    assert_eq!(
        harbour.curl(acme, &again, &format!("{chat}/rollback")).0,
        412
    );
}

/// Every path under a folder.
fn paths(folder: std::path::PathBuf) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(paths(path.clone()));
        }
        found.push(path);
    }
    found.sort();
    found
}

/// An upload of acme that is never finished.
async fn begin_upload(harbour: &Harbour) -> HttpPeer {
    let mut slow = HttpPeer::connect(harbour.admin()).await;
    let head = format!(
        "PUT /v1/tenants/acme/deployments/slow HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         If-None-Match: *\r\nContent-Type: multipart/form-data; boundary=b\r\n\
         Content-Length: 1000000\r\n\r\n--b\r\n",
        harbour.acme
    );
    slow.send(head).await;
    slow
}

#[test]
fn one_tenant_does_not_keep_others_from_deploying() {
    covers("deploy.fair");
    scenario(async {
        let harbour = Harbour::start(|site| site);
        let slow = begin_upload(&harbour).await;
        let chat = "/v1/tenants/acme/deployments/chat";
        let busy = eventually(WAIT, "the upload has begun", || {
            let (status, told) = harbour.put((&harbour.acme, chat), ("echo-c", PLAIN), FIRST);
            (status == 429).then_some(told).ok_or(status.to_string())
        });
        let (told, _) = busy.await;
        assert_eq!(told["error"]["where"], "the tenant", "{told}");
        let bolt = "/v1/tenants/bolt/deployments/chat";
        let (status, told) = harbour.put((&harbour.bolt, bolt), ("echo-c", PLAIN), FIRST);
        assert_eq!(status, 201, "{told}");
        drop(slow);
        // The command waits for its turn.
        let told = harbour.deploy_heir("after", 1);
        assert_eq!(told["deployment"]["generation"], 1, "{told}");
    });
}

#[test]
fn an_upload_that_stands_still_is_cut() {
    covers("deploy.fair");
    scenario(async {
        let harbour = Harbour::start(|site| site);
        let mut slow = begin_upload(&harbour).await;
        let answer = slow.response_within(Duration::from_secs(20)).await;
        assert_eq!(answer.expect("it is answered").status, 408);
    });
}

#[test]
fn where_there_are_signers_a_deploy_has_to_be_signed() {
    covers("deploy.signed-api");
    scenario(async {
        let key = || KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let (right, other, wrong) = (key(), key(), key());
        let public = |key: &KeyPair| BASE64_STANDARD.encode(key.der_bytes());
        let harbour = Harbour::start(|site| {
            let signers = [&*public(&right), &*public(&other)];
            site.section("tenant.acme.deploy", "signers", signers)
        });
        let signature = |key: &KeyPair, guest: &str| {
            let digest = wharf::Digest::of(&guests::bytes(guest));
            key.sign(digest.as_bytes()).expect("it signs")
        };
        let path = "/v1/tenants/acme/deployments/chat";
        let echo = ("echo", PLAIN);
        let put = |signature: Option<&[u8]>, header: &str| {
            let file = signature.map(|bytes| harbour.write("chat.sig", bytes));
            let part = file.map(|file| format!("signature=@{}", file.display()));
            let more: Vec<&str> = part.iter().flat_map(|part| ["-F", part]).collect();
            harbour.put_with((&harbour.acme, path), echo, header, &more)
        };
        let of_another = signature(&right, "echo-c");
        let mut flipped = signature(&right, "echo");
        flipped[7] ^= 1;
        for (what, signed) in [
            ("none", None),
            ("by another key", Some(signature(&wrong, "echo"))),
            ("of another component", Some(of_another)),
            ("a flipped bit", Some(flipped)),
            ("of no length", Some(vec![7; 63])),
        ] {
            let (status, told) = put(signed.as_deref(), FIRST);
            assert!(matches!(status, 400 | 403), "{what}: {status} {told}");
            let text = told["error"].to_string();
            assert!(
                text.contains("signature") || text.contains("signed"),
                "{what}: {text}"
            );
        }
        assert_eq!(harbour.status("localhost", "/acme/").await, 404);
        for (key, header, expect) in [(&right, FIRST, 201), (&other, "If-Match: \"1\"", 200)] {
            let (status, told) = put(Some(&signature(key, "echo")), header);
            assert_eq!(status, expect, "{told}");
            assert_eq!(told["deployment"]["signed_by"], public(key), "{told}");
        }
        assert_eq!(harbour.status("localhost", "/acme/").await, 101);
        // The command sends it, too; as bytes, or as base64.
        let guest = guests::path("echo").display().to_string();
        let manifest = harbour.write("m.toml", PLAIN).display().to_string();
        let text = BASE64_STANDARD.encode(signature(&right, "echo"));
        let file = harbour.write("chat.sig", text).display().to_string();
        let arguments = ["deploy", &guest, "--manifest", &manifest, "--name", "chat"];
        let error = harbour.wharf(&harbour.acme, &arguments).unwrap_err();
        assert!(error.contains("sign"), "{error}");
        let signed = [&arguments[..], &["--signature", &file]].concat();
        let told = harbour.wharf(&harbour.acme, &signed).unwrap();
        assert!(told.contains("generation 3"), "{told}");
    });
}

#[test]
fn the_commands_say_what_would_be_right() {
    covers("deploy.cli");
    scenario(async {
        let harbour = Harbour::start(|site| site);
        let guest = guests::path("heir").display().to_string();
        let guest = guest.as_str();
        let file = |name: &str| harbour.file(name).display().to_string();
        let manifest = harbour.write("m.toml", heir("chat", 1));
        let manifest = manifest.display().to_string();
        let (nothing, server, folder) = (file("nothing"), file("wharf.toml"), file("."));
        let check = |arguments: &[&str], words: &str| {
            let output = harbour.run(&harbour.acme, arguments);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let code = if words.is_empty() { 2 } else { 1 };
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
            assert!(said.contains(words), "{arguments:?}: {said}");
        };
        let deploy = |arguments: &[&str], words: &str| {
            let all = [&["deploy", guest, "--manifest", &manifest], arguments].concat();
            check(&all, words);
        };
        deploy(&["--name", "A"], "1 to 63 characters");
        deploy(&["--tenant", "bolt"], "does not reach");
        deploy(&["--expect", "7"], "has generation 0, not 7");
        deploy(&["--expect", "x"], "");
        check(
            &["deploy", guest, "--manifest", &nothing],
            "there is no manifest",
        );
        check(&["deploy", guest, "--manifest", &server], "has no key");
        check(
            &["deploy", &nothing, "--manifest", &manifest],
            "No such file",
        );
        check(
            &["deploy", &folder, "--manifest", &manifest],
            "no component (.wasm)",
        );
        check(&["deploy", &manifest], "is no component");
        check(&["rollback", "chat"], "no deployment chat");
        check(&["undeploy", "chat"], "no deployment chat");
        check(&["deployments", ".."], "is no name");
        check(&["deployments", "chat"], "there is no such deployment");
        check(&["rollback"], "");
    });
}

#[test]
fn the_folder_of_a_handler_is_deployed_with_what_cargo_has_built() {
    covers("deploy.cli");
    scenario(async {
        let harbour = Harbour::start(|site| site);
        let folder = harbour.file("hello-again");
        let built = folder.join("target/wasm32-wasip2/release");
        let deploy = ["deploy", &folder.display().to_string()];
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("wharf.toml"), PLAIN).unwrap();
        let refused = harbour.wharf(&harbour.acme, &deploy).unwrap_err();
        assert!(refused.contains("build it, or name its file"), "{refused}");
        std::fs::create_dir_all(&built).unwrap();
        std::fs::copy(guests::path("echo"), built.join("hello_again.wasm")).unwrap();
        let told = harbour.wharf(&harbour.acme, &deploy).unwrap();
        assert!(told.starts_with("hello-again of acme serves "), "{told}");
        // What lies in the folder itself is meant first.
        std::fs::copy(guests::path("echo"), folder.join("other.wasm")).unwrap();
        let told = harbour.wharf(&harbour.acme, &deploy).unwrap_err();
        assert!(told.contains("already"), "{told}");
    });
}

#[test]
fn a_deploy_shows_its_steps() {
    covers("deploy.cli");
    scenario(async {
        let harbour = Harbour::start(|site| site);
        let guest = guests::path("heir").display().to_string();
        let manifest = harbour.write("m.toml", heir("chat", 1));
        let manifest = manifest.display().to_string();
        let arguments = ["deploy", &guest, "--manifest", &manifest, "--name", "chat"];
        let output = harbour.run(&harbour.acme, &arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        for step in [
            "uploaded",
            "compiled",
            "checked",
            "started an instance",
            "served",
        ] {
            assert!(said.contains(step), "{said}");
        }
        let told = String::from_utf8_lossy(&output.stdout);
        let first = "chat of acme serves /acme/chat (generation 1";
        assert!(told.starts_with(first), "{told}");
        let error = harbour
            .wharf(&harbour.acme, &["rollback", "chat"])
            .unwrap_err();
        assert!(error.contains("no previous version"), "{error}");
    });
}
