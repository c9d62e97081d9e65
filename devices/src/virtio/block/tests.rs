use crate::virtio::VirtioBlock;
use crate::virtio::tests::{BUFFERS, Bench, DATA, HEADER, LIVE, REQUEST_STATUS, STATUS, disk};

fn bench() -> Bench<VirtioBlock> {
    Bench::ready(disk(16), 1)
}

/// One request with `readable` and `writable` bytes of data: its status, and the length it was used with.
fn request(bench: &mut Bench<VirtioBlock>, number: u8, sector: u64, readable: u32, writable: u32) -> (u8, u32) {
    bench.poke(HEADER, &[number, 0, 0, 0, 0, 0, 0, 0]);
    bench.poke(HEADER + 8, &sector.to_le_bytes());
    bench.poke(REQUEST_STATUS, &[0xee]);
    bench.chain(0, 0, &[(HEADER, 16), (DATA, readable)], &[(DATA, writable), (REQUEST_STATUS, 1)]);
    let used = bench.used(0);
    bench.submit(0, 0);
    bench.settle();
    assert_eq!((bench.used(0), bench.read(STATUS)), (used.wrapping_add(1), LIVE), "an answer, and no failure");
    (bench.peek(REQUEST_STATUS, 1)[0], bench.used_element(0, used).1)
}

fn changed(bench: &Bench<VirtioBlock>) -> Vec<(u64, u8)> {
    bench.device.disk().changed_sectors().map(|(lba, sector)| (lba, sector[0])).collect()
}

#[test]
fn the_configuration_tells_the_size() {
    let mut bench = Bench::new(disk(16));
    assert_eq!([0x100, 0x104, 0x10c, 0x114].map(|offset| bench.read(offset)), [16, 0, 126, 512]);
    assert_eq!(bench.read(0x10), 1 << 28 | 1 << 9 | 1 << 6 | 1 << 2);
}

#[test]
fn sectors_are_written_and_read_again() {
    let mut bench = bench();
    bench.poke(DATA, &[[0xaa; 512], [0xbb; 512]].concat());
    assert_eq!(request(&mut bench, 1, 14, 1024, 0), (0, 1));
    assert_eq!(changed(&bench), [(14, 0xaa), (15, 0xbb)]);
    assert_eq!(request(&mut bench, 0, 13, 0, 1536), (0, 1537));
    assert_eq!([0, 512, 1024].map(|at| bench.peek(DATA + at, 1)[0]), [13, 0xaa, 0xbb]);
}

#[test]
fn flush_and_the_name() {
    let mut bench = bench();
    assert_eq!(request(&mut bench, 4, 0, 0, 0), (0, 1));
    assert_eq!(request(&mut bench, 8, 0, 0, 20), (0, 21));
    assert_eq!(bench.peek(DATA, 20), b"FENCEPOST DISK\0\0\0\0\0\0");
    assert_eq!(request(&mut bench, 8, 0, 0, 9), (0, 10));
    assert_eq!(request(&mut bench, 8, 0, 0, 64), (0, 65), "more room than name");
    assert_eq!(bench.peek(DATA + 14, 50), [0; 50]);
    assert_eq!(request(&mut bench, 4, 0, 0, 64), (0, 0), "nothing to read back");
}

#[test]
fn what_is_no_sector_fails() {
    let mut bench = bench();
    for (number, sector, readable, writable) in
        [(0, 16, 0, 512), (0, 15, 0, 1024), (0, u64::MAX, 0, 512), (0, 0, 0, 511), (1, 15, 1024, 0), (1, 0, 100, 0)]
    {
        let (status, _) = request(&mut bench, number, sector, readable, writable);
        assert_eq!(status, 1, "{number} {sector:#x} {readable} {writable}");
    }
    assert_eq!((changed(&bench), bench.peek(DATA, 1)), (vec![], &[0][..]));
}

#[test]
fn unknown_requests_are_unsupported() {
    let mut bench = bench();
    for number in [2, 3, 11, 13, 0xff] {
        assert_eq!(request(&mut bench, number, 0, 0, 0), (2, 1), "{number}");
    }
}

/// A read of 4 GiB is answered at once, and no memory is read or written for it but the status.
#[test]
fn a_request_of_enormous_length_fails() {
    for (readable, writable) in [(0, u32::MAX), (u32::MAX, 0), (0, 4 << 20 | 16), (5 << 20, 0)] {
        let mut bench = bench();
        assert_eq!(request(&mut bench, 0, 0, readable, writable).0, 1, "{readable:#x} {writable:#x}");
    }
}

#[test]
fn data_for_nowhere_is_lost_and_the_status_arrives() {
    let mut bench = bench();
    bench.poke(HEADER, &[0; 16]);
    bench.poke(REQUEST_STATUS, &[0xee]);
    bench.chain(0, 0, &[(HEADER, 16)], &[(0x4000_0000, 512), (REQUEST_STATUS, 1)]);
    bench.submit(0, 0);
    bench.settle();
    assert_eq!((bench.peek(REQUEST_STATUS, 1), bench.used_element(0, 0)), (&[0][..], (0, 513)));
    assert_eq!(bench.peek(BUFFERS, 16), [0; 16]);
}
