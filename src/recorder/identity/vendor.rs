//! Who made a device, by the block of link addresses that IEEE gave to its maker.
//!
//! In: a link address. Out: the organisation, as the registry writes it.
//! Never: guesses at an address that was made up: those of privacy features say nothing.
//! Source: IEEE registries MA-L, MA-M and MA-S, as the crate `oui-data` carries them.

use crate::types::MacAddr;

/// The maker of a device with this link address.
pub fn vendor(mac: MacAddr) -> Option<&'static str> {
    if mac.is_local() || mac.is_group() || mac.is_zero() {
        return None;
    }
    let [a, b, c, d, e, f] = mac.0;
    let found = oui_data::lookup(&format!("{a:02X}{b:02X}{c:02X}{d:02X}{e:02X}{f:02X}"))?;
    Some(found.organization()).filter(|name| !name.is_empty() && *name != PRIVATE)
}

/// What the registry writes for those who do not want to be named.
const PRIVATE: &str = "Private";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makers_of_blocks_of_each_size() {
        let table = [
            ("24 bits", [0, 0, 0, 1, 2, 3], Some("XEROX CORPORATION")),
            ("28 bits", [0xb8, 0x4c, 0x87, 0x40, 0, 1], Some("Blum Novotest GmbH")),
            ("made up by the device", [2, 0, 0, 1, 2, 3], None),
            ("a group", [1, 0, 0x5e, 0, 0, 1], None),
            ("none", [0; 6], None),
        ];
        for (name, mac, expected) in table {
            assert_eq!(vendor(MacAddr(mac)), expected, "{name}");
        }
    }
}
