//! What a component is, and whether it may run: from bytes to a compiled component with its
//! exports found and each of its imports judged. Runs none of its code.

use std::fmt;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Lift, Lower, StreamReader,
};

use super::engine::Engine;
use super::limits::GuestLimits;
use super::pieces::in_pieces;
use crate::capability::bindings::{
    Acceptance, ControlFrame, Delivery, Ending, Rejection, StreamedMessage, UpgradeRequest,
};
use crate::capability::{
    Capability, PACKAGE, VERSION, client, control, conversation, http, judge, sessions, timers,
    topics,
};
use crate::catalog::Grants;

/// wasm counts memory in pages.
const PAGE_BYTES: u64 = 64 << 10;

/// Parameters and results of what a handler exports.
pub(super) type OnOpen = (u64,);
pub(super) type OnMessages = (&'static [Delivery<'static>],);
pub(super) type OnPacked = (&'static [u64], &'static [u8]);
pub(super) type OnClose = (u64, Ending<&'static str>);
pub(super) type OnConnect = (UpgradeRequest<&'static str, &'static [u8]>,);
pub(super) type OnTimer = (&'static str,);
pub(super) type OnControl = (u64, ControlFrame<'static>);
pub(super) type ImportState = (&'static [u8],);
pub(super) type Imported = (Result<(), String>,);
pub(super) type Checked = (Result<(), String>,);
pub(super) type Converse = (u64, StreamReader<StreamedMessage>);
pub(super) type Connected = (Result<Acceptance, Rejection>,);

/// Which world of the contract a component implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// `websocket-handler`: it exports `handler`.
    Handler,
    /// `websocket-service`: it exports `handshake` too and decides before the handshake is
    /// answered.
    Service,
    /// `websocket-conversation`: it exports `conversation-handler`, one coroutine for each session.
    Conversation,
}

impl fmt::Display for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Handler => "websocket-handler",
            Self::Service => "websocket-service",
            Self::Conversation => "websocket-conversation",
        })
    }
}

/// One import of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// As the component names it.
    pub name: String,
    /// What it is granted, or why it is not.
    pub verdict: Result<Capability, String>,
}

/// Why a component cannot run. Each says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramError {
    /// The file is larger than its limit.
    TooLarge {
        /// Bytes that it has.
        bytes: usize,
        /// Bytes that it may have.
        bytes_max: usize,
    },
    /// The file is no WebAssembly at all.
    NotWebAssembly,
    /// The file is WebAssembly in its text form.
    Text,
    /// The file is a core module.
    CoreModule,
    /// Validation or compilation failed, with wasmtime's own words.
    Invalid(String),
    /// It imports what it may not have.
    ImportsRefused(Vec<Import>),
    /// The engine for it could not be started.
    NoEngine(String),
    /// It exports a handler and a conversation; it can only be called as one of them.
    BothWorlds,
    /// It imports what only a conversation may use, and is none.
    NoConversation,
    /// It does not export the handler.
    NoHandler {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// It sets timers and does not export what they would call.
    NoTimerHandler,
    /// Its route is raw, and nobody in it would answer control frames.
    NoControlHandler {
        /// It is a conversation, whose stream carries messages only.
        converses: bool,
    },
    /// A function is missing or has another type than the contract says.
    WrongType {
        /// The interface and the function.
        function: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It was compiled by another build of the host, or for another kind of processor: compile it
    /// again.
    CompiledElsewhere(String),
    /// Its memory or a table is larger from the start than its limit.
    OverLimit {
        /// The limit's name.
        limit: &'static str,
        /// What it needs.
        needs: u64,
        /// What it may have.
        max: u64,
    },
}

impl fmt::Display for ProgramError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, bytes_max } => {
                write!(
                    formatter,
                    "the component has {bytes} bytes; at most {bytes_max} are allowed"
                )
            }
            Self::NotWebAssembly => formatter.write_str("the file is no WebAssembly"),
            Self::Text => formatter.write_str(
                "the file is WebAssembly text; turn it into a binary with `wasm-tools parse`",
            ),
            Self::CoreModule => formatter.write_str(
                "the file is a core WebAssembly module, not a component; build it for the target \
                 wasm32-wasip2, or turn it into one with `wasm-tools component new`",
            ),
            Self::Invalid(reason) => write!(formatter, "the component is not valid: {reason}"),
            Self::ImportsRefused(imports) => {
                formatter.write_str("the component imports what it may not have:")?;
                for import in imports {
                    let reason = import.verdict.as_ref().err().map_or("", String::as_str);
                    write!(formatter, "\n  {}: {reason}", import.name)?;
                }
                Ok(())
            }
            Self::NoEngine(reason) => formatter.write_str(reason),
            Self::BothWorlds => write!(
                formatter,
                "the component exports both {PACKAGE}/handler@{VERSION} and \
                 {PACKAGE}/conversation-handler@{VERSION}; a component is one or the other"
            ),
            Self::NoConversation => write!(
                formatter,
                "the component imports {PACKAGE}/conversation, which is for those that export \
                 {PACKAGE}/conversation-handler@{VERSION}; a handler uses {PACKAGE}/sessions"
            ),
            Self::NoHandler { exports } => no_handler(formatter, exports),
            Self::NoTimerHandler => write!(
                formatter,
                "the component imports {PACKAGE}/timers and does not export \
                 {PACKAGE}/timer-handler@{VERSION}: nobody would be called; in Rust, implement \
                 TimerHandler and write export!(MyHandler, timers)"
            ),
            Self::NoControlHandler { converses } => no_control_handler(formatter, *converses),
            Self::WrongType { function, reason } => {
                write!(
                    formatter,
                    "{function} is not as version {VERSION} of {PACKAGE} says: {reason}"
                )
            }
            Self::CompiledElsewhere(reason) => write!(
                formatter,
                "the component was not compiled by this host, and has to be compiled again: {reason}"
            ),
            Self::OverLimit { limit, needs, max } => {
                // `memory_bytes_max` is in bytes, `table_elements_max` in elements.
                let unit = limit.split('_').nth(1).unwrap_or_default();
                write!(
                    formatter,
                    "the component needs {needs} {unit} from its start on; its {limit} is {max}"
                )
            }
        }
    }
}

fn no_control_handler(formatter: &mut fmt::Formatter<'_>, converses: bool) -> fmt::Result {
    if converses {
        return formatter.write_str(
            "its route is raw, and the component is a conversation, whose stream carries no \
             control frames; leave `raw` out, or make it a handler",
        );
    }
    write!(
        formatter,
        "its route is raw, and the component does not export \
         {PACKAGE}/control-handler@{VERSION}: nobody would answer pings and close frames; in \
         Rust, implement ControlHandler and write export!(MyHandler, control)"
    )
}

fn no_handler(formatter: &mut fmt::Formatter<'_>, exports: &[String]) -> fmt::Result {
    write!(
        formatter,
        "the component does not export {PACKAGE}/handler@{VERSION}; "
    )?;
    match exports {
        [] => formatter.write_str("it exports nothing"),
        exports => write!(formatter, "it exports {}", exports.join(", ")),
    }
}

impl std::error::Error for ProgramError {}

/// Where the contract's functions are among a component's exports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exports {
    pub(super) main: Main,
    pub(super) on_packed: Option<ComponentExportIndex>,
    pub(super) on_connect: Option<ComponentExportIndex>,
    pub(super) on_timer: Option<ComponentExportIndex>,
    pub(super) on_control: Option<ComponentExportIndex>,
    pub(super) handover: Option<Handover>,
    pub(super) health: Option<ComponentExportIndex>,
}

/// Where the functions are that carry state from one version to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handover {
    pub(super) export_state: ComponentExportIndex,
    pub(super) import_state: ComponentExportIndex,
}

/// What a component is called for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Main {
    Handler {
        on_open: ComponentExportIndex,
        on_messages: ComponentExportIndex,
        on_close: ComponentExportIndex,
    },
    Conversation {
        converse: ComponentExportIndex,
    },
}

impl Exports {
    pub(super) fn world(&self) -> World {
        if matches!(self.main, Main::Conversation { .. }) {
            World::Conversation
        } else if self.on_connect.is_some() {
            World::Service
        } else {
            World::Handler
        }
    }
}

/// A compiled component and what was found in it.
pub(super) struct Examined {
    /// The engine that it was compiled for.
    pub(super) engine: Engine,
    pub(super) component: Component,
    pub(super) imports: Vec<Import>,
    pub(super) export_names: Vec<String>,
    /// The contract's functions, or what is wrong with them.
    pub(super) exports: Result<Exports, ProgramError>,
    /// Whether it fits into its limits from the start.
    pub(super) fits: Result<(), ProgramError>,
    /// Whether it imports the function that shows a session's handshake.
    pub(super) asks_for_requests: bool,
}

impl Examined {
    /// The first thing for which it cannot run.
    pub(super) fn check(&self) -> Result<Exports, ProgramError> {
        let refused: Vec<Import> = self
            .imports
            .iter()
            .filter(|import| import.verdict.is_err())
            .cloned()
            .collect();
        let exports = self.exports.clone()?;
        if !refused.is_empty() {
            return Err(ProgramError::ImportsRefused(refused));
        }
        let converses = exports.world() == World::Conversation;
        if self.needs(Capability::Conversation) && !converses {
            return Err(ProgramError::NoConversation);
        }
        if self.needs(Capability::Timers) && exports.on_timer.is_none() {
            return Err(ProgramError::NoTimerHandler);
        }
        self.fits.clone().map(|()| exports)
    }

    /// Whether all that it imports was granted to it, and all that its route needs of it is there.
    pub(super) fn check_grants(
        &self,
        exports: &Exports,
        grants: &Grants,
    ) -> Result<(), ProgramError> {
        let converses = exports.world() == World::Conversation;
        if grants.raw && (converses || exports.on_control.is_none()) {
            return Err(ProgramError::NoControlHandler { converses });
        }
        let ungranted: Vec<Import> = self
            .imports
            .iter()
            .filter_map(|import| {
                let capability = *import.verdict.as_ref().ok()?;
                let reason = capability.covered_by(grants).err()?;
                let name = import.name.clone();
                let verdict = Err(reason);
                Some(Import { name, verdict })
            })
            .collect();
        if ungranted.is_empty() {
            Ok(())
        } else {
            Err(ProgramError::ImportsRefused(ungranted))
        }
    }

    pub(super) fn needs(&self, capability: Capability) -> bool {
        self.imports
            .iter()
            .any(|import| import.verdict == Ok(capability))
    }
}

/// Checks the file's kind and size, validates and compiles it, and looks at what it wants and has.
/// A conversation is compiled for an engine of its own.
pub(super) fn examine(
    engine: &Engine,
    bytes: &[u8],
    limits: &GuestLimits,
) -> Result<Examined, ProgramError> {
    check_file(bytes, limits)?;
    // Names of imports and exports stand in the file as they are. One that only happens to contain
    // this name is compiled once more.
    if contains(bytes, CONVERSATION.as_bytes()) {
        let streaming = engine.for_conversations();
        let streaming = streaming.map_err(|error| ProgramError::NoEngine(error.to_string()))?;
        let examined = examine_on(&streaming, bytes, limits)?;
        let exports = examined.export_names.iter();
        if exports
            .chain(examined.imports.iter().map(|import| &import.name))
            .any(|name| name.starts_with(CONVERSATION))
        {
            return Ok(examined);
        }
    }
    examine_on(engine, bytes, limits)
}

/// How the interfaces that only a conversation has begin.
const CONVERSATION: &str = "wharf:websocket/conversation";

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let mut windows = bytes.windows(wanted.len());
    windows.any(|window| window[0] == wanted[0] && window == wanted)
}

fn examine_on(
    engine: &Engine,
    bytes: &[u8],
    limits: &GuestLimits,
) -> Result<Examined, ProgramError> {
    let invalid = |error: &dyn fmt::Display| ProgramError::Invalid(format!("{error:#}"));
    let compile = |bytes: &[u8]| Component::from_binary(engine.wasm(), bytes);
    let component = in_pieces(bytes)
        .map_err(|error| invalid(&error))
        .and_then(|bytes| compile(&bytes).map_err(|error| invalid(&error)))
        // What is wrong is said of the file as it is, and where in it.
        .map_err(|error| compile(bytes).map_or_else(|error| invalid(&error), |_| error))?;
    Ok(look(engine, component, limits))
}

/// Looks at a compiled component.
pub(super) fn look(engine: &Engine, component: Component, limits: &GuestLimits) -> Examined {
    let ty = component.component_type();
    let wasm = engine.wasm();
    let imports = ty
        .imports(wasm)
        .map(|(name, import)| Import {
            name: name.to_owned(),
            verdict: judge(name).and_then(|granted| check_functions(engine, granted, &import.ty)),
        })
        .collect();
    let export_names: Vec<String> = ty.exports(wasm).map(|(name, _)| name.to_owned()).collect();
    Examined {
        exports: find_exports(&component, &export_names),
        fits: check_fits(&component, limits),
        asks_for_requests: ty.imports(wasm).any(|(name, import)| {
            judge(name) == Ok(Capability::Sessions)
                && has_function(engine, &import.ty, sessions::REQUEST)
        }),
        imports,
        export_names,
        component,
        engine: engine.clone(),
    }
}

/// What can be said about a file without compiling it: its size, and whether it is a component.
pub(crate) fn check_file(bytes: &[u8], limits: &GuestLimits) -> Result<(), ProgramError> {
    if bytes.len() > limits.component_bytes_max {
        let bytes_max = limits.component_bytes_max;
        return Err(ProgramError::TooLarge {
            bytes: bytes.len(),
            bytes_max,
        });
    }
    check_kind(bytes)
}

/// Tells a component (layer 1 in the preamble of the component model's binary format) from what
/// people mistake for one.
fn check_kind(bytes: &[u8]) -> Result<(), ProgramError> {
    match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => Err(ProgramError::CoreModule),
        _ if bytes.trim_ascii_start().starts_with(b"(") => Err(ProgramError::Text),
        _ => Err(ProgramError::NotWebAssembly),
    }
}

/// A later patch version may have functions that this host has not.
fn check_functions(
    engine: &Engine,
    granted: Capability,
    import: &ComponentItem,
) -> Result<Capability, String> {
    let ComponentItem::ComponentInstance(instance) = import else {
        return Err("it is an interface here, and something else in the component".to_owned());
    };
    let functions = match granted {
        Capability::Sessions => sessions::FUNCTIONS,
        Capability::Topics => topics::FUNCTIONS,
        Capability::Timers => timers::FUNCTIONS,
        Capability::Client => client::FUNCTIONS,
        Capability::Http => http::FUNCTIONS,
        Capability::Types
        | Capability::Wasi
        | Capability::KeyValue
        | Capability::Logging
        | Capability::Settings => return Ok(granted),
        Capability::Conversation => conversation::FUNCTIONS,
        Capability::Control => control::FUNCTIONS,
    };
    let unknown = instance.exports(engine.wasm()).find(|(name, item)| {
        matches!(item.ty, ComponentItem::ComponentFunc(_)) && !functions.contains(name)
    });
    match unknown {
        Some((name, _)) => Err(format!(
            "version {VERSION} of this host has no function {name}"
        )),
        None => Ok(granted),
    }
}

fn has_function(engine: &Engine, import: &ComponentItem, function: &str) -> bool {
    let ComponentItem::ComponentInstance(instance) = import else {
        return false;
    };
    let mut functions = instance.exports(engine.wasm());
    functions.any(|(name, _)| name == function)
}

fn find_exports(component: &Component, names: &[String]) -> Result<Exports, ProgramError> {
    let (handler, conversation) = ("handler", "conversation-handler");
    let main = match (
        interface(component, handler),
        interface(component, conversation),
    ) {
        (Some(_), Some(_)) => return Err(ProgramError::BothWorlds),
        (None, None) => {
            let exports = names.to_vec();
            return Err(ProgramError::NoHandler { exports });
        }
        (Some(found), None) => Main::Handler {
            on_open: function::<OnOpen, ()>(component, &found, handler, "on-open")?,
            on_messages: function::<OnMessages, ()>(component, &found, handler, "on-messages")?,
            on_close: function::<OnClose, ()>(component, &found, handler, "on-close")?,
        },
        (None, Some(found)) => Main::Conversation {
            converse: function::<Converse, ()>(component, &found, conversation, CONVERSE)?,
        },
    };
    Ok(Exports {
        main,
        on_packed: optional::<OnPacked, ()>(component, "packed-handler", "on-packed-messages")?,
        on_connect: optional::<OnConnect, Connected>(component, "handshake", "on-connect")?,
        on_timer: optional::<OnTimer, ()>(component, "timer-handler", "on-timer")?,
        on_control: optional::<OnControl, ()>(component, "control-handler", "on-control")?,
        handover: find_handover(component)?,
        health: optional::<(), Checked>(component, "health", "check")?,
    })
}

fn find_handover(component: &Component) -> Result<Option<Handover>, ProgramError> {
    let export_state = optional::<(), (Vec<u8>,)>(component, "handover", "export-state")?;
    let import_state = optional::<ImportState, Imported>(component, "handover", "import-state")?;
    let both = export_state.zip(import_state);
    Ok(both.map(|(export_state, import_state)| Handover {
        export_state,
        import_state,
    }))
}

fn interface(component: &Component, name: &str) -> Option<ComponentExportIndex> {
    component.get_export_index(None, format!("{PACKAGE}/{name}@{VERSION}"))
}

/// A function of an interface that a component may leave out.
fn optional<Params, Return>(
    component: &Component,
    interface_name: &str,
    name: &str,
) -> Result<Option<ComponentExportIndex>, ProgramError>
where
    Params: ComponentNamedList + Lower,
    Return: ComponentNamedList + Lift,
{
    let found = interface(component, interface_name);
    found
        .map(|found| function::<Params, Return>(component, &found, interface_name, name))
        .transpose()
}

/// The only async function that the host calls.
const CONVERSE: &str = "converse";

fn function<Params, Return>(
    component: &Component,
    interface: &ComponentExportIndex,
    interface_name: &str,
    name: &str,
) -> Result<ComponentExportIndex, ProgramError>
where
    Params: ComponentNamedList + Lower,
    Return: ComponentNamedList + Lift,
{
    let wrong = |reason: String| ProgramError::WrongType {
        function: format!("{interface_name}/{name}"),
        reason,
    };
    let Some((ComponentItem::ComponentFunc(ty), index)) =
        component.get_export(Some(interface), name)
    else {
        return Err(wrong("there is no such function".to_owned()));
    };
    match (ty.async_(), name == CONVERSE) {
        (true, false) => return Err(wrong("it is an async function".to_owned())),
        (false, true) => return Err(wrong("it is no async function".to_owned())),
        (true, true) | (false, false) => {}
    }
    ty.typecheck::<Params, Return>(&component.component_type().instance_type())
        .map_err(|error| wrong(format!("{error:#}")))?;
    Ok(index)
}

fn check_fits(component: &Component, limits: &GuestLimits) -> Result<(), ProgramError> {
    // None: it instantiates what it imports, which is refused anyway.
    let Some(needs) = component.resources_required() else {
        return Ok(());
    };
    let check = |limit, needs: Option<u64>, max: usize| match needs {
        Some(needs) if needs > max as u64 => Err(ProgramError::OverLimit {
            limit,
            needs,
            max: max as u64,
        }),
        _ => Ok(()),
    };
    let memory_bytes = needs
        .max_initial_memory_size
        .map(|pages| pages.saturating_mul(PAGE_BYTES));
    check("memory_bytes_max", memory_bytes, limits.memory_bytes_max)?;
    check(
        "table_elements_max",
        needs.max_initial_table_size,
        limits.table_elements_max,
    )
}
