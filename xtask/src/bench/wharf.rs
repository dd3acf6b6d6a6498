//! Wharf's configuration for the benchmark: its defaults, and nothing else
//! that a figure would profit from.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::peers::Wharf;
use super::rows::Setup;

/// Sends what follows the prefix to all of its sessions.
pub(super) const FAN_OUT_GUEST: &str = "probe";
pub(super) const FAN_OUT_PREFIX: &str = "broadcast ";
/// What is echoed is asked for here; the key matters to keyed instances.
pub(super) const ECHO_PATH: &str = "/echo/{key}";

/// Writes the file for one manner of use and says where it is.
pub(super) fn write_config(
    folder: &Path,
    guests: &Path,
    certificate: &Path,
    name: &str,
    wharf: Wharf,
    setup: Setup,
) -> anyhow::Result<PathBuf> {
    let mut text = format!("listen = \"127.0.0.1:0\"\nworkers = {}\n", wharf.workers);
    if setup == Setup::Tls {
        let _ = write!(
            text,
            "\n[tls]\ncertificate = {:?}\nkey = {:?}\n",
            certificate.join("cert.pem"),
            certificate.join("key.pem"),
        );
    }
    let guest = |name: &str| guests.join(format!("{name}.wasm"));
    let _ = write!(
        text,
        "\n[[route]]\npath = {ECHO_PATH:?}\ncomponent = {:?}\ninstance = {:?}\n",
        guest(wharf.guest),
        wharf.instance,
    );
    if guest(FAN_OUT_GUEST).is_file() {
        let _ = write!(
            text,
            "\n[[route]]\npath = \"/fan-out\"\ncomponent = {:?}\ninstance = \"shared\"\n",
            guest(FAN_OUT_GUEST),
        );
    }
    let file = folder.join(format!("{name}-{setup:?}.toml").to_lowercase());
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}
