use super::*;
use proptest::prelude::*;

const EOI: u8 = 0x20;

fn read(pic: &mut Pic8259, offset: u64) -> u8 {
    pic.read(offset, Width::Byte).0 as u8
}

fn write(pic: &mut Pic8259, offset: u64, byte: u8) {
    assert_eq!(pic.write(offset, Width::Byte, byte.into()), []);
}

fn initialize(pic: &mut Pic8259, icw4: [u8; 2]) {
    for (even, odd, base, cascade, icw4) in
        [(MASTER_EVEN, MASTER_ODD, 0x20, 1 << 2, icw4[0]), (SLAVE_EVEN, SLAVE_ODD, 0x28, 2, icw4[1])]
    {
        write(pic, even, 0x11);
        for word in [base, cascade, icw4] {
            write(pic, odd, word);
        }
    }
}

/// As Linux and older xv6 set it up: vectors from 0x20 on, the slave at input 2, everything unmasked.
fn ready() -> Pic8259 {
    let mut pic = Pic8259::default();
    initialize(&mut pic, [0x01, 0x01]);
    pic
}

fn raise(pic: &mut Pic8259, irq: u8) {
    pic.set_line(Irq(irq), true);
}

fn lower(pic: &mut Pic8259, irq: u8) {
    pic.set_line(Irq(irq), false);
}

fn isr(pic: &mut Pic8259) -> [u8; 2] {
    [MASTER_EVEN, SLAVE_EVEN].map(|even| {
        write(pic, even, 0x0b);
        read(pic, even)
    })
}

fn irr(pic: &mut Pic8259) -> [u8; 2] {
    [MASTER_EVEN, SLAVE_EVEN].map(|even| {
        write(pic, even, 0x0a);
        read(pic, even)
    })
}

#[test]
fn before_initialization_nobody_is_interrupted() {
    let mut pic = Pic8259::default();
    write(&mut pic, MASTER_ODD, 0xa5);
    assert_eq!(read(&mut pic, MASTER_ODD), 0xa5, "the mask is there");
    write(&mut pic, MASTER_ODD, 0);
    raise(&mut pic, 1);
    assert!(!pic.has_interrupt());
}

#[test]
fn initialization_takes_four_words_and_the_odd_port_is_then_the_mask() {
    let mut pic = Pic8259::default();
    write(&mut pic, MASTER_EVEN, 0x11);
    for (name, word) in [("MASTER_ICW2", 0x20), ("MASTER_ICW3", 4), ("MASTER_ICW4", 1), ("MASTER_OCW1", 0xfb)] {
        assert_eq!(pic.register(MASTER_ODD), name);
        write(&mut pic, MASTER_ODD, word);
    }
    assert_eq!(read(&mut pic, MASTER_ODD), 0xfb);
    write(&mut pic, SLAVE_EVEN, 0x12);
    write(&mut pic, SLAVE_ODD, 0x28);
    assert_eq!(pic.register(SLAVE_ODD), "SLAVE_OCW1", "single, and no ICW4");
}

#[test]
fn initialization_clears_mask_service_and_edges() {
    let mut pic = ready();
    raise(&mut pic, 3);
    pic.acknowledge();
    raise(&mut pic, 1);
    write(&mut pic, MASTER_ODD, 0x40);
    initialize(&mut pic, [1, 1]);
    assert_eq!((isr(&mut pic), irr(&mut pic), read(&mut pic, MASTER_ODD)), ([0, 0], [0, 0], 0));
    assert!(!pic.has_interrupt(), "a line that is high has to rise again");
}

#[test]
fn a_line_of_the_master_is_taken_served_and_ended() {
    let mut pic = ready();
    raise(&mut pic, 4);
    assert_eq!((pic.has_interrupt(), irr(&mut pic)), (true, [0x10, 0]));
    assert_eq!(pic.acknowledge(), 0x24);
    assert_eq!((pic.has_interrupt(), irr(&mut pic), isr(&mut pic)), (false, [0, 0], [0x10, 0]));
    write(&mut pic, MASTER_EVEN, EOI);
    assert_eq!((pic.has_interrupt(), isr(&mut pic)), (false, [0, 0]), "high is not an edge");
    lower(&mut pic, 4);
    raise(&mut pic, 4);
    assert!(pic.has_interrupt());
}

#[test]
fn a_line_of_the_slave_comes_through_input_2() {
    let mut pic = ready();
    raise(&mut pic, 12);
    assert_eq!(irr(&mut pic), [0x04, 0x10]);
    assert_eq!(pic.acknowledge(), 0x2c);
    assert_eq!(isr(&mut pic), [0x04, 0x10]);
    write(&mut pic, SLAVE_EVEN, EOI);
    write(&mut pic, MASTER_EVEN, EOI);
    assert_eq!((isr(&mut pic), pic.has_interrupt()), ([0, 0], false));
}

#[test]
fn a_second_request_of_the_slave_comes_after_the_first_has_ended() {
    let mut pic = ready();
    raise(&mut pic, 9);
    raise(&mut pic, 14);
    assert_eq!(pic.acknowledge(), 0x29);
    assert!(!pic.has_interrupt());
    write(&mut pic, SLAVE_EVEN, EOI);
    assert!(!pic.has_interrupt(), "the master still serves input 2");
    write(&mut pic, MASTER_EVEN, EOI);
    assert_eq!(pic.acknowledge(), 0x2e);
}

#[test]
fn only_a_more_urgent_line_interrupts_a_handler() {
    let mut pic = ready();
    raise(&mut pic, 4);
    pic.acknowledge();
    raise(&mut pic, 6);
    assert!(!pic.has_interrupt());
    raise(&mut pic, 0);
    assert_eq!(pic.acknowledge(), 0x20);
    assert_eq!(isr(&mut pic)[0], 0x11);
    write(&mut pic, MASTER_EVEN, EOI);
    assert_eq!(isr(&mut pic)[0], 0x10, "the most urgent ends first");
    write(&mut pic, MASTER_EVEN, EOI);
    assert_eq!(pic.acknowledge(), 0x26);
}

#[test]
fn a_masked_line_waits() {
    let mut pic = ready();
    write(&mut pic, MASTER_ODD, 0x10);
    raise(&mut pic, 4);
    assert_eq!((pic.has_interrupt(), irr(&mut pic)[0]), (false, 0x10));
    write(&mut pic, MASTER_ODD, 0);
    assert_eq!(pic.acknowledge(), 0x24);
}

#[test]
fn a_specific_eoi_ends_the_line_it_names() {
    let mut pic = ready();
    raise(&mut pic, 4);
    pic.acknowledge();
    raise(&mut pic, 1);
    pic.acknowledge();
    write(&mut pic, MASTER_EVEN, 0x64);
    assert_eq!(isr(&mut pic)[0], 0x02);
}

#[test]
fn an_edge_whose_line_falls_is_spurious_irq_7() {
    let mut pic = ready();
    raise(&mut pic, 4);
    lower(&mut pic, 4);
    assert!(pic.has_interrupt());
    assert_eq!(pic.acknowledge(), 0x27);
    assert_eq!((isr(&mut pic), pic.has_interrupt()), ([0, 0], false), "a handler sees that 7 is not in service");
}

#[test]
fn an_edge_of_the_slave_whose_line_falls_is_spurious_irq_15() {
    let mut pic = ready();
    raise(&mut pic, 12);
    lower(&mut pic, 12);
    assert_eq!(pic.acknowledge(), 0x2f);
    assert_eq!(isr(&mut pic), [0x04, 0], "the master has to be told its end");
}

#[test]
fn an_edge_whose_line_falls_while_it_is_masked_is_nothing() {
    let mut pic = ready();
    for (line, port) in [(4, MASTER_ODD), (12, SLAVE_ODD)] {
        write(&mut pic, port, 1 << (line % 8));
        raise(&mut pic, line);
        lower(&mut pic, line);
        assert_eq!(irr(&mut pic), [0, 0]);
        write(&mut pic, port, 0);
        assert!(!pic.has_interrupt());
        raise(&mut pic, line);
        assert_eq!(pic.acknowledge(), 0x20 + line, "the next edge is one");
        [SLAVE_EVEN, MASTER_EVEN].into_iter().for_each(|even| write(&mut pic, even, EOI));
    }
}

#[test]
fn an_acknowledgement_of_nothing_is_spurious() {
    let mut pic = ready();
    assert_eq!(pic.acknowledge(), 0x27);
    assert_eq!(isr(&mut pic), [0, 0]);
}

#[test]
fn a_level_requests_as_long_as_it_lasts() {
    let mut pic = ready();
    write(&mut pic, ELCR2, 0x08);
    raise(&mut pic, 11);
    assert_eq!(pic.acknowledge(), 0x2b);
    for even in [SLAVE_EVEN, MASTER_EVEN] {
        write(&mut pic, even, EOI);
    }
    assert_eq!(pic.acknowledge(), 0x2b, "still there");
    lower(&mut pic, 11);
    for even in [SLAVE_EVEN, MASTER_EVEN] {
        write(&mut pic, even, EOI);
    }
    assert!(!pic.has_interrupt());
}

#[test]
fn some_lines_are_edges_always_unless_icw1_makes_all_levels() {
    let mut pic = ready();
    write(&mut pic, ELCR1, 0xff);
    write(&mut pic, ELCR2, 0xff);
    assert_eq!([read(&mut pic, ELCR1), read(&mut pic, ELCR2)], [0xf8, 0xde]);
    raise(&mut pic, 1);
    lower(&mut pic, 1);
    assert!(pic.has_interrupt(), "an edge");
    write(&mut pic, MASTER_EVEN, 0x19);
    for word in [0x20, 4, 1] {
        write(&mut pic, MASTER_ODD, word);
    }
    raise(&mut pic, 1);
    assert!(pic.has_interrupt());
    lower(&mut pic, 1);
    assert!(!pic.has_interrupt(), "a level");
}

#[test]
fn an_edge_is_forgotten_when_its_input_becomes_a_level() {
    let mut pic = ready();
    edge(&mut pic, 5);
    write(&mut pic, ELCR1, 0x20);
    assert!(pic.has_interrupt(), "the line is high");
    lower(&mut pic, 5);
    assert!(!pic.has_interrupt());
    write(&mut pic, ELCR1, 0);
    assert!(!pic.has_interrupt());
}

#[test]
fn a_slave_with_auto_eoi_asks_again_at_once() {
    let mut pic = Pic8259::default();
    initialize(&mut pic, [0x01, 0x03]);
    raise(&mut pic, 9);
    raise(&mut pic, 14);
    assert_eq!(pic.acknowledge(), 0x29);
    assert!(!pic.has_interrupt(), "but the master serves input 2");
    write(&mut pic, MASTER_EVEN, EOI);
    assert_eq!(pic.acknowledge(), 0x2e);
}

#[test]
fn with_auto_eoi_nothing_stays_in_service() {
    let mut pic = Pic8259::default();
    initialize(&mut pic, [0x03, 0x01]);
    raise(&mut pic, 4);
    raise(&mut pic, 5);
    assert_eq!([pic.acknowledge(), pic.acknowledge()], [0x24, 0x25]);
    assert_eq!(isr(&mut pic), [0, 0]);
}

/// An edge, wherever the line was.
fn edge(pic: &mut Pic8259, irq: u8) {
    lower(pic, irq);
    raise(pic, irq);
}

#[test]
fn rotation_makes_the_served_line_the_least_urgent() {
    let mut pic = ready();
    edge(&mut pic, 3);
    pic.acknowledge();
    write(&mut pic, MASTER_EVEN, 0xa0);
    for irq in [3, 4, 0] {
        edge(&mut pic, irq);
    }
    assert_eq!(pic.acknowledge(), 0x24, "4 comes first now");
    write(&mut pic, MASTER_EVEN, 0xe4);
    assert_eq!(pic.acknowledge(), 0x20, "after 5, 6 and 7");
    write(&mut pic, MASTER_EVEN, EOI);
    assert_eq!(pic.acknowledge(), 0x23);
}

#[test]
fn priorities_can_be_set() {
    let mut pic = ready();
    write(&mut pic, MASTER_EVEN, 0xc5);
    raise(&mut pic, 0);
    raise(&mut pic, 6);
    assert_eq!(pic.acknowledge(), 0x26, "5 is the last, so 6 is the first");
}

#[test]
fn rotation_in_auto_eoi_mode_is_turned_on_and_off() {
    let mut pic = Pic8259::default();
    initialize(&mut pic, [0x03, 0x01]);
    write(&mut pic, MASTER_EVEN, 0x80);
    edge(&mut pic, 5);
    pic.acknowledge();
    write(&mut pic, MASTER_EVEN, 0x00);
    edge(&mut pic, 6);
    pic.acknowledge();
    for irq in [0, 6] {
        edge(&mut pic, irq);
    }
    assert_eq!(pic.acknowledge(), 0x26, "5 is still the least urgent; had it rotated again, 6 would be");
}

#[test]
fn special_mask_mode_lets_less_urgent_lines_interrupt_a_masked_handler() {
    let mut pic = ready();
    raise(&mut pic, 4);
    pic.acknowledge();
    raise(&mut pic, 6);
    write(&mut pic, MASTER_ODD, 0x10);
    assert!(!pic.has_interrupt(), "masking alone does not");
    write(&mut pic, MASTER_EVEN, 0x68);
    assert_eq!(pic.acknowledge(), 0x26);
    write(&mut pic, MASTER_EVEN, EOI);
    write(&mut pic, MASTER_EVEN, EOI);
    assert_eq!(isr(&mut pic)[0], 0x10, "a non-specific EOI spares the masked one");
    write(&mut pic, MASTER_EVEN, 0x48);
    raise(&mut pic, 7);
    assert!(!pic.has_interrupt(), "turned off");
}

#[test]
fn special_fully_nested_mode_lets_the_slave_interrupt_itself() {
    for (icw4, nested) in [(0x01, false), (0x11, true)] {
        let mut pic = Pic8259::default();
        initialize(&mut pic, [icw4, 0x01]);
        raise(&mut pic, 12);
        assert_eq!(pic.acknowledge(), 0x2c);
        raise(&mut pic, 8);
        assert_eq!(pic.has_interrupt(), nested);
    }
}

#[test]
fn a_poll_acknowledges_and_names_the_line() {
    let mut pic = ready();
    write(&mut pic, MASTER_EVEN, 0x0c);
    assert_eq!(read(&mut pic, MASTER_EVEN), 0, "nothing");
    raise(&mut pic, 4);
    write(&mut pic, MASTER_EVEN, 0x0c);
    assert_eq!(read(&mut pic, MASTER_EVEN), 0x84);
    assert_eq!((pic.has_interrupt(), isr(&mut pic)[0]), (false, 0x10));
    raise(&mut pic, 9);
    write(&mut pic, SLAVE_EVEN, 0x0c);
    assert_eq!(read(&mut pic, SLAVE_ODD), 0x81, "any read is the answer");
    assert_eq!(read(&mut pic, SLAVE_ODD), 0, "and the next one is IMR again");
}

#[test]
fn a_polled_slave_asks_again_with_an_edge() {
    let mut pic = Pic8259::default();
    initialize(&mut pic, [0x01, 0x03]);
    raise(&mut pic, 9);
    raise(&mut pic, 14);
    for (even, answer) in [(MASTER_EVEN, 0x82), (SLAVE_EVEN, 0x81)] {
        write(&mut pic, even, 0x0c);
        assert_eq!(read(&mut pic, even), answer);
    }
    write(&mut pic, MASTER_EVEN, EOI);
    assert_eq!(pic.acknowledge(), 0x2e);
}

#[test]
fn a_slave_of_another_number_leaves_the_vector_to_nobody() {
    let mut pic = ready();
    for word in [0x11, 0x28, 3, 1] {
        write(&mut pic, if word == 0x11 { SLAVE_EVEN } else { SLAVE_ODD }, word);
    }
    raise(&mut pic, 12);
    assert_eq!(pic.acknowledge(), 0xff);
}

#[test]
fn a_single_master_gives_the_vector_of_input_2_itself() {
    let mut pic = ready();
    write(&mut pic, MASTER_EVEN, 0x13);
    write(&mut pic, MASTER_ODD, 0x20);
    write(&mut pic, MASTER_ODD, 0x01);
    raise(&mut pic, 12);
    assert_eq!(pic.acknowledge(), 0x22);
}

#[test]
fn the_slaves_own_line_and_lines_beyond_the_last_are_nobodys() {
    let mut pic = ready();
    for irq in [2, 16, 255] {
        raise(&mut pic, irq);
    }
    assert_eq!(pic, ready());
}

/// One thing that happens to the pair.
#[derive(Clone, Debug)]
enum Step {
    Read(u64),
    Write(u64, u8),
    Initialize(u8, u8),
    Line(u8, bool),
    Acknowledge,
}

fn steps() -> impl Strategy<Value = Step> {
    let offset = || prop_oneof![8 => 0..6u64, 1 => any::<u64>()];
    let irq = prop_oneof![8 => 0..16u8, 1 => any::<u8>()];
    prop_oneof![
        2 => offset().prop_map(Step::Read),
        4 => (offset(), any::<u8>()).prop_map(|(offset, byte)| Step::Write(offset, byte)),
        // Most bytes end or begin nothing: these are operation command words.
        2 => (prop::sample::select(&[MASTER_EVEN, SLAVE_EVEN]), prop::sample::select(&[0x20u8, 0x0c, 0x68, 0xa0]))
            .prop_map(|(offset, byte)| Step::Write(offset, byte)),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(master, slave)| Step::Initialize(master, slave)),
        6 => (irq, any::<bool>()).prop_map(|(irq, high)| Step::Line(irq, high)),
        4 => Just(Step::Acknowledge),
    ]
}

/// The in-service register of each, by asking a copy.
fn in_service(pic: &Pic8259) -> [u8; 2] {
    isr(&mut pic.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::fuzz::cases()))]

    #[test]
    fn nothing_a_guest_does_breaks_the_invariants(steps in prop::collection::vec(steps(), 1..200)) {
        let mut pic = Pic8259::default();
        for step in steps {
            match step {
                Step::Read(offset) => prop_assert!(pic.read(offset, Width::Byte).0 <= 0xff),
                Step::Write(offset, byte) => write(&mut pic, offset, byte),
                Step::Initialize(master, slave) => initialize(&mut pic, [master, slave]),
                Step::Line(irq, high) => pic.set_line(Irq(irq), high),
                Step::Acknowledge => {
                    let before = in_service(&pic);
                    let asked = pic.has_interrupt();
                    pic.acknowledge();
                    let after = in_service(&pic);
                    for (before, after) in before.into_iter().zip(after) {
                        prop_assert_eq!(before & !after, 0, "an acknowledgement ends nothing");
                        prop_assert!((after & !before).count_ones() <= 1, "and takes one line");
                    }
                    prop_assert!(asked || before == after, "without a request nothing is taken");
                }
            }
            prop_assert_eq!(&pic.clone(), &pic);
            for offset in 0..6 {
                prop_assert!(!pic.register(offset).is_empty());
            }
            if pic.has_interrupt() {
                let [requests, _] = irr(&mut pic.clone());
                let mask = read_mask(&pic);
                prop_assert!(requests & !mask != 0, "who asks has an unmasked request");
            }
        }
    }
}

/// The master's mask, by asking a copy; an answer to a poll comes first.
fn read_mask(pic: &Pic8259) -> u8 {
    let mut pic = pic.clone();
    write(&mut pic, MASTER_EVEN, 0x08);
    read(&mut pic, MASTER_ODD)
}
