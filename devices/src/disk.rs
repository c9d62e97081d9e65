//! A disk: an image that many machines share, and the sectors this one has written.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::crc32::crc32;

/// Bytes in a sector.
pub const SECTOR_BYTES: usize = 512;

/// A disk's content. Cloning shares everything, so that a snapshot costs a pointer for each sector written.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Disk {
    image: Image,
    /// Sectors that differ from the image.
    written: BTreeMap<u64, Arc<[u8; SECTOR_BYTES]>>,
}

impl Disk {
    /// A disk of this content; what a last sector lacks is zeroes.
    pub fn new(image: Arc<[u8]>) -> Disk {
        let checksum = crc32(&image);
        Disk { image: Image { bytes: image, checksum }, written: BTreeMap::new() }
    }

    /// How many sectors there are.
    pub fn sectors(&self) -> u64 {
        self.image.bytes.len().div_ceil(SECTOR_BYTES) as u64
    }

    /// The content of a sector; beyond the end it is zeroes.
    pub fn sector(&self, lba: u64) -> [u8; SECTOR_BYTES] {
        self.written.get(&lba).map_or_else(|| self.image.sector(lba), |sector| **sector)
    }

    /// The sectors that differ from the image, in order, with their numbers: what is to be written back to keep them.
    pub fn changed_sectors(&self) -> impl Iterator<Item = (u64, &[u8; SECTOR_BYTES])> {
        self.written.iter().map(|(&lba, sector)| (lba, &**sector))
    }

    /// Writes a sector; beyond the end nothing is kept.
    pub(crate) fn write(&mut self, lba: u64, sector: &[u8; SECTOR_BYTES]) {
        if lba >= self.sectors() {
            return;
        }
        // Two disks of the same content are equal, however they came to it.
        if *sector == self.image.sector(lba) {
            self.written.remove(&lba);
        } else {
            self.written.insert(lba, Arc::new(*sector));
        }
    }
}

/// A disk's content before anybody wrote to it.
#[derive(Clone, PartialEq, Eq)]
struct Image {
    bytes: Arc<[u8]>,
    /// Stands for the bytes in a hash, since hashing a disk for each state would be most of the work.
    checksum: u32,
}

impl Image {
    fn sector(&self, lba: u64) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        let start = usize::try_from(lba).ok().and_then(|lba| lba.checked_mul(SECTOR_BYTES));
        let bytes = start.and_then(|start| self.bytes.get(start..)).unwrap_or(&[]);
        for (place, byte) in sector.iter_mut().zip(bytes) {
            *place = *byte;
        }
        sector
    }
}

impl Hash for Image {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.bytes.len(), self.checksum).hash(hasher);
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({} bytes, CRC {:08x})", self.bytes.len(), self.checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_that_is_written_back_is_no_change() {
        let mut disk = Disk::new(Arc::from([7; 600]));
        let (fresh, old) = (disk.clone(), disk.sector(1));
        assert_eq!((disk.sectors(), old[87], old[88]), (2, 7, 0), "padded with zeroes");
        disk.write(1, &[9; SECTOR_BYTES]);
        assert_eq!(Vec::from_iter(disk.changed_sectors()), [(1, &[9; SECTOR_BYTES])]);
        assert_ne!(disk, fresh);
        disk.write(1, &old);
        assert_eq!(disk, fresh);
    }

    #[test]
    fn beyond_the_end_is_nothing() {
        let mut disk = Disk::new(Arc::from([]));
        disk.write(0, &[1; SECTOR_BYTES]);
        assert_eq!((disk.sectors(), disk.sector(u64::MAX)), (0, [0; SECTOR_BYTES]));
        assert_eq!(disk.changed_sectors().count(), 0);
    }
}
