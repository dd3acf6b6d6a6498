//! The interface `wasi:config/store` (wit/deps/config): what the operator wrote for the component's
//! route.
//!
//! Secrets are answered to whom asks for them by name and never listed, so that a handler which
//! prints all of its settings prints no secret.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, WasmStr};

use super::HostView;

/// The one version of the draft that this host has.
pub(crate) const VERSION: &str = "0.2.0-rc.1";
const INTERFACE: &str = "wasi:config/store@0.2.0-rc.1";

/// Why a setting could not be read. It never happens: all are read before the server starts.
#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

type Answer<T> = wasmtime::Result<(Result<T, Error>,)>;

/// Defines the interface.
pub(crate) fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let mut store = linker.instance(INTERFACE)?;
    store.func_wrap("get", get)?;
    store.func_wrap("get-all", get_all)
}

fn get<T: HostView>(store: StoreContextMut<'_, T>, (key,): (WasmStr,)) -> Answer<Option<String>> {
    let key = key.to_str(&store)?;
    let settings = &store.data().surroundings().route.settings;
    Ok((Ok(settings.get(&key).map(str::to_owned)),))
}

fn get_all<T: HostView>(store: StoreContextMut<'_, T>, (): ()) -> Answer<Vec<(String, String)>> {
    let settings = &store.data().surroundings().route.settings;
    let open = settings.open();
    let owned = open.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Ok((Ok(owned.collect()),))
}
