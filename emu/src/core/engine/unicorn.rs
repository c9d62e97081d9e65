//! One Unicorn engine, owned: opening, mapping, hooking, running, and moving a core's state in and out.

use super::super::cpu_state::CpuState;
use super::super::floats::{Floats, Raised};
use super::super::interruption::{Delivery, Exception, Openness};
use super::super::paging::{ACCESSED, DIRTY, Mode, Step};
use super::super::tlb::{Access, Allowed, Lost, Page, Tlb};
use crate::memory::{Memory, Stretch};
use fencepost_devices::PhysAddr;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use unicorn_engine_sys as sys;

/// How much host code one engine may keep translated, in bytes. Unicorn would reserve 1 GiB of address space for each.
const TRANSLATION_BUFFER: u32 = 16 << 20;

// SAFETY: the declarations mirror the definitions in shim.c, which is compiled with this crate.
unsafe extern "C" {
    fn fencepost_cpu_size() -> usize;
    fn fencepost_get(uc: *mut sys::uc_engine, out: *mut CpuState);
    fn fencepost_set(uc: *mut sys::uc_engine, state: *const CpuState);
    fn fencepost_mode(uc: *mut sys::uc_engine, out: *mut [u64; 9]);
    fn fencepost_linear_pc(uc: *mut sys::uc_engine) -> u64;
    fn fencepost_cr2(uc: *mut sys::uc_engine) -> u64;
    fn fencepost_set_cr2(uc: *mut sys::uc_engine, address: u64);
    fn fencepost_limit_block(uc: *mut sys::uc_engine, count: u32);
    fn fencepost_before_instruction(uc: *mut sys::uc_engine, goes_on: c_int, count: u32);
    fn fencepost_gpr(uc: *mut sys::uc_engine, index: c_int) -> u64;
    fn fencepost_task(uc: *mut sys::uc_engine) -> u32;
    fn fencepost_set_gpr(uc: *mut sys::uc_engine, index: c_int, value: u64);
    fn fencepost_bases(uc: *mut sys::uc_engine, out: *mut [u64; 2]);
    fn fencepost_keep_bases(uc: *mut sys::uc_engine, bases: *const [u64; 2]);
    fn fencepost_take_flags_of_fault(uc: *mut sys::uc_engine);
    fn fencepost_settle(uc: *mut sys::uc_engine, ends: c_int);
    fn fencepost_take_floats(uc: *mut sys::uc_engine) -> u32;
    fn fencepost_set_floats(uc: *mut sys::uc_engine, flags: u32);
    fn fencepost_openness(uc: *mut sys::uc_engine) -> u32;
    fn fencepost_take_exception(uc: *mut sys::uc_engine) -> c_int;
    fn fencepost_is_software(uc: *mut sys::uc_engine) -> c_int;
    fn fencepost_deliver(uc: *mut sys::uc_engine, vector: c_int, source: c_int, error_code: c_int, pc: u64) -> c_int;
    fn fencepost_drop_code(uc: *mut sys::uc_engine, host: *mut c_void, length: u64);
    fn fencepost_flush_tlb(uc: *mut sys::uc_engine);
    fn fencepost_flush_page(uc: *mut sys::uc_engine, address: u64);
    fn fencepost_class_size() -> usize;
    fn fencepost_fill_with(uc: *mut sys::uc_engine, class: *mut c_void, fill: Fill, data: *mut c_void);
    fn fencepost_configure(uc: *mut sys::uc_engine, bytes: u32) -> c_int;
}

/// What the shim calls at a miss of the engine's own cache of translations, with its user data.
pub(super) type Fill = extern "C" fn(data: *mut c_void, what: c_int, fill: *mut PageFill) -> bool;

/// A miss of the engine's own cache of translations. Mirrors `struct fencepost_page` of shim.c.
#[repr(C)]
pub(super) struct PageFill {
    /// CR0, CR3, CR4, EFER, PAT.
    mode: [u64; 5],
    linear: u64,
    access: u32,
    is_user: u32,
    physical: u64,
    bytes: u64,
    allowed: u32,
    lost: u32,
    lost_page: u64,
    asks_again: u32,
    is_refused: u32,
}

impl PageFill {
    /// How addresses are translated now.
    pub(super) fn mode(&self) -> Mode {
        let [cr0, cr3, cr4, efer, _] = self.mode;
        Mode { cr0, cr3, cr4, efer, ..Mode::default() }
    }

    /// Answers `what` the shim asks while paging is on, from the core's `tlb` and page tables in `memory`; tells what is `lost`
    /// by it.
    pub(super) fn answer(&mut self, what: Question, tlb: &mut Tlb, memory: &Memory, lost: &mut Lost) -> Option<Page> {
        let mut lost_now = Lost::default();
        match what {
            Question::LookUp | Question::Walks | Question::Unpaged => (),
            Question::Walked => tlb.note_walk(self.access(), &self.mode(), self.mode[PAT], memory, &mut lost_now),
            Question::Faulted => tlb.forget_page(self.linear, &mut lost_now),
        }
        self.lost = if lost_now.more { 2 } else { lost_now.page.is_some().into() };
        self.lost_page = lost_now.page.unwrap_or(0);
        *lost = lost.and(lost_now);
        self.look(what, tlb, memory)
    }

    /// The same, where the access is none of the guest's and changes nothing.
    pub(super) fn look(&mut self, what: Question, tlb: &Tlb, memory: &Memory) -> Option<Page> {
        let (access, mode) = (self.access(), self.mode());
        let page = match what {
            Question::LookUp => tlb.look_up(access, &mode),
            Question::Walked => tlb.walk(access, &mode, self.mode[PAT], memory),
            Question::Walks | Question::Faulted | Question::Unpaged => None,
        }?;
        (self.physical, self.bytes, self.allowed) = (page.physical.0, page.bytes, page.allowed.bits());
        Some(page)
    }

    /// The entries of page tables that the walk which is about to happen may mark as used or written to (SDM 3A 5.8).
    pub(super) fn marks(&self, memory: &Memory) -> impl Iterator<Item = PhysAddr> + use<> {
        let access = self.access();
        let is_marked = move |step: &Step| {
            let is_written = access.kind == Allowed::WRITE && step.maps;
            step.entry & ACCESSED != 0 && (!is_written || step.entry & DIRTY != 0)
        };
        self.mode().path(memory, access.linear).filter(move |step| !is_marked(step)).map(|step| step.address)
    }

    /// Whether the walk that is about to happen comes to a table outside of memory: as if there were no entry.
    pub(super) fn leaves_memory(&self, memory: &Memory) -> bool {
        self.mode().leaves_memory(memory, self.linear)
    }

    /// The engine is not to make the access.
    pub(super) fn refuse(&mut self) {
        self.is_refused = 1;
    }

    /// What the code map must know before the engine may use the answer: it may translate code from there.
    pub(super) fn fetched(&self) -> Option<PhysAddr> {
        (self.access().kind == Allowed::EXECUTE).then_some(PhysAddr(self.physical))
    }

    /// The page holds code: the engine may not write to it, and is not to make an access that would.
    pub(super) fn protect(&mut self) {
        self.is_refused = (self.access().kind == Allowed::WRITE).into();
        self.allowed &= !Allowed::WRITE.bits();
    }

    /// Where the page is.
    pub(super) fn physical(&self) -> PhysAddr {
        PhysAddr(self.physical)
    }

    /// The engine is to forget all else that it has cached.
    pub(super) fn forget_others(&mut self) {
        self.lost = 2;
    }

    /// The engine is not to cache the translation, but to ask each time.
    pub(super) fn ask_again(&mut self) {
        self.asks_again = 1;
    }

    fn access(&self) -> Access {
        let kind = Allowed::from_bits_truncate(self.access);
        Access { linear: self.linear, kind, is_user: self.is_user != 0 }
    }
}

/// Where in `PageFill::mode` IA32_PAT is.
const PAT: usize = 4;

/// What the shim asks at a miss. Mirrors the enumeration in shim.c.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Question {
    /// What is noted?
    LookUp,
    /// Page tables are about to be walked.
    Walks,
    /// They have been, and allow the access.
    Walked,
    /// They do not allow it.
    Faulted,
    /// Paging is off: the page is given.
    Unpaged,
}

impl Question {
    pub(super) fn of(number: c_int) -> Question {
        use Question::{Faulted, LookUp, Unpaged, Walked, Walks};
        [LookUp, Walks, Walked, Faulted, Unpaged][number as usize]
    }
}

/// An open engine.
pub(super) struct Unicorn {
    handle: *mut sys::uc_engine,
    /// Room for the engine's processor class, which the shim fills and the engine points to.
    class: Vec<u128>,
}

impl Unicorn {
    /// Opens an engine in 64-bit mode; any other mode is reached by setting the state.
    pub(super) fn open() -> Unicorn {
        let mut handle = null_mut();
        // SAFETY: `handle` is a valid place for the new engine's pointer.
        let error = unsafe { sys::uc_open(sys::Arch::X86, sys::Mode::MODE_64, &mut handle) };
        check(error, "opening an engine");
        // SAFETY: takes no arguments and touches nothing.
        let class_size = unsafe { fencepost_class_size() };
        let engine = Unicorn { handle, class: vec![0; class_size.div_ceil(size_of::<u128>())] };
        // SAFETY: the engine is open and has not been used yet, which is when its buffer size can be set.
        let error = unsafe { fencepost_configure(handle, TRANSLATION_BUFFER) };
        assert_eq!(error, 0, "Unicorn refused its configuration");
        engine.program_counter();
        // SAFETY: takes no arguments and touches nothing.
        let size = unsafe { fencepost_cpu_size() };
        assert_eq!(size, size_of::<CpuState>(), "CpuState must mirror struct fencepost_cpu of shim.c");
        engine
    }

    /// Maps a stretch of guest memory.
    pub(super) fn map(&self, stretch: &Stretch) {
        let size = stretch.range.len() as u64;
        // SAFETY: the stretch lies inside the host's block, whose address is stable and which outlives the engine.
        let error = unsafe {
            let host = stretch.host.pointer().add(stretch.range.start);
            sys::uc_mem_map_ptr(self.handle, stretch.base.0, size, sys::Prot::ALL.0, host.cast())
        };
        check(error, "mapping guest memory");
    }

    /// Adds a hook of `kind` over guest addresses `begin..=end`; `callback` must have the signature of that kind.
    ///
    /// # Safety
    /// `callback` has the C signature that Unicorn calls for `kind`, and `data` stays valid while the engine is open.
    pub(super) unsafe fn hook(
        &self,
        kind: sys::HookType,
        callback: *mut c_void,
        data: *mut c_void,
        begin: u64,
        end: u64,
    ) {
        let mut id = 0;
        // SAFETY: promised by the caller.
        let error = unsafe { sys::uc_hook_add(self.handle, &mut id, kind.0 as c_int, callback, data, begin, end) };
        check(error, "adding a hook");
    }

    /// Adds a hook on one instruction of the x86 (IN or OUT).
    ///
    /// # Safety
    /// As for [`Unicorn::hook`].
    pub(super) unsafe fn hook_instruction(&self, which: sys::X86Insn, callback: *mut c_void, data: *mut c_void) {
        let mut id = 0;
        let kind = sys::HookType::INSN.0 as c_int;
        // SAFETY: promised by the caller; an INSN hook takes the instruction's number as one more argument.
        let error = unsafe { sys::uc_hook_add(self.handle, &mut id, kind, callback, data, 1u64, 0u64, which as c_int) };
        check(error, "adding an instruction hook");
    }

    /// Asks `fill` for the translation of every address that the engine has not cached.
    ///
    /// # Safety
    /// `data` is what `fill` expects, and stays valid while the engine is open.
    pub(super) unsafe fn fill_with(&mut self, fill: Fill, data: *mut c_void) {
        // SAFETY: the class is as long as the shim says, and does not move as long as this engine is open; the rest is
        // promised by the caller.
        unsafe { fencepost_fill_with(self.handle, self.class.as_mut_ptr().cast(), fill, data) }
    }

    /// Hands guest-physical `base..base + size` to callbacks.
    ///
    /// # Safety
    /// `data` stays valid while the engine is open.
    pub(super) unsafe fn map_device_space(
        &self,
        base: u64,
        size: u64,
        read: sys::uc_cb_mmio_read_t,
        write: sys::uc_cb_mmio_write_t,
        data: *mut c_void,
    ) {
        // SAFETY: promised by the caller.
        let error = unsafe { sys::uc_mmio_map(self.handle, base, size, read, data, write, data) };
        check(error, "mapping device space");
    }

    /// Runs from `pc` (an offset into CS) until a hook stops the engine or the guest cannot go on.
    pub(super) fn run(&self, pc: u64) -> sys::uc_error {
        // SAFETY: the engine is open; hooks only touch data that is valid while it is.
        unsafe { sys::uc_emu_start(self.handle, pc, u64::MAX, 0, 0) }
    }

    /// The offset of the next instruction into CS.
    pub(super) fn program_counter(&self) -> u64 {
        let mut value = 0u64;
        // SAFETY: RIP is 8 bytes wide in 64-bit engines.
        let error = unsafe { sys::uc_reg_read(self.handle, sys::RegisterX86::RIP as c_int, (&raw mut value).cast()) };
        check(error, "reading RIP");
        value
    }

    /// The whole architectural state.
    pub(super) fn state(&self, into: &mut CpuState) {
        // SAFETY: `CpuState` mirrors the shim's structure; `open` compared the sizes.
        unsafe { fencepost_get(self.handle, into) }
    }

    /// Takes on `state`.
    pub(super) fn set_state(&self, state: &CpuState) {
        // SAFETY: as in `state`.
        unsafe { fencepost_set(self.handle, state) }
    }

    /// How addresses are translated and code is decoded now.
    pub(super) fn mode(&self) -> Mode {
        let mut out = [0; 9];
        // SAFETY: the shim fills nine numbers.
        unsafe { fencepost_mode(self.handle, &mut out) };
        let [cr0, cr3, cr4, efer, bits, traps, breaks, aligns, floats] = out;
        let [traps, breaks, aligns, floats] = [traps, breaks, aligns, floats].map(|it| it != 0);
        Mode { cr0, cr3, cr4, efer, bits: bits as u32, traps, breaks, aligns, floats }
    }

    /// The linear address of the next instruction.
    pub(super) fn linear_pc(&self) -> u64 {
        // SAFETY: the engine is open and not running.
        unsafe { fencepost_linear_pc(self.handle) }
    }

    /// CR2, the address of the last page fault.
    pub(super) fn cr2(&self) -> u64 {
        // SAFETY: the engine is open and not running.
        unsafe { fencepost_cr2(self.handle) }
    }

    /// Puts CR2 back after a fault that the guest must not see.
    pub(super) fn set_cr2(&self, address: u64) {
        // SAFETY: the engine is open and not running.
        unsafe { fencepost_set_cr2(self.handle, address) }
    }

    /// The selector of the task.
    pub(super) fn task(&self) -> u32 {
        // SAFETY: the engine is open and not running.
        unsafe { fencepost_task(self.handle) }
    }

    /// Makes the next run begin with a block of at most `count` instructions.
    pub(super) fn limit_block(&self, count: u32) {
        // SAFETY: the engine is open and not running.
        unsafe { fencepost_limit_block(self.handle, count) }
    }

    /// After a fault of an instruction before which a hook was called: its arithmetic flags are those of that moment.
    pub(super) fn take_flags_of_fault(&self) {
        // SAFETY: the engine is open and not running.
        unsafe { fencepost_take_flags_of_fault(self.handle) }
    }

    /// Gives FS and GS their `bases` from before a return to an outer level, if that has made their selectors null.
    pub(super) fn keep_bases(&self, bases: [u64; 2]) {
        // SAFETY: the engine is open and not running; the shim reads two numbers.
        unsafe { fencepost_keep_bases(self.handle, &bases) }
    }

    /// Forgets the resume flag, if it `ends` or there are no breakpoints that it is about.
    pub(super) fn settle(&self, ends: bool) {
        // SAFETY: the engine is open and not running.
        unsafe { fencepost_settle(self.handle, ends.into()) }
    }

    /// What SSE instructions have raised since this was asked last, and the registers now.
    pub(super) fn take_floats(&self) -> Floats {
        // SAFETY: the engine is open and not running.
        let raised = Raised::from_bits_truncate(unsafe { fencepost_take_floats(self.handle) });
        let mut after = Box::default();
        self.state(&mut after);
        Floats { raised, after }
    }

    /// Sets the flags of what is `raised` in MXCSR.
    pub(super) fn set_floats(&self, raised: Raised) {
        // SAFETY: the engine is open and not running.
        unsafe { fencepost_set_floats(self.handle, raised.bits()) }
    }

    /// Whether an interrupt may come now.
    pub(super) fn openness(&self) -> Openness {
        // SAFETY: the engine is open and not running.
        Openness::from_bits_truncate(unsafe { fencepost_openness(self.handle) })
    }

    /// The error code of the exception just reported; forgets the exception, which Unicorn itself never does.
    pub(super) fn take_exception(&self) -> u32 {
        // SAFETY: the engine is open and not running.
        unsafe { fencepost_take_exception(self.handle) as u32 }
    }

    /// Enters the guest's handler of an interruption, between two runs. Its accesses to memory are reported to the hooks.
    pub(super) fn deliver(&self, exception: Exception, pc: u64) -> Delivery {
        let Exception { vector, source, error_code } = exception;
        // SAFETY: the engine is open and not running; hooks only touch data that is valid meanwhile.
        match unsafe { fencepost_deliver(self.handle, vector as c_int, source as c_int, error_code as c_int, pc) } {
            -1 => Delivery::TripleFault,
            -2 => Delivery::NoMemory,
            vector => Delivery::Entered { vector: vector as u32 },
        }
    }

    /// Forgets translations of code in `length` bytes of host memory at `host`.
    pub(super) fn drop_code(&self, host: *const u8, length: u64) {
        // SAFETY: the shim only looks the address up among the engine's mappings.
        unsafe { fencepost_drop_code(self.handle, host.cast_mut().cast(), length) }
    }

    /// Forgets what the engine itself has cached of address translations.
    pub(super) fn flush_tlb(&self) {
        // SAFETY: the engine is open and not running.
        unsafe { fencepost_flush_tlb(self.handle) }
    }

    /// Forgets what the engine itself has cached of translations that are `lost`.
    pub(super) fn forget(&self, lost: Lost) {
        match lost.page {
            Some(page) if !lost.more => {
                // SAFETY: the engine is open and not running.
                unsafe { fencepost_flush_page(self.handle, page) }
            }
            _ => self.flush_tlb(),
        }
    }
}

impl Drop for Unicorn {
    fn drop(&mut self) {
        // SAFETY: the handle came from uc_open and is closed once.
        unsafe { sys::uc_close(self.handle) };
    }
}

/// An engine that is inside one of its hooks.
#[derive(Clone, Copy)]
pub(crate) struct Hooked(*mut sys::uc_engine);

impl Hooked {
    /// For a hook called with `handle`.
    pub(super) fn of(handle: *mut sys::uc_engine) -> Hooked {
        Hooked(handle)
    }

    /// Forgets translations of the code in `length` bytes of host memory at `host`.
    ///
    /// Done before a store to code, this keeps the engine from starting the storing instruction again; the current block
    /// goes on as it was translated, so the caller stops after the instruction.
    pub(crate) fn drop_code(self, host: *const u8, length: u64) {
        // SAFETY: the shim only looks the address up among the engine's mappings; a dropped block stays executable memory.
        unsafe { fencepost_drop_code(self.0, host.cast_mut().cast(), length) }
    }

    /// Makes the next block at most `count` instructions long.
    pub(super) fn limit_block(self, count: u32) {
        // SAFETY: hooks are called with the handle of a live engine.
        unsafe { fencepost_limit_block(self.0, count) }
    }

    /// Ends a hook before an instruction, which is executed if the engine `goes_on`, and with the next block at most `count`
    /// instructions long.
    pub(super) fn leave_instruction_hook(self, goes_on: bool, count: u32) {
        // SAFETY: hooks are called with the handle of a live engine.
        unsafe { fencepost_before_instruction(self.0, goes_on.into(), count) }
    }

    /// Whether the exception being reported comes from INT n, INT3 or INTO.
    pub(super) fn is_software(self) -> bool {
        // SAFETY: hooks are called with the handle of a live engine.
        unsafe { fencepost_is_software(self.0) != 0 }
    }

    /// Whether an interrupt may come before the instruction that is about to execute.
    pub(crate) fn openness(self) -> Openness {
        // SAFETY: hooks are called with the handle of a live engine.
        Openness::from_bits_truncate(unsafe { fencepost_openness(self.0) })
    }

    /// What SSE instructions have raised since this was asked last, and the registers now.
    pub(crate) fn take_floats(self) -> Floats {
        // SAFETY: hooks are called with the handle of a live engine.
        let raised = Raised::from_bits_truncate(unsafe { fencepost_take_floats(self.0) });
        Floats { raised, after: Box::new(self.registers()) }
    }

    /// Sets the flags of what is `raised` in MXCSR.
    pub(crate) fn set_floats(self, raised: Raised) {
        // SAFETY: as in `take_floats`.
        unsafe { fencepost_set_floats(self.0, raised.bits()) }
    }

    /// General register `index`, in the order in which instructions number them.
    pub(crate) fn gpr(self, index: usize) -> u64 {
        debug_assert!(index < 16, "there are 16 general registers");
        // SAFETY: hooks are called with the handle of a live engine, whose registers are synchronised at that time.
        unsafe { fencepost_gpr(self.0, index as c_int) }
    }

    /// Changes general register `index`.
    pub(crate) fn set_gpr(self, index: usize, value: u64) {
        debug_assert!(index < 16, "there are 16 general registers");
        // SAFETY: as in `gpr`; the engine reads registers anew after a hook.
        unsafe { fencepost_set_gpr(self.0, index as c_int, value) }
    }

    /// The selector of the task.
    pub(crate) fn task(self) -> u32 {
        // SAFETY: hooks are called with the handle of a live engine.
        unsafe { fencepost_task(self.0) }
    }

    /// The bases of FS and GS.
    pub(crate) fn bases(self) -> [u64; 2] {
        let mut bases = [0; 2];
        // SAFETY: hooks are called with the handle of a live engine; the shim fills two numbers.
        unsafe { fencepost_bases(self.0, &mut bases) };
        bases
    }

    /// The registers as they were before the current instruction.
    pub(crate) fn registers(self) -> CpuState {
        let mut state = CpuState::default();
        // SAFETY: hooks are called with the handle of a live engine, whose registers are synchronised at that time.
        unsafe { fencepost_get(self.0, &mut state) };
        state
    }
}

/// Asks the engine to stop, from inside one of its hooks (never from anywhere else).
pub(super) fn stop_from_hook(handle: *mut sys::uc_engine) {
    // SAFETY: called with the handle that Unicorn passed to the hook.
    unsafe { sys::uc_emu_stop(handle) };
}

fn check(error: sys::uc_error, doing: &str) {
    assert_eq!(error, sys::uc_error::OK, "Unicorn failed at {doing}");
}
