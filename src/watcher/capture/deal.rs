//! Which worker a frame is for: by the innermost flow, both directions alike.
//!
//! In: the flow key of a packet, or (as a program for the kernel) a frame. Out: a shard number.
//! Never: decides alone: what the kernel's program cannot read comes to some worker, which hands
//! it to the owner. The program saves that copy, nothing else depends on it.
//! Limits: the kernel's program looks through one VLAN tag inside the outer one, three MPLS labels
//! and two tunnels.
//! Source: bpf(4) for the instructions; Linux `Documentation/networking/filter.rst` for the
//! extensions; headers as in `decode/wrapped.rs`.

use crate::watcher::packet::FlowKey;

/// Shards dealt: [`crate::watcher::flow::SHARDS`].
const SHARDS: u32 = 16;

/// Upper bits that name one of them.
const SHARD_BITS: u32 = 4;

/// One instruction of classic BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if true.
    pub jt: u8,
    /// Instructions to skip if not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

impl Instruction {
    /// Keeps nothing of the frame.
    pub const RETURN_NONE: Instruction = Instruction { code: op::RET, jt: 0, jf: 0, k: 0 };
}

/// Multipliers of the hash, random in each run so that nobody can aim at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Deal {
    factors: [u32; 5],
}

impl Deal {
    /// From random numbers.
    pub fn new(random: [u32; 5]) -> Self {
        // Odd, so that no bit of the input is lost.
        Self { factors: random.map(|f| f | 1) }
    }

    /// The shard of a flow.
    #[inline]
    pub fn shard(&self, key: &FlowKey, ports: bool) -> u32 {
        let (a, b) = (self.address(&key.lo, key.v6), self.address(&key.hi, key.v6));
        let both = if ports { u32::from(key.lo_port).wrapping_add(key.hi_port.into()) } else { 0 };
        let [_, low, high, port, mix] = self.factors;
        let h = a.min(b).wrapping_mul(low);
        let h = h.wrapping_add(a.max(b).wrapping_mul(high));
        let h = h.wrapping_add(both.wrapping_mul(port));
        (h ^ (h >> 16)).wrapping_mul(mix) >> (32_u32.wrapping_sub(SHARD_BITS))
    }

    #[inline]
    fn address(&self, octets: &[u8; 16], v6: bool) -> u32 {
        let [fold, ..] = self.factors;
        let &[a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = octets;
        let last = u32::from_be_bytes([d0, d1, d2, d3]);
        if !v6 {
            return last;
        }
        let words = [[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3]];
        words
            .into_iter()
            .fold(0_u32, |sum, w| sum.wrapping_add(u32::from_be_bytes(w)).wrapping_mul(fold))
            .wrapping_add(last)
    }

    /// The same for the kernel: the shard of a frame modulo `workers`.
    pub fn program(&self, workers: usize) -> Vec<Instruction> {
        let workers = u32::try_from(workers).unwrap_or(SHARDS).clamp(1, SHARDS);
        let mut asm = Assembler::default();
        let ends = Ends { hash: asm.label(), stop: asm.label() };
        let inner: Vec<Label> = (0..=TUNNELS).map(|_| asm.label()).collect();
        // The type behind the outer tag, which the kernel took off already.
        asm.op(op::LD_W_ABS, special(libc::SKF_AD_PROTOCOL));
        asm.op(op::LDX_IMM, 0);
        for depth in 0..=TUNNELS {
            let Some(&here) = inner.get(depth) else { break };
            asm.place(here);
            self.network(&mut asm, inner.get(depth.wrapping_add(1)).copied(), ends);
        }
        asm.place(ends.hash);
        self.finish(&mut asm, workers);
        asm.place(ends.stop);
        asm.op(op::RET, 0);
        asm.build()
    }

    /// The network layer at X, whose type is in A.
    fn network(&self, asm: &mut Assembler, inner: Option<Label>, ends: Ends) {
        let (v4, v6, tag, mpls, again) =
            (asm.label(), asm.label(), asm.label(), asm.label(), asm.label());
        asm.place(again);
        for (kind, to) in [(0x0800, v4), (0x86dd, v6)] {
            asm.jump_if_equal(kind, to);
        }
        for kind in [0x8100, 0x88a8] {
            asm.jump_if_equal(kind, tag);
        }
        asm.jump_if_equal(0x8847, mpls);
        asm.jump(ends.stop);

        // One tag inside the outer one; jumps only go forward, so the choice stands again.
        asm.place(tag);
        asm.load_half(2);
        asm.op(op::ST, slot::KIND);
        asm.advance(4);
        asm.op(op::LD_MEM, slot::KIND);
        for (kind, to) in [(0x0800, v4), (0x86dd, v6), (0x8847, mpls)] {
            asm.jump_if_equal(kind, to);
        }
        asm.jump(ends.stop);

        asm.place(mpls);
        let ip = asm.label();
        for _ in 0..3 {
            let next = asm.label();
            // Bottom of the stack: bit 0 of the third octet (RFC 3032 §2.1).
            asm.load_byte(2);
            asm.op(op::AND, 1);
            asm.op(op::ST, slot::KIND);
            asm.advance(4);
            asm.op(op::LD_MEM, slot::KIND);
            asm.jump_if_equal(0, next);
            asm.jump(ip);
            asm.place(next);
        }
        asm.jump(ends.stop);
        asm.place(ip);
        asm.load_byte(0);
        asm.op(op::RSH, 4);
        asm.jump_if_equal(4, v4);
        asm.jump_if_equal(6, v6);
        asm.jump(ends.stop);

        asm.place(v4);
        self.ipv4(asm, inner, ends);
        asm.place(v6);
        self.ipv6(asm, inner, ends);
    }

    fn ipv4(&self, asm: &mut Assembler, inner: Option<Label>, ends: Ends) {
        asm.load_word(12);
        asm.op(op::ST, slot::A);
        asm.load_word(16);
        asm.op(op::ST, slot::B);
        asm.op(op::LD_IMM, 0);
        asm.op(op::ST, slot::PORTS);
        // A fragment has no ports, nor may the first one use its own.
        asm.load_half(6);
        asm.op(op::AND, 0x3fff);
        let whole = asm.label();
        asm.jump_if_equal(0, whole);
        asm.jump(ends.hash);
        asm.place(whole);
        asm.load_byte(9);
        asm.op(op::ST, slot::KIND);
        asm.load_byte(0);
        asm.op(op::AND, 0x0f);
        asm.op(op::LSH, 2);
        asm.op(op::ADD_X, 0);
        asm.op(op::TAX, 0);
        self.transport(asm, inner, ends);
    }

    fn ipv6(&self, asm: &mut Assembler, inner: Option<Label>, ends: Ends) {
        let [fold, ..] = self.factors;
        for (first, to) in [(8, slot::A), (24, slot::B)] {
            asm.op(op::LD_IMM, 0);
            asm.op(op::ST, to);
            for word in 0..3_u32 {
                asm.load_word(word.wrapping_mul(4).wrapping_add(first));
                asm.add_from(to);
                asm.op(op::MUL, fold);
                asm.op(op::ST, to);
            }
            asm.load_word(first.wrapping_add(12));
            asm.add_from(to);
            asm.op(op::ST, to);
        }
        asm.op(op::LD_IMM, 0);
        asm.op(op::ST, slot::PORTS);
        asm.load_byte(6);
        asm.op(op::ST, slot::KIND);
        asm.advance(40);
        self.transport(asm, inner, ends);
    }

    /// The transport at X, whose protocol is in [`slot::KIND`]; tunnels lead further in.
    fn transport(&self, asm: &mut Assembler, inner: Option<Label>, ends: Ends) {
        let (tcp, udp, gre, four, six) =
            (asm.label(), asm.label(), asm.label(), asm.label(), asm.label());
        asm.op(op::LD_MEM, slot::KIND);
        asm.jump_if_equal(6, tcp);
        asm.jump_if_equal(17, udp);
        if inner.is_some() {
            for (protocol, to) in [(47, gre), (4, four), (41, six)] {
                asm.jump_if_equal(protocol, to);
            }
        }
        asm.jump(ends.hash);

        if let Some(inner) = inner {
            for (place, kind) in [(four, 0x0800), (six, 0x86dd)] {
                asm.place(place);
                asm.op(op::LD_IMM, kind);
                asm.jump(inner);
            }
            asm.place(gre);
            generic(asm, inner, ends);
        }
        asm.place(udp);
        if let Some(inner) = inner {
            let (vxlan, geneve) = (asm.label(), asm.label());
            asm.load_half(2);
            for (port, to) in [(4789, vxlan), (8472, vxlan), (6081, geneve)] {
                asm.jump_if_equal(port, to);
            }
            asm.jump(tcp);
            asm.place(geneve);
            // Options in units of four octets (RFC 8926 §3.4).
            asm.load_byte(8);
            asm.op(op::AND, 0x3f);
            asm.op(op::LSH, 2);
            asm.op(op::ADD_X, 0);
            asm.op(op::TAX, 0);
            asm.place(vxlan);
            // Eight octets of UDP, eight of the tunnel, then Ethernet.
            asm.load_half(8 + 8 + 12);
            asm.op(op::ST, slot::KIND);
            asm.advance(8 + 8 + 14);
            asm.op(op::LD_MEM, slot::KIND);
            asm.jump(inner);
        }
        asm.place(tcp);
        asm.load_half(0);
        asm.op(op::ST, slot::PORTS);
        asm.load_half(2);
        asm.add_from(slot::PORTS);
        asm.op(op::ST, slot::PORTS);
        asm.jump(ends.hash);
    }

    /// From addresses and ports to the worker.
    fn finish(&self, asm: &mut Assembler, workers: u32) {
        let [_, low, high, port, mix] = self.factors;
        let ordered = asm.label();
        // The lower address first.
        asm.op(op::LDX_MEM, slot::B);
        asm.op(op::LD_MEM, slot::A);
        let swap = asm.label();
        asm.jump_if_greater_x(swap);
        asm.jump(ordered);
        asm.place(swap);
        asm.op(op::STX, slot::A);
        asm.op(op::ST, slot::B);
        asm.place(ordered);
        asm.op(op::LD_MEM, slot::A);
        asm.op(op::MUL, low);
        asm.op(op::ST, slot::A);
        asm.op(op::LD_MEM, slot::B);
        asm.op(op::MUL, high);
        asm.add_from(slot::A);
        asm.op(op::ST, slot::A);
        asm.op(op::LD_MEM, slot::PORTS);
        asm.op(op::MUL, port);
        asm.add_from(slot::A);
        asm.op(op::TAX, 0);
        asm.op(op::RSH, 16);
        asm.op(op::XOR_X, 0);
        asm.op(op::MUL, mix);
        asm.op(op::RSH, 32_u32.wrapping_sub(SHARD_BITS));
        asm.op(op::MOD, workers);
        asm.op(op::RET_A, 0);
    }
}

/// Tunnels within one another that the kernel's program looks through.
const TUNNELS: usize = 2;

/// GRE (RFC 2784, RFC 2890), with Ethernet, IP or ERSPAN in it.
fn generic(asm: &mut Assembler, inner: Label, ends: Ends) {
    // Version 1 is PPTP, which only the decoder reads; so are routing headers.
    asm.load_half(0);
    asm.op(op::AND, 0x4007);
    let version_0 = asm.label();
    asm.jump_if_equal(0, version_0);
    asm.jump(ends.hash);
    asm.place(version_0);
    asm.load_half(2);
    asm.op(op::ST, slot::KIND);
    // Checksum, key and sequence number take four octets each.
    asm.load_half(0);
    asm.op(op::ST, slot::FLAGS);
    asm.advance(4);
    for bit in [0x8000, 0x2000, 0x1000] {
        let without = asm.label();
        asm.op(op::LD_MEM, slot::FLAGS);
        asm.op(op::AND, bit);
        asm.jump_if_equal(0, without);
        asm.advance(4);
        asm.place(without);
    }
    let (ethernet, second, third) = (asm.label(), asm.label(), asm.label());
    asm.op(op::LD_MEM, slot::KIND);
    asm.jump_if_equal(0x6558, ethernet);
    asm.jump_if_equal(0x88be, second);
    asm.jump_if_equal(0x22eb, third);
    asm.jump(inner);
    asm.place(second);
    // ERSPAN type II has a sequence number and eight octets, type I neither.
    asm.op(op::LD_MEM, slot::FLAGS);
    asm.op(op::AND, 0x1000);
    asm.jump_if_equal(0, ethernet);
    asm.advance(8);
    asm.jump(ethernet);
    asm.place(third);
    // Type III has twelve, and eight more if its last bit says so.
    asm.load_byte(11);
    asm.op(op::AND, 1);
    asm.op(op::LSH, 3);
    asm.op(op::ADD_X, 0);
    asm.op(op::TAX, 0);
    asm.advance(12);
    asm.place(ethernet);
    asm.load_half(12);
    asm.op(op::ST, slot::KIND);
    asm.advance(14);
    asm.op(op::LD_MEM, slot::KIND);
    asm.jump(inner);
}

/// Where the program's parts end.
#[derive(Clone, Copy)]
struct Ends {
    /// Addresses and ports are known.
    hash: Label,
    /// Nothing that could be dealt by flow: the first worker has it.
    stop: Label,
}

/// Scratch memory.
mod slot {
    pub const A: u32 = 0;
    pub const B: u32 = 1;
    pub const PORTS: u32 = 2;
    pub const KIND: u32 = 3;
    pub const FLAGS: u32 = 4;
    pub const X: u32 = 5;
}

/// Operations (bpf(4)).
mod op {
    pub const LD_W_ABS: u16 = 0x20;
    pub const LD_W_IND: u16 = 0x40;
    pub const LD_H_IND: u16 = 0x48;
    pub const LD_B_IND: u16 = 0x50;
    pub const LD_IMM: u16 = 0x00;
    pub const LD_MEM: u16 = 0x60;
    pub const LDX_IMM: u16 = 0x01;
    pub const LDX_MEM: u16 = 0x61;
    pub const ST: u16 = 0x02;
    pub const STX: u16 = 0x03;
    pub const ADD: u16 = 0x04;
    pub const ADD_X: u16 = 0x0c;
    pub const MUL: u16 = 0x24;
    pub const AND: u16 = 0x54;
    pub const LSH: u16 = 0x64;
    pub const RSH: u16 = 0x74;
    pub const MOD: u16 = 0x94;
    pub const XOR_X: u16 = 0xac;
    pub const JA: u16 = 0x05;
    pub const JEQ: u16 = 0x15;
    pub const JGT_X: u16 = 0x2d;
    pub const RET: u16 = 0x06;
    pub const RET_A: u16 = 0x16;
    pub const TAX: u16 = 0x07;
    pub const TXA: u16 = 0x87;
}

/// Address of an ancillary datum of the kernel's.
fn special(which: i32) -> u32 {
    libc::SKF_AD_OFF.wrapping_add(which).cast_unsigned()
}

/// Address of octet `at` behind the link header.
fn network(at: u32) -> u32 {
    libc::SKF_NET_OFF.cast_unsigned().wrapping_add(at)
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Label(usize);

/// Instructions with labels; jumps go forward only, as the kernel demands.
#[derive(Default)]
struct Assembler {
    code: Vec<(Instruction, Option<Label>)>,
    places: Vec<Option<usize>>,
}

impl Assembler {
    fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len().wrapping_sub(1))
    }

    fn place(&mut self, label: Label) {
        let here = self.code.len();
        if let Some(place) = self.places.get_mut(label.0) {
            *place = Some(here);
        }
    }

    fn op(&mut self, code: u16, k: u32) {
        self.code.push((Instruction { code, jt: 0, jf: 0, k }, None));
    }

    fn jump(&mut self, to: Label) {
        self.code.push((Instruction { code: op::JA, jt: 0, jf: 0, k: 0 }, Some(to)));
    }

    /// Conditional jumps reach 255 instructions, so that each goes over an unconditional one.
    fn jump_if_equal(&mut self, value: u32, to: Label) {
        self.code.push((Instruction { code: op::JEQ, jt: 0, jf: 1, k: value }, None));
        self.jump(to);
    }

    fn jump_if_greater_x(&mut self, to: Label) {
        self.code.push((Instruction { code: op::JGT_X, jt: 0, jf: 1, k: 0 }, None));
        self.jump(to);
    }

    fn load_byte(&mut self, at: u32) {
        self.op(op::LD_B_IND, network(at));
    }

    fn load_half(&mut self, at: u32) {
        self.op(op::LD_H_IND, network(at));
    }

    fn load_word(&mut self, at: u32) {
        self.op(op::LD_W_IND, network(at));
    }

    fn advance(&mut self, by: u32) {
        self.op(op::TXA, 0);
        self.op(op::ADD, by);
        self.op(op::TAX, 0);
    }

    /// Adds scratch memory to A, and keeps X.
    fn add_from(&mut self, from: u32) {
        self.op(op::STX, slot::X);
        self.op(op::LDX_MEM, from);
        self.op(op::ADD_X, 0);
        self.op(op::LDX_MEM, slot::X);
    }

    fn build(self) -> Vec<Instruction> {
        let Assembler { code, places } = self;
        let resolve = |(at, (instruction, to)): (usize, (Instruction, Option<Label>))| {
            let to = to.and_then(|l| places.get(l.0).copied().flatten());
            let Some(to) = to else { return instruction };
            let skip = to.wrapping_sub(at).wrapping_sub(1);
            Instruction { k: u32::try_from(skip).unwrap_or(0), ..instruction }
        };
        code.into_iter().enumerate().map(resolve).collect()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests may overflow and fail")]
mod tests {
    use super::*;
    use crate::types::Realm;
    use crate::watcher::packet::octets_of;

    /// What the kernel does with a program: `kind` is the type behind the outer tag.
    fn run(program: &[Instruction], kind: u32, packet: &[u8]) -> u32 {
        let (mut a, mut x, mut memory, mut at) = (0_u32, 0_u32, [0_u32; 16], 0_usize);
        let load = |at: u32, len: usize| -> Option<u32> {
            let at = at.wrapping_sub(network(0)) as usize;
            let octets = packet.get(at..at + len)?;
            Some(octets.iter().fold(0, |n, &o| n << 8 | u32::from(o)))
        };
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            let memory_at = k as usize & 15;
            at += 1;
            match code {
                op::LD_W_ABS => a = kind,
                op::LD_W_IND | op::LD_H_IND | op::LD_B_IND => {
                    let len = [4, 0, 2, 0, 1][usize::from((code - op::LD_W_IND) / 4)];
                    let Some(value) = load(k.wrapping_add(x), len) else { return 0 };
                    a = value;
                }
                op::LD_IMM => a = k,
                op::LD_MEM => a = memory[memory_at],
                op::LDX_IMM => x = k,
                op::LDX_MEM => x = memory[memory_at],
                op::ST => memory[memory_at] = a,
                op::STX => memory[memory_at] = x,
                op::ADD => a = a.wrapping_add(k),
                op::ADD_X => a = a.wrapping_add(x),
                op::MUL => a = a.wrapping_mul(k),
                op::AND => a &= k,
                op::LSH => a <<= k,
                op::RSH => a >>= k,
                op::MOD => a %= k,
                op::XOR_X => a ^= x,
                op::JA => at += k as usize,
                op::JEQ => at += usize::from(if a == k { jt } else { jf }),
                op::JGT_X => at += usize::from(if a > x { jt } else { jf }),
                op::RET => return k,
                op::RET_A => return a,
                op::TAX => x = a,
                op::TXA => a = x,
                other => panic!("operation {other:#x}"),
            }
        }
    }

    fn ipv4(protocol: u8, src: [u8; 4], dst: [u8; 4], rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(20 + rest.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, protocol, 0, 0];
        packet.extend(src);
        packet.extend(dst);
        packet.extend(rest);
        packet
    }

    fn ipv6(protocol: u8, src: [u8; 16], dst: [u8; 16], rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x60, 0, 0, 0, len[0], len[1], protocol, 64];
        packet.extend(src);
        packet.extend(dst);
        packet.extend(rest);
        packet
    }

    fn ports(from: u16, to: u16) -> Vec<u8> {
        [from.to_be_bytes(), to.to_be_bytes(), [0; 2], [0; 2]].concat()
    }

    fn ethernet(kind: u16, rest: &[u8]) -> Vec<u8> {
        [[2; 12].as_slice(), &kind.to_be_bytes(), rest].concat()
    }

    const A: [u8; 4] = [10, 0, 0, 7];
    const B: [u8; 4] = [203, 0, 113, 9];
    const HOSTS: [[u8; 4]; 2] = [[192, 0, 2, 1], [192, 0, 2, 2]];

    fn shard_of(deal: Deal, src: &str, dst: &str, from: u16, to: u16, v6: bool) -> u32 {
        let side = |text: &str, port| (octets_of(text.parse().expect("address")), port);
        let (key, _) = FlowKey::new(Realm(0), 6, side(src, from), side(dst, to), v6);
        deal.shard(&key, true)
    }

    #[test]
    fn the_kernel_deals_as_we_do_whatever_is_wrapped_around() {
        let deal = Deal::new([0x1357_9bdf, 0x2468_ace0, 0xdead_beef, 0x0bad_cafe, 0x9e37_79b9]);
        let program = deal.program(16);
        assert!(program.len() < 4096, "{} instructions", program.len());
        for n in 0..64_u16 {
            let (from, to) = (40_000 + n, 443);
            let there = ipv4(6, A, B, &ports(from, to));
            let back = ipv4(6, B, A, &ports(to, from));
            let want = shard_of(deal, "10.0.0.7", "203.0.113.9", from, to, false);
            let udp = |port: u16, rest: &[u8]| {
                let datagram = [ports(9, port), rest.to_vec()].concat();
                ipv4(17, HOSTS[0], HOSTS[1], &datagram)
            };
            let gre = |flags: u16, kind: u16, rest: &[u8]| {
                let head = [flags.to_be_bytes(), kind.to_be_bytes()].concat();
                ipv4(47, HOSTS[0], HOSTS[1], &[head, rest.to_vec()].concat())
            };
            let frame = ethernet(0x0800, &there);
            let vxlan = udp(4789, &[&[8, 0, 0, 0, 0, 0, 7, 0], frame.as_slice()].concat());
            let cases = [
                ("plain", 0x0800, there.clone()),
                ("answer", 0x0800, back.clone()),
                ("QinQ", 0x8100, [&[0, 7, 8, 0], there.as_slice()].concat()),
                ("MPLS", 0x8847, [&[0, 1, 0, 9, 0, 2, 1, 9], there.as_slice()].concat()),
                ("VXLAN", 0x0800, vxlan.clone()),
                ("IPv4 in IPv4", 0x0800, ipv4(4, HOSTS[0], HOSTS[1], &back)),
                ("GRE", 0x0800, gre(0, 0x0800, &there)),
                ("GRE with key", 0x0800, gre(0x2000, 0x0800, &[&[0; 4], back.as_slice()].concat())),
                ("ERSPAN I", 0x0800, gre(0, 0x88be, &frame)),
                (
                    "ERSPAN II",
                    0x0800,
                    gre(0x1000, 0x88be, &[&[0; 4 + 8], frame.as_slice()].concat()),
                ),
                (
                    "ERSPAN III",
                    0x0800,
                    gre(0x1000, 0x22eb, &[&[0; 4 + 12], frame.as_slice()].concat()),
                ),
                (
                    "GENEVE with options",
                    0x0800,
                    udp(
                        6081,
                        &[&[2, 0, 0x65, 0x58, 0, 0, 1, 0, 1, 1, 1, 1, 2, 2, 2, 2], &frame[..]]
                            .concat(),
                    ),
                ),
                ("VXLAN in GRE", 0x0800, gre(0, 0x6558, &ethernet(0x0800, &vxlan))),
            ];
            for (name, kind, packet) in cases {
                assert_eq!(run(&program, kind, &packet), want, "{name}");
            }
        }
    }

    #[test]
    fn ipv6_is_dealt_alike() {
        let deal = Deal::new([0x85eb_ca6b, 0x1357_9bdf, 0xc2b2_ae35, 0x27d4_eb2f, 0x9e37_79b9]);
        let program = deal.program(16);
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..64_u16 {
            let (src, dst) = (format!("2001:db8::{n:x}"), "2001:db8:1::9");
            let octets = |text: &str| octets_of(text.parse().expect("address"));
            let packet = ipv6(6, octets(&src), octets(dst), &ports(50_000, 443));
            let want = shard_of(deal, &src, dst, 50_000, 443, true);
            assert_eq!(run(&program, 0x86dd, &packet), want, "{src}");
            seen.insert(want);
        }
        assert!(seen.len() > 4, "flows spread: {seen:?}");
    }

    #[test]
    fn what_is_no_flow_goes_to_the_first_worker() {
        let program = Deal::new([1, 2, 3, 4, 5]).program(2);
        for (name, kind, packet) in [
            ("ARP", 0x0806, vec![0; 28]),
            ("nothing", 0x0800, vec![]),
            ("cut off", 0x0800, vec![0x45, 0, 0, 20, 0, 0]),
        ] {
            assert_eq!(run(&program, kind, &packet), 0, "{name}");
        }
        let mut fragment = ipv4(17, A, B, &ports(1, 2));
        fragment[6] = 0x20;
        let mut last = ipv4(17, A, B, &ports(3, 4));
        last[7] = 1;
        assert_eq!(run(&program, 0x0800, &fragment), run(&program, 0x0800, &last));
    }
}
