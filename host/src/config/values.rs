//! `[route.config]` and `[route.secrets]`: what a component reads through `wasi:config`.
//!
//! Secrets come from files and environment variables, never from the document itself, and no message
//! shows any part of one.

use std::path::Path;

use super::document::{Section, Value};
use crate::catalog::{Secret, Settings};

/// What a key may have.
const KEY_BYTES_MAX: usize = 256;
/// What a setting or a secret may have.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Reads `[route.config]`; `None` if it is not there.
pub(super) fn settings(route: &Section<'_, '_>) -> Option<Settings> {
    let section = route.section("config", "[route.config]")?;
    let mut settings = Settings::default();
    for (key, value) in section.entries() {
        if let Some(text) = plain(&section, key, value) {
            settings.values.insert(key.to_owned(), text);
        }
    }
    Some(settings)
}

/// Reads `[route.secrets]` in addition. `folder` is the config file's.
pub(super) fn secrets(route: &Section<'_, '_>, folder: &Path, settings: &mut Option<Settings>) {
    let Some(section) = route.section("secrets", "[route.secrets]") else {
        return;
    };
    let settings = settings.get_or_insert_default();
    for (key, value) in section.entries() {
        if settings.values.contains_key(key) {
            section.refuse_hidden(key, value, "it is in [route.config], too: choose one");
        } else if let Some(secret) = secret(&section, key, value, folder) {
            settings.secrets.insert(key.to_owned(), secret);
        }
    }
}

/// A text, a number or a flag, as a text.
fn plain(section: &Section<'_, '_>, key: &str, value: &Value<'_>) -> Option<String> {
    const RIGHT: &str = "right is a text, a number, true or false";
    if !is_key(section, key, value) {
        return None;
    }
    let value_here = value.get_ref();
    let text = value_here.as_str().map(str::to_owned);
    let number = || {
        let number = value_here.as_integer()?;
        let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
        Some(number.to_string())
    };
    let fraction = || Some(value_here.as_float()?.as_str().to_owned());
    let flag = || value_here.as_bool().map(|flag| flag.to_string());
    match text.or_else(number).or_else(fraction).or_else(flag) {
        Some(text) if text.len() > VALUE_BYTES_MAX => {
            section.refuse_hidden(key, value, "it is longer than 64 KiB");
            None
        }
        None => {
            section.refuse_hidden(key, value, RIGHT);
            None
        }
        text => text,
    }
}

/// What a file or an environment variable holds.
pub(super) fn secret(
    section: &Section<'_, '_>,
    key: &str,
    value: &Value<'_>,
    folder: &Path,
) -> Option<Secret> {
    const RIGHT: &str = "right is { file = \"token.txt\" } or { env = \"TOKEN\" }: a secret does not \
        stand in this file";
    if !is_key(section, key, value) {
        return None;
    }
    let Some(place) = section.inner("a secret", value) else {
        section.refuse_hidden(key, value, RIGHT);
        return None;
    };
    let found = match (place.text("file", RIGHT), place.text("env", RIGHT)) {
        (Some(file), None) => {
            let file = folder.join(file);
            section.note_file(&file);
            from_file(&file)
        }
        (None, Some(name)) => from_environment(&name),
        _ => Err(RIGHT.to_owned()),
    };
    place.finish();
    match found {
        Ok(text) => Some(Secret::new(text)),
        Err(why) => {
            section.refuse_hidden(key, value, why);
            None
        }
    }
}

/// A file's text without the newline that editors put at its end.
fn from_file(file: &Path) -> Result<String, String> {
    let named = |why: &str| format!("the file {} {why}", file.display());
    let bytes = std::fs::read(file).map_err(|error| named(&format!("cannot be read: {error}")))?;
    let mut text = String::from_utf8(bytes).map_err(|_| named("is no UTF-8 text"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.len() > VALUE_BYTES_MAX {
        return Err(named("is longer than 64 KiB"));
    }
    Ok(text)
}

fn from_environment(name: &str) -> Result<String, String> {
    match std::env::var(name) {
        Ok(text) if text.len() > VALUE_BYTES_MAX => Err(format!(
            "the environment variable {name} is longer than 64 KiB"
        )),
        Ok(text) => Ok(text),
        Err(std::env::VarError::NotPresent) => {
            Err(format!("there is no environment variable {name}"))
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(format!("the environment variable {name} is no UTF-8 text"))
        }
    }
}

fn is_key(section: &Section<'_, '_>, key: &str, value: &Value<'_>) -> bool {
    let fits = !key.is_empty() && key.len() <= KEY_BYTES_MAX && !key.chars().any(char::is_control);
    if !fits {
        let why = "a key has 1 to 256 bytes and no control characters";
        section.refuse_hidden(key, value, why);
    }
    fits
}
