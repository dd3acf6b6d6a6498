//! What the operator wrote for this route: `wasi:config` in words that read
//! well. A route with neither `[route.config]` nor `[route.secrets]` refuses
//! a handler that uses this module at its start.
//!
//! ```no_run
//! use wharf_guest::settings;
//!
//! let greeting = settings::get("greeting").unwrap_or_else(|| "hello".to_owned());
//! let token = settings::get("token").expect("the operator set [route.secrets] token");
//! # let _ = (greeting, token);
//! ```
//!
//! All values are texts. They are read when the server starts.

use crate::bindings::settings::wasi::config::store;

/// The setting or secret of that name.
#[must_use]
pub fn get(key: &str) -> Option<String> {
    // The host has read all of them before it started: there is no error.
    store::get(key).ok().flatten()
}

/// All settings with their names, without the secrets.
#[must_use]
pub fn all() -> Vec<(String, String)> {
    store::get_all().unwrap_or_default()
}
