//! The two buses, ports and physical addresses: which device answers where.
//!
//! An access reaches a device only if it lies wholly inside one region; anything else reads as all ones and is
//! otherwise ignored, as on a bus that nobody drives.

mod region;

use std::error::Error;
use std::fmt;

use crate::{Device, PhysAddr, Signal, Ticks, Width};
pub use region::{Region, Space};

/// Every device of the machine and where it answers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Bus {
    devices: Vec<Box<dyn Device>>,
    /// Sorted by space and base, none overlapping another.
    windows: Vec<Window>,
}

/// A device on its bus, numbered in the order of attachment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceId(usize);

/// What one access came to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Access {
    /// The value read or written, no bits beyond the access's width.
    pub value: u64,
    /// Who answered; `None` is worth an event, since the guest talks to nobody.
    pub device: Option<DeviceId>,
    /// What the device asks of the machine, in order.
    pub signals: Vec<Signal>,
}

impl Bus {
    /// Puts `device` on the bus at `regions`.
    ///
    /// # Errors
    /// One of the regions is empty, runs past the end of its space, or overlaps another one; the bus is then unchanged.
    pub fn attach(&mut self, device: impl Device, regions: &[Region]) -> Result<DeviceId, AttachError> {
        let id = DeviceId(self.devices.len());
        let mut windows = self.windows.clone();
        for &region in regions {
            self.check(&device, region, &windows)?;
            windows.push(Window { region, device: id });
        }
        windows.sort_by_key(|window| (window.region.space, window.region.base));
        self.windows = windows;
        self.devices.push(Box::new(device));
        Ok(id)
    }

    /// A core reads `width` bytes at `address`.
    pub fn read(&mut self, space: Space, address: u64, width: Width) -> Access {
        let Some((id, offset)) = self.whole(space, address, width) else {
            return Access::to_nothing(width.mask());
        };
        let device = &mut self.devices[id.0];
        let step = width.min(device.widest());
        let (mut value, mut signals) = (0, Vec::new());
        for start in pieces(width, step) {
            let (part, caused) = device.read(offset + start, step);
            value |= (part & step.mask()) << (8 * start);
            signals.extend(caused);
        }
        Access { value, device: Some(id), signals }
    }

    /// A core writes the low `width` bytes of `value` at `address`.
    pub fn write(&mut self, space: Space, address: u64, width: Width, value: u64) -> Access {
        let value = value & width.mask();
        let Some((id, offset)) = self.whole(space, address, width) else {
            return Access::to_nothing(value);
        };
        let signals = write_in_pieces(&mut *self.devices[id.0], offset, width, value);
        Access { value, device: Some(id), signals }
    }

    /// What such a write would cause; nothing changes.
    pub fn would_cause(&self, space: Space, address: u64, width: Width, value: u64) -> Vec<Signal> {
        let Some((id, offset)) = self.whole(space, address, width) else { return Vec::new() };
        write_in_pieces(&mut *self.devices[id.0].clone(), offset, width, value & width.mask())
    }

    /// Hands `device` the bytes that its [`Signal::ReadMemory`] asked for.
    pub fn memory_read(&mut self, device: DeviceId, address: PhysAddr, bytes: &[u8]) -> Vec<Signal> {
        self.devices[device.0].memory_read(address, bytes)
    }

    /// Time has come to `now`: what the devices do by themselves until then, in the order of their attachment.
    pub fn advance(&mut self, now: Ticks) -> Vec<(DeviceId, Signal)> {
        let mut caused = Vec::new();
        for (index, device) in self.devices.iter_mut().enumerate() {
            if device.next_event().is_some_and(|next| next <= now) {
                caused.extend(device.advance(now).into_iter().map(|signal| (DeviceId(index), signal)));
            }
        }
        caused
    }

    /// Tells `device` the time, as it must be told before an access.
    pub fn advance_device(&mut self, device: DeviceId, now: Ticks) -> Vec<Signal> {
        self.devices[device.0].advance(now)
    }

    /// When the next device does something by itself.
    pub fn next_event(&self) -> Option<Ticks> {
        self.next_event_besides(&[])
    }

    /// The same without the devices in `left_out`.
    pub fn next_event_besides(&self, left_out: &[DeviceId]) -> Option<Ticks> {
        let devices = self.devices.iter().enumerate().filter(|(index, _)| !left_out.contains(&DeviceId(*index)));
        devices.filter_map(|(_, device)| device.next_event()).min()
    }

    /// The name of the device that does something by itself next, and when.
    pub fn next_by_itself(&self) -> Option<(Ticks, &'static str)> {
        self.devices.iter().filter_map(|device| Some((device.next_event()?, device.name()))).min()
    }

    /// Whether what an access would read depends on what time it is; see [`Device::tells_time`].
    pub fn tells_time(&self, space: Space, address: u64, width: Width) -> bool {
        self.any_of(space, address, width, |device, offset| device.tells_time(offset))
    }

    /// Whether a write makes a difference by what time it is; see [`Device::takes_time`].
    pub fn takes_time(&self, space: Space, address: u64, width: Width) -> bool {
        self.any_of(space, address, width, |device, offset| device.takes_time(offset))
    }

    /// Whether `asks` is true of any byte of an access.
    fn any_of(&self, space: Space, address: u64, width: Width, asks: impl Fn(&dyn Device, u64) -> bool) -> bool {
        let bytes = (0..width.bytes()).filter_map(|byte| self.decode(space, address.checked_add(byte)?));
        bytes.into_iter().any(|(device, offset)| asks(&*self.devices[device.0], offset))
    }

    /// The device that answers at `address` and the offset it is told.
    pub fn decode(&self, space: Space, address: u64) -> Option<(DeviceId, u64)> {
        let window = self.window(space, address)?;
        Some((window.device, window.region.offset_of(address)))
    }

    /// The register at `address` for a trace line: `uart0 > LCR`, or `port 0x1234` where nothing is.
    pub fn describe(&self, space: Space, address: u64) -> String {
        match self.decode(space, address) {
            Some((id, offset)) => {
                let device = &self.devices[id.0];
                format!("{} > {}", device.name(), device.register(offset))
            }
            None => space.describe(address),
        }
    }

    /// Which is the first attached device of type `T`.
    pub fn id_of<T: Device>(&self) -> Option<DeviceId> {
        self.devices.iter().position(|device| (**device).as_any().is::<T>()).map(DeviceId)
    }

    /// The first attached device of type `T`.
    pub fn device<T: Device>(&self) -> Option<&T> {
        self.devices.iter().find_map(|device| (**device).as_any().downcast_ref())
    }

    /// The first attached device of type `T`, to be changed.
    pub fn device_mut<T: Device>(&mut self) -> Option<&mut T> {
        self.devices.iter_mut().find_map(|device| (**device).as_any_mut().downcast_mut())
    }

    /// Device and offset, if all of the access lies inside one region.
    fn whole(&self, space: Space, address: u64, width: Width) -> Option<(DeviceId, u64)> {
        let window = self.window(space, address)?;
        let last = address.checked_add(width.bytes() - 1)?;
        (last <= window.region.last()).then(|| (window.device, window.region.offset_of(address)))
    }

    fn window(&self, space: Space, address: u64) -> Option<&Window> {
        let after =
            self.windows.partition_point(|window| (window.region.space, window.region.base) <= (space, address));
        let window = self.windows[..after].last()?;
        window.region.contains(space, address).then_some(window)
    }

    /// Whether `device` may have `region` beside `windows`, its own earlier ones among them.
    fn check(&self, device: &dyn Device, region: Region, windows: &[Window]) -> Result<(), AttachError> {
        let device = device.name();
        if !region.fits() {
            return Err(AttachError::OutsideSpace { device, region });
        }
        match windows.iter().find(|window| window.region.overlaps(&region)) {
            None => Ok(()),
            Some(window) => {
                let holder = self.devices.get(window.device.0).map_or(device, |holder| holder.name());
                Err(AttachError::Overlap { device, region, holder, held: window.region })
            }
        }
    }
}

impl Access {
    fn to_nothing(value: u64) -> Access {
        Access { value, device: None, signals: Vec::new() }
    }
}

/// Why a device was refused.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AttachError {
    /// Somebody answers there already.
    Overlap {
        /// The refused device.
        device: &'static str,
        /// Where it wanted to answer.
        region: Region,
        /// The device that is there.
        holder: &'static str,
        /// Where that one answers.
        held: Region,
    },
    /// The region is empty or runs past the end of its space.
    OutsideSpace {
        /// The refused device.
        device: &'static str,
        /// Where it wanted to answer.
        region: Region,
    },
}

impl Error for AttachError {}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::Overlap { device, region, holder, held } => {
                write!(f, "{device} at {region} overlaps {holder} at {held}")
            }
            AttachError::OutsideSpace { device, region } => {
                write!(f, "{device} at {region}: empty, or past the end of the space")
            }
        }
    }
}

/// A region and who answers there.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Window {
    region: Region,
    device: DeviceId,
}

/// Writes as many times as the device's width asks for.
fn write_in_pieces(device: &mut dyn Device, offset: u64, width: Width, value: u64) -> Vec<Signal> {
    let step = width.min(device.widest());
    let mut signals = Vec::new();
    for start in pieces(width, step) {
        signals.extend(device.write(offset + start, step, value >> (8 * start) & step.mask()));
    }
    signals
}

/// Where the pieces of a split access start, in bytes.
fn pieces(width: Width, step: Width) -> impl Iterator<Item = u64> {
    (0..width.bytes()).step_by(step.bytes() as usize)
}
