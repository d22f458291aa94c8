//! BPF expressions as tcpdump knows them, one program a link type.
//!
//! In: the words of the expression. Out: yes or no for a frame.
//! Never: lets a link type through for which the expression makes no sense.
//! Source: pcap-filter(7). The only place that knows libpcap when files are read.
//!
//! `len`, `greater` and `less` see the captured length.

use pcap::{BpfProgram, Capture, Linktype};

use super::deal::Instruction;

/// Link types that an expression is tried on before anything is read: Ethernet, raw IP, Linux
/// cooked, radiotap, 802.11, PPP, loopback.
const COMMON: &[u16] = &[1, 101, 113, 276, 127, 105, 9, 0];

/// An expression and its programs.
pub struct Filter {
    expression: String,
    programs: Vec<(u16, Option<BpfProgram>)>,
}

impl Filter {
    /// Checks the expression.
    ///
    /// # Errors
    /// What libpcap says of it, if no common link type can compile it.
    pub fn new(expression: &str) -> Result<Self, String> {
        let mut first = None;
        for &link in COMMON {
            match compile(expression, link) {
                Ok(program) => {
                    let programs = vec![(link, Some(program))];
                    return Ok(Self { expression: expression.to_owned(), programs });
                }
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_default())
    }

    /// The program for a link type as instructions, for the kernel to run.
    ///
    /// # Errors
    /// What libpcap says of it.
    pub fn instructions(expression: &str, link: u16) -> Result<Vec<Instruction>, String> {
        let program = compile(expression, link)?;
        // libpcap's type keeps its fields to itself and shows them as four numbers.
        let read = |i: &pcap::BpfInstruction| {
            let text = i.to_string();
            let mut fields = text.split(' ').map(|f| f.parse::<u32>().unwrap_or(0));
            let mut next = || fields.next().unwrap_or(0);
            let (code, jt, jf, k) = (next(), next(), next(), next());
            Instruction {
                code: u16::try_from(code).unwrap_or(0),
                jt: u8::try_from(jt).unwrap_or(0),
                jf: u8::try_from(jf).unwrap_or(0),
                k,
            }
        };
        Ok(program.get_instructions().iter().map(read).collect())
    }

    /// `true` if the frame matches.
    pub fn matches(&mut self, link: u16, bytes: &[u8]) -> bool {
        let known = self.programs.iter().position(|(l, _)| *l == link).unwrap_or_else(|| {
            self.programs.push((link, compile(&self.expression, link).ok()));
            self.programs.len().saturating_sub(1)
        });
        let program = self.programs.get(known).and_then(|(_, program)| program.as_ref());
        program.is_some_and(|program| program.filter(bytes))
    }
}

/// Wrapped frames that `expression` leaves out though it lets the same packet pass where nothing
/// is wrapped around it: names of what it hides.
pub fn hides(expression: &str) -> Vec<&'static str> {
    const ETHERNET: u16 = 1;
    let Ok(mut filter) = Filter::new(expression) else { return Vec::new() };
    let ports: [(u8, [u8; 4]); 4] = [
        (6, [200, 9, 1, 187]),
        (17, [200, 9, 1, 187]),
        (17, [200, 9, 0, 53]),
        (6, [200, 9, 0, 80]),
    ];
    let packet = |(protocol, ports): (u8, [u8; 4])| {
        let mut ip =
            vec![0x45, 0, 0, 48, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 7, 192, 0, 2, 9];
        ip.extend(ports);
        ip.extend([0, 28, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        ip
    };
    let ethernet = |kind: [u8; 2], rest: &[u8]| [[2; 12].as_slice(), &kind, rest].concat();
    let outer = |protocol: u8, rest: &[u8]| {
        let mut ip =
            vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 172, 16, 0, 1, 172, 16, 0, 2];
        ip.extend(rest);
        ethernet([8, 0], &ip)
    };
    let mut hidden = Vec::new();
    for packet in ports.map(packet) {
        let plain = ethernet([8, 0], &packet);
        if !filter.matches(ETHERNET, &plain) {
            continue;
        }
        let vxlan = [&[200, 9, 18, 181, 0, 70, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0], plain.as_slice()];
        for (name, frame) in [
            (
                "a second VLAN tag",
                ethernet([0x81, 0], &[&[0, 7, 8, 0], packet.as_slice()].concat()),
            ),
            ("MPLS", ethernet([0x88, 0x47], &[&[0, 1, 1, 9], packet.as_slice()].concat())),
            ("VXLAN", outer(17, &vxlan.concat())),
            ("GRE", outer(47, &[&[0, 0, 8, 0], packet.as_slice()].concat())),
        ] {
            if !filter.matches(ETHERNET, &frame) && !hidden.contains(&name) {
                hidden.push(name);
            }
        }
    }
    hidden
}

fn compile(expression: &str, link: u16) -> Result<BpfProgram, String> {
    // Files and libpcap differ in a few numbers (pcap-linktype(7)): raw IP is 12 in memory.
    let dlt = if link == 101 { 12 } else { i32::from(link) };
    let dead = Capture::dead(Linktype(dlt)).map_err(|e| e.to_string())?;
    dead.compile(expression, true).map_err(|e| e.to_string())
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("expression", &self.expression).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IPv4 and UDP from port 53 to 1024, without link header.
    const UDP: [u8; 28] = [
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1, 0, 53, 4, 0, 0, 8,
        0, 0,
    ];

    #[test]
    fn each_link_type_gets_its_own_program() {
        let ethernet: Vec<u8> = [[2; 12].as_slice(), &[8, 0], &UDP].concat();
        let mut dns = Filter::new("udp port 53").expect("valid");
        let mut web = Filter::new("tcp port 443").expect("valid");
        assert!(dns.matches(1, &ethernet) && dns.matches(101, &UDP));
        assert!(!dns.matches(1, &UDP) && !web.matches(1, &ethernet) && !web.matches(101, &UDP));
    }

    #[test]
    fn it_is_known_what_a_filter_hides() {
        for (expression, expected) in [
            ("tcp port 443", &["a second VLAN tag", "MPLS", "VXLAN", "GRE"][..]),
            ("ip", &["a second VLAN tag", "MPLS"]),
            ("not arp", &[]),
            ("arp", &[]),
        ] {
            assert_eq!(hides(expression), expected, "{expression}");
        }
    }

    #[test]
    fn says_no_to_nonsense_and_to_link_types_it_does_not_fit() {
        let error = Filter::new("port port").expect_err("no expression");
        assert!(error.contains("syntax error"), "{error}");
        let mut wlan = Filter::new("type mgt").expect("valid on 802.11");
        assert!(!wlan.matches(1, &[0; 64]));
        assert!(wlan.matches(105, &[0; 64]), "association request");
    }
}
