//! QEMU's `pc-testdev`, with which the tests of processors and hypervisors make their own interrupts (QEMU,
//! hw/misc/pc-testdev.c; kvm-unit-tests, lib/x86).
//!
//! A port for each interrupt line drives it: 0 lowers it, anything else raises it. Four more ports are a register that
//! remembers what is written, and a stretch of physical memory remembers likewise, so that accesses of every width can be
//! checked. Left out: the ports that make QEMU forget a page of its own memory do nothing here.
//! False on hardware: no real PC has it.

use std::collections::BTreeMap;

use crate::{Device, Irq, PhysAddr, Port, Region, Signal, Width};

/// The device.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct PcTestdev {
    register: u32,
    /// Bytes of the memory that are not zero.
    memory: BTreeMap<u64, u8>,
}

/// Where each part begins in the offsets that the device is told.
const REGISTER: u64 = 0;
const FLUSH: u64 = 4;
const LINES: u64 = 0x10;
const LINE_COUNT: u64 = 16;
const MEMORY: u64 = 0x1_0000;
const MEMORY_BYTES: u64 = 0x1_0000;

impl PcTestdev {
    /// The register and the port beside it, the lines, and the memory.
    pub const REGIONS: &[Region] = &[
        Region::ports(Port(0xe0), 4).at_offset(REGISTER),
        Region::ports(Port(0xe4), 4).at_offset(FLUSH),
        Region::ports(Port(0x2000), LINE_COUNT).at_offset(LINES),
        Region::memory(PhysAddr(0xff00_0000), MEMORY_BYTES).at_offset(MEMORY),
    ];

    fn read_memory(&self, offset: u64, width: Width) -> u64 {
        let byte = |at: u64| u64::from(self.memory.get(&(offset + at)).copied().unwrap_or(0));
        (0..width.bytes()).map(|at| byte(at) << (8 * at)).sum()
    }

    fn write_memory(&mut self, offset: u64, width: Width, value: u64) {
        for (at, byte) in (offset..).zip(value.to_le_bytes()).take(width.bytes() as usize) {
            if byte == 0 {
                self.memory.remove(&at);
            } else {
                self.memory.insert(at, byte);
            }
        }
    }

    /// Changes as much of the register as the access covers.
    fn write_register(&mut self, offset: u64, width: Width, value: u64) {
        let shift = 8 * offset;
        let mask = width.mask() << shift;
        let register = u64::from(self.register) & !mask | value << shift & mask;
        self.register = (register & 0xffff_ffff) as u32;
    }
}

impl Device for PcTestdev {
    fn name(&self) -> &'static str {
        "testdev"
    }

    fn register(&self, offset: u64) -> &'static str {
        match offset {
            REGISTER..FLUSH => "REGISTER",
            FLUSH..LINES => "FLUSH",
            LINES..MEMORY => "IRQ_LINE",
            _ => "MEMORY",
        }
    }

    /// A wider write to a line is one to each of the lines that it covers.
    fn widest(&self) -> Width {
        Width::Byte
    }

    fn read(&mut self, offset: u64, width: Width) -> (u64, Vec<Signal>) {
        let value = match offset {
            REGISTER..FLUSH => u64::from(self.register) >> (8 * offset),
            FLUSH..MEMORY => 0,
            _ if offset - MEMORY < MEMORY_BYTES => self.read_memory(offset - MEMORY, width),
            _ => 0,
        };
        (value & width.mask(), Vec::new())
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) -> Vec<Signal> {
        match offset {
            REGISTER..FLUSH => self.write_register(offset, width, value),
            LINES..MEMORY if offset - LINES < LINE_COUNT => {
                let [line, ..] = (offset - LINES).to_le_bytes();
                let irq = Irq(line);
                return vec![if value == 0 { Signal::LowerIrq(irq) } else { Signal::RaiseIrq(irq) }];
            }
            FLUSH..MEMORY => (),
            _ if offset - MEMORY < MEMORY_BYTES => self.write_memory(offset - MEMORY, width, value),
            _ => (),
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use proptest::prelude::*;

    #[test]
    fn a_line_follows_what_is_written() {
        let mut device = PcTestdev::default();
        assert_eq!(device.write(LINES + 14, Width::Byte, 1), [Signal::RaiseIrq(Irq(14))]);
        assert_eq!(device.write(LINES + 14, Width::Byte, 0), [Signal::LowerIrq(Irq(14))]);
    }

    #[test]
    fn the_register_and_the_memory_keep_what_any_width_writes() {
        for at in [REGISTER, MEMORY + 0x40] {
            let mut device = PcTestdev::default();
            device.write(at, Width::Dword, 0x1122_3344);
            device.write(at + 1, Width::Byte, 0xaa);
            assert_eq!(device.read(at, Width::Dword).0, 0x1122_aa44);
            assert_eq!(device.read(at + 2, Width::Word).0, 0x1122);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(fuzz::cases()))]
        #[test]
        fn any_guest_is_stood(run in fuzz::runs(0x2_0000, &[0, 1])) {
            // The same line may be raised twice, which the common check takes for a mistake.
            let mut device = PcTestdev::default();
            for step in run {
                match step {
                    fuzz::Step::Read { offset, width } => _ = device.read(offset, width),
                    fuzz::Step::Write { offset, width, value } => _ = device.write(offset, width, value),
                    fuzz::Step::Host(_) | fuzz::Step::Wait { .. } | fuzz::Step::WaitForEvent => (),
                }
            }
        }
    }
}
