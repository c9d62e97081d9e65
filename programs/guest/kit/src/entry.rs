//! The first instructions of every core.

use crate::panic::refuse;
use crate::{BootInfo, Verdict, pause};
use core::arch::{asm, naked_asm};
use core::fmt;

/// The word after the variant that asks for one round only.
const ONCE: &str = "once";

/// The core that runs a program's main function.
#[derive(Clone, Copy, Debug)]
pub struct Core {
    /// 0 for the first core.
    pub index: usize,
    /// How many cores run this program.
    pub count: usize,
    /// What the machine says about itself.
    pub boot: &'static BootInfo,
}

/// Names the function every core runs; a core that returns from it is parked.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn kit_main(index: u64, count: u64, boot: &'static $crate::BootInfo) -> ! {
            $crate::start(index, count, boot, $main)
        }
    };
}

/// The image's entry point. The machine enters as if it were called: index, count and boot block in rdi, rsi and rdx.
///
/// A stack that is off by eight would go unnoticed until the first aligned SSE store to it.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!(
        "lea rax, [rsp + 8]",
        "test al, 15",
        "jnz 2f",
        // The end of the chain of frames, for whoever prints a backtrace.
        "xor ebp, ebp",
        "jmp kit_main",
        "2: ud2",
    )
}

/// Runs `main` on this core, then parks it. For the [`entry!`](crate::entry) macro.
pub fn start(index: u64, count: u64, boot: &'static BootInfo, main: fn(Core)) -> ! {
    assert_eq!(boot.magic, BootInfo::MAGIC, "this is not a Fencepost machine's boot block");
    main(Core { index: index as usize, count: count as usize, boot });
    park()
}

impl Core {
    /// The variant the user asked for, or `default` if the command line names none.
    pub fn variant(&self, default: &'static str) -> &'static str {
        let line = self.boot.command_line().trim();
        match line.strip_suffix(ONCE).map_or(line, str::trim_end) {
            "" => default,
            name => name,
        }
    }

    /// How often to do what is done `usually` so often: once if the command line ends with `once`, because every
    /// interleaving is explored then.
    pub fn times(&self, usually: u32) -> u32 {
        if self.boot.command_line().trim().ends_with(ONCE) { 1 } else { usually }
    }

    /// Ends the run if the program was started on any other number of cores than it is written for.
    pub fn require_count(&self, count: usize) {
        if self.count != count {
            refuse(format_args!("this program is written for {count} cores, not {}", self.count));
        }
    }

    /// Ends the run: the command line names a variant that this program does not have.
    pub fn unknown_variant(&self, name: &str) -> ! {
        refuse(format_args!("this program has no variant `{name}`"))
    }

    /// Ends the run with this outcome if this is core 0, which speaks for all; parks any other core.
    pub fn report(&self, outcome: &str, verdict: Verdict, story: fmt::Arguments<'_>) -> ! {
        match self.index {
            0 => crate::report(outcome, verdict, story),
            _ => park(),
        }
    }
}

/// Halts this core for good: no interrupt is ever let through.
pub(crate) fn park() -> ! {
    loop {
        // SAFETY: with interrupts off this stops the core and touches nothing.
        unsafe { asm!("hlt", options(nomem, nostack, preserves_flags)) };
        pause();
    }
}
