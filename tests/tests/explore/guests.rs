//! Guests to explore: programs of Fencepost's own, and a few instructions assembled here.

use fencepost::explorer::region::Region;
use fencepost::explorer::survey::{Survey, Surveyor};
use fencepost::explorer::{Limits, Plan};
use fencepost::loader::Image;
use fencepost::machine::{DEEPEST, Machine, Settings};
use fencepost::memory_model::MemoryModel;
use fencepost::testbench::Testbench;
use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, al, dword_ptr, eax, ebx, edi};

/// A flat image's first byte.
const BASE: u64 = 0x10_0000;
/// Zeroed RAM, each word on a cache line of its own.
pub(crate) const X: u64 = 0x18_0000;
pub(crate) const Y: u64 = 0x18_0040;

/// More steps than any guest here takes before its region.
const LONGEST_BEFORE: u64 = 50_000_000;

/// What a core executes.
pub(crate) type Code<'a> = &'a dyn Fn(&mut CodeAssembler) -> Result<(), IcedError>;

/// Reports the same whatever it reads at [`X`], and exits with what it has read.
pub(crate) fn reports_the_same(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(ebx, dword_ptr(X))?;
    for byte in b"outcome: same\n" {
        a.mov(al, i32::from(*byte))?;
        a.out(0xe9, al)?;
    }
    a.mov(eax, ebx)?;
    a.out(0xf4, al)
}

/// A program of Fencepost's own at its region, one round of it; `None` when it has none.
pub(crate) fn program(name: &str) -> Option<Surveyor> {
    let bench = Testbench::program(name).expect("the program exists");
    let (_, variant) = bench.known_program().expect("it is a program");
    let base = bench.current_settings().clone();
    let settings = Settings { command_line: format!("{} once", variant.name), ..base };
    surveyor(bench.loaded_image().clone(), settings, false)
}

/// Cores that execute `codes`, explored from the first instruction on. HLT follows each.
pub(crate) fn cores(codes: &[Code]) -> Surveyor {
    let (image, settings) = cores_image(codes);
    surveyor(image, settings, true).expect("a whole guest is a region")
}

/// Cores that execute `codes`, each with a mark in it, explored from the marks on. HLT follows each.
pub(crate) fn marked_cores(codes: &[Code]) -> Surveyor {
    let (image, settings) = cores_image(codes);
    surveyor(image, settings, false).expect("each core has its mark")
}

/// The image of cores that execute `codes`, and the machine for it.
pub(crate) fn cores_image(codes: &[Code]) -> (Image, Settings) {
    let assemble = || -> Result<Vec<u8>, IcedError> {
        let mut a = CodeAssembler::new(64)?;
        for (index, code) in codes.iter().enumerate() {
            let mut other = a.create_label();
            a.cmp(edi, index as i32)?;
            a.jne(other)?;
            code(&mut a)?;
            a.hlt()?;
            a.set_label(&mut other)?;
            a.nop()?;
        }
        a.hlt()?;
        a.assemble(BASE)
    };
    let image = Image::from_flat("cores", assemble().expect("the code assembles"));
    (image, Settings { cores: codes.len() as u8, ..Settings::default() })
}

/// An image explored in its region, or whole.
pub(crate) fn surveyor(image: Image, settings: Settings, whole: bool) -> Option<Surveyor> {
    let settings = Settings { depth: DEEPEST as usize, wc_depth: DEEPEST as usize, ..settings };
    let machine = Machine::new(&image, settings.clone()).expect("the image fits");
    let region = if whole { Region::whole(machine) } else { Region::find(machine, LONGEST_BEFORE, None).ok()? };
    Some(Surveyor::new(image, settings, region).expect("the image fits"))
}

/// Everything that can happen under `model`.
pub(crate) fn survey(surveyor: &mut Surveyor, model: MemoryModel) -> Survey {
    surveyor.survey(&Plan::default(), model, &Limits::default())
}

/// The names of all outcomes, in order.
pub(crate) fn outcomes(survey: &Survey) -> Vec<String> {
    survey.outcomes.keys().map(ToString::to_string).collect()
}
