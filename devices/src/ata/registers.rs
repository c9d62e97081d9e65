//! The registers of the command block and the commands (ATA/ATAPI-6, chapters 7 and 8).

use bitflags::bitflags;

bitflags! {
    /// The Status register.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Status: u8 {
        /// ERR: the Error register says what went wrong.
        const ERROR = 1 << 0;
        /// DRQ: the Data register is to be read or written.
        const DATA_REQUEST = 1 << 3;
        /// DSC of ATA-3; a bit without meaning since, which old drivers wait for.
        const SEEK_COMPLETE = 1 << 4;
        /// DRDY: a command can be taken.
        const READY = 1 << 6;
        /// BSY: nothing else in here means anything.
        const BUSY = 1 << 7;
    }
}

bitflags! {
    /// The Error register.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Error: u8 {
        /// ABRT: no such command, or not with these parameters.
        const ABORTED = 1 << 2;
        /// IDNF: no such sector.
        const ID_NOT_FOUND = 1 << 4;
    }
}

/// In the Device register: the address is an LBA.
const LBA: u8 = 1 << 6;
/// In the Device register: device 1.
const DEV: u8 = 1 << 4;
/// In the Device register: two bits that old drives have set and nobody needs.
const OBSOLETE: u8 = 1 << 7 | 1 << 5;

/// How a command has address and count in the registers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum AddressSize {
    /// An LBA of 28 bits, or cylinder, head and sector.
    Bits28,
    /// The 48-bit Address feature set (chapter 6): each register is written twice, the high byte first.
    Bits48,
}

/// Sectors for each data request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum PerBlock {
    One,
    /// As many as SET MULTIPLE MODE said.
    Multiple,
}

/// A command that the drives know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Command {
    Nop,
    /// Of ATA-3; there is no arm to move.
    Recalibrate,
    Read {
        size: AddressSize,
        per_block: PerBlock,
    },
    Write {
        size: AddressSize,
        per_block: PerBlock,
    },
    /// READ VERIFY SECTOR(S): a read without the data.
    Verify {
        size: AddressSize,
    },
    Seek,
    ExecuteDeviceDiagnostic,
    InitializeDeviceParameters,
    SetMultiple,
    /// STANDBY and IDLE, with or without a timer, and SLEEP, from which a drive here wakes by itself.
    Power,
    CheckPowerMode,
    FlushCache,
    IdentifyDevice,
    SetFeatures,
}

impl Command {
    pub(super) fn from_code(code: u8) -> Option<Command> {
        use AddressSize::{Bits28, Bits48};
        use PerBlock::{Multiple, One};
        Some(match code {
            0x00 => Command::Nop,
            0x10..=0x1f => Command::Recalibrate,
            // The odd codes are of ATA-3, without retries.
            0x20 | 0x21 => Command::Read { size: Bits28, per_block: One },
            0x24 => Command::Read { size: Bits48, per_block: One },
            0x29 => Command::Read { size: Bits48, per_block: Multiple },
            0xc4 => Command::Read { size: Bits28, per_block: Multiple },
            0x30 | 0x31 => Command::Write { size: Bits28, per_block: One },
            0x34 => Command::Write { size: Bits48, per_block: One },
            0x39 => Command::Write { size: Bits48, per_block: Multiple },
            0xc5 => Command::Write { size: Bits28, per_block: Multiple },
            0x40 | 0x41 => Command::Verify { size: Bits28 },
            0x42 => Command::Verify { size: Bits48 },
            0x70..=0x7f => Command::Seek,
            0x90 => Command::ExecuteDeviceDiagnostic,
            0x91 => Command::InitializeDeviceParameters,
            0xc6 => Command::SetMultiple,
            0xe0..=0xe3 | 0xe6 => Command::Power,
            0xe5 => Command::CheckPowerMode,
            0xe7 | 0xea => Command::FlushCache,
            0xec => Command::IdentifyDevice,
            0xef => Command::SetFeatures,
            _ => return None,
        })
    }
}

/// The registers that a command is made of, each with what was written before last.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct TaskFile {
    features: Twice,
    sector_count: Twice,
    lba_low: Twice,
    lba_mid: Twice,
    lba_high: Twice,
    device: u8,
    /// HOB of Device Control.
    shows_previous: bool,
}

/// A register that is two bytes deep ("48-bit Address feature set").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Twice {
    now: u8,
    previous: u8,
}

impl Twice {
    fn write(&mut self, byte: u8) {
        *self = Twice { now: byte, previous: self.now };
    }
}

impl TaskFile {
    /// What a drive without packets shows after a reset ("Signature and persistence", chapter 9).
    pub(super) fn signature() -> TaskFile {
        let one = Twice { now: 1, previous: 0 };
        TaskFile {
            features: Twice::default(),
            sector_count: one,
            lba_low: one,
            lba_mid: Twice::default(),
            lba_high: Twice::default(),
            device: 0,
            shows_previous: false,
        }
    }

    pub(super) fn show_previous(&mut self, previous: bool) {
        self.shows_previous = previous;
    }

    pub(super) fn write_features(&mut self, byte: u8) {
        self.features.write(byte);
    }

    pub(super) fn write_sector_count(&mut self, byte: u8) {
        self.sector_count.write(byte);
    }

    pub(super) fn write_lba_low(&mut self, byte: u8) {
        self.lba_low.write(byte);
    }

    pub(super) fn write_lba_mid(&mut self, byte: u8) {
        self.lba_mid.write(byte);
    }

    pub(super) fn write_lba_high(&mut self, byte: u8) {
        self.lba_high.write(byte);
    }

    pub(super) fn write_device(&mut self, byte: u8) {
        self.device = byte;
    }

    pub(super) fn features(&self) -> u8 {
        self.features.now
    }

    pub(super) fn sector_count(&self) -> u8 {
        self.shown(self.sector_count)
    }

    pub(super) fn lba_low(&self) -> u8 {
        self.shown(self.lba_low)
    }

    pub(super) fn lba_mid(&self) -> u8 {
        self.shown(self.lba_mid)
    }

    pub(super) fn lba_high(&self) -> u8 {
        self.shown(self.lba_high)
    }

    pub(super) fn device(&self) -> u8 {
        self.device | OBSOLETE
    }

    /// The device that is selected.
    pub(super) fn device_number(&self) -> usize {
        usize::from(self.device & DEV != 0)
    }

    /// The low bits of Device: a head.
    pub(super) fn head(&self) -> u8 {
        self.device & 0xf
    }

    pub(super) fn cylinder(&self) -> u16 {
        u16::from_le_bytes([self.lba_mid.now, self.lba_high.now])
    }

    /// The LBA, unless Device says that the address is cylinder, head and sector.
    pub(super) fn lba(&self, size: AddressSize) -> Option<u64> {
        let [low, mid, high] = [self.lba_low, self.lba_mid, self.lba_high];
        match size {
            AddressSize::Bits28 if self.device & LBA == 0 => None,
            AddressSize::Bits28 => Some(u32::from_le_bytes([low.now, mid.now, high.now, self.head()]).into()),
            AddressSize::Bits48 => {
                let bytes = [low.now, mid.now, high.now, low.previous, mid.previous, high.previous, 0, 0];
                Some(u64::from_le_bytes(bytes))
            }
        }
    }

    /// Sectors to move: 0 is the greatest count.
    pub(super) fn count(&self, size: AddressSize) -> u32 {
        let Twice { now, previous } = self.sector_count;
        match size {
            AddressSize::Bits28 if now == 0 => 0x100,
            AddressSize::Bits28 => now.into(),
            AddressSize::Bits48 if (now, previous) == (0, 0) => 0x1_0000,
            AddressSize::Bits48 => u16::from_le_bytes([now, previous]).into(),
        }
    }

    fn shown(&self, register: Twice) -> u8 {
        if self.shows_previous { register.previous } else { register.now }
    }
}
