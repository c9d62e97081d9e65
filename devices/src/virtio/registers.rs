//! The registers of a device behind memory (4.2.2), and the bits in them.

use bitflags::bitflags;

/// A register of 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Register {
    MagicValue,
    Version,
    DeviceId,
    VendorId,
    DeviceFeatures,
    DeviceFeaturesSel,
    DriverFeatures,
    DriverFeaturesSel,
    QueueSel,
    QueueNumMax,
    QueueNum,
    QueueReady,
    QueueNotify,
    InterruptStatus,
    InterruptAck,
    Status,
    QueueDescLow,
    QueueDescHigh,
    QueueDriverLow,
    QueueDriverHigh,
    QueueDeviceLow,
    QueueDeviceHigh,
    ConfigGeneration,
}

/// Each register with its offset and its name.
static REGISTERS: [(u64, Register, &str); 23] = [
    (0x000, Register::MagicValue, "MagicValue"),
    (0x004, Register::Version, "Version"),
    (0x008, Register::DeviceId, "DeviceID"),
    (0x00c, Register::VendorId, "VendorID"),
    (0x010, Register::DeviceFeatures, "DeviceFeatures"),
    (0x014, Register::DeviceFeaturesSel, "DeviceFeaturesSel"),
    (0x020, Register::DriverFeatures, "DriverFeatures"),
    (0x024, Register::DriverFeaturesSel, "DriverFeaturesSel"),
    (0x030, Register::QueueSel, "QueueSel"),
    (0x034, Register::QueueNumMax, "QueueNumMax"),
    (0x038, Register::QueueNum, "QueueNum"),
    (0x044, Register::QueueReady, "QueueReady"),
    (0x050, Register::QueueNotify, "QueueNotify"),
    (0x060, Register::InterruptStatus, "InterruptStatus"),
    (0x064, Register::InterruptAck, "InterruptACK"),
    (0x070, Register::Status, "Status"),
    (0x080, Register::QueueDescLow, "QueueDescLow"),
    (0x084, Register::QueueDescHigh, "QueueDescHigh"),
    (0x090, Register::QueueDriverLow, "QueueDriverLow"),
    (0x094, Register::QueueDriverHigh, "QueueDriverHigh"),
    (0x0a0, Register::QueueDeviceLow, "QueueDeviceLow"),
    (0x0a4, Register::QueueDeviceHigh, "QueueDeviceHigh"),
    (0x0fc, Register::ConfigGeneration, "ConfigGeneration"),
];

/// Where the device's own registers begin.
pub(super) const CONFIG: u64 = 0x100;

impl Register {
    /// The register that begins at `offset`.
    pub(super) fn at(offset: u64) -> Option<Register> {
        REGISTERS.iter().find(|(at, ..)| *at == offset).map(|(_, register, _)| *register)
    }

    /// The name of what `offset` lies in.
    pub(super) fn name(offset: u64) -> &'static str {
        REGISTERS.iter().find(|(at, ..)| *at == offset & !3).map_or("reserved", |(.., name)| *name)
    }
}

bitflags! {
    /// The device status field (2.1).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Status: u32 {
        /// The guest has noticed the device.
        const ACKNOWLEDGE = 1 << 0;
        /// It knows how to drive it.
        const DRIVER = 1 << 1;
        /// It is ready to: the device is live.
        const DRIVER_OK = 1 << 2;
        /// Both agree on the features.
        const FEATURES_OK = 1 << 3;
        /// The device cannot go on.
        const DEVICE_NEEDS_RESET = 1 << 6;
        /// The guest has given up.
        const FAILED = 1 << 7;
    }
}

bitflags! {
    /// Why the device interrupts (4.2.2, InterruptStatus).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Interrupts: u32 {
        /// It has used a buffer.
        const USED_BUFFER = 1 << 0;
        /// Its configuration has changed: here, it needs a reset.
        const CONFIGURATION_CHANGE = 1 << 1;
    }
}

bitflags! {
    /// Features of every device (chapter 6).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub(super) struct Features: u64 {
        /// `VIRTIO_F_INDIRECT_DESC`: a descriptor can refer to a table of them.
        const INDIRECT_DESC = 1 << 28;
        /// `VIRTIO_F_VERSION_1`: no legacy device.
        const VERSION_1 = 1 << 32;
    }
}
