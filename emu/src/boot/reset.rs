//! A core that has been reset or started up by another (SDM 3A 10.1.1, table 10-1 "INIT"; 9.4.3 in older editions).

use crate::core::CoreId;
use crate::core::cpu_state::{CpuState, Segment, SegmentName, gpr};
use crate::core::cpuid;

/// Descriptor attributes of a segment in real mode: present, writable data, accessed; or readable code.
const REAL_DATA: u32 = 0x9300;
const REAL_CODE: u32 = 0x9b00;
/// CD and NW: caches are off. They change nothing here.
const CR0_RESET: u64 = 0x6000_0010;
/// The limit of every segment and table.
const LIMIT: u32 = 0xffff;

/// The registers of a core after power-up: real mode, about to fetch from 0xfffffff0.
pub(crate) fn reset_state() -> CpuState {
    let [signature, ..] = cpuid::leaf(1, 0, CoreId(0), 1);
    let mut cpu = CpuState {
        rip: 0xfff0,
        rflags: 2,
        segments: [real_segment(0, REAL_DATA); 6],
        gdt: Segment::table(0, LIMIT),
        idt: Segment::table(0, LIMIT),
        ldt: real_segment(0, 0x8200),
        tr: real_segment(0, 0x8b00),
        cr0: CR0_RESET,
        dr: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
        pat: 0x0007_0406_0007_0406,
        xcr0: 1,
        x87_control: 0x40,
        mxcsr: 0x1f80,
        ..CpuState::default()
    };
    let code = Segment { base: 0xffff_0000, ..real_segment(0xf000, REAL_CODE) };
    cpu.segments[SegmentName::Cs as usize] = code;
    cpu.gpr[gpr::RDX] = signature.into();
    cpu
}

/// The registers of a core after INIT, which were `before`: as after power-up, but the x87 and SSE state and the
/// model-specific registers stay; EFER does not (APM 2, table 14-1).
pub(crate) fn init_state(before: &CpuState) -> CpuState {
    let CpuState { star, lstar, cstar, fmask, kernel_gs_base, sysenter_cs, sysenter_esp, sysenter_eip, .. } = *before;
    let CpuState { pat, tsc_aux, xcr0, x87_mantissa, x87_exponent, x87_empty, x87_control, x87_status, .. } = *before;
    let CpuState { mxcsr, xmm, .. } = *before;
    CpuState {
        star,
        lstar,
        cstar,
        fmask,
        kernel_gs_base,
        sysenter_cs,
        sysenter_esp,
        sysenter_eip,
        pat,
        tsc_aux,
        xcr0,
        x87_mantissa,
        x87_exponent,
        x87_empty,
        x87_control,
        x87_status,
        mxcsr,
        xmm,
        ..reset_state()
    }
}

/// The registers of a core that a start-up message with `vector` wakes, and that were `before`: in real mode at page
/// `vector` (SDM 3A 10.4.4).
pub(crate) fn start_up_state(before: &CpuState, vector: u8) -> CpuState {
    let mut cpu = before.clone();
    cpu.segments[SegmentName::Cs as usize] = real_segment(u16::from(vector) << 8, REAL_CODE);
    cpu.rip = 0;
    cpu
}

/// A segment register that was loaded in real mode (SDM 3A 21.1.1).
fn real_segment(selector: u16, flags: u32) -> Segment {
    Segment { base: u64::from(selector) << 4, selector: selector.into(), limit: LIMIT, flags, ..Segment::default() }
}
