//! The architectural state of an x86-64 core as plain data.
//!
//! The names are those of the manual (SDM 1, 3.4; SDM 3A, 2.1).
//! Left out: AVX and later vector state (the engine has none), debug-store and performance-monitoring registers.
//! What is not architectural (translated code, the engine's lazily computed flags) is not here.

/// A segment register with its hidden part (SDM 3A 3.4.3).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Segment {
    /// Base address.
    pub base: u64,
    /// The visible selector.
    pub selector: u32,
    /// Limit in bytes, already scaled by the granularity bit.
    pub limit: u32,
    /// The descriptor's second doubleword: type, S, DPL, P, AVL, L, D/B, G at their places.
    pub flags: u32,
    pub(crate) zero: u32,
}

impl Segment {
    /// A flat segment with `selector` and the descriptor's upper doubleword `flags`.
    pub fn flat(selector: u32, flags: u32) -> Segment {
        Segment { base: 0, selector, limit: u32::MAX, flags, zero: 0 }
    }

    /// A descriptor table register: only base and limit.
    pub fn table(base: u64, limit: u32) -> Segment {
        Segment { base, limit, ..Segment::default() }
    }
}

/// Index of a segment register in [`CpuState::segments`], in encoding order.
#[allow(missing_docs)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SegmentName {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// Every register a program can observe.
///
/// Field for field the `struct fencepost_cpu` of the engine's C shim; a test compares the sizes.
#[repr(C)]
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct CpuState {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8..R15: encoding order.
    pub gpr: [u64; 16],
    /// Address of the next instruction (an offset into CS).
    pub rip: u64,
    /// Flags, with the arithmetic ones computed.
    pub rflags: u64,
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [Segment; 6],
    /// Local descriptor table.
    pub ldt: Segment,
    /// Task register.
    pub tr: Segment,
    /// Global descriptor table register.
    pub gdt: Segment,
    /// Interrupt descriptor table register.
    pub idt: Segment,
    /// Control register 0.
    pub cr0: u64,
    /// Page-fault linear address.
    pub cr2: u64,
    /// Page-directory base.
    pub cr3: u64,
    /// Control register 4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// Debug registers 0 to 7.
    pub dr: [u64; 8],
    /// IA32_STAR.
    pub star: u64,
    /// IA32_LSTAR.
    pub lstar: u64,
    /// IA32_CSTAR.
    pub cstar: u64,
    /// IA32_FMASK.
    pub fmask: u64,
    /// IA32_KERNEL_GS_BASE.
    pub kernel_gs_base: u64,
    /// IA32_SYSENTER_CS.
    pub sysenter_cs: u64,
    /// IA32_SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// IA32_SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// IA32_PAT.
    pub pat: u64,
    /// IA32_TSC_AUX, read by RDTSCP.
    pub tsc_aux: u64,
    /// Extended control register 0.
    pub xcr0: u64,
    /// x87 and MMX registers by physical number: 64 bits of significand.
    pub x87_mantissa: [u64; 8],
    /// x87 registers: sign and exponent.
    pub x87_exponent: [u16; 8],
    /// x87 tag bits: 1 where the register is empty.
    pub x87_empty: [u8; 8],
    /// x87 control word.
    pub x87_control: u16,
    /// x87 status word with the stack top in bits 11 to 13.
    pub x87_status: u16,
    /// SSE control and status.
    pub mxcsr: u32,
    /// XMM0..XMM15, low quadword first.
    pub xmm: [[u64; 2]; 16],
    /// 1 while interrupts are held off for one instruction after STI or MOV SS.
    pub interrupt_shadow: u32,
    /// 1 from the delivery of an NMI until IRET: no further one comes.
    pub nmi_blocked: u32,
}

/// Encoding numbers of the general registers that the machine itself reads or writes.
#[allow(missing_docs)]
pub mod gpr {
    pub const RAX: usize = 0;
    pub const RCX: usize = 1;
    pub const RDX: usize = 2;
    pub const RBX: usize = 3;
    pub const RSP: usize = 4;
    pub const RSI: usize = 6;
    pub const RDI: usize = 7;
    pub const R11: usize = 11;
}

impl CpuState {
    /// The segment register `name`.
    pub fn segment(&self, name: SegmentName) -> &Segment {
        &self.segments[name as usize]
    }

    /// The linear address of the next instruction: CS base plus RIP.
    pub fn linear_pc(&self) -> u64 {
        self.segment(SegmentName::Cs).base.wrapping_add(self.rip)
    }
}
