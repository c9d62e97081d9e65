//! What IDENTIFY DEVICE says of a drive (ATA/ATAPI-6, chapter 8, "IDENTIFY DEVICE information").

use super::{Drive, SECTOR_BYTES};

/// The greatest number of cylinders that the words for it hold.
const MOST_CYLINDERS: u64 = 16_383;
/// The greatest number of sectors that 28 bits address.
const MOST_LBA28: u64 = 0x0fff_ffff;

/// In words 83, 84, 87 and 93: the word means something.
const VALID: u16 = 1 << 14;

/// The 256 words of device `number`, as they pass through the Data register.
pub(super) fn identify(drive: &Drive, number: usize) -> Vec<u8> {
    let sectors = drive.disk.sectors();
    let cylinder = u64::from(Drive::HEADS) * u64::from(Drive::SECTORS_PER_TRACK);
    let current = [drive.cylinders(), drive.heads.into(), drive.sectors_per_track.into()];
    let current_sectors = current.into_iter().map(u64::from).product();
    let caches = u16::from(drive.write_cache) << 5 | u16::from(drive.look_ahead) << 6;

    let mut words = Words([0; 256]);
    words.0[0] = 1 << 6; // Not removable.
    words.0[1] = (sectors / cylinder).min(MOST_CYLINDERS) as u16;
    words.0[3] = Drive::HEADS.into();
    words.0[6] = Drive::SECTORS_PER_TRACK.into();
    words.text(10..20, if number == 0 { "FENCEPOST-0" } else { "FENCEPOST-1" });
    words.text(23..27, "1.0");
    words.text(27..47, "FENCEPOST DISK");
    words.0[47] = 0x8000 | u16::from(Drive::MOST_MULTIPLE);
    words.0[49] = 1 << 9 | 1 << 11; // LBA and IORDY, no DMA.
    words.0[50] = VALID;
    words.0[51] = 2 << 8; // PIO mode 2.
    words.0[53] = 1 << 0 | 1 << 1; // Words 54 to 58 and 64 to 70 mean something.
    words.0[54..57].copy_from_slice(&current);
    words.number(57..59, current_sectors);
    words.0[59] = if drive.multiple > 0 { 1 << 8 | u16::from(drive.multiple) } else { 0 };
    words.number(60..62, sectors.min(MOST_LBA28));
    words.0[64] = 1 << 0 | 1 << 1; // PIO modes 3 and 4,
    words.0[67] = 120; // whose cycles are 120 ns long,
    words.0[68] = 120; // with flow control too.
    words.0[80] = 0b111_1110; // ATA-1 to ATA/ATAPI-6.
    words.0[82] = 1 << 3 | 1 << 5 | 1 << 6 | 1 << 14; // Power management, write cache, look-ahead, NOP.
    words.0[83] = VALID | 1 << 10 | 1 << 12 | 1 << 13; // 48-bit addresses, both FLUSH CACHEs.
    words.0[84] = VALID;
    words.0[85] = 1 << 3 | caches | 1 << 14;
    words.0[86] = 1 << 10 | 1 << 12 | 1 << 13;
    words.0[87] = VALID;
    words.number(100..104, sectors);
    words.bytes()
}

/// The answer, and how fields of several words lie in it.
struct Words([u16; 256]);

impl Words {
    /// A number, its low word first.
    fn number(&mut self, at: std::ops::Range<usize>, number: u64) {
        for (place, word) in self.0[at].iter_mut().enumerate() {
            *word = (number >> (16 * place)) as u16;
        }
    }

    /// A text padded with spaces, the first character of each word in its high byte ("Byte ordering", chapter 3).
    fn text(&mut self, at: std::ops::Range<usize>, text: &str) {
        let mut bytes = text.bytes().chain(std::iter::repeat(b' '));
        for word in &mut self.0[at] {
            *word = u16::from_be_bytes([(); 2].map(|()| bytes.next().unwrap_or(b' ')));
        }
    }

    /// With signature and checksum in the last word: all bytes add up to zero.
    fn bytes(self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes[SECTOR_BYTES - 2] = 0xa5;
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        bytes[SECTOR_BYTES - 1] = sum.wrapping_neg();
        bytes
    }
}
