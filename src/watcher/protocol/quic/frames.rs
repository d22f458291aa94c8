//! Frames of an Initial packet.
//!
//! In: what was opened. Out: CRYPTO frames. Never: reads on behind a frame that it does not know.
//! Limits: the packet's end.
//! Source: RFC 9000 §19; numbers of Google's frames as its clients of Q050, T050 and T051 send them.

use super::header;
use super::keys::Scheme;
use crate::watcher::wire::{ParseError, Parsed, Reader};

/// Passes over frames up to the next CRYPTO frame: its offset and data, `None` at
/// the end of the packet.
pub(super) fn next_crypto<'a>(
    rest: &mut Reader<'a>,
    scheme: Scheme,
) -> Parsed<Option<(u64, &'a [u8])>> {
    // Google had numbers of its own before it took those of the IETF.
    let (ping, crypto) = if matches!(scheme, Scheme::Q050 | Scheme::T050 | Scheme::T051) {
        (0x07, 0x08)
    } else {
        (0x01, 0x06)
    };
    while !rest.is_empty() {
        match rest.u8("frame type")? {
            0x00 => skip_padding(rest)?,
            kind if kind == ping => {}
            kind if kind == crypto => {
                let offset = header::varint(rest, "crypto offset")?;
                let length = header::varint(rest, "crypto length")?;
                return Ok(Some((offset, rest.take(header::size(length), "crypto data")?)));
            }
            kind @ (0x02 | 0x03) => skip_ack(rest, kind)?,
            0x1c => {
                header::varint(rest, "error code")?;
                header::varint(rest, "frame type")?;
                let length = header::varint(rest, "reason length")?;
                rest.skip(header::size(length), "reason")?;
            }
            _ => return Err(ParseError::invalid("frame type")),
        }
    }
    Ok(None)
}

/// Passes over zeros, which fill most of an Initial: 32 at a time as long as they last.
fn skip_padding(rest: &mut Reader<'_>) -> Parsed<()> {
    const STRIDE: usize = 32;
    let (strides, _) = rest.rest().as_chunks::<STRIDE>();
    let zero = strides.iter().take_while(|stride| **stride == [0; STRIDE]).count();
    rest.skip(zero.saturating_mul(STRIDE), "padding")?;
    let zeros = rest.rest().iter().take_while(|octet| **octet == 0).count();
    rest.skip(zeros, "padding")
}

fn skip_ack(rest: &mut Reader<'_>, kind: u8) -> Parsed<()> {
    header::varint(rest, "largest acknowledged")?;
    header::varint(rest, "ack delay")?;
    let ranges = header::varint(rest, "ack range count")?;
    header::varint(rest, "first ack range")?;
    // Each range has two bytes at least, so that the packet's end bounds the loop.
    for _ in 0..ranges {
        header::varint(rest, "gap")?;
        header::varint(rest, "ack range length")?;
    }
    if kind == 0x03 {
        for field in ["ect0 count", "ect1 count", "ecn-ce count"] {
            header::varint(rest, field)?;
        }
    }
    Ok(())
}
