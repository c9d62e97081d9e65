use super::*;
use crate::{Delivery, Destination, Message, Trigger};
use proptest::prelude::*;

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const REMOTE_IRR: u32 = 1 << 14;
const ACTIVE_LOW: u32 = 1 << 13;

fn read(ioapic: &mut IoApic, index: u8) -> u32 {
    ioapic.write(IOREGSEL, Width::Dword, index.into());
    ioapic.read(IOWIN, Width::Dword).0 as u32
}

fn write(ioapic: &mut IoApic, index: u8, value: u32) -> Vec<Signal> {
    ioapic.write(IOREGSEL, Width::Dword, index.into());
    ioapic.write(IOWIN, Width::Dword, value.into())
}

fn entry(pin: u8) -> u8 {
    0x10 + 2 * pin
}

/// An I/O APIC whose pin has the entry `low`, for the local APIC 2.
fn routed(pin: u8, low: u32) -> IoApic {
    let mut ioapic = IoApic::default();
    write(&mut ioapic, entry(pin) + 1, 0x0200_0000);
    write(&mut ioapic, entry(pin), low);
    ioapic
}

fn sent(vector: u8, trigger: Trigger) -> Signal {
    let destination = Destination::Physical(2);
    Signal::Interrupt(Message { destination, delivery: Delivery::Fixed, vector, assert: true, trigger })
}

/// xv6 ioapicinit: the number of pins, the identity, then every pin masked.
#[test]
fn xv6_finds_24_pins_and_masks_them() {
    let mut ioapic = IoApic::default();
    assert_eq!(read(&mut ioapic, 1) >> 16 & 0xff, 23);
    assert_eq!(read(&mut ioapic, 0) >> 24, 0);
    for pin in 0..24 {
        assert_eq!(read(&mut ioapic, entry(pin)), MASKED, "after a reset");
        write(&mut ioapic, entry(pin), MASKED | (32 + u32::from(pin)));
        write(&mut ioapic, entry(pin) + 1, 0);
        assert_eq!(ioapic.set_line(pin, true), []);
    }
}

#[test]
fn the_arbitration_identity_follows_the_identity() {
    let mut ioapic = IoApic::default();
    write(&mut ioapic, 0, 0xffff_ffff);
    assert_eq!([0, 1, 2].map(|index| read(&mut ioapic, index)), [0x0f00_0000, 0x0017_0020, 0x0f00_0000]);
    write(&mut ioapic, 2, 0);
    assert_eq!(read(&mut ioapic, 2), 0x0f00_0000, "for reading");
}

#[test]
fn an_edge_is_one_message() {
    let mut ioapic = routed(4, 0x24);
    assert_eq!(ioapic.set_line(4, true), [sent(0x24, Trigger::Edge)]);
    assert_eq!(ioapic.set_line(4, true), []);
    assert_eq!(ioapic.set_line(4, false), []);
    assert_eq!(ioapic.set_line(4, true), [sent(0x24, Trigger::Edge)]);
    assert_eq!(read(&mut ioapic, entry(4)), 0x24, "an edge waits for nothing");
}

#[test]
fn an_edge_on_a_masked_pin_is_lost() {
    let mut ioapic = routed(4, MASKED | 0x24);
    assert_eq!(ioapic.set_line(4, true), []);
    assert_eq!(write(&mut ioapic, entry(4), 0x24), []);
}

#[test]
fn a_level_waits_for_its_end_and_comes_again_if_it_is_still_there() {
    let mut ioapic = routed(11, LEVEL | 0x2b);
    assert_eq!(ioapic.set_line(11, true), [sent(0x2b, Trigger::Level)]);
    assert_eq!(read(&mut ioapic, entry(11)), LEVEL | REMOTE_IRR | 0x2b);
    assert_eq!(ioapic.set_line(11, false), []);
    assert_eq!(ioapic.set_line(11, true), [], "the first one has not been dealt with");
    assert_eq!(ioapic.end_of_interrupt(0x2a), [], "another vector");
    assert_eq!(ioapic.end_of_interrupt(0x2b), [sent(0x2b, Trigger::Level)]);
    ioapic.set_line(11, false);
    assert_eq!(ioapic.end_of_interrupt(0x2b), []);
    assert_eq!(read(&mut ioapic, entry(11)), LEVEL | 0x2b);
}

#[test]
fn a_level_that_is_there_when_unmasked_interrupts() {
    let mut ioapic = routed(11, MASKED | LEVEL | 0x2b);
    assert_eq!(ioapic.set_line(11, true), []);
    assert_eq!(write(&mut ioapic, entry(11), LEVEL | 0x2b), [sent(0x2b, Trigger::Level)]);
}

#[test]
fn the_polarity_bit_says_which_level_is_active() {
    let mut ioapic = routed(11, MASKED);
    ioapic.set_line(11, true);
    assert_eq!(write(&mut ioapic, entry(11), LEVEL | ACTIVE_LOW | 0x2b), []);
    assert_eq!(ioapic.set_line(11, false), [sent(0x2b, Trigger::Level)]);
    ioapic.set_line(11, true);
    write(&mut ioapic, entry(11), ACTIVE_LOW | 0x2b);
    assert_eq!(ioapic.set_line(11, false), [sent(0x2b, Trigger::Edge)]);
}

#[test]
fn the_eoi_register_ends_an_interrupt_too() {
    let mut ioapic = routed(11, LEVEL | 0x2b);
    ioapic.set_line(11, true);
    assert_eq!(ioapic.write(EOIR, Width::Dword, 0x2b), [sent(0x2b, Trigger::Level)]);
}

/// Linux, for an I/O APIC that has no EOI register.
#[test]
fn a_change_to_edge_and_back_ends_an_interrupt() {
    let mut ioapic = routed(11, LEVEL | 0x2b);
    ioapic.set_line(11, true);
    ioapic.set_line(11, false);
    write(&mut ioapic, entry(11), MASKED | 0x2b);
    write(&mut ioapic, entry(11), LEVEL | 0x2b);
    assert_eq!(read(&mut ioapic, entry(11)), LEVEL | 0x2b);
}

#[test]
fn software_cannot_write_delivery_status_and_remote_irr_or_reserved_bits() {
    let mut ioapic = IoApic::default();
    write(&mut ioapic, entry(23), 0xffff_ffff);
    write(&mut ioapic, entry(23) + 1, 0xffff_ffff);
    assert_eq!([entry(23), entry(23) + 1].map(|index| read(&mut ioapic, index)), [0x0001_afff, 0xff00_0000]);
}

#[test]
fn every_delivery_mode_but_fixed_and_lowest_priority_is_an_edge() {
    for (mode, delivery) in [
        (2, Some(Delivery::Smi)),
        (3, None),
        (4, Some(Delivery::Nmi)),
        (5, Some(Delivery::Init)),
        (6, None),
        (7, Some(Delivery::ExtInt)),
    ] {
        let mut ioapic = routed(0, LEVEL | mode << 8);
        let message = |delivery| match sent(0, Trigger::Edge) {
            Signal::Interrupt(message) => Signal::Interrupt(Message { delivery, ..message }),
            other => other,
        };
        assert_eq!(ioapic.set_line(0, true), Vec::from_iter(delivery.map(message)), "{mode}");
        assert_eq!(read(&mut ioapic, entry(0)) & REMOTE_IRR, 0);
    }
}

#[test]
fn a_logical_destination_is_sent_as_one() {
    let mut ioapic = routed(1, 0x0921);
    let destination = Destination::Logical(2);
    let [Signal::Interrupt(message)] = ioapic.set_line(1, true)[..] else { panic!("one message") };
    assert_eq!((message.destination, message.delivery), (destination, Delivery::LowestPriority));
}

#[test]
fn registers_are_named_by_what_the_window_shows() {
    let mut ioapic = IoApic::default();
    for (index, name) in [(0, "IOAPICID"), (1, "IOAPICVER"), (2, "IOAPICARB"), (3, "RESERVED"), (0x3f, "IOREDTBL23_HI")]
    {
        ioapic.write(IOREGSEL, Width::Byte, index);
        assert_eq!(ioapic.register(IOWIN), name);
    }
    assert_eq!([IOREGSEL, EOIR, 0x20].map(|offset| ioapic.register(offset)), ["IOREGSEL", "EOIR", "RESERVED"]);
}

#[test]
fn only_whole_writes_reach_the_window() {
    let mut ioapic = routed(4, 0x24);
    for (offset, width) in
        [(IOWIN, Width::Byte), (IOWIN, Width::Qword), (IOWIN + 1, Width::Dword), (0x20, Width::Dword)]
    {
        assert_eq!(ioapic.write(offset, width, 0), []);
    }
    assert_eq!(read(&mut ioapic, entry(4) + 1), 0x0200_0000);
    assert_eq!(ioapic.read(IOWIN + 3, Width::Byte).0, 0x02);
    assert_eq!(ioapic.read(IOWIN, Width::Qword).0, u64::MAX);
    assert_eq!(read(&mut ioapic, 0x40), u32::MAX, "no such register");
}

/// One thing that happens to the I/O APIC.
#[derive(Clone, Debug)]
enum Step {
    Read(u64, Width),
    Write(u64, Width, u64),
    Entry(u8, u32),
    Line(u8, bool),
    EndOfInterrupt(u8),
}

fn steps() -> impl Strategy<Value = Step> {
    let width = || prop::sample::select(&[Width::Byte, Width::Word, Width::Dword, Width::Dword, Width::Qword]);
    let offset =
        || prop_oneof![4 => prop::sample::select(&[IOREGSEL, IOWIN, EOIR]), 1 => 0..0x60u64, 1 => any::<u64>()];
    let pin = || prop_oneof![8 => 0..3u8, 1 => any::<u8>()];
    // Few vectors, so that an end of interrupt often finds one.
    let low = any::<u32>().prop_map(|low| low & !0xf0);
    prop_oneof![
        1 => (offset(), width()).prop_map(|(offset, width)| Step::Read(offset, width)),
        1 => (offset(), width(), prop_oneof![0..0x40u64, any::<u64>()])
            .prop_map(|(offset, width, value)| Step::Write(offset, width, value)),
        2 => (0..3u8, low).prop_map(|(pin, low)| Step::Entry(pin, low)),
        4 => (pin(), any::<bool>()).prop_map(|(pin, high)| Step::Line(pin, high)),
        2 => (0..16u8).prop_map(Step::EndOfInterrupt),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::fuzz::cases()))]

    /// A level that is active, unmasked and not waiting for its end would be an interrupt forgotten.
    #[test]
    fn no_level_is_forgotten_whatever_a_guest_does(steps in prop::collection::vec(steps(), 1..150)) {
        let mut ioapic = IoApic::default();
        for step in steps {
            let signals = match step {
                Step::Read(offset, width) => {
                    let (value, signals) = ioapic.read(offset, width);
                    prop_assert_eq!(value & !width.mask(), 0);
                    signals
                }
                Step::Write(offset, width, value) => ioapic.write(offset, width, value & width.mask()),
                Step::Entry(pin, low) => write(&mut ioapic, entry(pin), low),
                Step::Line(pin, high) => ioapic.set_line(pin, high),
                Step::EndOfInterrupt(vector) => ioapic.end_of_interrupt(vector),
            };
            for signal in signals {
                prop_assert!(matches!(signal, Signal::Interrupt(message) if message.assert));
            }
            for at in 0..usize::from(PINS) {
                let entry = ioapic.entries[at];
                let interrupts = entry.is_level() && !entry.is_masked() && ioapic.is_active(at);
                prop_assert!(!interrupts || entry.awaits_eoi(), "pin {}", at);
                prop_assert!(entry.is_level() || !entry.awaits_eoi(), "pin {}", at);
            }
            prop_assert_eq!(&ioapic.clone(), &ioapic);
            prop_assert_eq!((ioapic.next_event(), ioapic.register(IOWIN).is_empty()), (None, false));
        }
    }
}
