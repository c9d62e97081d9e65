//! A disk (5.2): read, write, flush and tell its name; each request is answered in its last byte.

use super::chain::Broken;
use super::mmio::{Kind, Occasion, Served, VirtioMmio, region};
use super::queue::Request;
use super::ring::MOST_ENTRIES;
use crate::{Disk, Irq, Region, SECTOR_BYTES, TICKS_PER_SECOND, Ticks};

/// A virtio disk.
pub type VirtioBlock = VirtioMmio<Block>;

/// What is a disk in a [`VirtioBlock`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Block {
    disk: Disk,
}

impl VirtioBlock {
    /// Where the first of QEMU's microvm answers.
    pub const REGIONS: &[Region] = &[region(0)];

    /// A device with this disk, which interrupts by `irq`.
    ///
    /// ```
    /// use fencepost_devices::{Bus, Disk, Irq, Space, VirtioBlock, Width};
    ///
    /// let mut bus = Bus::default();
    /// let disk = Disk::new([0; 4096].into());
    /// bus.attach(VirtioBlock::new(disk, Irq(11)), VirtioBlock::REGIONS)?;
    /// assert_eq!(bus.read(Space::Memory, 0xfeb0_0000, Width::Dword).value, u64::from(u32::from_le_bytes(*b"virt")));
    /// assert_eq!(bus.read(Space::Memory, 0xfeb0_0100, Width::Dword).value, 8);
    /// assert_eq!(bus.describe(Space::Memory, 0xfeb0_0050), "virtio-blk > QueueNotify");
    /// # Ok::<(), fencepost_devices::AttachError>(())
    /// ```
    pub fn new(disk: Disk, irq: Irq) -> VirtioBlock {
        VirtioMmio::of_kind(Block { disk }, irq)
    }

    /// The disk, as written so far.
    pub fn disk(&self) -> &Disk {
        &self.kind.disk
    }
}

/// `VIRTIO_BLK_F_SEG_MAX`: the configuration tells how many buffers of data a request can have.
const F_SEG_MAX: u64 = 1 << 2;
/// `VIRTIO_BLK_F_BLK_SIZE`: it tells the size of a sector.
const F_BLK_SIZE: u64 = 1 << 6;
/// `VIRTIO_BLK_F_FLUSH`: there is a request to flush.
const F_FLUSH: u64 = 1 << 9;

/// Type, a reserved word, and the first sector (5.2.6).
const HEADER_BYTES: usize = 16;
/// The name, padded with zeroes.
const ID: &[u8; 20] = b"FENCEPOST DISK\0\0\0\0\0\0";

/// The last byte of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// What is asked for (5.2.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Command {
    In,
    Out,
    Flush,
    GetId,
}

impl Command {
    fn from_type(number: u32) -> Result<Command, Status> {
        match number {
            0 => Ok(Command::In),
            1 => Ok(Command::Out),
            4 => Ok(Command::Flush),
            8 => Ok(Command::GetId),
            _ => Err(Status::Unsupported),
        }
    }
}

impl Kind for Block {
    const NAME: &'static str = "virtio-blk";
    const DEVICE_ID: u32 = 2;
    const QUEUES: usize = 1;
    /// 10 us: a fast disk, and a fifth of what an ATA command takes here.
    const LATENCY: Ticks = Ticks(TICKS_PER_SECOND / 100_000);
    /// 4 MiB, which no driver known asks for, beside header or status.
    const MOST_BYTES: u64 = (4 << 20) + HEADER_BYTES as u64;
    const FEATURES: u64 = F_SEG_MAX | F_BLK_SIZE | F_FLUSH;
    const FIELDS: &'static [(u64, &'static str)] =
        &[(0, "capacity"), (8, "size_max"), (12, "seg_max"), (16, "geometry"), (20, "blk_size"), (24, "config")];

    fn config(&self) -> Vec<u8> {
        let mut config = self.disk.sectors().to_le_bytes().to_vec();
        // Of a full queue's chain, one descriptor is the header and one the status.
        let [size_max, seg_max, geometry] = [0, u32::from(MOST_ENTRIES) - 2, 0];
        let words = [size_max, seg_max, geometry, SECTOR_BYTES as u32];
        config.extend(words.map(u32::to_le_bytes).as_flattened());
        config
    }

    fn occasion(_queue: usize) -> Occasion {
        Occasion::Notification
    }

    fn arrival(&self, _queue: usize) -> Option<Ticks> {
        None
    }

    fn miss(&mut self, _queue: usize) {}

    fn serve(&mut self, _queue: usize, request: Request, _now: Ticks) -> Result<Served, Broken> {
        let (answer, room) = match request {
            Request::TooLong { room } => (Err(Status::IoError), room),
            Request::Whole { contents, room } => {
                let (header, data) = contents.split_at_checked(HEADER_BYTES).ok_or(Broken::Request)?;
                (self.execute(header, data, room.saturating_sub(1)), room)
            }
        };
        // The status is the last byte, wherever the data ends.
        let last = room.checked_sub(1).ok_or(Broken::Request)?;
        Ok(match answer {
            Ok(mut bytes) if bytes.len() as u64 == last => {
                bytes.push(Status::Ok as u8);
                Served::Used { skip: 0, bytes }
            }
            // Nothing was asked for, although there is room for it.
            Ok(_) => Served::Used { skip: last, bytes: vec![Status::Ok as u8] },
            Err(status) => Served::Used { skip: last, bytes: vec![status as u8] },
        })
    }
}

impl Block {
    /// Does what a header says: `data` came with it, and `room` bytes can go back.
    fn execute(&mut self, header: &[u8], data: &[u8], room: u64) -> Result<Vec<u8>, Status> {
        let [number, _, low, high] =
            std::array::from_fn(|at| header[4 * at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)));
        let sector = u64::from(high) << 32 | u64::from(low);
        match Command::from_type(number)? {
            Command::In => self.read(sector, room),
            Command::Out => self.write(sector, data).map(|()| Vec::new()),
            // What is written is on the disk.
            Command::Flush => Ok(Vec::new()),
            Command::GetId => Ok(self.id(room)),
        }
    }

    fn read(&self, first: u64, bytes: u64) -> Result<Vec<u8>, Status> {
        let sectors = self.range(first, bytes)?;
        Ok(sectors.flat_map(|lba| self.disk.sector(lba)).collect())
    }

    fn write(&mut self, first: u64, data: &[u8]) -> Result<(), Status> {
        let sectors = self.range(first, data.len() as u64)?;
        for (lba, sector) in sectors.zip(data.as_chunks().0) {
            self.disk.write(lba, sector);
        }
        Ok(())
    }

    /// The sectors that so many bytes are, if there are such.
    fn range(&self, first: u64, bytes: u64) -> Result<std::ops::Range<u64>, Status> {
        let size = SECTOR_BYTES as u64;
        let end =
            first.checked_add(bytes / size).filter(|&end| bytes.is_multiple_of(size) && end <= self.disk.sectors());
        end.map(|end| first..end).ok_or(Status::IoError)
    }

    /// The name, as much of it as there is room for, and zeroes after it.
    fn id(&self, room: u64) -> Vec<u8> {
        let zeroes = std::iter::repeat(0);
        ID.iter().copied().chain(zeroes).take(usize::try_from(room).unwrap_or(usize::MAX)).collect()
    }
}

#[cfg(test)]
mod tests;
