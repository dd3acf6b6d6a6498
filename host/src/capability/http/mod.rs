//! The interfaces `wasi:http/types`, its half for clients, and `wasi:http/outgoing-handler`
//! (wit/deps/http).
//!
//! Translates; which hosts may be reached, and how, is `outbound`'s. Handles stand in the table of
//! WASI, whose streams and pollables they use.

#![allow(
    unreachable_pub,
    reason = "what bindgen! generates re-exports the types of resources"
)]

mod codes;
mod fields;
mod request;
mod response;

use std::sync::Arc;

use send_wrapper::SendWrapper;
use wasmtime::component::{HasData, Linker, ResourceTable};

use super::{HostView, Services, Surroundings};
use crate::catalog::Route;
use crate::outbound::{Account, HeaderMap, Outbound};
use crate::traces::Tracer;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "wharf:websocket/outbound-http",
        imports: { default: trappable },
        require_store_data_send: true,
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:http/types.fields": super::fields::Fields,
            "wasi:http/types.outgoing-request": super::request::OutgoingRequest,
            "wasi:http/types.request-options": super::request::RequestOptions,
            "wasi:http/types.outgoing-body": super::request::OutgoingBody,
            "wasi:http/types.future-incoming-response": super::response::FutureResponse,
            "wasi:http/types.incoming-response": super::response::IncomingResponse,
            "wasi:http/types.incoming-body": super::response::IncomingBody,
            "wasi:http/types.future-trailers": super::response::FutureTrailers,
        },
    });
}

use self::bindings::wasi::http::{outgoing_handler, types};

/// The functions of `wasi:http/types` and `outgoing-handler` that this host has: what clients of HTTP
/// need.
pub(crate) const FUNCTIONS: &[&str] = &[
    "http-error-code",
    "[constructor]fields",
    "[static]fields.from-list",
    "[method]fields.get",
    "[method]fields.has",
    "[method]fields.set",
    "[method]fields.delete",
    "[method]fields.append",
    "[method]fields.entries",
    "[method]fields.clone",
    "[constructor]outgoing-request",
    "[method]outgoing-request.body",
    "[method]outgoing-request.method",
    "[method]outgoing-request.set-method",
    "[method]outgoing-request.path-with-query",
    "[method]outgoing-request.set-path-with-query",
    "[method]outgoing-request.scheme",
    "[method]outgoing-request.set-scheme",
    "[method]outgoing-request.authority",
    "[method]outgoing-request.set-authority",
    "[method]outgoing-request.headers",
    "[constructor]request-options",
    "[method]request-options.connect-timeout",
    "[method]request-options.set-connect-timeout",
    "[method]request-options.first-byte-timeout",
    "[method]request-options.set-first-byte-timeout",
    "[method]request-options.between-bytes-timeout",
    "[method]request-options.set-between-bytes-timeout",
    "[method]incoming-response.status",
    "[method]incoming-response.headers",
    "[method]incoming-response.consume",
    "[method]incoming-body.stream",
    "[static]incoming-body.finish",
    "[method]future-trailers.subscribe",
    "[method]future-trailers.get",
    "[method]outgoing-body.write",
    "[static]outgoing-body.finish",
    "[method]future-incoming-response.subscribe",
    "[method]future-incoming-response.get",
    "handle",
];

/// The headers of a handshake that a guest asks for; `None` if they cannot be sent, or are too many.
pub(crate) fn checked_headers(entries: &[(String, Vec<u8>)]) -> Option<HeaderMap> {
    let fields = fields::Fields::checked(entries).ok()?;
    Some(fields.map)
}

/// What one instance holds of it.
pub(crate) struct HttpState {
    outbound: Outbound,
    route: Arc<Route>,
    account: Account,
    /// `None` if nothing is traced. Wrapped, because a Store's data has to be `Send`.
    traced: Option<SendWrapper<Traced>>,
}

/// Who records what the instance asks for, and the instance's number.
struct Traced {
    tracer: Tracer,
    instance: u64,
}

impl HttpState {
    pub(crate) fn new(around: &Surroundings) -> Self {
        let Services {
            outbound, tracer, ..
        } = &*around.services;
        let instance = around.instance;
        let traced = tracer.clone().map(|tracer| Traced { tracer, instance });
        Self {
            outbound: outbound.clone(),
            route: Arc::clone(&around.route),
            account: Account::default(),
            traced: traced.map(SendWrapper::new),
        }
    }
}

/// What the functions work on.
pub(crate) struct HttpView<'a> {
    pub(super) state: &'a mut HttpState,
    pub(super) table: &'a mut ResourceTable,
}

struct Http;

impl HasData for Http {
    type Data<'a> = HttpView<'a>;
}

/// Defines both interfaces.
pub(crate) fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    types::add_to_linker::<T, Http>(linker, T::http)?;
    outgoing_handler::add_to_linker::<T, Http>(linker, T::http)
}
