//! `wharf dev`: from a change in a handler's folder to what its open sockets are answered.
//!
//! Compiles nothing: the builds here are shell scripts that copy one guest or another.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use wharf_tests::deadline::{STEP, eventually, scenario};
use wharf_tests::guests;
use wharf_tests::peer::Peer;
use wharf_tests::process::Process;
use wharf_tests::server::{Child, binary};
use wharf_tests::site::{Folder, Mount, Site};

use crate::client::asked;
use crate::promises::covers;

/// A folder with `build.sh`, which makes `app.wasm` of this guest.
fn handler(guest: &str) -> Folder {
    let folder = Folder::new();
    let mount = Mount::new("/", guest).set("component", "app.wasm");
    folder.write("server.toml", Site::new().mount(mount).toml());
    folder.write("build.sh", copying(guest));
    folder
}

fn copying(guest: &str) -> String {
    format!("cp {} app.wasm\n", guests::path(guest).display())
}

fn dev(folder: &Folder) -> Command {
    let mut command = Command::new(binary());
    command.arg("dev").current_dir(folder.file(""));
    command
}

fn start(folder: Folder) -> Child {
    let mut command = dev(&folder);
    command.args(["--build", "sh build.sh"]);
    Child::spawn(folder, command)
}

/// Waits until the command has said it.
async fn said(server: &Child, text: &str) {
    let probe = || match server.log() {
        log if log.contains(text) => Ok(()),
        log => Err(log),
    };
    eventually(STEP, text, probe).await;
}

/// What the command says when it does not begin to serve.
fn refusal(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_change_is_served_on_the_open_socket() {
    covers("dev.changes");
    scenario(async {
        let server = start(handler("echo"));
        let mut peer = Peer::connect(server.address, "/").await;
        assert_eq!(asked(&mut peer, "count").await, "count");
        server.folder.write("build.sh", copying("probe"));
        said(&server, "build.sh has changed: sh build.sh").await;
        said(&server, "version 2 is served, 1 session stays open").await;
        assert_eq!(asked(&mut peer, "count").await, "1", "the probe answers");

        // Somebody else builds.
        std::fs::copy(guests::path("echo"), server.folder.file("app.wasm")).unwrap();
        said(&server, "app.wasm has changed\n").await;
        said(&server, "version 3 is served").await;
        assert_eq!(asked(&mut peer, "count").await, "count");

        let config = std::fs::read_to_string(server.folder.file("server.toml")).unwrap();
        let shared = config.replace("path = \"/\"", "path = \"/\"\ninstance = \"shared\"");
        server.folder.write("server.toml", shared);
        said(&server, "server.toml has changed: sh build.sh").await;
        said(&server, "version 4 is served").await;
        let mut other = Peer::connect(server.address, "/").await;
        assert_eq!(asked(&mut other, "count").await, "1", "the probe again");
        assert_eq!(
            asked(&mut peer, "count").await,
            "count",
            "another instance model cannot be swapped"
        );
        server.assert_healthy();
    });
}

#[test]
fn a_conversation_stays_with_the_version_that_it_began_with() {
    covers("dev.changes");
    scenario(async {
        let server = start(handler("dialogue"));
        let mut peer = Peer::connect(server.address, "/").await;
        assert_eq!(asked(&mut peer, "count").await, "count");
        server.folder.write("build.sh", copying("talker"));
        said(&server, "version 2 is served").await;
        assert_eq!(asked(&mut peer, "count").await, "count");
        let mut other = Peer::connect(server.address, "/").await;
        assert_eq!(asked(&mut other, "count").await, "1");
        server.assert_healthy();
    });
}

#[test]
fn after_a_failed_build_the_version_before_goes_on() {
    covers("dev.failures");
    scenario(async {
        let server = start(handler("echo"));
        let mut peer = Peer::connect(server.address, "/").await;
        let breaks = [
            // The compiler's output, on either stream.
            (
                "echo 'error: expected `;`' >&2; echo at line 7; exit 3",
                "wharf: the build failed with 3; version 1 is served on",
            ),
            (
                "no-such-compiler app.rs",
                "the shell does not find a program of `--build`; version 1 is served on",
            ),
            (
                "kill -KILL $PPID",
                "the build was ended by the signal 9; version 1 is served on",
            ),
            // It succeeds, and makes nothing that could be served.
            (
                "rm app.wasm",
                "there is no file ./app.wasm: build the handler first",
            ),
            (
                "echo no wasm > app.wasm",
                "the component app cannot be served: the file is no WebAssembly",
            ),
        ];
        for (script, expect) in breaks {
            server.folder.write("build.sh", script);
            said(&server, expect).await;
            assert_eq!(asked(&mut peer, "count").await, "count", "{script}");
        }
        for said in ["error: expected `;`\n", "at line 7\n", "no-such-compiler"] {
            assert!(server.log().contains(said), "{said}: {}", server.log());
        }
        server.folder.write("build.sh", copying("probe"));
        said(&server, "version 2 is served, 1 session stays open").await;
        assert_eq!(asked(&mut peer, "count").await, "1");

        let config = std::fs::read_to_string(server.folder.file("server.toml")).unwrap();
        let wrong = config.replace("component", "componnent");
        server.folder.write("server.toml", wrong);
        said(&server, "has no key componnent: did you mean component?").await;
        said(&server, "version 2 is served on").await;
        assert_eq!(asked(&mut peer, "count").await, "1");
        server.folder.write("server.toml", config);
        said(&server, "no handler has changed, version 2 is served on").await;
        server.assert_healthy();
    });
}

/// The first build fails: nothing is served before it is right.
#[test]
fn a_first_build_may_fail() {
    covers("dev.failures");
    scenario(async {
        let folder = handler("echo");
        // The second build, which the change brings about, succeeds.
        let once = "test -e tried || { touch tried; echo expected a semicolon; exit 1; }\n";
        folder.write("build.sh", format!("{once}{}", copying("echo")));
        let server = start(folder);
        let log = server.log();
        let expect =
            "the build failed with 1; nothing is served yet: it begins again when a file changes";
        assert!(log.contains(expect), "{log}");
        assert!(log.contains("expected a semicolon"), "{log}");
        let mut peer = Peer::connect(server.address, "/").await;
        assert_eq!(asked(&mut peer, "hello").await, "hello");
    });
}

/// A cargo that says how it was called, and copies a guest.
fn cargo(folder: &Folder) -> String {
    let bin = folder.file(".bin");
    std::fs::create_dir_all(&bin).unwrap();
    let cargo = bin.join("cargo");
    let script = format!("#!/bin/sh\necho cargo got \"$@\"\n{}", copying("echo"));
    std::fs::write(&cargo, script).unwrap();
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", bin.display())
}

#[test]
fn cargo_builds_what_has_a_cargo_toml() {
    covers("dev.changes");
    scenario(async {
        let folder = handler("echo");
        folder.write("Cargo.toml", "[package]");
        let mut command = Command::new(binary());
        command.arg("dev").arg(folder.file("")).current_dir("/");
        command.env("PATH", cargo(&folder));
        let server = Child::spawn(folder, command);
        let log = server.log();
        assert!(log.contains("cargo got build --release\n"), "{log}");
        let mut peer = Peer::connect(server.address, "/").await;
        assert_eq!(asked(&mut peer, "hello").await, "hello");
    });
}

#[test]
fn what_cannot_begin_says_what_would_be_right() {
    covers("dev.failures");
    let folder = handler("echo");
    let says = |command: Command, expect: &str| {
        let said = refusal(command);
        assert!(said.contains(expect), "{said}");
    };
    says(
        dev(&folder),
        "has no Cargo.toml: say how it is built, such as `--build",
    );
    let in_folder = |place: &Path| {
        let mut command = dev(&folder);
        command.arg(place);
        command
    };
    says(in_folder(Path::new("nowhere")), "nowhere: No such file");
    says(in_folder(Path::new("build.sh")), "build.sh is no folder");
    std::fs::create_dir(folder.file("empty")).unwrap();
    says(
        in_folder(Path::new("empty")),
        "there is no file empty/server.toml: right is the folder of a handler, as `wharf new` makes it",
    );
}

#[test]
fn a_build_tool_that_is_missing_is_named() {
    covers("dev.failures");
    scenario(async {
        let folder = handler("echo");
        folder.write("Cargo.toml", "[package]");
        let log = folder.file(".log");
        let mut command = dev(&folder);
        command.env("PATH", folder.file("nowhere"));
        command.stderr(std::fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let expect = "cargo is not on the search path (PATH): right is Rust, from https://rustup.rs, or \
                      `--build COMMAND`; nothing is served yet";
        let probe = || match std::fs::read_to_string(&log).unwrap() {
            log if log.contains(expect) => Ok(()),
            log => Err(log),
        };
        eventually(STEP, "the tool is named", probe).await;
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn the_end_ends_the_build_that_runs_and_closes_the_sessions() {
    covers("dev.end");
    for signal in ["INT", "TERM"] {
        scenario(async {
            let mut server = start(handler("echo"));
            let mut peer = Peer::connect(server.address, "/").await;
            // One process that the build starts, and one that it becomes.
            let script = "sleep 1000 & echo $! $$ > .running.part; mv .running.part .running; exec sleep 1000";
            server.folder.write("build.sh", script);
            let running = server.folder.file(".running");
            let begun = || std::fs::read_to_string(&running).map_err(|error| error.to_string());
            let (numbers, _) = eventually(STEP, "the build runs", begun).await;
            let numbers = numbers
                .split_whitespace()
                .map(|number| number.parse().unwrap());
            let processes: Vec<_> = numbers.map(Process).collect();
            assert!(processes.iter().all(|process| process.is_alive()));
            server.signal(signal);
            peer.expect_close(1001).await;
            assert!(server.exit_within(STEP).await.success(), "{}", server.log());
            assert_eq!(processes.len(), 2);
            assert!(
                !processes.iter().any(|process| process.is_alive()),
                "{signal}"
            );
        });
    }
}
