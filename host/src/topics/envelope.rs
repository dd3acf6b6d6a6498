//! What the host writes itself: JSON texts for clients that keep positions, and who joins and
//! leaves. The shapes stand in docs/recovery.md and wit/topics.wit. Pure.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wharf_protocol::MessageKind;

use super::position::Position;

/// A published message with its place.
pub(super) fn message(topic: &str, at: Position, kind: MessageKind, payload: &[u8]) -> String {
    let mut text = begin(topic, at);
    match (kind, std::str::from_utf8(payload)) {
        (MessageKind::Text, Ok(payload)) => {
            text.push_str(",\"text\":");
            push_string(payload, &mut text);
        }
        _ => {
            text.push_str(",\"binary\":\"");
            STANDARD.encode_string(payload, &mut text);
            text.push('"');
        }
    }
    text.push('}');
    text
}

/// Where a topic is, and to who has come back, whether all that was missed came before this.
pub(super) fn place(topic: &str, at: Position, recovered: Option<bool>) -> String {
    let mut text = begin(topic, at);
    if let Some(recovered) = recovered {
        // Writing to a String does not fail.
        let _ = write!(text, ",\"recovered\":{recovered}");
    }
    text.push('}');
    text
}

/// What happened to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Joined,
    Left,
}

/// Who joined or left.
pub(super) fn announcement(topic: &str, change: Change, name: &str, info: &str) -> String {
    let mut text = String::from("{\"topic\":");
    push_string(topic, &mut text);
    text.push_str(match change {
        Change::Joined => ",\"joined\":{\"name\":",
        Change::Left => ",\"left\":{\"name\":",
    });
    push_string(name, &mut text);
    text.push_str(",\"info\":");
    push_string(info, &mut text);
    text.push_str("}}");
    text
}

fn begin(topic: &str, at: Position) -> String {
    let mut text = String::from("{\"topic\":");
    push_string(topic, &mut text);
    let Position { epoch, offset } = at;
    // Writing to a String does not fail.
    let _ = write!(text, ",\"epoch\":\"{epoch}\",\"offset\":{offset}");
    text
}

/// A JSON string. Only what JSON asks for is escaped.
fn push_string(value: &str, text: &mut String) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            control if control < ' ' => {
                // Writing to a String does not fail.
                let _ = write!(text, "\\u{:04x}", control as u32);
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::position::Epoch;
    use super::*;

    const AT: Position = Position {
        epoch: Epoch(0xab),
        offset: 7,
    };

    #[test]
    fn the_shapes_are_as_documented() {
        assert_eq!(
            message("a\"b", AT, MessageKind::Text, "x\\\u{1}\nä".as_bytes()),
            r#"{"topic":"a\"b","epoch":"00000000000000ab","offset":7,"text":"x\\\u0001\nä"}"#
        );
        assert_eq!(
            message("t", AT, MessageKind::Binary, &[0xff, 0, 1]),
            r#"{"topic":"t","epoch":"00000000000000ab","offset":7,"binary":"/wAB"}"#
        );
        assert_eq!(
            place("t", AT, None),
            r#"{"topic":"t","epoch":"00000000000000ab","offset":7}"#
        );
        assert_eq!(
            place("t", AT, Some(false)),
            r#"{"topic":"t","epoch":"00000000000000ab","offset":7,"recovered":false}"#
        );
        assert_eq!(
            announcement("t", Change::Joined, "1-2", "{}"),
            r#"{"topic":"t","joined":{"name":"1-2","info":"{}"}}"#
        );
        assert_eq!(
            announcement("t", Change::Left, "1-2", ""),
            r#"{"topic":"t","left":{"name":"1-2","info":""}}"#
        );
    }
}
