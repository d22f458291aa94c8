//! Metadata to facts: borrowed bytes become numbered texts, names become plain.
//!
//! In: what parsers say. Out: [`Event`]s for the flow to act on, in order.
//! Never: lets a byte through that is not printable ASCII; keeps a path, a body or a secret.
//! Limits: texts are cut at [`TEXT_MAX`].

use super::texts::Texts;
use crate::observation::{Dhcp, Fact, Hello, Http, NameSource, QuicId, Session, TextId};
use crate::types::{MacAddr, NAME_MAX, plain_name};
use crate::watcher::protocol::{HelloTransport, HostSource, Metadata};

/// Longest user agent, vendor class or account name kept.
pub const TEXT_MAX: usize = 256;

/// What a parser said, ready to be sent, and what it means for the flow.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The fact to send.
    pub fact: Option<Fact>,
    /// The flow has this name from now on.
    pub naming: Option<Naming>,
    /// Something to count.
    pub anomaly: Option<&'static str>,
}

/// What names a flow.
#[derive(Clone, Copy, Debug)]
pub struct Naming {
    /// The name; `NONE` if only fingerprint or program are known.
    pub name: TextId,
    /// How it was said.
    pub source: NameSource,
    /// JA4, or `NONE`.
    pub ja4: TextId,
    /// User agent, or `NONE`.
    pub user_agent: TextId,
    /// Octets of the hello.
    pub hello_bytes: u32,
    /// Several names at once on one connection.
    pub multiplexed: bool,
}

/// The client as its frame shows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender {
    /// Link address; zeros if it is not known.
    pub mac: MacAddr,
    /// TTL of its packet, 0 if it is not known.
    pub ttl: u8,
}

/// Printable ASCII of `raw`, at most [`TEXT_MAX`]; anything else becomes `?`.
fn text(texts: &mut Texts, raw: &[u8]) -> TextId {
    let mut buf = [0u8; TEXT_MAX];
    let mut len = 0usize;
    for (to, &from) in buf.iter_mut().zip(raw) {
        *to = if (0x20..0x7f).contains(&from) { from } else { b'?' };
        len = len.saturating_add(1);
    }
    let plain = buf.get(..len).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default();
    texts.intern(plain)
}

/// UTF-8 of `raw` without control characters, at most [`TEXT_MAX`] octets: names of people and
/// machines are not always ASCII.
fn person(texts: &mut Texts, raw: &[u8]) -> TextId {
    let raw = raw.get(..TEXT_MAX).unwrap_or(raw);
    let lossy = String::from_utf8_lossy(raw);
    if lossy.chars().any(char::is_control) {
        let plain: String = lossy.chars().filter(|c| !c.is_control()).collect();
        return texts.intern(&plain);
    }
    texts.intern(&lossy)
}

fn name(texts: &mut Texts, raw: &[u8]) -> TextId {
    let mut buf = [0u8; NAME_MAX];
    written(raw, &mut buf).map_or(TextId::NONE, |n| texts.intern(n))
}

/// The plain form of a name; the root is a name of its own.
fn written<'b>(raw: &[u8], buf: &'b mut [u8; NAME_MAX]) -> Option<&'b str> {
    if raw == b"." { Some(".") } else { plain_name(raw, buf) }
}

fn optional(texts: &mut Texts, raw: Option<&[u8]>) -> TextId {
    raw.map_or(TextId::NONE, |r| person(texts, r))
}

/// Turns what a parser says into an event.
#[expect(clippy::too_many_lines, reason = "one arm for each thing that can be said")]
pub fn event(texts: &mut Texts, sender: Sender, metadata: &Metadata<'_>) -> Event {
    let Sender { mac, ttl } = sender;
    let mut event = Event { fact: None, naming: None, anomaly: None };
    event.fact = Some(match metadata {
        Metadata::Hello(hello) => {
            // The name is new or lies anywhere in memory; the rest is made while it is fetched.
            let mut buf = [0; NAME_MAX];
            let plain = hello.server_name.and_then(|n| written(n, &mut buf));
            let sought = plain.map(|n| texts.seek(n));
            let ja4 = hello.offer.map_or(TextId::NONE, |offer| texts.fingerprint(&offer));
            if let Some(sought) = &sought {
                texts.approach(sought);
            }
            // Printable already, and short.
            let alpn = texts.intern(hello.alpn);
            let server = sought.map_or(TextId::NONE, |sought| texts.find(&sought));
            if server.is_none() && hello.server_name.is_some() {
                event.anomaly = Some("name_unusable");
            }
            let source = match hello.transport {
                HelloTransport::Quic => NameSource::QuicSni,
                HelloTransport::Tls | HelloTransport::Dtls => NameSource::Sni,
            };
            event.naming = Some(Naming {
                name: server,
                source,
                ja4,
                user_agent: TextId::NONE,
                hello_bytes: hello.length,
                multiplexed: false,
            });
            Fact::Hello(Hello {
                transport: hello.transport,
                name: server,
                alpn,
                ja4,
                version: hello.version,
                ech: hello.ech,
                esni: hello.esni,
                grease: hello.grease,
                mac,
                ttl,
            })
        }
        Metadata::CertificateName(raw) => {
            let server = name(texts, raw);
            event.naming = Some(Naming {
                name: server,
                source: NameSource::Certificate,
                ja4: TextId::NONE,
                user_agent: TextId::NONE,
                hello_bytes: 0,
                multiplexed: false,
            });
            Fact::CertificateName(server)
        }
        Metadata::DnsQuery(question) => {
            let name = name(texts, question.name);
            if name.is_none() {
                return unusable(event);
            }
            Fact::DnsQuery { name, rtype: question.rtype, id: question.id }
        }
        Metadata::DnsAddress { question, addr, ttl_s } => {
            let name = name(texts, question.name);
            if name.is_none() {
                return unusable(event);
            }
            Fact::DnsAddress { name, addr: *addr, ttl_s: *ttl_s, id: question.id }
        }
        Metadata::DnsEch { question, public_name, ttl_s } => Fact::DnsEch {
            name: name(texts, question.name),
            public_name: name(texts, public_name),
            ttl_s: *ttl_s,
        },
        Metadata::DnsResponse { question, rcode } => {
            Fact::DnsResponse { name: name(texts, question.name), rcode: *rcode }
        }
        Metadata::Runs(what) => Fact::Runs(person(texts, what)),
        Metadata::LocalName(local) => Fact::LocalName {
            protocol: local.protocol,
            announced: local.announced,
            name: person(texts, local.name),
            addr: local.addr,
        },
        Metadata::HttpRequest(request) => {
            let host = request.host.map_or(TextId::NONE, |h| name(texts, h));
            if host.is_none() && request.host.is_some() {
                event.anomaly = Some("name_unusable");
            }
            let user_agent = text(texts, request.user_agent);
            event.naming = Some(Naming {
                name: host,
                source: match request.source {
                    HostSource::Host | HostSource::AbsoluteUri => NameSource::HttpHost,
                    HostSource::Connect => NameSource::Connect,
                    HostSource::Authority => NameSource::Authority,
                },
                ja4: TextId::NONE,
                user_agent,
                hello_bytes: 0,
                multiplexed: request.version == 20,
            });
            Fact::Http(Http {
                version: request.version,
                method: text(texts, request.method),
                host,
                source: request.source,
                user_agent,
                api: request.api,
                sdk: request.sdk,
                websocket: request.websocket,
                prefetch: request.prefetch,
                embedded: request.embedded,
                mac,
                ttl,
                user: optional(texts, request.user),
                forwarded: request.forwarded,
                vouched: optional(texts, request.vouched),
            })
        }
        Metadata::HttpResponse(r) => {
            if r.api.is_none() && !r.streamed {
                return event_without_fact(event);
            }
            Fact::HttpAnswer { status: r.status, streamed: r.streamed, api: r.api }
        }
        Metadata::Api(api) => Fact::Api(*api),
        Metadata::SocksTarget { host, port } => {
            let host = name(texts, host);
            event.naming = Some(Naming {
                name: host,
                source: NameSource::Socks,
                ja4: TextId::NONE,
                user_agent: TextId::NONE,
                hello_bytes: 0,
                multiplexed: false,
            });
            Fact::SocksTarget { host, port: *port }
        }
        Metadata::ProxySource { addr } => Fact::ProxySource(*addr),
        Metadata::Dhcp(dhcp) => Fact::Dhcp(Dhcp {
            version: dhcp.version,
            message: dhcp.message,
            from_client: dhcp.from_client,
            mac: dhcp.mac,
            addr: dhcp.addr,
            host_name: optional(texts, dhcp.host_name),
            fqdn: optional(texts, dhcp.fqdn),
            vendor_class: optional(texts, dhcp.vendor_class),
            lease_s: dhcp.lease_s,
        }),
        Metadata::Account { source, user, domain } => Fact::Account {
            source: *source,
            user: person(texts, user),
            domain: person(texts, domain),
        },
        Metadata::LoginAnswer { granted } => Fact::LoginAnswer { granted: *granted },
        Metadata::Session(s) => Fact::Session(Session {
            id: s.id,
            state: s.state,
            user: person(texts, s.user),
            addr: s.addr,
            mac: s.mac,
            lasts_s: s.lasts_s,
        }),
        Metadata::ServerHello { .. } => return event_without_fact(event),
        // Whoever sends it knows the flow's name.
        Metadata::QuicServerId(id) => {
            Fact::QuicServerId { name: TextId::NONE, id: QuicId::new(id) }
        }
        Metadata::Anomaly(what) => {
            event.anomaly = Some(what);
            return event_without_fact(event);
        }
    });
    event
}

/// The name holds what no host name can: counted, not told.
fn unusable(mut event: Event) -> Event {
    event.anomaly = Some("name_unusable");
    event_without_fact(event)
}

fn event_without_fact(mut event: Event) -> Event {
    event.fact = None;
    event
}
