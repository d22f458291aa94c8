//! Each extracted item as a JSON line: what was read, before anybody judged it.
//!
//! In: observations in the order of the run. Out: `{"capture", "kind", "client", "server",
//! "port", "value"}`, one object a line; a browsing log, which `scan` alone can write.
//! Never: enters the store; repeats an item of one capture.
//! Limits: [`REMEMBERED_MAX`] items a capture are told apart; beyond that, repeats are possible.

use std::collections::HashSet;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use twox_hash::XxHash3_64;

use crate::observation::{Fact, FlowState, Hello, Http, Observation, TextId};
use crate::recorder::desk::Rulebook;
use crate::recorder::hits::Texts;
use crate::recorder::identity::people::Account;
use crate::recorder::identity::subject::address_text;
use crate::recorder::identity::{Kind, Known, Veil};
use crate::recorder::signature::network::HiderKind;
use crate::recorder::signature::{Catalogue, Network};
use crate::recorder::store::rows::mac_text;
use crate::types::MacAddr;
use crate::watcher::packet::NeighborSource;
use crate::watcher::protocol::{AccountSource, HelloTransport, HostSource, Protocol};

/// Items of one capture that are remembered so as to write each once: 64 MiB of hashes.
pub const REMEMBERED_MAX: usize = 8 << 20;

/// One line of `--observations`: an item that was read, before anybody judged it.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "Observation")]
struct Line<'a> {
    /// Capture by its name, below the directory given.
    capture: &'a str,
    /// What was read: `tls_sni`, `quic_sni`, `dns_query`, `http_host`, `dhcp_host` ...
    kind: &'a str,
    /// Client address; a link address for DHCP and ARP.
    client: &'a str,
    /// Server address, empty where there is none.
    server: &'a str,
    /// Server port, 0 where there is none.
    port: u16,
    /// The item itself.
    value: &'a str,
}

/// The published schema of a line.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Line<'_>)
}

/// Writes observations.
pub struct Observations<W> {
    out: W,
    captures: Vec<String>,
    catalogue: Arc<Catalogue>,
    network: Arc<Network>,
    known: Arc<Known>,
    seen: HashSet<u64>,
    of_input: u16,
    failed: Option<io::Error>,
    veil: Veil,
}

impl<W: Write> Observations<W> {
    /// `captures` are the names of the inputs, by index; `rules` know the
    /// encrypted resolvers, and which hosts are the world's.
    pub fn new(out: W, captures: Vec<String>, rules: &Rulebook) -> Self {
        Self {
            out,
            captures,
            catalogue: rules.catalogue.clone(),
            network: rules.network.clone(),
            known: rules.known.clone(),
            seen: HashSet::new(),
            of_input: 0,
            failed: None,
            veil: Veil::clear(),
        }
    }

    /// The same under a veil: addresses and names of devices and people become pseudonyms, and so
    /// does every host that the catalogue does not know, since it may be somebody's.
    #[must_use]
    pub fn under(mut self, veil: Veil) -> Self {
        self.veil = veil;
        self
    }

    /// Writes what one observation says.
    pub fn observe(&mut self, o: &Observation, texts: &Texts) {
        if self.failed.is_some() {
            return;
        }
        if o.input != self.of_input {
            self.seen.clear();
            self.of_input = o.input;
        }
        let ends =
            (self.address(o.flow.client.addr), self.server(o.flow.server.addr), o.flow.server.port);
        match &o.fact {
            Fact::Hello(hello) => self.hello(o.input, &ends, hello, texts),
            Fact::DnsQuery { name, .. } => {
                let name = self.host(*name, texts);
                self.line(o.input, "dns_query", &ends, &name);
            }
            Fact::DnsAddress { name, addr, .. } => {
                let value = format!("{}={}", self.host(*name, texts), self.server(*addr));
                self.line(o.input, "dns_answer", &ends, &value);
            }
            Fact::Http(http) => self.http(o.input, &ends, http, texts),
            Fact::SocksTarget { host, .. } => {
                let host = self.host(*host, texts);
                self.line(o.input, "socks_host", &ends, &host);
            }
            Fact::CertificateName(name) => {
                let name = self.host(*name, texts);
                self.line(o.input, "cert_name", &ends, &name);
            }
            Fact::LocalName { protocol, announced, name, addr } => {
                let name = &self.name(Kind::Device, texts.str(*name));
                let kind = match (protocol, announced) {
                    (Protocol::Mdns, true) => "mdns_name",
                    (Protocol::Mdns, false) => "mdns_query",
                    (Protocol::Llmnr, true) => "llmnr_name",
                    (Protocol::Llmnr, false) => "llmnr_query",
                    _ => "nbns_name",
                };
                let value = match addr.filter(|_| *announced && *protocol != Protocol::Nbns) {
                    Some(addr) => format!("{name}={}", self.address(addr)),
                    None => name.clone(),
                };
                let client = (ends.0, String::new(), 0);
                self.line(o.input, kind, &client, &value);
            }
            Fact::Dhcp(dhcp) => {
                let client = (self.mac(dhcp.mac), String::new(), 0);
                if dhcp.from_client {
                    let (host, fqdn) = if dhcp.version == 4 {
                        ("dhcp_host", "dhcp_fqdn")
                    } else {
                        ("dhcpv6_host", "dhcpv6_fqdn")
                    };
                    let name = self.name(Kind::Device, texts.str(dhcp.host_name));
                    self.line(o.input, host, &client, &name);
                    let name = self.name(Kind::Device, texts.str(dhcp.fqdn));
                    self.line(o.input, fqdn, &client, &name);
                } else if let (4, 5, Some(addr)) = (dhcp.version, dhcp.message, dhcp.addr) {
                    let addr = self.address(addr);
                    self.line(o.input, "dhcp_lease", &client, &addr);
                }
            }
            Fact::Account { source, user, .. } => {
                let kind = match source {
                    AccountSource::Kerberos | AccountSource::KerberosRequest => "kerberos_user",
                    AccountSource::Ntlm => "ntlm_user",
                    AccountSource::Radius => "radius_user",
                    AccountSource::Ldap => "ldap_user",
                    AccountSource::HttpBasic => "basic_user",
                };
                self.person(o.input, kind, &ends, texts.str(*user));
            }
            Fact::Session(session) => {
                self.person(o.input, "radius_user", &ends, texts.str(session.user));
            }
            Fact::Neighbor { source: NeighborSource::Arp, mac: of } => {
                let client = (self.mac(*of), String::new(), 0);
                self.line(o.input, "arp", &client, &ends.0);
            }
            Fact::Delta(delta) if delta.state.has(FlowState::LAST) && delta.name.is_none() => {
                self.resolver(o, &ends);
            }
            Fact::Neighbor { .. }
            | Fact::DnsResponse { .. }
            | Fact::DnsEch { .. }
            | Fact::HttpAnswer { .. }
            | Fact::LoginAnswer { .. }
            | Fact::Runs(_)
            | Fact::Api(_)
            | Fact::ProxySource(_)
            | Fact::QuicServerId { .. }
            | Fact::QuicMoved(_)
            | Fact::Delta(_) => {}
        }
    }

    /// An account, unless it is of somebody who is left out.
    fn person(&mut self, input: u16, kind: &'static str, ends: &(String, String, u16), user: &str) {
        let excluded = match Account::read(user) {
            Account::Person(login) => self.known.excludes(&self.known.inventory.login(&login)),
            Account::Machine(_) | Account::Nobody => false,
        };
        if !excluded {
            let user = self.name(Kind::User, user);
            self.line(input, kind, ends, &user);
        }
    }

    fn hello(&mut self, input: u16, ends: &(String, String, u16), hello: &Hello, texts: &Texts) {
        let name = &self.host(hello.name, texts);
        let (kind, word) = match hello.transport {
            HelloTransport::Tls => ("tls_sni", "tls"),
            HelloTransport::Quic if hello.ja4.is_none() => ("gquic_sni", "quic"),
            HelloTransport::Quic => ("quic_sni", "quic"),
            HelloTransport::Dtls => ("dtls_sni", "dtls"),
        };
        if hello.name.is_none() {
            self.line(input, "hello_no_sni", ends, word);
        } else {
            self.line(input, kind, ends, name);
        }
        let network = self.network.clone();
        if let Some(resolver) =
            network.by_name(texts.str(hello.name)).filter(|h| h.kind == HiderKind::EncryptedDns)
        {
            self.line(input, "encrypted_dns", ends, &resolver.id);
        }
        if hello.ech.is_some() {
            // The outer name may be empty, and says so.
            self.put(input, "ech", ends, name);
        }
        self.line(input, "ja4", ends, texts.str(hello.ja4));
    }

    /// A flow without a name to the address of a known resolver, on a port of DoT, DoQ or DoH.
    fn resolver(&mut self, o: &Observation, ends: &(String, String, u16)) {
        let network = self.network.clone();
        let known = network.by_address(o.flow.server.addr);
        if let Some(resolver) = known.filter(|_| matches!(ends.2, 443 | 853 | 784 | 8853)) {
            self.line(o.input, "encrypted_dns", ends, &resolver.id);
        }
    }

    fn http(&mut self, input: u16, ends: &(String, String, u16), http: &Http, texts: &Texts) {
        let host = self.host(http.host, texts);
        self.line(input, "http_host", ends, &host);
        if http.source == HostSource::Connect {
            self.line(input, "http_connect", ends, &host);
        }
        let user = self.name(Kind::User, texts.str(http.user));
        self.line(input, "basic_user", ends, &user);
        // Programs may write into it what they like: names of users and devices too.
        let agent = self.name(Kind::Name, texts.str(http.user_agent));
        self.line(input, "http_ua", ends, &agent);
    }

    fn address(&self, addr: IpAddr) -> String {
        address_text(self.veil.address(addr))
    }

    /// An address at the other end: of ours it is somebody's too.
    fn server(&self, addr: IpAddr) -> String {
        if addr_is_public(addr) { addr.to_string() } else { self.address(addr) }
    }

    fn mac(&self, mac: MacAddr) -> String {
        mac_text(self.veil.mac(mac))
    }

    /// A name of a person or device; what is not there stays so.
    fn name(&self, kind: Kind, name: &str) -> String {
        if name.is_empty() { String::new() } else { self.veil.name(kind, name) }
    }

    /// A host: as it is if the world knows it, else it may be somebody's.
    fn host(&self, name: TextId, texts: &Texts) -> String {
        let known = texts.name(name, &self.catalogue, &self.network);
        match known.filter(|n| n.said.hit.is_some() || n.said.hider.is_some()) {
            Some(name) => name.text.to_string(),
            None => self.name(Kind::Name, texts.str(name)),
        }
    }

    fn line(&mut self, input: u16, kind: &str, ends: &(String, String, u16), value: &str) {
        if !value.is_empty() {
            self.put(input, kind, ends, value);
        }
    }

    fn put(&mut self, input: u16, kind: &str, ends: &(String, String, u16), value: &str) {
        let capture = self.captures.get(usize::from(input)).map_or("", String::as_str);
        let line = Line { capture, kind, client: &ends.0, server: &ends.1, port: ends.2, value };
        let outcome = serde_json::to_vec(&line).map_err(io::Error::from).and_then(|mut text| {
            let hash = XxHash3_64::oneshot(&text);
            if !self.seen.insert(hash) {
                return Ok(());
            }
            if self.seen.len() > REMEMBERED_MAX {
                self.seen.clear();
            }
            text.push(b'\n');
            self.out.write_all(&text)
        });
        self.failed = outcome.err();
    }

    /// Flushes; the first error, if there was one.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> io::Result<()> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }
}

/// `true` for addresses of the world at large.
fn addr_is_public(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => {
            let shared = a.octets() >= [100, 64, 0, 0] && a.octets() < [100, 128, 0, 0];
            !(a.is_private() || a.is_link_local() || a.is_loopback() || shared)
        }
        IpAddr::V6(a) => !(a.is_unique_local() || a.is_unicast_link_local() || a.is_loopback()),
    }
}
