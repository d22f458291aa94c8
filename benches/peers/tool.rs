//! Captures to measure with, the least that work on them can cost, and both ends of a live bench.
//!
//! In: sizes on the command line. Out: a capture, or counts as one line of JSON; the names that a
//! capture holds stand beside it in `FILE.names`, `count<TAB>name` in order.
//! Never: is part of the sensor, or shares its decoding, so that an error would have to be made twice.
//! Limits: what the caller asks for.

#![deny(unsafe_code)]
#![allow(
    clippy::cast_possible_truncation,
    reason = "numbers drawn at random are cut to the field that they fill"
)]

mod captures;
mod floor;
mod live;
mod wire;

#[path = "../../src/watcher/protocol/quic/forge.rs"]
#[allow(dead_code, reason = "tests of the sensor use the rest")]
mod forge;
#[path = "../../src/watcher/capture/pages.rs"]
#[allow(dead_code, unreachable_pub, reason = "the sensor uses the rest")]
mod pages;
#[path = "../../src/prefetch.rs"]
#[allow(unreachable_pub, reason = "a public function of the sensor")]
mod prefetch;

use std::process::ExitCode;

const USAGE: &str = "\
usage: bench-tool mix OUT OFFICE.pcap COPIES     the recorded office for as many groups of clients
       bench-tool tls OUT FLOWS                  TLS flows with names, 40 % of the hellos in two segments
       bench-tool tiny OUT FLOWS FRAMES          60-byte frames drawn evenly from so many flows
       bench-tool quic OUT FLOWS                 QUIC flows with names, keys from their own ids
       bench-tool walk FILE                      a floor: frames walked
       bench-tool flow FILE [FLOWS]              a floor: frames counted by flow, in a table for so many
       bench-tool initials FILE                  the floor of QUIC: each client's Initial opened once
       bench-tool send INTERFACE FILE SECONDS [FRAMES_A_SECOND]
       bench-tool receive INTERFACE SECONDS      a bare ring with a bare flow table";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.replace('_', "").parse::<u64>().unwrap_or(0);
    let done = match words.as_slice() {
        ["mix", out, office, copies] => captures::mix(out, office, number(copies)),
        ["tls", out, flows] => captures::tls(out, number(flows)),
        ["tiny", out, flows, frames] => captures::tiny(out, number(flows), number(frames)),
        ["quic", out, flows] => captures::quic(out, number(flows)),
        ["walk", file] => floor::walk(file),
        ["flow", file] => floor::flow(file, 0),
        ["flow", file, flows] => floor::flow(file, number(flows)),
        ["initials", file] => floor::initials(file),
        ["send", interface, file, seconds] => live::send(interface, file, number(seconds), 0),
        ["send", interface, file, seconds, rate] => {
            live::send(interface, file, number(seconds), number(rate))
        }
        ["receive", interface, seconds] => live::receive(interface, number(seconds)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-tool: {error}");
            ExitCode::FAILURE
        }
    }
}
