//! `wharf new`: what it writes, that this compiles and answers, and what a beginner is told.

use std::path::{Path, PathBuf};
use std::process::Command;

use wharf_tests::deadline::scenario;
use wharf_tests::guests;
use wharf_tests::peer::Peer;
use wharf_tests::server::{Child, binary, run};
use wharf_tests::site::Folder;

use crate::client::asked;
use crate::promises::covers;

fn read(folder: &Path, file: &str) -> String {
    let path = folder.join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes a file anew with one text in the place of another.
fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(file, text.replace(from, to)).unwrap();
}

/// A handler as `wharf new` makes it.
fn new_handler(folder: &Folder, name: &str) -> PathBuf {
    let place = folder.file(name);
    let made = run(&["new", &place.display().to_string()]);
    assert!(made.status.success(), "{made:?}");
    place
}

/// Runs the command in a folder; it has to fail. Gives what it said.
fn refusal(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(binary());
    let output = command.args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!output.status.success(), "{arguments:?}: {said}");
    said
}

#[test]
fn a_new_handler_names_its_component_its_sdk_and_what_to_do_next() {
    covers("sdk.new");
    let folder = Folder::new();
    let place = folder.file("chat-room");
    let path = place.display().to_string();
    let made = run(&["new", &path]);
    assert!(made.status.success(), "{made:?}");
    let said = String::from_utf8_lossy(&made.stdout);
    for part in [&*path, "rustup target add wasm32-wasip2", "wharf dev"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let cargo = read(&place, "Cargo.toml");
    let sdk = cargo.split("path = \"").nth(1).unwrap();
    let sdk = Path::new(sdk.split('"').next().unwrap());
    assert!(sdk.join("src/lib.rs").is_file(), "{cargo}");
    assert!(cargo.contains("name = \"chat-room\""), "{cargo}");
    let config = read(&place, "server.toml");
    assert!(config.contains("release/chat_room.wasm\""), "{config}");
    assert!(read(&place, ".cargo/config.toml").contains("wasm32-wasip2"));
    let files = [
        "Cargo.toml",
        "README.md",
        "server.toml",
        "wharf.toml",
        "src/lib.rs",
    ];
    assert!(files.iter().all(|file| !read(&place, file).contains('@')));
}

#[test]
fn a_new_handler_is_refused_a_wrong_name_and_a_place_that_is_taken() {
    covers("sdk.new");
    let folder = Folder::new();
    let place = new_handler(&folder, "hello");
    let source = read(&place, "src/lib.rs");
    for (arguments, expect) in [
        (vec!["new", "hello"], "hello is there already"),
        (vec!["new", "9lives"], "a letter first"),
        (vec!["new", "é"], "right are letters"),
        (vec!["new", "/"], "right are letters"),
        (vec!["new", "."], "right are letters"),
        (vec!["new", "wharf-guest"], "the name of the SDK"),
        (vec!["new", "wharf_guest"], "the name of the SDK"),
        (
            vec!["new", "a", "--sdk", "/nowhere"],
            "there is no SDK in /nowhere",
        ),
    ] {
        let said = refusal(place.parent().unwrap(), &arguments);
        assert!(said.contains(expect), "{arguments:?}: {said}");
    }
    assert_eq!(read(&place, "src/lib.rs"), source, "what is there stays");
    assert!(!folder.file("a").exists());
}

/// The target of users, wasm32-wasip2, is not on every machine: this compiles for the one that
/// `cargo xtask guests` compiles for, and links with the linker of the other. What Rust's standard
/// library brings there beyond it is the crate `wasi`; so the handler uses that, too, in the end.
#[test]
fn a_new_handler_compiles_and_answers() {
    covers("sdk.new-compiles");
    scenario(async {
        let folder = Folder::new();
        let place = new_handler(&folder, "hello-again");
        let component = place.join("target/wasm32-wasip2/release/hello_again.wasm");
        let source = place.join("src/lib.rs");
        replace(
            &source,
            "use wharf_guest",
            "#![deny(warnings)]\nuse wharf_guest",
        );
        guests::build(&place);
        let mut command = Command::new(binary());
        command
            .args(["serve", "--config", "server.toml"])
            .args(["--listen", "127.0.0.1:0"])
            .current_dir(&place);
        let server = Child::spawn(folder, command);
        let mut peer = Peer::connect(server.address, "/").await;
        peer.expect_text("hello").await;
        assert_eq!(asked(&mut peer, "κόσμε").await, "1: κόσμε");
        assert_eq!(asked(&mut peer, "again").await, "2: again");
        server.assert_healthy();

        let manifest = place.join("Cargo.toml");
        replace(
            &manifest,
            "[dependencies]",
            "[dependencies]\nwasi = \"=0.14.4\"",
        );
        let time = "wasi::clocks::monotonic_clock::now()";
        replace(&source, "+= 1;", &format!("+= {time}.min(1);"));
        guests::build(&place);
        let checked = run(&["check", &component.display().to_string()]);
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "{checked:?}");
        assert!(said.contains("wasi:clocks/monotonic-clock@0.2"), "{said}");
    });
}

#[test]
fn a_beginner_is_told_what_would_be_right() {
    covers("sdk.mistakes");
    let folder = Folder::new();
    let place = new_handler(&folder, "hello");
    let release = place.join("target/wasm32-wasip2/release");
    let serve = [
        "serve",
        "--config",
        "server.toml",
        "--listen",
        "127.0.0.1:0",
    ];
    let says = |arguments: &[&str], expect: &str| {
        let said = refusal(&place, arguments);
        assert!(said.contains(expect), "{arguments:?}: {said}");
    };
    says(
        &serve,
        "server.toml:6: [[route]] component = \"target/wasm32-wasip2/release/hello.wasm\": there is no \
         file target/wasm32-wasip2/release/hello.wasm: build the handler first",
    );
    says(
        &["serve", "hello.wasm"],
        "no file hello.wasm: build the handler first",
    );
    says(
        &["check", "hello.wasm"],
        "no file hello.wasm: build the handler first",
    );
    says(
        &["serve", "."],
        ". is a folder; right is a component's file",
    );
    says(
        &["serve", "server.toml"],
        "right would be `wharf serve --config server.toml`",
    );

    std::fs::create_dir_all(&release).unwrap();
    let component = release.join("hello.wasm");
    std::fs::write(&component, b"\0asm\x01\0\0\0").unwrap();
    says(
        &serve,
        "not a component; build it for the target wasm32-wasip2",
    );
    std::fs::copy(guests::path("counter"), &component).unwrap();
    says(
        &serve,
        "`[route.grants] keyvalue = [\"default\"]` would grant it",
    );

    let config = place.join("server.toml");
    replace(&config, "component", "componnent");
    says(
        &serve,
        "server.toml:6: [[route]] has no key componnent: did you mean component?",
    );
    let manifest = ["serve", "--config", "wharf.toml"];
    says(
        &manifest,
        "right is [[route]], with the `component` that it serves",
    );
}
