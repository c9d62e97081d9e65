//! The fence doctor and explanations.

use super::guests::*;
use fencepost::explorer::Limits;
use fencepost::explorer::doctor::{Findings, Patience, examine};
use fencepost::explorer::explain::Effect;
use fencepost::explorer::survey::Outcome;
use fencepost::memory_model::MemoryModel;

const TSO: MemoryModel = MemoryModel::TSO;
const PSO: MemoryModel = MemoryModel::PSO;

/// Words of RAM on lines of their own, beside X and Y.
const SUM: u64 = Y + 0x40;
const DONE: u64 = Y + 0x80;

fn findings(name: &str, model: MemoryModel) -> Findings {
    let mut surveyor = program(name).expect("it has a region");
    examine(&mut surveyor, model, &Limits::default(), &Patience::default())
}

/// How many fences each cure has, and how many of them may be SFENCE.
fn cures(findings: &Findings) -> Vec<(usize, usize)> {
    let sizes = findings.cures.iter().map(|cure| (cure.len(), cure.iter().filter(|place| place.store_fence).count()));
    sizes.collect()
}

#[test]
fn store_buffering_needs_one_full_fence() {
    let findings = findings("store-buffering/broken", TSO);
    assert!(!findings.holds && findings.complete);
    assert_eq!(cures(&findings), [(1, 0)]);
}

#[test]
fn classic_locks_need_no_more_fences_than_musketeer_finds() {
    // Both cores execute the same code here, so one place can be two of musketeer's (its comparison page, 2014).
    for (name, musketeer) in [("dekker/broken", 3), ("peterson/broken", 2), ("fast-mutex/broken", 4)] {
        let found = findings(name, TSO);
        assert!(!found.holds && found.complete && !found.incurable, "{name}");
        let smallest = found.cures.iter().map(Vec::len).min();
        assert!(smallest.is_some_and(|smallest| smallest <= musketeer), "{name}: {:?}", found.cures);
    }
}

#[test]
fn dekker_under_pso_needs_a_full_fence_and_a_store_fence() {
    let found = findings("dekker/broken", PSO);
    assert!(found.complete && cures(&found).iter().all(|&(all, store)| (all, store) == (2, 1)), "{:?}", found.cures);
}

#[test]
fn a_fence_that_is_needed_is_not_called_redundant_and_one_that_is_not_is() {
    let (needed, useless) =
        (findings("store-buffering/mfence", TSO), findings("store-buffering/mfence", MemoryModel::SC));
    assert_eq!((needed.holds, needed.fences.len(), needed.redundant.len()), (true, 1, 0));
    assert_eq!((useless.holds, useless.fences.len(), useless.redundant.len()), (true, 1, 1));
}

/// Stores to `mine`, does `then`, reads `theirs`; core 1 reports whether neither has read what the other stored.
fn exchange(fences: [usize; 2]) -> fencepost::explorer::survey::Surveyor {
    use iced_x86::code_asm::{CodeAssembler, al, dword_ptr, eax};
    let core = |mine: u64, theirs: u64, mfences: usize| {
        move |a: &mut CodeAssembler| {
            a.mov(dword_ptr(mine), 1)?;
            (0..mfences).try_for_each(|_| a.mfence())?;
            a.mov(eax, dword_ptr(theirs))?;
            a.lock().add(dword_ptr(SUM), eax)?;
            a.lock().inc(dword_ptr(DONE))?;
            // Both wait; either may report.
            let mut again = a.create_label();
            a.set_label(&mut again)?;
            a.cmp(dword_ptr(DONE), 2)?;
            a.jne(again)?;
            a.cmp(dword_ptr(SUM), 0)?;
            a.sete(al)?;
            a.out(0xf4, al)
        }
    };
    let [one, other] = fences;
    let (one, other) = (core(X, Y, one), core(Y, X, other));
    cores(&[&one, &other])
}

#[test]
fn fences_that_are_each_not_needed_alone_are_tried_without_each_other() {
    let found = examine(&mut exchange([2, 1]), TSO, &Limits::default(), &Patience::default());
    assert!(found.holds && found.complete && found.fences.len() == 3, "{found:?}");
    let [first, second, _] = found.fences[..] else { unreachable!("there are three") };
    assert_eq!((found.redundant, found.removable, found.needed_then), (vec![first, second], vec![first], vec![second]));
    // Of three in a row two can go at once.
    let found = examine(&mut exchange([3, 1]), TSO, &Limits::default(), &Patience::default());
    assert_eq!((found.redundant.len(), found.removable.len(), found.needed_then.len()), (3, 2, 1));
}

#[test]
fn of_a_program_that_is_wrong_the_fences_are_judged_with_a_cure_in_place() {
    let found = examine(&mut exchange([2, 0]), TSO, &Limits::default(), &Patience::default());
    assert!(found.violated && found.complete && cures(&found).contains(&(1, 0)), "{found:?}");
    assert_eq!((found.fences.len(), found.removable.len(), found.needed_then.len()), (2, 1, 1));
    let needed = examine(&mut exchange([1, 0]), TSO, &Limits::default(), &Patience::default());
    assert_eq!((needed.violated, needed.fences.len(), needed.redundant.len()), (true, 1, 0));
}

#[test]
fn what_goes_wrong_without_late_stores_no_fence_cures() {
    let findings = findings("lost-update/broken", MemoryModel::SC);
    assert!(findings.incurable && findings.cures.is_empty());
}

#[test]
fn an_explanation_has_the_fewest_switches_and_names_the_step_that_decides() {
    let mut surveyor = program("store-buffering/broken").expect("it has a region");
    let survey = survey(&mut surveyor, TSO);
    let outcome = Outcome::Reported("r0=0 r1=0".into());
    let (told, schedule) = surveyor.explain(&survey, &outcome, None).expect("it is a final state");
    // One core does everything, then the other; only the first one's store is late.
    assert_eq!((told.switches, told.delayed_drains, told.is_minimal), (1, 1, true));
    let decisive = &told.rows[told.decisive.expect("another outcome could be reached")];
    assert!(matches!(decisive.effects[..], [Effect::Load { value: 0, forwarded: false, .. }]), "{decisive:?}");
    let instead = told.instead.expect("something else was possible");
    assert!(matches!(instead.effects[..], [Effect::Drain { .. }]), "{instead:?}");
    let bench = fencepost::testbench::Testbench::program("store-buffering").expect("the program exists");
    let run = bench.schedule(schedule).expect("it is of this image").run().expect("it fits");
    assert_eq!(run.outcome(), Some("r0=0 r1=0"));
}

#[test]
fn what_could_have_been_done_instead_is_an_operation_that_others_observe() {
    use iced_x86::code_asm::{al, bl, dword_ptr, ebx};
    // Core 0 has something of its own to do before it stores; core 1 reports what it reads.
    let store = |a: &mut iced_x86::code_asm::CodeAssembler| {
        a.mov(ebx, 1)?;
        a.mov(dword_ptr(X), ebx)
    };
    let reporter = |a: &mut iced_x86::code_asm::CodeAssembler| {
        a.mov(ebx, dword_ptr(X))?;
        a.add(bl, i32::from(b'0'))?;
        for byte in b"outcome: " {
            a.mov(al, i32::from(*byte))?;
            a.out(0xe9, al)?;
        }
        a.mov(al, bl)?;
        a.out(0xe9, al)?;
        a.mov(al, i32::from(b'\n'))?;
        a.out(0xe9, al)
    };
    let mut guest = cores(&[&store, &reporter]);
    let survey = survey(&mut guest, MemoryModel::SC);
    let (told, _) = guest.explain(&survey, &Outcome::Reported("0".into()), None).expect("it is an outcome");
    let instead = told.instead.expect("the store could have come first");
    assert!(matches!(instead.effects[..], [Effect::Store { .. }]), "{instead:?}");
    assert_eq!(instead.instruction.as_deref(), Some("mov [0x180000],ebx"), "{instead:?}");
}

#[test]
fn when_the_time_is_over_nothing_is_claimed() {
    let limits = Limits { time: Some(std::time::Duration::ZERO), ..Limits::default() };
    for name in ["dekker/broken", "dekker/mfence"] {
        let mut surveyor = program(name).expect("it has a region");
        let found = examine(&mut surveyor, TSO, &limits, &Patience::default());
        assert_eq!((found.holds, found.violated, found.complete, found.explorations), (false, false, false, 0));
        assert_eq!(found.cuts, ["it takes more time than allowed"]);
    }
}

#[test]
fn what_cannot_be_explored_to_its_end_is_not_called_right_or_wrong() {
    let mut guest = cores(&[&|a| a.rdtsc(), &|a| a.mov(iced_x86::code_asm::dword_ptr(X), 1)]);
    let findings = examine(&mut guest, TSO, &Limits::default(), &Patience::default());
    assert_eq!((findings.holds, findings.violated, findings.complete), (false, false, false));
    assert!(!findings.cuts.is_empty());
}
