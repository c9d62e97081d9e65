//! The peer: one bare Unicorn engine whose user enters interrupt handlers by hand.
//!
//! Unicorn delivers no interrupts. What a user writes instead, in a hook or between two runs: five words pushed onto the
//! guest's stack, and the instruction pointer set. IRETQ is Unicorn's own.

use crate::Measured;
use crate::guests::Guest;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::devices::PhysAddr;
use fencepost::machine::{Machine, Settings};
use fencepost_tests::guest::{IDT, apic};
use iced_x86::Mnemonic;
use std::time::Instant;
use unicorn_engine::{Arch, Mode, Prot, RegisterX86, Unicorn};

/// Instructions between two interrupts of the timer, as the guest programs it.
const PERIOD: u64 = 1000;

/// An engine that has a guest before its loop.
pub(crate) struct Bare {
    engine: Unicorn<'static, Entries>,
    guest: Guest,
    start: u64,
}

/// How many handlers have been entered.
struct Entries(u64);

impl Bare {
    /// The state in which our own machine has come to the loop of `guest` goes on in bare Unicorn.
    pub(crate) fn new(guest: Guest) -> Bare {
        let mut machine = Machine::new(&guest.image(), Settings { cores: 1, ..Settings::default() }).expect("it fits");
        while !is_before_loop(&mut machine) {
            machine.apply(Choice::Run { core: CoreId(0), steps: 1, drained: true }).expect("the core runs");
        }
        let state = machine.state();
        let mut engine = Unicorn::new_with_data(Arch::X86, Mode::MODE_64, Entries(0)).expect("Unicorn opens");
        let ram = state.memory.ram_bytes();
        engine.mem_map(0, ram, Prot::ALL).expect("RAM maps");
        engine.mem_map(apic::BASE, 0x1000, Prot::ALL).expect("the place of the APIC maps");
        for (start, end) in [(0, 0xa0000), (0xc0000, ram)] {
            let bytes = state.memory.slice(PhysAddr(start), end - start).expect("this is RAM");
            engine.mem_write(start, bytes).expect("RAM is writable");
        }
        let cpu = &state.cores[0].cpu;
        engine.reg_write_long(RegisterX86::MSR, &pair(0xc000_0080, cpu.efer)).expect("EFER is writable");
        engine.reg_write_long(RegisterX86::GDTR, &table(cpu.gdt.base, cpu.gdt.limit)).expect("GDTR is writable");
        for (register, value) in [
            (RegisterX86::CR4, cpu.cr4),
            (RegisterX86::CR3, cpu.cr3),
            (RegisterX86::CR0, cpu.cr0),
            (RegisterX86::CS, 8),
            (RegisterX86::SS, 0x10),
            (RegisterX86::RSP, cpu.gpr[4]),
            (RegisterX86::RIP, cpu.rip),
        ] {
            engine.reg_write(register, value).expect("registers are writable");
        }
        engine.add_intr_hook(|engine, vector| enter(engine, vector.into())).expect("there is such a hook");
        Bare { engine, guest, start: cpu.rip }
    }

    /// About `steps` instructions, with the guest's interrupts.
    pub(crate) fn measure(&mut self, steps: u64) -> Measured {
        self.engine.get_data_mut().0 = 0;
        let started = Instant::now();
        let round = self.guest.instructions();
        if self.guest == Guest::Timer {
            // The core is not stopped in the midst of its loop: the peer is spared what that costs.
            for _ in 0..steps / PERIOD {
                self.run(PERIOD / round);
                enter(&mut self.engine, 0x41);
            }
        } else {
            self.run(steps / round);
        }
        let nanoseconds = started.elapsed().as_nanos() as f64;
        Measured { steps, interrupts: self.engine.get_data().0, nanoseconds }
    }

    /// Runs so many rounds of the loop, to its end, and is before it again.
    fn run(&mut self, rounds: u64) {
        let pc = self.engine.reg_read(RegisterX86::RIP).expect("RIP is readable");
        self.engine.reg_write(RegisterX86::RCX, rounds).expect("RCX is writable");
        self.engine.emu_start(pc, u64::MAX, 0, 0).expect("the loop runs to its HLT");
        self.engine.reg_write(RegisterX86::RIP, self.start).expect("RIP is writable");
    }
}

/// Whether core 0 has executed the PAUSE before its loop.
fn is_before_loop(machine: &mut Machine) -> bool {
    let pc = machine.linear_pc(CoreId(0));
    machine.instruction_at(CoreId(0), pc - 2).is_some_and(|before| before.mnemonic() == Mnemonic::Pause)
}

/// Enters the handler of `vector` as a processor does that stays at its privilege level (SDM 3A 6.14.2).
fn enter(engine: &mut Unicorn<'_, Entries>, vector: u64) {
    let read = |register| engine.reg_read(register).expect("registers are readable");
    let (rip, flags, rsp) = (read(RegisterX86::RIP), read(RegisterX86::EFLAGS), read(RegisterX86::RSP));
    let frame = (rsp & !15) - 40;
    let words = [rip, 8, flags, rsp, 0x10];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    engine.mem_write(frame, &bytes).expect("the stack is RAM");
    let mut gate = [0; 8];
    engine.mem_read(IDT + 16 * vector, &mut gate).expect("the IDT is RAM");
    let handler = u64::from_le_bytes([gate[0], gate[1], gate[6], gate[7], 0, 0, 0, 0]);
    for (register, value) in [(RegisterX86::RSP, frame), (RegisterX86::RIP, handler), (RegisterX86::EFLAGS, 2)] {
        engine.reg_write(register, value).expect("registers are writable");
    }
    engine.get_data_mut().0 += 1;
}

/// Unicorn's way to name a model-specific register: its number, then its value at offset 8.
fn pair(number: u32, value: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[8..].copy_from_slice(&value.to_le_bytes());
    bytes
}

/// Unicorn's way to write a table register: base at offset 8, limit at 16.
fn table(base: u64, limit: u32) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[8..16].copy_from_slice(&base.to_le_bytes());
    bytes[16..20].copy_from_slice(&limit.to_le_bytes());
    bytes
}
