//! The guests: a loop, and what interrupts it.

use fencepost::loader::Image;
use fencepost_tests::guest::{apic, assembled, handler, load_idt, store};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// The vector of the guests' interrupts.
const VECTOR: u8 = 0x41;
/// The timers' periods, in ticks, which are a core's instructions.
const PERIOD: u32 = 1000;
/// The period of the 8254 in its own clock of 1.193182 MHz: 1006 ticks.
const PIT_PERIOD: u8 = 12;
/// A plain page of data.
const DATA: u64 = 0x20_0000;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Guest {
    /// The loop, with interrupts off.
    Off,
    /// The same in 32-bit protected mode.
    Off32,
    /// The loop, with interrupts on, and none comes.
    On,
    /// The local APIC's timer interrupts the loop.
    Timer,
    /// The same in 32-bit protected mode.
    Timer32,
    /// The 8254 does, through the I/O APIC.
    Device,
    /// INT n, again and again.
    Software,
    /// INT n, whose handler does not return, but takes its frame away and jumps back.
    Entry,
    /// The core sleeps, and the local APIC's timer wakes it.
    Halted,
    /// Two cores that interrupt each other, one after the other.
    Between,
}

type Code = Result<(), IcedError>;

impl Guest {
    pub(crate) const ALL: [Guest; 10] = [
        Guest::Off,
        Guest::Off32,
        Guest::On,
        Guest::Timer,
        Guest::Timer32,
        Guest::Device,
        Guest::Software,
        Guest::Entry,
        Guest::Halted,
        Guest::Between,
    ];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Guest::Off => "interrupts off",
            Guest::Off32 => "interrupts off, in 32-bit protected mode",
            Guest::On => "interrupts on, none comes",
            Guest::Timer => "local timer every 1,000 instructions, EOI, IRETQ",
            Guest::Timer32 => "local timer, EOI, IRETD, in 32-bit protected mode",
            Guest::Device => "8254 through the I/O APIC, EOI, IRETQ",
            Guest::Software => "INT n and IRETQ",
            Guest::Entry => "INT n alone",
            Guest::Halted => "HLT until the local timer, EOI, IRETQ",
            Guest::Between => "one way of a call to another core and back",
        }
    }

    pub(crate) fn cores(self) -> u8 {
        if self == Guest::Between { 2 } else { 1 }
    }

    /// Steps of one measurement.
    pub(crate) fn steps(self) -> u64 {
        if self.works() { crate::STEPS } else { crate::STEPS_OF_INTERRUPTS }
    }

    /// Whether it goes round the loop all the time.
    pub(crate) fn works(self) -> bool {
        match self {
            Guest::Off | Guest::Off32 | Guest::On | Guest::Timer | Guest::Timer32 | Guest::Device => true,
            Guest::Software | Guest::Entry | Guest::Halted | Guest::Between => false,
        }
    }

    pub(crate) fn is_interrupted(self) -> bool {
        !matches!(self, Guest::Off | Guest::Off32 | Guest::On)
    }

    /// Instructions in one round of the loop, a handler without EOI included.
    pub(crate) fn instructions(self) -> u64 {
        match self {
            Guest::Software => 4,
            Guest::Entry => 6,
            Guest::Halted | Guest::Between => 3,
            Guest::Off | Guest::Off32 | Guest::On | Guest::Timer | Guest::Timer32 | Guest::Device => 7,
        }
    }

    pub(crate) fn image(self) -> Image {
        let bits = if matches!(self, Guest::Off32 | Guest::Timer32) { 32 } else { 64 };
        assembled(bits, |a| self.write(a)).expect("the guest assembles")
    }

    fn write(self, a: &mut CodeAssembler) -> Code {
        handler(a, &[VECTOR], |a| self.handle(a))?;
        load_idt(a)?;
        if !matches!(self, Guest::Software | Guest::Entry) {
            store(a, apic::SVR, apic::ENABLED)?;
        }
        match self {
            Guest::Off | Guest::Off32 | Guest::Software | Guest::Entry => (),
            Guest::On => a.sti()?,
            Guest::Timer | Guest::Timer32 | Guest::Halted => start_timer(a)?,
            Guest::Device => start_pit(a)?,
            Guest::Between => call(a)?,
        }
        // Rounds to go: more than are ever made here; bare Unicorn is given fewer, and runs into the HLT.
        a.mov(ecx, u32::MAX)?;
        a.pause()?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        match self {
            Guest::Software | Guest::Entry => a.int(i32::from(VECTOR))?,
            Guest::Halted => a.hlt()?,
            Guest::Between => a.pause()?,
            Guest::Off | Guest::Off32 | Guest::On | Guest::Timer | Guest::Timer32 | Guest::Device => work(a)?,
        }
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    }

    /// What the handler does.
    fn handle(self, a: &mut CodeAssembler) -> Code {
        if self == Guest::Software {
            return a.iretq();
        }
        if self == Guest::Entry {
            a.pop(r8)?;
            a.add(rsp, 4 * 8)?;
            return a.jmp(r8);
        }
        let is_long = a.bitness() == 64;
        if is_long {
            a.push(rax)?
        } else {
            a.push(eax)?
        }
        store(a, apic::EOI, 0)?;
        if self == Guest::Between {
            store(a, apic::ICR_LOW, u32::from(VECTOR) | apic::ASSERT | apic::TO_OTHERS)?;
        }
        if is_long {
            a.pop(rax)?;
            a.iretq()
        } else {
            a.pop(eax)?;
            a.iretd()
        }
    }
}

fn start_timer(a: &mut CodeAssembler) -> Code {
    store(a, apic::TIMER_DIVIDE, apic::BY_ONE)?;
    store(a, apic::LVT_TIMER, u32::from(VECTOR) | apic::PERIODIC)?;
    store(a, apic::TIMER_INITIAL, PERIOD)?;
    a.sti()
}

/// Counter 0 in mode 2, on pin 2 of the I/O APIC, to core 0.
fn start_pit(a: &mut CodeAssembler) -> Code {
    for (index, value) in [(5, 0), (4, u32::from(VECTOR))] {
        store(a, apic::IO_SELECT, apic::IO_REDIRECTION + index)?;
        store(a, apic::IO_WINDOW, value)?;
    }
    for (port, value) in [(0x43, 0x34), (0x40, PIT_PERIOD), (0x40, 0)] {
        a.mov(eax, u32::from(value))?;
        a.out(port, al)?;
    }
    a.sti()
}

/// Core 0 calls the other one first.
fn call(a: &mut CodeAssembler) -> Code {
    let mut is_called = a.create_label();
    a.test(edi, edi)?;
    a.jnz(is_called)?;
    store(a, apic::ICR_LOW, u32::from(VECTOR) | apic::ASSERT | apic::TO_OTHERS)?;
    a.set_label(&mut is_called)?;
    a.sti()
}

/// One round of the loop, but for its end: one store in seven instructions.
fn work(a: &mut CodeAssembler) -> Code {
    let data = |offset: u64| dword_ptr(DATA + offset);
    a.mov(ebx, data(8))?;
    a.add(ebx, ecx)?;
    a.xor(edx, ebx)?;
    a.mov(data(0), ebx)?;
    a.lea(esi, dword_ptr(edx + 3))
}
