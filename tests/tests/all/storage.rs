//! What handlers keep in the server's storage: keys and values, through real clients.

use wharf_tests::deadline::scenario;
use wharf_tests::peer::Peer;
use wharf_tests::server::{Child, start};
use wharf_tests::site::{Folder, Mount, Site};

use crate::promises::covers;

const FILE: &str = "wharf.redb";

/// The guest `store` with the bucket `default` and timers.
fn store(path: &str) -> Mount {
    let mount = Mount::new(path, "store").grant("keyvalue", ["default"]);
    mount.grant("timers", true)
}

/// Servers in memory, where nothing has to outlive the server.
fn in_memory() -> Site {
    Site::new().section("storage", "path", "memory")
}

/// Sends a command and expects its answer.
async fn ask(peer: &mut Peer, command: &str, answer: &str) {
    peer.send_text(command).await;
    assert_eq!(peer.text().await, answer, "{command:?}");
}

#[test]
fn values_are_set_read_listed_added_to_and_swapped() {
    covers("kv.store");
    scenario(async {
        let server = start(&in_memory().mount(store("/"))).await;
        let mut peer = Peer::connect(server.address, "/").await;
        let mut other = Peer::connect(server.address, "/").await;
        for (command, answer) in [
            ("get\tdefault\tk", "none"),
            ("exists\tdefault\tk", "false"),
            ("set\tdefault\tk\tv", "ok"),
            ("exists\tdefault\tk", "true"),
            ("set\tdefault\t\tthe empty key", "ok"),
            ("get\tdefault\t", "the empty key"),
            ("add\tdefault\tn\t5", "5"),
            ("add\tdefault\tn\t-7", "-2"),
            (
                "add\tdefault\tk\t1",
                "error the value is no number: an increment needs decimal digits, such as 42",
            ),
            ("append\tdefault\tk\tw", "vw"),
            ("append\tdefault\tka\tx", "x"),
            ("keys\tdefault", "\tk\tka\tn"),
            ("keys\tdefault\tk", "k\tka"),
            ("get\tscores\tk", "error this bucket was not granted"),
            ("delete\tdefault\tka", "ok"),
            ("delete\tdefault\tka", "ok"),
        ] {
            ask(&mut peer, command, answer).await;
        }
        // The other session has an instance of its own, and the same storage.
        ask(&mut other, "get\tdefault\tk", "vw").await;
        ask(&mut other, "keys\tdefault", "\tk\tn").await;
        drop((peer, other));
        server
            .server
            .shutdown()
            .await
            .expect("the storage ends with its server");
    });
}

#[test]
fn two_tenants_share_no_bucket_and_two_routes_of_one_do() {
    covers("kv.tenants");
    scenario(async {
        let site = in_memory()
            .workers(2)
            .mount(store("/a").set("tenant", "acme"))
            .mount(store("/b").set("tenant", "acme"))
            .mount(store("/c").set("tenant", "other"));
        let server = start(&site).await;
        let mut peers = Vec::new();
        for path in ["/a", "/b", "/c"] {
            peers.push(Peer::connect(server.address, path).await);
        }
        let names = [
            "",
            "k",
            "a/b",
            "\u{1}",
            "ä😀",
            "default",
            &"k".repeat(1_024),
        ];
        for name in names {
            ask(
                &mut peers[0],
                &format!("set\tdefault\t{name}\tof acme"),
                "ok",
            )
            .await;
        }
        for name in names {
            ask(&mut peers[1], &format!("get\tdefault\t{name}"), "of acme").await;
            ask(&mut peers[2], &format!("get\tdefault\t{name}"), "none").await;
        }
        ask(&mut peers[2], "keys\tdefault", "").await;
    });
}

#[test]
fn what_was_stored_outlives_the_server() {
    covers("kv.durable");
    scenario(async {
        let mut folder = Folder::new();
        for round in 0..3 {
            let site = Site::new()
                .section("storage", "path", FILE)
                .mount(store("/"));
            let mut server = Child::start_in(folder, &site);
            let mut peer = Peer::connect(server.address, "/").await;
            ask(
                &mut peer,
                "add\tdefault\trounds\t1",
                &format!("{}", round + 1),
            )
            .await;
            // Once in order, once without a word.
            server.signal(if round == 1 { "KILL" } else { "TERM" });
            server.exit_within(wharf_tests::deadline::STEP).await;
            folder = std::mem::take(&mut server.folder);
        }
    });
}

#[test]
fn a_grant_without_a_storage_is_an_error_with_its_line() {
    covers("kv.granted");
    let folder = Folder::new();
    let site = Site::new().mount(store("/"));
    let config = folder.write("wharf.toml", site.toml());
    let output = wharf_tests::server::run(&["serve", "--config", &config.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("wharf.toml:") && said.contains("the server has no storage"),
        "{said}"
    );
}

#[test]
fn a_component_without_the_grant_is_refused_by_name() {
    covers("kv.granted");
    let folder = Folder::new();
    let site = in_memory().mount(Mount::new("/", "store"));
    let config = folder.write("wharf.toml", site.toml());
    let output = wharf_tests::server::run(&["serve", "--config", &config.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for name in [
        "wasi:keyvalue/store",
        "wasi:keyvalue/atomics",
        "[route.grants] keyvalue",
        "wharf:websocket/timers",
        "[route.grants] timers",
    ] {
        assert!(said.contains(name), "{name} is not in {said}");
    }
}

#[test]
fn a_file_that_another_server_has_open_is_named() {
    covers("kv.durable");
    scenario(async {
        let folder = Folder::new();
        let file = folder.file(FILE).display().to_string();
        let site = Site::new()
            .section("storage", "path", file.as_str())
            .mount(store("/"));
        let _first = Child::start(&site);
        let config = folder.write("wharf.toml", site.toml());
        let second =
            wharf_tests::server::run(&["serve", "--config", &config.display().to_string()]);
        let said = String::from_utf8_lossy(&second.stderr);
        assert!(
            said.contains(&file) && said.contains("another process"),
            "{said}"
        );
    });
}
