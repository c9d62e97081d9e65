//! A program as a guest.
//!
//! Before the region each core turns its local APIC on, and core 0 sets up the table of handlers and the controllers that the
//! lines lead to.

use super::program::{
    ApicWrite, Class, Instruction, PIC_BASE, Pin, PortWrite, Program, REGISTERS, Scratch, Target, VARIABLES, Variable,
    Wiring,
};
use crate::guest::{apic, handler, load_idt, store};
use fencepost::loader::{FLAT_BASE, Image};
use iced_x86::code_asm::*;
use iced_x86::{BlockEncoderOptions, IcedError};
use std::collections::HashMap;

/// Where the first variable is: each is on a cache line of its own.
const FIRST: u64 = 0x18_0000;
/// The port that raises and lowers line 0.
const LINE_PORT: u16 = 0x2000;
/// The command port of the master 8259A, and its data port.
const PIC_COMMAND: i32 = 0x20;
const PIC_DATA: i32 = 0x21;
/// The edge and level register of the master.
const ELCR: i32 = 0x4d0;
/// OCW2: an EOI that names no input.
const END: u8 = 0x20;

/// A program that can be executed.
pub struct Guest {
    /// The program.
    pub image: Image,
    /// Which code and instruction is at an address.
    places: HashMap<u64, (usize, usize)>,
}

impl Guest {
    /// Which code and instruction is at `address`, or which code's end it is right behind: a core rests behind the mark that
    /// was in the shadow of STI.
    pub(super) fn place(&self, address: u64) -> Option<(usize, usize)> {
        self.places.get(&address).or_else(|| self.places.get(&(address - MARK))).copied()
    }
}

/// Bytes of a mark.
const MARK: u64 = 3;

/// Where a variable is.
pub(super) fn address(variable: Variable) -> u64 {
    assert!(variable < VARIABLES, "programs have so many variables");
    FIRST + 0x40 * variable as u64
}

/// `program` as a guest.
///
/// # Errors
/// The instructions cannot be encoded.
pub fn guest(program: &Program) -> Result<Guest, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    let mut labels: Vec<Vec<CodeLabel>> =
        program.codes().map(|code| (0..=code.len()).map(|_| a.create_label()).collect()).collect();
    for (index, core) in program.cores.iter().enumerate() {
        let mut other = a.create_label();
        a.cmp(edi, index as i32)?;
        a.jne(other)?;
        if index == 0 {
            set_up(&mut a, program, &mut labels)?;
        }
        load_idt(&mut a)?;
        store(&mut a, apic::SVR, apic::ENABLED)?;
        store(&mut a, apic::ICR_HIGH, u32::from(core.destination) << 24)?;
        a.mov(r15d, apic::BASE as u32)?;
        a.mov(r14d, apic::IO_WINDOW as u32)?;
        a.mov(r13d, u32::from(Class::Low.number()))?;
        a.xor(esi, esi)?;
        a.mov(ebp, ss)?;
        // The descriptor is marked as accessed, so that loading it again stores nothing.
        a.mov(ss, ebp)?;
        registers().into_iter().try_for_each(|register| a.xor(register, register))?;
        if core.is_open {
            a.sti()?
        } else {
            a.cli()?
        }
        // Out of the shadow of STI.
        a.nop()?;
        a.xchg(bx, bx)?;
        write(&mut a, program, &core.code, &mut labels[index])?;
        a.set_label(&mut labels[index][core.code.len()])?;
        a.xchg(cx, cx)?;
        a.cli()?;
        a.hlt()?;
        a.set_label(&mut other)?;
        a.nop()?;
    }
    a.hlt()?;
    let assembled = a.assemble_options(FLAT_BASE, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS)?;
    let mut places = HashMap::new();
    for (code, labels) in labels.iter().enumerate() {
        // A handler's last label is after its IRET, where nothing is.
        let count = if code < program.cores.len() { labels.len() } else { labels.len() - 1 };
        for (next, label) in labels[..count].iter().enumerate() {
            places.insert(assembled.label_ip(label)?, (code, next));
        }
    }
    Ok(Guest { image: Image::from_flat("interrupted", assembled.inner.code_buffer.clone()), places })
}

/// The registers that programs load into.
fn registers() -> [AsmRegister32; REGISTERS] {
    [r8d, r9d, r10d, r11d, r12d]
}

fn set_up(a: &mut CodeAssembler, program: &Program, labels: &mut [Vec<CodeLabel>]) -> Result<(), IcedError> {
    for (index, it) in program.handlers.iter().enumerate() {
        let labels = &mut labels[program.cores.len() + index];
        handler(a, &[it.vector], |a| write(a, program, &it.code, labels))?;
    }
    match &program.wiring {
        Wiring::IoApic(pins) => {
            // The first one last: it is the one that stays selected.
            for pin in pins.iter().rev() {
                let index = apic::IO_REDIRECTION + 2 * u32::from(pin.line);
                store(a, apic::IO_SELECT, index + 1)?;
                store(a, apic::IO_WINDOW, u32::from(pin.core) << 24)?;
                store(a, apic::IO_SELECT, index)?;
                store(a, apic::IO_WINDOW, entry(pin, pin.is_masked))?;
            }
            Ok(())
        }
        Wiring::Pic { masked, levels } => {
            let words = [(PIC_COMMAND, 0x11), (PIC_DATA, PIC_BASE), (PIC_DATA, 4), (PIC_DATA, 1), (PIC_DATA, *masked)];
            words.into_iter().try_for_each(|(port, value)| {
                a.mov(al, u32::from(value))?;
                a.out(port, al)
            })?;
            a.mov(dx, ELCR)?;
            a.mov(al, u32::from(*levels))?;
            a.out(dx, al)
        }
    }
}

/// The low word of the entry of a pin.
fn entry(pin: &Pin, is_masked: bool) -> u32 {
    u32::from(pin.vector) | u32::from(pin.is_level) << 15 | u32::from(is_masked) << 16
}

fn write(
    a: &mut CodeAssembler,
    program: &Program,
    code: &[Instruction],
    labels: &mut [CodeLabel],
) -> Result<(), IcedError> {
    for (at, instruction) in code.iter().enumerate() {
        a.set_label(&mut labels[at])?;
        write_one(a, program, *instruction, labels)?;
    }
    Ok(())
}

fn write_one(
    a: &mut CodeAssembler,
    program: &Program,
    instruction: Instruction,
    labels: &[CodeLabel],
) -> Result<(), IcedError> {
    let register = |register: super::Register| registers()[usize::from(register.0)];
    match instruction {
        Instruction::Nop => a.nop(),
        Instruction::Load(to, variable) => a.mov(register(to), dword_ptr(address(variable))),
        Instruction::Store(variable, value) => a.mov(dword_ptr(address(variable)), value),
        Instruction::Increment(variable) => a.inc(dword_ptr(address(variable))),
        Instruction::LockedAdd(variable, value) => a.lock().add(dword_ptr(address(variable)), value),
        Instruction::Exchange(with, variable) => a.xchg(dword_ptr(address(variable)), register(with)),
        Instruction::Compare(variable, value) => a.cmp(dword_ptr(address(variable)), value),
        Instruction::Jump { if_equal: true, to } => a.je(labels[to]),
        Instruction::Jump { if_equal: false, to } => a.jne(labels[to]),
        Instruction::Fence => a.mfence(),
        Instruction::Close => a.cli(),
        Instruction::Open => a.sti(),
        Instruction::LoadStack => a.mov(ss, ebp),
        Instruction::Halt => a.hlt(),
        Instruction::Software(vector) => a.int(u32::from(vector)),
        Instruction::Return => a.iretq(),
        Instruction::Push(Scratch::Rax) => a.push(rax),
        Instruction::Push(Scratch::Rdx) => a.push(rdx),
        Instruction::Pop(Scratch::Rax) => a.pop(rax),
        Instruction::Pop(Scratch::Rdx) => a.pop(rdx),
        Instruction::Prepare(write, Scratch::Rax) => a.mov(al, u32::from(value_of(write))),
        Instruction::Prepare(write, Scratch::Rdx) => a.mov(dx, u32::from(port_of(write))),
        Instruction::Out(_) => a.out(dx, al),
        Instruction::Apic(write) => write_apic(a, write),
        Instruction::TaskPriority(Class::None) => a.mov(cr8, rsi),
        Instruction::TaskPriority(Class::Low) => a.mov(cr8, r13),
        Instruction::Mask(is_masked) => a.mov(dword_ptr(r14), entry(&program.pins()[0], is_masked)),
    }
}

fn port_of(write: PortWrite) -> u16 {
    match write {
        PortWrite::Line { line, .. } => LINE_PORT + u16::from(line),
        PortWrite::PicMask(_) => PIC_DATA as u16,
        PortWrite::PicEnd => PIC_COMMAND as u16,
    }
}

fn value_of(write: PortWrite) -> u8 {
    match write {
        PortWrite::Line { is_high, .. } => u8::from(is_high),
        PortWrite::PicMask(masked) => masked,
        PortWrite::PicEnd => END,
    }
}

fn write_apic(a: &mut CodeAssembler, write: ApicWrite) -> Result<(), IcedError> {
    let (register, value) = match write {
        ApicWrite::Send(target, vector) => {
            let shorthand = match target {
                Target::One => 0,
                Target::Itself => apic::TO_SELF,
                Target::Others => apic::TO_OTHERS,
            };
            (apic::ICR_LOW, u32::from(vector) | apic::ASSERT | shorthand)
        }
        ApicWrite::End => (apic::EOI, 0),
        ApicWrite::TaskPriority(class) => (apic::TPR, u32::from(class.number()) << 4),
    };
    a.mov(dword_ptr(r15 + (register - apic::BASE) as i32), value)
}
