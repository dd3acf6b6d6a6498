//! `[storage]`: where components' keys, values and timers are kept, and how much of them.

use std::path::Path;

use super::document::Section;
use crate::storage::{StoragePlace, StorageSettings};

/// The path that stands for no file.
const MEMORY: &str = "memory";

/// Reads the section, if there is one. `folder` is the config file's.
pub(super) fn storage(top: &Section<'_, '_>, folder: &Path) -> Option<StorageSettings> {
    const PATH: &str = "right is the path of a file, such as \"wharf.redb\", or \"memory\"";
    const TIB: u64 = 1 << 40;
    let section = top.section("storage", "[storage]")?;
    let place = match section.text("path", PATH) {
        Some(path) if path == MEMORY => StoragePlace::Memory,
        Some(path) if path.is_empty() => {
            section.refuse("path", PATH);
            StoragePlace::Memory
        }
        Some(path) => StoragePlace::File(folder.join(path)),
        None => {
            if !section.has("path") {
                section.missing("path", PATH);
            }
            StoragePlace::Memory
        }
    };
    let mut settings = StorageSettings::new(place);
    section.size("cache_bytes", 1 << 20..=TIB, &mut settings.cache_bytes);
    section.size("tenant_bytes_max", 0..=TIB, &mut settings.tenant_bytes_max);
    section.count(
        "tenant_keys_max",
        0..=1_000_000_000,
        &mut settings.tenant_keys_max,
    );
    section.count(
        "tenant_timers_max",
        0..=10_000_000,
        &mut settings.tenant_timers_max,
    );
    section.finish();
    Some(settings)
}
