//! The machine's own protocol: every core enters the image at once (`programs/BOOT.md`).
//!
//! In short: every core enters at the image's entry point with its index in RDI, the number of cores in RSI, the address of
//! the boot information in RDX and a stack of its own; 64-bit and flat images start in long mode with identity paging,
//! 32-bit images in protected mode without paging.
//! Descriptors and control registers are those of SDM 3A chapters 2, 3 and 4.

use super::{BootError, firmware, intersects, put};
use crate::core::cpu_state::{CpuState, Segment, SegmentName, gpr};
use crate::core::{Core, CoreId};
use crate::loader::{Format, Image};
use crate::machine::Settings;
use crate::memory::{Memory, PAGE, VGA_HOLE};
use fencepost_devices::Framebuffer;

/// Guests may use RAM from here on; what lies below belongs to the machine.
///
/// Guests are linked at 1 MiB by convention; a linker that puts its headers into the page below may do so.
pub const GUEST_BASE: u64 = VGA_HOLE.end;
/// Stack of each core, in bytes, at the top of RAM.
pub const STACK_BYTES: u64 = 64 << 10;
/// "FNCEPOST" as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"FNCEPOST");

const GDT: u64 = 0x1000;
const BOOT_INFO: u64 = 0x2000;
const COMMAND_LINE: u64 = 0x2200;
/// Where a core goes that returns from its entry point: it halts for good.
const PARK: u64 = 0x3000;
const PARK_CODE: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfc]; // cli; hlt; jmp to the hlt's cli
const PAGE_TABLES: u64 = 0x1_0000;

const NULL_DESCRIPTOR: u64 = 0;
const CODE_64: u64 = 0x00af_9b00_0000_ffff;
const DATA: u64 = 0x00cf_9300_0000_ffff;
const CODE_32: u64 = 0x00cf_9b00_0000_ffff;
const CODE_64_SELECTOR: u32 = 0x08;
const DATA_SELECTOR: u32 = 0x10;
const CODE_32_SELECTOR: u32 = 0x18;

/// CR0: PE, MP, ET, NE, WP; and PG.
const CR0: u64 = 1 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16;
const CR0_PG: u64 = 1 << 31;
/// CR4: OSFXSR, OSXMMEXCPT; and PAE.
const CR4: u64 = 1 << 9 | 1 << 10;
const CR4_PAE: u64 = 1 << 5;
/// EFER: SCE, LME, LMA, NXE.
const EFER: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11;

/// Puts `image` into `memory`; returns the cores.
pub(super) fn boot(image: &Image, settings: &Settings, memory: &mut Memory) -> Result<Vec<Core>, BootError> {
    let layout = Layout::of(image, settings)?;
    let tables_end = PAGE_TABLES + page_table_pages(image) * PAGE;
    let is_free = |range: &std::ops::Range<u64>| {
        range.start >= tables_end && !image.segments().iter().any(|segment| intersects(segment, range))
    };
    firmware::put_where(memory, image, settings, is_free);
    for segment in image.segments() {
        put(memory, segment.address, &segment.bytes);
    }
    for (index, descriptor) in [NULL_DESCRIPTOR, CODE_64, DATA, CODE_32].into_iter().enumerate() {
        put(memory, GDT + 8 * index as u64, &descriptor.to_le_bytes());
    }
    put(memory, PARK, &PARK_CODE);
    put(memory, COMMAND_LINE, settings.command_line.as_bytes());
    for (index, field) in layout.boot_info(settings).into_iter().enumerate() {
        put(memory, BOOT_INFO + 8 * index as u64, &field.to_le_bytes());
    }
    if image.format() != Format::Elf32 {
        write_page_tables(memory, image);
    }
    let cores = (0..settings.cores).map(|index| {
        let core = CoreId(index);
        let stack = settings.ram_bytes - STACK_BYTES * u64::from(index) - 8;
        put(memory, stack, &PARK.to_le_bytes());
        Core::new(core, first_state(image, core, settings, stack))
    });
    Ok(cores.collect())
}

/// Where the image ends and the stacks begin.
struct Layout {
    heap_start: u64,
    heap_end: u64,
}

impl Layout {
    fn of(image: &Image, settings: &Settings) -> Result<Layout, BootError> {
        let fail = |problem: String| Err(BootError::new(image, problem));
        let stacks = STACK_BYTES * u64::from(settings.cores);
        let Some(heap_end) = settings.ram_bytes.checked_sub(stacks).filter(|&end| end > GUEST_BASE) else {
            return fail(format!(
                "{} cores need {} KiB of stack above 1 MiB, and there are {} KiB of RAM; use more --ram",
                settings.cores,
                stacks >> 10,
                settings.ram_bytes >> 10
            ));
        };
        for segment in image.segments() {
            let end = segment.address + segment.size;
            if segment.address < GUEST_BASE {
                return fail(format!(
                    "its segment at {:#x} lies below {GUEST_BASE:#x}, which belongs to the machine; link it higher",
                    segment.address
                ));
            }
            if end > heap_end {
                return fail(format!(
                    "its segment {:#x}..{end:#x} does not fit below the stacks at {heap_end:#x}; use more --ram or fewer --cores",
                    segment.address
                ));
            }
        }
        if page_table_pages(image) > (VGA_HOLE.start - PAGE_TABLES) / PAGE {
            return fail("it is spread over too many 2 MiB regions for the boot page tables".into());
        }
        let image_end = image.segments().iter().map(|segment| segment.address + segment.size).max();
        Ok(Layout { heap_start: image_end.unwrap_or(GUEST_BASE).next_multiple_of(PAGE), heap_end })
    }

    /// The fields of the boot information, in order (programs/BOOT.md).
    fn boot_info(&self, settings: &Settings) -> [u64; 10] {
        [
            MAGIC,
            settings.ram_bytes,
            u64::from(settings.cores),
            COMMAND_LINE,
            settings.command_line.len() as u64,
            self.heap_start,
            self.heap_end,
            Framebuffer::PIXELS.0,
            Framebuffer::PIXEL_BYTES,
            Framebuffer::REGISTERS.0,
        ]
    }
}

fn first_state(image: &Image, core: CoreId, settings: &Settings, stack: u64) -> CpuState {
    let is_long = image.format() != Format::Elf32;
    let code = if is_long {
        Segment::flat(CODE_64_SELECTOR, (CODE_64 >> 32) as u32)
    } else {
        Segment::flat(CODE_32_SELECTOR, (CODE_32 >> 32) as u32)
    };
    let mut cpu = CpuState {
        rip: image.entry(),
        rflags: 2,
        segments: [Segment::flat(DATA_SELECTOR, (DATA >> 32) as u32); 6],
        gdt: Segment::table(GDT, 4 * 8 - 1),
        tr: Segment { limit: 0xffff, flags: 0x8b00, ..Segment::default() },
        ldt: Segment { limit: 0xffff, flags: 0x8200, ..Segment::default() },
        cr0: if is_long { CR0 | CR0_PG } else { CR0 },
        cr3: if is_long { PAGE_TABLES } else { 0 },
        cr4: if is_long { CR4 | CR4_PAE } else { CR4 },
        efer: if is_long { EFER } else { 0 },
        dr: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
        pat: 0x0007_0406_0007_0406,
        xcr0: 1,
        x87_empty: [1; 8],
        x87_control: 0x37f,
        mxcsr: 0x1f80,
        ..CpuState::default()
    };
    cpu.segments[SegmentName::Cs as usize] = code;
    cpu.gpr[gpr::RDI] = u64::from(core.0);
    cpu.gpr[gpr::RSI] = u64::from(settings.cores);
    cpu.gpr[gpr::RDX] = BOOT_INFO;
    cpu.gpr[gpr::RSP] = stack;
    cpu
}

/// A page that is not plain data.
const LARGE_PAGE: u64 = 2 << 20;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

/// Identity-maps the first 4 GiB: 2 MiB pages of data, and 4 KiB pages wherever the image or the park code lies.
fn write_page_tables(memory: &mut Memory, image: &Image) {
    let (pointers, directories) = (PAGE_TABLES + PAGE, PAGE_TABLES + 2 * PAGE);
    let mut next_table = PAGE_TABLES + 6 * PAGE;
    put_entry(memory, PAGE_TABLES, 0, pointers | PRESENT | WRITABLE);
    for directory in 0..4 {
        put_entry(memory, pointers, directory, (directories + directory * PAGE) | PRESENT | WRITABLE);
    }
    for region in 0..4 * 512 {
        let start = region * LARGE_PAGE;
        let entry = if needs_small_pages(image, start) {
            for page in 0..512 {
                let address = start + page * PAGE;
                put_entry(memory, next_table, page, address | page_rights(image, address));
            }
            next_table += PAGE;
            (next_table - PAGE) | PRESENT | WRITABLE
        } else {
            start | PRESENT | WRITABLE | LARGE | NO_EXECUTE
        };
        put_entry(memory, directories, region, entry);
    }
}

fn put_entry(memory: &mut Memory, table: u64, index: u64, entry: u64) {
    put(memory, table + 8 * index, &entry.to_le_bytes());
}

/// How many pages the page tables take.
fn page_table_pages(image: &Image) -> u64 {
    let regions = (0..4 * 512).filter(|region| needs_small_pages(image, region * LARGE_PAGE));
    6 + regions.count() as u64
}

fn needs_small_pages(image: &Image, start: u64) -> bool {
    let region = start..start + LARGE_PAGE;
    region.contains(&PARK) || image.segments().iter().any(|segment| intersects(segment, &region))
}

/// The rights of one page: those of all segments on it, or those of plain data.
fn page_rights(image: &Image, address: u64) -> u64 {
    let page = address..address + PAGE;
    let on_page = || image.segments().iter().filter(|segment| intersects(segment, &page));
    if address == PARK {
        return PRESENT;
    }
    if on_page().next().is_none() {
        return PRESENT | WRITABLE | NO_EXECUTE;
    }
    let writable = if on_page().any(|segment| segment.writable) { WRITABLE } else { 0 };
    let no_execute = if on_page().any(|segment| segment.executable) { 0 } else { NO_EXECUTE };
    PRESENT | writable | no_execute
}
