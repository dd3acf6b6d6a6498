//! Frames of RFC 6455 as a client makes them and a server must answer them.
//! It never splits a message: one message is one frame.

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

pub(crate) const FIN: u8 = 0x80;
/// RSV1: the message is deflated (RFC 7692, section 6).
pub(crate) const DEFLATED: u8 = 0x40;
const MASKED: u8 = 0x80;

/// A client's frame: masked, with the shortest length.
pub(crate) fn masked(first: u8, payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    header(first, MASKED, payload.len(), out);
    out.extend(key);
    out.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
}

/// A server's frame with the shortest length, which is the only lawful one.
pub(crate) fn plain(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    header(first, 0, payload.len(), out);
    out.extend_from_slice(payload);
}

fn header(first: u8, mask: u8, length: usize, out: &mut Vec<u8>) {
    out.push(first);
    if length < 126 {
        out.push(mask | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(mask | 126);
        out.extend(length.to_be_bytes());
    } else {
        out.push(mask | 127);
        out.extend((length as u64).to_be_bytes());
    }
}

/// A server's frame at the start of some bytes.
pub(crate) struct Parsed {
    pub(crate) first: u8,
    pub(crate) header_bytes: usize,
    pub(crate) payload_bytes: usize,
}

/// Reads a header; `None` while it is incomplete.
pub(crate) fn parse(bytes: &[u8]) -> Option<Parsed> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (header_bytes, payload_bytes) = match second {
        // A masked frame of a server is caught by its length, which is over 127.
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (
            10,
            u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize,
        ),
        short => (2, usize::from(short)),
    };
    Some(Parsed {
        first,
        header_bytes,
        payload_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::{BINARY, FIN, masked, parse, plain};

    #[test]
    fn every_length_has_its_header() {
        for (length, header_bytes) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut out = Vec::new();
            plain(FIN | BINARY, &vec![7; length], &mut out);
            let parsed = parse(&out).expect("a whole header");
            assert_eq!(
                (parsed.header_bytes, parsed.payload_bytes),
                (header_bytes, length)
            );
            let mut out = Vec::new();
            masked(FIN | BINARY, &vec![7; length], [1, 2, 3, 4], &mut out);
            assert_eq!(out.len(), header_bytes + 4 + length);
        }
    }
}
