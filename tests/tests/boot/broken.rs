//! Broken headers: whatever a file holds, it is loaded or refused, and a machine with it starts or is refused.

use super::{multiboot, multiboot2, pvh};
use fencepost::loader::Image;
use fencepost::machine::{Machine, Settings};
use proptest::prelude::*;

/// Files that are right.
fn files() -> Vec<Vec<u8>> {
    let addresses = [0x1bad_b002, 1 << 16, 0xe451_4ffe, 0x20_0000, 0x20_0000, 0, 0x20_0100, 0x20_0020_u32];
    let raw = [addresses.map(u32::to_le_bytes).concat(), vec![0xf4; 32]].concat();
    assert!(Image::recognise("raw", raw.clone()).is_ok(), "the file is right");
    let mut disk = vec![0xf4; 1024];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let tags: &[(u16, u16, &[u32])] =
        &[(1, 0, &[1, 2]), (3, 0, &[0x10_0001]), (2, 1, &[0x10_0000; 4]), (10, 1, &[0; 4])];
    vec![
        multiboot::kernel(0x10_0000),
        multiboot::kernel(0x8010_0000),
        raw,
        multiboot2::kernel(tags),
        pvh::kernel(),
        disk,
    ]
}

/// Changes of one file: words that are overwritten, and where it is cut.
fn changes() -> impl Strategy<Value = (usize, Vec<(usize, u32)>, Option<usize>)> {
    let interesting = prop_oneof![Just(0), Just(u32::MAX), 0..64_u32, 0x10_0000..0x80_0000_u32, any::<u32>()];
    let words = prop::collection::vec((0..256_usize, interesting), 0..4);
    (0..files().len(), words, prop::option::of(0..256_usize))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_broken_file_is_loaded_or_refused((which, words, cut) in changes()) {
        let mut file = files().swap_remove(which);
        for (at, value) in words {
            let at = at.min(file.len().saturating_sub(4));
            file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        file.truncate(cut.unwrap_or(file.len()));
        if let Ok(image) = Image::recognise("broken", file) {
            _ = image.symbols().locate(image.entry());
            _ = Machine::new(&image, Settings::default());
        }
    }
}
