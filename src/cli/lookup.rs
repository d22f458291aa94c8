//! `shadowtap lookup`: which service each host name belongs to.
//!
//! In: host names as people write them. Out: `host<TAB>service id or nothing<TAB>pattern or
//! nothing`, one line for each, in order.
//! Never: drops or reorders a line; lets a control character through to a terminal.

use std::io::{self, Write};

use crate::answer::terminal::printable;
use crate::recorder::signature::Catalogue;
use crate::types::{NAME_MAX, plain_name};

/// Writes one line for each host, empty ones too.
///
/// A host may carry a final dot, capitals and a port; a name of another script comes as
/// punycode. An address, or anything that is no host name, matches nothing.
///
/// # Errors
/// Those of `out`.
pub fn lookup_lines<S: AsRef<str>>(
    catalogue: &Catalogue,
    hosts: impl IntoIterator<Item = S>,
    out: &mut impl Write,
) -> io::Result<()> {
    for host in hosts {
        let host = host.as_ref().trim();
        let mut buf = [0; NAME_MAX];
        let plain = plain_name(without_port(host).as_bytes(), &mut buf);
        let found = plain.and_then(|name| catalogue.lookup(name));
        let (service, pattern) =
            found.map_or(("", ""), |m| (m.service.id.as_str(), m.host.pattern.as_str()));
        writeln!(out, "{}\t{service}\t{pattern}", printable(host))?;
    }
    Ok(())
}

/// The name in front of `:port`; the text as it is if there is no port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_each_in_order() {
        let catalogue = Catalogue::embedded().unwrap();
        let hosts = ["ChatGPT.com.:443", "", "example.org", "claude.ai\t\u{1b}[2J", "[::1]:80"];
        let mut out = Vec::new();
        lookup_lines(&catalogue, hosts, &mut out).unwrap();
        let expected = "ChatGPT.com.:443\tchatgpt\tchatgpt.com\n\t\t\nexample.org\t\t\n\
                        claude.ai\u{fffd}\u{fffd}[2J\t\t\n[::1]:80\t\t\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
