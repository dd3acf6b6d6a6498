//! How permessage-deflate is agreed (RFC 7692, sections 5 and 7.1): a server
//! answers offers, a client makes one and checks the answer. An offer that
//! cannot be met is declined, never an error.

use core::fmt;

use super::{Config, Params, WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::handshake::Extension;

const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The parameters of one offer or response, each given at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Given {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// The inner `None` is the parameter without a value.
    client_max_window_bits: Option<Option<u8>>,
}

/// The first of the client's offers that can be met, and the value of the
/// response's `Sec-WebSocket-Extensions`. `None` leaves messages uncompressed.
pub fn negotiate(config: &Config, offers: &[Extension]) -> Option<(Params, String)> {
    offers
        .iter()
        .filter(|offer| offer.name.eq_ignore_ascii_case(NAME))
        .find_map(|offer| grant(config, read(offer)?))
}

/// Answers one offer.
fn grant(config: &Config, offer: Given) -> Option<(Params, String)> {
    let server_bits = bounded(config.server_max_window_bits);
    let server_bits = match offer.server_max_window_bits {
        // Our compressor cannot keep to a window of 8 bits.
        Some(bits) if bits < WINDOW_BITS_MIN => return None,
        Some(bits) => server_bits.min(bits),
        None => server_bits,
    };
    let granted = bounded(config.client_max_window_bits);
    let client_bits = match offer.client_max_window_bits {
        Some(Some(bits)) if bits >= WINDOW_BITS_MIN => granted.min(bits),
        // The client will keep to 8 by itself, and the inflater reads that
        // with any window: nothing needs to be said.
        Some(Some(_)) => WINDOW_BITS_MAX,
        Some(None) => granted,
        // Not ours to limit: section 7.1.2.2.
        None => WINDOW_BITS_MAX,
    };
    let params = Params {
        server_no_context_takeover: offer.server_no_context_takeover
            || config.server_no_context_takeover,
        client_no_context_takeover: offer.client_no_context_takeover
            || config.client_no_context_takeover,
        server_max_window_bits: server_bits,
        client_max_window_bits: client_bits,
    };
    let asked = offer.server_max_window_bits.is_some();
    Some((params, response(params, asked)))
}

fn response(params: Params, server_bits_asked: bool) -> String {
    let mut value = String::from(NAME);
    if params.server_no_context_takeover {
        push(&mut value, SERVER_NO_CONTEXT_TAKEOVER, None);
    }
    if params.client_no_context_takeover {
        push(&mut value, CLIENT_NO_CONTEXT_TAKEOVER, None);
    }
    if server_bits_asked || params.server_max_window_bits < WINDOW_BITS_MAX {
        push(
            &mut value,
            SERVER_MAX_WINDOW_BITS,
            Some(params.server_max_window_bits),
        );
    }
    if params.client_max_window_bits < WINDOW_BITS_MAX {
        push(
            &mut value,
            CLIENT_MAX_WINDOW_BITS,
            Some(params.client_max_window_bits),
        );
    }
    value
}

/// What a client puts into `Sec-WebSocket-Extensions`.
pub fn offer(config: &Config) -> String {
    let mut value = String::from(NAME);
    if config.server_no_context_takeover {
        push(&mut value, SERVER_NO_CONTEXT_TAKEOVER, None);
    }
    if config.client_no_context_takeover {
        push(&mut value, CLIENT_NO_CONTEXT_TAKEOVER, None);
    }
    let server_bits = bounded(config.server_max_window_bits);
    if server_bits < WINDOW_BITS_MAX {
        push(&mut value, SERVER_MAX_WINDOW_BITS, Some(server_bits));
    }
    let client_bits = bounded(config.client_max_window_bits);
    push(
        &mut value,
        CLIENT_MAX_WINDOW_BITS,
        (client_bits < WINDOW_BITS_MAX).then_some(client_bits),
    );
    value
}

/// A server's answer that the client must not live with (RFC 7692, section
/// 7.1: the connection fails).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateRefused;

impl fmt::Display for DeflateRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server's extensions are not what was offered")
    }
}

impl core::error::Error for DeflateRefused {}

/// What a server's answer to [`offer`] means; `Ok(None)` when it declined.
pub fn accept(config: &Config, response: &[Extension]) -> Result<Option<Params>, DeflateRefused> {
    let extension = match response {
        [] => return Ok(None),
        [extension] if extension.name.eq_ignore_ascii_case(NAME) => extension,
        _ => return Err(DeflateRefused),
    };
    let given = read(extension).ok_or(DeflateRefused)?;
    let asked_bits = bounded(config.server_max_window_bits);
    let server_bits = given.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX);
    let client_bits = match given.client_max_window_bits {
        None => WINDOW_BITS_MAX,
        Some(Some(bits)) => bits,
        Some(None) => return Err(DeflateRefused),
    };
    let too_wide = server_bits > asked_bits;
    let too_narrow = client_bits < WINDOW_BITS_MIN;
    let forgetful = config.server_no_context_takeover && !given.server_no_context_takeover;
    if too_wide || too_narrow || forgetful {
        return Err(DeflateRefused);
    }
    Ok(Some(Params {
        server_no_context_takeover: given.server_no_context_takeover,
        client_no_context_takeover: given.client_no_context_takeover
            || config.client_no_context_takeover,
        // An inflater with 9 bits reads what was made with 8.
        server_max_window_bits: server_bits.max(WINDOW_BITS_MIN),
        client_max_window_bits: client_bits.min(bounded(config.client_max_window_bits)),
    }))
}

/// Reads an offer or a response; `None` if a parameter is unknown, given twice
/// or malformed.
fn read(extension: &Extension) -> Option<Given> {
    let mut given = Given::default();
    for (name, value) in &extension.parameters {
        let value = value.as_deref();
        match name.as_str() {
            SERVER_NO_CONTEXT_TAKEOVER => {
                (!given.server_no_context_takeover && value.is_none()).then_some(())?;
                given.server_no_context_takeover = true;
            }
            CLIENT_NO_CONTEXT_TAKEOVER => {
                (!given.client_no_context_takeover && value.is_none()).then_some(())?;
                given.client_no_context_takeover = true;
            }
            SERVER_MAX_WINDOW_BITS => {
                given.server_max_window_bits.is_none().then_some(())?;
                given.server_max_window_bits = Some(window_bits(value?)?);
            }
            CLIENT_MAX_WINDOW_BITS => {
                given.client_max_window_bits.is_none().then_some(())?;
                given.client_max_window_bits = Some(match value {
                    Some(value) => Some(window_bits(value)?),
                    None => None,
                });
            }
            _ => return None,
        }
    }
    Some(given)
}

/// 8 to 15, in decimal, without leading zeros (RFC 7692, section 7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    let bits = match value.as_bytes() {
        [digit @ b'8'..=b'9'] => digit - b'0',
        [b'1', digit @ b'0'..=b'5'] => 10 + digit - b'0',
        _ => return None,
    };
    Some(bits)
}

fn bounded(bits: u8) -> u8 {
    bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX)
}

fn push(value: &mut String, name: &str, bits: Option<u8>) {
    value.push_str("; ");
    value.push_str(name);
    if let Some(bits) = bits {
        value.push('=');
        value.push_str(&bits.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::parse_extensions;

    fn extensions(header: &str) -> Vec<Extension> {
        parse_extensions(header.as_bytes())
    }

    fn check(config: Config, header: &str, expected: Option<&str>) -> Option<Params> {
        let answer = negotiate(&config, &extensions(header));
        assert_eq!(
            answer.as_ref().map(|(_, value)| value.as_str()),
            expected,
            "{header}"
        );
        answer.map(|(params, _)| params)
    }

    #[test]
    fn what_the_client_asks_for_is_granted() {
        for (header, expected) in [
            ("permessage-deflate", "permessage-deflate"),
            (
                "permessage-deflate; client_max_window_bits",
                "permessage-deflate",
            ),
            ("Permessage-Deflate", "permessage-deflate"),
            (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            ),
            (
                "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10",
                "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10",
            ),
            (
                "permessage-deflate; server_max_window_bits=\"15\"",
                "permessage-deflate; server_max_window_bits=15",
            ),
            ("x-unknown, permessage-deflate", "permessage-deflate"),
        ] {
            check(Config::default(), header, Some(expected));
        }
    }

    #[test]
    fn an_offer_that_cannot_be_met_is_declined() {
        for header in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=99999999999999999999",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
        ] {
            check(Config::default(), header, None);
        }
    }

    #[test]
    fn the_first_offer_that_can_be_met_is_taken() {
        check(
            Config::default(),
            "permessage-deflate; server_max_window_bits=8, permessage-deflate; \
             server_max_window_bits=12, permessage-deflate",
            Some("permessage-deflate; server_max_window_bits=12"),
        );
    }

    #[test]
    fn a_client_that_keeps_to_8_bits_is_read_with_any_window() {
        let params = check(
            Config::default(),
            "permessage-deflate; client_max_window_bits=8",
            Some("permessage-deflate"),
        );
        assert_eq!(params.map(|params| params.client_max_window_bits), Some(15));
    }

    #[test]
    fn the_servers_own_limits_are_said_where_they_may_be() {
        let config = Config {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: 10,
            client_max_window_bits: 11,
        };
        check(
            config,
            "permessage-deflate; client_max_window_bits",
            Some(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=10; client_max_window_bits=11",
            ),
        );
        let params = check(
            config,
            "permessage-deflate",
            Some(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=10",
            ),
        );
        assert_eq!(params.map(|params| params.client_max_window_bits), Some(15));
    }

    #[test]
    fn client_and_server_of_this_crate_agree() {
        for server_bits in 9..=15 {
            for client_bits in 9..=15 {
                let config = Config {
                    server_max_window_bits: server_bits,
                    client_max_window_bits: client_bits,
                    ..Config::default()
                };
                for other in [Config::default(), config] {
                    let (params, response) =
                        negotiate(&other, &extensions(&offer(&config))).expect("granted");
                    assert_eq!(accept(&config, &extensions(&response)), Ok(Some(params)));
                }
            }
        }
    }

    #[test]
    fn a_client_fails_on_an_answer_that_it_did_not_offer() {
        let config = Config {
            server_max_window_bits: 12,
            server_no_context_takeover: true,
            ..Config::default()
        };
        for response in [
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=13",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=12; \
             client_max_window_bits",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=12; \
             client_max_window_bits=8",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=12; x",
            "permessage-bzip2",
            "permessage-deflate, permessage-deflate",
        ] {
            assert_eq!(
                accept(&config, &extensions(response)),
                Err(DeflateRefused),
                "{response}"
            );
        }
        assert_eq!(accept(&config, &[]), Ok(None));
    }
}
