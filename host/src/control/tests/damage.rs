//! Files and records that are not what was written: found by their digests, compiled again where
//! that helps, refused where it does not.

use super::*;

fn flip(file: &std::path::Path, bit: usize) {
    let mut bytes = std::fs::read(file).expect("it is there");
    bytes[bit / 8] ^= 1 << (bit % 8);
    std::fs::write(file, bytes).expect("it can be written");
}

fn bits(file: &std::path::Path) -> usize {
    std::fs::metadata(file).expect("it is there").len() as usize * 8
}

#[test]
fn damaged_code_is_compiled_again_and_never_loaded() {
    let place = Place::new();
    let registry = place.open();
    deploy(&registry, "chat", &numbered(1), 0).expect("deployed");
    let code = &place.files("compiled")[0];
    let read = || std::fs::read(code).expect("it is there");
    for bit in (0..bits(code)).step_by(bits(code) / 20) {
        flip(code, bit);
        let damaged = read();
        let current = registry.current("acme", "chat");
        let component = current.expect("it is compiled again").component;
        assert_ne!(component.bytes(), damaged, "bit {bit}");
        assert_eq!(component.bytes(), read(), "bit {bit}");
    }
    std::fs::remove_file(code).expect("it can be removed");
    registry
        .current("acme", "chat")
        .expect("it is compiled again");
    assert!(code.is_file());
}

#[test]
fn a_damaged_artifact_is_refused_and_an_upload_heals_it() {
    let place = Place::new();
    let registry = place.open();
    let component = numbered(1);
    deploy(&registry, "chat", &component, 0).expect("deployed");
    let file = &place.files("artifacts")[0];
    flip(file, bits(file) / 2);
    let damaged = registry.artifact(&Digest::of(&component));
    assert!(
        matches!(damaged, Err(DeployError::Damaged(_))),
        "{damaged:?}"
    );
    registry.current("acme", "chat").expect("its code is sound");
    std::fs::remove_file(&place.files("compiled")[0]).expect("it can be removed");
    let nothing = registry.current("acme", "chat").map(drop);
    assert!(
        matches!(nothing, Err(DeployError::Damaged(_))),
        "{nothing:?}"
    );
    deploy(&registry, "chat", &component, 1).expect("uploaded again");
    registry.current("acme", "chat").expect("it is sound again");
}

#[test]
fn a_registry_that_lost_its_end_is_refused() {
    let place = Place::new();
    let registry = place.open();
    deploy(&registry, "chat", &numbered(1), 0).expect("deployed");
    drop(registry);
    let file = place.0.join("registry.redb");
    let old = std::fs::read(&file).expect("it is there");
    let registry = place.open();
    deploy(&registry, "chat", &numbered(2), 1).expect("deployed");
    drop(registry);
    let new = std::fs::read(&file).expect("it is there");
    std::fs::write(&file, old).expect("it can be written");
    let error = Registry::open(place.settings()).expect_err("it is old");
    assert!(error.to_string().contains("lost its end"), "{error}");
    std::fs::write(&file, new).expect("it can be written");
    let latest = place.0.join("latest");
    flip(&latest, 9);
    let registry = place.open();
    assert_eq!(
        registry.generation("acme", "chat"),
        Ok(2),
        "the note is written anew"
    );
}

#[test]
fn no_disk_is_said_so_and_changes_nothing() {
    let place = Place::new();
    let registry = place.open();
    deploy(&registry, "chat", &numbered(1), 0).expect("deployed");
    for part in ["drafts", "artifacts", "compiled"] {
        let folder = place.0.join(part);
        let aside = place.0.join("aside");
        std::fs::rename(&folder, &aside).expect("it can be moved");
        std::fs::write(&folder, "no folder").expect("it can be written");
        let error = deploy(&registry, "chat", &numbered(2), 1).expect_err(part);
        assert!(matches!(error, DeployError::Disk(_)), "{part}: {error:?}");
        std::fs::remove_file(&folder).expect("it can be removed");
        std::fs::rename(&aside, &folder).expect("it can be moved");
        assert_eq!(registry.generation("acme", "chat"), Ok(1), "{part}");
        registry.current("acme", "chat").expect("it is untouched");
    }
    deploy(&registry, "chat", &numbered(2), 1).expect("the disk is back");
}
