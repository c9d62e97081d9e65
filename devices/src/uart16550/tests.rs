use super::*;
use crate::fuzz;
use proptest::prelude::*;

fn read(uart: &mut Uart16550, offset: u64) -> u8 {
    uart.read(offset, Width::Byte).0 as u8
}

fn write(uart: &mut Uart16550, offset: u64, value: u8) -> Vec<Signal> {
    uart.write(offset, Width::Byte, value.into())
}

/// A UART with the interrupts of `ier` on and OUT2 letting them through.
fn interrupting(ier: u8) -> Uart16550 {
    let mut uart = Uart16550::default();
    write(&mut uart, MCR, 0x08);
    write(&mut uart, IER, ier);
    uart
}

const RAISE: Signal = Signal::RaiseIrq(Irq(4));
const LOWER: Signal = Signal::LowerIrq(Irq(4));
const SENT: fn(u8) -> Signal = |byte| Signal::Transmit { line: Line::Serial, byte };

#[test]
fn a_written_byte_is_sent_and_the_transmitter_is_empty_again() {
    let mut uart = Uart16550::default();
    assert_eq!(write(&mut uart, RBR_THR, b'A'), [SENT(b'A')]);
    assert_eq!(read(&mut uart, LSR), 0x60);
}

#[test]
fn dlab_puts_the_divisor_where_data_and_ier_were() {
    let mut uart = interrupting(0x01);
    write(&mut uart, LCR, 0x83);
    assert_eq!([uart.register(0), uart.register(1)], ["DLL", "DLM"]);
    assert_eq!(write(&mut uart, 0, 0x34), [], "no byte is sent");
    write(&mut uart, 1, 0x12);
    assert_eq!([read(&mut uart, 0), read(&mut uart, 1)], [0x34, 0x12]);
    write(&mut uart, LCR, 0x03);
    assert_eq!(read(&mut uart, IER), 0x01, "IER is untouched");
    assert_eq!([uart.register(0), uart.register(1)], ["THR", "IER"]);
}

#[test]
fn received_bytes_come_out_in_order_and_the_pin_follows() {
    let mut uart = interrupting(0x01);
    write(&mut uart, IIR_FCR, 0x01);
    assert_eq!(uart.receive(1), [RAISE]);
    assert_eq!(uart.receive(2), [], "the pin is active already");
    assert_eq!(read(&mut uart, LSR), 0x61);
    assert_eq!(uart.read(RBR_THR, Width::Byte), (1, vec![]));
    assert_eq!(uart.read(RBR_THR, Width::Byte), (2, vec![LOWER]));
    assert_eq!(read(&mut uart, LSR), 0x60);
}

#[test]
fn a_full_fifo_loses_the_newest_byte_and_says_so_once() {
    let mut uart = Uart16550::default();
    write(&mut uart, IIR_FCR, 0x01);
    for byte in 0..=16 {
        uart.receive(byte);
    }
    assert_eq!(read(&mut uart, LSR), 0x63);
    assert_eq!(read(&mut uart, LSR), 0x61);
    let out: Vec<u8> = (0..16).map(|_| read(&mut uart, RBR_THR)).collect();
    assert_eq!(out, Vec::from_iter(0..16));
}

#[test]
fn without_fifo_the_newest_byte_replaces_the_waiting_one() {
    let mut uart = Uart16550::default();
    uart.receive(1);
    uart.receive(2);
    assert_eq!([read(&mut uart, LSR), read(&mut uart, RBR_THR), read(&mut uart, LSR)], [0x63, 2, 0x60]);
}

#[test]
fn the_trigger_level_tells_a_full_batch_from_a_timeout() {
    for (fcr, level) in [(0x01, 1), (0x41, 4), (0x81, 8), (0xc1, 14)] {
        let mut uart = interrupting(0x01);
        write(&mut uart, IIR_FCR, fcr);
        for byte in 1..level {
            uart.receive(byte);
            assert_eq!(read(&mut uart, IIR_FCR), 0xc1, "{byte} of {level}: nothing yet");
            let timeout = uart.next_event().expect("the bytes time out");
            assert_eq!(uart.advance(timeout), [RAISE]);
            assert_eq!(read(&mut uart, IIR_FCR), 0xcc, "{byte} of {level}: timeout");
        }
        uart.receive(level);
        assert_eq!(read(&mut uart, IIR_FCR), 0xc4, "{level} of {level}: data");
    }
}

#[test]
fn the_timeout_is_four_characters_without_one_coming_or_being_read() {
    let mut uart = interrupting(0x01);
    write(&mut uart, IIR_FCR, 0xc1);
    write(&mut uart, LCR, 0x03);
    // Ten bits at 115,200 baud are 86.8 us.
    const CHARACTER: u64 = 8_681;
    uart.receive(1);
    uart.advance(Ticks(3 * CHARACTER));
    uart.receive(2);
    assert_eq!(uart.advance(Ticks(6 * CHARACTER)), [], "the second byte started it again");
    assert_eq!(uart.advance(Ticks(7 * CHARACTER)), [RAISE]);
    assert_eq!(uart.read(RBR_THR, Width::Byte), (1, vec![LOWER]), "reading takes it back");
    assert_eq!(uart.advance(Ticks(11 * CHARACTER)), [RAISE], "and starts it again");
    assert_eq!((uart.read(RBR_THR, Width::Byte), uart.next_event()), ((2, vec![LOWER]), None));
}

#[test]
fn the_timeout_follows_divisor_and_frame() {
    for (lcr, divisor, microseconds) in [(0x03, 12, 4167), (0x00, 1, 244), (0x0f, 1, 417)] {
        let mut uart = interrupting(0x01);
        write(&mut uart, LCR, 0x80);
        write(&mut uart, RBR_THR, divisor);
        write(&mut uart, LCR, lcr);
        write(&mut uart, IIR_FCR, 0xc1);
        uart.receive(1);
        let timeout = uart.next_event().map(|timeout| timeout.0.div_ceil(100));
        assert_eq!(timeout, Some(microseconds), "LCR {lcr:#x}, divisor {divisor}");
    }
}

#[test]
fn the_world_can_see_how_much_the_receiver_takes() {
    let mut uart = Uart16550::default();
    assert_eq!(uart.room(), 1);
    write(&mut uart, IIR_FCR, 0x01);
    uart.receive(1);
    assert_eq!(uart.room(), 15);
}

#[test]
fn the_bits_that_empty_a_fifo_are_not_kept() {
    let [mut one, mut other] = [Uart16550::default(), Uart16550::default()];
    write(&mut one, IIR_FCR, 0x01);
    write(&mut other, IIR_FCR, 0x07);
    assert_eq!(one, other);
}

#[test]
fn fcr_empties_the_receiver_and_reports_the_fifo_in_iir() {
    let mut uart = Uart16550::default();
    assert_eq!(read(&mut uart, IIR_FCR), 0x01);
    uart.receive(1);
    write(&mut uart, IIR_FCR, 0x01);
    assert_eq!([read(&mut uart, IIR_FCR), read(&mut uart, LSR)], [0xc1, 0x60], "turning it on empties");
    uart.receive(1);
    write(&mut uart, IIR_FCR, 0x03);
    assert_eq!([read(&mut uart, IIR_FCR), read(&mut uart, LSR)], [0xc1, 0x60], "and so does bit 1");
}

#[test]
fn enabling_the_transmitter_interrupt_raises_it_and_reading_iir_takes_it_back() {
    let mut uart = interrupting(0);
    assert_eq!(write(&mut uart, IER, 0x02), [RAISE]);
    assert_eq!(uart.read(IIR_FCR, Width::Byte), (0x02, vec![LOWER]));
    assert_eq!(uart.read(IIR_FCR, Width::Byte), (0x01, vec![]));
    assert_eq!(write(&mut uart, IER, 0x02), [], "only the rising enable counts");
}

#[test]
fn each_sent_byte_makes_an_edge_on_the_pin() {
    let mut uart = interrupting(0x02);
    assert_eq!(write(&mut uart, RBR_THR, 7), [LOWER, SENT(7), RAISE]);
    read(&mut uart, IIR_FCR);
    assert_eq!(write(&mut uart, RBR_THR, 8), [SENT(8), RAISE]);
}

#[test]
fn line_status_comes_before_data_and_data_before_the_transmitter() {
    let mut uart = interrupting(0x07);
    uart.receive(1);
    uart.receive(2);
    assert_eq!(read(&mut uart, IIR_FCR), 0x06);
    read(&mut uart, LSR);
    assert_eq!(read(&mut uart, IIR_FCR), 0x04);
    read(&mut uart, RBR_THR);
    assert_eq!(read(&mut uart, IIR_FCR), 0x02);
}

#[test]
fn without_out2_an_interrupt_is_pending_but_does_not_reach_the_pin() {
    let mut uart = interrupting(0x01);
    write(&mut uart, MCR, 0x00);
    assert_eq!(uart.receive(1), []);
    assert_eq!(read(&mut uart, IIR_FCR), 0x04);
    assert_eq!(write(&mut uart, MCR, 0x08), [RAISE]);
}

#[test]
fn loopback_returns_what_is_sent_and_cuts_the_line_off() {
    let mut uart = Uart16550::default();
    write(&mut uart, MCR, 0x10);
    assert_eq!(write(&mut uart, RBR_THR, 0x5a), []);
    assert_eq!(uart.receive(1), []);
    assert_eq!([read(&mut uart, RBR_THR), read(&mut uart, LSR)], [0x5a, 0x60]);
}

#[test]
fn loopback_keeps_interrupts_from_the_pin() {
    let mut uart = interrupting(0x01);
    write(&mut uart, MCR, 0x18);
    assert_eq!(write(&mut uart, RBR_THR, 1), []);
    assert_eq!(read(&mut uart, IIR_FCR), 0x04, "but IIR tells");
    assert_eq!(write(&mut uart, MCR, 0x08), [RAISE]);
}

#[test]
fn loopback_wires_modem_outputs_to_inputs_and_msr_tells_changes_once() {
    let mut uart = Uart16550::default();
    assert_eq!(read(&mut uart, MSR), 0xb0, "a modem that is ready");
    write(&mut uart, MCR, 0x1f);
    assert_eq!(read(&mut uart, MSR), 0xf0, "the same lines, and a ring that begins is no change bit");
    write(&mut uart, MCR, 0x10);
    assert_eq!(read(&mut uart, MSR), 0x0f);
    assert_eq!(read(&mut uart, MSR), 0x00);
    write(&mut uart, MCR, 0x12);
    assert_eq!(read(&mut uart, MSR), 0x11, "RTS reaches CTS");
}

#[test]
fn a_modem_change_interrupts_until_msr_is_read() {
    let mut uart = interrupting(0x08);
    write(&mut uart, MCR, 0x10);
    assert_eq!(write(&mut uart, MCR, 0x08), [RAISE]);
    assert_eq!(read(&mut uart, IIR_FCR), 0x00);
    let (_, signals) = uart.read(MSR, Width::Byte);
    assert_eq!(signals, [LOWER]);
}

#[test]
fn the_scratch_register_keeps_its_byte() {
    let mut uart = Uart16550::default();
    write(&mut uart, SCR, 0xa5);
    assert_eq!(read(&mut uart, SCR), 0xa5);
}

/// What drivers write: interrupts, FIFOs and trigger levels, modem outputs.
const SETTINGS: [u8; 12] = [0x00, 0x01, 0x03, 0x05, 0x07, 0x08, 0x0b, 0x0f, 0x41, 0x80, 0xc1, 0xc7];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(fuzz::cases()))]

    #[test]
    fn any_guest_is_stood(run in fuzz::runs(8, &SETTINGS)) {
        fuzz::check(Uart16550::default(), &run, |uart, [byte, ..]| uart.receive(byte));
    }
}
