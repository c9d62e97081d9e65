//! The examples in C and for nasm: there only on a host that has the compiler or the assembler.

use crate::Built;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A language whose programs are built if its tool is there.
struct Language {
    folder: &'static str,
    extension: &'static str,
    tool: &'static str,
    flags: &'static [&'static str],
}

const LANGUAGES: [Language; 2] = [
    Language {
        folder: "c",
        extension: "c",
        tool: "gcc",
        flags: &[
            "-c",
            "-O2",
            "-g1",
            "-ffreestanding",
            "-fno-pic",
            "-fno-pie",
            "-fno-stack-protector",
            "-fcf-protection=none",
            "-fno-asynchronous-unwind-tables",
            "-mno-red-zone",
            "-fno-omit-frame-pointer",
        ],
    },
    Language {
        folder: "asm",
        extension: "asm",
        tool: "nasm",
        // Without line numbers: nasm notes the checkout's path with them, and the image would differ from host to host.
        flags: &["-f", "elf64"],
    },
];

/// Builds what this host can; what it cannot is left out with a warning.
pub(crate) fn build(package: &Path, out: &Path) -> Result<Vec<Built>, String> {
    let mut built = Vec::new();
    for language in &LANGUAGES {
        for (stem, source) in crate::sources(&package.join(language.folder), language.extension)? {
            match image(language, package, out, &stem, &source) {
                Ok(image) => built.push(Built {
                    name: format!("{stem}-{}", language.folder),
                    source: format!("{}/{stem}.{}", language.folder, language.extension),
                    image,
                }),
                Err(reason) => println!("cargo::warning={stem}-{} is left out: {reason}", language.folder),
            }
        }
    }
    Ok(built)
}

fn image(language: &Language, package: &Path, out: &Path, stem: &str, source: &Path) -> Result<PathBuf, String> {
    let object = out.join(format!("{stem}-{}.o", language.folder));
    let image = out.join(format!("{stem}-{}", language.folder));
    let mut compiler = Command::new(language.tool);
    compiler.current_dir(package).args(language.flags);
    if language.extension == "c" {
        // File names that are right in the project's root and the same in every checkout.
        compiler.arg(format!("-ffile-prefix-map={}=programs", package.display()));
    }
    run(compiler.arg("-o").arg(&object).arg(source.strip_prefix(package).unwrap_or(source)))?;
    run(Command::new("ld")
        .args(["-static", "-nostdlib", "--build-id=none", "-z", "max-page-size=4096", "-z", "noexecstack", "-T"])
        .arg(package.join("guest/guest.ld"))
        .arg("-o")
        .arg(&image)
        .arg(&object))?;
    Ok(image)
}

fn run(command: &mut Command) -> Result<(), String> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run {tool}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{tool}: {}", String::from_utf8_lossy(&output.stderr).replace('\n', "; "))),
    }
}
