//! What CPUID says (SDM 2A, CPUID): a fixed processor, the same on every host.
//!
//! It announces what the engine executes: x86-64, SSE up to 4.2, CMPXCHG16B, POPCNT, MOVBE, RDRAND; SYSCALL and
//! SYSENTER; no AVX.

use super::CoreId;

/// EAX, EBX, ECX, EDX.
pub type Leaf = [u32; 4];

/// The highest basic leaf.
const LAST_BASIC: u32 = 7;
/// The highest extended leaf.
const LAST_EXTENDED: u32 = 0x8000_0008;
/// Family 6, model 60, stepping 3: the Haswell whose instructions the engine has, without AVX.
const SIGNATURE: u32 = 0x0003_06c3;

/// In EDX of leaf 1: the local APIC is turned on.
pub const APIC: u32 = 1 << 9;
/// FPU, PSE, TSC, MSR, PAE, CX8, APIC, SEP, MTRR, PGE, CMOV, PAT, CLFLUSH, MMX, FXSR, SSE, SSE2.
const FEATURES_EDX: u32 = 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | APIC
    | 1 << 11
    | 1 << 12
    | 1 << 13
    | 1 << 15
    | 1 << 16
    | 1 << 19
    | 1 << 23
    | 1 << 24
    | 1 << 25
    | 1 << 26;
/// SSE3, PCLMULQDQ, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, RDRAND, hypervisor present.
const FEATURES_ECX: u32 =
    1 | 1 << 1 | 1 << 9 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 25 | 1 << 30 | 1 << 31;
/// SYSCALL, NX, RDTSCP, long mode.
const EXTENDED_EDX: u32 = 1 << 11 | 1 << 20 | 1 << 27 | 1 << 29;

/// The answer to CPUID with `eax` and `ecx` on `core` of `cores`.
pub fn leaf(eax: u32, ecx: u32, core: CoreId, cores: u8) -> Leaf {
    match eax {
        0 => [LAST_BASIC, text(b"Genu"), text(b"ntel"), text(b"ineI")],
        1 => [SIGNATURE, u32::from(core.0) << 24 | u32::from(cores) << 16 | 8 << 8, FEATURES_ECX, FEATURES_EDX],
        // Leaf 7: ERMS, BMI1, BMI2, RDSEED.
        7 if ecx == 0 => [0, 1 << 3 | 1 << 8 | 1 << 9 | 1 << 18, 0, 0],
        0x4000_0000 => [0x4000_0000, text(b"Fenc"), text(b"epos"), text(b"tEmu")],
        0x8000_0000 => [LAST_EXTENDED, 0, 0, 0],
        // LAHF/SAHF in long mode, LZCNT.
        0x8000_0001 => [0, 0, 1 | 1 << 5, EXTENDED_EDX],
        0x8000_0002 => brand(0),
        0x8000_0003 => brand(16),
        0x8000_0004 => brand(32),
        // 40 physical and 48 linear address bits.
        0x8000_0008 => [0x3028, 0, 0, 0],
        _ => [0; 4],
    }
}

const BRAND: &[u8; 48] = b"Fencepost emulated x86-64 with store buffers\0\0\0\0";

fn brand(from: usize) -> Leaf {
    std::array::from_fn(|register| {
        let at = from + 4 * register;
        text(&[BRAND[at], BRAND[at + 1], BRAND[at + 2], BRAND[at + 3]])
    })
}

fn text(four: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*four)
}
