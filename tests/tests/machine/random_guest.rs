//! Random guests: whatever instructions touch memory, in any size and at any place, in loops, jumped over, and patched.

use super::testbed::*;
use fencepost::loader::Image;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// At most how many instructions, small groups of them or loops a guest has per core, less 5.
const LENGTH: u64 = 40;

/// What a core executes, drawn from a stream of numbers.
type Guest = fn(&mut CodeAssembler, &mut Numbers) -> Result<(), IcedError>;

/// An image in which each of `cores` cores has a random program; all of them work in the same few KiB.
pub(crate) fn random_image(cores: usize, seed: u64) -> Image {
    image_of(cores, seed, program)
}

/// Like [`random_image`], and the cores also talk to devices.
pub(crate) fn talking_image(cores: usize, seed: u64) -> Image {
    image_of(cores, seed, talking_program)
}

fn image_of(cores: usize, seed: u64, guest: Guest) -> Image {
    let programs: Vec<_> =
        (0..cores as u64).map(|core| move |a: &mut CodeAssembler| guest(a, &mut Numbers(seed ^ core << 32))).collect();
    let programs: Vec<Code> = programs.iter().map(|program| program as Code).collect();
    image(&programs, &[])
}

/// A reproducible stream of numbers (SplitMix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A random program: groups of instructions, some of them in loops, some jumped over.
fn program(a: &mut CodeAssembler, n: &mut Numbers) -> Result<(), IcedError> {
    a.mov(ebp, X as u32)?;
    for (index, register) in [rax, rbx, rcx, rdx, r8, r9].into_iter().enumerate() {
        a.mov(register, n.next() >> (index * 8))?;
    }
    for register in [xmm0, xmm1] {
        a.movq(register, rax)?;
    }
    for _ in 0..n.below(LENGTH) + 5 {
        match n.below(8) {
            0 => counted_loop(a, n)?,
            1 => jumped_over(a, n)?,
            _ => group(a, n)?,
        }
    }
    Ok(())
}

/// A random program some of whose accesses go to the framebuffer's registers, to nothing, and to ports.
fn talking_program(a: &mut CodeAssembler, n: &mut Numbers) -> Result<(), IcedError> {
    a.mov(ebp, X as u32)?;
    for _ in 0..n.below(LENGTH) + 5 {
        let device = n.pick(&[fencepost::devices::Framebuffer::REGISTERS.0, 0xc000_0000]) + 4 * n.below(10);
        a.mov(r14d, device as u32)?;
        match n.below(8) {
            0 | 1 => a.mov(dword_ptr(r14), n.pick(&[eax, ebx, r8d]))?,
            2 => a.mov(n.pick(&[eax, ebx, r8d]), dword_ptr(r14))?,
            3 => a.out(n.pick(&[0x80u32, 0xe9]), n.pick(&[al]))?,
            4 => counted_loop(a, n)?,
            _ => group(a, n)?,
        }
    }
    Ok(())
}

fn counted_loop(a: &mut CodeAssembler, n: &mut Numbers) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(r15d, n.below(30) as u32 + 1)?;
    a.set_label(&mut again)?;
    for _ in 0..n.below(4) + 1 {
        group(a, n)?;
    }
    a.dec(r15d)?;
    a.jnz(again)
}

fn jumped_over(a: &mut CodeAssembler, n: &mut Numbers) -> Result<(), IcedError> {
    let mut past = a.create_label();
    a.test(n.pick(&[rax, rbx, r8]), n.pick(&[rcx, rdx, r9]))?;
    match n.below(4) {
        0 => a.jz(past)?,
        1 => a.jnp(past)?,
        2 => a.js(past)?,
        _ => a.jo(past)?,
    }
    group(a, n)?;
    a.set_label(&mut past)?;
    // A label needs an instruction.
    a.nop()
}

/// A place near a line's or a page's end, or anywhere.
fn place(n: &mut Numbers) -> AsmMemoryOperand {
    let offset = match n.below(4) {
        0 => n.below(64) * 8,
        1 => 64 * (n.below(4) + 1) - n.below(16),
        2 => 4096 - n.below(16),
        _ => n.below(600),
    };
    rbp + offset as i32
}

fn group(a: &mut CodeAssembler, n: &mut Numbers) -> Result<(), IcedError> {
    let m = place(n);
    let (q, q2) = (n.pick(&[rax, rbx, rcx, rdx, r8, r9]), n.pick(&[rax, rbx, rcx, rdx, r8, r9]));
    match n.below(52) {
        0 => a.mov(qword_ptr(m), q),
        1 => a.mov(dword_ptr(m), n.pick(&[eax, ebx, r8d])),
        2 => a.mov(word_ptr(m), n.pick(&[ax, bx, r8w])),
        3 => a.mov(byte_ptr(m), n.pick(&[al, bl, ah, r8b])),
        4 => a.mov(q, qword_ptr(m)),
        5 => a.mov(n.pick(&[eax, ebx, r8d]), dword_ptr(m)),
        6 => a.movzx(n.pick(&[eax, ebx, r8d]), word_ptr(m)),
        7 => a.movsx(n.pick(&[eax, ebx, r8d]), byte_ptr(m)),
        8 => a.add(qword_ptr(m), q),
        9 => a.sub(dword_ptr(m), n.pick(&[eax, ebx, r8d])),
        10 => a.inc(byte_ptr(m)),
        11 => a.neg(word_ptr(m)),
        12 => a.adc(q, qword_ptr(m)),
        13 => a.lock().add(qword_ptr(m), q),
        14 => a.lock().xadd(dword_ptr(m), n.pick(&[eax, ebx, r8d])),
        15 => a.lock().dec(byte_ptr(m)),
        16 => a.xchg(qword_ptr(m), q),
        17 => a.cmpxchg(qword_ptr(m), q),
        18 => a.lock().cmpxchg(dword_ptr(m), n.pick(&[eax, ebx, r8d])),
        19 => a.xadd(word_ptr(m), n.pick(&[ax, bx, r8w])),
        20 => a.bts(dword_ptr(m), n.pick(&[3u32, 31])),
        21 => a.setz(byte_ptr(m)),
        22 => a.cmovc(q, qword_ptr(m)),
        23 => a.cmp(qword_ptr(m), q),
        24 => a.movups(xmmword_ptr(m), n.pick(&[xmm0, xmm1])),
        25 => a.movups(n.pick(&[xmm0, xmm1]), xmmword_ptr(m)),
        26 => a.movdqu(xmmword_ptr(m), n.pick(&[xmm0, xmm1])),
        27 => a.movq(qword_ptr(m), n.pick(&[xmm0, xmm1])),
        28 => a.movnti(qword_ptr(m), q),
        29 => a.movntdq(xmmword_ptr(rbp + 16 * n.below(40) as i32), n.pick(&[xmm0, xmm1])),
        30 => a.paddq(xmm0, xmm1),
        31 => a.mfence(),
        32 => a.sfence(),
        33 => a.lfence(),
        34 => a.pause(),
        35 => {
            a.push(q)?;
            a.pop(q2)
        }
        36 => {
            a.push(qword_ptr(m))?;
            a.pop(qword_ptr(place(n)))
        }
        37 => {
            a.pushfq()?;
            a.pop(q)
        }
        38 => call_and_return(a, q),
        39 => string(a, n),
        40 => string(a, n),
        41 => a.imul_2(q, q2),
        42 => a.shl(q, n.below(63) as u32 + 1),
        43 => a.xor(q, q2),
        44 => a.lea(q, qword_ptr(q2 + 7)),
        45 => a.rdtsc(),
        46 => a.rdrand(q),
        47 => {
            a.xor(eax, eax)?;
            a.cpuid()
        }
        48 => a.in_(al, 0x80),
        49 => x87(a, m, place(n)),
        50 => patch(a, n),
        _ => into_pixels(a, n, q),
    }
}

fn call_and_return(a: &mut CodeAssembler, q: AsmRegister64) -> Result<(), IcedError> {
    let (mut function, mut past) = (a.create_label(), a.create_label());
    a.call(function)?;
    a.jmp(past)?;
    a.set_label(&mut function)?;
    a.inc(q)?;
    a.ret()?;
    a.set_label(&mut past)?;
    a.nop()
}

fn string(a: &mut CodeAssembler, n: &mut Numbers) -> Result<(), IcedError> {
    a.lea(rsi, place(n))?;
    a.lea(rdi, place(n))?;
    a.mov(ecx, n.below(20) as u32)?;
    match n.below(8) {
        0 => a.rep().movsb(),
        1 => a.rep().movsq(),
        2 => a.rep().stosb(),
        3 => a.rep().stosd(),
        4 => a.repe().cmpsb(),
        5 => a.repne().scasw(),
        6 => a.movsd(),
        _ => a.stosq(),
    }
}

fn x87(a: &mut CodeAssembler, from: AsmMemoryOperand, to: AsmMemoryOperand) -> Result<(), IcedError> {
    a.fild(qword_ptr(from))?;
    a.fstp(tbyte_ptr(to))
}

/// Changes the operand of an instruction just ahead, or of one just behind that the enclosing loop may execute again.
fn patch(a: &mut CodeAssembler, n: &mut Numbers) -> Result<(), IcedError> {
    let mut target = a.create_label();
    a.lea(r14, qword_ptr(target))?;
    if n.below(2) == 0 {
        a.mov(byte_ptr(r14 + 2), n.pick(&[al, bl, r8b]))?;
        a.set_label(&mut target)?;
        a.mov(r9d, 0x1111_1111)
    } else {
        a.set_label(&mut target)?;
        a.mov(r9d, 0x1111_1111)?;
        a.mov(byte_ptr(r14 + 2), n.pick(&[al, bl, r8b]))
    }
}

fn into_pixels(a: &mut CodeAssembler, n: &mut Numbers, q: AsmRegister64) -> Result<(), IcedError> {
    a.mov(r14, PIXELS + n.below(100))?;
    a.mov(qword_ptr(r14), q)?;
    a.mov(n.pick(&[rax, rbx, rcx]), qword_ptr(r14 + n.below(8) as i32))
}
