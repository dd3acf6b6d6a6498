//! Answers of the API as people read them.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::table::Table;
use super::text;

/// The last moment that a date for people can show: the year 9999 is far off.
const MILLISECONDS_MAX: u64 = 4_000_000_000_000;

pub(super) fn status(answer: &Value) -> String {
    let mut table = Table::new(["", ""]);
    for (name, key) in [
        ("version", "version"),
        ("up for seconds", "uptime_seconds"),
        ("draining", "draining"),
        ("workers", "workers"),
        ("of these silent", "workers_silent"),
        ("tenants", "tenants"),
        ("process", "process"),
        ("deployments", "deployments"),
        ("rollbacks unrecorded", "rollbacks_unrecorded"),
    ] {
        table.row([name.to_owned(), text(answer, key)]);
    }
    // While the process before has some.
    if let Some(sessions) = answer["predecessor_sessions"].as_u64() {
        table.row(["sessions before upgrade".to_owned(), sessions.to_string()]);
    }
    for (name, key) in [
        ("sessions open", "sessions_open"),
        ("messages in", "messages_in"),
        ("messages out", "messages_out"),
        ("instances live", "instances_live"),
        ("instances asleep", "instances_asleep"),
        ("slow readers", "slow_readers"),
    ] {
        table.row([name.to_owned(), text(&answer["figures"], key)]);
    }
    for (name, _) in answer["rights"].as_object().into_iter().flatten() {
        table.row([name.replace('_', " "), text(&answer["rights"], name)]);
    }
    table.lines().trim_start().to_owned()
}

pub(super) fn tenants(answer: &Value) -> String {
    let mut table = Table::new([
        "TENANT",
        "SESSIONS",
        "MESSAGES IN",
        "OUT",
        "LIVE",
        "ASLEEP",
        "DEPLOYMENTS",
    ]);
    for tenant in rows(answer, "tenants") {
        let figure = |key| text(&tenant["figures"], key);
        table.row([
            text(tenant, "tenant"),
            figure("sessions_open"),
            figure("messages_in"),
            figure("messages_out"),
            figure("instances_live"),
            figure("instances_asleep"),
            text(tenant, "deployments"),
        ]);
    }
    table.lines()
}

pub(super) fn sessions(answer: &Value) -> String {
    let mut table = Table::new([
        "SESSION", "ROUTE", "VERSION", "STATE", "FROM", "QUEUED", "TAGS",
    ]);
    for session in rows(answer, "sessions") {
        let tags = rows(session, "tags").iter().filter_map(Value::as_str);
        table.row([
            text(session, "session"),
            text(session, "route"),
            version(session),
            text(session, "state"),
            text(session, "remote_address"),
            text(session, "queued_bytes"),
            tags.collect::<Vec<_>>().join(" "),
        ]);
    }
    table.lines()
}

/// A session's version, and whether that is a canary.
fn version(session: &Value) -> String {
    let generation = text(session, "generation");
    match session["canary"].as_bool() {
        Some(true) => format!("{generation} canary"),
        _ => generation,
    }
}

pub(super) fn canaries(answer: &Value) -> String {
    let mut now = Table::new([
        "ROUTE",
        "VERSION",
        "STAGE",
        "SHARE",
        "SECONDS LEFT",
        "SESSIONS",
        "CALLS",
        "SLOW",
        "TRAPS",
        "TIMEOUTS",
    ]);
    for row in rows(answer, "canaries") {
        let counted = |key: &str| text(&row["counted"], key);
        let of = |key: &str, max: &str| match &row[max] {
            Value::Null => counted(key),
            max => format!("{} of {max}", counted(key)),
        };
        now.row([
            text(row, "route"),
            text(row, "generation"),
            text(row, "stage"),
            text(row, "share"),
            text(row, "seconds_left"),
            counted("sessions"),
            counted("calls"),
            counted("slow_calls"),
            of("traps", "traps_max"),
            of("timeouts", "timeouts_max"),
        ]);
    }
    let mut ended = Table::new(["ROUTE", "VERSION", "STAGE", "ENDED", "BECAME", "WHY"]);
    for row in rows(answer, "ended") {
        let at = row["at_unix_ms"]
            .as_u64()
            .unwrap_or_default()
            .min(MILLISECONDS_MAX);
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at);
        ended.row([
            text(row, "route"),
            text(row, "generation"),
            text(row, "stage"),
            httpdate::fmt_http_date(at),
            text(row, "outcome").replace('_', " "),
            text(row, "reason"),
        ]);
    }
    format!("{}\n\n{}", now.lines(), ended.lines())
}

pub(super) fn session(answer: &Value) -> String {
    let mut table = Table::new(["", ""]);
    for (key, _) in answer.as_object().into_iter().flatten() {
        table.row([key.replace('_', " "), text(answer, key)]);
    }
    table.lines().trim_start().to_owned()
}

pub(super) fn topics(answer: &Value) -> String {
    let mut table = Table::new(["TOPIC", "MEMBERS"]);
    for topic in rows(answer, "topics") {
        table.row([text(topic, "topic"), text(topic, "members")]);
    }
    table.lines()
}

pub(super) fn members(answer: &Value) -> String {
    let mut table = Table::new(["SESSION", "SAYS OF ITSELF"]);
    for member in rows(answer, "members") {
        table.row([text(member, "session"), text(member, "info")]);
    }
    table.lines()
}

pub(super) fn dead_letters(answer: &Value) -> String {
    let mut table = Table::new([
        "INCIDENT", "WHEN", "ROUTE", "CALL", "KIND", "MESSAGES", "THEN",
    ]);
    for letter in rows(answer, "dead_letters") {
        table.row([
            text(letter, "incident"),
            moment(letter),
            text(letter, "route"),
            text(letter, "call"),
            text(letter, "kind"),
            text(letter, "message_count"),
            text(letter, "outcome"),
        ]);
    }
    table.lines()
}

/// What one failed call was about, with its messages below.
pub(super) fn dead_letter(answer: &Value) -> String {
    let mut about = Table::new(["", ""]);
    for (key, _) in answer.as_object().into_iter().flatten() {
        let value = match key.as_str() {
            "messages" => continue,
            "at" => moment(answer),
            "sessions" => {
                let names = rows(answer, "sessions").iter().filter_map(Value::as_str);
                names.collect::<Vec<_>>().join(" ")
            }
            _ => text(answer, key),
        };
        about.row([key.replace('_', " "), value]);
    }
    let mut messages = Table::new(["SESSION", "KIND", "BYTES", "PAYLOAD"]);
    for message in rows(answer, "messages") {
        let mut payload = match message["text"].as_str() {
            Some(text) => text.to_owned(),
            None => format!("(base64) {}", text(message, "base64")),
        };
        if message["is_cut"].as_bool() == Some(true) {
            payload.push('…');
        }
        let (session, kind) = (text(message, "session"), text(message, "kind"));
        messages.row([session, kind, text(message, "bytes"), payload]);
    }
    let about = about.lines().trim_start().to_owned();
    match rows(answer, "messages") {
        [] => about,
        _ => format!("{about}\n\n{}", messages.lines()),
    }
}

/// When something was, in words.
fn moment(row: &Value) -> String {
    let seconds = row["at"].as_f64().unwrap_or_default().clamp(0.0, 4e9);
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds))
}

pub(super) fn deployments(answer: &Value) -> String {
    let mut table = Table::new([
        "DEPLOYMENT",
        "GENERATION",
        "SERVES",
        "SINCE",
        "BY",
        "COMPONENT",
        "",
    ]);
    for row in rows(answer, "deployments") {
        table.row([
            text(row, "name"),
            text(row, "generation"),
            place(row),
            moment(row),
            text(row, "by"),
            digest(row),
            problem(row),
        ]);
    }
    table.lines()
}

/// One, with its versions and its history.
pub(super) fn deployment(answer: &Value) -> String {
    let mut table = Table::new(["", ""]);
    table.row(["deployment".to_owned(), text(answer, "name")]);
    table.row(["tenant".to_owned(), text(answer, "tenant")]);
    table.row(["generation".to_owned(), text(answer, "generation")]);
    table.row(["serves".to_owned(), place(answer)]);
    if !problem(answer).is_empty() {
        table.row(["problem".to_owned(), problem(answer)]);
    }
    let about = table.lines();
    let mut table = Table::new([
        "VERSION",
        "COMPONENT",
        "BYTES",
        "DEPLOYED",
        "BY",
        "SIGNED BY",
        "",
    ]);
    for version in rows(answer, "versions") {
        let number = &version["version"];
        let mark = match number {
            _ if *number == answer["version"] => "current",
            _ if *number == answer["previous_version"] => "previous",
            _ => "",
        };
        table.row([
            text(version, "version"),
            digest(version),
            text(version, "component_bytes"),
            moment(version),
            text(version, "by"),
            text(version, "signed_by"),
            mark.to_owned(),
        ]);
    }
    let versions = table.lines();
    let mut table = Table::new(["GENERATION", "WHAT", "VERSION", "WHEN", "BY"]);
    for change in rows(answer, "history").iter().rev() {
        table.row([
            text(change, "generation"),
            text(change, "change"),
            text(change, "version"),
            moment(change),
            text(change, "by"),
        ]);
    }
    format!("{}\n\n{versions}\n\n{}", about.trim_start(), table.lines())
}

/// What has come of a deploy or a rollback.
pub(super) fn deployed(answer: &Value) -> String {
    let row = &answer["deployment"];
    let sessions = match answer["rollout"].as_str() {
        Some("swap") => "; open sessions go on with it",
        Some("drain") => "; open sessions end with the version before",
        Some("restart") => "; open sessions are asked to come again",
        Some("canary") => "; some sessions find it first, `wharf canary` shows how it does",
        _ => "",
    };
    format!(
        "{} of {} serves {} (generation {}, version {}){sessions}",
        text(row, "name"),
        text(row, "tenant"),
        place(row),
        text(row, "generation"),
        text(row, "version"),
    )
}

fn place(row: &Value) -> String {
    let hosts = rows(row, "hosts").iter().filter_map(Value::as_str);
    let path = text(row, "path");
    let places: Vec<String> = hosts.map(|host| format!("{host}{path}")).collect();
    match places.is_empty() {
        true => path,
        false => places.join(" "),
    }
}

/// The beginning of a digest, enough to tell versions apart.
fn digest(row: &Value) -> String {
    text(row, "component").chars().take(12).collect()
}

fn problem(row: &Value) -> String {
    match row["problem"].as_str() {
        Some(problem) => format!("NOT SERVED: {}", problem.lines().next().unwrap_or_default()),
        None => String::new(),
    }
}

/// A line of a log: when, how grave, where, what.
pub(super) fn log_line(line: &Value) -> String {
    if let Some(missed) = line["missed_lines"].as_u64() {
        return format!("({missed} lines were missed: this reader was too slow)");
    }
    let date = moment(line);
    let time = date.split(' ').nth(4).unwrap_or_default();
    let session = match line["session_number"].as_u64() {
        Some(session) => format!(" session {session}"),
        None => String::new(),
    };
    let (level, route) = (text(line, "level"), text(line, "route"));
    format!("{time} {level:5} {route}{session}: {}", text(line, "text"))
}

fn rows<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    answer[key].as_array().map_or(&[], Vec::as_slice)
}
