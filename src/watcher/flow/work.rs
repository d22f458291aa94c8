//! A flow that is being read: its parser and both directions of its stream.
//!
//! In: segments and datagrams. Out: metadata, and whether reading goes on.
//! Never: calls a parser that asked for more bytes than there are; loops without progress.
//! Limits: [`HANDOVERS_MAX`], [`GAPS_MAX`]; bytes as in [`super::stream`].

use super::stream::{Stream, Took};
use crate::types::Direction;
use crate::watcher::packet::{Packet, tcp_flags};
use crate::watcher::protocol::parser::Parser;
use crate::watcher::protocol::{Out, Protocol, Then};
use crate::watcher::wire::ParseError;

/// Protocols one inside another that are followed: PROXY in CONNECT in SOCKS in TLS is more
/// than anybody does on purpose.
pub const HANDOVERS_MAX: u8 = 4;

/// Holes that one flow may bridge before reading it is given up.
pub const GAPS_MAX: u8 = 16;

/// Bytes that reading of a flow takes which works: its parser, and one message of some kilobytes
/// that is not whole yet.
const WORKING_MAX: usize = 16 << 10;

/// Packets that acknowledge bytes we miss before the hole counts as final: captures reorder
/// the two directions by a few packets.
const PATIENCE: u8 = 3;

/// Whether reading goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Yes.
    Going,
    /// Everything was read.
    Done,
    /// The bytes are not what they seemed.
    NotThis(ParseError),
    /// A cap of ours ended it.
    Cap(&'static str),
}

/// Parser and streams.
pub struct Work {
    /// Number of this reading in its shard.
    pub reading: u32,
    /// Who reads.
    pub parser: Parser,
    streams: [Stream; 2],
    handovers: u8,
    gaps: u8,
    patience: u8,
    /// Directions of which anything was seen.
    heard: [bool; 2],
    /// A hole was bridged.
    pub gap: bool,
    /// The parser has given up or come to its end: it is shown nothing new.
    pub over: bool,
}

impl Work {
    /// Reading begins with `protocol`, or with the probe.
    pub fn new(protocol: Option<Protocol>, port: u16) -> Self {
        Self {
            reading: 0,
            parser: Parser::new(protocol, port),
            streams: [Stream::default(), Stream::default()],
            handovers: 0,
            gaps: 0,
            patience: 0,
            heard: [false; 2],
            gap: false,
            over: false,
        }
    }

    /// Bytes that reading takes: this value, what the streams hold and what the parser keeps.
    pub fn memory(&self) -> usize {
        let [up, down] = &self.streams;
        let held = up.memory().saturating_add(down.memory());
        size_of::<Self>().saturating_add(held).saturating_add(self.parser.memory())
    }

    /// Both sides speak, and little is held: a connection that works.
    pub fn works(&self) -> bool {
        self.heard == [true, true] && self.memory() <= WORKING_MAX
    }

    /// Gives back what streams and parser hold.
    pub fn forget(&mut self) {
        self.parser = Parser::new(None, 0);
        self.streams = Default::default();
    }

    /// Copies of the same bytes differed.
    pub fn conflict(&self) -> bool {
        self.streams.iter().any(|s| s.conflict)
    }

    /// Bytes wait for others that never came.
    pub fn waits(&self) -> bool {
        self.streams.iter().any(|s| !s.held.is_empty() || s.has_hole())
    }

    fn stream(&mut self, from: Direction) -> &mut Stream {
        let [up, down] = &mut self.streams;
        match from {
            Direction::Up => up,
            Direction::Down => down,
        }
    }

    /// Where the stream of `from` begins, from a SYN.
    pub fn begin(&mut self, from: Direction, seq: u32) {
        if let Some(heard) = self.heard.get_mut(from.index()) {
            *heard = true;
        }
        let stream = self.stream(from);
        if !stream.started {
            stream.started = true;
            stream.next = seq;
        }
    }

    /// One datagram.
    pub fn datagram(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Outcome {
        match self.parser.datagram(from, bytes, out) {
            Then::Done | Then::Deaf | Then::Handover(_) => Outcome::Done,
            Then::NotThis(error) => Outcome::NotThis(error),
            Then::Need(_) | Then::Skip(_) => Outcome::Going,
        }
    }

    /// One segment: its captured payload, and what its acknowledgment says of the other side.
    pub fn segment(
        &mut self,
        from: Direction,
        packet: &Packet,
        payload: &[u8],
        out: &mut Out<'_>,
    ) -> Outcome {
        if let Some(heard) = self.heard.get_mut(from.index()) {
            *heard = true;
        }
        let mut outcome = self.take(from, packet, payload, out);
        if outcome == Outcome::Going
            && (packet.payload_wire as usize) > payload.len()
            && !payload.is_empty()
        {
            // The snaplen cut the rest off: a hole that nothing will fill.
            outcome = self.cut(from, packet, out);
        }
        if outcome == Outcome::Going && packet.flags & tcp_flags::ACK != 0 {
            outcome = self.acknowledge(from.reverse(), packet.ack, out);
        }
        outcome
    }

    fn take(
        &mut self,
        from: Direction,
        packet: &Packet,
        payload: &[u8],
        out: &mut Out<'_>,
    ) -> Outcome {
        if payload.is_empty() {
            return Outcome::Going;
        }
        let both_seen = self.heard == [true, true];
        let stream = self.stream(from);
        match stream.place(packet, payload) {
            Took::Nothing => Outcome::Going,
            // Where the other side is seen, its acknowledgments say when a hole is final: who fills
            // the list with bytes that no receiver takes must not make us give up what is missing.
            Took::Full if both_seen => Outcome::Going,
            Took::Full => self.bridge(from, out),
            Took::InOrder(offset) => {
                let fresh = payload.get(offset..).unwrap_or_default();
                stream.advance(fresh.len());
                let passed = stream.pass(fresh.len());
                let fresh = fresh.get(passed..).unwrap_or_default();
                let direct = stream.held.is_empty();
                let outcome = if direct {
                    self.read(from, fresh, out)
                } else if stream.append(fresh) {
                    self.read_held(from, out)
                } else {
                    Outcome::Cap("stream_held")
                };
                self.settle(from, outcome, out)
            }
        }
    }

    /// After new bytes: whatever waited behind them, until nothing moves.
    fn settle(&mut self, from: Direction, mut outcome: Outcome, out: &mut Out<'_>) -> Outcome {
        while outcome == Outcome::Going && self.stream(from).drain_waiting() {
            outcome = self.read_held(from, out);
        }
        outcome
    }

    /// Reads a slice of the packet itself; what is left over is held.
    fn read(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> Outcome {
        let (consumed, outcome) = self.turns(from, bytes, out);
        let rest = bytes.get(consumed..).unwrap_or_default();
        if outcome != Outcome::Going || rest.is_empty() || self.stream(from).deaf {
            return outcome;
        }
        if self.stream(from).append(rest) { Outcome::Going } else { Outcome::Cap("stream_held") }
    }

    /// Reads what is held, if it is as much as the parser asked for.
    fn read_held(&mut self, from: Direction, out: &mut Out<'_>) -> Outcome {
        let stream = self.stream(from);
        if stream.held.len() < stream.need || stream.held.is_empty() {
            return Outcome::Going;
        }
        let mut held = std::mem::take(&mut stream.held);
        let (consumed, outcome) = self.turns(from, &held, out);
        let stream = self.stream(from);
        if stream.deaf || consumed >= held.len() {
            held.clear();
        } else {
            held.drain(..consumed);
        }
        stream.held = held;
        outcome
    }

    /// Calls the parser until it wants more than there is.
    fn turns(&mut self, from: Direction, bytes: &[u8], out: &mut Out<'_>) -> (usize, Outcome) {
        let mut at = 0usize;
        let mut handed = false;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.is_empty() {
                self.stream(from).need = 1;
                break;
            }
            let turn = self.parser.feed(from, rest, out);
            let consumed = turn.consumed.min(rest.len());
            at = at.saturating_add(consumed);
            let left = rest.len().saturating_sub(consumed);
            match turn.then {
                Then::Need(n) if n <= left && consumed > 0 => {}
                Then::Need(n) => {
                    self.stream(from).need = n.max(left.saturating_add(1));
                    break;
                }
                Then::Skip(n) => {
                    let stream = self.stream(from);
                    stream.skip = n;
                    let passed = stream.pass(left);
                    at = at.saturating_add(passed);
                    if consumed == 0 && n == 0 {
                        stream.need = left.saturating_add(1);
                        break;
                    }
                }
                Then::Deaf => {
                    self.stream(from).turn_deaf();
                    at = bytes.len();
                    break;
                }
                Then::Handover(to) => {
                    self.handovers = self.handovers.saturating_add(1);
                    if self.handovers > HANDOVERS_MAX {
                        return (at, Outcome::Cap("handovers"));
                    }
                    // Ports say something of the flow itself, nothing of what it carries for others.
                    let port = match self.parser {
                        Parser::Probing { port } => port,
                        _ => 0,
                    };
                    self.parser = Parser::new(to, port);
                    for stream in &mut self.streams {
                        stream.deaf = false;
                        stream.need = 1;
                    }
                    handed = true;
                }
                Then::Done => return (at, Outcome::Done),
                Then::NotThis(error) => return (at, Outcome::NotThis(error)),
            }
        }
        if handed {
            // The other direction may hold bytes that the new parser wants.
            let outcome = self.read_held(from.reverse(), out);
            return (at, outcome);
        }
        (at, Outcome::Going)
    }

    /// No more bytes will come: what is held may still say something.
    pub fn end(&mut self, out: &mut Out<'_>) {
        for from in [Direction::Up, Direction::Down] {
            // Holes are final now: what waits for its beginning is the beginning.
            while !self.over
                && matches!(self.parser, Parser::Probing { .. })
                && self.stream(from).has_hole()
            {
                self.over = self.bridge(from, out) != Outcome::Going;
            }
            self.leave(from, out);
        }
    }

    /// Shows the parser what it left unconsumed, for the last time.
    fn leave(&mut self, from: Direction, out: &mut Out<'_>) {
        let held = std::mem::take(&mut self.stream(from).held);
        self.parser.cut(from, &held, out);
    }

    /// Bytes after the captured part of this segment are missing for good.
    fn cut(&mut self, from: Direction, packet: &Packet, out: &mut Out<'_>) -> Outcome {
        let end = packet.seq.wrapping_add(packet.payload_wire);
        let stream = self.stream(from);
        if stream.deaf {
            return Outcome::Going;
        }
        let missing = end.wrapping_sub(stream.next);
        if stream.skip >= u64::from(missing) && stream.held.is_empty() {
            stream.skip = stream.skip.saturating_sub(u64::from(missing));
            stream.next = end;
            return Outcome::Going;
        }
        self.leave(from, out);
        self.stream(from).restart(end);
        self.resume(from)
    }

    fn acknowledge(&mut self, of: Direction, ack: u32, out: &mut Out<'_>) -> Outcome {
        if !self.stream(of).acknowledged(ack) {
            return Outcome::Going;
        }
        self.patience = self.patience.saturating_add(1);
        if self.patience < PATIENCE {
            return Outcome::Going;
        }
        self.patience = 0;
        self.bridge(of, out)
    }

    /// The hole in front of the waiting bytes is final: go on behind it, if the parser can.
    fn bridge(&mut self, from: Direction, out: &mut Out<'_>) -> Outcome {
        if !self.stream(from).has_hole() {
            return Outcome::Going;
        }
        self.leave(from, out);
        self.stream(from).jump();
        let outcome = self.resume(from);
        self.settle(from, outcome, out)
    }

    fn resume(&mut self, from: Direction) -> Outcome {
        self.gap = true;
        self.gaps = self.gaps.saturating_add(1);
        if self.gaps > GAPS_MAX {
            return Outcome::Cap("gaps");
        }
        if self.parser.gap(from) { Outcome::Going } else { Outcome::Cap("hole") }
    }
}
