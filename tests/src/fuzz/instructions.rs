//! Guests of random instructions that mean harm: most can be executed, so that they come far, and all touch what they
//! should not: page tables, their own code, descriptor tables, devices, modes, exceptions.

use crate::random::Random;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Where a flat image starts.
const BASE: u64 = 0x10_0000;

/// Addresses that matter, a few bytes more or less.
const PLACES: [u64; 22] = [
    0,
    0x1000,   // GDT
    0x2000,   // boot information
    0x3000,   // where cores park
    0x1_0000, // page tables: root, pointers, directories, the table of the first 2 MiB
    0x1_1000,
    0x1_2000,
    0x1_6000,
    0x9_fff8, // end of RAM below the hole
    0xb_8000, // VGA text
    0xc_0000,
    BASE,
    BASE + 0x1000,
    0x18_0000, // plain RAM
    0x18_0fff,
    0x1f_f000,   // stacks
    0x20_0000,   // end of RAM
    0xe000_0000, // pixels
    0xe000_0fff,
    0xe100_0000,
    0xfd00_0000, // framebuffer registers
    0xfd00_0018,
];

/// Ports with devices, and others.
const PORTS: [u16; 12] = [0x3f8, 0x3f9, 0x3fb, 0x3fc, 0x3fd, 0x3ff, 0x400, 0xe9, 0xe8, 0xcf8, 0xffff, 0xf4];

/// Registers that gadgets change; RSP is left in peace most of the time.
const REGISTERS: [AsmRegister64; 8] = [rax, rbx, rcx, rdx, rsi, rdi, r8, r15];

const MSRS: [u32; 12] = [
    0x10,
    0x1b,
    0xfe,
    0x174,
    0x277,
    0x2ff,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0100,
    0xc000_0102,
    0xc000_0103,
];

struct Writer {
    a: CodeAssembler,
    labels: Vec<CodeLabel>,
    random: Random,
}

type Gadget = fn(&mut Writer) -> Result<(), IcedError>;

/// What a guest is made of, and how often, in a tame guest and in a wild one.
const GADGETS: [(u64, u64, Gadget); 19] = [
    (12, 6, Writer::address),
    (16, 6, Writer::store),
    (10, 4, Writer::load),
    (8, 4, Writer::read_modify_write),
    (6, 3, Writer::locked),
    (6, 3, Writer::vector),
    (5, 2, Writer::fence),
    (10, 5, Writer::arithmetic),
    (8, 6, Writer::branch),
    (4, 3, Writer::stack),
    (4, 4, Writer::repeat),
    (4, 4, Writer::port),
    (3, 3, Writer::identity),
    (3, 3, Writer::own_code),
    (1, 4, Writer::page_table),
    (1, 5, Writer::system_register),
    (0, 3, Writer::far_transfer),
    (0, 2, Writer::exception),
    (0, 2, Writer::noise),
];

/// The code of one guest, for all its cores.
pub(super) fn blob(random: &mut Random) -> Vec<u8> {
    let count = 4 + random.index(120);
    let is_wild = random.one_in(2);
    let mut a = CodeAssembler::new(64).expect("x86 has 64-bit code");
    let labels = (0..count).map(|_| a.create_label()).collect();
    let mut writer = Writer { a, labels, random: Random::new(random.next()) };
    writer.write(is_wild).expect("gadgets are made of instructions that exist");
    writer.a.assemble(BASE).expect("branches reach their targets")
}

impl Writer {
    fn write(&mut self, is_wild: bool) -> Result<(), IcedError> {
        self.disperse()?;
        let weight = |gadget: &(u64, u64, Gadget)| if is_wild { gadget.1 } else { gadget.0 };
        let total: u64 = GADGETS.iter().map(weight).sum();
        for index in 0..self.labels.len() {
            self.a.set_label(&mut self.labels[index])?;
            let mut at = self.random.below(total);
            let gadget = GADGETS.iter().find(|gadget| {
                let is_it = at < weight(gadget);
                at = at.wrapping_sub(weight(gadget));
                is_it
            });
            gadget.expect("the weights add up").2(self)?;
        }
        let back = self.label();
        self.a.jmp(back)
    }

    /// Registers get addresses, and core 1 starts elsewhere.
    fn disperse(&mut self) -> Result<(), IcedError> {
        for register in REGISTERS {
            if register != rdi {
                let place = self.place();
                self.a.mov(register, place)?;
            }
        }
        let elsewhere = self.label();
        self.a.cmp(edi, 1)?;
        let place = self.place();
        self.a.mov(rdi, place)?;
        self.a.je(elsewhere)
    }

    fn label(&mut self) -> CodeLabel {
        self.random.pick(&self.labels)
    }

    fn register(&mut self) -> AsmRegister64 {
        self.random.pick(&REGISTERS)
    }

    fn place(&mut self) -> u64 {
        if self.random.one_in(16) {
            return self.random.limit();
        }
        let place = self.random.pick(&PLACES);
        if self.random.one_in(2) { place + 8 * self.random.below(64) } else { place + self.random.below(4096) }
    }

    /// Memory at a place that is there; rarely wherever a register points.
    fn memory(&mut self) -> AsmMemoryOperand {
        if self.random.one_in(6) {
            let displacement = self.random.below(256) as i32 - 128;
            return self.register() + displacement;
        }
        let page = self.random.pick(&[0x18_0000u64, 0x18_0000, 0x18_0000, 0x18_1000, 0x1f_f000, 0x4000]);
        let offset = match self.random.below(4) {
            0 => 0xff0 + self.random.below(32),
            1 => self.random.below(256),
            _ => 8 * self.random.below(16),
        };
        let pixels = 0xe000_0000u64 + offset;
        if self.random.one_in(4) { r14 + (pixels - 0xe000_0000) as i32 } else { ptr(page + offset) }
    }

    fn address(&mut self) -> Result<(), IcedError> {
        self.a.mov(r14, 0xe000_0000u64)?;
        let (register, place) = (self.register(), self.place());
        self.a.mov(register, place)
    }

    fn store(&mut self) -> Result<(), IcedError> {
        let to = self.memory();
        let value = self.random.next() as i32;
        match self.random.below(7) {
            0 => self.a.mov(to, al),
            1 => self.a.mov(to, bx),
            2 => self.a.mov(to, ecx),
            3 => self.a.mov(to, rdx),
            4 => self.a.mov(qword_ptr(to), value),
            5 => self.a.movnti(to, rsi),
            _ => self.a.movbe(to, rdi),
        }
    }

    fn load(&mut self) -> Result<(), IcedError> {
        let from = self.memory();
        match self.random.below(5) {
            0 => self.a.mov(al, from),
            1 => self.a.movzx(ebx, word_ptr(from)),
            2 => self.a.mov(r8d, from),
            3 => self.a.cmp(r15, from),
            _ => self.a.mov(r15, from),
        }
    }

    fn read_modify_write(&mut self) -> Result<(), IcedError> {
        let to = self.memory();
        match self.random.below(8) {
            0 => self.a.add(dword_ptr(to), 1),
            1 => self.a.sub(to, r8),
            2 => self.a.inc(byte_ptr(to)),
            3 => self.a.not(qword_ptr(to)),
            4 => self.a.xadd(to, ebx),
            5 => self.a.cmpxchg(to, r15),
            6 => self.a.bts(to, rbx),
            _ => self.a.shld(to, rbx, 3u32),
        }
    }

    fn locked(&mut self) -> Result<(), IcedError> {
        let to = self.memory();
        match self.random.below(7) {
            0 => self.a.xchg(to, rbx),
            1 => self.a.lock().add(qword_ptr(to), 1),
            2 => self.a.lock().xadd(to, r8),
            3 => self.a.lock().cmpxchg(to, rbx),
            4 => self.a.lock().cmpxchg16b(to),
            5 => self.a.lock().cmpxchg8b(to),
            _ => self.a.lock().btc(to, ebx),
        }
    }

    fn vector(&mut self) -> Result<(), IcedError> {
        let at = self.memory();
        match self.random.below(20) {
            0 => self.a.movups(at, xmm1),
            1 => self.a.movups(xmm1, at),
            2 => self.a.movaps(at, xmm2),
            3 => self.a.movntdq(at, xmm3),
            4 => self.a.movq(at, xmm1),
            5 => self.a.paddq(xmm1, xmm2),
            6 => self.a.maskmovdqu(xmm1, xmm2),
            7 => self.a.fxsave(at),
            8 => self.a.fxrstor(at),
            9 => self.a.fld(tword_ptr(at)),
            10 => self.a.fstp(tword_ptr(at)),
            11 => self.a.ldmxcsr(at),
            12 => self.a.stmxcsr(at),
            13 => self.a.divps(xmm1, xmm2),
            14 => self.a.mulsd(xmm2, at),
            15 => self.a.addps(xmm2, xmmword_ptr(at)),
            16 => self.a.cvttps2dq(xmm2, xmm1),
            17 => self.a.sqrtss(xmm1, at),
            18 => self.a.cvtsi2sd(xmm1, rbx),
            _ => self.a.fnsave(at),
        }
    }

    fn fence(&mut self) -> Result<(), IcedError> {
        match self.random.below(5) {
            0 => self.a.mfence(),
            1 => self.a.sfence(),
            2 => self.a.lfence(),
            3 => self.a.pause(),
            _ => {
                let at = self.memory();
                self.a.clflush(at)
            }
        }
    }

    fn arithmetic(&mut self) -> Result<(), IcedError> {
        let (one, other) = (self.register(), self.register());
        match self.random.below(8) {
            0 => self.a.add(one, other),
            1 => self.a.imul_2(one, other),
            2 => self.a.mul(other),
            3 => self.a.bswap(one),
            4 => self.a.xor(one, other),
            5 => self.a.cmovb(one, other),
            6 => self.a.ror(one, cl),
            _ => self.a.lea(one, other + 64),
        }
    }

    fn branch(&mut self) -> Result<(), IcedError> {
        let to = self.label();
        match self.random.below(8) {
            0 => self.a.jmp(to),
            1 => self.a.jb(to),
            2 => self.a.jne(to),
            3 => self.a.call(to),
            4 => self.a.loop_(to),
            5 => self.a.jrcxz(to),
            6 => {
                self.a.lea(rax, ptr(to))?;
                self.a.jmp(rax)
            }
            _ => {
                self.a.lea(rax, ptr(to))?;
                self.a.push(rax)?;
                self.a.ret()
            }
        }
    }

    fn stack(&mut self) -> Result<(), IcedError> {
        let (register, place) = (self.register(), self.place());
        match self.random.below(7) {
            0 | 1 => self.a.push(register),
            2 | 3 => self.a.pop(register),
            4 => self.a.pushfq(),
            5 => self.a.enter(64, (place % 32) as u32),
            _ if self.random.one_in(4) => self.a.mov(rsp, place),
            _ => {
                // Any flags: single step, alignment checks, nested task, I/O level, direction.
                self.a.push((self.random.next() & 0x003f_7fd7) as i32)?;
                self.a.popfq()
            }
        }
    }

    fn repeat(&mut self) -> Result<(), IcedError> {
        let (to, from) = (self.place(), self.place());
        let count = if self.random.one_in(2) { self.random.below(600) } else { self.random.limit() };
        self.a.mov(rdi, to)?;
        self.a.mov(rsi, from)?;
        self.a.mov(rcx, count)?;
        match self.random.below(9) {
            0 => self.a.rep().movsb(),
            1 => self.a.rep().movsq(),
            2 => self.a.rep().stosb(),
            3 => self.a.rep().stosd(),
            4 => self.a.rep().lodsq(),
            5 => self.a.repe().cmpsb(),
            6 => self.a.repne().scasb(),
            7 => self.port_number().and_then(|()| self.a.rep().insb()),
            _ => self.port_number().and_then(|()| self.a.rep().outsd()),
        }
    }

    fn port_number(&mut self) -> Result<(), IcedError> {
        let port = match self.random.pick(&PORTS) {
            // Debug exit, which ends the run.
            0xf4 if !self.random.one_in(8) => self.random.next() as u16,
            port => port,
        };
        self.a.mov(edx, u32::from(port))
    }

    fn port(&mut self) -> Result<(), IcedError> {
        self.port_number()?;
        match self.random.below(6) {
            0 => self.a.in_(al, dx),
            1 => self.a.in_(ax, dx),
            2 => self.a.in_(eax, dx),
            3 => self.a.out(dx, al),
            4 => self.a.out(dx, ax),
            _ => self.a.out(dx, eax),
        }
    }

    fn identity(&mut self) -> Result<(), IcedError> {
        match self.random.below(8) {
            0 => self.a.cpuid(),
            1 => self.a.rdtsc(),
            2 => self.a.rdtscp(),
            3 => self.a.rdrand(rbx),
            4 => self.a.rdseed(ecx),
            5 => self.a.smsw(rax),
            6 => self.a.str(ax),
            _ => {
                self.a.mov(ecx, 0)?;
                self.a.xgetbv()
            }
        }
    }

    /// Changes the guest's own code, here or far away.
    fn own_code(&mut self) -> Result<(), IcedError> {
        let at = self.label();
        let value = self.random.next() as u32;
        match self.random.below(5) {
            0 => self.a.mov(byte_ptr(at), 0x90),
            1 => self.a.mov(word_ptr(at), i32::from(value as i16)),
            2 => self.a.lock().add(dword_ptr(at), 0),
            3 => {
                self.a.lea(rdi, ptr(at))?;
                self.a.mov(eax, 0x9090_9090u32)?;
                self.a.mov(ecx, value & 7)?;
                self.a.rep().stosb()
            }
            _ => {
                self.a.lea(rsi, ptr(at))?;
                self.a.mov(rdi, BASE + 0x2000)?;
                self.a.mov(ecx, 64)?;
                self.a.rep().movsb()?;
                self.a.mov(rax, BASE + 0x2000)?;
                self.a.jmp(rax)
            }
        }
    }

    /// Changes an entry of some page table, and perhaps makes it count.
    fn page_table(&mut self) -> Result<(), IcedError> {
        let table = 0x1_0000 + 0x1000 * self.random.below(8);
        let index = if self.random.one_in(2) { self.random.below(8) } else { self.random.below(512) };
        let entry = self.place() & !0xfff | self.random.next() & 0xe7 | self.random.below(2) << 63 | 1;
        self.a.mov(rax, entry)?;
        self.a.mov(qword_ptr(table + 8 * index), rax)?;
        match self.random.below(3) {
            0 => self.a.nop(),
            1 => {
                let place = self.place();
                self.a.mov(rbx, place)?;
                self.a.invlpg(ptr(rbx))
            }
            _ => {
                self.a.mov(rax, cr3)?;
                self.a.mov(cr3, rax)
            }
        }
    }

    fn system_register(&mut self) -> Result<(), IcedError> {
        let bit = 1u64 << self.random.below(32);
        let at = self.memory();
        let msr = if self.random.one_in(4) { self.random.limit() as u32 } else { self.random.pick(&MSRS) };
        let value = self.random.limit();
        self.a.mov(rax, bit)?;
        match self.random.below(17) {
            0 => self.flip_control_register(cr0),
            1 => self.flip_control_register(cr4),
            2 => {
                self.a.mov(rax, value)?;
                self.a.mov(cr3, rax)
            }
            3 => self.a.mov(cr8, rax),
            4 => self.a.mov(dr7, rax),
            5 => self.a.mov(dr0, rax),
            6 => self.a.lgdt(at),
            7 => self.a.lidt(at),
            8 => self.a.sgdt(at),
            9 => self.a.lmsw(ax),
            10 => self.a.clts(),
            11 => self.a.wbinvd(),
            12 => self.a.swapgs(),
            13 => {
                self.a.mov(ecx, msr)?;
                self.a.rdmsr()
            }
            14 => {
                self.a.mov(ecx, 0)?;
                self.a.xsetbv()
            }
            15 => {
                let selector = self.random.pick(&[0u32, 8, 0x10, 0x18, 0x20, 0xfff8]);
                self.a.mov(eax, selector)?;
                match self.random.below(5) {
                    0 => self.a.mov(ds, eax),
                    1 => self.a.mov(ss, eax),
                    2 => self.a.mov(fs, eax),
                    3 => self.a.lldt(ax),
                    _ => self.a.ltr(ax),
                }
            }
            _ => {
                self.a.mov(ecx, msr)?;
                self.a.mov(eax, value as u32)?;
                self.a.mov(edx, (value >> 32) as u32)?;
                self.a.wrmsr()
            }
        }
    }

    /// Flips the bit in RAX.
    fn flip_control_register(&mut self, register: AsmRegisterCr) -> Result<(), IcedError> {
        self.a.mov(rbx, register)?;
        self.a.xor(rbx, rax)?;
        self.a.mov(register, rbx)
    }

    /// Far returns and jumps, also into 32-bit code.
    fn far_transfer(&mut self) -> Result<(), IcedError> {
        let to = self.label();
        let selector = self.random.pick(&[8, 8, 0x18, 0x18, 0x10, 0, 0x20]);
        self.a.lea(rax, ptr(to))?;
        match self.random.below(4) {
            0 => {
                self.a.push(selector)?;
                self.a.push(rax)?;
                self.a.db(&[0x48, 0xcb]) // retfq
            }
            1 => {
                self.a.mov(rbx, rsp)?;
                self.a.push(0x10)?;
                self.a.push(rbx)?;
                self.a.pushfq()?;
                self.a.push(selector)?;
                self.a.push(rax)?;
                self.a.iretq()
            }
            2 => {
                self.far_pointer(selector)?;
                self.a.jmp(fword_ptr(rsp))
            }
            _ => {
                self.far_pointer(selector)?;
                self.a.call(fword_ptr(rsp))
            }
        }
    }

    /// A selector and the offset in RAX, on the stack as one operand.
    fn far_pointer(&mut self, selector: i32) -> Result<(), IcedError> {
        self.a.mov(rbx, u64::from(selector as u32) << 32)?;
        self.a.or(rax, rbx)?;
        self.a.push(rax)
    }

    fn exception(&mut self) -> Result<(), IcedError> {
        let vector = self.random.next() as u8;
        match self.random.below(16) {
            0 => self.a.int(u32::from(vector)),
            1 => self.a.int3(),
            2 => self.a.ud2(),
            3 => self.a.hlt(),
            4 => self.a.div(rcx),
            5 => self.a.syscall(),
            6 => self.a.sysretq(),
            7 => self.a.sysenter(),
            8 => self.a.int1(),
            9 => self.a.cli(),
            10 => self.a.sti(),
            11 => self.a.monitor(),
            12 => self.a.mwait(),
            13 => self.a.vmcall(),
            14 => self.a.rsm(),
            _ => self.a.idiv(edx),
        }
    }

    /// Bytes that are no instruction in particular.
    fn noise(&mut self) -> Result<(), IcedError> {
        let length = 1 + self.random.index(8);
        let bytes = self.random.bytes(length);
        self.a.db(&bytes)
    }
}
