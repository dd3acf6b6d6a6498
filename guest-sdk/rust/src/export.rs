//! From the component's exports to a [`Handler`]: the one value of an
//! instance, and the macro that connects it. It holds no rules of its own.

use std::cell::RefCell;

use crate::bindings::connect::exports::wharf::websocket::handshake as wire;
use crate::bindings::wharf::websocket::types::Delivery;
use crate::{Acceptance, Handler, Message, Rejection, Session};

/// The handler of this instance, made at its first call.
pub struct Instance<H>(RefCell<Option<H>>);

impl<H: Handler> Instance<H> {
    /// Nothing is made yet.
    #[allow(clippy::new_without_default, reason = "used by the macro, in a const")]
    #[must_use]
    pub const fn new() -> Self {
        Instance(RefCell::new(None))
    }

    /// Calls into the handler. The host never enters an instance twice, so
    /// the borrow cannot fail.
    pub fn with<R>(&self, call: impl FnOnce(&mut H) -> R) -> R {
        call(self.0.borrow_mut().get_or_insert_with(H::default))
    }
}

/// Hands a batch to the handler, message by message.
pub fn deliver<H: Handler>(handler: &mut H, batch: &[Delivery]) {
    for delivery in batch {
        handler.on_message(
            Session::from_id(delivery.session),
            Message::of(&delivery.message),
        );
    }
}

/// Hands a packed batch to the handler, message by message.
///
/// # Panics
/// If the host breaks its word about the lists.
pub fn deliver_packed<H: Handler>(handler: &mut H, index: &[u64], mut payloads: &[u8]) {
    for entry in index.chunks_exact(2) {
        let (session, form) = (Session::from_id(entry[0]), entry[1]);
        let (payload, rest) = payloads.split_at((form >> 1) as usize);
        payloads = rest;
        let message = match form & 1 {
            // SAFETY: the host has checked it, as every text that it passes.
            1 => Message::Text(unsafe { std::str::from_utf8_unchecked(payload) }),
            _ => Message::Binary(payload),
        };
        handler.on_message(session, message);
    }
}

/// The decision about a handshake in the words of the bindings.
///
/// # Errors
/// The rejection, as the handler gave it.
pub fn reject(
    decision: Result<Acceptance, Rejection>,
) -> Result<wire::Acceptance, wire::Rejection> {
    match decision {
        Ok(Acceptance {
            subprotocol,
            headers,
            tags,
            attachment,
        }) => Ok(wire::Acceptance {
            subprotocol,
            headers,
            tags,
            attachment,
        }),
        Err(Rejection {
            status,
            headers,
            body,
        }) => Err(wire::Rejection {
            status,
            headers,
            body,
        }),
    }
}

/// Exports a [`Handler`] as the component's handler; with `handshake` also
/// its [`Handshake`](crate::Handshake), with `timers` its
/// [`TimerHandler`](crate::TimerHandler), with `control` its
/// [`ControlHandler`](crate::ControlHandler), with `handover` its
/// [`Handover`](crate::Handover), with `health` its [`Health`](crate::Health).
///
/// ```ignore
/// wharf_guest::export!(MyHandler);
/// wharf_guest::export!(MyHandler, handshake);
/// wharf_guest::export!(MyHandler, timers);
/// wharf_guest::export!(MyHandler, handover);
/// wharf_guest::export!(MyHandler, handshake, timers, handover);
/// ```
#[macro_export]
macro_rules! export {
    ($handler:ty $(, $part:ident)*) => {
        $crate::export!(@handler $handler);
        $($crate::export!(@$part $handler);)*
    };
    (@timers $handler:ty) => {
        const _: () = {
            use $crate::bindings::timed::exports::wharf::websocket::timer_handler as wire;

            impl wire::Guest for WharfExport {
                fn on_timer(name: ::std::string::String) {
                    WHARF_INSTANCE.with(|instance| {
                        instance.with(|handler| $crate::TimerHandler::on_timer(handler, &name))
                    });
                }
            }

            $crate::bindings::timed::export_timed!(
                WharfExport with_types_in $crate::bindings::timed
            );
        };
    };
    (@control $handler:ty) => {
        const _: () = {
            use $crate::bindings::raw::exports::wharf::websocket::control_handler as wire;

            impl wire::Guest for WharfExport {
                fn on_control(session: u64, frame: wire::ControlFrame) {
                    WHARF_INSTANCE.with(|instance| {
                        instance.with(|handler| $crate::control(handler, session, &frame))
                    });
                }
            }

            $crate::bindings::raw::export_raw!(
                WharfExport with_types_in $crate::bindings::raw
            );
        };
    };
    (@handover $handler:ty) => {
        const _: () = {
            use $crate::bindings::lasting::exports::wharf::websocket::handover as wire;

            impl wire::Guest for WharfExport {
                fn export_state() -> ::std::vec::Vec<u8> {
                    WHARF_INSTANCE.with(|instance| {
                        instance.with(|handler| $crate::Handover::export_state(handler))
                    })
                }

                fn import_state(
                    state: ::std::vec::Vec<u8>,
                ) -> ::core::result::Result<(), ::std::string::String> {
                    WHARF_INSTANCE.with(|instance| {
                        instance.with(|handler| $crate::Handover::import_state(handler, &state))
                    })
                }
            }

            $crate::bindings::lasting::export_lasting!(
                WharfExport with_types_in $crate::bindings::lasting
            );
        };
    };
    (@health $handler:ty) => {
        const _: () = {
            use $crate::bindings::checked::exports::wharf::websocket::health as wire;

            impl wire::Guest for WharfExport {
                fn check() -> ::core::result::Result<(), ::std::string::String> {
                    WHARF_INSTANCE.with(|instance| {
                        instance.with(|handler| $crate::Health::check(handler))
                    })
                }
            }

            $crate::bindings::checked::export_checked!(
                WharfExport with_types_in $crate::bindings::checked
            );
        };
    };
    (@handshake $handler:ty) => {
        const _: () = {
            use $crate::bindings::connect::exports::wharf::websocket::handshake as wire;

            impl wire::Guest for WharfExport {
                fn on_connect(
                    request: $crate::Request,
                ) -> ::core::result::Result<wire::Acceptance, wire::Rejection> {
                    WHARF_INSTANCE.with(|instance| {
                        instance.with(|handler| {
                            $crate::reject($crate::Handshake::on_connect(handler, &request))
                        })
                    })
                }
            }

            $crate::bindings::connect::export_connect!(
                WharfExport with_types_in $crate::bindings::connect
            );
        };
    };
    (@handler $handler:ty) => {
        #[doc(hidden)]
        struct WharfExport;

        ::std::thread_local! {
            static WHARF_INSTANCE: $crate::Instance<$handler> = const { $crate::Instance::new() };
        }

        const _: () = {
            use $crate::bindings::exports::wharf::websocket::handler as wire;

            impl wire::Guest for WharfExport {
                fn on_open(session: u64) {
                    WHARF_INSTANCE.with(|instance| {
                        instance.with(|handler| {
                            $crate::Handler::on_open(handler, $crate::Session::from_id(session))
                        })
                    });
                }

                fn on_messages(batch: ::std::vec::Vec<wire::Delivery>) {
                    WHARF_INSTANCE.with(|instance| {
                        instance.with(|handler| $crate::deliver(handler, &batch))
                    });
                }

                fn on_close(session: u64, ending: $crate::Ending) {
                    WHARF_INSTANCE.with(|instance| {
                        instance.with(|handler| {
                            let session = $crate::Session::from_id(session);
                            $crate::Handler::on_close(handler, session, ending);
                        })
                    });
                }
            }

            $crate::bindings::export_handler!(WharfExport with_types_in $crate::bindings);
        };

        const _: () = {
            use $crate::bindings::packed::exports::wharf::websocket::packed_handler as wire;

            impl wire::Guest for WharfExport {
                fn on_packed_messages(
                    index: ::std::vec::Vec<u64>,
                    payloads: ::std::vec::Vec<u8>,
                ) {
                    WHARF_INSTANCE.with(|instance| {
                        instance.with(|handler| {
                            $crate::deliver_packed(handler, &index, &payloads)
                        })
                    });
                }
            }

            $crate::bindings::packed::export_packed!(
                WharfExport with_types_in $crate::bindings::packed
            );
        };
    };
}
