//! Wharf: a WebSocket server whose handlers are sandboxed WebAssembly components.
//!
//! The host owns every socket; a handler sees sessions and whole messages, and nothing else. This
//! library is the whole server; the `wharf` command is a thin shell over it.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let server = wharf::Server::builder()
//!     .listen("127.0.0.1:0")
//!     .route(wharf::Route::new("/echo").component_file("echo.wasm"))
//!     .start()
//!     .await?;
//! println!("ws://{}/echo", server.local_addr());
//! # Ok(()) }
//! ```
//!
//! The modules stand in the order of their layers: each may use those above it in this list, none
//! those below it.

mod budget;
mod clock;
mod digest;
mod executor;
mod fault;
mod id;
mod metrics;
mod request;
mod scheduling;
mod trace_context;

mod rights;

mod wire;

mod storage;

mod mailbox;

mod dead_letters;

mod kv;
mod timers;

mod catalog;

mod outbound;

mod traces;

mod topics;

mod capability;

mod guest;

mod dispatch;

mod session;

mod ingress;

mod admin;

mod config;

mod control;

mod server;

pub use admin::{AdminScope, AdminSettings, AdminToken, UpgradeRequest, new_admin_token};
pub use budget::TenantLimits;
pub use capability::{Capability, LogLimits};
pub use catalog::{
    AfterTrap, Canary, Destination, Grants, InstanceModel, Mark, OriginRule, Page, PatternError,
    Rollout, Secret, Settings, Share, Template, TopicPattern, TopicRule, TopicSettings,
    WebSocketSettings,
};
pub use config::{
    Config, ConfigError, DeploymentSettings, Manifest, RouteConfig, TenantPlace, TenantRules,
    TenantSettings, parse_duration,
};
pub use control::{
    Change, CompileError, CompileLimits, DeployError, Deployment, DeploymentName, HistoryEntry,
    Prepared, Published, Registry, Step, Upload, Version, compile_in_this_process,
};
pub use dead_letters::DeadLetterSettings;
pub use digest::Digest;
pub use guest::{
    EngineConfig, GuestLimits, Import, Precompiled, ProgramError, Report, World, inspect,
};
pub use ingress::{IngressLimits, TlsError, TlsFiles};
pub use outbound::OutboundSettings;
pub use rights::{Held, Needs, Sandbox, give_up, is_root};
pub use server::{Builder, Replaced, Route, Server, Source, Stats};
pub use storage::{StoragePlace, StorageSettings};
pub use traces::TraceSettings;
