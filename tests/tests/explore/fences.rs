//! The fence doctor and explanations.

use super::guests::*;
use fencepost::explorer::Limits;
use fencepost::explorer::doctor::{Findings, Patience, examine};
use fencepost::explorer::explain::Effect;
use fencepost::explorer::survey::Outcome;
use fencepost::memory_model::MemoryModel;

const TSO: MemoryModel = MemoryModel::TSO;
const PSO: MemoryModel = MemoryModel::PSO;

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
