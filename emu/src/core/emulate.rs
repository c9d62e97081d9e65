//! Instructions that the machine executes itself, because the engine would ask the host or gets them wrong: time, randomness,
//! identity, ports, system calls, and invalid opcodes that it would execute.

mod control;
pub(crate) mod msr;
pub(super) mod privilege;
mod system_call;

use super::cpu_state::{CpuState, gpr};
use super::decode::Class;
use super::engine::Engines;
use super::interruption::{Exception, vector};
use super::paging::Mode;
use super::run::World;
use super::tlb::Lost;
use super::{Activity, Core, CoreId, cpuid};
use crate::trace::Event;
use fencepost_devices::Width;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

/// Carry, and the flags that RDRAND clears: OF, SF, ZF, AF, PF (SDM 2B, RDRAND).
const CARRY: u64 = 1;
const RDRAND_CLEARS: u64 = 1 << 11 | 1 << 7 | 1 << 6 | 1 << 4 | 1 << 2;

/// The core whose next instruction is to be executed here; its registers are seated in its precise engine.
pub(crate) struct Emulation<'a> {
    pub(crate) id: CoreId,
    pub(crate) core: &'a mut Core,
    pub(crate) engines: &'a mut Engines,
}

impl Emulation<'_> {
    /// Executes `instruction`, which is the core's next and of `class`.
    ///
    /// It comes from whoever saw the core's own view of memory: the bytes may still be in the core's store buffer.
    pub(crate) fn execute(self, class: Class, instruction: &Instruction, world: &mut World) -> Result<(), Exception> {
        self.engines.save(&mut self.core.cpu);
        let cpu = &self.core.cpu;
        match class {
            Class::PortIo => {
                let (port, width) = port_of(instruction, cpu);
                privilege::check_port(cpu, world.memory, port, width.bytes())?;
            }
            Class::TimeStamp => privilege::check_time_stamp(cpu)?,
            Class::Halt | Class::TaskPriority => privilege::check_supervisor(cpu)?,
            _ => (),
        }
        match class {
            Class::PortIo => self.port_io(instruction, world),
            Class::CpuId => self.cpu_id(instruction, world),
            Class::TimeStamp => self.time_stamp(instruction),
            Class::Random => self.random(instruction),
            Class::Halt => self.halt(instruction, world),
            Class::TaskPriority => self.task_priority(instruction, world)?,
            Class::StatusWord => self.status_word(instruction),
            Class::ControlRegister => self.control_register(instruction)?,
            Class::ReadMsr => self.read_msr(instruction, world)?,
            Class::WriteMsr => self.write_msr(instruction, world)?,
            Class::SystemCall => self.system_call(instruction)?,
            Class::Absent => return Err(Exception::new(vector::INVALID_OPCODE, 0)),
            _ => unreachable!("{class:?} is executed by the engine"),
        }
        Ok(())
    }

    /// Changes the registers and goes on after `instruction`.
    fn complete(self, instruction: &Instruction, change: impl FnOnce(&mut CpuState)) {
        self.engines.change(|cpu| {
            change(cpu);
            cpu.interrupt_shadow = 0;
            cpu.rip = cpu.rip.wrapping_add(instruction.len() as u64);
        });
    }

    fn port_io(self, instruction: &Instruction, world: &mut World) {
        let is_input = instruction.mnemonic() == Mnemonic::In;
        let register = instruction.op_register(if is_input { 0 } else { 1 });
        let (port, width) = port_of(instruction, &self.core.cpu);
        let (id, value) = (self.id, self.core.cpu.gpr[gpr::RAX] & width.mask());
        if is_input {
            let value = world.with_board(|board, around| board.port_in(id, port, width, around));
            self.complete(instruction, |cpu| write_register(cpu, register, value));
        } else {
            world.with_board(|board, around| board.port_out(id, port, width, value, around));
            self.complete(instruction, |_| ());
        }
    }

    fn cpu_id(self, instruction: &Instruction, world: &World) {
        let cores = world.settings.cores;
        let (eax, ecx) = (self.core.cpu.gpr[gpr::RAX] as u32, self.core.cpu.gpr[gpr::RCX] as u32);
        let mut leaf = cpuid::leaf(eax, ecx, self.id, cores);
        if eax == 1 && !world.board.interrupts().is_on(self.id) {
            leaf[3] &= !cpuid::APIC;
        }
        let [a, b, c, d] = leaf.map(u64::from);
        self.complete(instruction, |cpu| {
            cpu.gpr[gpr::RAX] = a;
            cpu.gpr[gpr::RBX] = b;
            cpu.gpr[gpr::RCX] = c;
            cpu.gpr[gpr::RDX] = d;
        });
    }

    /// RDTSC and RDTSCP read the core's own clock: one tick an instruction.
    fn time_stamp(self, instruction: &Instruction) {
        let clock = self.core.clock.wrapping_add(self.core.time_offset);
        let with_core = instruction.mnemonic() == Mnemonic::Rdtscp;
        self.complete(instruction, |cpu| {
            cpu.gpr[gpr::RAX] = clock & 0xffff_ffff;
            cpu.gpr[gpr::RDX] = clock >> 32;
            if with_core {
                cpu.gpr[gpr::RCX] = cpu.tsc_aux & 0xffff_ffff;
            }
        });
    }

    fn random(self, instruction: &Instruction) {
        let value = split_mix(&mut self.core.random);
        let register = instruction.op_register(0);
        self.complete(instruction, |cpu| {
            write_register(cpu, register, value);
            cpu.rflags = cpu.rflags & !RDRAND_CLEARS | CARRY;
        });
    }

    fn read_msr(self, instruction: &Instruction, world: &World) -> Result<(), Exception> {
        let number = self.core.cpu.gpr[gpr::RCX] as u32;
        let Core { cpu, clock, time_offset, misc_enable, memory_types, .. } = &mut *self.core;
        let outside = msr::Outside {
            is_first: self.id == CoreId(0),
            clock: *clock,
            apic: world.board.interrupts().place(self.id),
            memory: world.memory,
            time_offset,
            misc_enable,
            memory_types,
        };
        let value = msr::read(cpu, number, &outside)?;
        self.complete(instruction, |cpu| {
            cpu.gpr[gpr::RAX] = value & 0xffff_ffff;
            cpu.gpr[gpr::RDX] = value >> 32;
        });
        Ok(())
    }

    fn write_msr(self, instruction: &Instruction, world: &mut World) -> Result<(), Exception> {
        let mut cpu = self.core.cpu.clone();
        let value = cpu.gpr[gpr::RDX] << 32 | cpu.gpr[gpr::RAX] & 0xffff_ffff;
        let number = cpu.gpr[gpr::RCX] as u32;
        let mut outside = msr::Outside {
            is_first: self.id == CoreId(0),
            clock: self.core.clock,
            apic: world.board.interrupts().place(self.id),
            memory: world.memory,
            time_offset: &mut self.core.time_offset,
            misc_enable: &mut self.core.misc_enable,
            memory_types: &mut self.core.memory_types,
        };
        let types_before = outside.memory_types.clone();
        msr::write(&mut cpu, number, value, &mut outside)?;
        let apic = outside.apic;
        world.board.put_apic(self.id, apic);
        if self.core.memory_types != types_before {
            // A write to an MTRR invalidates everything (SDM 2D, WRMSR).
            self.core.tlb.forget_all();
            self.engines.forget(Lost::ALL);
        }
        self.complete(instruction, |current| *current = cpu);
        Ok(())
    }

    fn status_word(self, instruction: &Instruction) {
        let value = self.core.cpu.cr0 & 0xffff_ffff;
        self.complete(instruction, |cpu| write_register(cpu, instruction.op0_register(), value));
    }

    fn control_register(self, instruction: &Instruction) -> Result<(), Exception> {
        let mut cpu = self.core.cpu.clone();
        let value = cpu.gpr[instruction.op1_register().full_register().number()];
        control::write(&mut cpu, instruction.op0_register(), value)?;
        self.core.tlb.forget_for(
            &Mode::of(&self.core.cpu),
            &Mode::of(&cpu),
            instruction.op0_register() == Register::CR3,
        );
        let engines = self.engines;
        engines.change(|current| {
            *current = cpu;
            current.interrupt_shadow = 0;
            current.rip = current.rip.wrapping_add(instruction.len() as u64);
        });
        engines.forget(Lost::ALL);
        Ok(())
    }

    /// MOV to or from CR8 (SDM 3A 11.8.6): bits 3 to 0 are the class of the task priority, the others reserved.
    fn task_priority(self, instruction: &Instruction, world: &mut World) -> Result<(), Exception> {
        let id = self.id;
        let [to, from] = [instruction.op0_register(), instruction.op1_register()];
        if from == Register::CR8 {
            let class = world.board.interrupts().apic(id).cr8();
            self.complete(instruction, |cpu| write_register(cpu, to, class.into()));
            return Ok(());
        }
        let value = self.core.cpu.gpr[from.full_register().number()];
        let class = u8::try_from(value).ok().filter(|class| *class < 16);
        let class = class.ok_or(Exception::new(vector::GENERAL_PROTECTION, 0))?;
        world.board.set_task_priority(id, class);
        self.complete(instruction, |_| ());
        Ok(())
    }

    fn system_call(self, instruction: &Instruction) -> Result<(), Exception> {
        let mut cpu = self.core.cpu.clone();
        system_call::perform(&mut cpu, instruction)?;
        cpu.interrupt_shadow = 0;
        self.engines.change(|current| *current = cpu);
        Ok(())
    }

    /// HLT: a debug exception ends it, and so it does not even begin where its own single-step trap comes (SDM 2A, HLT).
    fn halt(self, instruction: &Instruction, world: &mut World) {
        if !Mode::of(&self.core.cpu).traps {
            self.core.activity = Activity::Halted;
            world.log.push(Event::Halted { core: self.id });
        }
        self.complete(instruction, |_| ());
    }
}

/// The port that IN or OUT is about, and how wide the access is.
pub(super) fn port_of(instruction: &Instruction, cpu: &CpuState) -> (u16, Width) {
    let (data, port) = if instruction.mnemonic() == Mnemonic::In { (0, 1) } else { (1, 0) };
    let bytes = instruction.op_register(data).size() as u64;
    let port = match instruction.op_kind(port) {
        OpKind::Immediate8 => u16::from(instruction.immediate8()),
        _ => cpu.gpr[gpr::RDX] as u16,
    };
    (port, Width::from_bytes(bytes).expect("AL, AX and EAX have 1, 2 and 4 bytes"))
}

/// Writes a general register by its name: 32-bit writes clear the upper half, narrower ones keep the rest (SDM 1, 3.4.1.1).
fn write_register(cpu: &mut CpuState, register: Register, value: u64) {
    let slot = &mut cpu.gpr[register.full_register().number()];
    *slot = match register.size() {
        8 => value,
        4 => value & 0xffff_ffff,
        2 => *slot & !0xffff | value & 0xffff,
        _ => *slot & !0xff | value & 0xff,
    };
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
