//! Disks on the primary ATA channel, by port I/O (ATA/ATAPI-6, T13/1410D revision 3b).
//!
//! Up to two drives of 512-byte sectors, by CHS, 28-bit and 48-bit addresses, one sector or a block of them for each
//! interrupt.
//! A command, and each further block of it, keeps a drive busy for a fixed time; see [`Ata::BUSY`].
//!
//! Left out: DMA, the packet and overlapped commands, security, power modes (a drive is always active), SMART, host
//! protected area.
//! False on hardware: data of a write command is taken at once, while a drive may be busy first ("PIO data-out
//! command protocol"); a request that runs past the end fails before its first sector; both drives share the registers
//! that a command is written to, which shows only to a host that reads what it wrote to the other drive.

mod identify;
mod registers;

use crate::now::Now;
use crate::{Device, Disk, Irq, Port, Region, SECTOR_BYTES, Signal, TICKS_PER_SECOND, Ticks, Width};
use registers::{Command, Error, Status, TaskFile};

/// A channel with its drives.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Ata {
    drives: [Option<Drive>; 2],
    registers: TaskFile,
    phase: Phase,
    /// nIEN: the interrupt line is let go.
    interrupts: Interrupts,
    now: Now,
    /// Whether IRQ 14 is active, as last signalled.
    pin: bool,
}

/// A drive: its disk and what it tells of the last command.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Drive {
    disk: Disk,
    /// The Error register.
    error: Error,
    /// It asks for an interrupt, and its status has not been read.
    interrupt_pending: bool,
    /// Sectors in a block of READ and WRITE MULTIPLE; 0 is off.
    multiple: u8,
    /// The geometry that INITIALIZE DEVICE PARAMETERS set.
    heads: u8,
    sectors_per_track: u8,
    write_cache: bool,
    look_ahead: bool,
}

/// Bit nIEN of the Device Control register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Interrupts {
    On,
    Off,
}

/// What the channel is doing; one drive at a time does something.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Phase {
    Idle,
    /// The drive is busy until then.
    Busy {
        drive: usize,
        until: Ticks,
        then: Then,
    },
    /// The host reads a block from the Data register.
    DataIn(Transfer),
    /// The host writes a block to it.
    DataOut(Transfer),
    /// SRST is set: both drives are busy until it is cleared, and a little longer.
    Reset,
}

/// What comes after being busy.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Then {
    /// The command is over, with an interrupt.
    Finish(Error),
    /// A block can be read, with an interrupt.
    DataIn(Transfer),
    /// A block can be written, with an interrupt.
    DataOut(Transfer),
    /// The reset is over, without an interrupt.
    ResetDone,
}

/// A command that moves data, and the block it is at.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Transfer {
    drive: usize,
    /// The first sector of the block.
    lba: u64,
    /// Sectors to move, those of the block included.
    left: u32,
    /// Sectors that make a block.
    per_block: u32,
    /// The block, of which `moved` bytes have passed through the Data register.
    block: Vec<u8>,
    moved: usize,
}

/// Offsets of the command block, and of the control block behind it.
const DATA: u64 = 0;
const ERROR_FEATURES: u64 = 1;
const SECTOR_COUNT: u64 = 2;
const LBA_LOW: u64 = 3;
const LBA_MID: u64 = 4;
const LBA_HIGH: u64 = 5;
const DEVICE: u64 = 6;
const STATUS_COMMAND: u64 = 7;
const ALTERNATE_STATUS_DEVICE_CONTROL: u64 = 8;

/// In Device Control: interrupts are off.
const NIEN: u8 = 1 << 1;
/// In Device Control: software reset.
const SRST: u8 = 1 << 2;
/// In Device Control: the registers show what was written before last.
const HOB: u8 = 1 << 7;

/// What a bus without drives reads as: bit 7 is pulled down, so that nothing seems busy (DD7, chapter 4).
const NO_DRIVES: u8 = 0x7f;

impl Ata {
    /// The command block, and the control block behind it.
    pub const REGIONS: &[Region] =
        &[Region::ports(Port(0x1f0), 8), Region::ports(Port(0x3f6), 1).at_offset(ALTERNATE_STATUS_DEVICE_CONTROL)];
    /// The primary channel's interrupt line.
    pub const IRQ: Irq = Irq(14);
    /// How long a drive is busy with a command or a block, 50 us: long enough for a driver to see it.
    pub const BUSY: Ticks = Ticks(TICKS_PER_SECOND / 20_000);

    /// A channel with these drives: device 0 and device 1.
    pub fn new(disks: [Option<Disk>; 2]) -> Ata {
        Ata {
            drives: disks.map(|disk| disk.map(Drive::new)),
            registers: TaskFile::signature(),
            phase: Phase::Idle,
            interrupts: Interrupts::On,
            now: Now::default(),
            pin: false,
        }
    }

    /// The disk of device 0 or 1, as written so far.
    pub fn disk(&self, device: usize) -> Option<&Disk> {
        self.drives.get(device)?.as_ref().map(|drive| &drive.disk)
    }

    fn selected(&self) -> usize {
        self.registers.device_number()
    }

    fn drive(&mut self) -> Option<&mut Drive> {
        self.drives[self.registers.device_number()].as_mut()
    }

    fn no_drives(&self) -> bool {
        self.drives.iter().all(Option::is_none)
    }

    /// The selected drive's status; one that is not there shows nothing ("Single device
    /// configurations", chapter 9).
    fn status(&self) -> u8 {
        if self.no_drives() {
            return NO_DRIVES;
        }
        let selected = self.selected();
        let Some(drive) = &self.drives[selected] else { return 0 };
        let ready = Status::READY | Status::SEEK_COMPLETE;
        let status = match &self.phase {
            Phase::Reset | Phase::Busy { then: Then::ResetDone, .. } => Status::BUSY,
            Phase::Busy { drive, .. } if *drive == selected => Status::BUSY,
            Phase::DataIn(transfer) | Phase::DataOut(transfer) if transfer.drive == selected => {
                ready | Status::DATA_REQUEST
            }
            Phase::Idle | Phase::Busy { .. } | Phase::DataIn(_) | Phase::DataOut(_) if drive.error.is_empty() => ready,
            Phase::Idle | Phase::Busy { .. } | Phase::DataIn(_) | Phase::DataOut(_) => ready | Status::ERROR,
        };
        status.bits()
    }

    /// Reading the Status register takes note of the interrupt; reading its alternate does not ("Status register",
    /// chapter 7).
    fn read_status(&mut self) -> u8 {
        let status = self.status();
        if let Some(drive) = self.drive() {
            drive.interrupt_pending = false;
        }
        status
    }

    /// A register other than data; while the drive is busy each shows the status (chapter 7, on BSY).
    fn read_register(&mut self, offset: u64) -> u8 {
        if self.no_drives() {
            return NO_DRIVES;
        }
        if offset == STATUS_COMMAND {
            return self.read_status();
        }
        if offset == ALTERNATE_STATUS_DEVICE_CONTROL || Status::from_bits_retain(self.status()).contains(Status::BUSY) {
            return self.status();
        }
        match offset {
            ERROR_FEATURES => self.drives[self.selected()].as_ref().map_or(0, Drive::error_register),
            SECTOR_COUNT => self.registers.sector_count(),
            LBA_LOW => self.registers.lba_low(),
            LBA_MID => self.registers.lba_mid(),
            LBA_HIGH => self.registers.lba_high(),
            DEVICE => self.registers.device(),
            _ => 0xff,
        }
    }

    /// A register other than data; a busy channel takes nothing but Device Control (chapter 7, on BSY).
    fn write_register(&mut self, offset: u64, byte: u8) {
        if offset == ALTERNATE_STATUS_DEVICE_CONTROL {
            return self.write_device_control(byte);
        }
        if matches!(self.phase, Phase::Busy { .. } | Phase::Reset) {
            return;
        }
        self.registers.show_previous(false);
        match offset {
            ERROR_FEATURES => self.registers.write_features(byte),
            SECTOR_COUNT => self.registers.write_sector_count(byte),
            LBA_LOW => self.registers.write_lba_low(byte),
            LBA_MID => self.registers.write_lba_mid(byte),
            LBA_HIGH => self.registers.write_lba_high(byte),
            DEVICE => self.registers.write_device(byte),
            STATUS_COMMAND => self.command(byte),
            _ => {}
        }
    }

    /// "Device Control register" (chapter 7) and "Software reset protocol" (chapter 9).
    fn write_device_control(&mut self, byte: u8) {
        self.interrupts = if byte & NIEN == 0 { Interrupts::On } else { Interrupts::Off };
        self.registers.show_previous(byte & HOB != 0);
        match (&self.phase, byte & SRST != 0) {
            (Phase::Reset, false) => self.busy(Then::ResetDone),
            (Phase::Reset, true) | (_, false) => {}
            (_, true) => self.reset(),
        }
    }

    fn reset(&mut self) {
        self.phase = Phase::Reset;
        self.registers = TaskFile::signature();
        for drive in self.drives.iter_mut().flatten() {
            drive.interrupt_pending = false;
            drive.error = Error::empty();
            drive.multiple = 0;
        }
    }

    fn busy(&mut self, then: Then) {
        self.phase = Phase::Busy { drive: self.selected(), until: self.now.after(Self::BUSY.0), then };
    }

    /// A command for the selected drive; what it was moving before is abandoned.
    fn command(&mut self, code: u8) {
        if self.no_drives() {
            return;
        }
        let command = Command::from_code(code);
        if command == Some(Command::ExecuteDeviceDiagnostic) {
            return self.diagnose();
        }
        let selected = self.selected();
        let Some(drive) = &mut self.drives[selected] else { return };
        self.phase = Phase::Idle;
        drive.interrupt_pending = false;
        drive.error = Error::empty();
        let Some(command) = command else { return self.busy(Then::Finish(Error::ABORTED)) };
        match self.execute(selected, command) {
            Ok(Started::Nothing) => self.busy(Then::Finish(Error::empty())),
            Ok(Started::DataIn(transfer)) => self.busy(Then::DataIn(transfer)),
            // No interrupt for the first block of a write ("PIO data-out command protocol", chapter 9).
            Ok(Started::DataOut(transfer)) => self.phase = Phase::DataOut(transfer),
            Err(error) => self.busy(Then::Finish(error)),
        }
    }

    /// Both drives are tested, whichever is selected; the answer is in device 0's registers (EXECUTE DEVICE
    /// DIAGNOSTIC, chapter 8).
    fn diagnose(&mut self) {
        self.registers = TaskFile::signature();
        self.phase = Phase::Idle;
        for drive in self.drives.iter_mut().flatten() {
            drive.interrupt_pending = false;
            drive.error = Error::empty();
        }
        self.busy(Then::Finish(Error::empty()));
    }

    /// What the drive's registers ask for.
    fn execute(&mut self, number: usize, command: Command) -> Result<Started, Error> {
        let Some(drive) = &mut self.drives[number] else { return Err(Error::ABORTED) };
        let registers = &mut self.registers;
        match command {
            Command::IdentifyDevice => {
                let block = identify::identify(drive, number);
                return Ok(Started::DataIn(Transfer { drive: number, lba: 0, left: 1, per_block: 1, block, moved: 0 }));
            }
            Command::Read { size, per_block } => {
                let mut transfer = Transfer::new(number, drive, registers, size, per_block)?;
                transfer.load(&drive.disk);
                return Ok(Started::DataIn(transfer));
            }
            Command::Write { size, per_block } => {
                let mut transfer = Transfer::new(number, drive, registers, size, per_block)?;
                transfer.make_room();
                return Ok(Started::DataOut(transfer));
            }
            Command::Verify { size } => {
                drive.range(registers, size)?;
            }
            Command::Seek => {
                drive.sector(registers, registers::AddressSize::Bits28)?;
            }
            Command::SetMultiple => drive.set_multiple(registers.sector_count())?,
            Command::SetFeatures => drive.set_features(registers.features(), registers.sector_count())?,
            Command::InitializeDeviceParameters => {
                drive.set_geometry(registers.head() + 1, registers.sector_count())?;
            }
            // A drive that is always active.
            Command::CheckPowerMode => registers.write_sector_count(0xff),
            Command::Nop => return Err(Error::ABORTED),
            Command::Recalibrate | Command::FlushCache | Command::Power => {}
            // Not for one drive alone: see `diagnose`.
            Command::ExecuteDeviceDiagnostic => {}
        }
        Ok(Started::Nothing)
    }

    /// One word, or one byte, leaves through the Data register; nothing is there unless a block is being read.
    fn read_data(&mut self, width: u64) -> u64 {
        let selected = self.selected();
        match &mut self.phase {
            Phase::DataIn(transfer) if transfer.drive == selected => {
                let value = transfer.take(width);
                if transfer.block_is_moved() {
                    self.end_data_in();
                }
                value
            }
            Phase::Idle | Phase::Busy { .. } | Phase::DataIn(_) | Phase::DataOut(_) | Phase::Reset => u64::MAX,
        }
    }

    fn write_data(&mut self, width: u64, value: u64) {
        let selected = self.selected();
        if let Phase::DataOut(transfer) = &mut self.phase
            && transfer.drive == selected
        {
            transfer.give(width, value);
            if transfer.block_is_moved() {
                self.end_data_out();
            }
        }
    }

    /// The host has read a block: the next one takes time, and after the last there is no interrupt
    /// ("PIO data-in command protocol", chapter 9).
    fn end_data_in(&mut self) {
        let Phase::DataIn(mut transfer) = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        if let Some(drive) = &self.drives[transfer.drive]
            && transfer.next_block()
        {
            transfer.load(&drive.disk);
            self.busy(Then::DataIn(transfer));
        }
    }

    /// The host has written a block: it is stored, and the interrupt says so ("PIO data-out command protocol").
    fn end_data_out(&mut self) {
        let Phase::DataOut(mut transfer) = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        if let Some(drive) = &mut self.drives[transfer.drive] {
            transfer.store(&mut drive.disk);
        }
        if transfer.next_block() {
            transfer.make_room();
            self.busy(Then::DataOut(transfer));
        } else {
            self.busy(Then::Finish(Error::empty()));
        }
    }

    /// The drive is no longer busy.
    fn go_on(&mut self, number: usize, then: Then) {
        let drive = self.drives[number].as_mut();
        let (phase, error, interrupt) = match then {
            Then::Finish(error) => (Phase::Idle, error, true),
            Then::DataIn(transfer) => (Phase::DataIn(transfer), Error::empty(), true),
            Then::DataOut(transfer) => (Phase::DataOut(transfer), Error::empty(), true),
            Then::ResetDone => (Phase::Idle, Error::empty(), false),
        };
        self.phase = phase;
        if let Some(drive) = drive {
            drive.error = error;
            drive.interrupt_pending = interrupt;
        }
    }

    /// Brings IRQ 14 to where the selected drive has it, and tells if it moved (INTRQ, chapter 5).
    fn drive_pin(&mut self) -> Vec<Signal> {
        let pending = self.drives[self.selected()].as_ref().is_some_and(|drive| drive.interrupt_pending);
        let active = pending && self.interrupts == Interrupts::On;
        if active == self.pin {
            return Vec::new();
        }
        self.pin = active;
        vec![if active { Signal::RaiseIrq(Self::IRQ) } else { Signal::LowerIrq(Self::IRQ) }]
    }
}

/// How a command begins.
enum Started {
    /// Nothing is moved.
    Nothing,
    DataIn(Transfer),
    DataOut(Transfer),
}

impl Drive {
    /// The geometry of a new drive, as most of the time claimed it.
    const HEADS: u8 = 16;
    const SECTORS_PER_TRACK: u8 = 63;
    /// Sectors in the greatest block of READ and WRITE MULTIPLE: 8 KiB.
    const MOST_MULTIPLE: u8 = 16;

    fn new(disk: Disk) -> Drive {
        Drive {
            disk,
            error: Error::empty(),
            interrupt_pending: false,
            multiple: 0,
            heads: Self::HEADS,
            sectors_per_track: Self::SECTORS_PER_TRACK,
            write_cache: true,
            look_ahead: true,
        }
    }

    /// The Error register: after a command without an error, what the last diagnostic found, 01 for nothing.
    fn error_register(&self) -> u8 {
        if self.error.is_empty() { 0x01 } else { self.error.bits() }
    }

    /// Cylinders of the current geometry, which CHS addresses reach ("General feature set", chapter 6).
    fn cylinders(&self) -> u16 {
        let cylinder = u64::from(self.heads) * u64::from(self.sectors_per_track);
        let cylinders = self.disk.sectors().checked_div(cylinder).unwrap_or(0);
        u16::try_from(cylinders).unwrap_or(u16::MAX)
    }

    /// The sectors a command asks for, all of which must be there.
    fn range(&self, registers: &TaskFile, size: registers::AddressSize) -> Result<(u64, u32), Error> {
        let (first, count) = (self.sector(registers, size)?, registers.count(size));
        let end = first + u64::from(count);
        if end > self.disk.sectors() { Err(Error::ID_NOT_FOUND) } else { Ok((first, count)) }
    }

    /// The sector that the registers address.
    fn sector(&self, registers: &TaskFile, size: registers::AddressSize) -> Result<u64, Error> {
        let sector = match registers.lba(size) {
            Some(lba) => lba,
            None => self.sector_of_chs(registers)?,
        };
        if sector < self.disk.sectors() { Ok(sector) } else { Err(Error::ID_NOT_FOUND) }
    }

    fn sector_of_chs(&self, registers: &TaskFile) -> Result<u64, Error> {
        let (cylinder, head, sector) = (registers.cylinder(), registers.head(), registers.lba_low());
        let there = head < self.heads && (1..=self.sectors_per_track).contains(&sector);
        let track = u64::from(cylinder) * u64::from(self.heads) + u64::from(head);
        let sector = (track * u64::from(self.sectors_per_track) + u64::from(sector)).checked_sub(1);
        sector.filter(|_| there).ok_or(Error::ID_NOT_FOUND)
    }

    /// SET MULTIPLE MODE (chapter 8): a power of two, or 0 for off.
    fn set_multiple(&mut self, sectors: u8) -> Result<(), Error> {
        if sectors > Self::MOST_MULTIPLE || sectors & sectors.wrapping_sub(1) != 0 {
            return Err(Error::ABORTED);
        }
        self.multiple = sectors;
        Ok(())
    }

    /// INITIALIZE DEVICE PARAMETERS, which ATA/ATAPI-6 has dropped and drives still know (ATA/ATAPI-5, chapter 8).
    fn set_geometry(&mut self, heads: u8, sectors_per_track: u8) -> Result<(), Error> {
        if sectors_per_track == 0 {
            return Err(Error::ABORTED);
        }
        (self.heads, self.sectors_per_track) = (heads, sectors_per_track);
        Ok(())
    }

    /// SET FEATURES (chapter 8): caches, which change nothing, and transfer modes.
    fn set_features(&mut self, feature: u8, value: u8) -> Result<(), Error> {
        match (feature, value) {
            (0x02, _) => self.write_cache = true,
            (0x82, _) => self.write_cache = false,
            (0xaa, _) => self.look_ahead = true,
            (0x55, _) => self.look_ahead = false,
            // PIO: the default mode, with or without IORDY, and modes 0 to 4 with flow control.
            (0x03, 0x00 | 0x01 | 0x08..=0x0c) => {}
            // Whether a software reset forgets these; it does not.
            (0x66, _) => {}
            _ => return Err(Error::ABORTED),
        }
        Ok(())
    }
}

impl Transfer {
    fn new(
        number: usize,
        drive: &Drive,
        registers: &TaskFile,
        size: registers::AddressSize,
        per_block: registers::PerBlock,
    ) -> Result<Transfer, Error> {
        let per_block = match per_block {
            registers::PerBlock::One => 1,
            registers::PerBlock::Multiple if drive.multiple == 0 => return Err(Error::ABORTED),
            registers::PerBlock::Multiple => drive.multiple.into(),
        };
        let (lba, left) = drive.range(registers, size)?;
        Ok(Transfer { drive: number, lba, left, per_block, block: Vec::new(), moved: 0 })
    }

    /// Sectors of the present block; the last may be short.
    fn sectors(&self) -> u32 {
        self.left.min(self.per_block)
    }

    fn load(&mut self, disk: &Disk) {
        self.block = (self.lba..).take(self.sectors() as usize).flat_map(|lba| disk.sector(lba)).collect();
    }

    fn make_room(&mut self) {
        self.block = vec![0; self.sectors() as usize * SECTOR_BYTES];
    }

    fn store(&self, disk: &mut Disk) {
        let (sectors, _) = self.block.as_chunks();
        for (lba, sector) in (self.lba..).zip(sectors) {
            disk.write(lba, sector);
        }
    }

    /// Goes on to the next block, if there is one.
    fn next_block(&mut self) -> bool {
        let sectors = self.sectors();
        self.lba += u64::from(sectors);
        self.left -= sectors;
        self.block = Vec::new();
        self.moved = 0;
        self.left > 0
    }

    fn block_is_moved(&self) -> bool {
        self.moved >= self.block.len()
    }

    /// The next bytes of the block: two for each word, of which a byte access sees the first.
    fn take(&mut self, width: u64) -> u64 {
        let bytes: Vec<u8> = self.block.iter().skip(self.moved).take(width as usize).copied().collect();
        self.moved += width.max(2) as usize;
        bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
    }

    fn give(&mut self, width: u64, value: u64) {
        let bytes = value.to_le_bytes();
        for (place, byte) in self.block.iter_mut().skip(self.moved).zip(&bytes[..width as usize]) {
            *place = *byte;
        }
        self.moved += width.max(2) as usize;
    }
}

impl Device for Ata {
    fn name(&self) -> &'static str {
        "ata0"
    }

    fn register(&self, offset: u64) -> &'static str {
        match offset {
            DATA => "DATA",
            ERROR_FEATURES => "FEATURES",
            SECTOR_COUNT => "SECTOR_COUNT",
            LBA_LOW => "LBA_LOW",
            LBA_MID => "LBA_MID",
            LBA_HIGH => "LBA_HIGH",
            DEVICE => "DEVICE",
            STATUS_COMMAND => "COMMAND",
            _ => "DEVICE_CONTROL",
        }
    }

    /// The Data register takes whole words; wider than that is the chipset's doing, which makes words of it.
    fn widest(&self) -> Width {
        Width::Dword
    }

    fn read(&mut self, offset: u64, width: Width) -> (u64, Vec<Signal>) {
        let bytes = width.bytes().min(4);
        let value = if offset == DATA {
            self.read_data(bytes)
        } else {
            // A wide access to the other registers is bytes, as for an 8-bit card.
            (0..bytes).fold(0, |value, at| {
                let byte = self.read_register(offset.saturating_add(at));
                value | u64::from(byte) << (8 * at)
            })
        };
        (value, self.drive_pin())
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) -> Vec<Signal> {
        let bytes = width.bytes().min(4);
        if offset == DATA {
            self.write_data(bytes, value);
        } else {
            for at in 0..bytes {
                let [byte, ..] = (value >> (8 * at)).to_le_bytes();
                self.write_register(offset.saturating_add(at), byte);
            }
        }
        self.drive_pin()
    }

    fn advance(&mut self, now: Ticks) -> Vec<Signal> {
        self.now.advance(now);
        if matches!(self.phase, Phase::Busy { until, .. } if until <= self.now.0)
            && let Phase::Busy { drive, then, .. } = std::mem::replace(&mut self.phase, Phase::Idle)
        {
            self.go_on(drive, then);
        }
        self.drive_pin()
    }

    fn next_event(&self) -> Option<Ticks> {
        match self.phase {
            Phase::Busy { until, .. } => Some(until),
            Phase::Idle | Phase::DataIn(_) | Phase::DataOut(_) | Phase::Reset => None,
        }
    }
}

#[cfg(test)]
mod tests;
