//! Frames to innermost IP packets.
//!
//! In: a [`Block`] of frames. Out: [`Decoded`]: packets, who has which address, fragments.
//! Never: allocates a frame, keeps state between frames (the [`Stitcher`] does, for fragments),
//! or lets a frame go without exactly one [`Fate`].
//! Limits: `layers.rs` and `stitch.rs`.
//!
//! `fast` knows the one shape that nearly all frames have; `layers` and `wrapped` know the
//! rest and count the reasons.

mod count;
mod exclude;
mod fast;
mod layers;
mod realm;
mod stitch;
mod wrapped;

pub use count::{DecodeCounters, Fate, Oddity, Wrapping};
pub use exclude::Exclude;
pub use layers::{EXTENSIONS_MAX, OPTIONS_MAX, WRAPPINGS_MAX};
pub use realm::{Realms, Tag};
pub use stitch::{
    BYTES_MAX, DATAGRAMS_MAX, FRAGMENTS_PER_DATAGRAM_MAX, REASSEMBLY_TIMEOUT_S, Stitcher,
};

use self::layers::{End, Ip, Layer, Walk};
use super::packet::{Block, Decoded, Fragment, Frame, Neighbor};

/// What a decoder is told once.
#[derive(Clone, Debug, Default)]
pub struct DecodeOptions {
    /// Seed of [`FlowKey::hash`](super::packet::FlowKey::hash): fixed offline, random live.
    pub hash_seed: u64,
    /// What must not be seen.
    pub exclude: Exclude,
    /// Address spaces that are kept apart.
    pub realms: Realms,
}

/// Turns frames into packets; without state, so threads may share one.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    options: DecodeOptions,
}

/// Where bytes lie that are being decoded: octet 0 of them in its chunk.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    chunk: u16,
    offset: u32,
    frame: u32,
}

impl Place {
    /// The place `n` octets further on.
    #[inline]
    fn behind(self, n: usize) -> Self {
        // Chunks are far below 4 GiB; the fallback points nowhere.
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        Self { offset: self.offset.saturating_add(n), ..self }
    }
}

impl Decoder {
    /// A decoder that keeps to `options`.
    pub fn new(options: DecodeOptions) -> Self {
        Self { options }
    }

    /// Decodes every frame of a block; `out` is emptied first.
    pub fn block(&self, block: &Block, out: &mut Decoded, counters: &mut DecodeCounters) {
        out.clear();
        let straight = self.options.exclude.is_empty() && self.options.realms.is_empty();
        // Counted in registers; the array is touched once a block.
        let (mut plain, mut tagged, mut cut) = (0_u64, 0_u64, 0_u64);
        let mut chunk = (u16::MAX, [].as_slice());
        out.packets.reserve(block.frames.len());
        for (frame, index) in block.frames.iter().zip(0_u32..) {
            if frame.chunk != chunk.0 {
                let octets = block.chunks.get(usize::from(frame.chunk));
                chunk = (frame.chunk, octets.map_or([].as_slice(), |c| c.as_slice()));
            }
            let rest = chunk.1.get(frame.offset as usize..).unwrap_or_default();
            let bytes = rest.get(..frame.captured as usize).unwrap_or_default();
            let place = Place { chunk: frame.chunk, offset: frame.offset, frame: index };
            let wire = (frame.wire as usize).max(bytes.len());
            cut = cut.wrapping_add(u64::from(frame.captured < frame.wire));
            if straight
                && frame.link == 1
                && let Some(packet) = fast::packet(self.options.hash_seed, bytes, wire, place)
            {
                plain = plain.wrapping_add(1);
                tagged = tagged.wrapping_add(u64::from(packet.depth != 0));
                out.packets.push(packet);
                continue;
            }
            let fate = self.slow(bytes, wire, place, frame, out, counters);
            counters.fate(fate, 1);
        }
        counters.fate(Fate::Packet, plain);
        counters.wrapping(Wrapping::Vlan, tagged);
        counters.some(Oddity::CutShort, cut);
    }

    /// One frame, the long way.
    #[inline(never)]
    fn slow(
        &self,
        bytes: &[u8],
        wire: usize,
        place: Place,
        frame: &Frame,
        out: &mut Decoded,
        counters: &mut DecodeCounters,
    ) -> Fate {
        let mut walk = Walk::new(&self.options, &mut out.neighbors, place, bytes, wire);
        walk.realm = self.options.realms.of_input(frame.input);
        let (end, oddity) = walk.run(Layer::Link(frame.link));
        if walk.beyond_frame {
            counters.oddity(Oddity::LengthBeyondFrame);
        }
        walk.wrappings.count(counters);
        if let Some(oddity) = oddity {
            counters.oddity(oddity);
        }
        match end {
            End::Packet(packet) => {
                out.packets.push(packet);
                Fate::Packet
            }
            End::Fragment(fragment) => {
                out.fragments.push(fragment);
                Fate::Fragment
            }
            End::Fate(fate) => fate,
        }
    }

    /// What a datagram carries that was put together from fragments like `one`: `bytes` of it
    /// were captured and `wire` octets seen, which is all of it if `whole`.
    fn datagram(
        &self,
        one: &Fragment,
        bytes: &[u8],
        (wire, whole): (usize, bool),
        place: Place,
        neighbors: &mut Vec<Neighbor>,
        counters: &mut DecodeCounters,
    ) -> End {
        let header = if one.v6 { 40 } else { 20 };
        let ip = Ip {
            src: one.src,
            dst: one.dst,
            v6: one.v6,
            ttl: one.ttl,
            len: wire.saturating_add(header),
        };
        let mut walk =
            Walk::new(&self.options, neighbors, place, bytes, wire).in_datagram(ip, one.depth);
        walk.realm = one.realm;
        walk.beyond_frame = !whole;
        let (end, oddity) = walk.run(Layer::Transport(one.protocol));
        walk.wrappings.count(counters);
        if let Some(oddity) = oddity {
            counters.oddity(oddity);
        }
        end
    }
}

#[cfg(test)]
mod tests;
