//! Words of judgement that recorder, store, answers and sinks share.
//!
//! Each word has a number (in the store) and a text code (in every outside format). Both are
//! part of published formats: they may be added to, never changed.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $number:literal, $code:literal;)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $number,)+
        }

        impl $name {
            /// Every word, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The text code of outside formats.
            pub const fn code(self) -> &'static str {
                match self {
                    $($name::$variant => $code,)+
                }
            }

            /// The word of a text code, `None` if there is no such word.
            pub fn from_code(code: &str) -> Option<Self> {
                match code {
                    $($code => Some($name::$variant),)+
                    _ => None,
                }
            }

            /// The number that stands in the store.
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The word of a number, `None` if there is no such word.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some($name::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

words! {
    /// How far a use of a service went; ordered, so that the highest counts.
    Level {
        /// Only asked for, or a hello that nobody answered, or one side seen.
        Named = 0, "named";
        /// Handshake in both directions.
        Contacted = 1, "contacted";
        /// A chat, API or upload role with application bytes beyond set-up.
        Used = 2, "used";
        /// Upload above the bulk threshold.
        Bulk = 3, "bulk";
    }
}

words! {
    /// What kind of program is at the client's end, as far as the evidence says.
    ClientClass {
        /// A person's browser.
        Browser = 0, "browser";
        /// SDK, command line or agent.
        Program = 1, "program";
        /// A server calling out.
        Server = 2, "server";
        /// The evidence does not say.
        Unknown = 3, "unknown";
    }
}

words! {
    /// What gave the name; strongest first.
    EvidenceKind {
        /// `server_name` of TLS over TCP.
        Sni = 0, "sni";
        /// `server_name` of QUIC.
        QuicSni = 1, "quic_sni";
        /// Host of HTTP/1.
        HttpHost = 2, "http_host";
        /// `:authority` of HTTP/2.
        Authority = 3, "authority";
        /// Target of a CONNECT request.
        Connect = 4, "connect";
        /// Target of a SOCKS request.
        Socks = 5, "socks";
        /// Name in a server certificate.
        Certificate = 6, "cert_san";
        /// A name asked for in DNS, or an address that an answer gave.
        Dns = 7, "dns";
        /// Address and port alone.
        Address = 8, "ip";
        /// Connection id of a QUIC flow that changed its address.
        QuicCid = 9, "quic_cid";
    }
}

words! {
    /// What a host of a service is for.
    Role {
        /// Pages and streams that a person chats over.
        Chat = 0, "chat";
        /// Programming interface.
        Api = 1, "api";
        /// Files go here.
        Upload = 2, "upload";
        /// Speech and video.
        Voice = 3, "voice";
        /// Login.
        Auth = 4, "auth";
        /// Scripts, pictures, fonts.
        Asset = 5, "asset";
        /// Measurements of the service's own.
        Telemetry = 6, "telemetry";
        /// Models and programs come from here.
        Download = 7, "download";
        /// Not told apart.
        Other = 8, "other";
    }
}

words! {
    /// What the policy says of a use; worst first.
    Disposition {
        /// Forbidden.
        Unsanctioned = 0, "unsanctioned";
        /// In the catalogue, nobody decided.
        Unreviewed = 1, "unreviewed";
        /// Allowed for the time being.
        Tolerated = 2, "tolerated";
        /// Allowed.
        Sanctioned = 3, "sanctioned";
    }
}

words! {
    /// Where a risk stands, as people decided.
    State {
        /// Nobody did anything about it yet.
        Open = 0, "open";
        /// Somebody looks at it.
        InReview = 1, "in_review";
        /// Allowed until a day.
        Accepted = 2, "accepted";
        /// Decided for good.
        Resolved = 3, "resolved";
    }
}

impl Level {
    /// `true` for `used` and `bulk`: what totals, alerts and exit codes count.
    pub fn counts(self) -> bool {
        self >= Level::Used
    }
}

impl Role {
    /// Hosts that a person or program works with: traffic to them can count as use. Scripts,
    /// pictures and measurements never open a session.
    pub fn opens_session(self) -> bool {
        matches!(self, Role::Chat | Role::Api | Role::Upload | Role::Voice)
    }
}

impl Disposition {
    /// `true` for what nobody approved: forbidden and unreviewed.
    pub fn unapproved(self) -> bool {
        self <= Disposition::Unreviewed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! check {
        ($($name:ident),+) => {
            $(for (i, &word) in $name::ALL.iter().enumerate() {
                assert_eq!(usize::from(word.number()), i, "{word:?} keeps its number");
                assert_eq!($name::from_number(word.number()), Some(word));
                assert_eq!($name::from_code(word.code()), Some(word));
            }
            assert_eq!($name::from_code("no such word"), None);
            assert_eq!($name::from_number(200), None);)+
        };
    }

    #[test]
    fn numbers_and_codes_lead_back() {
        check!(Level, ClientClass, EvidenceKind, Role, Disposition, State);
    }

    #[test]
    fn order_is_meaning() {
        assert!(Level::Named < Level::Contacted && Level::Used < Level::Bulk);
        assert!(Level::Used.counts() && !Level::Contacted.counts());
        assert!(Disposition::Unreviewed.unapproved() && !Disposition::Tolerated.unapproved());
    }
}
