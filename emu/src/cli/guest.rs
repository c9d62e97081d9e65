//! Which guest `NAME[/VARIANT]|FILE` means, and how one types it again.

use super::failure::{Failure, refuse};
use super::input_file::{self, LARGEST_CONTENT};
use clap::Args;
use fencepost::devices::parse_pcap;
use fencepost::loader::{Image, Protocol};
use fencepost::machine::Settings;
use fencepost::programs::{self, Program, Variant};
use fencepost::testbench::{BenchError, Testbench};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How a name is told from a file, for the verbs' help.
pub(super) const RULE: &str = "\
What is a name and what a file?
  A file is what begins with / or . or ends in .elf, .bin, .o, .out or .img,
  what --flat is said of, and what contains a / and is there.
  Anything else is a program of Fencepost's own if there is one of that name
  (with or without a variant after a /), and else a file.
  A file called `hello` is therefore `./hello`.";

/// The options that name a guest.
#[derive(Args, Clone, Debug)]
pub(super) struct GuestOptions {
    /// A program (`fencepost list`), with or without a variant after a /, or an executable file
    #[arg(value_name = "NAME[/VARIANT]|FILE")]
    target: String,

    /// The guest's command line; write -- before words that begin with -
    #[arg(value_name = "ARGS")]
    words: Vec<String>,

    /// The guest's command line as one text
    #[arg(long, value_name = "TEXT", conflicts_with = "words", allow_hyphen_values = true)]
    args: Option<String>,

    /// The file is raw 64-bit code, loaded and entered at 0x100000
    #[arg(long)]
    flat: bool,

    #[command(flatten)]
    extras: Extras,
}

/// What else is put into the machine before it is switched on.
#[derive(Args, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Extras {
    /// A disk's content, the first on the primary channel, up to 1 GiB; may be given twice. A boot sector's own disk is the
    /// first
    #[arg(long = "disk", value_name = "FILE")]
    pub(super) disks: Vec<PathBuf>,

    /// A module for a Multiboot or PVH kernel, with the words that it is told about it; may be given several times
    #[arg(long = "module", value_name = "FILE[ WORDS]")]
    pub(super) modules: Vec<String>,

    /// A capture (pcap) whose frames come to the network card, at their times after the first; otherwise what the card sends
    /// comes back to it
    #[arg(long, value_name = "FILE")]
    pub(super) frames: Option<PathBuf>,
}

impl Extras {
    fn is_empty(&self) -> bool {
        self.disks.is_empty() && self.modules.is_empty() && self.frames.is_none()
    }

    /// `image` with all of it.
    fn put_into(&self, mut image: Image) -> Result<Image, Failure> {
        for path in &self.disks {
            let disk = input_file::read(path, LARGEST_CONTENT)?;
            if disk.is_empty() {
                return refuse(format!(
                    "the disk `{}` is empty; a disk has a sector of 512 bytes or more",
                    path.display()
                ));
            }
            image = image.with_disk(disk);
        }
        for module in &self.modules {
            image = image.with_module(module, input_file::read(module_file(module), LARGEST_CONTENT)?);
        }
        if let Some(path) = &self.frames {
            let frames = parse_pcap(&input_file::read(path, LARGEST_CONTENT)?);
            let frames = frames.or_else(|error| refuse(format!("cannot use `{}`: {error}", path.display())))?;
            image = image.with_frames(frames);
        }
        Ok(image)
    }

    /// The files that are read.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let modules = self.modules.iter().map(|module| module_file(module));
        self.disks.iter().map(PathBuf::as_path).chain(modules).chain(self.frames.as_deref())
    }

    /// How one types it.
    fn words(&self) -> String {
        let disks = self.disks.iter().map(|path| format!(" --disk {}", quoted_path(path)));
        let frames = self.frames.iter().map(|path| format!(" --frames {}", quoted_path(path)));
        disks.chain(self.modules.iter().map(|module| format!(" --module {}", quoted(module)))).chain(frames).collect()
    }
}

/// The file of a module, of which the words after a blank are told.
fn module_file(module: &str) -> &Path {
    Path::new(module.split(' ').next().unwrap_or(module))
}

impl GuestOptions {
    /// What is named; `variant` is what `--variant` says.
    pub(super) fn target(&self, variant: Option<&str>) -> Result<Target, Failure> {
        match Target::find(&self.target, variant, self.flat)? {
            Target::Elf(path, _) => Ok(Target::Elf(path, self.extras.clone())),
            other if self.extras.is_empty() => Ok(other),
            Target::Program(..) | Target::Flat(_) => {
                refuse("--disk, --module and --frames are for kernels and boot sectors in files; leave them out")
            }
        }
    }

    /// The files that the disks of `image` are read from, in order: a boot sector's own is the first.
    pub(super) fn disk_files(&self, image: &Image) -> Vec<PathBuf> {
        let own = (image.protocol() == Protocol::BootSector).then(|| PathBuf::from(&self.target));
        own.into_iter().chain(self.extras.disks.iter().cloned()).collect()
    }

    /// What the guest is told, if anything is said about it.
    pub(super) fn command_line(&self) -> Option<String> {
        self.args.clone().or_else(|| (!self.words.is_empty()).then(|| self.words.join(" ")))
    }

    /// The name or file as it was typed.
    pub(super) fn name(&self) -> &str {
        &self.target
    }
}

/// Endings that say that a file is meant.
const FILE_ENDINGS: [&str; 5] = ["elf", "bin", "o", "out", "img"];

/// What a command line names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// A program of Fencepost's own.
    Program(&'static Program, Option<&'static Variant>),
    /// A file that says itself how it is started, and what goes with it.
    Elf(PathBuf, Extras),
    /// Raw code.
    Flat(PathBuf),
}

/// What a report is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Subject {
    program: Option<&'static str>,
    variant: Option<&'static str>,
    file: Option<String>,
}

impl Target {
    /// What `text` names, by [`RULE`]; `variant` is what `--variant` says.
    pub(super) fn find(text: &str, variant: Option<&str>, is_flat: bool) -> Result<Target, Failure> {
        let path = Path::new(text);
        let is_file = is_flat || looks_like_path(text) || text.contains('/') && path.is_file();
        let program_name = text.split('/').next().unwrap_or(text);
        if !is_file && programs::find(program_name).is_some() {
            return find_program(text, variant);
        }
        if let Some(variant) = variant {
            return refuse(format!(
                "`{text}` is not a program of Fencepost's own and has no variant `{variant}`; leave --variant out"
            ));
        }
        match (is_flat, is_file || path.exists()) {
            (true, _) => Ok(Target::Flat(path.to_owned())),
            (false, true) => Ok(Target::Elf(path.to_owned(), Extras::default())),
            (false, false) => refuse(unknown(text, program_name)),
        }
    }

    /// The image it names.
    pub(super) fn image(&self) -> Result<Image, Failure> {
        Ok(match self {
            Target::Program(program, _) => Image::from_elf(program.name, program.image.to_vec())?,
            Target::Elf(path, extras) => extras.put_into(Image::open(path)?)?,
            Target::Flat(path) => Image::open_flat(path)?,
        })
    }

    /// A testbench for it, with `command_line` if there is one, else the variant's.
    pub(super) fn bench(&self, command_line: Option<String>) -> Result<Testbench, Failure> {
        let bench = Testbench::image(self.image()?);
        Ok(match self {
            Target::Program(program, variant) => {
                let variant = variant.or(program.variants.first()).map_or("", |variant| variant.name);
                bench.cores(program.cores as u8).args(command_line.unwrap_or_else(|| variant.to_owned()))
            }
            Target::Elf(..) | Target::Flat(_) => bench.args(command_line.unwrap_or_default()),
        })
    }

    /// The command line that naming a variant says.
    pub(super) fn said(&self) -> Option<&'static str> {
        match self {
            Target::Program(_, variant) => variant.map(|variant| variant.name),
            Target::Elf(..) | Target::Flat(_) => None,
        }
    }

    /// The program's variant that a guest with `command_line` is: a program's command line is its variant's name.
    pub(super) fn variant(&self, command_line: &str) -> Option<&'static Variant> {
        match self {
            Target::Program(program, _) => program.variant(command_line),
            Target::Elf(..) | Target::Flat(_) => None,
        }
    }

    /// What a report says it is about; `variant` is the one that the guest is.
    pub(super) fn subject(&self, variant: Option<&'static Variant>) -> Subject {
        Subject {
            program: match self {
                Target::Program(program, _) => Some(program.name),
                Target::Elf(..) | Target::Flat(_) => None,
            },
            variant: variant.map(|variant| variant.name),
            file: self.file().map(|path| path.display().to_string()),
        }
    }

    /// The file it is read from.
    fn file(&self) -> Option<&Path> {
        match self {
            Target::Program(..) => None,
            Target::Elf(path, _) | Target::Flat(path) => Some(path),
        }
    }

    /// All files that it is read from, with what goes with it.
    pub(super) fn files(&self) -> Vec<&Path> {
        match self {
            Target::Program(..) => Vec::new(),
            Target::Elf(path, extras) => std::iter::once(path.as_path()).chain(extras.files()).collect(),
            Target::Flat(path) => vec![path],
        }
    }

    /// How one types it: the words after `fencepost run`.
    pub(super) fn words(&self, command_line: &str) -> String {
        let args = |words: String| match command_line {
            "" => words,
            _ => format!("{words} --args {}", quoted(command_line)),
        };
        match self {
            Target::Program(program, _) => match program.variant(command_line) {
                Some(variant) => format!("{}/{}", program.name, variant.name),
                None => args(program.name.to_owned()),
            },
            Target::Elf(path, extras) => args(quoted_path(path) + &extras.words()),
            Target::Flat(path) => args(format!("{} --flat", quoted_path(path))),
        }
    }

    /// The command line that runs it with `settings`, apart from the seed: only what is not the default is said.
    pub(super) fn command(&self, settings: &Settings) -> String {
        let default = Settings::default();
        let cores = match self {
            Target::Program(program, _) => u64::from(program.cores),
            Target::Elf(..) | Target::Flat(_) => u64::from(default.cores),
        };
        let mut command = format!("fencepost run {} --model {}", self.words(&settings.command_line), settings.model);
        let numbers = [
            ("cores", u64::from(settings.cores), cores),
            ("depth", settings.depth as u64, default.depth as u64),
            ("wc-depth", settings.wc_depth as u64, default.wc_depth as u64),
            ("ram", settings.ram_bytes, default.ram_bytes),
        ];
        if settings.processor != default.processor {
            command += &format!(" --processor {}", settings.processor);
        }
        for (flag, value, usual) in numbers {
            if value != usual {
                command += &format!(" --{flag} {value}");
            }
        }
        command
    }
}

/// The program and, where one is named, the variant.
fn find_program(text: &str, variant: Option<&str>) -> Result<Target, Failure> {
    let (name, in_name) = match text.split_once('/') {
        Some((name, variant)) => (name, Some(variant)),
        None => (text, None),
    };
    if let (Some(in_name), Some(variant)) = (in_name, variant)
        && in_name != variant
    {
        return refuse(format!("`{text}` and --variant {variant} name two variants; leave one of them out"));
    }
    let Some(variant) = in_name.or(variant) else {
        let program = programs::find(name).expect("the caller has found it");
        return Ok(Target::Program(program, None));
    };
    let bench = Testbench::program(&format!("{name}/{variant}"))?;
    let (program, variant) = bench.known_program().expect("the bench is made from a program");
    Ok(Target::Program(program, Some(variant)))
}

fn looks_like_path(text: &str) -> bool {
    let ending = Path::new(text).extension().and_then(std::ffi::OsStr::to_str);
    text.starts_with(['/', '.']) || ending.is_some_and(|ending| FILE_ENDINGS.contains(&ending))
}

/// What to say when `text` is nothing.
fn unknown(text: &str, program_name: &str) -> String {
    match Testbench::program(program_name) {
        Err(error @ BenchError::Unknown { has_near: true, .. }) => error.to_string(),
        Ok(_) | Err(_) => {
            format!("there is no program and no file `{text}`; `fencepost list` names the programs there are")
        }
    }
}

/// `text` as a shell takes it for one word.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// `path` as a shell takes it for one word, and a command line for no option.
pub(super) fn quoted_path(path: &Path) -> String {
    let text = path.display().to_string();
    let is_like_an_option = text.starts_with('-');
    quoted(&if is_like_an_option { format!("./{text}") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_program_and_a_path_is_a_file() {
        let is_program = |text: &str| matches!(Target::find(text, None, false), Ok(Target::Program(..)));
        let is_file = |text: &str| matches!(Target::find(text, None, false), Ok(Target::Elf(..)));
        assert!(is_program("hello") && is_program("store-buffering/mfence"));
        assert!(is_file("./hello") && is_file("hello.elf") && is_file("/hello"));
        assert!(is_file("src/lib.rs"), "it is there: tests run in the package's folder");
    }

    #[test]
    fn a_quoted_word_is_one_word_for_the_shell() {
        assert_eq!(quoted("a/b-c.elf"), "a/b-c.elf");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
