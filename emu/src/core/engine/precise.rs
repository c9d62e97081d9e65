//! The precise engine: every instruction and every access is reported to an [`Observer`] before it happens.

use super::super::cpu_state::CpuState;
use super::super::interruption::{Delivery, Exception, Source, vector};
use super::super::paging::Mode;
use super::super::tlb::{Lost, Page, Tlb};
use super::unicorn::{Hooked, PageFill, Question, Unicorn, stop_from_hook};
use crate::memory::Memory;
use fencepost_devices::PhysAddr;
use std::ffi::{c_int, c_void};
use unicorn_engine_sys as sys;

/// Physical addresses that an engine decodes: 40 bits, as the emulated processor announces.
const ADDRESS_SPACE: u64 = 1 << 40;

/// Runs are short and begin anywhere, and where one begins a block is translated: 30 us for 32 instructions, not 1 ms.
const LONGEST_BLOCK: u32 = 32;

/// An observer's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    /// Go on.
    Continue,
    /// Stop here. Before an instruction that is clean; at an access the instruction is abandoned, but a store in question
    /// is still written to memory, and the observer has to put the old bytes back.
    Stop,
}

/// Whoever decides what the precise engine's instructions do to the world.
pub(crate) trait Observer {
    /// The instruction at linear address `pc` (or the next round of a repeated one) is about to execute.
    fn instruction(&mut self, engine: Hooked, pc: u64) -> Flow;
    /// A load of `size` bytes of memory at `address`.
    fn load(&mut self, engine: Hooked, address: PhysAddr, size: u64) -> Flow;
    /// A store of `size` bytes of memory at `address`.
    fn store(&mut self, engine: Hooked, address: PhysAddr, size: u64, value: u64) -> Flow;
    /// A load where there is no memory.
    fn device_load(&mut self, address: PhysAddr, size: u64) -> u64;
    /// A store where there is no memory.
    fn device_store(&mut self, address: PhysAddr, size: u64, value: u64);
    /// The IN of an INS instruction.
    fn port_in(&mut self, port: u16, size: u64) -> u32;
    /// The OUT of an OUTS instruction.
    fn port_out(&mut self, port: u16, size: u64, value: u32);
    /// Addresses are translated in `mode`: by what the core has noted, and by memory.
    fn translations(&mut self, mode: Mode) -> (&mut Tlb, &Memory);
    /// Of what the core had noted this is lost.
    fn lost(&mut self, lost: Lost);
    /// Whether what is executed has no effect, and so nothing is noted either.
    fn only_looks(&self) -> bool;
    /// Code may be translated from the page that `from` lies in.
    fn fetches(&mut self, from: PhysAddr);
    /// The engine may mark an entry of page tables as used.
    fn marks(&mut self, entry: PhysAddr);
    /// The next access may be to `page`. Whether it is to be asked again before each.
    fn approach(&mut self, page: Page) -> bool;
}

/// Why a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PreciseExit {
    /// The observer said so.
    Stopped,
    /// An exception or a software interrupt, with its error code where it has one.
    Exception(Exception),
    /// Code was fetched from where there is no memory.
    NothingToFetch,
}

/// A precise engine.
pub(crate) struct Precise {
    unicorn: Unicorn,
    link: Box<Link>,
    /// CR2 before the last run.
    cr2_before: u64,
    /// Kept alive for the engine's callbacks, which point here.
    #[expect(clippy::vec_box, reason = "the callbacks hold the addresses of the elements")]
    device_spaces: Vec<Box<DeviceSpace>>,
}

/// User data of a range without memory: Unicorn tells its callbacks only the offset.
struct DeviceSpace {
    link: *mut c_void,
    base: u64,
}

/// What the hooks reach through their user-data pointer.
#[derive(Default)]
struct Link {
    /// Set for the duration of a run.
    observer: Option<*mut dyn Observer>,
    /// The most instructions that are translated as one block.
    block_limit: u32,
    /// Vector and source.
    exception: Option<(u32, Source)>,
    /// The engine has cached translations that are not noted: none of the guest's accesses needed them.
    has_strays: bool,
}

impl Link {
    /// The observer of the run that is under way.
    ///
    /// # Safety
    /// `data` is the user data of a hook of a running precise engine.
    unsafe fn observer<'a>(data: *mut c_void) -> &'a mut dyn Observer {
        // SAFETY: `Precise::run` sets the pointer for the time of the run and holds the observer mutably all the while;
        // hooks do not nest.
        unsafe { &mut *(*data.cast::<Link>()).observer.expect("hooks are called only during a run") }
    }
}

impl DeviceSpace {
    /// Gives guest-physical `from..to` to the device callbacks, unless it is empty.
    fn map(unicorn: &Unicorn, link: *mut c_void, from: u64, to: u64) -> Option<Box<DeviceSpace>> {
        let mut space = (from < to).then(|| Box::new(DeviceSpace { link, base: from }))?;
        let data = std::ptr::from_mut::<DeviceSpace>(&mut space).cast();
        // SAFETY: the box is kept by the engine's owner as long as the engine.
        unsafe { unicorn.map_device_space(from, to - from, Some(on_device_load), Some(on_device_store), data) };
        Some(space)
    }

    /// The observer and the base address behind a callback's user data.
    ///
    /// # Safety
    /// `data` is the user data of a device callback of a running precise engine.
    unsafe fn open<'a>(data: *mut c_void) -> (&'a mut dyn Observer, u64) {
        // SAFETY: promised by the caller.
        unsafe {
            let space = &*data.cast::<DeviceSpace>();
            (Link::observer(space.link), space.base)
        }
    }
}

impl Precise {
    /// An engine over `memory`.
    pub(crate) fn new(memory: &Memory) -> Precise {
        let mut precise =
            Precise { unicorn: Unicorn::open(), link: Box::default(), cr2_before: 0, device_spaces: Vec::new() };
        let data = std::ptr::from_ref::<Link>(&precise.link).cast_mut().cast();
        // SAFETY: `on_fill` expects the link, which lives as long as the engine.
        unsafe { precise.unicorn.fill_with(on_fill, data) };
        let unicorn = &precise.unicorn;
        let mut end_of_memory = 0;
        for stretch in memory.stretches() {
            unicorn.map(&stretch);
            let (base, end) = (stretch.base.0, stretch.base.0 + stretch.range.len() as u64);
            let kind = sys::HookType::MEM_READ | sys::HookType::MEM_WRITE;
            // SAFETY: `on_access` has the signature of a memory hook; the boxed link lives as long as the engine.
            unsafe { unicorn.hook(kind, on_access as *mut c_void, data, base, end - 1) };
            precise.device_spaces.extend(DeviceSpace::map(unicorn, data, end_of_memory, base));
            end_of_memory = end;
        }
        precise.device_spaces.extend(DeviceSpace::map(unicorn, data, end_of_memory, ADDRESS_SPACE));
        // SAFETY: each callback has the signature of its kind of hook; the link lives as long as the engine.
        unsafe {
            unicorn.hook(sys::HookType::CODE, on_instruction as *mut c_void, data, 1, 0);
            unicorn.hook(sys::HookType::INTR, on_exception as *mut c_void, data, 1, 0);
            unicorn.hook_instruction(sys::X86Insn::IN, on_port_in as *mut c_void, data);
            unicorn.hook_instruction(sys::X86Insn::OUT, on_port_out as *mut c_void, data);
        }
        precise
    }

    /// Runs from `pc` (an offset into CS) under `observer` until it says stop or the guest cannot go on.
    ///
    /// With `one_at_a_time`, code is translated one instruction at a time: slow, unless it changes all the time.
    pub(crate) fn run(&mut self, pc: u64, one_at_a_time: bool, observer: &mut dyn Observer) -> PreciseExit {
        // SAFETY: only the lifetime is erased; the pointer is taken back below, before `observer` ends.
        let erased: *mut (dyn Observer + 'static) = unsafe { std::mem::transmute(std::ptr::from_mut(observer)) };
        self.link.observer = Some(erased);
        self.forget_strays();
        self.link.exception = None;
        self.link.block_limit = if one_at_a_time { 1 } else { LONGEST_BLOCK };
        self.unicorn.limit_block(self.link.block_limit);
        self.cr2_before = self.unicorn.cr2();
        let error = self.unicorn.run(pc);
        self.link.observer = None;
        if let Some((vector, source)) = self.link.exception.take() {
            return PreciseExit::Exception(Exception { vector, source, error_code: self.unicorn.take_exception() });
        }
        match error {
            sys::uc_error::OK => PreciseExit::Stopped,
            sys::uc_error::INSN_INVALID => {
                self.unicorn.take_exception();
                PreciseExit::Exception(Exception::new(vector::INVALID_OPCODE, 0))
            }
            sys::uc_error::FETCH_UNMAPPED | sys::uc_error::FETCH_PROT => PreciseExit::NothingToFetch,
            // Physical addresses past 40 bits cannot come from a page table that the processor accepts.
            sys::uc_error::READ_UNMAPPED | sys::uc_error::WRITE_UNMAPPED => {
                self.unicorn.take_exception();
                PreciseExit::Exception(Exception::new(vector::GENERAL_PROTECTION, 0))
            }
            other => panic!("Unicorn stopped for a reason this engine does not know: {other:?}"),
        }
    }

    /// Enters the guest's handler of `exception` under `observer`, which sees the accesses to memory that it takes.
    pub(crate) fn deliver(&mut self, exception: Exception, pc: u64, observer: &mut dyn Observer) -> Delivery {
        // SAFETY: as in `run`.
        let erased: *mut (dyn Observer + 'static) = unsafe { std::mem::transmute(std::ptr::from_mut(observer)) };
        self.link.observer = Some(erased);
        self.forget_strays();
        let delivery = self.unicorn.deliver(exception, pc);
        self.link.observer = None;
        delivery
    }

    fn forget_strays(&mut self) {
        if std::mem::take(&mut self.link.has_strays) {
            self.unicorn.flush_tlb();
        }
    }

    /// CR2, the address of the last page fault.
    pub(crate) fn cr2(&self) -> u64 {
        self.unicorn.cr2()
    }

    /// Puts CR2 back after a fault on the way to a handler that was not entered.
    pub(crate) fn set_cr2(&self, address: u64) {
        self.unicorn.set_cr2(address);
    }

    /// Undoes what a fault that the guest must not see has done to CR2.
    pub(crate) fn forget_fault(&self) {
        self.unicorn.set_cr2(self.cr2_before);
    }

    pub(super) fn unicorn(&self) -> &Unicorn {
        &self.unicorn
    }

    /// The offset of the next instruction into CS.
    pub(crate) fn program_counter(&self) -> u64 {
        self.unicorn.program_counter()
    }

    /// How addresses are translated and code is decoded now.
    pub(crate) fn mode(&self) -> Mode {
        self.unicorn.mode()
    }

    /// The core's registers between two runs.
    pub(crate) fn registers(&self) -> CpuState {
        let mut state = CpuState::default();
        self.unicorn.state(&mut state);
        state
    }

    /// Changes the core's state between two runs.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut CpuState)) {
        let mut state = self.registers();
        change(&mut state);
        self.unicorn.set_state(&state);
    }
}

extern "C" fn on_instruction(uc: *mut sys::uc_engine, pc: u64, _size: u32, data: *mut c_void) {
    // SAFETY: `data` is this engine's link.
    let (observer, block_limit) = unsafe { (Link::observer(data), (*data.cast::<Link>()).block_limit) };
    let flow = observer.instruction(Hooked::of(uc), pc);
    Hooked::of(uc).leave_instruction_hook(flow == Flow::Continue, block_limit);
    if flow == Flow::Stop {
        stop_from_hook(uc);
    }
}

extern "C" fn on_access(
    uc: *mut sys::uc_engine,
    kind: sys::MemType,
    address: u64,
    size: i32,
    value: i64,
    data: *mut c_void,
) -> bool {
    // SAFETY: `data` is this engine's link.
    let observer = unsafe { Link::observer(data) };
    let (engine, address, size) = (Hooked::of(uc), PhysAddr(address), size as u64);
    let flow = if kind == sys::MemType::WRITE {
        observer.store(engine, address, size, value as u64)
    } else {
        observer.load(engine, address, size)
    };
    if flow == Flow::Stop {
        stop_from_hook(uc);
    }
    true
}

extern "C" fn on_fill(data: *mut c_void, what: c_int, fill: *mut PageFill) -> bool {
    // SAFETY: `data` is this engine's link, and the shim passes a fill of its own.
    let (link, fill) = unsafe { (&mut *data.cast::<Link>(), &mut *fill) };
    // SAFETY: a run is under way.
    let observer = unsafe { Link::observer(data) };
    let what = Question::of(what);
    if what == Question::Unpaged {
        fill.fetched().into_iter().for_each(|from| observer.fetches(from));
        return true;
    }
    let only_looks = observer.only_looks();
    let (tlb, memory) = observer.translations(fill.mode());
    if what == Question::Walks {
        if fill.leaves_memory(memory) {
            return false;
        }
        fill.marks(memory).for_each(|entry| observer.marks(entry));
        return true;
    }
    let mut lost = Lost::default();
    let page = if only_looks {
        link.has_strays |= what == Question::Walked;
        fill.look(what, tlb, memory)
    } else {
        fill.answer(what, tlb, memory, &mut lost)
    };
    if lost.is_some() {
        observer.lost(lost);
    }
    let Some(page) = page else { return false };
    fill.fetched().into_iter().for_each(|from| observer.fetches(from));
    if observer.approach(page) {
        fill.ask_again();
    }
    true
}

extern "C" fn on_exception(uc: *mut sys::uc_engine, vector: u32, data: *mut c_void) {
    let source = if Hooked::of(uc).is_software() { Source::Software } else { Source::Exception };
    // SAFETY: `data` is this engine's link, and nothing else refers to the field during the call.
    unsafe { (*data.cast::<Link>()).exception = Some((vector, source)) };
    stop_from_hook(uc);
}

unsafe extern "C" fn on_device_load(_uc: *mut sys::uc_engine, offset: u64, size: u32, data: *mut c_void) -> u64 {
    // SAFETY: `data` is a device space of this engine, and its link is the engine's.
    let (observer, base) = unsafe { DeviceSpace::open(data) };
    observer.device_load(PhysAddr(base + offset), u64::from(size))
}

unsafe extern "C" fn on_device_store(_uc: *mut sys::uc_engine, offset: u64, size: u32, value: u64, data: *mut c_void) {
    // SAFETY: `data` is a device space of this engine, and its link is the engine's.
    let (observer, base) = unsafe { DeviceSpace::open(data) };
    observer.device_store(PhysAddr(base + offset), u64::from(size), value);
}

extern "C" fn on_port_in(_uc: *mut sys::uc_engine, port: u32, size: i32, data: *mut c_void) -> u32 {
    // SAFETY: `data` is this engine's link.
    unsafe { Link::observer(data) }.port_in(port as u16, size as u64)
}

extern "C" fn on_port_out(_uc: *mut sys::uc_engine, port: u32, size: i32, value: u32, data: *mut c_void) {
    // SAFETY: `data` is this engine's link.
    unsafe { Link::observer(data) }.port_out(port as u16, size as u64, value);
}
