//! The symbols that the compiler and the precompiled `core` expect to find.
//!
//! The memory functions are assembly because a loop in Rust would be compiled into a call of the very function.
//! `x86_64-unknown-none` brings its own.
#![cfg(not(target_os = "none"))]

use core::arch::{global_asm, naked_asm};

#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    naked_asm!("mov rax, rdi", "mov rcx, rdx", "rep movsb", "ret")
}

/// Copies backwards if the end of `from` would otherwise be overwritten before it is read.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "mov rcx, rdx",
        "sub rdi, rsi",
        "cmp rdi, rdx",
        "mov rdi, rax",
        "jb 2f",
        "rep movsb",
        "ret",
        "2: lea rdi, [rdi + rdx - 1]",
        "lea rsi, [rsi + rdx - 1]",
        "std",
        "rep movsb",
        "cld",
        "ret",
    )
}

#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    naked_asm!("mov r8, rdi", "mov eax, esi", "mov rcx, rdx", "rep stosb", "mov rax, r8", "ret")
}

#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    naked_asm!(
        "xor eax, eax",
        "mov rcx, rdx",
        // With a length of zero nothing is compared: equal.
        "cmp rcx, rcx",
        "repe cmpsb",
        "je 2f",
        "movzx eax, byte ptr [rdi - 1]",
        "movzx ecx, byte ptr [rsi - 1]",
        "sub eax, ecx",
        "neg eax",
        "2: ret",
    )
}

#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    naked_asm!("jmp memcmp")
}

// Named by the precompiled libraries for unwinding, which never happens here.
global_asm!(".globl rust_eh_personality", "rust_eh_personality:", ".globl _Unwind_Resume", "_Unwind_Resume:", "ud2");
