use super::*;
use proptest::prelude::*;

const TPR: u64 = 0x080;
const PPR: u64 = 0x0a0;
const EOI: u64 = 0x0b0;
const LDR: u64 = 0x0d0;
const DFR: u64 = 0x0e0;
const SVR: u64 = 0x0f0;
const ISR: u64 = 0x100;
const TMR: u64 = 0x180;
const IRR: u64 = 0x200;
const ESR: u64 = 0x280;
const ICR_LO: u64 = 0x300;
const ICR_HI: u64 = 0x310;
const LVT_TIMER: u64 = 0x320;
const LVT_LINT0: u64 = 0x350;
const LVT_LINT1: u64 = 0x360;
const LVT_ERROR: u64 = 0x370;
const INITIAL_COUNT: u64 = 0x380;
const CURRENT_COUNT: u64 = 0x390;
const DIVIDE: u64 = 0x3e0;

const MASKED: u64 = 0x1_0000;
const PERIODIC: u64 = 0x2_0000;

fn read(apic: &mut LocalApic, offset: u64) -> u64 {
    apic.read(offset, Width::Dword)
}

fn write_at(apic: &mut LocalApic, now: u64, offset: u64, value: u64) -> Vec<ApicSignal> {
    apic.write(offset, Width::Dword, value, Ticks(now))
}

fn write(apic: &mut LocalApic, offset: u64, value: u64) -> Vec<ApicSignal> {
    write_at(apic, 0, offset, value)
}

/// The local APIC 1, enabled by software as kernels do first.
fn enabled() -> LocalApic {
    let mut apic = LocalApic::new(1, false);
    write(&mut apic, SVR, 0x1ff);
    apic
}

fn fixed(vector: u8) -> Message {
    let destination = Destination::Physical(1);
    Message { destination, delivery: Delivery::Fixed, vector, assert: true, trigger: Trigger::Edge }
}

fn level(vector: u8) -> Message {
    Message { trigger: Trigger::Level, ..fixed(vector) }
}

fn to(destination: Destination) -> Message {
    Message { destination, ..fixed(0x40) }
}

/// Whether the vector's bit is set in the 256-bit register that begins at `register`.
fn bit(apic: &mut LocalApic, register: u64, vector: u8) -> bool {
    read(apic, register + 16 * u64::from(vector / 32)) >> (vector % 32) & 1 == 1
}

#[test]
fn power_up_state_is_the_manuals() {
    let mut apic = LocalApic::new(3, false);
    let expected = [(0x020, 0x0300_0000), (0x030, 0x0005_0014), (SVR, 0xff), (DFR, 0xffff_ffff), (LDR, 0), (ICR_LO, 0)];
    for (offset, value) in expected {
        assert_eq!(read(&mut apic, offset), value, "{}", apic.register(offset));
    }
    for offset in (LVT_TIMER..=LVT_ERROR).step_by(16) {
        assert_eq!(read(&mut apic, offset), MASKED, "{}", apic.register(offset));
    }
}

#[test]
fn the_bootstrap_core_starts_in_virtual_wire_mode() {
    let mut apic = LocalApic::new(0, true);
    assert_eq!([SVR, LVT_LINT0, LVT_LINT1].map(|offset| read(&mut apic, offset)), [0x1ff, 0x700, 0x400]);
    assert_eq!(apic.set_line(Lint::Lint0, true), Accepted::Nothing);
    assert!(apic.ext_int(), "the 8259A's request reaches the core");
    assert_eq!(apic.set_line(Lint::Lint1, true), Accepted::Nmi);
    assert_eq!(apic.set_line(Lint::Lint1, true), Accepted::Nothing, "one edge, one NMI");
    let _ = apic.set_line(Lint::Lint0, false);
    assert!(!apic.ext_int());
}

#[test]
fn registers_have_the_manuals_names() {
    let apic = enabled();
    let offsets = [ICR_LO, ICR_HI, ISR, IRR + 0x70, LVT_TIMER, CURRENT_COUNT, 0x302, 0x2f0];
    let names = ["ICR_LO", "ICR_HI", "ISR0", "IRR7", "LVT_TIMER", "CURRENT_COUNT", "ICR_LO", "RESERVED"];
    assert_eq!(offsets.map(|offset| apic.register(offset)), names);
}

#[test]
fn an_interrupt_goes_from_request_to_service_to_its_end() {
    let mut apic = enabled();
    assert_eq!(apic.accept(&fixed(0x41)), Accepted::Interrupt);
    assert!(bit(&mut apic, IRR, 0x41));
    assert_eq!(apic.pending(), Some(0x41));
    assert_eq!(apic.acknowledge(), Some(0x41));
    assert!(!bit(&mut apic, IRR, 0x41) && bit(&mut apic, ISR, 0x41));
    assert_eq!(read(&mut apic, PPR), 0x40);
    assert_eq!(write(&mut apic, EOI, 0), [], "an edge is nobody else's business");
    assert!(!bit(&mut apic, ISR, 0x41));
    assert_eq!(apic.acknowledge(), None);
}

#[test]
fn a_vector_in_service_lets_only_a_higher_class_through() {
    let mut apic = enabled();
    let _ = apic.accept(&fixed(0x41));
    apic.acknowledge();
    for (vector, pending) in [(0x4f, None), (0x50, Some(0x50)), (0x31, Some(0x50))] {
        let _ = apic.accept(&fixed(vector));
        assert_eq!(apic.pending(), pending, "after {vector:#x}");
    }
    apic.acknowledge();
    write(&mut apic, EOI, 0);
    assert_eq!(apic.pending(), None, "0x41 is still in service");
    write(&mut apic, EOI, 0);
    assert_eq!(apic.pending(), Some(0x4f));
}

#[test]
fn two_requests_of_a_vector_are_one_and_a_third_waits_while_it_is_served() {
    let mut apic = enabled();
    let _ = (apic.accept(&fixed(0x41)), apic.accept(&fixed(0x41)));
    assert_eq!(apic.acknowledge(), Some(0x41));
    let _ = apic.accept(&fixed(0x41));
    assert_eq!(apic.pending(), None);
    write(&mut apic, EOI, 0);
    assert_eq!(apic.acknowledge(), Some(0x41));
    write(&mut apic, EOI, 0);
    assert_eq!(apic.pending(), None);
}

#[test]
fn the_task_priority_keeps_its_class_waiting_and_cr8_is_its_upper_half() {
    let mut apic = enabled();
    let _ = apic.accept(&fixed(0x4f));
    write(&mut apic, TPR, 0x43);
    assert_eq!((apic.cr8(), apic.pending(), read(&mut apic, PPR)), (4, None, 0x43));
    apic.set_cr8(3);
    assert_eq!((read(&mut apic, TPR), apic.pending()), (0x30, Some(0x4f)));
    apic.set_cr8(0xff);
    assert_eq!(read(&mut apic, TPR), 0xf0);
}

#[test]
fn an_interrupt_that_loses_to_the_task_priority_is_acknowledged_as_spurious() {
    let mut apic = enabled();
    let _ = apic.accept(&fixed(0x41));
    write(&mut apic, TPR, 0x50);
    assert_eq!(apic.acknowledge(), Some(0xff));
    assert!(bit(&mut apic, IRR, 0x41), "it still waits");
    assert!(!bit(&mut apic, ISR, 0xff), "and there is nothing to end");
}

#[test]
fn the_end_of_a_level_triggered_interrupt_is_told() {
    let mut apic = enabled();
    let _ = apic.accept(&level(0x61));
    assert!(bit(&mut apic, TMR, 0x61));
    apic.acknowledge();
    assert_eq!(write(&mut apic, EOI, 0), [ApicSignal::EndOfInterrupt(0x61)]);
    let _ = apic.accept(&fixed(0x61));
    assert!(!bit(&mut apic, TMR, 0x61), "the last request says what it is");
}

#[test]
fn disabled_by_software_it_takes_only_what_a_core_must_take() {
    let mut apic = enabled();
    let _ = apic.accept(&fixed(0x41));
    write(&mut apic, LVT_TIMER, 0x20);
    write(&mut apic, SVR, 0xff);
    assert_eq!((apic.pending(), apic.acknowledge()), (None, None));
    assert_eq!(read(&mut apic, LVT_TIMER), MASKED | 0x20);
    write(&mut apic, LVT_TIMER, 0x20);
    assert_eq!(read(&mut apic, LVT_TIMER), MASKED | 0x20, "unmasking is ignored");
    assert_eq!(apic.accept(&fixed(0x42)), Accepted::Nothing);
    for (delivery, accepted) in [
        (Delivery::Nmi, Accepted::Nmi),
        (Delivery::Smi, Accepted::Smi),
        (Delivery::StartUp, Accepted::StartUp(8)),
        (Delivery::Init, Accepted::Init),
    ] {
        assert_eq!(apic.accept(&Message { delivery, ..fixed(8) }), accepted);
    }
}

#[test]
fn init_resets_everything_but_the_identity() {
    let mut apic = LocalApic::new(0, true);
    write(&mut apic, LDR, 0x0100_0000);
    let _ = apic.accept(&fixed(0x41));
    write(&mut apic, INITIAL_COUNT, 1000);
    assert_eq!(apic.accept(&Message { delivery: Delivery::Init, ..fixed(0) }), Accepted::Init);
    assert_eq!(apic, LocalApic::new(0, false));
}

#[test]
fn an_identity_that_is_written_is_what_messages_name_until_power_up() {
    let mut apic = enabled();
    write(&mut apic, 0x20, 0x0500_0000);
    let is_meant = |apic: &LocalApic, destination| apic.is_destination(&to(destination));
    assert!(is_meant(&apic, Destination::Physical(5)) && !is_meant(&apic, Destination::Physical(1)));
    assert!(
        is_meant(&apic, Destination::Itself(1)) && !is_meant(&apic, Destination::AllBut(1)),
        "it is its own all the same"
    );
    let _ = apic.accept(&Message { delivery: Delivery::Init, ..to(Destination::Physical(5)) });
    assert_eq!(read(&mut apic, 0x20), 0x0500_0000, "INIT leaves it");
    apic.reset();
    assert_eq!(read(&mut apic, 0x20), 0x0100_0000);
}

#[test]
fn init_does_not_pull_a_pin() {
    let mut apic = LocalApic::new(0, true);
    let _ = apic.set_line(Lint::Lint0, true);
    let _ = apic.accept(&Message { delivery: Delivery::Init, ..fixed(0) });
    assert!(!apic.ext_int(), "masked");
    write(&mut apic, SVR, 0x1ff);
    write(&mut apic, LVT_LINT0, 0x700);
    assert!(apic.ext_int(), "and the line is still high");
}

/// MP Specification B.4, and what xv6 and Linux do: ICR_HI, INIT, de-assert, then start-up messages.
#[test]
fn a_core_is_started_with_init_deassert_and_startup() {
    let mut apic = LocalApic::new(0, true);
    write(&mut apic, ICR_HI, 0x0100_0000);
    let mut send = |command| match write(&mut apic, ICR_LO, command)[..] {
        [ApicSignal::Send(message)] => message,
        ref other => panic!("one message, not {other:?}"),
    };
    let mut woken = LocalApic::new(1, false);
    let [init, deassert, startup] = [0xc500, 0x8500, 0x4607].map(&mut send);
    assert_eq!([init, deassert, startup].map(|message| woken.is_destination(&message)), [true; 3]);
    assert_eq!(woken.accept(&init), Accepted::Init);
    assert_eq!(woken.accept(&deassert), Accepted::Nothing);
    assert_eq!(woken.accept(&startup), Accepted::StartUp(7));
    assert_eq!(
        [ICR_LO, ICR_HI].map(|offset| read(&mut apic, offset)),
        [0x4607, 0x0100_0000],
        "delivery status is idle"
    );
}

#[test]
fn commands_are_edges_whatever_their_level_bits_say() {
    let mut apic = enabled();
    write(&mut apic, ICR_HI, 0x0200_0000);
    let message = to(Destination::Physical(2));
    for command in [0x0040, 0x4040, 0x8040, 0xc040] {
        assert_eq!(write(&mut apic, ICR_LO, command), [ApicSignal::Send(message)], "{command:#x}");
    }
}

#[test]
fn shorthands_override_the_destination() {
    let mut apic = enabled();
    write(&mut apic, ICR_HI, 0x0700_0000);
    for (command, destination) in [
        (0x0_0840, Destination::Logical(7)),
        (0x4_0040, Destination::Itself(1)),
        (0x8_0040, Destination::All),
        (0xc_0040, Destination::AllBut(1)),
    ] {
        assert_eq!(write(&mut apic, ICR_LO, command), [ApicSignal::Send(to(destination))], "{command:#x}");
    }
}

#[test]
fn commands_that_the_manual_calls_invalid_send_nothing() {
    let mut apic = enabled();
    for command in [0x4_4440, 0x8_4540, 0x4_4140, 0x4_4640, 0x0_4340, 0x0_4740] {
        assert_eq!(write(&mut apic, ICR_LO, command), [], "{command:#x}");
    }
}

#[test]
fn physical_destinations_are_an_identity_or_everybody() {
    let apic = LocalApic::new(3, false);
    for (destination, meant) in [
        (Destination::Physical(3), true),
        (Destination::Physical(2), false),
        (Destination::Physical(0xff), true),
        (Destination::Itself(3), true),
        (Destination::Itself(2), false),
        (Destination::All, true),
        (Destination::AllBut(3), false),
        (Destination::AllBut(2), true),
    ] {
        assert_eq!(apic.is_destination(&to(destination)), meant, "{destination:?}");
    }
}

#[test]
fn logical_destinations_are_masks_in_the_flat_model() {
    let mut apic = enabled();
    assert!(!apic.is_destination(&to(Destination::Logical(0x7f))), "no logical identity yet");
    write(&mut apic, LDR, 0x02ff_ffff);
    assert_eq!(read(&mut apic, LDR), 0x0200_0000);
    for (mask, meant) in [(0x02, true), (0x03, true), (0x01, false), (0, false), (0xff, true)] {
        assert_eq!(apic.is_destination(&to(Destination::Logical(mask))), meant, "{mask:#x}");
    }
}

#[test]
fn logical_destinations_are_a_cluster_and_a_mask_in_the_cluster_model() {
    let mut apic = enabled();
    write(&mut apic, DFR, 0);
    assert_eq!(read(&mut apic, DFR), 0x0fff_ffff);
    write(&mut apic, LDR, 0x2400_0000);
    for (mask, meant) in [(0x24, true), (0x2f, true), (0x2b, false), (0x14, false), (0xff, true)] {
        assert_eq!(apic.is_destination(&to(Destination::Logical(mask))), meant, "{mask:#x}");
    }
}

#[test]
fn the_one_that_does_the_least_urgent_work_has_the_lowest_arbitration_priority() {
    let mut apic = enabled();
    assert_eq!(apic.arbitration_priority(), 0);
    write(&mut apic, TPR, 0x35);
    assert_eq!(apic.arbitration_priority(), 0x35);
    let _ = apic.accept(&fixed(0x41));
    assert_eq!(apic.arbitration_priority(), 0x40, "a request counts");
    apic.set_cr8(0);
    apic.acknowledge();
    apic.set_cr8(3);
    assert_eq!(apic.arbitration_priority(), 0x00, "3 AND 4");
    apic.set_cr8(4);
    assert_eq!(apic.arbitration_priority(), 0x40, "4 AND 4");
}

/// xv6: TDCR = X1, TIMER = PERIODIC | vector, TICR = 10,000,000.
#[test]
fn a_periodic_timer_interrupts_every_period() {
    let mut apic = enabled();
    for (offset, value) in [(DIVIDE, 0b1011), (LVT_TIMER, PERIODIC | 0x20), (INITIAL_COUNT, 10_000_000)] {
        write_at(&mut apic, 500, offset, value);
    }
    for period in 1..4 {
        let end = 500 + period * 10_000_000;
        assert_eq!(apic.next_event(), Some(Ticks(end)));
        apic.advance(Ticks(end - 1));
        assert_eq!((apic.pending(), read(&mut apic, CURRENT_COUNT)), (None, 1));
        apic.advance(Ticks(end));
        assert_eq!((apic.acknowledge(), read(&mut apic, CURRENT_COUNT)), (Some(0x20), 10_000_000));
        write_at(&mut apic, end, EOI, 0);
    }
}

/// How Linux calibrates: divided by 16, masked, the whole range; then one shot after the other.
#[test]
fn a_one_shot_timer_ends_once_and_counts_also_when_masked() {
    let mut apic = enabled();
    for (offset, value) in [(LVT_TIMER, MASKED | 0xec), (DIVIDE, 0b0011), (INITIAL_COUNT, 0xffff_ffff)] {
        write(&mut apic, offset, value);
    }
    assert_eq!(apic.next_event(), None, "nobody would notice");
    apic.advance(Ticks(1_600_000));
    assert_eq!(read(&mut apic, CURRENT_COUNT), 0xffff_ffff - 100_000);
    write_at(&mut apic, 1_600_000, LVT_TIMER, 0xec);
    write_at(&mut apic, 1_600_001, INITIAL_COUNT, 10);
    assert_eq!(apic.next_event(), Some(Ticks(1_600_161)));
    apic.advance(Ticks(2_000_000));
    assert_eq!((apic.next_event(), read(&mut apic, CURRENT_COUNT)), (None, 0));
    assert_eq!([apic.acknowledge(), apic.acknowledge()], [Some(0xec), None]);
    assert_eq!(read(&mut apic, INITIAL_COUNT), 10);
}

#[test]
fn an_initial_count_of_zero_stops_the_timer() {
    let mut apic = enabled();
    write(&mut apic, LVT_TIMER, PERIODIC | 0x20);
    write(&mut apic, INITIAL_COUNT, 100);
    write_at(&mut apic, 50, INITIAL_COUNT, 0);
    apic.advance(Ticks(10_000));
    assert_eq!((apic.pending(), apic.next_event()), (None, None));
}

#[test]
fn an_end_of_the_count_while_masked_is_lost() {
    let mut apic = enabled();
    write(&mut apic, LVT_TIMER, MASKED | PERIODIC | 0x20);
    write(&mut apic, INITIAL_COUNT, 100);
    write_at(&mut apic, 250, LVT_TIMER, PERIODIC | 0x20);
    assert_eq!(apic.pending(), None);
    assert_eq!(apic.next_event(), Some(Ticks(400)), "the period began at 200");
}

#[test]
fn errors_are_read_after_a_write_and_cleared_by_the_next() {
    let mut apic = enabled();
    write(&mut apic, LVT_ERROR, 0xfe);
    read(&mut apic, 0x2f0);
    assert_eq!((apic.acknowledge(), read(&mut apic, ESR)), (Some(0xfe), 0), "it interrupts, but is not to be read yet");
    write(&mut apic, EOI, 0);
    let _ = apic.accept(&fixed(15));
    assert_eq!(apic.pending(), None, "one interrupt until ESR is written");
    write(&mut apic, ESR, 0);
    assert_eq!(read(&mut apic, ESR), 0xc0);
    write(&mut apic, ESR, 0);
    assert_eq!(read(&mut apic, ESR), 0);
    let sent = write(&mut apic, ICR_LO, 0x4_400f);
    assert_eq!((sent.len(), apic.acknowledge()), (1, Some(0xfe)), "armed again; it is sent all the same");
    write(&mut apic, ESR, 0);
    assert_eq!(read(&mut apic, ESR), 0x20);
}

#[test]
fn an_error_interrupt_with_an_illegal_vector_is_an_error_itself() {
    let mut apic = enabled();
    write(&mut apic, LVT_ERROR, 0x00);
    write(&mut apic, 0x040, 1);
    write(&mut apic, ESR, 0);
    assert_eq!((read(&mut apic, ESR), apic.pending()), (0xc0, None));
}

#[test]
fn a_level_on_a_pin_interrupts_until_it_is_gone_and_waits_for_eoi_in_between() {
    let mut apic = enabled();
    write(&mut apic, LVT_LINT0, 0x8051);
    assert_eq!(apic.set_line(Lint::Lint0, true), Accepted::Interrupt);
    assert_eq!(read(&mut apic, LVT_LINT0), 0xc051, "remote IRR");
    assert_eq!(apic.acknowledge(), Some(0x51));
    assert_eq!(apic.pending(), None);
    write(&mut apic, EOI, 0);
    assert_eq!(apic.acknowledge(), Some(0x51), "it is still there");
    let _ = apic.set_line(Lint::Lint0, false);
    write(&mut apic, EOI, 0);
    assert_eq!((apic.pending(), read(&mut apic, LVT_LINT0)), (None, 0x8051));
}

#[test]
fn a_pin_may_be_active_low_and_an_edge_interrupts_once() {
    let mut apic = enabled();
    let _ = apic.set_line(Lint::Lint1, true);
    write(&mut apic, LVT_LINT1, 0x2052);
    assert_eq!(apic.set_line(Lint::Lint1, false), Accepted::Interrupt);
    apic.acknowledge();
    write(&mut apic, EOI, 0);
    assert_eq!(apic.pending(), None);
    assert_eq!(apic.set_line(Lint::Lint1, true), Accepted::Nothing);
}

#[test]
fn a_level_that_waits_behind_a_mask_interrupts_when_unmasked() {
    let mut apic = enabled();
    write(&mut apic, LVT_LINT0, MASKED | 0x8051);
    assert_eq!(apic.set_line(Lint::Lint0, true), Accepted::Nothing);
    write(&mut apic, LVT_LINT0, 0x8051);
    assert_eq!(apic.pending(), Some(0x51));
}

#[test]
fn accesses_that_are_not_architectural_do_no_harm() {
    let mut apic = enabled();
    assert_eq!(apic.read(0x033, Width::Byte), 0x00, "a part of the version");
    assert_eq!(apic.read(0x032, Width::Word), 0x0005);
    assert_eq!(apic.read(0x030, Width::Qword), u64::MAX);
    assert_eq!(apic.read(0x034, Width::Dword), 0xffff_ffff);
    let before = apic.clone();
    for (offset, width) in [(TPR, Width::Byte), (TPR, Width::Qword), (TPR + 4, Width::Dword), (TPR + 2, Width::Word)] {
        assert!(!LocalApic::is_architectural(offset, width));
        assert_eq!(apic.write(offset, width, u64::MAX, Ticks(0)), []);
    }
    assert_eq!(apic, before);
}

#[test]
fn reserved_bits_are_not_kept_and_read_only_registers_do_not_move() {
    let mut apic = enabled();
    for (offset, kept) in [
        (0x020, 0xff00_0000),
        (0x030, 0x0005_0014),
        (TPR, 0xff),
        (SVR, 0x1ff),
        (ISR, 0),
        (ICR_HI, 0xff00_0000),
        (LVT_TIMER, 0x3_00ff),
        (0x330, 0x1_07ff),
        (0x340, 0x1_07ff),
        (LVT_LINT0, 0x1_a7ff),
        (LVT_ERROR, 0x1_00ff),
        (CURRENT_COUNT, 0),
        (DIVIDE, 0xb),
    ] {
        write(&mut apic, offset, u64::MAX);
        assert_eq!(read(&mut apic, offset), kept, "{}", apic.register(offset));
    }
}

/// One thing that happens to a local APIC.
#[derive(Clone, Debug)]
enum Step {
    Read(u64, Width),
    Write(u64, Width, u64),
    Accept(Message),
    Line(Lint, bool),
    Acknowledge,
    Cr8(u8),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let width = || {
        prop_oneof![
            6 => Just(Width::Dword),
            1 => prop::sample::select(&[Width::Byte, Width::Word, Width::Qword]),
        ]
    };
    let offset = || prop_oneof![8 => (0..0x40u64).prop_map(|at| 16 * at), 1 => 0..0x1010u64, 1 => any::<u64>()];
    let value = || prop_oneof![any::<u32>().prop_map(u64::from), 0..0x400u64, any::<u64>()];
    let enable = (0x10..0x100u64).prop_map(|vector| Step::Write(SVR, Width::Dword, 0x100 | vector));
    let count = (0..5000u64).prop_map(|count| Step::Write(INITIAL_COUNT, Width::Dword, count));
    let pass = prop_oneof![0..10_000u64, any::<u64>().prop_map(|ticks| ticks >> 16)];
    prop_oneof![
        4 => (offset(), width()).prop_map(|(offset, width)| Step::Read(offset, width)),
        8 => (offset(), width(), value()).prop_map(|(offset, width, value)| Step::Write(offset, width, value)),
        1 => enable,
        1 => count,
        4 => messages().prop_map(Step::Accept),
        2 => (prop::sample::select(&[Lint::Lint0, Lint::Lint1]), any::<bool>())
            .prop_map(|(pin, high)| Step::Line(pin, high)),
        4 => Just(Step::Acknowledge),
        1 => any::<u8>().prop_map(Step::Cr8),
        3 => pass.prop_map(Step::Pass),
    ]
}

/// Messages, INIT seldom, since it forgets everything.
fn messages() -> impl Strategy<Value = Message> {
    let delivery = prop_oneof![
        20 => Just(Delivery::Fixed),
        10 => Just(Delivery::LowestPriority),
        1 => (0..8u8).prop_filter_map("reserved", Delivery::from_bits),
    ];
    (delivery, any::<u8>(), prop::bool::weighted(0.9), any::<bool>()).prop_map(|(delivery, vector, assert, level)| {
        let trigger = if level { Trigger::Level } else { Trigger::Edge };
        Message { delivery, vector, assert, trigger, ..fixed(0) }
    })
}

/// What holds whatever a guest does.
fn check(apic: &LocalApic, now: Ticks) -> Result<(), TestCaseError> {
    let mut seen = apic.clone();
    prop_assert_eq!(&seen, apic);
    if let Some(vector) = apic.pending() {
        prop_assert!(bit(&mut seen, IRR, vector), "what is pending is requested");
        prop_assert!(u64::from(vector) >> 4 > read(&mut seen, PPR) >> 4);
        prop_assert!(apic.is_enabled());
    }
    for register in [IRR, ISR] {
        prop_assert_eq!(read(&mut seen, register) & 0xffff, 0, "no vector below 16");
    }
    for offset in (LVT_TIMER..=LVT_ERROR).step_by(16) {
        prop_assert!(apic.is_enabled() || read(&mut seen, offset) & MASKED != 0, "disabled is masked");
    }
    prop_assert!(apic.next_event().is_none_or(|next| next > now), "{:?} at {:?}", apic.next_event(), now);
    Ok(())
}

/// An acknowledged vector is in service, unless it is the spurious one.
fn acknowledge(apic: &mut LocalApic) -> Result<(), TestCaseError> {
    let pending = apic.pending();
    let before = apic.clone();
    let taken = apic.acknowledge();
    match pending {
        Some(vector) => {
            prop_assert_eq!(taken, pending);
            prop_assert!(bit(apic, ISR, vector) && !bit(apic, IRR, vector));
        }
        None => {
            prop_assert!(taken.is_none_or(|vector| vector == apic.svr.vector()));
            prop_assert_eq!(&*apic, &before);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::fuzz::cases()))]

    #[test]
    fn nothing_a_guest_does_breaks_the_invariants(
        id: u8, is_bootstrap: bool, steps in prop::collection::vec(steps(), 1..150)
    ) {
        let mut apic = LocalApic::new(id, is_bootstrap);
        let mut now = Ticks(0);
        for step in steps {
            match step {
                Step::Read(offset, width) => prop_assert_eq!(apic.read(offset, width) & !width.mask(), 0),
                Step::Write(offset, width, value) => {
                    for signal in apic.write(offset, width, value & width.mask(), now) {
                        if let ApicSignal::Send(message) = signal && apic.is_destination(&message) {
                            let _ = apic.accept(&message);
                        }
                    }
                }
                Step::Accept(message) => drop(apic.accept(&message)),
                Step::Line(pin, high) => drop(apic.set_line(pin, high)),
                Step::Acknowledge => acknowledge(&mut apic)?,
                Step::Cr8(value) => apic.set_cr8(value),
                Step::Pass(ticks) => {
                    now = Ticks(now.0.saturating_add(ticks));
                    apic.advance(now);
                }
            }
            apic.register(now.0);
            check(&apic, now)?;
        }
    }

    /// The machine jumps to the next event, so nothing may happen before it, and something must at it.
    #[test]
    fn the_next_event_is_exact(count in 1..100_000u64, divide in 0..16u64, periodic: bool, start in 0..1000u64) {
        let mut apic = enabled();
        let mode = if periodic { PERIODIC } else { 0 };
        for (offset, value) in [(DIVIDE, divide), (LVT_TIMER, mode | 0x20), (INITIAL_COUNT, count)] {
            write_at(&mut apic, start, offset, value);
        }
        let Some(Ticks(end)) = apic.next_event() else { panic!("a timer that runs will end") };
        apic.advance(Ticks(end - 1));
        prop_assert_eq!((apic.pending(), apic.next_event()), (None, Some(Ticks(end))));
        apic.advance(Ticks(end));
        prop_assert_eq!(apic.pending(), Some(0x20));
        prop_assert_eq!(apic.next_event().is_some(), periodic);
    }
}
