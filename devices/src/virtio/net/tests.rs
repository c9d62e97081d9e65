use crate::virtio::tests::{BUFFERS, Bench, IRQ, LIVE, STATUS};
use crate::virtio::{VirtioNet, Wire};
use crate::{Device, Resolution, Ticks, parse_pcap, write_pcap};

const RECEIVE: u32 = 0;
const SEND: u32 = 1;
const RECEIVED: u64 = BUFFERS;
const FRAME: u64 = BUFFERS + 0x1000;

fn bench(wire: Wire) -> Bench<VirtioNet> {
    Bench::ready(VirtioNet::new([0x52, 0x54, 0, 0x12, 0x34, 0x56], wire, IRQ), 2)
}

/// A wire on which nothing ever arrives.
fn silence() -> Wire {
    Wire::script(Vec::new())
}

fn give_buffer(bench: &mut Bench<VirtioNet>, length: u32) {
    bench.chain(RECEIVE, 0, &[], &[(RECEIVED, length)]);
    bench.offer(RECEIVE, 0);
}

/// Sends a frame of so many bytes, all `byte`, behind a header of its own descriptor.
fn send(bench: &mut Bench<VirtioNet>, byte: u8, length: u32) {
    bench.poke(FRAME, &vec![byte; length as usize]);
    bench.chain(SEND, 0, &[(BUFFERS + 0x800, 12), (FRAME, length)], &[]);
    bench.submit(SEND, 0);
}

fn sent(bench: &Bench<VirtioNet>) -> Vec<(u64, u8, usize)> {
    bench.device.sent().map(|(Ticks(at), bytes)| (at, bytes[0], bytes.len())).collect()
}

#[test]
fn the_configuration_tells_the_address() {
    let mut bench = bench(silence());
    assert_eq!([0x08, 0x100, 0x104].map(|offset| bench.read(offset)), [1, 0x1200_5452, 0x5634]);
    bench.write(0x14, 0);
    assert_eq!(bench.read(0x10), 1 << 28 | 1 << 5);
}

#[test]
fn a_frame_is_sent_and_kept_with_its_time() {
    let mut bench = bench(silence());
    send(&mut bench, 7, 60);
    assert!(bench.notifications_are_suppressed(SEND));
    bench.next_event();
    assert_eq!((sent(&bench), bench.used_element(SEND, 0), bench.irq), (vec![(100, 7, 60)], (0, 0), true));
    bench.settle();
    assert!(!bench.notifications_are_suppressed(SEND));
    let file = write_pcap(bench.device.sent(), Resolution::Nanoseconds);
    assert_eq!(parse_pcap(&file), Ok(vec![(Ticks(0), vec![7; 60])]));
}

#[test]
fn what_is_sent_into_a_loopback_comes_back() {
    let mut bench = bench(Wire::loopback(Ticks(500)));
    give_buffer(&mut bench, 1526);
    send(&mut bench, 9, 64);
    bench.next_event();
    bench.write(0x64, 1);
    bench.advance(599);
    assert_eq!((bench.used(RECEIVE), bench.irq), (0, false));
    bench.advance(600);
    assert_eq!((bench.used_element(RECEIVE, 0), bench.irq), ((0, 76), true));
    assert_eq!(bench.peek(RECEIVED, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(bench.peek(RECEIVED + 12, 64), [9; 64]);
}

#[test]
fn frames_of_a_script_arrive_at_their_times() {
    let mut bench = bench(Wire::script(vec![(Ticks(900), vec![2; 60]), (Ticks(300), vec![1; 60])]));
    give_buffer(&mut bench, 1526);
    give_buffer(&mut bench, 1526);
    assert_eq!((bench.next_event(), bench.peek(RECEIVED + 12, 1)), (Some(300), &[1][..]));
    assert_eq!((bench.next_event(), bench.peek(RECEIVED + 12, 1)), (Some(900), &[2][..]));
    assert_eq!((bench.used(RECEIVE), bench.device.dropped(), bench.device.next_event()), (2, 0, None));
}

#[test]
fn frames_at_one_moment_all_arrive_in_order() {
    let mut bench = bench(Wire::script((0..3).map(|number| (Ticks(40), vec![number; 60])).collect()));
    for head in 0..3_u16 {
        bench.chain(RECEIVE, head, &[], &[(RECEIVED + 100 * u64::from(head), 100)]);
        bench.offer(RECEIVE, head);
    }
    bench.advance(1_000);
    assert_eq!([0, 100, 200].map(|at| bench.peek(RECEIVED + at + 12, 1)[0]), [0, 1, 2]);
    assert_eq!(bench.device.next_event(), None);
}

#[test]
fn a_frame_without_a_buffer_is_lost_and_counted() {
    let mut bench = bench(Wire::script((1..=3).map(|number| (Ticks(number * 100), vec![number as u8; 60])).collect()));
    bench.next_event();
    assert_eq!(bench.device.dropped(), 1);
    give_buffer(&mut bench, 71);
    bench.next_event();
    assert_eq!((bench.device.dropped(), bench.used(RECEIVE)), (2, 0), "the buffer is too small, and stays");
    bench.chain(RECEIVE, 0, &[], &[(RECEIVED, 40), (RECEIVED + 40, 32)]);
    bench.next_event();
    assert_eq!((bench.device.dropped(), bench.used_element(RECEIVE, 0)), (2, (0, 72)));
}

#[test]
fn frames_pass_by_a_card_that_nobody_drives() {
    let wire = Wire::script((1..=3).map(|number| (Ticks(number * 100), vec![1; 60])).collect());
    let mut bench = Bench::new(VirtioNet::new([2; 6], wire, IRQ));
    bench.advance(250);
    assert_eq!((bench.device.dropped(), bench.device.next_event()), (2, Some(Ticks(300))));
}

#[test]
fn what_is_no_ethernet_frame_is_not_sent() {
    let mut bench = bench(silence());
    for length in [1, 13, 1519] {
        send(&mut bench, 1, length);
        bench.settle();
    }
    bench.chain(SEND, 0, &[(BUFFERS, u32::MAX)], &[]);
    bench.submit(SEND, 0);
    bench.settle();
    assert_eq!((sent(&bench), bench.device.dropped(), bench.used(SEND)), (vec![], 4, 4));
    assert_eq!(bench.read(STATUS), LIVE);
}

#[test]
fn both_queues_work_at_once() {
    let mut bench = bench(Wire::script(vec![(Ticks(100), vec![3; 60])]));
    give_buffer(&mut bench, 1526);
    send(&mut bench, 4, 60);
    bench.next_event();
    assert_eq!((bench.used(RECEIVE), sent(&bench)), (1, vec![(100, 4, 60)]));
    assert!(bench.irq);
}

#[test]
fn a_reset_loses_no_frame_that_was_sent() {
    let mut bench = bench(Wire::loopback(Ticks(500)));
    send(&mut bench, 5, 60);
    bench.next_event();
    bench.initialise(2);
    give_buffer(&mut bench, 1526);
    bench.settle();
    assert_eq!((sent(&bench).len(), bench.used(RECEIVE)), (1, 1), "it was on the wire");
}

#[test]
fn a_snapshot_keeps_its_own_frames_and_the_time_of_one_is_no_difference() {
    let (mut early, mut late) = (bench(silence()), bench(silence()));
    let before = early.device.clone();
    late.advance(5_000);
    for bench in [&mut early, &mut late] {
        send(bench, 1, 60);
        bench.settle();
    }
    assert_eq!((before.sent().count(), early.device.sent().count()), (0, 1));
    assert_eq!(early.device, late.device);
    assert_ne!(sent(&early), sent(&late));
}
