//! Handlers of exceptions and interrupts: the interrupt descriptor table and the way into Rust (SDM 3A 6.10 to 6.14).
//!
//! All cores share one table and one handler. Each vector has a stub of 16 bytes that pushes an error code where the
//! processor pushed none, and the vector's number; what follows is the same for all. The handler may change what it finds in
//! its [`Frame`]: the interrupted code goes on with it.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;

/// What the interrupted code had in its registers, and where it goes on.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    /// Which exception or interrupt it is.
    pub vector: u64,
    /// The processor's, or 0.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Vectors.
const VECTORS: usize = 256;
/// Bytes of a stub.
const STUB: usize = 16;
/// The code segment of BOOT.md.
const CODE_SELECTOR: u64 = 8;
/// A present interrupt gate: IF is clear in the handler.
const INTERRUPT_GATE: u64 = 0x8e00;

/// The table: two words a gate.
struct Table(UnsafeCell<[[u64; 2]; VECTORS]>);

// SAFETY: it is filled by `handle_with`, which its callers promise to call before other cores use it, and only read then.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([[0; 2]; VECTORS]));

/// What is called, as a plain number: zero while there is none.
struct Handler(UnsafeCell<Option<fn(&mut Frame)>>);

// SAFETY: as for `Table`.
unsafe impl Sync for Handler {}

static HANDLER: Handler = Handler(UnsafeCell::new(None));

// SAFETY: the assembly below defines it, as long as it is said to be here.
unsafe extern "C" {
    /// The first stub.
    static kit_interrupt_stubs: [u8; VECTORS * STUB];
}

/// Lets `handler` handle every exception and interrupt, on all cores that then [`load`] the table. To be called once, by one
/// core, before the others load it.
pub fn handle_with(handler: fn(&mut Frame)) {
    // SAFETY: nobody else has the table or the handler yet.
    unsafe {
        *HANDLER.0.get() = Some(handler);
        let stubs = (&raw const kit_interrupt_stubs) as u64;
        for (vector, gate) in (*TABLE.0.get()).iter_mut().enumerate() {
            *gate = gate_to(stubs + (vector * STUB) as u64);
        }
    }
    load();
}

/// Lets the processor enter `handler` itself at `vector`: for handlers of a few instructions, which can be explored. To be
/// called after [`handle_with`] and before other cores load the table.
///
/// # Safety
/// The handler is a naked function that leaves every register as it was and ends with IRETQ.
pub unsafe fn enter_directly(vector: u8, handler: extern "C" fn()) {
    // SAFETY: as for `handle_with`.
    unsafe { (*TABLE.0.get())[usize::from(vector)] = gate_to(handler as usize as u64) };
}

fn gate_to(at: u64) -> [u64; 2] {
    [at & 0xffff | CODE_SELECTOR << 16 | INTERRUPT_GATE << 32 | (at >> 16 & 0xffff) << 48, at >> 32]
}

/// Makes this core use the table.
pub fn load() {
    let mut pointer = [0u8; 10];
    pointer[..2].copy_from_slice(&((VECTORS * 16 - 1) as u16).to_le_bytes());
    pointer[2..].copy_from_slice(&(TABLE.0.get() as u64).to_le_bytes());
    // SAFETY: the table is static, and its gates lead to the stubs below.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags)) };
}

/// Lets interrupts in (STI).
#[inline(always)]
pub fn enable() {
    // SAFETY: the handler leaves everything but its frame as it was.
    unsafe { asm!("sti", options(nostack)) };
}

/// Stops this core until an interrupt has been handled (HLT).
#[inline(always)]
pub fn halt() {
    // SAFETY: it changes nothing; interrupt handlers leave everything but their frame as it was.
    unsafe { asm!("hlt", options(nostack, preserves_flags)) };
}

/// Lets interrupts in and stops until one has been handled (STI, HLT): no interrupt comes between the two, because STI
/// takes effect an instruction later (SDM 3A 6.8.1).
#[inline(always)]
pub fn enable_and_halt() {
    // SAFETY: as for `enable` and `halt`.
    unsafe { asm!("sti", "hlt", options(nostack)) };
}

/// Keeps interrupts out (CLI).
#[inline(always)]
pub fn disable() {
    // SAFETY: it changes nothing but the interrupt flag.
    unsafe { asm!("cli", options(nostack)) };
}

/// CR2: the address of the last page fault on this core.
pub fn page_fault_address() -> u64 {
    let address;
    // SAFETY: reading CR2 changes nothing.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) };
    address
}

#[unsafe(no_mangle)]
extern "C" fn kit_interrupt(frame: &mut Frame) {
    // SAFETY: the handler is set before the table that leads here is loaded.
    if let Some(handler) = unsafe { *HANDLER.0.get() } {
        handler(frame);
    }
}

// An exception's frame is aligned to 16 bytes, so that with 22 words pushed, and 512 bytes for the SSE registers, the stack
// is as a call needs it.
global_asm!(
    ".balign 16",
    ".globl kit_interrupt_stubs",
    "kit_interrupt_stubs:",
    ".set vector, 0",
    ".rept 256",
    ".balign 16",
    ".if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)",
    ".else",
    "push 0",
    ".endif",
    "push vector",
    "jmp kit_interrupt_common",
    ".set vector, vector + 1",
    ".endr",
    "kit_interrupt_common:",
    "push rax",
    "push rbx",
    "push rcx",
    "push rdx",
    "push rsi",
    "push rdi",
    "push rbp",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov rdi, rsp",
    "sub rsp, 512",
    "fxsave64 [rsp]",
    "cld",
    "call kit_interrupt",
    "fxrstor64 [rsp]",
    "add rsp, 512",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rbp",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rbx",
    "pop rax",
    "add rsp, 16",
    "iretq",
);
