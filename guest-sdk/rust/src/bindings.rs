//! What wit-bindgen makes of the contract in `wit/`: the raw imports, the
//! types, and the macros that export a handler. The rest of the crate wraps
//! it; authors never name it.

wit_bindgen::generate!({
    path: "../../wit",
    world: "websocket-handler-with-topics",
    ownership: Borrowing { duplicate_if_necessary: true },
    pub_export_macro: true,
    export_macro_name: "export_handler",
    default_bindings_module: "wharf_guest::bindings",
    additional_derives: [Clone],
});

/// Timers: the world `timed`. Apart, because it has an export, which a handler
/// without timers would have to have, too.
pub mod timed {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "wharf:websocket/timed",
        pub_export_macro: true,
        export_macro_name: "export_timed",
        default_bindings_module: "wharf_guest::bindings::timed",
    });
}

/// Control frames: the world `raw`. Apart for its export, as timers are.
pub mod raw {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package wharf:guest-sdk; world raw {
            import wharf:websocket/control@0.1.0;
            export wharf:websocket/control-handler@0.1.0;
        }",
        world: "wharf:guest-sdk/raw",
        with: {
            "wharf:websocket/types@0.1.0": crate::bindings::wharf::websocket::types,
            "wharf:websocket/sessions@0.1.0": crate::bindings::wharf::websocket::sessions,
            "wharf:websocket/control@0.1.0": generate,
            "wharf:websocket/control-handler@0.1.0": generate,
        },
        ownership: Borrowing { duplicate_if_necessary: true },
        pub_export_macro: true,
        export_macro_name: "export_raw",
        default_bindings_module: "wharf_guest::bindings::raw",
    });
}

/// Batches in two lists: the world `packed`. Apart, so that a handler of other worlds does not
/// export it.
pub mod packed {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "wharf:websocket/packed",
        pub_export_macro: true,
        export_macro_name: "export_packed",
        default_bindings_module: "wharf_guest::bindings::packed",
    });
}

/// State for the next version: the world `lasting`. Apart, as `timed` is.
pub mod lasting {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "wharf:websocket/lasting",
        pub_export_macro: true,
        export_macro_name: "export_lasting",
        default_bindings_module: "wharf_guest::bindings::lasting",
    });
}

/// A check before it is served: the world `checked`. Apart, as `timed` is.
pub mod checked {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "wharf:websocket/checked",
        pub_export_macro: true,
        export_macro_name: "export_checked",
        default_bindings_module: "wharf_guest::bindings::checked",
    });
}

/// Keys and values: the world `keyvalue`. Apart, so that the names of WASI stay out of the rest.
pub mod keyvalue {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "wharf:websocket/keyvalue",
        generate_all,
    });
}

/// Messages to the tenant's log: the world `logging`.
pub mod logging {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "wharf:websocket/logging",
        generate_all,
    });
}

/// What the operator wrote for the route: the world `settings`.
pub mod settings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "wharf:websocket/settings",
        generate_all,
    });
}

/// What time it is: the world `clocked`.
pub mod clocks {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "wharf:websocket/clocked",
        generate_all,
    });
}

/// Requests to granted hosts: the world `outbound-http`.
pub mod http {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "wharf:websocket/outbound-http",
        generate_all,
    });
}

/// WebSockets to granted hosts: the world `outbound-websocket`.
pub mod client {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "wharf:websocket/outbound-websocket",
        generate_all,
    });
}

/// The optional export: `websocket-handler` with `handshake` is the world
/// `websocket-service`. Apart, so that a handler without it does not export it.
pub mod connect {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package wharf:guest-sdk; world connect { export wharf:websocket/handshake@0.1.0; }",
        world: "wharf:guest-sdk/connect",
        with: { "wharf:websocket/types@0.1.0": crate::bindings::wharf::websocket::types },
        ownership: Borrowing { duplicate_if_necessary: true },
        pub_export_macro: true,
        export_macro_name: "export_connect",
        default_bindings_module: "wharf_guest::bindings::connect",
    });
}

/// The streaming world: `websocket-conversation` without the parts that all
/// worlds share. Apart, because it needs a runtime for coroutines.
#[cfg(feature = "conversation")]
pub mod conversation {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package wharf:guest-sdk; world conversation {
            import wharf:websocket/conversation@0.1.0;
            export wharf:websocket/conversation-handler@0.1.0;
        }",
        world: "wharf:guest-sdk/conversation",
        with: {
            "wharf:websocket/types@0.1.0": crate::bindings::wharf::websocket::types,
            "wharf:websocket/sessions@0.1.0": crate::bindings::wharf::websocket::sessions,
            "wharf:websocket/conversation@0.1.0": generate,
            "wharf:websocket/conversation-handler@0.1.0": generate,
        },
        ownership: Borrowing { duplicate_if_necessary: true },
        pub_export_macro: true,
        export_macro_name: "export_conversation",
        default_bindings_module: "wharf_guest::bindings::conversation",
    });
}
