use super::*;
use proptest::prelude::*;

/// A file of two frames, its numbers in the order that `bytes` gives them.
fn two_frames(magic: u32, parts: [u32; 2], bytes: fn(u32) -> [u8; 4], versions: [u8; 4]) -> Vec<u8> {
    let mut file = bytes(magic).to_vec();
    file.extend(versions);
    file.extend([0, 0, 65_535, 1].map(bytes).as_flattened());
    file.extend([1_700_000_000, parts[0], 3, 60].map(bytes).as_flattened());
    file.extend(b"one");
    file.extend([1_700_000_001, parts[1], 4, 4].map(bytes).as_flattened());
    file.extend(b"next");
    file
}

const LITTLE: [u8; 4] = [2, 0, 4, 0];
const BIG: [u8; 4] = [0, 2, 0, 4];

#[test]
fn both_byte_orders_and_both_resolutions_are_read() {
    let expected = vec![(Ticks(0), b"one".to_vec()), (Ticks(100_000_100), b"next".to_vec())];
    let (micro, nano) = ([999_999, 1_000_000], [5, 1_005]);
    for (magic, parts) in [(0xa1b2_c3d4, micro), (0xa1b2_3c4d, nano)] {
        let files =
            [two_frames(magic, parts, u32::to_le_bytes, LITTLE), two_frames(magic, parts, u32::to_be_bytes, BIG)];
        for file in files {
            assert_eq!(parse_pcap(&file).as_ref(), Ok(&expected), "{magic:#x}");
        }
    }
}

#[test]
fn a_frame_from_before_the_first_comes_with_it() {
    let mut file = two_frames(0xa1b2_c3d4, [5, 5], u32::to_le_bytes, LITTLE);
    file[43..47].copy_from_slice(&1_600_000_000_u32.to_le_bytes());
    assert_eq!(parse_pcap(&file).map(|frames| frames[1].0), Ok(Ticks(0)));
}

#[test]
fn a_file_that_is_cut_short_says_where() {
    let file = two_frames(0xa1b2_c3d4, [5, 5], u32::to_le_bytes, LITTLE);
    let ends = [24, 43, file.len()];
    for length in 0..file.len() {
        match parse_pcap(&file[..length]) {
            Ok(_) => assert!(ends.contains(&length), "{length} is between two frames"),
            Err(PcapError::CutShort { offset, wanted, got }) => {
                assert!(offset + got == length && got < wanted, "{length}: {offset} {wanted} {got}");
            }
            Err(error) => panic!("{length}: {error}"),
        }
    }
    let error = parse_pcap(&file[..42]).expect_err("a byte is missing");
    assert_eq!(error.to_string(), "the pcap file is cut short: 2 of 3 bytes are there at offset 0x28");
}

#[test]
fn what_is_not_ours_is_refused_by_name() {
    let file = two_frames(0xa1b2_c3d4, [5, 5], u32::to_le_bytes, LITTLE);
    let with = |at: usize, bytes: [u8; 4]| {
        let mut file = file.clone();
        file[at..at + 4].copy_from_slice(&bytes);
        parse_pcap(&file).expect_err("it is spoilt").to_string()
    };
    assert_eq!(with(0, *b"\x7fELF"), "this is no pcap file, as tcpdump -w writes it: it begins with 0x464c457f");
    assert!(with(0, PCAPNG.to_le_bytes()).contains("pcapng"));
    assert_eq!(with(4, [2, 0, 3, 0]), "pcap version 2.3, but only 2.4 is known");
    assert_eq!(with(20, [113, 0, 0, 0]), "link type 113, but only Ethernet, 1, is known");
    assert_eq!(with(32, [0xff; 4]), "the pcap file is damaged: a frame of 4294967295 bytes at offset 0x18");
}

#[test]
fn microseconds_cut_off_what_is_left_over() {
    let file = write_pcap([(Ticks(0), &[][..]), (Ticks(250_000_199), &[1])], Resolution::Microseconds);
    assert_eq!(parse_pcap(&file), Ok(vec![(Ticks(0), vec![]), (Ticks(250_000_100), vec![1])]));
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        gaps in prop::collection::vec((0..1_u64 << 30, prop::collection::vec(any::<u8>(), 0..64)), 0..20),
    ) {
        let mut now = 0;
        let frames: Vec<(Ticks, Vec<u8>)> = gaps.into_iter().enumerate().map(|(at, (gap, bytes))| {
            now += if at == 0 { 0 } else { gap };
            (Ticks(now), bytes)
        }).collect();
        let file = write_pcap(frames.iter().map(|(at, bytes)| (*at, &bytes[..])), Resolution::Nanoseconds);
        prop_assert_eq!(parse_pcap(&file), Ok(frames));
    }

    #[test]
    fn any_bytes_are_stood(mut file in prop::collection::vec(any::<u8>(), 0..200), real in any::<bool>()) {
        if real && file.len() >= 24 {
            file[..24].copy_from_slice(&write_pcap([], Resolution::Microseconds));
        }
        let _ = parse_pcap(&file);
    }
}
