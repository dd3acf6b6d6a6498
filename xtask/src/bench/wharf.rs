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
/// The echo as a conversation, whose instances cannot sleep.
pub(super) const CONVERSATION_GUEST: &str = "dialogue";
/// Reads or writes a stored value for each message that it echoes.
pub(super) const STORED_GUEST: &str = "keep";
/// Where it reads, and where it writes.
pub(super) const STORED_PATHS: [&str; 2] = ["/kv-read", "/kv-write"];
/// Subscribes as it opens; publishes what follows the prefix.
pub(super) const TOPIC_GUEST: &str = "herald";
pub(super) const TOPIC_PREFIX: &str = "shout bench ";
pub(super) const TOPIC_PATH: &str = "/echo/topic?join=bench";
/// The same handler as on the echo's path, whose instances sleep as soon as they may.
pub(super) const SLEEP_PATH: &str = "/sleep/{key}";
/// What is echoed is asked for here; the key matters to keyed instances.
pub(super) const ECHO_PATH: &str = "/echo/{key}";

/// What the file is to say.
pub(super) struct Config<'a> {
    pub(super) wharf: Wharf,
    pub(super) setup: Setup,
    /// target/guests.
    pub(super) guests: &'a Path,
    /// The folder of cert.pem and key.pem.
    pub(super) certificate: &'a Path,
    /// Wharf's own default if nothing is given.
    pub(super) instances_max: Option<u32>,
}

impl Config<'_> {
    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        // Several servers live at a time: each has a storage of its own, new in each run.
        let storage = file.with_extension("redb");
        if storage.is_file() {
            std::fs::remove_file(&storage)
                .with_context(|| format!("removing {}", storage.display()))?;
        }
        std::fs::write(file, self.text(&storage))
            .with_context(|| format!("writing {}", file.display()))
    }

    fn text(&self, storage: &Path) -> String {
        let mut text = String::from("listen = \"127.0.0.1:0\"\n");
        // Writing to a String does not fail.
        let _ = writeln!(text, "workers = {}", self.wharf.workers);
        if let Some(instances_max) = self.instances_max {
            let _ = writeln!(text, "\n[engine]\ninstances_max = {instances_max}");
        }
        if self.setup == Setup::Tls {
            let (certificate, key) = (
                self.certificate.join("cert.pem"),
                self.certificate.join("key.pem"),
            );
            let _ = writeln!(
                text,
                "\n[tls]\ncertificate = {certificate:?}\nkey = {key:?}"
            );
        }
        self.route(ECHO_PATH, self.wharf.guest, self.wharf.instance, &mut text);
        if self.wharf.guest != CONVERSATION_GUEST {
            self.route(SLEEP_PATH, self.wharf.guest, self.wharf.instance, &mut text);
            text.push_str("idle = \"1ms\"\n");
        }
        if self.guest(FAN_OUT_GUEST).is_file() {
            self.route("/fan-out", FAN_OUT_GUEST, "shared", &mut text);
        }
        if self.guest(STORED_GUEST).is_file() {
            for path in STORED_PATHS {
                self.route(path, STORED_GUEST, "session", &mut text);
                text.push_str("grants.keyvalue = [\"default\"]\n");
            }
            let _ = writeln!(text, "\n[storage]\npath = {storage:?}");
        }
        text
    }

    fn route(&self, path: &str, guest: &str, instance: &str, text: &mut String) {
        let component = self.guest(guest);
        let _ = writeln!(
            text,
            "\n[[route]]\npath = {path:?}\ncomponent = {component:?}\ninstance = {instance:?}"
        );
        if guest == TOPIC_GUEST {
            let _ = writeln!(text, "grants.topics = true");
        }
    }

    fn guest(&self, name: &str) -> PathBuf {
        self.guests.join(format!("{name}.wasm"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::peers::Wharf;
    use super::super::rows::Setup;
    use super::Config;

    #[test]
    fn the_file_says_what_was_wanted() {
        let config = Config {
            wharf: Wharf {
                instance: "{key}",
                guest: "echo",
                workers: 2,
                native: false,
            },
            setup: Setup::Tls,
            guests: Path::new("/nowhere"),
            certificate: Path::new("/tls"),
            instances_max: Some(4),
        };
        let wanted = "listen = \"127.0.0.1:0\"\nworkers = 2\n\n[engine]\ninstances_max = 4\n\n[tls]\n\
            certificate = \"/tls/cert.pem\"\nkey = \"/tls/key.pem\"\n\n[[route]]\npath = \"/echo/{key}\"\n\
            component = \"/nowhere/echo.wasm\"\ninstance = \"{key}\"\n\n[[route]]\n\
            path = \"/sleep/{key}\"\ncomponent = \"/nowhere/echo.wasm\"\ninstance = \"{key}\"\n\
            idle = \"1ms\"\n";
        assert_eq!(config.text(Path::new("/stored.redb")), wanted);
    }
}
