//! What became of every frame, as numbers.
//!
//! In: one fate a frame, the wrappings taken off, oddities met on the way.
//! Out: counters that add up: frames received = sum of the fates.
//! Never: allocates, or names an address.

/// A fieldless enum whose variants have names, so that an array can count them.
macro_rules! counted {
    ($(#[$doc:meta])* $kind:ident { $($(#[$vdoc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $kind { $($(#[$vdoc])* $variant,)* }

        impl $kind {
            /// Every value, in the order of the counters.
            pub const ALL: &[$kind] = &[$($kind::$variant,)*];

            /// The name that people and files see.
            pub const fn name(self) -> &'static str {
                match self { $($kind::$variant => $name,)* }
            }
        }
    };
}

counted! {
    /// What became of a frame: every frame has exactly one.
    Fate {
        /// Its innermost IP packet was handed on.
        Packet = "packet",
        /// It said which address belongs to which MAC (ARP), and carried no packet.
        Neighbor = "neighbor",
        /// It carried an IP fragment, which the stitcher keeps.
        Fragment = "fragment",
        /// An excluded network, VLAN or MAC took part.
        Excluded = "excluded",
        /// The link type is none that we read.
        UnknownLink = "unknown_link_type",
        /// More wrappings than we are willing to take off.
        DepthLimit = "depth_limit",
        /// ARP that ties no address to a MAC (probes, other hardware).
        ArpOther = "not_ip_arp_other",
        /// 802.2 LLC without an IP payload.
        Llc = "not_ip_llc",
        /// Spanning tree.
        Stp = "not_ip_stp",
        /// Link layer discovery (LLDP).
        Lldp = "not_ip_lldp",
        /// Port access control (802.1X).
        Eapol = "not_ip_eapol",
        /// Slow protocols (LACP, OAM).
        Slow = "not_ip_slow_protocols",
        /// `PPPoE` discovery.
        PppoeDiscovery = "not_ip_pppoe_discovery",
        /// PPP control and compressed protocols.
        PppOther = "not_ip_ppp_other",
        /// 802.11 management, control and empty data frames.
        WlanOther = "not_ip_wlan_other",
        /// 802.11 data that is encrypted, or `MACsec`.
        Encrypted = "not_ip_encrypted",
        /// MPLS payload that is neither IP nor a pseudowire we can read.
        MplsOther = "not_ip_mpls_other",
        /// Any other ethertype or address family.
        OtherType = "not_ip_other_type",
        /// The capture cuts the link header off.
        LinkTruncated = "truncated_link",
        /// The link header is shorter than it can be.
        LinkMalformed = "malformed_link",
        /// The capture cuts a VLAN tag, MPLS label, PPP or LLC header off.
        TagTruncated = "truncated_tag",
        /// A tag, label, PPP or LLC header breaks its rules.
        TagMalformed = "malformed_tag",
        /// The capture cuts the ARP message off.
        ArpTruncated = "truncated_arp",
        /// The ARP message is shorter than it says.
        ArpMalformed = "malformed_arp",
        /// The capture cuts the IPv4 header off.
        Ipv4Truncated = "truncated_ipv4",
        /// Version, header length or total length of IPv4 cannot be.
        Ipv4Malformed = "malformed_ipv4",
        /// The capture cuts the IPv6 header or an extension off.
        Ipv6Truncated = "truncated_ipv6",
        /// Version or an extension of IPv6 cannot be.
        Ipv6Malformed = "malformed_ipv6",
        /// The capture cuts the TCP header off.
        TcpTruncated = "truncated_tcp",
        /// The TCP data offset lies outside the segment.
        TcpMalformed = "malformed_tcp",
        /// The capture cuts the UDP header off.
        UdpTruncated = "truncated_udp",
        /// The UDP length lies outside the IP packet.
        UdpMalformed = "malformed_udp",
    }
}

counted! {
    /// What was taken off to get at the innermost packet.
    Wrapping {
        /// 802.1Q or 802.1ad tag.
        Vlan = "vlan",
        /// MPLS label.
        Mpls = "mpls",
        /// Ethernet in MPLS (RFC 4448).
        Pseudowire = "pseudowire",
        /// Provider backbone bridge (802.1ah).
        Pbb = "pbb",
        /// `PPPoE` session (RFC 2516).
        Pppoe = "pppoe",
        /// PPP in GRE version 1 (RFC 2637).
        Pptp = "pptp",
        /// L2TP version 2 (RFC 2661).
        L2tp = "l2tp",
        /// GRE (RFC 2784, RFC 2890).
        Gre = "gre",
        /// Ethernet in GRE, also NVGRE (RFC 7637).
        EthernetInGre = "ethernet_in_gre",
        /// ERSPAN type I, II or III.
        Erspan = "erspan",
        /// VXLAN (RFC 7348), also its generic protocol extension.
        Vxlan = "vxlan",
        /// GENEVE (RFC 8926).
        Geneve = "geneve",
        /// GTP-U (3GPP TS 29.281).
        Gtpu = "gtpu",
        /// Teredo (RFC 4380).
        Teredo = "teredo",
        /// AYIYA (draft-massar-v6ops-ayiya).
        Ayiya = "ayiya",
        /// CAPWAP data (RFC 5415).
        Capwap = "capwap",
        /// LISP data (RFC 6830).
        Lisp = "lisp",
        /// IP directly in IP, any of the four pairs of versions.
        IpInIp = "ip_in_ip",
        /// Ethernet in IP (RFC 3378).
        EtherIp = "etherip",
        /// Network service header (RFC 8300).
        Nsh = "nsh",
        /// `MACsec` without encryption (802.1AE).
        Macsec = "macsec",
        /// Per-packet information or another header in front of the link layer.
        Capture = "capture_header",
    }
}

counted! {
    /// Things that do not decide a frame's fate but that somebody should know of.
    Oddity {
        /// An IP length field promises more than the frame had; the frame's length counts.
        LengthBeyondFrame = "ip_length_beyond_frame",
        /// The capture holds fewer octets than the wire did.
        CutShort = "frames_cut_by_snaplen",
        /// What a tunnel carries could not be read; the outer packet counts.
        TunnelUnreadable = "tunnel_unreadable",
        /// Datagrams put together from fragments.
        Reassembled = "datagrams_reassembled",
        /// Datagrams given up after waiting too long; what was there counts.
        FragmentTimeout = "datagrams_incomplete_timeout",
        /// Datagrams given up because a limit was met; what was there counts.
        FragmentLimit = "datagrams_incomplete_limit",
        /// Fragments that say other bytes than an earlier one for the same place.
        FragmentConflict = "fragments_conflicting",
        /// Fragments that no datagram can hold.
        FragmentInvalid = "fragments_invalid",
        /// Datagrams, complete or not, that were no readable packet.
        DatagramUnreadable = "datagrams_unreadable",
        /// Fragments that say nothing new.
        FragmentDuplicate = "fragments_duplicate",
    }
}

impl Fate {
    /// `true` if bytes were missing, broke a rule or met a limit.
    pub fn is_fault(self) -> bool {
        self == Fate::DepthLimit || self >= Fate::LinkTruncated
    }
}

/// Counters of one decoder, to be added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeCounters {
    fates: [u64; Fate::ALL.len()],
    wrappings: [u64; Wrapping::ALL.len()],
    oddities: [u64; Oddity::ALL.len()],
}

impl Default for DecodeCounters {
    fn default() -> Self {
        Self {
            fates: [0; Fate::ALL.len()],
            wrappings: [0; Wrapping::ALL.len()],
            oddities: [0; Oddity::ALL.len()],
        }
    }
}

impl DecodeCounters {
    /// Counts `n` frames of one fate.
    pub(super) fn fate(&mut self, fate: Fate, n: u64) {
        add(self.fates.get_mut(fate as usize), n);
    }

    /// Counts `n` frames that had a wrapping.
    pub(super) fn wrapping(&mut self, wrapping: Wrapping, n: u64) {
        add(self.wrappings.get_mut(wrapping as usize), n);
    }

    /// Counts one oddity.
    pub(super) fn oddity(&mut self, oddity: Oddity) {
        self.some(oddity, 1);
    }

    /// Counts `n` oddities of one kind.
    pub(super) fn some(&mut self, oddity: Oddity, n: u64) {
        add(self.oddities.get_mut(oddity as usize), n);
    }

    /// Frames of one fate.
    pub fn of(&self, fate: Fate) -> u64 {
        self.fates.get(fate as usize).copied().unwrap_or(0)
    }

    /// Frames that had one wrapping at least.
    pub fn wrapped(&self, wrapping: Wrapping) -> u64 {
        self.wrappings.get(wrapping as usize).copied().unwrap_or(0)
    }

    /// How often one oddity was met.
    pub fn odd(&self, oddity: Oddity) -> u64 {
        self.oddities.get(oddity as usize).copied().unwrap_or(0)
    }

    /// Frames received: the sum of all fates.
    pub fn frames(&self) -> u64 {
        self.fates.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Every fate with its number of frames.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Fate::ALL.iter().map(|f| f.name()).zip(self.fates)
    }

    /// Every wrapping with the number of frames that had it.
    pub fn wrappings(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Wrapping::ALL.iter().map(|w| w.name()).zip(self.wrappings)
    }

    /// Every oddity with its number.
    pub fn oddities(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Oddity::ALL.iter().map(|o| o.name()).zip(self.oddities)
    }

    /// All counts in a fixed order, to cross between processes of one program.
    pub fn to_numbers(&self) -> Vec<u64> {
        let all = self.fates.iter().chain(&self.wrappings).chain(&self.oddities);
        all.copied().collect()
    }

    /// The counts that [`DecodeCounters::to_numbers`] gave.
    pub fn from_numbers(numbers: &[u64]) -> Self {
        let mut counters = Self::default();
        let places = counters.fates.iter_mut().chain(&mut counters.wrappings);
        for (to, from) in places.chain(&mut counters.oddities).zip(numbers) {
            *to = *from;
        }
        counters
    }

    /// Adds the counters of another decoder.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.fates.iter_mut().zip(other.fates) {
            *mine = mine.saturating_add(theirs);
        }
        for (mine, theirs) in self.wrappings.iter_mut().zip(other.wrappings) {
            *mine = mine.saturating_add(theirs);
        }
        for (mine, theirs) in self.oddities.iter_mut().zip(other.oddities) {
            *mine = mine.saturating_add(theirs);
        }
    }
}

fn add(counter: Option<&mut u64>, n: u64) {
    if let Some(counter) = counter {
        *counter = counter.saturating_add(n);
    }
}

/// Set of wrappings met in one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wrappings(u32);

impl Wrappings {
    /// Notes one.
    pub(super) fn insert(&mut self, wrapping: Wrapping) {
        self.0 |= 1u32.wrapping_shl(wrapping as u32);
    }

    /// Adds the set to the counters, one frame each.
    pub(super) fn count(self, counters: &mut DecodeCounters) {
        if self.0 == 0 {
            return;
        }
        for &w in Wrapping::ALL {
            if self.0 & 1u32.wrapping_shl(w as u32) != 0 {
                counters.wrapping(w, 1);
            }
        }
    }
}
