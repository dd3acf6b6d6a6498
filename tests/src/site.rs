//! What a server under test serves, said once and started either in-process or as a child.
//!
//! Holds the settings as the configuration file names them; it never checks them, that is the
//! server's part.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::guests;

/// A value of the configuration file.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string; durations are strings with a unit, such as `"500ms"`.
    Text(String),
    /// A number.
    Number(u64),
    /// A flag.
    Flag(bool),
    /// A date, written bare.
    Date(&'static str),
    /// A list of strings.
    List(Vec<String>),
    /// A table with nothing in it.
    Table,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<const N: usize> From<[&str; N]> for Value {
    fn from(list: [&str; N]) -> Self {
        Self::List(list.iter().map(|&text| text.into()).collect())
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // JSON's strings and lists of strings are TOML's too.
            Self::Text(text) => write!(formatter, "{}", serde_json::json!(text)),
            Self::List(list) => write!(formatter, "{}", serde_json::json!(list)),
            Self::Table => formatter.write_str("{}"),
            Self::Date(date) => write!(formatter, "{date}"),
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Flag(flag) => write!(formatter, "{flag}"),
        }
    }
}

type Table = BTreeMap<String, Value>;

/// A route to a guest.
#[derive(Clone, Debug)]
pub struct Mount {
    keys: Table,
    websocket: Table,
    guest: Table,
    grants: Table,
    config: Table,
    rollout: Table,
    canary: Table,
    secrets: Vec<(String, String)>,
}

impl Mount {
    /// The guest `target/guests/NAME.wasm` under a path, everything at its default.
    pub fn new(path: &str, guest: &str) -> Self {
        let component = guests::path(guest).display().to_string();
        Self {
            keys: Table::new(),
            websocket: Table::new(),
            guest: Table::new(),
            grants: Table::new(),
            config: Table::new(),
            rollout: Table::new(),
            canary: Table::new(),
            secrets: Vec::new(),
        }
        .set("path", path)
        .set("component", component)
    }

    /// Sets a key of the route itself.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.insert(key.into(), value.into());
        self
    }

    /// One instance for all sessions of a worker.
    #[must_use]
    pub fn shared(self) -> Self {
        self.set("instance", "shared")
    }

    /// Sets a key of `[route.websocket]`.
    #[must_use]
    pub fn websocket(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.websocket.insert(key.into(), value.into());
        self
    }

    /// Sets a key of `[route.grants]`.
    #[must_use]
    pub fn grant(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.grants.insert(key.into(), value.into());
        self
    }

    /// Sets a key of `[route.config]`.
    #[must_use]
    pub fn config(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Sets the policy of `[route.rollout]`.
    #[must_use]
    pub fn rollout(mut self, policy: &str) -> Self {
        self.rollout.insert("policy".into(), policy.into());
        self
    }

    /// Sets another key of `[route.rollout]`.
    #[must_use]
    pub fn rollout_time(mut self, key: &str, time: &str) -> Self {
        self.rollout.insert(key.into(), time.into());
        self
    }

    /// Sets a key of `[route.rollout.canary]`.
    #[must_use]
    pub fn canary(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.canary.insert(key.into(), value.into());
        self
    }

    /// Sets a key of `[route.secrets]` to what a file holds.
    #[must_use]
    pub fn secret_file(mut self, key: &str, file: &str) -> Self {
        self.secrets.push((key.into(), file.into()));
        self
    }

    /// Sets a key of `[route.guest]`.
    #[must_use]
    pub fn guest(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.guest.insert(key.into(), value.into());
        self
    }
}

/// A server to start.
#[derive(Clone, Debug)]
pub struct Site {
    top: Table,
    sections: BTreeMap<String, Table>,
    mounts: Vec<Mount>,
    topics: Vec<Table>,
    pages: Vec<Table>,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// A server with one worker on a port of the kernel's choice, without routes.
    pub fn new() -> Self {
        Self {
            top: Table::from([
                ("listen".into(), "127.0.0.1:0".into()),
                ("workers".into(), Value::Number(1)),
            ]),
            sections: BTreeMap::new(),
            mounts: Vec::new(),
            topics: Vec::new(),
            pages: Vec::new(),
        }
    }

    /// A server with the echo example on `/echo`, one instance for all.
    pub fn echo() -> Self {
        Self::new().mount(Mount::new("/echo", "echo").shared())
    }

    /// Adds a route.
    #[must_use]
    pub fn mount(mut self, mount: Mount) -> Self {
        self.mounts.push(mount);
        self
    }

    /// Adds a `[[topic]]` of the default tenant.
    #[must_use]
    pub fn topic<const N: usize>(mut self, name: &str, keys: [(&str, Value); N]) -> Self {
        let keys = keys.map(|(key, value)| (key.to_owned(), value));
        let mut table = Table::from(keys);
        table.insert("name".into(), name.into());
        self.topics.push(table);
        self
    }

    /// Adds a static page.
    #[must_use]
    pub fn page(mut self, path: &str, file: &str) -> Self {
        self.pages.push(Table::from([
            ("path".into(), path.into()),
            ("file".into(), file.into()),
        ]));
        self
    }

    /// Sets a key of the file's top.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.top.insert(key.into(), value.into());
        self
    }

    /// Sets the number of worker threads.
    #[must_use]
    pub fn workers(self, count: u64) -> Self {
        self.set("workers", count)
    }

    /// Sets a key of a section such as `limits` or `tls`.
    #[must_use]
    pub fn section(mut self, section: &str, key: &str, value: impl Into<Value>) -> Self {
        self.sections
            .entry(section.into())
            .or_default()
            .insert(key.into(), value.into());
        self
    }

    /// Sets a key of a section unless it is set already.
    #[must_use]
    pub fn section_default(mut self, section: &str, key: &str, value: impl Into<Value>) -> Self {
        let table = self.sections.entry(section.into()).or_default();
        table.entry(key.into()).or_insert_with(|| value.into());
        self
    }

    /// The configuration file that says all this.
    pub fn toml(&self) -> String {
        let mut text = lines(&self.top);
        for (section, table) in &self.sections {
            let _ = write!(text, "\n[{section}]\n{}", lines(table));
        }
        for mount in &self.mounts {
            let _ = write!(text, "\n[[route]]\n{}", lines(&mount.keys));
            let _ = write!(text, "[route.websocket]\n{}", lines(&mount.websocket));
            let _ = write!(text, "[route.guest]\n{}", lines(&mount.guest));
            let _ = write!(text, "[route.grants]\n{}", lines(&mount.grants));
            if !mount.rollout.is_empty() {
                let _ = write!(text, "[route.rollout]\n{}", lines(&mount.rollout));
            }
            if !mount.canary.is_empty() {
                let _ = write!(text, "[route.rollout.canary]\n{}", lines(&mount.canary));
            }
            if !mount.config.is_empty() {
                let _ = write!(text, "[route.config]\n{}", lines(&mount.config));
            }
            for (key, file) in &mount.secrets {
                let file = Value::from(file.as_str());
                let _ = writeln!(text, "[route.secrets.{key}]\nfile = {file}");
            }
        }
        for topic in &self.topics {
            let _ = write!(text, "\n[[topic]]\n{}", lines(topic));
        }
        for page in &self.pages {
            let _ = write!(text, "\n[[page]]\n{}", lines(page));
        }
        text
    }
}

fn lines(table: &Table) -> String {
    table.iter().fold(String::new(), |mut text, (key, value)| {
        let _ = writeln!(text, "{key} = {value}");
        text
    })
}

/// A folder of a test's own, removed at the end.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new, empty folder.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("wharf-tests-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in it and gives its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, content)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
