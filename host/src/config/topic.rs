//! `[[topic]]`: what holds for the topics that a pattern covers; and the grant of topics to a route.

use super::document::Section;
use super::route::tenant;
use crate::catalog::{TopicPattern, TopicRule, TopicSettings};

const NAME: &str = "right is a topic or the beginning of some, such as \"room/*\"";
const GRANT: &str = "right is true, or a list of topics such as [\"lobby\", \"room/*\"]";

/// Reads one `[[topic]]`; what is wrong is noted in the document.
pub(super) fn rule(section: &Section<'_, '_>) -> Option<TopicRule> {
    let tenant = tenant(section);
    let name = name(section);
    let mut settings = TopicSettings::default();
    section.count(
        "history_messages",
        0..=100_000,
        &mut settings.history_messages,
    );
    section.duration("history_for", &mut settings.history_for);
    section.size(
        "history_bytes_max",
        1..=64 << 20,
        &mut settings.history_bytes_max,
    );
    section.flag("announce", &mut settings.announce);
    section.count("members_max", 1..=10_000_000, &mut settings.members_max);
    let mut bytes_per_second_max = 0_u64;
    section.size(
        "bytes_per_second_max",
        1..=1 << 40,
        &mut bytes_per_second_max,
    );
    settings.bytes_per_second_max = (bytes_per_second_max > 0).then_some(bytes_per_second_max);
    for key in ["history_for", "history_bytes_max"] {
        if section.has(key) && !section.has("history_messages") {
            section.refuse(key, "nothing is kept without history_messages");
        }
    }
    Some(TopicRule {
        tenant,
        name: name?,
        settings,
    })
}

/// Reads `topics` of `[route.grants]`.
pub(super) fn grant(section: &Section<'_, '_>) -> Vec<TopicPattern> {
    let mut patterns = Vec::new();
    for text in section.texts_or_all("topics", GRANT).unwrap_or_default() {
        match TopicPattern::parse(&text) {
            Ok(pattern) => patterns.push(pattern),
            Err(why) => section.refuse("topics", format_args!("{text:?}: {why}")),
        }
    }
    patterns
}

fn name(section: &Section<'_, '_>) -> Option<TopicPattern> {
    let Some(text) = section.text("name", NAME) else {
        if !section.has("name") {
            section.missing("name", NAME);
        }
        return None;
    };
    match TopicPattern::parse(&text) {
        Ok(pattern) => Some(pattern),
        Err(why) => {
            section.refuse("name", why);
            None
        }
    }
}
