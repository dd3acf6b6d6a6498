//! The body of a request while its handler writes it. All bodies that an instance prepares are
//! counted together: a thousand small ones hold no more than a large one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::http::HeaderMap;

use super::OutboundError;

/// What an instance has prepared and not sent, in bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account(Arc<AtomicUsize>);

/// One body, and what follows it.
#[derive(Debug)]
pub(crate) struct Prepared {
    bytes: Vec<u8>,
    trailers: HeaderMap,
    account: Account,
    bytes_max: usize,
}

impl Prepared {
    /// An empty body; all of the account together may have `bytes_max`.
    pub(crate) fn new(account: &Account, bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            trailers: HeaderMap::new(),
            account: account.clone(),
            bytes_max,
        }
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), OutboundError> {
        let before = self.account.0.fetch_add(bytes.len(), Ordering::Relaxed);
        if before + bytes.len() > self.bytes_max {
            self.account.0.fetch_sub(bytes.len(), Ordering::Relaxed);
            return Err(OutboundError::RequestTooLarge(self.bytes_max as u64));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Sets what is said behind the body.
    pub(crate) fn set_trailers(&mut self, trailers: HeaderMap) {
        self.trailers = trailers;
    }

    /// Bytes and trailers, to be sent now.
    pub(super) fn take(mut self) -> (Vec<u8>, HeaderMap) {
        self.account
            .0
            .fetch_sub(self.bytes.len(), Ordering::Relaxed);
        (
            std::mem::take(&mut self.bytes),
            std::mem::take(&mut self.trailers),
        )
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.account
            .0
            .fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_one_account_are_counted_together() {
        let account = Account::default();
        let (mut first, mut second) = (Prepared::new(&account, 10), Prepared::new(&account, 10));
        assert_eq!(first.append(b"123456"), Ok(()));
        assert_eq!(
            second.append(b"12345"),
            Err(OutboundError::RequestTooLarge(10))
        );
        assert_eq!(second.append(b"1234"), Ok(()));
        drop(second);
        assert_eq!(first.append(b"7890"), Ok(()));
        assert_eq!(first.take().0, b"1234567890");
        assert_eq!(account.0.load(Ordering::Relaxed), 0);
    }
}
