//! The interfaces `wasi:keyvalue/store` and `wasi:keyvalue/atomics` (wit/deps/keyvalue): buckets
//! of the deployment's tenant, those that it was granted.
//!
//! Translates, and knows which buckets are granted; what a bucket does is `kv`'s. A value is
//! copied out of the guest's memory only when there is room for it among those that wait.

use send_wrapper::SendWrapper;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType, WasmList, WasmStr,
};

use super::HostView;
use crate::kv::{Bucket, KEY_BYTES_MAX, KvError, VALUE_BYTES_MAX};

/// The one version of the draft that this host has.
pub(crate) const VERSION: &str = "0.2.0-draft2";
const STORE: &str = "wasi:keyvalue/store@0.2.0-draft2";
const ATOMICS: &str = "wasi:keyvalue/atomics@0.2.0-draft2";

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

impl From<KvError> for Error {
    fn from(error: KvError) -> Self {
        Self::Other(error.to_string())
    }
}

/// Some of the keys.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
struct KeyResponse {
    keys: Vec<String>,
    cursor: Option<String>,
}

/// Why a swap did not happen.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum CasError {
    #[component(name = "store-error")]
    StoreError(Error),
    #[component(name = "cas-failed")]
    CasFailed(Resource<Cas>),
}

/// A key, and the version of its value that the guest has seen. It holds no value: a guest may
/// have a thousand of these.
pub(crate) struct Cas {
    bucket: Bucket,
    key: String,
    version: u64,
}

type Answer<T> = wasmtime::Result<(Result<T, Error>,)>;
type Waiting<'a, T> = Box<dyn Future<Output = wasmtime::Result<(Result<T, Error>,)>> + Send + 'a>;

/// Defines both interfaces.
pub(crate) fn link<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    link_store(&mut linker.instance(STORE)?)?;
    link_atomics(&mut linker.instance(ATOMICS)?)
}

fn link_store<T: HostView>(store: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    store.resource(
        "bucket",
        ResourceType::host::<Bucket>(),
        |mut store, rep| {
            let bucket = Resource::<Bucket>::new_own(rep);
            store.data_mut().resources().delete(bucket)?;
            Ok(())
        },
    )?;
    store.func_wrap("open", open)?;
    store.func_wrap(
        "[method]bucket.get",
        |mut store: StoreContextMut<'_, T>, (bucket, key): (Resource<Bucket>, WasmStr)| {
            let bucket = found(&mut store, &bucket)?;
            answer(bucket.get(&key.to_str(&store)?))
        },
    )?;
    store.func_wrap(
        "[method]bucket.exists",
        |mut store: StoreContextMut<'_, T>, (bucket, key): (Resource<Bucket>, WasmStr)| {
            let bucket = found(&mut store, &bucket)?;
            answer(bucket.exists(&key.to_str(&store)?))
        },
    )?;
    store.func_wrap("[method]bucket.list-keys", list_keys)?;
    store.func_wrap_async("[method]bucket.set", set)?;
    store.func_wrap_async("[method]bucket.delete", delete)
}

fn link_atomics<T: HostView>(atomics: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    atomics.resource("cas", ResourceType::host::<Cas>(), |mut store, rep| {
        let cas = Resource::<Cas>::new_own(rep);
        store.data_mut().resources().delete(cas)?;
        Ok(())
    })?;
    atomics.func_wrap("[static]cas.new", new_cas)?;
    atomics.func_wrap("[method]cas.current", current)?;
    atomics.func_wrap_async("increment", increment)?;
    atomics.func_wrap_async("swap", swap)
}

fn open<T: HostView>(
    mut store: StoreContextMut<'_, T>,
    (name,): (WasmStr,),
) -> Answer<Resource<Bucket>> {
    let name = name.to_str(&store)?.into_owned();
    let around = store.data().surroundings();
    let granted = around.route.grants.keyvalue.contains(&name);
    // Whether another deployment has such a bucket is not told.
    let Some(kv) = around.services.kv.as_ref().filter(|_| granted) else {
        return Ok((Err(Error::AccessDenied),));
    };
    let bucket = kv.bucket(&around.route.tenant, &name);
    Ok((Ok(store.data_mut().resources().push(bucket)?),))
}

fn list_keys<T: HostView>(
    mut store: StoreContextMut<'_, T>,
    (bucket, cursor): (Resource<Bucket>, Option<WasmStr>),
) -> Answer<KeyResponse> {
    let bucket = found(&mut store, &bucket)?;
    let after = match &cursor {
        Some(cursor) => Some(cursor.to_str(&store)?),
        None => None,
    };
    answer(bucket.keys(after.as_deref()).map(|page| KeyResponse {
        cursor: page.keys.last().filter(|_| page.more).cloned(),
        keys: page.keys,
    }))
}

fn set<T: HostView>(
    mut store: StoreContextMut<'_, T>,
    (bucket, key, value): (Resource<Bucket>, WasmStr, WasmList<u8>),
) -> Waiting<'_, ()> {
    Box::new(SendWrapper::new(async move {
        let bucket = found(&mut store, &bucket)?;
        let key = match key_in(&store, &key)? {
            Ok(key) => key,
            Err(error) => return Ok((Err(error),)),
        };
        if value.len() > VALUE_BYTES_MAX {
            return Ok((Err(KvError::ValueTooLarge.into()),));
        }
        let room = bucket.room_for(value.len()).await;
        let value = value.as_le_slice(&store).to_vec();
        answer(bucket.set(room, key, value).await)
    }))
}

fn delete<T: HostView>(
    mut store: StoreContextMut<'_, T>,
    (bucket, key): (Resource<Bucket>, WasmStr),
) -> Waiting<'_, ()> {
    Box::new(SendWrapper::new(async move {
        let bucket = found(&mut store, &bucket)?;
        let key = match key_in(&store, &key)? {
            Ok(key) => key,
            Err(error) => return Ok((Err(error),)),
        };
        let room = bucket.room_for(0).await;
        answer(bucket.delete(room, key).await)
    }))
}

fn increment<T: HostView>(
    mut store: StoreContextMut<'_, T>,
    (bucket, key, delta): (Resource<Bucket>, WasmStr, i64),
) -> Waiting<'_, i64> {
    Box::new(SendWrapper::new(async move {
        let bucket = found(&mut store, &bucket)?;
        let key = match key_in(&store, &key)? {
            Ok(key) => key,
            Err(error) => return Ok((Err(error),)),
        };
        let room = bucket.room_for(0).await;
        answer(bucket.increment(room, key, delta).await)
    }))
}

fn new_cas<T: HostView>(
    mut store: StoreContextMut<'_, T>,
    (bucket, key): (Resource<Bucket>, WasmStr),
) -> Answer<Resource<Cas>> {
    let bucket = found(&mut store, &bucket)?;
    let key = match key_in(&store, &key)? {
        Ok(key) => key,
        Err(error) => return Ok((Err(error),)),
    };
    let version = match bucket.version(&key) {
        Ok(version) => version,
        Err(error) => return Ok((Err(error.into()),)),
    };
    let cas = Cas {
        bucket,
        key,
        version,
    };
    Ok((Ok(store.data_mut().resources().push(cas)?),))
}

/// The value as it is now. A swap succeeds if it still is by then: what counts is what the guest
/// has seen last.
fn current<T: HostView>(
    mut store: StoreContextMut<'_, T>,
    (cas,): (Resource<Cas>,),
) -> Answer<Option<Vec<u8>>> {
    let cas = store.data_mut().resources().get_mut(&cas)?;
    answer(cas.bucket.get_with_version(&cas.key).map(|found| {
        let (version, value) = found.unzip();
        cas.version = version.unwrap_or(0);
        value
    }))
}

type Swapped = (Result<(), CasError>,);

fn swap<T: HostView>(
    mut store: StoreContextMut<'_, T>,
    (cas, value): (Resource<Cas>, WasmList<u8>),
) -> Box<dyn Future<Output = wasmtime::Result<Swapped>> + Send + '_> {
    Box::new(SendWrapper::new(async move {
        let cas = store.data_mut().resources().delete(cas)?;
        if value.len() > VALUE_BYTES_MAX {
            let error = KvError::ValueTooLarge.into();
            return Ok((Err(CasError::StoreError(error)),));
        }
        let room = cas.bucket.room_for(value.len()).await;
        let value = value.as_le_slice(&store).to_vec();
        let swapped = cas.bucket.swap(room, cas.key.clone(), cas.version, value);
        Ok((match swapped.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(version)) => {
                let cas = Cas { version, ..cas };
                Err(CasError::CasFailed(store.data_mut().resources().push(cas)?))
            }
            Err(error) => Err(CasError::StoreError(error.into())),
        },))
    }))
}

fn found<T: HostView>(
    store: &mut StoreContextMut<'_, T>,
    bucket: &Resource<Bucket>,
) -> wasmtime::Result<Bucket> {
    Ok(store.data_mut().resources().get(bucket)?.clone())
}

/// A key that is not too long, copied only then.
fn key_in<T: HostView>(
    store: &StoreContextMut<'_, T>,
    key: &WasmStr,
) -> wasmtime::Result<Result<String, Error>> {
    let key = key.to_str(store)?;
    if key.len() > KEY_BYTES_MAX {
        return Ok(Err(KvError::KeyTooLong.into()));
    }
    Ok(Ok(key.into_owned()))
}

fn answer<T>(result: Result<T, KvError>) -> Answer<T> {
    Ok((result.map_err(Error::from),))
}
