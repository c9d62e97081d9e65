//! What is said of a guest is so: every way to wait for ever is listed, none that is not one, and nothing is proved of nothing.

use super::guests::*;
use fencepost::explorer::doctor::{Patience, examine};
use fencepost::explorer::region::{NoRegion, Region};
use fencepost::explorer::survey::{Outcome, Survey};
use fencepost::explorer::{Beyond, Cut, Interrupts, Limits, Outlook, Plan};
use fencepost::machine::{Machine, Settings};
use fencepost::memory_model::MemoryModel;
use fencepost_tests::guest::{apic, handler, load_idt, store};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const TSO: MemoryModel = MemoryModel::TSO;
const VECTOR: u8 = 0x41;
/// ICR: assert, to all others.
const CALL: i32 = (VECTOR as u32 | apic::ASSERT | apic::TO_OTHERS) as i32;

fn begin(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.xchg(bx, bx)
}

fn end(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.xchg(cx, cx)
}

fn wait_for(a: &mut CodeAssembler, address: u64, value: i32) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.pause()?;
    a.cmp(dword_ptr(address), value)?;
    a.jne(again)
}

/// An enabled local APIC, and a handler for [`VECTOR`] with `action` in it.
fn with_handler(
    a: &mut CodeAssembler,
    action: impl Fn(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Result<(), IcedError> {
    handler(a, &[VECTOR], |a| {
        a.push(rax)?;
        action(a)?;
        store(a, apic::EOI, 0)?;
        a.pop(rax)?;
        a.iretq()
    })?;
    load_idt(a)?;
    store(a, apic::SVR, apic::ENABLED)
}

/// Calls the other core, and waits until its handler has answered.
fn caller(a: &mut CodeAssembler) -> Result<(), IcedError> {
    begin(a)?;
    a.mov(eax, apic::ICR_LOW as u32)?;
    a.mov(dword_ptr(eax), CALL)?;
    wait_for(a, X, 1)?;
    end(a)
}

/// Is called, with `code` in its region and `after` behind it.
fn called(code: Code, after: Code) -> impl Fn(&mut CodeAssembler) -> Result<(), IcedError> {
    move |a| {
        with_handler(a, |a| a.mov(dword_ptr(X), 1))?;
        begin(a)?;
        code(a)?;
        end(a)?;
        after(a)
    }
}

fn hangs(survey: &Survey) -> Vec<String> {
    let is_hang = |outcome: &&Outcome| matches!(outcome, Outcome::Deadlock(_) | Outcome::Livelock(_));
    survey.outcomes.keys().filter(is_hang).map(ToString::to_string).collect()
}

/// The cores that `text`, the name of a hang, says are in it.
fn cores_in(text: &str) -> Vec<usize> {
    (0..4).filter(|core| text.contains(&format!("core {core} at"))).collect()
}

#[test]
fn every_group_of_cores_that_can_be_stuck_is_listed_and_each_once() {
    // Each waits for its own number in a word that the others overwrite: whoever is last comes to its end.
    let code = |number: i32| {
        move |a: &mut CodeAssembler| {
            a.mov(dword_ptr(X), number)?;
            a.mfence()?;
            // Different ways into the loop, at different instructions of it.
            let mut inside = a.create_label();
            let mut again = a.create_label();
            a.cmp(dword_ptr(Y), 0)?;
            a.je(inside)?;
            a.set_label(&mut again)?;
            a.cmp(dword_ptr(X), 77)?;
            a.set_label(&mut inside)?;
            a.cmp(dword_ptr(X), number)?;
            a.jne(again)?;
            a.mov(dword_ptr(Y), number)
        }
    };
    let (one, two, three) = (code(1), code(2), code(3));
    for model in MemoryModel::ALL {
        let survey = survey(&mut cores(&[&one, &two, &three]), model);
        assert!(survey.is_complete(), "{:?}", survey.reasons());
        let groups: Vec<Vec<usize>> = hangs(&survey).iter().map(|text| cores_in(text)).collect();
        let expected = [vec![0], vec![0, 1], vec![0, 2], vec![1], vec![1, 2], vec![2]];
        assert_eq!(groups, expected, "under {model}: {:?}", outcomes(&survey));
        assert!(survey.outcomes.contains_key(&Outcome::AllHalted));
    }
}

#[test]
fn more_ways_to_wait_than_anyone_would_print_are_all_there() {
    // Each counts to five in a word of its own, and then waits in a loop for each value that it can see in the other's.
    let code = |mine: u64, theirs: u64| {
        move |a: &mut CodeAssembler| {
            (1..=5).try_for_each(|value| a.mov(dword_ptr(mine), value))?;
            a.mov(eax, dword_ptr(theirs))?;
            for value in 0..=5 {
                let (mut stuck, mut other) = (a.create_label(), a.create_label());
                a.cmp(eax, value)?;
                a.jne(other)?;
                a.set_label(&mut stuck)?;
                a.cmp(dword_ptr(mine), 77)?;
                a.jne(stuck)?;
                a.set_label(&mut other)?;
                a.nop()?;
            }
            Ok(())
        }
    };
    let (one, two) = (code(X, Y), code(Y, X));
    let survey = survey(&mut cores(&[&one, &two]), TSO);
    assert!(survey.is_complete());
    assert_eq!((hangs(&survey).len(), survey.outcomes.len()), (36, 36), "{:?}", outcomes(&survey));
}

#[test]
fn the_shadow_of_sti_ends_at_the_mark() {
    let open_and_close: Code = &|a| {
        a.cli()?;
        a.sti()
    };
    for code in [open_and_close, &|a| a.sti()] {
        let other = called(code, &|a| a.cli());
        let survey = survey(&mut marked_cores(&[&caller, &other]), TSO);
        assert!(survey.is_complete() && hangs(&survey).is_empty(), "{:?} {:?}", survey.reasons(), outcomes(&survey));
    }
}

#[test]
fn a_core_that_lets_interrupts_in_only_behind_its_region_is_no_deadlock_of_it() {
    let deaf: Code = &|a| a.cli();
    let opens: Code = &|a| {
        a.nop()?;
        a.sti()?;
        a.nop()
    };
    let survey_of = |after: Code| {
        let other = called(deaf, after);
        survey(&mut marked_cores(&[&caller, &other]), TSO)
    };
    let opened = survey_of(opens);
    assert!(hangs(&opened).is_empty(), "{:?}", outcomes(&opened));
    assert!(!opened.is_complete());
    let outlooks: Vec<Outlook> = opened.unsettled.iter().map(|it| it.outlook).collect();
    assert_eq!(outlooks, [Outlook::Ends]);
    // One that never does is.
    let closed = survey_of(&|a| a.nop());
    assert!(closed.is_complete(), "{:?}", closed.reasons());
    assert_eq!(hangs(&closed).iter().map(|text| cores_in(text)).collect::<Vec<_>>(), [[0]]);
}

#[test]
fn a_store_behind_the_region_ends_a_wait_in_it() {
    let waits = |a: &mut CodeAssembler| {
        begin(a)?;
        wait_for(a, X, 1)?;
        end(a)
    };
    let stores = |value: i32| {
        move |a: &mut CodeAssembler| {
            begin(a)?;
            a.mov(dword_ptr(Y), 1)?;
            end(a)?;
            a.mov(dword_ptr(X), value)
        }
    };
    let (right, wrong) = (stores(1), stores(2));
    let survey_of = |other: Code| survey(&mut marked_cores(&[&waits, other]), TSO);
    let ends = survey_of(&right);
    assert!(hangs(&ends).is_empty() && !ends.is_complete() && ends.unsettled.len() == 1, "{:?}", outcomes(&ends));
    let never = survey_of(&wrong);
    assert!(never.is_complete() && hangs(&never).len() == 1, "{:?} {:?}", never.reasons(), outcomes(&never));
}

/// Core 0 is to store once it has been interrupted; the interrupt's handler asks for the next one.
fn storm(again: bool) -> fencepost::explorer::survey::Surveyor {
    let main = move |a: &mut CodeAssembler| {
        with_handler(a, |a| {
            if again {
                store(a, apic::ICR_LOW, u32::from(VECTOR) | apic::ASSERT | apic::TO_SELF)?;
            }
            a.mov(dword_ptr(X), 1)
        })?;
        begin(a)?;
        a.sti()?;
        wait_for(a, X, 1)?;
        a.cli()?;
        end(a)
    };
    let calls = |a: &mut CodeAssembler| {
        begin(a)?;
        a.mov(eax, apic::ICR_LOW as u32)?;
        a.mov(dword_ptr(eax), CALL)?;
        end(a)
    };
    marked_cores(&[&main, &calls])
}

#[test]
fn an_interrupt_that_comes_again_at_once_for_ever_is_a_livelock() {
    let stormy = survey(&mut storm(true), TSO);
    assert!(stormy.is_complete(), "{:?}", stormy.reasons());
    let found = hangs(&stormy);
    assert!(matches!(found.as_slice(), [it] if it.contains("livelock") && it.contains("interrupts come at once")));
    assert!(stormy.outcomes.contains_key(&Outcome::AllHalted), "a late interrupt lets the core go on");
    let calm = survey(&mut storm(false), TSO);
    assert!(calm.is_complete() && hangs(&calm).is_empty(), "{:?} {:?}", calm.reasons(), outcomes(&calm));
}

#[test]
fn with_prompt_interrupts_only_what_emulators_do_is_explored() {
    let plan = Plan { interrupts: Interrupts::Prompt, ..Plan::default() };
    let mut stormy = storm(true);
    let survey = stormy.survey(&plan, TSO, &Limits::default());
    assert!(survey.is_complete());
    assert_eq!(hangs(&survey).len(), survey.outcomes.len(), "{:?}", outcomes(&survey));
    // And the schedule of the hang leads where no prompt interrupt leads out of.
    let reached = survey.outcomes.values().next().expect("there is a hang");
    stormy.wait_with(Interrupts::Prompt);
    let again = stormy.replay(&reached.schedule, &Limits::default()).expect("it fits");
    assert_eq!(outcomes(&again), outcomes(&survey));
}

#[test]
fn a_region_with_nothing_in_it_proves_nothing() {
    let empty = |a: &mut CodeAssembler| {
        begin(a)?;
        end(a)?;
        a.mov(dword_ptr(X), 1)
    };
    let private = |a: &mut CodeAssembler| {
        begin(a)?;
        a.push(rax)?;
        a.pop(rax)?;
        end(a)
    };
    for code in [&empty as Code, &private] {
        let survey = survey(&mut marked_cores(&[code, code]), TSO);
        assert!(survey.is_hollow(), "{:?}", survey.explored.witness());
        assert_eq!(survey.entered.len(), 2);
    }
    let shares = |a: &mut CodeAssembler| {
        begin(a)?;
        a.mov(dword_ptr(X), 1)?;
        end(a)
    };
    let shared = survey(&mut marked_cores(&[&shares, &shares]), TSO);
    assert_eq!(shared.explored.witness().map(|it| it.shared_accesses), Some(2));
    assert!(!shared.is_hollow());
    let alone = survey(&mut marked_cores(&[&shares, &|a| a.nop()]), TSO);
    assert!(alone.is_hollow() && alone.entered.len() == 1);
}

#[test]
fn marks_that_are_exchanged_are_no_region() {
    let exchanged: Code = &|a| {
        end(a)?;
        a.mov(dword_ptr(X), 1)?;
        begin(a)
    };
    let (image, settings) = cores_image(&[exchanged, exchanged]);
    let machine = Machine::new(&image, Settings { ..settings }).expect("it fits");
    let found = Region::find(machine, 10_000, None);
    assert!(matches!(found, Err(NoRegion::EndsFirst { .. })));
}

#[test]
fn who_spins_behind_the_region_while_the_other_has_halted_hangs() {
    let spins = |a: &mut CodeAssembler| {
        begin(a)?;
        a.mov(dword_ptr(X), 1)?;
        end(a)?;
        wait_for(a, Y, 1)
    };
    let halts = |a: &mut CodeAssembler| {
        begin(a)?;
        a.mov(eax, dword_ptr(X))?;
        end(a)
    };
    let found = survey(&mut marked_cores(&[&spins, &halts]), TSO);
    assert!(found.is_complete(), "{:?}", found.reasons());
    assert!(matches!(hangs(&found).as_slice(), [it] if it.contains("behind the region")), "{:?}", outcomes(&found));
    assert!(found.outcomes.iter().all(|(outcome, reached)| reached.is_violation(outcome)));
    // One for which the other stores comes to its end, though they take turns.
    let stores = |a: &mut CodeAssembler| {
        halts(a)?;
        a.mov(dword_ptr(Y), 1)
    };
    let fine = survey(&mut marked_cores(&[&spins, &stores]), TSO);
    assert_eq!(outcomes(&fine), [Outcome::AllHalted.to_string()]);
}

#[test]
fn a_whole_guest_has_no_marks() {
    let stores = |a: &mut CodeAssembler| {
        end(a)?;
        a.mov(dword_ptr(Y), 1)
    };
    let found = survey(&mut cores(&[&stores, &|a| wait_for(a, Y, 1)]), TSO);
    assert!(found.is_complete() && found.unsettled.is_empty(), "{:?}", found.reasons());
    assert_eq!(outcomes(&found), [Outcome::AllHalted.to_string()]);
}

#[test]
fn of_random_numbers_one_does_not_stand_for_all() {
    let draws: [Code; 2] = [&|a| a.rdrand(eax), &|a| a.rdseed(eax)];
    for draw in draws {
        let found = survey(&mut cores(&[draw, &|a| a.mov(dword_ptr(X), 1)]), TSO);
        assert_eq!(found.cuts(), [Cut::Beyond(Beyond::DrawsRandom)]);
    }
}

#[test]
fn who_is_interrupted_at_its_mark_is_said() {
    let at_mark = |code: Code| {
        let other = called(code, &|a| a.nop());
        let found = survey(&mut marked_cores(&[&caller, &other]), TSO);
        found.explored.witness().map(|witness| witness.interrupted_at_mark)
    };
    assert_eq!(at_mark(&|a| a.sti()), Some(0b10));
    assert_eq!(at_mark(&|a| a.cli()), Some(0));
}

#[test]
fn a_second_pass_through_the_marks_is_not_said_to_be_explored() {
    let passes = |times: i32| {
        move |a: &mut CodeAssembler| {
            let mut again = a.create_label();
            a.mov(ecx, times)?;
            a.set_label(&mut again)?;
            begin(a)?;
            a.lock().inc(dword_ptr(X))?;
            end(a)?;
            a.dec(ecx)?;
            a.jnz(again)
        }
    };
    let (once, twice) = (passes(1), passes(2));
    let found = [&once as Code, &twice].map(|code| survey(&mut marked_cores(&[code, code]), TSO));
    assert!(found[0].is_complete() && !found[1].is_complete(), "{:?}", found[1].reasons());
    assert!(found[1].reasons()[0].contains("only its first pass"));
    let examined = examine(&mut marked_cores(&[&twice, &twice]), TSO, &Limits::default(), &Patience::default());
    assert!(!examined.holds && !examined.violated, "{examined:?}");
}
