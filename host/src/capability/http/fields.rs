//! Headers as a guest makes and reads them: names and values that HTTP can carry, within a limit.

use wasmtime::component::Resource;

use super::HttpView;
use super::types::{self, HeaderError};
use crate::outbound::{HeaderMap, HeaderName, HeaderValue};

/// What one list may hold, its bookkeeping included.
const FIELDS_BYTES_MAX: usize = 16 << 10;
/// The bookkeeping of an entry, about.
const ENTRY_BYTES: usize = 64;
/// What the host says itself, or what would change how the message is framed or to whom it goes.
const FORBIDDEN: [&str; 11] = [
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What has to be known before a body is read, so that it cannot stand behind it (RFC 9110, section
/// 6.5.1).
const NEVER_TRAILING: [&str; 8] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "max-forwards",
    "set-cookie",
];

/// A list of headers.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub(super) map: HeaderMap,
    is_immutable: bool,
}

impl Fields {
    /// Headers that the guest may read only.
    pub(super) fn immutable(map: HeaderMap) -> Self {
        Self {
            map,
            is_immutable: true,
        }
    }

    /// Headers that can be sent.
    pub(super) fn checked(entries: &[(String, Vec<u8>)]) -> Result<Self, HeaderError> {
        let mut fields = Self::default();
        for (name, value) in entries {
            fields.append(name, value)?;
        }
        Ok(fields)
    }

    /// Whether they may be said behind a body.
    pub(super) fn may_trail(&self) -> bool {
        !NEVER_TRAILING
            .iter()
            .any(|name| self.map.contains_key(*name))
    }

    fn bytes(&self) -> usize {
        let entries = self.map.iter();
        let bytes = entries.map(|(name, value)| name.as_str().len() + value.len() + ENTRY_BYTES);
        bytes.sum()
    }

    fn writable(&mut self) -> Result<&mut Self, HeaderError> {
        if self.is_immutable {
            return Err(HeaderError::Immutable);
        }
        Ok(self)
    }

    fn append(&mut self, name: &str, value: &[u8]) -> Result<(), HeaderError> {
        let (name, value) = (writable_name(name)?, checked_value(value)?);
        let more = name.as_str().len() + value.len() + ENTRY_BYTES;
        // The draft has no word for too much.
        if self.bytes() + more > FIELDS_BYTES_MAX {
            return Err(HeaderError::Forbidden);
        }
        let appended = self.map.try_append(name, value);
        appended.map(drop).map_err(|_| HeaderError::Forbidden)
    }

    fn set(&mut self, name: &str, values: &[Vec<u8>]) -> Result<(), HeaderError> {
        let mut changed = self.clone();
        changed.map.remove(writable_name(name)?);
        for value in values {
            changed.append(name, value)?;
        }
        *self = changed;
        Ok(())
    }
}

fn checked_name(name: &str) -> Result<HeaderName, HeaderError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::InvalidSyntax)
}

fn writable_name(name: &str) -> Result<HeaderName, HeaderError> {
    let name = checked_name(name)?;
    if FORBIDDEN.contains(&name.as_str()) {
        return Err(HeaderError::Forbidden);
    }
    Ok(name)
}

fn checked_value(value: &[u8]) -> Result<HeaderValue, HeaderError> {
    HeaderValue::from_bytes(value).map_err(|_| HeaderError::InvalidSyntax)
}

type Changed = wasmtime::Result<Result<(), HeaderError>>;

impl types::HostFields for HttpView<'_> {
    fn new(&mut self) -> wasmtime::Result<Resource<Fields>> {
        Ok(self.table.push(Fields::default())?)
    }

    fn from_list(
        &mut self,
        entries: Vec<(String, Vec<u8>)>,
    ) -> wasmtime::Result<Result<Resource<Fields>, HeaderError>> {
        Ok(match Fields::checked(&entries) {
            Ok(fields) => Ok(self.table.push(fields)?),
            Err(error) => Err(error),
        })
    }

    fn get(&mut self, fields: Resource<Fields>, name: String) -> wasmtime::Result<Vec<Vec<u8>>> {
        let values = self.table.get(&fields)?.map.get_all(name.as_str());
        Ok(values
            .iter()
            .map(|value| value.as_bytes().to_vec())
            .collect())
    }

    fn has(&mut self, fields: Resource<Fields>, name: String) -> wasmtime::Result<bool> {
        Ok(self.table.get(&fields)?.map.contains_key(name.as_str()))
    }

    fn set(&mut self, fields: Resource<Fields>, name: String, values: Vec<Vec<u8>>) -> Changed {
        let fields = self.table.get_mut(&fields)?;
        Ok(fields
            .writable()
            .and_then(|fields| fields.set(&name, &values)))
    }

    fn delete(&mut self, fields: Resource<Fields>, name: String) -> Changed {
        let fields = self.table.get_mut(&fields)?;
        Ok(fields.writable().and_then(|fields| {
            fields.map.remove(writable_name(&name)?);
            Ok(())
        }))
    }

    fn append(&mut self, fields: Resource<Fields>, name: String, value: Vec<u8>) -> Changed {
        let fields = self.table.get_mut(&fields)?;
        Ok(fields
            .writable()
            .and_then(|fields| fields.append(&name, &value)))
    }

    fn entries(&mut self, fields: Resource<Fields>) -> wasmtime::Result<Vec<(String, Vec<u8>)>> {
        let entries = self.table.get(&fields)?.map.iter();
        let owned = entries.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        Ok(owned.collect())
    }

    fn clone(&mut self, fields: Resource<Fields>) -> wasmtime::Result<Resource<Fields>> {
        let map = self.table.get(&fields)?.map.clone();
        Ok(self.table.push(Fields {
            map,
            is_immutable: false,
        })?)
    }

    fn drop(&mut self, fields: Resource<Fields>) -> wasmtime::Result<()> {
        self.table.delete(fields)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frames_a_message_is_the_hosts() {
        let mut fields = Fields::default();
        for name in FORBIDDEN.into_iter().chain(["Host", "Transfer-Encoding"]) {
            let refused = fields.append(name, b"x");
            assert!(matches!(refused, Err(HeaderError::Forbidden)), "{name}");
        }
        for (name, value) in [("a b", "x"), ("", "x"), ("a", "x\r\nHost: y"), ("a:", "x")] {
            let refused = fields.append(name, value.as_bytes());
            assert!(matches!(refused, Err(HeaderError::InvalidSyntax)), "{name}");
        }
        assert!(fields.append("Accept", b"text/plain").is_ok());
        assert!(fields.may_trail());
        assert!(
            Fields::checked(&[("Set-Cookie".into(), vec![])]).is_ok_and(|late| !late.may_trail())
        );
        assert!(fields.map.len() == 1 && fields.map.contains_key("accept"));
    }

    #[test]
    fn a_list_has_an_end() {
        let mut fields = Fields::default();
        let appended = (0..100_000).take_while(|_| fields.append("a", b"").is_ok());
        assert_eq!(appended.count(), FIELDS_BYTES_MAX / (ENTRY_BYTES + 1));
        let large = vec![b'x'; FIELDS_BYTES_MAX];
        assert!(fields.set("a", &[large]).is_err());
        assert!(fields.map.len() > 1, "what failed changed nothing");
    }
}
