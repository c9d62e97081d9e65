//! Captured frames as files: classic pcap, version 2.4, of Ethernet (IETF draft-ietf-opsawg-pcap).
//!
//! Both byte orders and both resolutions are read, microseconds and nanoseconds; what is written is little-endian.
//! Times are [`Ticks`] since the first frame, so a nanosecond file is rounded down to 10 ns.
//! Written here, and not taken from the crate `pcap-file`, because a file that is cut short must say where.
//!
//! Left out: pcapng, other link types, and the length a frame had before the capture cut it.

use std::error::Error;
use std::fmt;

use crate::{TICKS_PER_SECOND, Ticks};

/// The frames of a capture, each with its time since the first.
///
/// A frame that is stamped before the first one, as captures of several cards have it, comes with the first.
///
/// ```
/// use fencepost_devices::{PcapError, Resolution, Ticks, parse_pcap, write_pcap};
///
/// let file = write_pcap([(Ticks(0), &b"one"[..]), (Ticks(250), b"two")], Resolution::Nanoseconds);
/// assert_eq!(parse_pcap(&file)?, [(Ticks(0), b"one".to_vec()), (Ticks(250), b"two".to_vec())]);
/// assert_eq!(parse_pcap(&file[..30]), Err(PcapError::CutShort { offset: 24, wanted: 16, got: 6 }));
/// # Ok::<(), PcapError>(())
/// ```
///
/// # Errors
/// The bytes are no such file, or one that ends in the middle of something.
pub fn parse_pcap(file: &[u8]) -> Result<Vec<(Ticks, Vec<u8>)>, PcapError> {
    let mut reader = Reader { file, offset: 0, order: ByteOrder::Little };
    let resolution = reader.file_header()?;
    let mut frames = Vec::new();
    let mut first = None;
    while reader.offset < file.len() {
        let (nanoseconds, bytes) = reader.record(resolution)?;
        let since = nanoseconds.saturating_sub(*first.get_or_insert(nanoseconds));
        frames.push((Ticks(since / NANOSECONDS_PER_TICK), bytes.to_vec()));
    }
    Ok(frames)
}

/// A capture file of these frames, as time counts from when the machine was switched on.
///
/// Of microseconds what is left over is cut off; a time beyond 136 years, which the file cannot hold, wraps round.
pub fn write_pcap<'a>(frames: impl IntoIterator<Item = (Ticks, &'a [u8])>, resolution: Resolution) -> Vec<u8> {
    let mut file = resolution.magic().to_le_bytes().to_vec();
    file.extend([2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(SNAPSHOT_LENGTH.to_le_bytes());
    file.extend(ETHERNET.to_le_bytes());
    for (Ticks(ticks), bytes) in frames {
        let seconds = low_half(ticks / TICKS_PER_SECOND);
        let part = low_half(ticks % TICKS_PER_SECOND * NANOSECONDS_PER_TICK / resolution.nanoseconds());
        let length = low_half(bytes.len() as u64);
        file.extend([seconds, part, length, length].map(u32::to_le_bytes).into_iter().flatten());
        file.extend(bytes);
    }
    file
}

/// What the fractions of a second in a capture file are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Resolution {
    /// What every tool reads.
    Microseconds,
    /// Exact: a tick is 10 of them.
    Nanoseconds,
}

impl Resolution {
    const fn magic(self) -> u32 {
        match self {
            Resolution::Microseconds => 0xa1b2_c3d4,
            Resolution::Nanoseconds => 0xa1b2_3c4d,
        }
    }

    const fn nanoseconds(self) -> u64 {
        match self {
            Resolution::Microseconds => 1_000,
            Resolution::Nanoseconds => 1,
        }
    }
}

/// Why bytes are no capture that can be played.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PcapError {
    /// The file does not begin as a classic pcap file does.
    NotPcap {
        /// Its first four bytes, as a little-endian number.
        magic: u32,
    },
    /// Another version than 2.4 has other records.
    Version {
        /// The version's first number.
        major: u16,
        /// Its second.
        minor: u16,
    },
    /// The capture is not of Ethernet.
    LinkType {
        /// Its link type; Ethernet is 1.
        link_type: u32,
    },
    /// The file ends in the middle of a header or a frame.
    CutShort {
        /// Where in the file the header or frame begins, in bytes.
        offset: usize,
        /// How long it is, in bytes.
        wanted: usize,
        /// How much of it is there, in bytes.
        got: usize,
    },
    /// A frame claims to be longer than frames can be, so the file is damaged.
    TooLong {
        /// Where in the file the frame's header begins, in bytes.
        offset: usize,
        /// What it claims, in bytes.
        length: u32,
    },
}

impl Error for PcapError {}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PcapError::NotPcap { magic } if *magic == PCAPNG => {
                write!(f, "this is a pcapng file; `editcap -F pcap` makes a pcap file of it")
            }
            PcapError::NotPcap { magic } => {
                write!(f, "this is no pcap file, as tcpdump -w writes it: it begins with {magic:#010x}")
            }
            PcapError::Version { major, minor } => write!(f, "pcap version {major}.{minor}, but only 2.4 is known"),
            PcapError::LinkType { link_type } => write!(f, "link type {link_type}, but only Ethernet, 1, is known"),
            PcapError::CutShort { offset, wanted, got } => {
                write!(f, "the pcap file is cut short: {got} of {wanted} bytes are there at offset {offset:#x}")
            }
            PcapError::TooLong { offset, length } => {
                write!(f, "the pcap file is damaged: a frame of {length} bytes at offset {offset:#x}")
            }
        }
    }
}

/// The link type of Ethernet, LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;
/// The greatest frame, 256 KiB: what tcpdump and Wireshark take for one.
const SNAPSHOT_LENGTH: u32 = 262_144;
/// What a pcapng file begins with.
const PCAPNG: u32 = 0x0a0d_0d0a;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;
const NANOSECONDS_PER_TICK: u64 = NANOSECONDS_PER_SECOND / TICKS_PER_SECOND;

/// In which order the file's numbers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ByteOrder {
    Little,
    Big,
}

/// A file and how far it has been read.
struct Reader<'a> {
    file: &'a [u8],
    offset: usize,
    order: ByteOrder,
}

impl<'a> Reader<'a> {
    fn take(&mut self, wanted: usize) -> Result<&'a [u8], PcapError> {
        let rest = &self.file[self.offset..];
        let cut_short = PcapError::CutShort { offset: self.offset, wanted, got: rest.len() };
        let taken = rest.get(..wanted).ok_or(cut_short)?;
        self.offset += wanted;
        Ok(taken)
    }

    /// The numbers in a header of so many.
    fn numbers<const N: usize>(&mut self) -> Result<[u32; N], PcapError> {
        let order = self.order;
        let bytes = self.take(4 * N)?;
        Ok(std::array::from_fn(|at| order.number([0, 1, 2, 3].map(|byte| bytes[4 * at + byte]))))
    }

    fn file_header(&mut self) -> Result<Resolution, PcapError> {
        let [magic, versions, _, _, _, link_type] = self.numbers()?;
        let (order, resolution) = recognise(magic).ok_or(PcapError::NotPcap { magic })?;
        self.order = order;
        // They were read as little-endian before the magic number was known.
        let [versions, link_type] = [versions, link_type].map(|number| order.number(number.to_le_bytes()));
        let (major, minor) = order.versions(versions);
        if (major, minor) != (2, 4) {
            return Err(PcapError::Version { major, minor });
        }
        // The upper bits tell of checksums at the end of frames.
        match link_type & 0xffff {
            ETHERNET => Ok(resolution),
            link_type => Err(PcapError::LinkType { link_type }),
        }
    }

    /// A frame, and its time in nanoseconds.
    fn record(&mut self, resolution: Resolution) -> Result<(u64, &'a [u8]), PcapError> {
        let offset = self.offset;
        let [seconds, part, length, _] = self.numbers()?;
        if length > SNAPSHOT_LENGTH {
            return Err(PcapError::TooLong { offset, length });
        }
        let nanoseconds = u64::from(seconds) * NANOSECONDS_PER_SECOND + u64::from(part) * resolution.nanoseconds();
        Ok((nanoseconds, self.take(length as usize)?))
    }
}

impl ByteOrder {
    fn number(self, bytes: [u8; 4]) -> u32 {
        match self {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        }
    }

    /// The two halves of a number, in the file's order.
    fn versions(self, number: u32) -> (u16, u16) {
        let [a, b, c, d] = number.to_be_bytes();
        let (first, second) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        match self {
            ByteOrder::Little => (second, first),
            ByteOrder::Big => (first, second),
        }
    }
}

/// What a magic number, read as little-endian, tells of a file.
fn recognise(magic: u32) -> Option<(ByteOrder, Resolution)> {
    [Resolution::Microseconds, Resolution::Nanoseconds].into_iter().find_map(|resolution| match resolution.magic() {
        known if known == magic => Some((ByteOrder::Little, resolution)),
        known if known == magic.swap_bytes() => Some((ByteOrder::Big, resolution)),
        _ => None,
    })
}

fn low_half(value: u64) -> u32 {
    (value & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests;
