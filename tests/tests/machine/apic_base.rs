//! IA32_APIC_BASE: each core's local APIC is where that core says (SDM 3A 11.4.4).

use super::control_registers::refused;
use super::memory_types::wrmsr;
use super::testbed::*;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const APIC_BASE: u32 = 0x1b;
const USUAL: u64 = 0xfee0_0000;
const ELSEWHERE: u64 = 0xfed4_0000;
const ON: u64 = 1 << 11;
const BOOTSTRAP: u64 = 1 << 8;
/// The register with the core's own number.
const ID: u64 = 0x20;

fn write(a: &mut CodeAssembler, value: u64) -> Result<(), IcedError> {
    wrmsr(a, APIC_BASE, value)
}

/// Stores what is at `address` into `to`.
fn copy(a: &mut CodeAssembler, address: u64, to: u64) -> Result<(), IcedError> {
    a.mov(rsi, address)?;
    a.mov(eax, dword_ptr(rsi))?;
    a.mov(dword_ptr(to), eax)
}

fn word(t: &mut Testbed, at: u64) -> u32 {
    t.memory(at) as u32
}

#[test]
fn a_local_apic_moves_for_its_own_core_only() {
    let moves = |a: &mut CodeAssembler| {
        write(a, ELSEWHERE | ON | BOOTSTRAP)?;
        copy(a, ELSEWHERE + ID, X)?;
        copy(a, USUAL + ID, X + 4)?;
        a.rdmsr()?;
        a.mov(dword_ptr(X + 8), eax)
    };
    let stays = |a: &mut CodeAssembler| {
        copy(a, USUAL + ID, Y)?;
        copy(a, ELSEWHERE + ID, Y + 4)
    };
    let mut t = Testbed::new(SC, &[&moves, &stays]);
    t.run(0);
    t.run(1);
    let words = |t: &mut Testbed, at| [word(t, at), word(t, at + 4)];
    assert_eq!(words(&mut t, X), [0, u32::MAX], "nothing is at the usual place any more");
    assert_eq!(words(&mut t, Y), [1 << 24, u32::MAX]);
    assert_eq!(u64::from(word(&mut t, X + 8)), ELSEWHERE | ON | BOOTSTRAP);
}

#[test]
fn a_local_apic_that_is_turned_off_is_nowhere() {
    let code = |a: &mut CodeAssembler| {
        write(a, ELSEWHERE | BOOTSTRAP)?;
        copy(a, ELSEWHERE + ID, X)?;
        copy(a, USUAL + ID, X + 4)
    };
    let mut t = Testbed::new(SC, &[&code]);
    t.run(0);
    assert_eq!([word(&mut t, X), word(&mut t, X + 4)], [u32::MAX; 2]);
}

#[test]
fn ia32_apic_base_refuses_what_is_reserved_and_places_of_memory() {
    for value in [USUAL | 1, USUAL | 1 << 9, USUAL | 1 << 10, USUAL | 1 << 40, USUAL | 1 << 63, 0x10_0000, 0xe000_0000]
    {
        let set_up = |a: &mut CodeAssembler| {
            a.mov(ecx, APIC_BASE)?;
            a.mov(eax, (value | ON) as u32)?;
            a.mov(edx, (value >> 32) as u32)
        };
        refused(&format!("{value:#x}"), 0, &set_up, &|a| a.wrmsr());
    }
}
