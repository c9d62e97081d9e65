//! Which instructions drain the buffer before they execute, and which do not.

use super::testbed::*;
use fencepost::memory_model::MemoryModel;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// A machine with an ordinary and a write-combining store pending, then one step further: `last` has executed.
fn after(model: MemoryModel, setup: Code, last: Code) -> Testbed {
    let code = |a: &mut CodeAssembler| {
        setup(a)?;
        a.mfence()?;
        a.mov(rbp, PIXELS)?;
        a.mov(qword_ptr(X), 1)?;
        a.mov(dword_ptr(rbp), 2)?;
        last(a)
    };
    let mut t = Testbed::new(model, &[&code]);
    while t.pending_addresses(0) != [X, PIXELS] {
        t.step(0);
    }
    t.step(0);
    t
}

fn nothing(_: &mut CodeAssembler) -> Result<(), IcedError> {
    Ok(())
}

fn check_drains(setup: Code, last: Code) {
    for model in [TSO, PSO] {
        let mut t = after(model, setup, last);
        assert_eq!(t.machine.stop(), None);
        assert!(!t.pending_addresses(0).iter().any(|address| [X, PIXELS].contains(address)), "under {model}");
        assert_eq!((t.byte(X), t.byte(PIXELS)), (1, 2));
    }
}

fn check_keeps(last: Code) {
    for model in [TSO, PSO] {
        let mut t = after(model, &nothing, last);
        assert_eq!(t.pending_addresses(0)[..2], [X, PIXELS], "under {model}");
    }
}

#[test]
fn mfence_drains() {
    check_drains(&nothing, &|a| a.mfence());
}

#[test]
fn locked_instructions_drain_and_go_straight_to_memory() {
    let mut t = after(TSO, &nothing, &|a| a.lock().add(qword_ptr(Y), 3));
    assert_eq!((t.pending(0), t.memory(X), t.memory(Y)), (vec![], 1, 3));
    check_drains(&nothing, &|a| a.lock().or(dword_ptr(rsp), 0));
    check_drains(&nothing, &|a| a.lock().cmpxchg(qword_ptr(Y), rbx));
    check_drains(&nothing, &|a| a.lock().cmpxchg16b(xmmword_ptr(Z)));
}

#[test]
fn xchg_with_memory_drains_without_a_prefix_and_goes_straight_to_memory() {
    let mut t = after(TSO, &nothing, &|a| a.xchg(qword_ptr(Y), rbp));
    assert_eq!((t.pending(0), t.memory(X), t.memory(Y)), (vec![], 1, PIXELS));
}

#[test]
fn port_instructions_drain() {
    check_drains(&nothing, &|a| a.in_(al, 0x80));
    check_drains(&nothing, &|a| a.out(0x80, al));
    check_drains(&|a| a.mov(edx, 0x80), &|a| a.in_(eax, dx));
    check_drains(&|a| a.mov(edx, 0x80), &|a| a.out(dx, eax));
    check_drains(
        &|a| {
            a.mov(rdi, Z)?;
            a.mov(edx, 0x80)
        },
        &|a| a.insb(),
    );
    check_drains(
        &|a| {
            a.mov(rsi, Z)?;
            a.mov(edx, 0x80)
        },
        &|a| a.outsb(),
    );
}

#[test]
fn accesses_to_uncached_memory_drain() {
    let registers = |a: &mut CodeAssembler| a.mov(rbx, 0xfd00_0000u64);
    check_drains(&registers, &|a| a.mov(eax, dword_ptr(rbx)));
    check_drains(&registers, &|a| a.mov(dword_ptr(rbx + 4), eax));
}

#[test]
fn serialising_instructions_drain() {
    check_drains(&|a| a.xor(eax, eax), &|a| a.cpuid());
    check_drains(&|a| a.mov(rax, cr3), &|a| a.mov(cr3, rax));
    check_drains(&|a| a.mov(rax, cr0), &|a| a.mov(cr0, rax));
    check_drains(&|a| a.mov(rax, cr4), &|a| a.mov(cr4, rax));
    check_drains(&|a| a.xor(eax, eax), &|a| a.mov(dr0, rax));
    check_drains(&nothing, &|a| a.invlpg(byte_ptr(X)));
    check_drains(&nothing, &|a| a.wbinvd());
    check_drains(&|a| a.xor(eax, eax), &|a| a.lldt(ax));
    check_drains(&|a| a.sgdt(tbyte_ptr(Z)), &|a| a.lgdt(tbyte_ptr(Z)));
    check_drains(&|a| a.sidt(tbyte_ptr(Z)), &|a| a.lidt(tbyte_ptr(Z)));
    let star = |a: &mut CodeAssembler| {
        a.mov(ecx, 0xc000_0081u32)?;
        a.xor(eax, eax)?;
        a.xor(edx, edx)
    };
    check_drains(&star, &|a| a.wrmsr());
}

#[test]
fn iret_drains() {
    let frame = |a: &mut CodeAssembler| {
        let mut target = a.create_label();
        a.mov(rax, rsp)?;
        a.push(0x10)?;
        a.push(rax)?;
        a.pushfq()?;
        a.push(8)?;
        a.lea(rbx, qword_ptr(target))?;
        a.push(rbx)?;
        // It returns to before the stores, where it need not be followed.
        a.set_label(&mut target)
    };
    check_drains(&frame, &|a| a.iretq());
}

#[test]
fn interrupts_and_exceptions_drain() {
    for cause in [
        &|a: &mut CodeAssembler| a.int(0x80),
        &|a: &mut CodeAssembler| a.int3(),
        &|a: &mut CodeAssembler| a.ud2(),
        &|a: &mut CodeAssembler| a.div(al),
    ] as [Code; 4]
    {
        let mut t = after(TSO, &|a| a.xor(eax, eax), cause);
        t.fault();
        assert_eq!((t.byte(X), t.byte(PIXELS), t.pending(0)), (1, 2, vec![]));
    }
}

#[test]
fn what_is_not_a_fence_does_not_drain() {
    check_keeps(&|a| a.nop());
    check_keeps(&|a| a.pause());
    check_keeps(&|a| a.sfence());
    check_keeps(&|a| a.lfence());
    check_keeps(&|a| a.mov(rax, qword_ptr(Y)));
    check_keeps(&|a| a.add(qword_ptr(Y), 1));
    check_keeps(&|a| a.cmpxchg(qword_ptr(Y), rbx));
    check_keeps(&|a| a.xchg(rax, rbx));
    check_keeps(&|a| a.rdtsc());
    check_keeps(&|a| a.rdrand(rax));
    check_keeps(&|a| a.clflush(byte_ptr(X)));
    check_keeps(&|a| a.mov(rax, cr3));
    check_keeps(&|a| a.mov(cr8, rax));
    check_keeps(&|a| a.hlt());
}

#[test]
fn system_calls_do_not_drain() {
    check_keeps(&|a| a.syscall());
    check_keeps(&|a| {
        // RCX is zero: it returns to where nothing is mapped for users, which is another step.
        a.sysretq()
    });
    let sysenter = |a: &mut CodeAssembler| {
        a.mov(ecx, 0x174)?;
        a.mov(eax, 8)?;
        a.xor(edx, edx)?;
        a.wrmsr()
    };
    for call in [(&|a: &mut CodeAssembler| a.sysenter()) as Code, &|a| a.sysexitq()] {
        let mut t = after(TSO, &sysenter, call);
        assert_eq!(t.pending_addresses(0), [X, PIXELS]);
    }
}
