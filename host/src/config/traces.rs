//! `[traces]`: which sessions are traced, and the collector that gets their spans.

use std::path::Path;

use super::document::Section;
use crate::traces::{TraceSettings, is_header};

/// Reads the section, if there is one. `folder` is the config file's.
pub(super) fn settings(top: &Section<'_, '_>, folder: &Path) -> Option<TraceSettings> {
    const ENDPOINT: &str = "right is the address of a collector, such as \"http://127.0.0.1:4318\"";
    const HEADER: &str = "it is no header that a request may have";
    let section = top.section("traces", "[traces]")?;
    let endpoint = section.text("endpoint", ENDPOINT);
    if endpoint.is_none() && !section.has("endpoint") {
        section.missing("endpoint", ENDPOINT);
    }
    let settings = TraceSettings::new(endpoint.as_deref().unwrap_or("http://localhost"));
    let mut settings = match settings {
        Ok(settings) => settings,
        Err(right) => {
            section.refuse("endpoint", right);
            return None;
        }
    };
    section.count(
        "sample_one_in",
        1..=1_000_000_000,
        &mut settings.sample_one_in,
    );
    section.flag("accept_traceparent", &mut settings.accept_traceparent);
    section.count(
        "queue_spans_max",
        1..=1_000_000,
        &mut settings.queue_spans_max,
    );
    section.count(
        "session_spans_max",
        1..=1_000_000,
        &mut settings.session_spans_max,
    );
    section.duration("export_every", &mut settings.export_every);
    section.duration("timeout", &mut settings.timeout);
    if let Some(headers) = section.section("headers", "[traces.headers]") {
        for (name, value) in headers.entries() {
            match super::values::secret(&headers, name, value, folder) {
                Some(secret) if is_header(name, &secret) => {
                    settings.headers.push((name.to_owned(), secret));
                }
                Some(_) => headers.refuse_hidden(name, value, HEADER),
                None => {}
            }
        }
    }
    section.finish();
    Some(settings)
}
