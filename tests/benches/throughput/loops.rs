//! The three loops: few stores, many stores, a lock now and then.

use fencepost::loader::{FLAT_BASE, Image};
use iced_x86::code_asm::*;

/// A guest loop whose body is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loop {
    /// One store in seven instructions.
    FewStores,
    /// Three stores in eight instructions.
    ManyStores,
    /// A `lock add` about every fifty instructions.
    Locks,
}

/// Where core `index` keeps its data: a page of plain data of its own.
pub(crate) fn data_of(index: u64) -> u64 {
    0x20_0000 + (index << 12)
}

impl Loop {
    pub(crate) const ALL: [Loop; 3] = [Loop::FewStores, Loop::ManyStores, Loop::Locks];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Loop::FewStores => "few-stores",
            Loop::ManyStores => "many-stores",
            Loop::Locks => "locks",
        }
    }

    /// Instructions in one round.
    pub(crate) fn instructions(self) -> u64 {
        match self {
            Loop::FewStores => 7,
            Loop::ManyStores => 8,
            Loop::Locks => 52,
        }
    }

    /// Where the loop begins, after its set-up.
    pub(crate) fn start(self) -> u64 {
        FLAT_BASE + SET_UP_BYTES
    }

    pub(crate) fn image(self) -> Image {
        Image::from_flat(self.name(), self.code().expect("the loop assembles"))
    }

    fn code(self) -> Result<Vec<u8>, IcedError> {
        let mut a = CodeAssembler::new(64)?;
        a.mov(rbx, rdi)?;
        a.shl(rbx, 12)?;
        a.add(rbx, 0x20_0000)?;
        a.mov(rcx, -1i64 as u64)?;
        let set_up = a.assemble(FLAT_BASE)?.len() as u64;
        assert_eq!(set_up, SET_UP_BYTES, "the set-up code has the length that `start` says");
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        match self {
            Loop::FewStores => few_stores(&mut a)?,
            Loop::ManyStores => many_stores(&mut a)?,
            Loop::Locks => locks(&mut a)?,
        }
        a.dec(rcx)?;
        a.jne(again)?;
        a.hlt()?;
        a.assemble(FLAT_BASE)
    }
}

const SET_UP_BYTES: u64 = 24;

fn few_stores(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rax, qword_ptr(rbx + 8))?;
    a.add(rax, rcx)?;
    a.xor(rdx, rax)?;
    a.mov(qword_ptr(rbx), rax)?;
    a.lea(rsi, qword_ptr(rdx + 3))
}

fn many_stores(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(qword_ptr(rbx), rax)?;
    a.add(rax, 3)?;
    a.mov(qword_ptr(rbx + 8), rcx)?;
    a.mov(rdx, qword_ptr(rbx))?;
    a.mov(dword_ptr(rbx + 16), edx)?;
    a.xor(rax, rdx)
}

fn locks(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.lock().add(qword_ptr(rbx), 1)?;
    for round in 0..7 {
        a.mov(rax, qword_ptr(rbx + 8 * round))?;
        a.add(rax, rcx)?;
        a.xor(rdx, rax)?;
        a.rol(rdx, 5)?;
        a.lea(rsi, qword_ptr(rdx + rax))?;
        a.sub(rsi, rcx)?;
        a.mov(qword_ptr(rbx + 128 + 8 * round), rsi)?;
    }
    Ok(())
}
