//! Page tables for guests that need pages which are scattered, missing or read-only.

use super::testbed::*;
use fencepost::memory_model::MemoryModel;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Two neighbouring pages whose frames lie apart, the second frame below the first.
pub(crate) const SCATTERED: u64 = 0x1c_0000;
pub(crate) const FIRST_FRAME: u64 = 0x1a_0000;
pub(crate) const SECOND_FRAME: u64 = 0x19_0000;
/// The page after them is not mapped.
pub(crate) const MISSING: u64 = SCATTERED + 0x2000;
/// A page that can only be read, and its frame.
pub(crate) const READ_ONLY: u64 = SCATTERED + 0x3000;
pub(crate) const READ_ONLY_FRAME: u64 = 0x1a_3000;
/// [`FIRST_FRAME`] once more.
pub(crate) const ALIAS: u64 = SCATTERED + 0x4000;
/// A page whose frame is not memory.
pub(crate) const NOWHERE: u64 = SCATTERED + 0x5000;
/// The last page before a missing one that is memory of its own.
pub(crate) const LAST: u64 = SCATTERED + 0x1000;

const PAGE_TABLE: u64 = DATA + 0x3000;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
/// Users may use it, too.
const USER: u64 = 4;
const LARGE: u64 = 0x80;

/// Where the entry lies that maps `page`.
pub(crate) fn entry_of(page: u64) -> u64 {
    PAGE_TABLE + 8 * (page >> 12 & 511)
}

/// A machine under the tables of this module; everything else below 2 MiB and the framebuffer is mapped one to one.
pub(crate) fn paged(model: MemoryModel, programs: &[Code]) -> Testbed {
    let switching: Vec<_> = programs.iter().map(|program| move |a: &mut CodeAssembler| switch(a, program)).collect();
    let switching: Vec<Code> = switching.iter().map(|program| program as Code).collect();
    let mut t = Testbed::with_data(model, &switching, &tables());
    for core in 0..programs.len() {
        t.steps(core as u8, 2);
    }
    t
}

fn switch(a: &mut CodeAssembler, program: Code) -> Result<(), IcedError> {
    a.mov(eax, DATA as u32)?;
    a.mov(cr3, rax)?;
    program(a)
}

/// Five tables: 4-level root, pointers, directory of the first GiB, its first page table, directory of the fourth GiB.
fn tables() -> Vec<u8> {
    let mut entries = vec![0u64; 5 * 512];
    let [root, pointers, directory, table, last_directory] = [0, 1, 2, 3, 4].map(|index| index * 512);
    let address = |index: usize| (DATA + 8 * index as u64) | PRESENT | WRITABLE | USER;
    entries[root] = address(pointers);
    entries[pointers] = address(directory);
    entries[pointers + 3] = address(last_directory);
    entries[directory] = address(table);
    for page in 0..512 {
        entries[table + page] = (page as u64) << 12 | PRESENT | WRITABLE | USER;
        entries[last_directory + page] = 3 << 30 | (page as u64) << 21 | LARGE | PRESENT | WRITABLE;
    }
    let mut map = |page: u64, entry: u64| entries[table + (page >> 12 & 511) as usize] = entry;
    map(SCATTERED, FIRST_FRAME | PRESENT | WRITABLE);
    map(LAST, SECOND_FRAME | PRESENT | WRITABLE);
    map(MISSING, 0);
    map(READ_ONLY, READ_ONLY_FRAME | PRESENT);
    map(ALIAS, FIRST_FRAME | PRESENT | WRITABLE);
    map(NOWHERE, 0xc000_0000 | PRESENT | WRITABLE);
    entries.into_iter().flat_map(u64::to_le_bytes).collect()
}
