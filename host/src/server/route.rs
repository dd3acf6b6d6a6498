//! A route as an embedder writes it. Checked when the server starts, not before.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::catalog::{
    self, AfterTrap, Canary, Deployed, Grants, InstanceModel, OriginRule, ProgramId, Rollout,
    Settings, Target, Template, WebSocketSettings,
};
use crate::digest::Digest;
use crate::guest::{GuestLimits, Precompiled};

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A `.wasm` file, read at the start.
    File(PathBuf),
    /// Its bytes, with a name for logs.
    Bytes(String, Vec<u8>),
    /// What was compiled of it before, with a name for logs and the digest of the component.
    Compiled(String, Digest, Precompiled),
}

/// A path and the component that serves the WebSockets on it.
#[derive(Clone, Debug)]
pub struct Route {
    pub(super) pattern: String,
    pub(super) deployment: Option<Deployed>,
    pub(super) hosts: Vec<String>,
    pub(super) source: Option<Source>,
    pub(super) instance: Instances,
    pub(super) idle: Option<Duration>,
    pub(super) after_trap: AfterTrap,
    pub(super) dead_letters: bool,
    pub(super) origins: OriginRule,
    pub(super) subprotocols: Vec<String>,
    pub(super) websocket: WebSocketSettings,
    pub(super) guest: GuestLimits,
    pub(super) tenant: String,
    pub(super) grants: Grants,
    pub(super) settings: Settings,
    pub(super) rollout: Option<Rollout>,
    pub(super) prefers_swap: bool,
    pub(super) canary: Option<Canary>,
}

#[derive(Clone, Debug)]
pub(super) enum Instances {
    Checked(InstanceModel),
    Template(String),
}

impl Route {
    /// A route for a path such as `/rooms/{room}` or `/files/{*tail}`, on every host.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self {
            pattern: pattern.into(),
            deployment: None,
            hosts: Vec::new(),
            source: None,
            instance: Instances::Checked(InstanceModel::default()),
            idle: None,
            after_trap: AfterTrap::default(),
            dead_letters: true,
            origins: OriginRule::default(),
            subprotocols: Vec::new(),
            websocket: WebSocketSettings::default(),
            guest: GuestLimits::default(),
            tenant: catalog::DEFAULT_TENANT.to_owned(),
            grants: Grants::default(),
            settings: Settings::default(),
            rollout: None,
            prefers_swap: false,
            canary: None,
        }
    }

    /// Serves a component from a file.
    #[must_use]
    pub fn component_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.source = Some(Source::File(path.into()));
        self
    }

    /// Serves a component from memory; `name` is for logs.
    #[must_use]
    pub fn component_bytes(mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.source = Some(Source::Bytes(name.into(), bytes.into()));
        self
    }

    /// Serves what was compiled before, such as [`Published::component`](crate::Published); `name` is
    /// for logs, `digest` that of the component.
    #[must_use]
    pub fn component_compiled(
        mut self,
        name: impl Into<String>,
        digest: Digest,
        compiled: Precompiled,
    ) -> Self {
        self.source = Some(Source::Compiled(name.into(), digest, compiled));
        self
    }

    /// Serves only requests for that host, and for others for which this is said, too.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Which instance serves a session.
    #[must_use]
    pub fn instance(mut self, model: InstanceModel) -> Self {
        self.instance = Instances::Checked(model);
        self
    }

    /// Sessions with the same key share an instance; the template is over the path's parameters,
    /// such as `{room}`.
    #[must_use]
    pub fn instance_key(mut self, template: impl Into<String>) -> Self {
        self.instance = Instances::Template(template.into());
        self
    }

    /// How long an instance has nothing to do before it sleeps: it loses its memory, its sessions
    /// stay open, and the next message, timer or end of a session wakes a fresh one. `None`, the
    /// default: it never does. Rounded up to 8 ms.
    #[must_use]
    pub fn idle(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.idle = idle.into();
        self
    }

    /// What becomes of an instance's sessions when its component fails. [`AfterTrap::Close`] by
    /// default.
    #[must_use]
    pub fn after_trap(mut self, after_trap: AfterTrap) -> Self {
        self.after_trap = after_trap;
        self
    }

    /// Whether calls that failed leave a dead letter, with the messages that they were given, for
    /// whoever may ask over the admin API. On by default.
    #[must_use]
    pub fn dead_letters(mut self, kept: bool) -> Self {
        self.dead_letters = kept;
        self
    }

    /// Which web pages may connect.
    #[must_use]
    pub fn origins(mut self, rule: OriginRule) -> Self {
        self.origins = rule;
        self
    }

    /// What it speaks; a client has to offer one of them.
    #[must_use]
    pub fn subprotocols<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Changes what it asks of its WebSockets.
    #[must_use]
    pub fn websocket(mut self, change: impl FnOnce(&mut WebSocketSettings)) -> Self {
        change(&mut self.websocket);
        self
    }

    /// Changes the limits of its component.
    #[must_use]
    pub fn guest(mut self, change: impl FnOnce(&mut GuestLimits)) -> Self {
        change(&mut self.guest);
        self
    }

    /// Whose it is: routes of one tenant share what is named (topics, buckets, timers), those of two
    /// share nothing. `default` if nobody is named.
    #[must_use]
    pub fn tenant(mut self, name: impl Into<String>) -> Self {
        self.tenant = name.into();
        self
    }

    /// Changes what its component may use beside its sessions.
    #[must_use]
    pub fn grants(mut self, change: impl FnOnce(&mut Grants)) -> Self {
        change(&mut self.grants);
        self
    }

    /// Changes what its component may read of `wasi:config`, and lets it read it.
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self.grants.settings = true;
        self
    }

    /// How the version before gives way to this one, when it is published on a running server.
    /// `None`, the default: [`Rollout::Swap`] if both hand over their state, otherwise
    /// [`Rollout::DRAIN`].
    #[must_use]
    pub fn rollout(mut self, rollout: impl Into<Option<Rollout>>) -> Self {
        self.rollout = rollout.into();
        self
    }

    /// Whether a new version begins with some of the sessions, when it is published on a running
    /// server, and goes back by itself if it breaks its limits. `None`, the default: everybody finds
    /// it at once.
    #[must_use]
    pub fn canary(mut self, canary: impl Into<Option<Canary>>) -> Self {
        self.canary = canary.into();
        self
    }

    /// Whether its component may store what outlives an instance.
    pub(super) fn needs_storage(&self) -> bool {
        match &self.instance {
            Instances::Checked(model) => self.grants.need_storage(model),
            // Any key will do: it is none of one session.
            Instances::Template(_) => self.grants.need_storage(&InstanceModel::Shared),
        }
    }

    /// The route as the catalog keeps it.
    pub(super) fn check(self, program: ProgramId) -> Result<catalog::Route> {
        let instance = match self.instance {
            Instances::Checked(model) => model,
            Instances::Template(text) => {
                let params = catalog::params_of(&self.pattern)?;
                let template = Template::parse(&text, &params)
                    .with_context(|| format!("the instance key of `{}`", self.pattern))?;
                InstanceModel::Keyed(template)
            }
        };
        let mut route = catalog::Route::new(self.pattern, Target::Component(program));
        route.deployment = self.deployment;
        let hosts = self.hosts.iter();
        route.hosts = hosts.map(|host| catalog::host_of(host)).collect();
        route.origins = self.origins;
        route.subprotocols = self.subprotocols;
        route.websocket = self.websocket.into();
        route.instance = instance;
        route.idle = self.idle;
        route.after_trap = self.after_trap;
        route.dead_letters = self.dead_letters;
        route.tenant = self.tenant.into();
        route.grants = self.grants.into();
        route.settings = self.settings.into();
        Ok(route)
    }
}
