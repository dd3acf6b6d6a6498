//! An upload of a component with its manifest: read as it arrives, never more of it than is allowed,
//! and of one tenant one at a time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::BodyDataStream;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName};
use multer::{Constraints, Field, Multipart, SizeLimit};
use tokio::time::{Instant, timeout_at};

use super::{Refusal, bad};
use crate::admin::deployer::DeployParcel;
use crate::admin::listener::Deadline;

/// Uploads and deploys under way at once, of all tenants. Worst case: as many components in memory.
const UPLOADS_MAX: usize = 8;
/// Bytes of a manifest and of a signature.
const MANIFEST_BYTES_MAX: u64 = 64 << 10;
const SIGNATURE_BYTES_MAX: u64 = 1 << 10;
/// Bytes of a signature in ed25519.
const ED25519_BYTES: usize = 64;
/// What the parts have around them.
const AROUND_BYTES_MAX: u64 = 64 << 10;
/// From the first byte of an upload to its last, and from one to the next.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);
const BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// From there to the end of the deploy: others may be compiled before it.
pub(super) const DEPLOY_TIMEOUT: Duration = Duration::from_secs(600);

const RIGHT: &str = "multipart/form-data with the parts `component` (the .wasm file), `manifest` (its \
    wharf.toml) and, if the tenant's components have to be signed, `signature`";

/// The tenants that upload or deploy now.
#[derive(Clone, Debug, Default)]
pub(in crate::admin) struct Uploads(Arc<Mutex<HashSet<String>>>);

/// A tenant's place among them; given back when it is dropped.
#[derive(Debug)]
pub(super) struct UploadPlace {
    uploads: Uploads,
    tenant: String,
}

impl Uploads {
    /// Takes the tenant's place. One tenant has one, so none keeps the others out.
    pub(super) fn enter(&self, tenant: &str) -> Result<UploadPlace, Refusal> {
        let mut under_way = self.lock();
        let refuse = |what: &str, right: &str| {
            let status = StatusCode::TOO_MANY_REQUESTS;
            Err(Refusal::new(status, what, "the tenant", right).retry_after(1))
        };
        if under_way.contains(tenant) {
            let what = "the tenant has another deploy under way";
            return refuse(what, "one after the other");
        }
        if under_way.len() >= UPLOADS_MAX {
            let what = "as many deploys as the server takes at once are under way";
            return refuse(what, "trying again in a moment");
        }
        under_way.insert(tenant.to_owned());
        Ok(UploadPlace {
            uploads: self.clone(),
            tenant: tenant.to_owned(),
        })
    }

    /// Locked for moments, when a deploy begins and when it ends.
    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UploadPlace {
    fn drop(&mut self) {
        self.uploads.lock().remove(&self.tenant);
    }
}

/// A body that is on its way.
pub(super) struct Sending<'a> {
    body: Incoming,
    content_type: Option<String>,
    content_bytes: Option<u64>,
    deadline: &'a Deadline,
}

impl<'a> Sending<'a> {
    pub(super) fn new(body: Incoming, headers: &HeaderMap, deadline: &'a Deadline) -> Self {
        let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
        Self {
            body,
            content_type: text(CONTENT_TYPE),
            content_bytes: text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            deadline,
        }
    }

    /// Reads the parts.
    pub(super) async fn read(self, component_bytes_max: usize) -> Result<DeployParcel, Refusal> {
        let boundary = self.content_type.as_deref().map(multer::parse_boundary);
        let Some(Ok(boundary)) = boundary else {
            let what = "the body is no multipart/form-data";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Refusal::new(status, what, "header Content-Type", RIGHT));
        };
        let component_bytes_max = component_bytes_max as u64;
        let whole =
            component_bytes_max + MANIFEST_BYTES_MAX + SIGNATURE_BYTES_MAX + AROUND_BYTES_MAX;
        if self.content_bytes.is_some_and(|bytes| bytes > whole) {
            return Err(too_large("component", component_bytes_max));
        }
        let limits = SizeLimit::new()
            .whole_stream(whole)
            .for_field("component", component_bytes_max)
            .for_field("manifest", MANIFEST_BYTES_MAX)
            .for_field("signature", SIGNATURE_BYTES_MAX);
        let constraints = Constraints::new()
            .allowed_fields(vec!["component", "manifest", "signature"])
            .size_limit(limits);
        let stream = BodyDataStream::new(self.body);
        let parts = Multipart::with_constraints(stream, boundary, constraints);
        let patience = Patience {
            end: Instant::now() + UPLOAD_TIMEOUT,
            deadline: self.deadline,
        };
        patience.parcel(parts).await
    }
}

/// Until when an upload has to come further.
struct Patience<'a> {
    end: Instant,
    deadline: &'a Deadline,
}

impl Patience<'_> {
    async fn parcel(&self, mut parts: Multipart<'_>) -> Result<DeployParcel, Refusal> {
        let [mut component, mut manifest, mut signature] = [const { None }; 3];
        while let Some(field) = self.wait(parts.next_field()).await? {
            let part = match field.name() {
                Some("component") => &mut component,
                Some("manifest") => &mut manifest,
                _ => &mut signature,
            };
            if part.is_some() {
                let name = field.name().unwrap_or_default();
                return Err(bad(
                    format!("the part {name} is there twice"),
                    "body",
                    RIGHT,
                ));
            }
            *part = Some(self.bytes(field).await?);
        }
        let missing = |name: &str| bad(format!("the part `{name}` is missing"), "body", RIGHT);
        let manifest = manifest.ok_or_else(|| missing("manifest"))?;
        let manifest = String::from_utf8(manifest);
        Ok(DeployParcel {
            component: component.ok_or_else(|| missing("component"))?,
            manifest: manifest.map_err(|_| bad("it is no UTF-8", "manifest", "a text in TOML"))?,
            signature: signature.map(raw_signature),
        })
    }

    async fn bytes(&self, mut field: Field<'_>) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.wait(field.chunk()).await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    async fn wait<T>(&self, coming: impl Future<Output = multer::Result<T>>) -> Result<T, Refusal> {
        let until = self.end.min(Instant::now() + BYTE_TIMEOUT);
        // The connection's own deadline is behind that of the upload.
        self.deadline.extend(BYTE_TIMEOUT * 2);
        match timeout_at(until, coming).await {
            Ok(came) => came.map_err(broken),
            Err(_) => {
                let what = "the upload is too slow";
                let right = "something every 10 s, and all of it within 300 s";
                Err(Refusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    what,
                    "body",
                    right,
                ))
            }
        }
    }
}

/// A signature as it is, or in base64.
fn raw_signature(bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() == ED25519_BYTES {
        return bytes;
    }
    let decoded = BASE64.decode(bytes.trim_ascii());
    decoded.unwrap_or(bytes)
}

fn broken(error: multer::Error) -> Refusal {
    match error {
        multer::Error::FieldSizeExceeded { limit, field_name } => {
            too_large(field_name.as_deref().unwrap_or("component"), limit)
        }
        multer::Error::StreamSizeExceeded { limit } => too_large("component", limit),
        multer::Error::UnknownField { field_name } => {
            let name = field_name.unwrap_or_default();
            bad(format!("there is no part {name:?} here"), "body", RIGHT)
        }
        error => bad(format!("the body cannot be read: {error}"), "body", RIGHT),
    }
}

fn too_large(part: &str, limit: u64) -> Refusal {
    let what = format!("the {part} is too large");
    let right = format!("at most {limit} bytes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, what, part, right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_one_upload_and_leaves_room_for_others() {
        let uploads = Uploads::default();
        let status = |refused: Result<UploadPlace, Refusal>| {
            refused
                .map(drop)
                .map_err(|refusal| refusal.status().as_u16())
        };
        let first = uploads.enter("acme").expect("there is room");
        assert_eq!(status(uploads.enter("acme")), Err(429));
        let others: Vec<_> = (1..UPLOADS_MAX)
            .map(|number| uploads.enter(&format!("t{number}")).expect("there is room"))
            .collect();
        assert_eq!(status(uploads.enter("bolt")), Err(429));
        drop(first);
        assert_eq!(status(uploads.enter("bolt")), Ok(()));
        drop(others);
        assert!(uploads.lock().is_empty());
    }

    #[test]
    fn a_signature_may_come_in_base64() {
        let raw = vec![b'A'; ED25519_BYTES];
        assert_eq!(raw_signature(raw.clone()), raw);
        let text = BASE64.encode(&raw) + "\n";
        assert_eq!(raw_signature(text.into_bytes()), raw);
        assert_eq!(raw_signature(b"?".to_vec()), b"?");
    }
}
