//! The table `canary` of a rollout: who finds a new version first, and what it may do wrong meanwhile.

use super::document::Section;
use crate::catalog::{CANARY_KEYS_MAX, Canary, InstanceModel, Mark, Share};

const SHARE: &str =
    "right is a part of the new sessions or keys, such as \"5%\" or \"0.5%\", up to \"100%\"";
const KEYS: &str = "right is a list of keys, such as [\"room-1\"]";
const HEADER: &str = "right is a name and a value, such as \"x-canary: yes\"";
const PAIR: &str = "right is a name and a value, such as \"canary=yes\"";
/// Bytes of a key or of a mark.
const TEXT_BYTES_MAX: usize = 1_024;

/// Reads `[route.rollout.canary]` or, in a manifest, `[rollout.canary]`, of a route with such
/// instances.
pub(super) fn canary(
    above: &Section<'_, '_>,
    name: &'static str,
    instance: &InstanceModel,
) -> Option<Canary> {
    let section = above.section("canary", name)?;
    let mut canary = Canary {
        keys: keys(&section, instance),
        mark: mark(&section, instance),
        ..Canary::default()
    };
    if !canary.keys.is_empty() || canary.mark.is_some() {
        canary.share = Share::NONE;
    }
    if let Some(text) = section.text("share", SHARE) {
        match Share::parse(&text) {
            Some(Share::NONE) if canary.keys.is_empty() && canary.mark.is_none() => {
                section.refuse("share", "nobody would find the new version: name `keys`, `header`, `cookie` or `query`, or a larger share");
            }
            Some(share) => canary.share = share,
            None => section.refuse("share", SHARE),
        }
    }
    section.duration("for", &mut canary.duration);
    section.count("calls_min", 0..=1_000_000, &mut canary.calls_min);
    section.duration_or_off("watch", &mut canary.watch);
    section.count("traps_max", 0..=1_000_000, &mut canary.traps_max);
    section.count("timeouts_max", 0..=1_000_000, &mut canary.timeouts_max);
    section.duration_or_off("latency_p99_max", &mut canary.latency_p99_max);
    section.finish();
    Some(canary)
}

fn keys(section: &Section<'_, '_>, instance: &InstanceModel) -> Vec<String> {
    let keys = section.texts("keys", KEYS).unwrap_or_default();
    if section.has("keys") && !matches!(instance, InstanceModel::Keyed(_)) {
        let why = "the route's instances have no keys: right is `header`, `cookie` or `query`, or an `instance` such as \"{room}\"";
        section.refuse("keys", why);
    } else if keys.len() > CANARY_KEYS_MAX {
        section.refuse(
            "keys",
            format_args!("right are up to {CANARY_KEYS_MAX} keys"),
        );
    } else if keys.iter().any(|key| key.len() > TEXT_BYTES_MAX) {
        section.refuse(
            "keys",
            format_args!("right are keys of up to {TEXT_BYTES_MAX} bytes"),
        );
    }
    keys
}

/// At most one of the three.
fn mark(section: &Section<'_, '_>, instance: &InstanceModel) -> Option<Mark> {
    let mut mark = None;
    for (key, between, right) in [
        ("header", ':', HEADER),
        ("cookie", '=', PAIR),
        ("query", '=', PAIR),
    ] {
        let text = match key {
            "header" => section.text("header", right),
            "cookie" => section.text("cookie", right),
            _ => section.text("query", right),
        };
        let Some(text) = text else { continue };
        let pair = text.split_once(between);
        let pair = pair.map(|(name, value)| (name.trim(), value.trim()));
        let is_short = text.len() <= TEXT_BYTES_MAX;
        let pair = pair.filter(|(name, value)| is_short && is_token(name) && is_visible(value));
        match pair {
            _ if matches!(instance, InstanceModel::Keyed(_)) => {
                let why =
                    "whoever asks for a key finds the version that the key is in: right is `keys`";
                section.refuse(key, why);
            }
            _ if mark.is_some() => {
                section.refuse(key, "right is one of `header`, `cookie` and `query`");
            }
            None => section.refuse(key, right),
            Some((name, value)) => {
                let value = value.to_owned();
                mark = Some(match key {
                    "header" => Mark::Header(name.to_ascii_lowercase(), value),
                    "cookie" => Mark::Cookie(name.to_owned(), value),
                    _ => Mark::Query(name.to_owned(), value),
                });
            }
        }
    }
    mark
}

/// What a header or a cookie may be called (RFC 9110, section 5.6.2).
fn is_token(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(fits)
}

fn is_visible(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::Manifest;

    const KEYED: &str = "instance = \"{room}\"\n";

    /// What a manifest with that table says; or its problems without their places.
    fn read(instance: &str, table: &str) -> Result<Option<Canary>, Vec<String>> {
        let text = format!("[route]\npath = \"/{{room}}\"\n{instance}[rollout.canary]\n{table}");
        match Manifest::parse(&text, Path::new("wharf.toml")) {
            Ok(manifest) => Ok(manifest.route.canary),
            Err(error) => {
                let lines = error.to_string();
                let lines = lines.lines().map(|line| {
                    let (_, message) = line.split_once(": ").expect("it has a place");
                    message.to_owned()
                });
                Err(lines.collect())
            }
        }
    }

    #[test]
    fn an_empty_table_takes_the_defaults() {
        assert_eq!(read("", ""), Ok(Some(Canary::default())));
        let text = "[route]\npath = \"/\"\n[rollout]\npolicy = \"swap\"\n";
        let manifest = Manifest::parse(text, Path::new("wharf.toml")).expect("it is sound");
        assert_eq!(manifest.route.canary, None);
    }

    #[test]
    fn all_of_it_is_read() {
        let table = "share = \"0.5%\"\nheader = \"X-Canary: yes\"\nfor = \"1h\"\nwatch = \"30m\"\n\
            calls_min = 40\ntraps_max = 0\ntimeouts_max = 7\nlatency_p99_max = \"20ms\"\n";
        let expected = Canary {
            share: Share::parse("0.5%").expect("a share"),
            keys: Vec::new(),
            mark: Some(Mark::Header("x-canary".to_owned(), "yes".to_owned())),
            duration: Duration::from_secs(3_600),
            calls_min: 40,
            watch: Some(Duration::from_secs(1_800)),
            traps_max: 0,
            timeouts_max: 7,
            latency_p99_max: Some(Duration::from_millis(20)),
        };
        assert_eq!(read("", table), Ok(Some(expected)));
    }

    #[test]
    fn who_is_named_is_alone_unless_a_share_is_named_too() {
        let share = |instance, table| {
            let canary = read(instance, table).expect("it is sound");
            canary.expect("there is one").share.to_string()
        };
        assert_eq!(share(KEYED, "keys = [\"a\"]\n"), "0%");
        assert_eq!(share(KEYED, "keys = [\"a\"]\nshare = \"7%\"\n"), "7%");
        assert_eq!(share("", "query = \"canary=yes\"\n"), "0%");
    }

    #[test]
    fn what_is_wrong_names_what_would_be_right() {
        let check = |instance, table, part: &str| {
            let problems = read(instance, table).expect_err("it is wrong");
            assert!(
                problems.len() == 1 && problems[0].contains(part),
                "{problems:?}"
            );
        };
        check(
            "",
            "share = \"5\"\n",
            "right is a part of the new sessions or keys",
        );
        check("", "share = \"0%\"\n", "nobody would find the new version");
        check("", "keys = [\"a\"]\n", "the route's instances have no keys");
        check(
            KEYED,
            "cookie = \"canary=yes\"\n",
            "finds the version that the key is in",
        );
        check("", "header = \"canary\"\n", "such as \"x-canary: yes\"");
        check("", "query = \"canary=\"\n", "such as \"canary=yes\"");
        check("", "cookie = \"a=b\"\nquery = \"a=b\"\n", "right is one of");
        check("", "for = \"off\"\n", "right is a duration");
        check("", "shares = \"5%\"\n", "did you mean share?");
    }
}
