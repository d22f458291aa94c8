//! BPF expressions as tcpdump knows them, one program a link type.
//!
//! In: the words of the expression. Out: yes or no for a frame.
//! Never: lets a link type through for which the expression makes no sense.
//! Source: pcap-filter(7). The only place that knows libpcap when files are read.
//!
//! `len`, `greater` and `less` see the captured length.

use pcap::{BpfProgram, Capture, Linktype};

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
    fn says_no_to_nonsense_and_to_link_types_it_does_not_fit() {
        let error = Filter::new("port port").expect_err("no expression");
        assert!(error.contains("syntax error"), "{error}");
        let mut wlan = Filter::new("type mgt").expect("valid on 802.11");
        assert!(!wlan.matches(1, &[0; 64]));
        assert!(wlan.matches(105, &[0; 64]), "association request");
    }
}
