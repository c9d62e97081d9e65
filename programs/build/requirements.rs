//! What building Unicorn needs on the host, asked for before anything is built.
//!
//! Unicorn's own build script says the same with a backtrace, minutes later; this package is built first and has no
//! dependency, so this is where a person with a bare machine gets the plain sentence.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says what is missing and how to get it.
pub(crate) fn check() -> Result<(), String> {
    for variable in ["PATH", "CMAKE", "LIBCLANG_PATH", "LLVM_CONFIG_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let folders = library_folders();
    let needs = [
        ("cmake", has_cmake()),
        ("libclang", holds_libclang(&folders)),
        ("libclang's headers", holds_headers(&folders)),
    ];
    let missing: Vec<_> = needs.iter().filter_map(|&(what, there)| (!there).then_some(what)).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(complaint(&missing)),
    }
}

fn complaint(missing: &[&str]) -> String {
    format!(
        "not found: {}. The CPU emulator (Unicorn) needs the packages `cmake` and `libclang-dev`.\n\
         Run `bash .ci/setup` in the project's folder, which installs what is missing, and build again.\n\
         By hand: apt install cmake libclang-dev, dnf install cmake clang-devel, or brew install cmake llvm; \
         a libclang in an unusual folder is found through LIBCLANG_PATH.",
        missing.join(", ")
    )
}

fn has_cmake() -> bool {
    let cmake = env::var_os("CMAKE").unwrap_or_else(|| "cmake".into());
    stdout(Command::new(cmake).arg("--version")).is_some()
}

/// Whether one of these folders has `libclang.so`, `libclang-14.so.13`, `libclang.dylib` or the like.
pub(crate) fn holds_libclang(folders: &[PathBuf]) -> bool {
    let mut names = folders.iter().flat_map(|folder| children(folder)).filter_map(|path| name(&path));
    names.any(|name| is_libclang(&name))
}

/// Whether one of these folders has Clang's own `stdarg.h`, without which bindgen reads no C header; packages such as
/// `libclang1` bring the library alone.
pub(crate) fn holds_headers(folders: &[PathBuf]) -> bool {
    // Who has put libclang in a folder of his own has put its headers where it finds them.
    env::var_os("LIBCLANG_PATH").is_some()
        || stdout(Command::new("clang").arg("--version")).is_some()
        || folders
            .iter()
            .flat_map(|folder| children(&folder.join("clang")))
            .any(|version| version.join("include/stdarg.h").is_file())
}

/// Where bindgen will look: in LIBCLANG_PATH if that is set, else where llvm-config and the system's loader say and in
/// the usual places (clang-sys, build/common.rs).
fn library_folders() -> Vec<PathBuf> {
    if let Some(path) = env::var_os("LIBCLANG_PATH").map(PathBuf::from) {
        let folder = if path.is_file() { path.parent().map(Path::to_owned) } else { Some(path) };
        return folder.into_iter().collect();
    }
    let llvm_config = env::var_os("LLVM_CONFIG_PATH").unwrap_or_else(|| "llvm-config".into());
    let mut folders = usual_folders();
    folders.extend(stdout(Command::new(llvm_config).arg("--libdir")).map(|folder| PathBuf::from(folder.trim())));
    for ldconfig in ["ldconfig", "/sbin/ldconfig"] {
        let listing = stdout(Command::new(ldconfig).arg("-p")).unwrap_or_default();
        folders.extend(listing.lines().filter_map(folder_of_libclang));
    }
    folders
}

/// From a line of `ldconfig -p` such as `libclang.so.1 (libc6,x86-64) => /usr/lib/libclang.so.1`.
fn folder_of_libclang(line: &str) -> Option<PathBuf> {
    let (library, path) = line.split_once(" => ")?;
    let library = library.split_whitespace().next()?;
    is_libclang(library).then(|| Path::new(path).parent().map(Path::to_owned))?
}

fn usual_folders() -> Vec<PathBuf> {
    let fixed = [
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/local/lib64",
        "/usr/local/opt/llvm/lib",
        "/Library/Developer/CommandLineTools/usr/lib",
        "/Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib",
    ];
    let mut folders: Vec<PathBuf> = fixed.iter().map(PathBuf::from).collect();
    // One folder for each version of LLVM, and Debian's folder for the architecture.
    for parent in ["/usr/lib", "/usr/lib64", "/usr/lib/llvm", "/usr/local"] {
        for child in children(Path::new(parent)) {
            folders.extend([child.join("lib"), child.join("lib64"), child]);
        }
    }
    folders
}

/// Not `libclang-cpp.so`, which is another library.
fn is_libclang(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("libclang") else {
        return false;
    };
    let suffix =
        rest.strip_prefix('-').map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'));
    // The dot before `so` went with the version's dots.
    ["so", ".so", ".dylib"].iter().any(|kind| suffix == *kind || suffix.starts_with(&format!("{kind}.")))
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

fn name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// What the command prints; nothing if it fails or is not there.
fn stdout(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}
