//! How far a flow went: named, contacted, used, bulk.
//!
//! In: totals of one flow under one name. Out: a [`Level`].
//! Never: counts set-up, prefetch, widgets or background as use.
//! Limits: every threshold stands in this file, with its reason.

use crate::recorder::words::{ClientClass, Level, Role};

/// What carries the application's bytes: how much of them is set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// TLS over TCP.
    Tls,
    /// QUIC.
    Quic,
    /// Clear text: every byte is the application's.
    Clear,
}

/// Bytes up that TLS takes beside the hello: Finished (58 to 90), ChangeCipherSpec (6), and what
/// a browser writes at once on HTTP/2: preface, SETTINGS, WINDOW_UPDATE, PRIORITY (about 110 to
/// 200 with record overhead).
const TLS_SETUP_UP: u64 = 300;

/// Bytes down before the application speaks: ServerHello, certificates, tickets. Chains are 2 to
/// 6 KB; a small one with two tickets is under 1.5 KB, so this only excludes the bare handshake.
const TLS_SETUP_DOWN: u64 = 1_500;

/// What a client of QUIC sends under short headers before the application speaks: HTTP/3
/// SETTINGS, the streams of QPACK, new connection ids, and the acknowledgments of the handshake.
/// Datagrams under long headers are counted one by one and are part of the hello.
const QUIC_SETUP_UP: u64 = 600;

/// A receiver of QUIC acknowledges every second datagram with some 35 bytes of payload: up to
/// one part in forty of what came down.
const QUIC_ACK_SHARE: u64 = 40;

/// Totals of a flow under one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Payload bytes from the client.
    pub up: u64,
    /// Payload bytes to the client.
    pub down: u64,
    /// Of `up`, the hello.
    pub hello: u64,
}

/// Everything the level depends on.
#[derive(Clone, Copy, Debug)]
pub struct Signs {
    /// Totals.
    pub volume: Volume,
    /// What carries them.
    pub carrier: Carrier,
    /// What the host is for.
    pub role: Role,
    /// Who is at the client's end.
    pub class: ClientClass,
    /// Both sides spoke.
    pub answered: bool,
    /// The name may be wrong.
    pub doubtful: bool,
    /// Requests in clear that nobody looked at: prefetch, widgets in others' pages.
    pub unseen_only: bool,
    /// Upload in bytes that makes a use `bulk`.
    pub bulk_bytes: u64,
}

/// Application bytes up from which a host of that role is in use.
///
/// A program's smallest call is a request line, a key and a prompt: about 250 bytes in HTTP/2.
/// A browser that only fetches a page ahead sends one request of 450 to 900 bytes; a person who
/// opens a chat sends a dozen, and a prompt. Voice is steady from the first second.
pub fn use_from(role: Role, class: ClientClass) -> Option<u64> {
    match (role, class) {
        (Role::Chat, ClientClass::Browser) => Some(1_200),
        (Role::Chat, _) => Some(250),
        (Role::Api | Role::Upload, ClientClass::Browser) => Some(600),
        (Role::Api | Role::Upload, _) => Some(150),
        (Role::Voice, _) => Some(2_000),
        (Role::Auth | Role::Asset | Role::Telemetry | Role::Download | Role::Other, _) => None,
    }
}

/// Application bytes of a flow: what is left of its totals without set-up.
pub fn application(volume: Volume, carrier: Carrier) -> (u64, u64) {
    let (up, down) = match carrier {
        Carrier::Clear => (0, 0),
        Carrier::Tls => (volume.hello + TLS_SETUP_UP, TLS_SETUP_DOWN),
        Carrier::Quic => {
            (volume.hello + QUIC_SETUP_UP + volume.down / QUIC_ACK_SHARE, TLS_SETUP_DOWN)
        }
    };
    (volume.up.saturating_sub(up), volume.down.saturating_sub(down))
}

/// The level of a flow.
pub fn level(signs: &Signs) -> Level {
    if !signs.answered {
        return Level::Named;
    }
    let Some(least) = use_from(signs.role, signs.class) else { return Level::Contacted };
    let (up, _) = application(signs.volume, signs.carrier);
    if signs.doubtful || signs.unseen_only || up < least {
        return Level::Contacted;
    }
    if up >= signs.bulk_bytes { Level::Bulk } else { Level::Used }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNS: Signs = Signs {
        volume: Volume { up: 0, down: 9_000, hello: 517 },
        carrier: Carrier::Tls,
        role: Role::Api,
        class: ClientClass::Program,
        answered: true,
        doubtful: false,
        unseen_only: false,
        bulk_bytes: 1_000_000,
    };

    fn up(up: u64) -> Volume {
        Volume { up, ..SIGNS.volume }
    }

    #[test]
    fn levels() {
        let cases = [
            (
                "nobody answered",
                Signs { answered: false, volume: up(9_000), ..SIGNS },
                Level::Named,
            ),
            ("handshake only", Signs { volume: up(517 + 80), ..SIGNS }, Level::Contacted),
            ("one API call", Signs { volume: up(517 + 80 + 600), ..SIGNS }, Level::Used),
            ("upload", Signs { volume: up(2_000_000), ..SIGNS }, Level::Bulk),
            (
                "doubtful name",
                Signs { doubtful: true, volume: up(2_000_000), ..SIGNS },
                Level::Contacted,
            ),
            ("asset", Signs { role: Role::Asset, volume: up(5_000), ..SIGNS }, Level::Contacted),
            (
                "a page fetched ahead",
                Signs {
                    role: Role::Chat,
                    class: ClientClass::Browser,
                    volume: Volume { up: 1_800 + 250 + 700, hello: 1_800, down: 9_000 },
                    ..SIGNS
                },
                Level::Contacted,
            ),
            (
                "preconnect over QUIC",
                Signs {
                    carrier: Carrier::Quic,
                    volume: Volume { up: 6_800, hello: 6_200, down: 3_100 },
                    ..SIGNS
                },
                Level::Contacted,
            ),
            (
                "clear text",
                Signs { carrier: Carrier::Clear, volume: Volume { hello: 0, ..up(400) }, ..SIGNS },
                Level::Used,
            ),
        ];
        for (name, signs, expected) in cases {
            assert_eq!(level(&signs), expected, "{name}");
        }
    }
}
