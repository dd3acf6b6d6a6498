//! What a session carries besides its socket: the bytes and words that a handler attached.
//!
//! Kept apart from the guest's memory, because it outlives an instance. Checks its own limits.

use super::SendError;

/// Bytes that a handler may attach to a session.
pub(crate) const ATTACHMENT_BYTES_MAX: usize = 16 * 1024;
/// Tags a session, and characters a tag.
pub(crate) const TAGS_MAX: usize = 10;
/// Characters in one tag; the limit is counted in characters, not bytes.
pub(crate) const TAG_CHARS_MAX: usize = 256;
/// Bytes of an auto-response, each way.
pub(crate) const AUTO_RESPONSE_BYTES_MAX: usize = 2 * 1024;

/// A text that the host answers by itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AutoResponse {
    pub(crate) request: Box<str>,
    pub(crate) response: Box<str>,
}

/// Attached by the handler; absent until it attaches something.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    attachment: Box<[u8]>,
    tags: Box<[Box<str>]>,
    auto_response: Option<AutoResponse>,
}

impl Facts {
    pub(crate) fn attachment(&self) -> &[u8] {
        &self.attachment
    }

    /// Keeps a copy of `value`, or refuses it with the limit in bytes.
    pub(crate) fn set_attachment(&mut self, value: &[u8]) -> Result<(), SendError> {
        within(value.len(), ATTACHMENT_BYTES_MAX)?;
        self.attachment = value.into();
        Ok(())
    }

    pub(crate) fn tags(&self) -> &[Box<str>] {
        &self.tags
    }

    /// Replaces the tags, or refuses them with the limit (of tags or of characters) that they break.
    pub(crate) fn set_tags(&mut self, tags: Vec<String>) -> Result<(), SendError> {
        within(tags.len(), TAGS_MAX)?;
        for tag in &tags {
            within(tag.chars().count(), TAG_CHARS_MAX)?;
        }
        self.tags = tags.into_iter().map(String::into_boxed_str).collect();
        Ok(())
    }

    pub(crate) fn auto_response(&self) -> Option<&AutoResponse> {
        self.auto_response.as_ref()
    }

    /// Sets or removes the pair, or refuses it with the limit in bytes.
    pub(crate) fn set_auto_response(
        &mut self,
        pair: Option<(String, String)>,
    ) -> Result<(), SendError> {
        if let Some((request, response)) = &pair {
            within(request.len().max(response.len()), AUTO_RESPONSE_BYTES_MAX)?;
        }
        self.auto_response = pair.map(|(request, response)| AutoResponse {
            request: request.into(),
            response: response.into(),
        });
        Ok(())
    }
}

fn within(size: usize, limit: usize) -> Result<(), SendError> {
    if size <= limit {
        Ok(())
    } else {
        Err(SendError::TooLarge(limit as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_met_exactly() {
        let mut facts = Facts::default();
        assert_eq!(facts.set_attachment(&[7; ATTACHMENT_BYTES_MAX]), Ok(()));
        assert_eq!(
            facts.set_attachment(&[7; ATTACHMENT_BYTES_MAX + 1]),
            Err(SendError::TooLarge(ATTACHMENT_BYTES_MAX as u64))
        );
        assert_eq!(
            facts.attachment().len(),
            ATTACHMENT_BYTES_MAX,
            "a refusal changes nothing"
        );

        assert_eq!(facts.set_tags(vec!["é".repeat(256); 10]), Ok(()));
        assert_eq!(
            facts.set_tags(vec!["é".repeat(257)]),
            Err(SendError::TooLarge(256))
        );
        assert_eq!(
            facts.set_tags(vec![String::new(); 11]),
            Err(SendError::TooLarge(10))
        );
        assert_eq!(facts.tags().len(), 10);

        let text = |length| "a".repeat(length);
        assert_eq!(
            facts.set_auto_response(Some((text(2048), text(2048)))),
            Ok(())
        );
        let refused = facts.set_auto_response(Some((text(1), text(2049))));
        assert_eq!(refused, Err(SendError::TooLarge(2048)));
        assert!(facts.auto_response().is_some());
        assert_eq!(facts.set_auto_response(None), Ok(()));
        assert_eq!(facts.auto_response(), None);
    }
}
