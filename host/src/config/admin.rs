//! `[admin]`: where operators reach the server, and who may use its API.

use std::net::{IpAddr, SocketAddr};

use super::document::{Section, Value};
use crate::admin::{AdminScope, AdminSettings, AdminToken};

/// Hexadecimal digits of a SHA-256.
const HASH_DIGITS: usize = 64;

/// Reads the section, if there is one.
pub(super) fn settings(top: &Section<'_, '_>, warnings: &mut Vec<String>) -> Option<AdminSettings> {
    const LISTEN: &str = "right is an address with its port, such as \"127.0.0.1:9090\"";
    let section = top.section("admin", "[admin]")?;
    let mut settings = AdminSettings::default();
    match section.text("listen", LISTEN) {
        Some(address) => match address.parse::<SocketAddr>() {
            Ok(parsed) => {
                warn(parsed.ip(), warnings);
                settings.listen = address;
            }
            Err(_) => section.refuse("listen", LISTEN),
        },
        None if section.has("listen") => {}
        None => section.missing("listen", LISTEN),
    }
    if let Some(tokens) = section.section("token", "[admin.token.NAME]") {
        for (name, value) in tokens.entries() {
            settings.tokens.extend(token(&tokens, name, value));
        }
    }
    section.finish();
    Some(settings)
}

/// One `[admin.token.NAME]`.
fn token(tokens: &Section<'_, '_>, name: &str, value: &Value<'_>) -> Option<AdminToken> {
    const HASH: &str = "right are the 64 hexadecimal digits that `wharf token` prints";
    const EXPIRES: &str = "right is a date, such as 2027-01-31 or 2027-01-31T12:00:00Z";
    const SCOPE: &str = "right is either `tenant = \"acme\"` or `operator = true`";
    if !super::route::is_name(name) {
        let why = "right is a name of up to 64 letters, digits, `-`, `_` and `.`";
        tokens.refuse_hidden(name, value, why);
        return None;
    }
    let Some(section) = tokens.inner("[admin.token]", value) else {
        tokens.refuse_hidden(name, value, "right is a table, written [admin.token.NAME]");
        return None;
    };
    let hash = section.text("sha256", HASH);
    let sha256 = hash.as_deref().and_then(hash_of);
    match (&hash, sha256) {
        (Some(_), None) => section.refuse("sha256", HASH),
        (None, _) if !section.has("sha256") => section.missing("sha256", HASH),
        _ => {}
    }
    let mut is_operator = false;
    section.flag("operator", &mut is_operator);
    let has_tenant = section.has("tenant");
    let scope = match (has_tenant, is_operator) {
        (true, false) => Some(AdminScope::Tenant(super::route::tenant(&section))),
        (false, true) => Some(AdminScope::Operator),
        (true, true) => {
            section.refuse("operator", SCOPE);
            None
        }
        (false, false) => {
            section.missing("tenant", SCOPE);
            None
        }
    };
    let expires = section.date("expires", EXPIRES);
    section.finish();
    Some(AdminToken {
        name: name.to_owned(),
        sha256: sha256?,
        scope: scope?,
        expires,
    })
}

fn hash_of(text: &str) -> Option<[u8; 32]> {
    if text.len() != HASH_DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(hash)
}

fn warn(address: IpAddr, warnings: &mut Vec<String>) {
    if !address.is_loopback() {
        warnings.push(format!(
            "[admin] listens on {address}, and speaks plain HTTP: whoever is on the way can read \
             tokens, and whoever reaches it metrics. Put a proxy with TLS before it, or listen on \
             127.0.0.1"
        ));
    }
}
