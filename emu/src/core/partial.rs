//! The accesses an instruction has already made, when it makes several and another core may step between them.
//!
//! Only LOCK-prefixed instructions and XCHG with memory are indivisible (SDM 3A 9.1.2); `add [x], 1` is a load and a store,
//! `movs` likewise, a 16-byte or line-crossing access is two (SDM 3A 9.1.1).
//! The engine cannot pause inside an instruction, so an access made early is remembered here and *presented again* when the
//! instruction runs as a whole: a load gets the remembered bytes, a store is not made a second time.

use fencepost_devices::PhysAddr;

/// One access that has already taken effect.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PartialAccess {
    /// A load and the bytes it got.
    Load {
        /// Physical address of the first byte.
        address: PhysAddr,
        /// The bytes it got, at most 8.
        bytes: Vec<u8>,
    },
    /// A store that has entered the store buffer (or memory, where stores commit at once).
    Store {
        /// Physical address of the first byte.
        address: PhysAddr,
        /// Bytes stored, at most 8.
        length: u8,
    },
}
