//! Compiles `src/core/engine/shim.c` against the headers of the very Unicorn that is linked.
//!
//! Unicorn's build script publishes its output folder as `DEP_UNICORN_ROOT`; the CMake cache in it names the source.

use std::path::{Path, PathBuf};
use std::{env, fs};

const SHIM: &str = "src/core/engine/shim.c";

fn main() {
    println!("cargo::rerun-if-changed={SHIM}");
    let root = PathBuf::from(env::var("DEP_UNICORN_ROOT").expect("unicorn-engine-sys publishes its output folder"));
    let build = root.join("build");
    let source = source_folder(&build.join("CMakeCache.txt"));
    let mut shim = cc::Build::new();
    shim.file(SHIM).define("NEED_CPU_H", None).opt_level(2).warnings(false);
    // The headers rename every QEMU symbol per target; the force-include does the same to ours.
    shim.flag("-include").flag("x86_64.h");
    for folder in [
        "include",
        "qemu",
        "qemu/include",
        "qemu/target/i386",
        "qemu/tcg",
        "qemu/tcg/i386",
        "qemu/accel/tcg",
        "glib_compat",
    ] {
        shim.include(source.join(folder));
    }
    shim.include(&build).include(build.join("x86_64-softmmu"));
    shim.compile("fencepost_shim");
}

/// The folder Unicorn was built from, as CMake noted it.
fn source_folder(cache: &Path) -> PathBuf {
    let text = fs::read_to_string(cache).expect("Unicorn's CMakeCache.txt is readable");
    let home = text.lines().find_map(|line| line.strip_prefix("CMAKE_HOME_DIRECTORY:INTERNAL="));
    PathBuf::from(home.expect("CMakeCache.txt names its source folder"))
}
