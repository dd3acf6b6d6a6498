//! What fuzzing has kept is tried again by every `cargo test`.

use std::path::Path;

use crate::targets;

#[track_caller]
fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let entries = std::fs::read_dir(&folder).expect("the corpus is in the tree");
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("a folder that can be listed").path();
        let data = std::fs::read(&path).expect("a file that can be read");
        body(&data);
        count += 1;
    }
    assert!(count > 0, "nothing in {}", folder.display());
}

#[test]
fn the_corpus_of_the_handshake() {
    replay("handshake", targets::handshake);
}

#[test]
fn the_corpus_of_frames() {
    replay("frames", targets::frames);
}

#[test]
fn the_corpus_of_inflate() {
    replay("inflate", targets::inflate);
}
