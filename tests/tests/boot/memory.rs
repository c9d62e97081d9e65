//! Reading what a machine's memory holds.

use fencepost::core::Core;
use fencepost::devices::PhysAddr;
use fencepost::loader::Image;
use fencepost::machine::{Machine, Settings, State};
use fencepost::memory::Memory;

/// The state of a machine that is about to execute the first instruction of `image`.
pub(crate) fn state(image: &Image, settings: &Settings) -> State {
    let mut machine = Machine::new(image, settings.clone()).expect("the image fits");
    machine.state().clone()
}

/// What a machine says that refuses `image`.
pub(crate) fn refusal(image: &Image, settings: &Settings) -> String {
    Machine::new(image, settings.clone()).err().expect("the image is refused").to_string()
}

pub(crate) fn bytes(memory: &Memory, address: u64, length: u64) -> &[u8] {
    memory.slice(PhysAddr(address), length).expect("it is memory")
}

pub(crate) fn u16_at(memory: &Memory, address: u64) -> u16 {
    u16::from_le_bytes(bytes(memory, address, 2).try_into().expect("two bytes"))
}

pub(crate) fn u32_at(memory: &Memory, address: u64) -> u32 {
    u32::from_le_bytes(bytes(memory, address, 4).try_into().expect("four bytes"))
}

pub(crate) fn u64_at(memory: &Memory, address: u64) -> u64 {
    u64::from_le_bytes(bytes(memory, address, 8).try_into().expect("eight bytes"))
}

/// The text at `address`, up to a zero.
pub(crate) fn text(memory: &Memory, address: u64) -> String {
    let characters = (address..).map(|at| bytes(memory, at, 1)[0]).take_while(|&byte| byte != 0);
    characters.map(char::from).collect()
}

/// The sum of all bytes, which a right checksum makes zero.
pub(crate) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte))
}

pub(crate) fn rax(core: &Core) -> u64 {
    core.cpu.gpr[0]
}

pub(crate) fn rbx(core: &Core) -> u64 {
    core.cpu.gpr[3]
}
