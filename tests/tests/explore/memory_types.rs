//! Memory types in explored regions: message passing with data in RAM that a range register makes another than write-back.

use super::guests::{Code, X, marked_cores, survey};
use fencepost::explorer::survey::Outcome;
use fencepost::memory_model::MemoryModel;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// On the page after the data's.
const FLAG: u64 = X + 0x1000;

const UNCACHED: u32 = 0;
const COMBINING: u32 = 1;
const WRITE_BACK: u32 = 6;

/// Makes the page of [`X`] of the type `kind` by the third variable range.
fn make(a: &mut CodeAssembler, kind: u32) -> Result<(), IcedError> {
    for (number, low, high) in [(0x204, X as u32 | kind, 0), (0x205, 0xffff_f800u32, 0xff)] {
        a.mov(ecx, number)?;
        a.mov(eax, low)?;
        a.mov(edx, high)?;
        a.wrmsr()?;
    }
    Ok(())
}

/// Whether the flag can be seen without the data, under `model`.
fn overtakes(kind: u32, model: MemoryModel, between: Code) -> bool {
    let writer = |a: &mut CodeAssembler| {
        make(a, kind)?;
        a.xchg(bx, bx)?;
        a.mov(dword_ptr(X), 1)?;
        between(a)?;
        a.mov(dword_ptr(FLAG), 1)?;
        a.xchg(cx, cx)
    };
    let reader = |a: &mut CodeAssembler| {
        make(a, kind)?;
        a.xchg(bx, bx)?;
        a.mov(eax, dword_ptr(FLAG))?;
        a.mov(ebx, dword_ptr(X))?;
        a.xchg(cx, cx)?;
        a.xor(ebx, 1)?;
        a.and(eax, ebx)?;
        a.out(0xf4, al)
    };
    let survey = survey(&mut marked_cores(&[&writer, &reader]), model);
    assert!(survey.is_complete(), "{:?}", survey.cuts());
    assert!(survey.outcomes.contains_key(&Outcome::Exited(0)));
    survey.outcomes.contains_key(&Outcome::Exited(1))
}

#[test]
fn a_flag_overtakes_data_in_write_combining_ram_unless_sfence_is_between() {
    let (nothing, sfence): (Code, Code) = (&|_| Ok(()), &|a| a.sfence());
    assert!(overtakes(COMBINING, MemoryModel::TSO, nothing));
    assert!(!overtakes(COMBINING, MemoryModel::TSO, sfence));
    assert!(!overtakes(COMBINING, MemoryModel::SC, nothing));
    assert!(!overtakes(WRITE_BACK, MemoryModel::TSO, nothing));
    assert!(overtakes(WRITE_BACK, MemoryModel::PSO, nothing));
}

#[test]
fn nothing_overtakes_data_in_uncached_ram() {
    for model in MemoryModel::ALL {
        assert!(!overtakes(UNCACHED, model, &|_| Ok(())), "{model}");
    }
}
