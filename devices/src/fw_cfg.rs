//! QEMU's firmware configuration device, as far as guests ask it how large the machine is (QEMU, docs/specs/fw_cfg.rst,
//! "Guest-side Hardware Interface").
//!
//! A key is written to the selector and its value is then read byte by byte, least significant first; past its end there are
//! zeros. Left out: the DMA interface, and files (the directory is empty), so firmware has nothing to load from here.

use crate::{Device, Port, Region, Signal, Width};

/// The device, with what it says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FwCfg {
    cores: u16,
    memory_bytes: u64,
    key: u16,
    /// The next byte of the key's value.
    at: usize,
}

const SELECTOR: u64 = 0;
const DATA: u64 = 1;

const SIGNATURE: u16 = 0x00;
const INTERFACES: u16 = 0x01;
const RAM_SIZE: u16 = 0x03;
const NB_CPUS: u16 = 0x05;
const MAX_CPUS: u16 = 0x0f;
const FILE_DIR: u16 = 0x19;

/// The traditional interface, without DMA.
const TRADITIONAL: u32 = 1;

impl FwCfg {
    /// Selector and data.
    pub const REGIONS: &[Region] = &[Region::ports(Port(0x510), 2)];

    /// For a machine of so many cores and so much memory.
    pub fn new(cores: u16, memory_bytes: u64) -> FwCfg {
        FwCfg { cores, memory_bytes, key: SIGNATURE, at: 0 }
    }

    fn value(&self) -> Vec<u8> {
        match self.key {
            SIGNATURE => b"QEMU".to_vec(),
            INTERFACES => TRADITIONAL.to_le_bytes().to_vec(),
            RAM_SIZE => self.memory_bytes.to_le_bytes().to_vec(),
            NB_CPUS | MAX_CPUS => self.cores.to_le_bytes().to_vec(),
            // How many files there are, most significant byte first.
            FILE_DIR => 0u32.to_be_bytes().to_vec(),
            _ => Vec::new(),
        }
    }
}

impl Device for FwCfg {
    fn name(&self) -> &'static str {
        "fw_cfg"
    }

    fn register(&self, offset: u64) -> &'static str {
        if offset == SELECTOR { "SELECTOR" } else { "DATA" }
    }

    /// The data register gives one byte whatever the width; the selector cannot be read.
    fn read(&mut self, offset: u64, _width: Width) -> (u64, Vec<Signal>) {
        if offset != DATA {
            return (0, Vec::new());
        }
        let byte = self.value().get(self.at).copied().unwrap_or(0);
        self.at = self.at.saturating_add(1);
        (byte.into(), Vec::new())
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) -> Vec<Signal> {
        if offset == SELECTOR && width == Width::Word {
            let [low, high, ..] = value.to_le_bytes();
            (self.key, self.at) = (u16::from_le_bytes([low, high]), 0);
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use proptest::prelude::*;

    fn read(device: &mut FwCfg, key: u64, bytes: usize) -> Vec<u64> {
        device.write(SELECTOR, Width::Word, key);
        (0..bytes).map(|_| device.read(DATA, Width::Byte).0).collect()
    }

    #[test]
    fn a_value_is_read_byte_by_byte_and_ends_with_zeros() {
        let mut device = FwCfg::new(3, 0x1234_5678);
        assert_eq!(read(&mut device, 0x05, 4), [3, 0, 0, 0]);
        assert_eq!(read(&mut device, 0x03, 5), [0x78, 0x56, 0x34, 0x12, 0]);
        assert_eq!(read(&mut device, 0x00, 4), b"QEMU".map(u64::from));
        assert_eq!(read(&mut device, 0x99, 2), [0, 0]);
    }

    #[test]
    fn a_key_selected_again_begins_anew() {
        let mut device = FwCfg::new(2, 0);
        read(&mut device, 0x00, 2);
        assert_eq!(read(&mut device, 0x00, 1), [u64::from(b'Q')]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(fuzz::cases()))]
        #[test]
        fn any_guest_is_stood(run in fuzz::runs(2, &[0, 1, 3, 5, 0xf, 0x19])) {
            fuzz::check(FwCfg::new(2, 1 << 20), &run, |_, _| Vec::new());
        }
    }
}
