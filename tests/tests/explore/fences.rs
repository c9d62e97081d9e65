//! The fence doctor and explanations.

use super::guests::{Code, X, Y, cores, program, survey};
use fencepost::explorer::Limits;
use fencepost::explorer::doctor::{Findings, Patience, examine};
use fencepost::explorer::explain::Effect;
use fencepost::explorer::own_fence::OwnFence;
use fencepost::explorer::survey::{Outcome, Surveyor};
use fencepost::memory_model::MemoryModel;
use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, al, bl, byte_ptr, dword_ptr, eax, ebx, ecx, edi, esi, qword_ptr, rax, rsp};
use std::collections::BTreeSet;

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
fn exchange(fences: [usize; 2]) -> Surveyor {
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
fn what_is_wrong_under_sc_is_told_before_any_fence_is_tried() {
    for name in ["lost-update/broken", "irq-lost-wakeup/sti-check-hlt"] {
        let found = findings(name, PSO);
        assert!(found.violated && found.in_order && found.incurable && found.cures.is_empty(), "{name}: {found:?}");
        assert_eq!(found.explorations, 2, "{name}");
    }
    let curable = findings("store-buffering/broken", TSO);
    assert!(!curable.in_order && !curable.incurable);
}

/// Something that a core of a small guest does.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Does {
    Nothing,
    Store(u64),
    /// The same by XCHG.
    Exchange(u64),
    Load(u64),
    Mfence,
    Sfence,
    LockedOr,
    LockedAnd,
}

impl Does {
    /// Whether it is a fence of the guest's own.
    fn is_fence(self) -> bool {
        match self {
            Does::Exchange(_) | Does::Mfence | Does::Sfence | Does::LockedOr | Does::LockedAnd => true,
            Does::Nothing | Does::Store(_) | Does::Load(_) => false,
        }
    }

    /// What is there without the fence.
    fn without(self) -> Does {
        match self {
            Does::Exchange(at) => Does::Store(at),
            Does::Mfence | Does::Sfence | Does::LockedOr | Does::LockedAnd => Does::Nothing,
            Does::Nothing | Does::Store(_) | Does::Load(_) => self,
        }
    }

    fn assemble(self, a: &mut CodeAssembler, loads: &mut i32) -> Result<(), IcedError> {
        match self {
            Does::Nothing => Ok(()),
            Does::Store(at) => a.mov(dword_ptr(at), 1),
            Does::Exchange(at) => {
                a.mov(ebx, 1)?;
                a.xchg(dword_ptr(at), ebx)
            }
            Does::Load(at) => {
                a.mov(ecx, dword_ptr(at))?;
                a.shl(ecx, *loads)?;
                *loads += 1;
                a.or(esi, ecx)
            }
            Does::Mfence => a.mfence(),
            Does::Sfence => a.sfence(),
            Does::LockedOr => a.lock().or(qword_ptr(rsp), 0),
            Does::LockedAnd => a.lock().and(byte_ptr(rsp - 8), -1),
        }
    }
}

/// Two cores that do so; wrong when what they have read, a bit for each load, is `forbidden`.
fn two_cores(does: [&[Does]; 2], forbidden: i32) -> Surveyor {
    let core = |index: usize| {
        move |a: &mut CodeAssembler| {
            let mut loads = 2 * index as i32;
            a.mov(rsp, 0x19_0000 + 0x100 * index as u64)?;
            a.xor(esi, esi)?;
            does[index].iter().try_for_each(|it| it.assemble(a, &mut loads))?;
            a.xor(ebx, ebx)?;
            a.lock().add(dword_ptr(SUM), esi)?;
            a.lock().inc(dword_ptr(DONE))?;
            let mut again = a.create_label();
            a.set_label(&mut again)?;
            a.cmp(dword_ptr(DONE), 2)?;
            a.jne(again)?;
            a.cmp(dword_ptr(SUM), forbidden)?;
            a.sete(al)?;
            a.out(0xf4, al)
        }
    };
    cores(&[&core(0), &core(1)])
}

fn examined(surveyor: &mut Surveyor, model: MemoryModel) -> Findings {
    examine(surveyor, model, &Limits::default(), &Patience::default())
}

#[test]
fn what_compilers_make_of_a_fence_is_judged_as_one() {
    for fence in [Does::LockedOr, Does::LockedAnd] {
        let (one, other) = ([Does::Store(X), fence, Does::Load(Y)], [Does::Store(Y), Does::Mfence, Does::Load(X)]);
        let found = examined(&mut two_cores([&one, &other], 0), TSO);
        let kinds: Vec<OwnFence> = found.kinds.values().copied().collect();
        assert_eq!((found.holds, kinds), (true, vec![OwnFence::LockedNothing, OwnFence::Full]));
        assert!(found.complete && found.redundant.is_empty(), "{found:?}");
        let once_is_enough = [Does::Store(X), fence, Does::Mfence, Does::Load(Y)];
        let found = examined(&mut two_cores([&once_is_enough, &other], 0), TSO);
        assert_eq!((found.redundant.len(), found.removable.len()), (2, 1));
    }
}

#[test]
fn an_exchange_whose_result_nobody_looks_at_is_a_store_and_a_fence() {
    let (one, other) = ([Does::Exchange(X), Does::Load(Y)], [Does::Exchange(Y), Does::Load(X)]);
    let found = examined(&mut two_cores([&one, &other], 0), TSO);
    assert!(found.holds && found.complete && found.redundant.is_empty(), "{found:?}");
    assert!(found.kinds.len() == 2 && found.kinds.values().all(|kind| *kind == OwnFence::Exchange));
    // A flag needs no fence after it.
    let (one, other) = ([Does::Store(X), Does::Exchange(Y)], [Does::Load(Y), Does::Load(X)]);
    let found = examined(&mut two_cores([&one, &other], 4), TSO);
    assert_eq!((found.holds, found.redundant.len()), (true, 1));
    let found = examined(&mut two_cores([&one, &other], 4), PSO);
    assert_eq!((found.holds, found.redundant.len()), (true, 0));
}

#[test]
fn a_locked_instruction_whose_result_counts_is_no_fence() {
    let uses: [Code; 5] = [
        &|a| a.lock().add(dword_ptr(X), 1),
        &|a| {
            a.lock().or(dword_ptr(X), 0)?;
            a.sete(al)
        },
        &|a| {
            a.xchg(dword_ptr(X), ebx)?;
            a.mov(bl, 1)?;
            a.mov(dword_ptr(Y), ebx)
        },
        // Who called may look at it.
        &|a| {
            a.xchg(dword_ptr(X), eax)?;
            a.ret()
        },
        &|a| {
            a.xchg(dword_ptr(X), ecx)?;
            a.jmp(rax)
        },
    ];
    for code in uses {
        let found = examined(&mut cores(&[code, &|a| a.nop()]), TSO);
        assert!(found.fences.is_empty(), "{found:?}");
    }
}

/// Whether what is said of each fence of a guest is what exploring the guest without it says. Returns of how many it was said
/// that they are needed, and that they are not.
fn agrees_with_other_guests(does: [&[Does]; 2], forbidden: i32, model: MemoryModel) -> (usize, usize) {
    let found = examined(&mut two_cores(does, forbidden), model);
    assert!(found.complete, "{does:?}: {found:?}");
    if !found.holds {
        return (0, 0);
    }
    let fences =
        |core: usize| (0..does[core].len()).filter(move |&at| does[core][at].is_fence()).map(move |at| (core, at));
    let places: Vec<(usize, usize)> = fences(0).chain(fences(1)).collect();
    assert_eq!(places.len(), found.fences.len(), "{does:?}: {found:?}");
    let without = |gone: &[u64]| {
        let mut other = does.map(<[Does]>::to_vec);
        for (&(core, at), _) in places.iter().zip(&found.fences).filter(|(_, fence)| gone.contains(fence)) {
            other[core][at] = other[core][at].without();
        }
        examined(&mut two_cores([&other[0], &other[1]], forbidden), model).holds
    };
    for fence in &found.fences {
        assert_eq!(found.redundant.contains(fence), without(&[*fence]), "{does:?} under {model}: {found:?}");
    }
    assert!(without(&found.removable), "{does:?} under {model}: {found:?}");
    (found.fences.len() - found.redundant.len(), found.redundant.len())
}

#[test]
fn a_fence_left_out_is_what_a_guest_without_it_is() {
    use Does::*;
    let fences = [Nothing, Mfence, Sfence, LockedOr];
    let (mut needed, mut not_needed) = (0, 0);
    let mut judge = |does: [&[Does]; 2], forbidden, model| {
        let (more_needed, more_not_needed) = agrees_with_other_guests(does, forbidden, model);
        needed += more_needed;
        not_needed += more_not_needed;
    };
    for store in [Store as fn(u64) -> Does, Exchange] {
        for fence in fences {
            judge([&[store(X), fence, Load(Y)], &[Store(Y), LockedAnd, Load(X)]], 0, TSO);
            judge([&[Store(X), fence, store(Y)], &[Load(Y), Load(X)]], 4, PSO);
            judge([&[store(X), fence, Store(Y), Load(X)], &[Exchange(Y), fence, Load(X)]], 1, TSO);
        }
    }
    assert!(needed >= 10 && not_needed >= 10, "{needed} needed and {not_needed} not: too few to tell");
}

#[test]
fn no_fence_stands_within_an_instruction() {
    // Its halves are on two lines and may come in any order under pso, whatever stands before and after it.
    let halves = |a: &mut CodeAssembler| {
        a.mov(rax, 0x1_0000_0001_u64)?;
        a.mov(qword_ptr(Y - 4), rax)
    };
    let reads = |a: &mut CodeAssembler| {
        a.mov(ecx, dword_ptr(Y))?;
        a.mov(ebx, dword_ptr(Y - 4))?;
        a.cmp(ecx, ebx)?;
        a.seta(al)?;
        a.out(0xf4, al)
    };
    assert!(examined(&mut cores(&[&halves, &reads]), TSO).holds);
    let found = examined(&mut cores(&[&halves, &reads]), PSO);
    assert!(found.violated && found.incurable && !found.in_order && found.cures.is_empty(), "{found:?}");
    // A fence before a repeated one stands before its first round only.
    let repeated = |a: &mut CodeAssembler| {
        a.mov(eax, 1)?;
        a.mov(edi, (Y - 4) as i32)?;
        a.mov(ecx, 2)?;
        a.rep().stosd()
    };
    let found = examined(&mut cores(&[&repeated, &reads]), PSO);
    assert!(found.violated && !found.complete && !found.incurable && found.cures.is_empty(), "{found:?}");
}

#[test]
fn a_core_that_is_never_woken_is_not_called_right() {
    let sleeps = |a: &mut CodeAssembler| {
        a.sti()?;
        a.hlt()
    };
    let found = examined(&mut cores(&[&sleeps, &|a| a.nop()]), TSO);
    assert!(found.violated && found.in_order && found.incurable && !found.holds, "{found:?}");
    // After its region it may sleep once it has reported.
    let reports = |a: &mut CodeAssembler| {
        reports_the_same(a, |a| {
            a.sti()?;
            a.hlt()
        })
    };
    let found = examined(&mut cores(&[&reports, &|a| a.mov(dword_ptr(X), 1)]), TSO);
    assert!(found.holds && found.complete, "{found:?}");
}

#[test]
fn a_report_that_is_not_listed_is_a_violation() {
    let reports = |a: &mut CodeAssembler| reports_the_same(a, |_| Ok(()));
    for (listed, holds) in [("same", true), ("other", false)] {
        let mut guest = cores(&[&reports, &|a| a.mov(dword_ptr(X), 1)]);
        guest.allow_only(Some(BTreeSet::from([listed.to_owned()])));
        let found = examined(&mut guest, TSO);
        assert_eq!((found.holds, found.violated, found.complete), (holds, !holds, true), "{found:?}");
    }
}

/// Looks at what the other core stores, reports `same` whatever it is, then does `then`.
fn reports_the_same(
    a: &mut CodeAssembler,
    then: impl Fn(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Result<(), IcedError> {
    a.mov(ecx, dword_ptr(X))?;
    for byte in b"outcome: same\n" {
        a.mov(al, i32::from(*byte))?;
        a.out(0xe9, al)?;
    }
    then(a)
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
    // Core 0 has something of its own to do before it stores; core 1 reports what it reads.
    let store = |a: &mut CodeAssembler| {
        a.mov(ebx, 1)?;
        a.mov(dword_ptr(X), ebx)
    };
    let reporter = |a: &mut CodeAssembler| {
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
    let mut guest = cores(&[&|a| a.rdtsc(), &|a| a.mov(dword_ptr(X), 1)]);
    let findings = examine(&mut guest, TSO, &Limits::default(), &Patience::default());
    assert_eq!((findings.holds, findings.violated, findings.complete), (false, false, false));
    assert!(!findings.cuts.is_empty());
}
