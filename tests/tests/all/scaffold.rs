//! `wharf new`: what it writes and what it refuses.

use std::path::Path;

use wharf_tests::deadline::scenario;
use wharf_tests::server::run;
use wharf_tests::site::Folder;

use crate::promises::covers;

fn read(folder: &Path, file: &str) -> String {
    let path = folder.join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_new_handler_names_its_component_its_sdk_and_what_to_do_next() {
    covers("sdk.new");
    scenario(async {
        let folder = Folder::new();
        let place = folder.write("here", "");
        let place = place.with_file_name("chat-room");
        let path = place.display().to_string();
        let made = run(&["new", &path]);
        assert!(made.status.success(), "{made:?}");
        let said = String::from_utf8_lossy(&made.stdout);
        for part in [
            &*path,
            "cargo build --release",
            "wharf serve --config wharf.toml",
        ] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        let cargo = read(&place, "Cargo.toml");
        let sdk = cargo.split("path = \"").nth(1).unwrap();
        let sdk = Path::new(sdk.split('"').next().unwrap());
        assert!(sdk.join("src/lib.rs").is_file(), "{cargo}");
        assert!(cargo.contains("name = \"chat-room\""), "{cargo}");
        let config = read(&place, "wharf.toml");
        assert!(config.contains("release/chat_room.wasm\""), "{config}");
        assert!(read(&place, ".cargo/config.toml").contains("wasm32-wasip2"));
        assert!(read(&place, "src/lib.rs").contains("wharf_guest::export!"));
        let files = ["Cargo.toml", "README.md", "wharf.toml", "src/lib.rs"];
        assert!(files.iter().all(|file| !read(&place, file).contains('@')));
        // What is there stays.
        let again = run(&["new", &path]);
        assert!(!again.status.success());
        let said = String::from_utf8_lossy(&again.stderr);
        assert!(said.contains("is there already"), "{said}");
        for (arguments, expect) in [
            (vec!["new", "9lives"], "a letter first"),
            (vec!["new", "é"], "right are letters"),
            (vec!["new", "/"], "right are letters"),
            (
                vec!["new", "a", "--sdk", "/nowhere"],
                "there is no SDK in /nowhere",
            ),
        ] {
            let refused = run(&arguments);
            let said = String::from_utf8_lossy(&refused.stderr);
            assert!(!refused.status.success() && said.contains(expect), "{said}");
        }
    });
}
