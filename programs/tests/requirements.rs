//! What the build asks of the host: that libclang is recognised, and nothing else is taken for it.

#[allow(dead_code)]
#[path = "../build/requirements.rs"]
mod requirements;

use std::fs;
use std::path::{Path, PathBuf};

/// A folder with one file in it.
fn folder_with(file: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("with-{file}"));
    fs::create_dir_all(&folder).expect("the folder for tests is writable");
    fs::write(folder.join(file), "").expect("the folder for tests is writable");
    vec![folder]
}

#[test]
fn libclang_is_known_by_each_of_its_names() {
    for name in
        ["libclang.so", "libclang.so.1", "libclang-14.so", "libclang-14.so.13", "libclang-14.0.6.so", "libclang.dylib"]
    {
        assert!(requirements::holds_libclang(&folder_with(name)), "{name}");
    }
}

#[test]
fn other_libraries_are_not_taken_for_libclang() {
    for name in ["libclang-cpp.so.14", "libclang-cpp.so", "libclang.a", "libclang", "libclangAST.so", "libllvm.so"] {
        assert!(!requirements::holds_libclang(&folder_with(name)), "{name}");
    }
}

#[test]
fn a_folder_that_is_not_there_holds_nothing() {
    assert!(!requirements::holds_libclang(&[PathBuf::from("/no/such/folder")]));
}
