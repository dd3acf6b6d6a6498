//! Heads of requests and responses: whatever they say is answered, and what is
//! accepted keeps its promises. A line is a header, its colon a border.

use wharf_protocol::deflate;
use wharf_protocol::handshake::{
    ClientHandshake, ClientRefused, Header, OriginRule, RequestHead, ResponseHead, check,
    origin_allowed, parse_extensions,
};

const GOOD: [Header<'static>; 5] = [
    ("host", b"a.example"),
    ("upgrade", b"websocket"),
    ("connection", b"upgrade"),
    ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", b"13"),
];

/// The first byte says which good headers are there already.
pub(crate) fn handshake(data: &[u8]) {
    let [setup, lines @ ..] = data else { return };
    let good = GOOD
        .iter()
        .enumerate()
        .filter(|(index, _)| setup >> index & 1 == 0);
    let mut headers: Vec<Header<'_>> = good.map(|(_, header)| *header).collect();
    for line in lines.split(|byte| *byte == b'\n') {
        let end = line
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(line.len());
        let (name, value) = line.split_at(end);
        if let Ok(name) = std::str::from_utf8(name) {
            headers.push((name, value.get(1..).unwrap_or_default()));
        }
    }
    server(&headers);
    client(&headers);
    offers(lines);
    extensions(lines);
    origins(lines);
}

fn server(headers: &[Header<'_>]) {
    let request = RequestHead {
        method: "GET",
        version: (1, 1),
        headers,
    };
    match check(&request) {
        Ok(upgrade) => {
            assert_eq!(upgrade.accept.len(), 28);
            for name in ["host", "sec-websocket-key", "sec-websocket-version"] {
                let same = |header: &&Header<'_>| header.0.eq_ignore_ascii_case(name);
                assert_eq!(headers.iter().filter(same).count(), 1, "{name}");
            }
            let clean = |value: &[u8]| !value.iter().any(|byte| b"\0\r\n".contains(byte));
            assert!(headers.iter().all(|(_, value)| clean(value)));
        }
        Err(refusal) => assert!(matches!(refusal.status, 400 | 426)),
    }
}

fn client(headers: &[Header<'_>]) {
    let asked = asking(vec!["chat".to_owned()]).expect("a token");
    if let Ok(accepted) = asked.check(&ResponseHead {
        version: (1, 1),
        status: 101,
        headers,
    }) {
        assert!(accepted.subprotocol.is_none_or(|chosen| chosen == "chat"));
    }
}

fn asking(offered: Vec<String>) -> Result<ClientHandshake, ClientRefused> {
    ClientHandshake::new(*b"the sample nonce", offered, Some(Default::default()))
}

/// What a client may offer, a server understands as it was meant.
fn offers(lines: &[u8]) {
    let names = lines.split(|byte| *byte == b'\n').take(16);
    let names: Vec<String> = names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let Ok(asked) = asking(names.clone()) else {
        return;
    };
    let asked = asked.headers();
    let said = asked.iter().map(|(name, value)| (*name, value.as_bytes()));
    let headers: Vec<Header<'_>> = said.chain([GOOD[0]]).collect();
    let request = RequestHead {
        method: "GET",
        version: (1, 1),
        headers: &headers,
    };
    let understood = check(&request).map(|upgrade| upgrade.subprotocols);
    assert_eq!(understood.as_deref(), Ok(names.as_slice()));
}

/// What is granted can be read by the client that asked for it.
fn extensions(value: &[u8]) {
    let offers = parse_extensions(value);
    let Some((params, response)) = deflate::negotiate(&deflate::Config::default(), &offers) else {
        return;
    };
    let bits = 9..=15;
    assert!(bits.contains(&params.server_max_window_bits));
    assert!(bits.contains(&params.client_max_window_bits));
    let asked = deflate::Config {
        server_max_window_bits: params.server_max_window_bits,
        ..deflate::Config::default()
    };
    let accepted = deflate::accept(&asked, &parse_extensions(response.as_bytes()));
    assert_eq!(accepted, Ok(Some(params)));
}

/// Only the one page of the host itself, with its port spelled out or not.
fn origins(origin: &[u8]) {
    if origin_allowed(Some(origin), "a.example", &OriginRule::SameOrigin) {
        let origin = String::from_utf8_lossy(origin).to_ascii_lowercase();
        let known = ["http://a.example", "https://a.example"];
        let port_spelled_out = ["http://a.example:80", "https://a.example:443"];
        let padded = origin
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.starts_with('0'));
        assert!(
            known.contains(&&*origin) || port_spelled_out.contains(&&*origin) || padded,
            "{origin}"
        );
    }
}
