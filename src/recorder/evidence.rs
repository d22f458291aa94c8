//! Where the packets of a flow are: what another tool needs to find them again.

use std::net::IpAddr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha1::{Digest, Sha1};

use super::flows::MatchedFlow;
use super::store::rows::{EvidenceItem, Text};
use crate::observation::FlowRef;
use crate::types::Timestamp;

/// Evidence of one flow in `capture`.
pub fn item(flow: &MatchedFlow, capture: &Text) -> EvidenceItem {
    let [first_frame, name_frame, last_frame] = flow.frames;
    EvidenceItem {
        time: flow.parts.first().map_or(Timestamp(0), |p| p.first),
        community_id: Text::from(community_id(&flow.flow)),
        capture: capture.clone(),
        first_frame,
        name_frame,
        last_frame,
        wireshark_filter: Text::from(wireshark_filter(&flow.flow)),
        transport: flow.flow.protocol,
        client: flow.flow.client,
        server: flow.flow.server,
        kind: flow.kind,
        name: flow.name.clone(),
        ja4: flow.ja4.clone(),
        client_class: flow.class,
        client_evidence: flow.class_evidence.clone(),
    }
}

/// Community ID version 1 with seed 0: `1:` and the Base64 of a SHA-1 over seed, ordered
/// addresses, protocol, padding and ordered ports (Corelight's specification).
pub fn community_id(flow: &FlowRef) -> String {
    let ends = [flow.client, flow.server];
    let [(low, low_port), (high, high_port)] = {
        let mut keyed = ends.map(|e| (octets(e.addr), e.port));
        keyed.sort();
        keyed
    };
    let mut hash = Sha1::new();
    hash.update(0u16.to_be_bytes());
    hash.update(low);
    hash.update(high);
    hash.update([flow.protocol, 0]);
    hash.update(low_port.to_be_bytes());
    hash.update(high_port.to_be_bytes());
    format!("1:{}", BASE64_STANDARD.encode(hash.finalize()))
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// Display filter that shows this five-tuple, in both directions.
pub fn wireshark_filter(flow: &FlowRef) -> String {
    let family = |a: IpAddr| if a.is_ipv4() { "ip" } else { "ipv6" };
    let transport = match flow.protocol {
        6 => "tcp",
        17 => "udp",
        other => {
            return format!(
                "{}.addr=={} && {}.addr=={} && ip.proto=={other}",
                family(flow.client.addr),
                flow.client.addr,
                family(flow.server.addr),
                flow.server.addr
            );
        }
    };
    format!(
        "{}.addr=={} && {}.addr=={} && {transport}.port=={} && {transport}.port=={}",
        family(flow.client.addr),
        flow.client.addr,
        family(flow.server.addr),
        flow.server.addr,
        flow.client.port,
        flow.server.port
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Endpoint, Realm};

    fn flow(protocol: u8, client: (&str, u16), server: (&str, u16)) -> FlowRef {
        let end = |(a, port): (&str, u16)| Endpoint { addr: a.parse().unwrap(), port };
        FlowRef { realm: Realm(0), protocol, id: 0, client: end(client), server: end(server) }
    }

    #[test]
    fn community_ids_of_the_specification() {
        // Baseline of the published reference implementation.
        let cases = [
            (
                flow(6, ("128.232.110.120", 34855), ("66.35.250.204", 80)),
                "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            ),
            (
                flow(6, ("66.35.250.204", 80), ("128.232.110.120", 34855)),
                "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            ),
            (flow(17, ("192.168.1.52", 54585), ("8.8.8.8", 53)), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        ];
        for (flow, expected) in cases {
            assert_eq!(community_id(&flow), expected);
        }
    }
}
