//! Flows that matter: those that a name of the catalogue stands on.
//!
//! In: facts and deltas of one flow. Out: its volume by input and hour, its level, its evidence.
//! Never: splits a byte between two services; keeps more than numbers and the name.
//! Limits: [`OPEN_MAX`] flows at once; the cap is counted by whoever owns the map.

use std::sync::Arc;

use super::hits::Hit;
use super::judge::{self, Carrier, Signs, Volume};
use super::store::rows::{Actor, SESSION_GAP, Text};
use super::words::{ClientClass, EvidenceKind, Level};
use crate::observation::{Delta, FlowRef, FlowState};
use crate::types::Timestamp;

/// Matched flows open at once; about 600 bytes each.
pub const OPEN_MAX: usize = 200_000;

/// Volume of a flow within one input and hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which input.
    pub input: u16,
    /// Hours since the epoch.
    pub hour: u32,
    /// Payload bytes from the client.
    pub up: u64,
    /// Payload bytes to the client.
    pub down: u64,
    /// First packet.
    pub first: Timestamp,
    /// Last packet.
    pub last: Timestamp,
}

/// One flow under one name.
#[derive(Clone, Debug)]
pub struct MatchedFlow {
    /// What the catalogue says.
    pub hit: Arc<Hit>,
    /// The name.
    pub name: Text,
    /// What gave it.
    pub kind: EvidenceKind,
    /// The name may be wrong: an unasked answer, a shared address.
    pub doubtful: bool,
    /// Five-tuple.
    pub flow: FlowRef,
    /// Who, when the flow began.
    pub actor: Arc<Actor>,
    /// Program at the client's end.
    pub class: ClientClass,
    /// What that rests on.
    pub class_evidence: Text,
    /// JA4.
    pub ja4: Option<Text>,
    /// What carries the bytes.
    pub carrier: Carrier,
    /// Both sides spoke.
    pub answered: bool,
    /// Requests seen in clear, and how many of them nobody looked at.
    pub requests: [u64; 2],
    /// Totals under this name.
    pub volume: Volume,
    /// By input and hour.
    pub parts: Vec<Part>,
    /// Presence by input, merged over gaps below a session's.
    pub spans: Vec<(u16, Timestamp, Timestamp)>,
    /// First frame, frame of the name, last frame; in the input of the first part.
    pub frames: [u64; 3],
    /// The run ended before the flow.
    pub open: bool,
    /// It began in an earlier input, which gave it its name.
    pub carried: bool,
    /// Next sequence number of client and server.
    pub next_seq: [u32; 2],
    /// It grew since it was told last.
    pub grown: bool,
    /// Live: rows were made of it before its end, so that it is counted as a flow already.
    pub told: bool,
}

impl MatchedFlow {
    /// Counts a delta.
    pub fn add(&mut self, input: u16, delta: &Delta) {
        self.grown = true;
        self.volume.up += delta.up;
        self.volume.down += delta.down;
        self.volume.hello = self.volume.hello.max(u64::from(delta.hello_bytes));
        self.answered |= delta.state.has(FlowState::ANSWERED);
        self.open = delta.state.has(FlowState::OPEN);
        self.next_seq = delta.next_seq;
        if self.frames[0] == 0 {
            self.frames[0] = delta.first_frame;
        }
        if delta.name_frame != 0 {
            self.frames[1] = delta.name_frame;
        }
        self.frames[2] = self.frames[2].max(delta.last_frame);
        if delta.heard == [false; 2] {
            return;
        }
        let hour = u32::try_from(delta.first.seconds() / 3600).unwrap_or(u32::MAX);
        match self.parts.last_mut() {
            Some(part) if part.input == input && part.hour == hour => {
                part.up += delta.up;
                part.down += delta.down;
                part.last = part.last.max(delta.last);
            }
            _ => self.parts.push(Part {
                input,
                hour,
                up: delta.up,
                down: delta.down,
                first: delta.first,
                last: delta.last,
            }),
        }
        match self.spans.last_mut() {
            Some((i, _, end)) if *i == input && delta.first.since(*end) < SESSION_GAP => {
                *end = (*end).max(delta.last);
            }
            _ => self.spans.push((input, delta.first, delta.last)),
        }
    }

    /// Rows were made of it: what was counted so far is theirs, and only growth comes next.
    pub fn tell(&mut self) {
        let last = self.parts.last().map(|p| Part { up: 0, down: 0, first: p.last, ..*p });
        self.parts.clear();
        self.parts.extend(last);
        (self.grown, self.told) = (false, true);
    }

    /// What the client asked of DNS tells browsers from programs where no hello and no user agent
    /// does: only browsers were seen to ask for HTTPS records. Weak, and said so.
    pub fn learn_habit(&mut self, asks_like_browser: Option<bool>) {
        let (class, evidence) = match asks_like_browser {
            _ if self.class != ClientClass::Unknown => return,
            None => return,
            Some(true) => {
                (ClientClass::Browser, "dns-habit: asked for the HTTPS record, as browsers do")
            }
            Some(false) => {
                (ClientClass::Program, "dns-habit: asked for addresses only, as programs do")
            }
        };
        self.class = class;
        self.class_evidence = Text::from(evidence);
    }

    /// How far it went so far.
    pub fn level(&self, bulk_bytes: u64) -> Level {
        let [requests, unseen] = self.requests;
        judge::level(&Signs {
            volume: self.volume,
            carrier: self.carrier,
            role: self.hit.role,
            class: self.class,
            answered: self.answered,
            doubtful: self.doubtful || self.hit.weak,
            unseen_only: requests > 0 && requests == unseen,
            bulk_bytes,
        })
    }
}
