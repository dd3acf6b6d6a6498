//! What an operator decides about the admin listener: where it is, and who may use its API.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// Where operators reach the server, and who may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminSettings {
    /// The address, such as `127.0.0.1:9090`. It speaks plain HTTP, and whoever reaches it can read
    /// health and metrics.
    pub listen: String,
    /// Who may use the API; without any, nobody.
    pub tokens: Vec<AdminToken>,
}

/// A token, of which only the hash is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminToken {
    /// What the log calls it.
    pub name: String,
    /// SHA-256 of the token's text.
    pub sha256: [u8; 32],
    /// What it reaches.
    pub scope: AdminScope,
    /// From when on it is refused; `None` is never.
    pub expires: Option<SystemTime>,
}

/// What a token reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminScope {
    /// All tenants, and the server itself.
    Operator,
    /// What belongs to one tenant.
    Tenant(String),
}

/// A new token and, for the configuration, its SHA-256 in hexadecimal digits.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn new_admin_token() -> anyhow::Result<(String, String)> {
    let mut bytes = [0; TOKEN_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the operating system gave no random bytes"))?;
    let token = format!("wharf_{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = digest(&SHA256, token.as_bytes());
    let digits = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    let digits = digits.collect();
    Ok((token, digits))
}
