//! The guest's code, for 16, 32 or 64 bits: handlers, then gadgets in a row, and jumps among them.

use super::tables;
use crate::guest::{apic, store};
use crate::random::Random;
use iced_x86::code_asm::*;
use iced_x86::{BlockEncoderOptions, IcedError};

/// A page that only gadgets use.
const PLAIN: u64 = 0x18_0000;
/// The same for real mode.
const PLAIN_REAL: u64 = 0x6000;
/// Where restarted cores put their stacks.
const STACK: u64 = 0x18_3f00;
const STACK_REAL: u32 = 0x5f00;

/// Addresses of handlers.
pub(super) struct Entries {
    /// They forget what was interrupted and go on with some gadget.
    pub(super) restarts: Vec<u64>,
    /// They end the interrupt and return.
    pub(super) acknowledges: Vec<u64>,
    /// They do something else.
    pub(super) others: Vec<u64>,
}

struct Writer<'a> {
    a: CodeAssembler,
    labels: Vec<CodeLabel>,
    random: &'a mut Random,
    bits: u32,
}

type Gadget<'a> = fn(&mut Writer<'a>) -> Result<(), IcedError>;

/// The code of a guest of `bits` at `base`, entered at its first byte, and where its handlers are.
pub(super) fn code(bits: u32, base: u64, random: &mut Random) -> (Vec<u8>, Entries) {
    let count = 8 + random.index(80);
    let mut a = CodeAssembler::new(bits).expect("x86 has such code");
    let labels = (0..count).map(|_| a.create_label()).collect();
    let mut writer = Writer { a, labels, random, bits };
    writer.write(base).expect("gadgets are made of instructions that exist")
}

impl<'a> Writer<'a> {
    fn write(&mut self, base: u64) -> Result<(Vec<u8>, Entries), IcedError> {
        let mut start = self.a.create_label();
        self.a.jmp(start)?;
        let restarts: [CodeLabel; 3] = self.handlers([Self::restart; 3])?;
        let acknowledges =
            self.handlers([Self::acknowledge, Self::acknowledge, Self::acknowledge_nested, Self::acknowledge_all])?;
        let others = self.handlers([Self::iret, Self::iret_past_error, Self::halt_and_iret, Self::ring, Self::nop])?;
        self.a.set_label(&mut start)?;
        self.start()?;
        self.gadgets()?;
        let result = self.a.assemble_options(base, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS)?;
        let addresses = |labels: &[CodeLabel]| {
            labels.iter().map(|label| result.label_ip(label).expect("it has been set")).collect::<Vec<u64>>()
        };
        let entries = Entries {
            restarts: addresses(&restarts),
            acknowledges: addresses(&acknowledges),
            others: addresses(&others),
        };
        Ok((result.inner.code_buffer, entries))
    }

    fn handlers<const N: usize>(&mut self, bodies: [Gadget<'a>; N]) -> Result<[CodeLabel; N], IcedError> {
        let mut labels = [(); N].map(|()| self.a.create_label());
        for (label, body) in labels.iter_mut().zip(bodies) {
            self.a.set_label(label)?;
            body(self)?;
        }
        Ok(labels)
    }

    fn gadgets(&mut self) -> Result<(), IcedError> {
        /// What a guest is made of, and how often.
        type Weighted<'a> = (u64, Gadget<'a>);
        let gadgets: [Weighted<'a>; 18] = [
            (8, Self::apic_register),
            (6, Self::message),
            (4, Self::io_apic),
            (8, Self::port),
            (8, Self::flags),
            (6, Self::halt),
            (5, Self::software_interrupt),
            (4, Self::exception),
            (6, Self::memory),
            (4, Self::spin),
            (4, Self::branch),
            (2, Self::shadow),
            (2, Self::return_somewhere),
            (2, Self::page_tables),
            (3, Self::page_entry),
            (1, Self::far_transfer),
            (1, Self::control_register),
            (1, Self::segment),
        ];
        let total = gadgets.iter().map(|(weight, _)| weight).sum();
        for index in 0..self.labels.len() {
            self.a.set_label(&mut self.labels[index])?;
            let mut at = self.random.below(total);
            let chosen = gadgets.iter().find(|(weight, _)| {
                let is_it = at < *weight;
                at = at.wrapping_sub(*weight);
                is_it
            });
            chosen.expect("the weights add up").1(self)?;
        }
        let back = self.label();
        self.a.jmp(back)
    }

    /// Tables are loaded, real mode's code is where it starts, and most interrupt controllers are on.
    fn start(&mut self) -> Result<(), IcedError> {
        if self.bits == 16 {
            return self.restart();
        }
        let mut is_other = self.a.create_label();
        self.a.lidt(ptr(tables::IDT_POINTER))?;
        self.a.lgdt(ptr(tables::GDT_POINTER))?;
        self.a.cmp(edi, 0)?;
        self.a.jne(is_other)?;
        for (from, to, bytes) in
            [(tables::REAL_MODE, tables::START_PAGE << 12, 0x1000u32), (tables::REAL_MODE_VECTORS, 0, 0x400)]
        {
            self.a.mov(esi, from as u32)?;
            self.a.mov(edi, to as u32)?;
            self.a.mov(ecx, bytes)?;
            self.a.rep().movsb()?;
        }
        self.a.mov(eax, 0x38)?;
        self.a.ltr(ax)?;
        self.a.set_label(&mut is_other)?;
        store(&mut self.a, apic::SVR, apic::ENABLED)?;
        if self.bits == 32 {
            let is_global = self.random.pick(&[0, 0x80]);
            self.a.mov(eax, 0x610 | is_global)?;
            self.a.mov(cr4, eax)?;
        }
        if self.random.one_in(2) {
            self.timer()?;
        }
        if self.random.one_in(2) {
            self.pit_and_pic()?;
        }
        self.page_tables()?;
        self.a.sti()
    }

    fn timer(&mut self) -> Result<(), IcedError> {
        let vector = self.vector();
        store(&mut self.a, apic::TIMER_DIVIDE, self.random.pick(&[0b1011, 0, 1]))?;
        store(&mut self.a, apic::LVT_TIMER, vector | self.random.pick(&[0, apic::PERIODIC]))?;
        store(&mut self.a, apic::TIMER_INITIAL, 20 + self.random.below(400) as u32)
    }

    fn pit_and_pic(&mut self) -> Result<(), IcedError> {
        let mask = if self.random.one_in(2) { 0 } else { self.random.next() as u8 };
        let writes =
            [(0x20, 0x11), (0x21, 0x40), (0x21, 4), (0x21, 1), (0x21, mask), (0x43, 0x34), (0x40, 3), (0x40, 0)];
        writes.into_iter().try_for_each(|(port, value)| self.out(port, value))
    }

    fn out(&mut self, port: u16, value: u8) -> Result<(), IcedError> {
        self.a.mov(edx, u32::from(port))?;
        self.a.mov(eax, u32::from(value))?;
        self.a.out(dx, al)
    }

    fn label(&mut self) -> CodeLabel {
        self.random.pick(&self.labels)
    }

    fn vector(&mut self) -> u32 {
        if self.random.one_in(8) { self.random.below(256) as u32 } else { 0x20 + self.random.below(0x40) as u32 }
    }

    fn push_eax(&mut self) -> Result<(), IcedError> {
        if self.bits == 64 { self.a.push(rax) } else { self.a.push(eax) }
    }

    fn pop_eax(&mut self) -> Result<(), IcedError> {
        if self.bits == 64 { self.a.pop(rax) } else { self.a.pop(eax) }
    }

    // Handlers.

    /// A stack and segments that can be used, and on with some gadget.
    fn restart(&mut self) -> Result<(), IcedError> {
        let data = if self.bits == 16 { 0u32 } else { 0x10 };
        self.a.mov(eax, data)?;
        self.a.mov(ds, eax)?;
        self.a.mov(es, eax)?;
        self.a.mov(ss, eax)?;
        if self.bits == 16 {
            self.a.mov(esp, STACK_REAL)?
        } else {
            self.a.mov(esp, STACK as u32)?
        }
        if self.random.one_in(2) {
            self.a.sti()?;
        }
        let to = self.label();
        self.a.jmp(to)
    }

    fn iret(&mut self) -> Result<(), IcedError> {
        match self.bits {
            16 => self.a.iret(),
            32 => self.a.iretd(),
            _ => self.a.iretq(),
        }
    }

    fn end_of_interrupt(&mut self) -> Result<(), IcedError> {
        if self.bits == 16 { self.out(0x20, 0x20) } else { store(&mut self.a, apic::EOI, 0) }
    }

    fn acknowledge(&mut self) -> Result<(), IcedError> {
        self.push_eax()?;
        self.end_of_interrupt()?;
        self.pop_eax()?;
        self.iret()
    }

    fn acknowledge_nested(&mut self) -> Result<(), IcedError> {
        self.a.sti()?;
        self.acknowledge()
    }

    fn acknowledge_all(&mut self) -> Result<(), IcedError> {
        self.push_eax()?;
        self.end_of_interrupt()?;
        self.out(0x20, 0x20)?;
        self.out(0xa0, 0x20)?;
        self.a.in_(al, 0x60)?;
        self.out(0x70, 0x0c)?;
        self.a.in_(al, 0x71)?;
        self.pop_eax()?;
        self.iret()
    }

    fn iret_past_error(&mut self) -> Result<(), IcedError> {
        self.pop_eax()?;
        self.iret()
    }

    fn halt_and_iret(&mut self) -> Result<(), IcedError> {
        self.a.hlt()?;
        self.iret()
    }

    fn ring(&mut self) -> Result<(), IcedError> {
        self.message()?;
        self.iret()
    }

    fn nop(&mut self) -> Result<(), IcedError> {
        self.a.nop()
    }

    // Gadgets.

    fn apic_register(&mut self) -> Result<(), IcedError> {
        let usual = [0x80, 0xb0, 0xf0, 0xd0, 0xe0, 0x320, 0x350, 0x360, 0x370, 0x380, 0x3e0, 0x280];
        let offset = if self.random.one_in(3) { 0x10 * self.random.below(0x40) } else { self.random.pick(&usual) };
        match self.random.below(4) {
            0 => {
                self.a.mov(eax, (apic::BASE + offset) as u32)?;
                self.a.mov(ebx, dword_ptr(eax))
            }
            1 => self.timer(),
            2 => {
                let value = self.vector() | self.random.pick(&[0, 0x100, 0x400, 0x700, 1 << 15, 1 << 16, 1 << 17]);
                store(&mut self.a, apic::BASE + offset, value)
            }
            _ => {
                let value = self.random.magnitude() as u32;
                store(&mut self.a, apic::BASE + offset, value)
            }
        }
    }

    /// A message to oneself, another core, or many: an interrupt, NMI, INIT, start-up.
    fn message(&mut self) -> Result<(), IcedError> {
        if self.random.one_in(2) {
            let to = self.random.below(4) as u32;
            store(&mut self.a, apic::ICR_HIGH, to << 24)?;
        }
        let vector = self.vector();
        let what = match self.random.below(12) {
            0 => apic::NMI,
            1 => apic::INIT,
            2 | 3 => apic::START_UP | tables::START_PAGE as u32,
            4 => 1 << 8 | vector,
            5 => (self.random.below(8) as u32) << 8 | vector,
            _ => vector,
        };
        let to = self.random.pick(&[0, apic::TO_SELF, 2 << 18, apic::TO_OTHERS, apic::TO_OTHERS, 1 << 11]);
        store(&mut self.a, apic::ICR_LOW, what | to | apic::ASSERT)
    }

    fn io_apic(&mut self) -> Result<(), IcedError> {
        let pin = self.random.pick(&[0, 1, 2, 2, 4, 8, 14, 23]);
        let vector = self.vector();
        let low = vector | (self.random.next() as u32 & self.random.pick(&[0, 0, 0x8000, 0x1_a700]));
        let high = (self.random.below(4) as u32) << 24;
        for (index, value) in [(2 * pin + 1, high), (2 * pin, low)] {
            store(&mut self.a, apic::IO_SELECT, apic::IO_REDIRECTION + index)?;
            store(&mut self.a, apic::IO_WINDOW, value)?;
        }
        self.a.mov(eax, apic::IO_WINDOW as u32)?;
        self.a.mov(ebx, dword_ptr(eax))
    }

    fn port(&mut self) -> Result<(), IcedError> {
        let usual: [(u16, u8); 28] = [
            (0x20, 0x11),
            (0x20, 0x20),
            (0x20, 0x0b),
            (0x20, 0x68),
            (0x21, 0),
            (0x21, 0xff),
            (0x21, 0x50),
            (0xa0, 0x20),
            (0xa1, 0),
            (0x40, 3),
            (0x40, 0),
            (0x43, 0x34),
            (0x43, 0x30),
            (0x43, 0xc2),
            (0x42, 9),
            (0x61, 1),
            (0x70, 0x0b),
            (0x71, 0x42),
            (0x70, 0x0a),
            (0x71, 0x26),
            (0x60, 0xff),
            (0x60, 0xf4),
            (0x64, 0x60),
            (0x64, 0xd2),
            (0x4d0, 0xff),
            (0x3f9, 0xf),
            (0x2000, 1),
            (0xe0, 1),
        ];
        let (port, value) = self.random.pick(&usual);
        match self.random.below(8) {
            0 => {
                self.a.mov(edx, u32::from(port))?;
                self.a.in_(al, dx)
            }
            1 => self.pit_and_pic(),
            2 => {
                let line = self.random.below(16) as u16;
                let level = self.random.pick(&[0, 1]);
                self.out(0x2000 + line, level)
            }
            3 => {
                let value = self.random.next() as u8;
                self.out(port, value)
            }
            _ => self.out(port, value),
        }
    }

    fn flags(&mut self) -> Result<(), IcedError> {
        match self.random.below(6) {
            0 => self.a.cli(),
            1 => {
                // Any flags: single step, nested task, I/O level, direction, interrupts.
                let any = (self.random.next() & 0x7fd7) as u32 | self.random.pick(&[0, 0x200]);
                self.a.mov(eax, any)?;
                self.push_eax()?;
                if self.bits == 64 { self.a.popfq() } else { self.a.popfd() }
            }
            _ => self.a.sti(),
        }
    }

    fn halt(&mut self) -> Result<(), IcedError> {
        if !self.random.one_in(6) {
            self.a.sti()?;
        }
        self.a.hlt()
    }

    fn software_interrupt(&mut self) -> Result<(), IcedError> {
        let vector = self.vector();
        match self.random.below(8) {
            0 => self.a.int3(),
            1 => self.a.int1(),
            2 if self.bits != 64 => self.a.db(&[0xce]),
            _ => self.a.int(vector as i32),
        }
    }

    fn exception(&mut self) -> Result<(), IcedError> {
        match self.random.below(6) {
            0 => self.a.ud2(),
            1 => {
                self.a.xor(ecx, ecx)?;
                self.a.div(ecx)
            }
            2 => {
                let place = self.random.limit() as u32;
                self.a.mov(eax, place)?;
                self.a.mov(ebx, dword_ptr(eax))
            }
            3 => {
                let place = self.random.limit() as u32;
                self.a.mov(esp, place)?;
                self.push_eax()
            }
            4 => {
                self.a.mov(ecx, self.random.pick(&[0x1bu32, 0x1234, 0xc000_0080]))?;
                self.a.rdmsr()
            }
            _ => self.a.fnop(),
        }
    }

    fn place(&mut self) -> u64 {
        let page = if self.bits == 16 { PLAIN_REAL } else { PLAIN };
        page + self.random.below(0x400)
    }

    fn memory(&mut self) -> Result<(), IcedError> {
        let at = self.place();
        match self.random.below(7) {
            0 => self.a.mov(ebx, dword_ptr(at)),
            1 => self.a.add(dword_ptr(at), 1),
            2 => self.a.lock().add(dword_ptr(at), ebx),
            3 => {
                self.a.mov(edi, at as u32)?;
                self.a.mov(ecx, self.random.below(20) as u32)?;
                self.a.rep().stosb()
            }
            4 => {
                self.a.mov(edi, at as u32)?;
                self.a.mov(ecx, 3)?;
                self.a.mov(edx, self.random.pick(&[0x60u32, 0x40, 0x71]))?;
                self.a.rep().insb()
            }
            _ => self.a.mov(dword_ptr(at), ebx),
        }
    }

    /// A loop of some rounds: time for an interrupt.
    fn spin(&mut self) -> Result<(), IcedError> {
        let mut again = self.a.create_label();
        self.a.mov(ebx, 1 + self.random.below(120) as u32)?;
        self.a.set_label(&mut again)?;
        if self.random.one_in(3) {
            self.a.pause()?;
        }
        self.a.dec(ebx)?;
        self.a.jnz(again)
    }

    fn branch(&mut self) -> Result<(), IcedError> {
        let to = self.label();
        match self.random.below(3) {
            0 => self.a.jmp(to),
            1 => self.a.jz(to),
            _ => self.a.call(to),
        }
    }

    /// Instructions after which no interrupt comes at once.
    fn shadow(&mut self) -> Result<(), IcedError> {
        let data = if self.bits == 16 { 0u32 } else { 0x10 };
        self.a.mov(eax, data)?;
        self.a.sti()?;
        self.a.mov(ss, eax)?;
        self.a.cli()
    }

    /// IRET to some gadget, mostly in the same segments, with any flags.
    fn return_somewhere(&mut self) -> Result<(), IcedError> {
        if self.bits == 16 {
            return self.iret();
        }
        let is_user = self.random.one_in(3);
        let (code, stack) = match (is_user, self.bits) {
            (false, 64) => (8u32, 0x10u32),
            (false, _) => (0x18, 0x10),
            (true, 64) => (0x23, 0x2b),
            (true, _) => (0x33, 0x2b),
        };
        let code = if self.random.one_in(6) { u32::from(self.random.pick(&tables::SELECTORS)) } else { code };
        let flags = (self.random.next() & 0x3fd7) as u32 | self.random.pick(&[2, 0x202, 0x4000]);
        let mut here = self.a.create_label();
        // The address of what comes after the call, to which IRET will return.
        if self.bits == 64 || is_user {
            for word in [stack, STACK as u32] {
                self.a.mov(eax, word)?;
                self.push_eax()?;
            }
        }
        for word in [flags, code] {
            self.a.mov(eax, word)?;
            self.push_eax()?;
        }
        self.a.call(here)?;
        let to = self.label();
        self.a.jmp(to)?;
        self.a.set_label(&mut here)?;
        self.iret()
    }

    /// Other page tables, or none.
    fn page_tables(&mut self) -> Result<(), IcedError> {
        let root = tables::root(self.random.below(tables::ROOTS)) as u32;
        self.a.mov(eax, root)?;
        match self.bits {
            16 => self.a.nop(),
            64 => self.a.mov(cr3, rax),
            _ => {
                self.a.mov(cr3, eax)?;
                self.a.mov(eax, cr0)?;
                if self.random.one_in(4) {
                    self.a.and(eax, 0x7fff_ffff)?
                } else {
                    self.a.or(eax, 1i32 << 31)?
                }
                self.a.mov(cr0, eax)
            }
        }
    }

    /// An entry of some page table changes: what is used from then on, the old one or the new, is for the core's
    /// translation lookaside buffer to say, unless INVLPG follows.
    fn page_entry(&mut self) -> Result<(), IcedError> {
        if self.bits == 16 {
            return self.a.nop();
        }
        let page = self.random.pick(&tables::PAGES_THAT_MOVE);
        let frame = if self.random.one_in(2) { page } else { self.random.pick(&tables::PAGES_THAT_MOVE) };
        let at = tables::entry(self.bits, self.random.below(tables::ROOTS), page);
        let flags = if self.random.one_in(4) { self.random.next() & 0x107 } else { 7 };
        self.a.mov(dword_ptr(at), ((frame << 12) | flags | tables::ACCESSED_AND_DIRTY) as i32)?;
        match self.random.below(4) {
            0 => self.a.invlpg(byte_ptr(page << 12)),
            1 => self.a.mov(ebx, dword_ptr(page << 12)),
            _ => Ok(()),
        }
    }

    /// A jump or call to another segment: code, a task, a gate.
    fn far_transfer(&mut self) -> Result<(), IcedError> {
        let (at, selector) = (self.place(), self.random.pick(&tables::SELECTORS));
        self.a.mov(dword_ptr(at), self.random.next() as i32 & 0xffff)?;
        self.a.mov(word_ptr(at + 4), i32::from(selector))?;
        match self.random.below(3) {
            0 => self.a.call(fword_ptr(at)),
            _ => self.a.jmp(fword_ptr(at)),
        }
    }

    fn control_register(&mut self) -> Result<(), IcedError> {
        let bit = 1u32 << self.random.below(19);
        if self.bits != 16 && self.random.one_in(3) {
            return self.global_pages();
        }
        if self.bits == 64 {
            self.a.mov(rax, cr0)?;
            self.a.xor(eax, bit as i32)?;
            return self.a.mov(cr0, rax);
        }
        self.a.mov(eax, cr0)?;
        self.a.xor(eax, (bit & !1) as i32)?;
        self.a.mov(cr0, eax)
    }

    /// CR4.PGE on or off.
    fn global_pages(&mut self) -> Result<(), IcedError> {
        if self.bits == 64 {
            self.a.mov(rax, cr4)?;
            self.a.xor(eax, 0x80)?;
            return self.a.mov(cr4, rax);
        }
        self.a.mov(eax, cr4)?;
        self.a.xor(eax, 0x80)?;
        self.a.mov(cr4, eax)
    }

    fn segment(&mut self) -> Result<(), IcedError> {
        let selector = self.random.pick(&tables::SELECTORS);
        self.a.mov(eax, u32::from(selector))?;
        match self.random.below(4) {
            0 => self.a.mov(ds, eax),
            1 => self.a.mov(ss, eax),
            2 if self.bits != 16 => self.a.ltr(ax),
            _ => self.a.mov(es, eax),
        }
    }
}
