//! exceptions: what a processor does when it cannot go on, and what a handler can make of it
//!
//! An exception interrupts the program where it stands: the processor looks up the handler in the interrupt descriptor table,
//! pushes where it was, and goes there. A *fault* is reported before the instruction has done anything (its address is
//! pushed, so that it can be tried again), a *trap* after it.
//! The handler here reports each one and lets the program go on behind the instruction that caused it.
//! Without a table the first exception ends the run: a processor would shut down.
//!
//! cores: 1
//! variant handled: each is reported, and the program goes on
//!   sc, tso, pso: divide-error breakpoint invalid-opcode general-protection page-fault
#![no_std]
#![no_main]

use core::arch::asm;
use kit::interrupts::{self, Frame};
use kit::{Core, Verdict, Word32, println};

kit::entry!(main);

/// Where nothing is mapped: past the 4 GiB of the boot page tables.
const NOWHERE: u64 = 0x12_3456_7890;

/// Bit n is set when vector n has been handled as it should be.
static HANDLED: Word32 = Word32::new(0);

/// Vector, name, length of the instruction that causes it, and whether it is a trap.
const EXPECTED: [(u64, &str, u64, bool); 5] = [
    (0, "divide-error", 2, false),
    (3, "breakpoint", 1, true),
    (6, "invalid-opcode", 2, false),
    (13, "general-protection", 2, false),
    (14, "page-fault", 2, false),
];

fn main(core: Core) {
    core.require_count(1);
    match core.variant("handled") {
        "handled" => interrupts::handle_with(handle),
        name => core.unknown_variant(name),
    }
    cause_all();
    let handled = HANDLED.load();
    let expected = EXPECTED.iter().fold(0, |bits, (vector, ..)| bits | 1 << vector);
    if handled != expected {
        core.report("unexpected", Verdict::Hazard, format_args!("Handled were {handled:#x} instead of {expected:#x}."));
    }
    let outcome = "divide-error breakpoint invalid-opcode general-protection page-fault";
    core.report(outcome, Verdict::Held, format_args!("All five were handled, and the program went on."));
}

/// Causes each exception once.
fn cause_all() {
    // SAFETY: the handler goes on behind the instruction, whose registers are named here.
    unsafe {
        asm!("div ecx", inout("eax") 1 => _, inout("edx") 0 => _, in("ecx") 0);
        asm!("int3");
        asm!("ud2");
        asm!("mov ds, ecx", in("ecx") 0x1230);
        asm!("mov eax, [rcx]", out("eax") _, in("rcx") NOWHERE);
    }
}

/// Reports an exception, and lets the program go on behind the instruction that caused it.
fn handle(frame: &mut Frame) {
    let known = EXPECTED.iter().find(|(vector, ..)| *vector == frame.vector);
    let &(vector, name, length, is_trap) = known.unwrap_or_else(|| panic!("nobody expected {frame:x?}"));
    let detail = match vector {
        13 => frame.error_code == 0x1230,
        14 => frame.error_code == 0 && interrupts::page_fault_address() == NOWHERE,
        _ => frame.error_code == 0,
    };
    let kind = if is_trap { "trap" } else { "fault" };
    println!("{name}: vector {vector}, a {kind} at {:#x}, error code {:#x}", frame.rip, frame.error_code);
    if detail {
        HANDLED.store(HANDLED.load() | 1 << vector);
    }
    if !is_trap {
        frame.rip += length;
    }
}
