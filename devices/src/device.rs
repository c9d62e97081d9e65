//! The contract between a device and the bus.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::{PhysAddr, Signal, Ticks};

/// A device: a value that is told accesses and answers with [`Signal`]s.
///
/// Offsets, not addresses, reach it, so the board decides where it sits; see [`Region`](crate::Region).
/// No access may panic: the guest chooses offset, width and value.
/// `Clone`, `Eq`, `Hash` and `Debug` are derived; [`DeviceState`] makes them reachable behind `dyn Device`.
pub trait Device: DeviceState {
    /// The device's name in traces, with its number where there can be several: `uart0`.
    fn name(&self) -> &'static str;

    /// The manual's name of the register at `offset`, in the device's present state: `LCR`.
    ///
    /// Where reading and writing an offset reach different registers, the written one's.
    fn register(&self, offset: u64) -> &'static str;

    /// The widest access the device takes; the bus splits a wider one into consecutive ones, least significant first,
    /// as the chipset does for an 8-bit card (ISA).
    fn widest(&self) -> Width {
        Width::Qword
    }

    /// A core reads the register at `offset`: its value and what the reading causes.
    ///
    /// The bus cuts the value to `width`.
    fn read(&mut self, offset: u64, width: Width) -> (u64, Vec<Signal>);

    /// A core writes the register at `offset`; `value` has no bits beyond `width`.
    fn write(&mut self, offset: u64, width: Width, value: u64) -> Vec<Signal>;

    /// The bytes that an earlier [`Signal::ReadMemory`] asked for.
    fn memory_read(&mut self, address: PhysAddr, bytes: &[u8]) -> Vec<Signal> {
        let _ = (address, bytes);
        Vec::new()
    }

    /// Time has come to `now`: what the device does by itself until then, with what it causes in order.
    ///
    /// Time never runs backwards.
    /// The machine also says so before an access, since a timer is read and set at a moment.
    fn advance(&mut self, now: Ticks) -> Vec<Signal> {
        let _ = now;
        Vec::new()
    }

    /// When [`advance`](Device::advance) would next do something that can be noticed; after an advance never in its past.
    ///
    /// Exact: the machine jumps there when all cores are halted.
    fn next_event(&self) -> Option<Ticks> {
        None
    }

    /// Whether what a core would read at `offset` depends on what time it is, though nothing happens by itself: a count, a clock.
    fn tells_time(&self, offset: u64) -> bool {
        let _ = offset;
        false
    }

    /// Whether a write at `offset` makes a difference by what time it is: it starts a count, or sets a clock.
    fn takes_time(&self, offset: u64) -> bool {
        let _ = offset;
        false
    }
}

/// Cloning, comparing and hashing a `dyn Device`; every type that derives them has it.
pub trait DeviceState: Any + fmt::Debug + Send + Sync {
    /// A copy of the device.
    fn clone_box(&self) -> Box<dyn Device>;
    /// Whether `other` is of the same type and equal.
    fn equals(&self, other: &dyn Device) -> bool;
    /// Feeds the device's state to `hasher`.
    fn hash_into(&self, hasher: &mut dyn Hasher);
    /// The device as its own type.
    fn as_any(&self) -> &dyn Any;
    /// The device as its own type, to be changed.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Device + Clone + Eq + Hash> DeviceState for T {
    fn clone_box(&self) -> Box<dyn Device> {
        Box::new(self.clone())
    }

    fn equals(&self, other: &dyn Device) -> bool {
        other.as_any().downcast_ref() == Some(self)
    }

    fn hash_into(&self, mut hasher: &mut dyn Hasher) {
        self.hash(&mut hasher);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl Clone for Box<dyn Device> {
    fn clone(&self) -> Self {
        (**self).clone_box()
    }
}

impl PartialEq for dyn Device {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

impl Eq for dyn Device {}

impl Hash for dyn Device {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.name().hash(hasher);
        self.hash_into(hasher);
    }
}

/// How many bytes one access moves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Width {
    /// 1 byte.
    Byte,
    /// 2 bytes.
    Word,
    /// 4 bytes.
    Dword,
    /// 8 bytes.
    Qword,
}

impl Width {
    /// Length in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Width::Byte => 1,
            Width::Word => 2,
            Width::Dword => 4,
            Width::Qword => 8,
        }
    }

    /// All ones of this width: what reading nothing gives.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }

    /// The width of an access of `bytes` bytes, if there is such an access.
    pub const fn from_bytes(bytes: u64) -> Option<Width> {
        match bytes {
            1 => Some(Width::Byte),
            2 => Some(Width::Word),
            4 => Some(Width::Dword),
            8 => Some(Width::Qword),
            _ => None,
        }
    }
}
