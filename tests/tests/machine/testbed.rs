//! A machine with a small guest on each core, taken one choice at a time.

use fencepost::choice::Choice;
use fencepost::core::{Core, CoreId};
use fencepost::devices::PhysAddr;
use fencepost::loader::Image;
use fencepost::machine::{LEAST_RAM, Machine, Settings, State, Stop};
use fencepost::memory_model::MemoryModel;
use fencepost::processor::Processor;
use fencepost::trace::{Event, Fault};
use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, edi};

/// A flat image's first byte.
pub(crate) const BASE: u64 = 0x10_0000;
/// Where [`Testbed::with_data`] puts its bytes: on the page after the code's.
pub(crate) const DATA: u64 = BASE + 0x1000;

/// Plain zeroed RAM, each on a cache line of its own.
pub(crate) const X: u64 = 0x18_0000;
pub(crate) const Y: u64 = 0x18_0040;
pub(crate) const Z: u64 = 0x18_0080;
/// The last byte of a cache line in plain RAM.
pub(crate) const LINE_END: u64 = 0x18_10ff;
/// Write-combining memory.
pub(crate) const PIXELS: u64 = 0xe000_0000;

pub(crate) const SC: MemoryModel = MemoryModel::SC;
pub(crate) const TSO: MemoryModel = MemoryModel::TSO;
pub(crate) const PSO: MemoryModel = MemoryModel::PSO;

/// What a core executes; HLT follows.
pub(crate) type Code<'a> = &'a dyn Fn(&mut CodeAssembler) -> Result<(), IcedError>;

pub(crate) struct Testbed {
    pub(crate) machine: Machine,
}

impl Testbed {
    /// A machine whose core `n` is about to execute the first instruction of `programs[n]`.
    pub(crate) fn new(model: MemoryModel, programs: &[Code]) -> Testbed {
        Testbed::with_settings(settings(model, programs.len()), programs)
    }

    /// Likewise, with cores like those of `processor`.
    pub(crate) fn on(processor: Processor, model: MemoryModel, programs: &[Code]) -> Testbed {
        Testbed::with_settings(Settings { processor, ..settings(model, programs.len()) }, programs)
    }

    pub(crate) fn with_settings(settings: Settings, programs: &[Code]) -> Testbed {
        Testbed::of_image(&image(programs, &[]), settings)
    }

    /// Like [`Testbed::new`], with `data` at [`DATA`].
    pub(crate) fn with_data(model: MemoryModel, programs: &[Code], data: &[u8]) -> Testbed {
        Testbed::of_image(&image(programs, data), settings(model, programs.len()))
    }

    /// A machine whose cores have found their way through the dispatch of an [`image`].
    pub(crate) fn of_image(image: &Image, settings: Settings) -> Testbed {
        let cores = settings.cores;
        let mut testbed = Testbed { machine: Machine::new(image, settings).expect("the image fits") };
        for core in 0..cores {
            testbed.steps(core, 2 * (u64::from(core) + 1));
        }
        testbed.machine.take_events();
        testbed
    }

    pub(crate) fn apply(&mut self, choice: Choice) -> u64 {
        self.machine.apply(choice).expect("the choice is possible")
    }

    /// One step that leaves stores in the buffer.
    pub(crate) fn step(&mut self, core: u8) {
        self.steps(core, 1);
    }

    /// `steps` steps that leave stores in the buffer.
    pub(crate) fn steps(&mut self, core: u8, steps: u64) {
        self.apply(Choice::Run { core: CoreId(core), steps, drained: false });
    }

    /// Runs `core` until it halts or the machine stops; stores stay in the buffer.
    pub(crate) fn run(&mut self, core: u8) {
        while !self.core(core).is_halted() && self.machine.stop().is_none() {
            self.steps(core, 1000);
        }
    }

    /// Runs `core` until it halts, and drains it.
    pub(crate) fn finish(&mut self, core: u8) {
        self.run(core);
        self.drain_all(core);
    }

    pub(crate) fn access(&mut self, core: u8) {
        self.apply(Choice::Access { core: CoreId(core) });
    }

    pub(crate) fn drain(&mut self, core: u8, entry: u8) {
        self.apply(Choice::Drain { core: CoreId(core), entry });
    }

    pub(crate) fn drain_all(&mut self, core: u8) {
        while !self.core(core).buffer.is_empty() {
            self.drain(core, 0);
        }
    }

    pub(crate) fn state(&mut self) -> &State {
        self.machine.state()
    }

    pub(crate) fn core(&mut self, core: u8) -> &Core {
        &self.state().cores[usize::from(core)]
    }

    /// A general register by encoding number.
    pub(crate) fn gpr(&mut self, core: u8, number: usize) -> u64 {
        self.core(core).cpu.gpr[number]
    }

    pub(crate) fn rax(&mut self, core: u8) -> u64 {
        self.gpr(core, 0)
    }

    /// The 8 bytes that every core sees at `address`.
    pub(crate) fn memory(&mut self, address: u64) -> u64 {
        self.state().memory.read_u64(PhysAddr(address)).expect("the address is memory")
    }

    pub(crate) fn byte(&mut self, address: u64) -> u8 {
        self.memory(address) as u8
    }

    /// Address, length and value of each buffered store, oldest first.
    pub(crate) fn pending(&mut self, core: u8) -> Vec<(u64, u8, u64)> {
        let entries = self.core(core).buffer.entries();
        entries.iter().map(|entry| (entry.address.0, entry.length, entry.value())).collect()
    }

    /// The addresses of the buffered stores, oldest first.
    pub(crate) fn pending_addresses(&mut self, core: u8) -> Vec<u64> {
        self.pending(core).into_iter().map(|(address, ..)| address).collect()
    }

    /// The addresses of the buffered stores that may drain now.
    pub(crate) fn drainable(&mut self, core: u8) -> Vec<u64> {
        let model = self.machine.settings().model;
        let buffer = &self.core(core).buffer;
        buffer.drainable(model).map(|index| buffer.entries()[index].address.0).collect()
    }

    /// Where and why the machine has faulted.
    pub(crate) fn fault(&mut self) -> (u64, Fault) {
        match self.machine.stop() {
            Some(&Stop::Faulted { pc, fault, .. }) => (pc, fault),
            other => panic!("the machine should have faulted, and it is {other:?}"),
        }
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        self.machine.take_events().into_iter().map(|line| line.event).collect()
    }

    /// Where `core` is.
    pub(crate) fn pc(&mut self, core: u8) -> u64 {
        self.core(core).cpu.linear_pc()
    }
}

pub(crate) fn settings(model: MemoryModel, cores: usize) -> Settings {
    Settings { model, cores: cores as u8, ram_bytes: LEAST_RAM, ..Settings::default() }
}

/// Code that sends core `n` to `programs[n]` in 2 (n + 1) steps, and `data` at [`DATA`].
pub(crate) fn image(programs: &[Code], data: &[u8]) -> Image {
    let mut bytes = dispatch(programs).expect("the guest can be assembled");
    assert!(bytes.len() <= (DATA - BASE) as usize, "the guest's code fits its page");
    if !data.is_empty() {
        bytes.resize((DATA - BASE) as usize, 0);
        bytes.extend(data);
    }
    Image::from_flat("guest", bytes)
}

fn dispatch(programs: &[Code]) -> Result<Vec<u8>, IcedError> {
    let mut code = CodeAssembler::new(64)?;
    let mut starts: Vec<_> = programs.iter().map(|_| code.create_label()).collect();
    for (core, start) in starts.iter().enumerate() {
        code.cmp(edi, core as i32)?;
        code.je(*start)?;
    }
    for (program, start) in programs.iter().zip(&mut starts) {
        code.set_label(start)?;
        program(&mut code)?;
        code.hlt()?;
    }
    code.assemble(BASE)
}
