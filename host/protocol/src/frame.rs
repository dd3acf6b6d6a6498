//! One frame's header (RFC 6455, section 5.2), read and written. Judges what a
//! header alone can show; what came before it is assembly's business, how much
//! is allowed the connection's.

use crate::cause::Cause;

/// The longest header: 2 bytes, 8 of length, 4 of mask.
pub(crate) const HEADER_BYTES_MAX: usize = 14;
/// The longest payload of a control frame (RFC 6455, section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
/// The bit that marks a compressed message (RFC 7692, section 6).
const RSV1: u8 = 0x40;
const MASK: u8 = 0x80;
const CONTROL: u8 = 0x08;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

impl Opcode {
    #[inline]
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    #[inline]
    pub(crate) const fn is_control(self) -> bool {
        self as u8 & CONTROL != 0
    }
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) opcode: Opcode,
    pub(crate) fin: bool,
    /// RSV1 on the first frame of a message.
    pub(crate) compressed: bool,
    /// Zero where there is no mask: applying it then changes nothing.
    pub(crate) key: [u8; 4],
    pub(crate) header_bytes: u8,
    pub(crate) payload_bytes: u64,
}

/// What this end accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The peer is a client.
    pub(crate) masked: bool,
    /// permessage-deflate was negotiated.
    pub(crate) deflate: bool,
}

/// Reads the header at the start of `bytes`; `None` while it is incomplete.
/// What the first two bytes show to be wrong is refused without the rest.
#[inline]
pub(crate) fn parse(bytes: &[u8], rules: Rules) -> Result<Option<Header>, Cause> {
    let &[first, second, ..] = bytes else {
        return Ok(None);
    };
    let masked = second & MASK != 0;
    let length = second & !MASK;
    let Some(opcode) = Opcode::from_bits(first & 0x0f) else {
        return Err(wrong(first, second, rules));
    };
    let fin = first & FIN != 0;
    let reserved = first & RSV;
    let data_start = matches!(opcode, Opcode::Text | Opcode::Binary);
    let reserved_fine = reserved == 0 || (reserved == RSV1 && rules.deflate && data_start);
    let control_fine = !opcode.is_control() || (fin && usize::from(length) <= CONTROL_BYTES_MAX);
    if !reserved_fine || !control_fine || masked != rules.masked {
        return Err(wrong(first, second, rules));
    }
    let Some((payload_bytes, length_end)) = payload_length(bytes, length)? else {
        return Ok(None);
    };
    let (key, end) = if masked {
        let Some(&key) = bytes[length_end..].first_chunk::<4>() else {
            return Ok(None);
        };
        (key, length_end + 4)
    } else {
        ([0; 4], length_end)
    };
    Ok(Some(Header {
        opcode,
        fin,
        compressed: reserved != 0,
        key,
        header_bytes: end as u8,
        payload_bytes,
    }))
}

/// The payload's length and where its field ends (RFC 6455, section 5.2: in
/// the fewest bytes, the highest bit of eight unset).
#[inline]
fn payload_length(bytes: &[u8], length: u8) -> Result<Option<(u64, usize)>, Cause> {
    let (value, end, least, most) = match length {
        126 => {
            let Some(&field) = bytes[2..].first_chunk::<2>() else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes(field)), 4, 126, u64::MAX)
        }
        127 => {
            let Some(&field) = bytes[2..].first_chunk::<8>() else {
                return Ok(None);
            };
            (u64::from_be_bytes(field), 10, 1 << 16, u64::MAX >> 1)
        }
        short => return Ok(Some((u64::from(short), 2))),
    };
    if value < least || value > most {
        return Err(Cause::LengthMalformed);
    }
    Ok(Some((value, end)))
}

/// Says which rule a header breaks that is known to break one.
#[cold]
fn wrong(first: u8, second: u8, rules: Rules) -> Cause {
    let Some(opcode) = Opcode::from_bits(first & 0x0f) else {
        return Cause::OpcodeUnknown;
    };
    if opcode.is_control() && first & FIN == 0 {
        return Cause::ControlFragmented;
    }
    if opcode.is_control() && usize::from(second & !MASK) > CONTROL_BYTES_MAX {
        return Cause::ControlTooLong;
    }
    match (second & MASK != 0, rules.masked) {
        (false, true) => Cause::FrameUnmasked,
        (true, false) => Cause::FrameMasked,
        _ => Cause::ReservedBits,
    }
}

/// How many bytes the header of such a frame takes.
#[inline]
pub(crate) const fn header_bytes(payload_bytes: usize, masked: bool) -> usize {
    let length = match payload_bytes {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    if masked { length + 4 } else { length }
}

/// Writes the header of a final frame to the start of `target`, and says how
/// many bytes it took.
#[inline]
pub(crate) fn write_header(
    target: &mut [u8; HEADER_BYTES_MAX],
    opcode: Opcode,
    compressed: bool,
    payload_bytes: usize,
    key: Option<[u8; 4]>,
) -> usize {
    target[0] = FIN | if compressed { RSV1 } else { 0 } | opcode as u8;
    let mask = if key.is_some() { MASK } else { 0 };
    let mut end = match payload_bytes {
        0..=125 => {
            target[1] = mask | payload_bytes as u8;
            2
        }
        126..=0xffff => {
            target[1] = mask | 126;
            target[2..4].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
            4
        }
        _ => {
            target[1] = mask | 127;
            target[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
            10
        }
    };
    if let Some(key) = key {
        target[end..end + 4].copy_from_slice(&key);
        end += 4;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM_CLIENT: Rules = Rules {
        masked: true,
        deflate: false,
    };
    const FROM_SERVER: Rules = Rules {
        masked: false,
        deflate: false,
    };
    const DEFLATED: Rules = Rules {
        masked: false,
        deflate: true,
    };

    #[test]
    fn what_is_written_is_read_again() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20];
        for (length, key) in lengths
            .iter()
            .flat_map(|l| [(*l, None), (*l, Some([1, 2, 3, 4]))])
        {
            let mut bytes = [0; HEADER_BYTES_MAX];
            let end = write_header(&mut bytes, Opcode::Binary, true, length, key);
            assert_eq!(end, header_bytes(length, key.is_some()));
            let rules = Rules {
                masked: key.is_some(),
                deflate: true,
            };
            let expected = Header {
                opcode: Opcode::Binary,
                fin: true,
                compressed: true,
                key: key.unwrap_or_default(),
                header_bytes: end as u8,
                payload_bytes: length as u64,
            };
            assert_eq!(parse(&bytes[..end], rules), Ok(Some(expected)));
            for cut in 0..end {
                assert_eq!(parse(&bytes[..cut], rules), Ok(None));
            }
        }
    }

    #[test]
    fn each_broken_rule_has_its_cause() {
        for (bytes, rules, cause) in [
            (&[0x83, 0x80][..], FROM_CLIENT, Cause::OpcodeUnknown),
            (&[0x09, 0x80], FROM_CLIENT, Cause::ControlFragmented),
            (&[0x89, 0xfe], FROM_CLIENT, Cause::ControlTooLong),
            (&[0x81, 0x00], FROM_CLIENT, Cause::FrameUnmasked),
            (&[0x81, 0x80], FROM_SERVER, Cause::FrameMasked),
            (&[0xc1, 0x00], FROM_SERVER, Cause::ReservedBits),
            (&[0xa1, 0x00], DEFLATED, Cause::ReservedBits),
            (&[0xc0, 0x00], DEFLATED, Cause::ReservedBits),
            (&[0xc9, 0x00], DEFLATED, Cause::ReservedBits),
            (&[0x82, 126, 0, 125], FROM_SERVER, Cause::LengthMalformed),
            (
                &[0x82, 127, 0, 0, 0, 0, 0, 0, 255, 255],
                FROM_SERVER,
                Cause::LengthMalformed,
            ),
            (
                &[0x82, 127, 128, 0, 0, 0, 0, 0, 0, 0],
                FROM_SERVER,
                Cause::LengthMalformed,
            ),
        ] {
            assert_eq!(parse(bytes, rules), Err(cause), "{bytes:x?}");
        }
    }

    #[test]
    fn the_examples_of_rfc_6455_are_read() {
        let header = parse(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f], FROM_CLIENT);
        let header = header.expect("good").expect("whole");
        assert_eq!((header.opcode, header.payload_bytes), (Opcode::Text, 5));
        assert_eq!(
            (header.key, header.header_bytes),
            ([0x37, 0xfa, 0x21, 0x3d], 6)
        );
        let header = parse(&[0x82, 0x7e, 0x01, 0x00], FROM_SERVER);
        assert_eq!(
            header.map(|found| found.map(|header| header.payload_bytes)),
            Ok(Some(256))
        );
    }
}
