/*
 * What Unicorn's public interface cannot do, done with QEMU's own structures.
 *
 * Compiled against the headers of the pinned Unicorn (see build.rs), so that an upgrade breaks here at build time.
 * Four things: moving a core's whole architectural state (segment caches and privilege level included) in and out,
 * dropping translated code by host address, reading what an exception left behind, and taking translations of addresses
 * from the core's own buffer.
 */
#include "qemu/osdep.h"
#include "cpu.h"
#include "exec/exec-all.h"
#include "exec/cpu-common.h"
#include "fpu/softfloat-helpers.h"
#include "uc_priv.h"

struct fencepost_segment {
    uint64_t base;
    uint32_t selector, limit, flags, zero;
};

/* Mirrors `CpuState` in cpu_state.rs field by field; the size is checked at start-up. */
struct fencepost_cpu {
    uint64_t gpr[16];
    uint64_t rip, rflags;
    struct fencepost_segment segments[6], ldt, tr, gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, efer;
    uint64_t dr[8];
    uint64_t star, lstar, cstar, fmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, tsc_aux, xcr0;
    uint64_t x87_mantissa[8];
    uint16_t x87_exponent[8];
    uint8_t x87_empty[8];
    uint16_t x87_control, x87_status;
    uint32_t mxcsr;
    uint64_t xmm[16][2];
    uint32_t interrupt_shadow, nmi_blocked;
};

/*
 * QEMU ends the process when it looks into a task state segment that is busy or is none, and loads TR with a null selector, where
 * a processor refuses (SDM 2A, LTR). So in here the one in TR is never busy, and one that is none has no room: an invalid TSS.
 */
static void settle_task(CPUX86State *env)
{
    SegmentCache *tr = &env->tr;
    int type = (tr->flags >> DESC_TYPE_SHIFT) & 0xf & ~2;

    if (!(tr->flags & DESC_P_MASK) || (tr->flags & DESC_S_MASK) || (type & 7) != 1) {
        tr->flags = DESC_P_MASK | (9 << DESC_TYPE_SHIFT);
        tr->limit = 0;
    }
    tr->flags &= ~DESC_TSS_BUSY_MASK;
    /* What loads DR7, and a switch of tasks does, lets QEMU look for breakpoints on ports, which is done elsewhere. */
    env->hflags &= ~HF_IOBPT_MASK;
}

size_t fencepost_cpu_size(void) { return sizeof(struct fencepost_cpu); }

static void get_segment(struct fencepost_segment *to, const SegmentCache *from)
{
    to->base = from->base;
    to->selector = from->selector;
    to->limit = from->limit;
    to->flags = from->flags;
    to->zero = 0;
}

static void set_segment(SegmentCache *to, const struct fencepost_segment *from)
{
    to->base = from->base;
    to->selector = from->selector;
    to->limit = from->limit;
    to->flags = from->flags;
}

/*
 * What SSE instructions have raised since this was forgotten last, as the flags of MXCSR (SDM 1 10.2.3), where QEMU does not
 * put it. It knows nothing of denormal operands, but when a result is flushed to zero (11.5.2.5).
 */
static uint32_t raised(CPUX86State *env)
{
    int flags = get_float_exception_flags(&env->sse_status);
    uint32_t mxcsr = 0;

    mxcsr |= flags & float_flag_invalid ? 1 : 0;
    mxcsr |= flags & float_flag_divbyzero ? 1 << 2 : 0;
    mxcsr |= flags & float_flag_overflow ? 1 << 3 : 0;
    mxcsr |= flags & float_flag_underflow ? 1 << 4 : 0;
    mxcsr |= flags & float_flag_inexact ? 1 << 5 : 0;
    mxcsr |= flags & float_flag_output_denormal ? 1 << 4 | 1 << 5 : 0;
    return mxcsr;
}

/* Flushing results to zero is SSE's, which QEMU takes for the x87's, and only where underflow is masked (SDM 1 10.2.3.3). */
static void set_mxcsr(CPUX86State *env, uint32_t mxcsr)
{
    cpu_set_mxcsr(env, mxcsr);
    set_flush_to_zero(0, &env->fp_status);
    set_flush_to_zero((mxcsr >> 15 & mxcsr >> 11 & 1) != 0, &env->sse_status);
    set_float_exception_flags(0, &env->sse_status);
}

void fencepost_get(struct uc_struct *uc, struct fencepost_cpu *out)
{
    CPUX86State *env = uc->cpu->env_ptr;
    int i;

    for (i = 0; i < 16; i++) {
        out->gpr[i] = env->regs[i];
        out->xmm[i][0] = env->xmm_regs[i].ZMM_Q(0);
        out->xmm[i][1] = env->xmm_regs[i].ZMM_Q(1);
    }
    out->rip = env->eip;
    out->rflags = cpu_compute_eflags(env);
    for (i = 0; i < 6; i++) {
        get_segment(&out->segments[i], &env->segs[i]);
    }
    get_segment(&out->ldt, &env->ldt);
    get_segment(&out->tr, &env->tr);
    /* The task that executes is busy, as everybody else sees it. */
    out->tr.flags |= DESC_TSS_BUSY_MASK;
    get_segment(&out->gdt, &env->gdt);
    get_segment(&out->idt, &env->idt);
    out->cr0 = env->cr[0];
    out->cr2 = env->cr[2];
    out->cr3 = env->cr[3];
    out->cr4 = env->cr[4];
    out->efer = env->efer;
    for (i = 0; i < 8; i++) {
        out->dr[i] = env->dr[i];
        out->x87_mantissa[i] = env->fpregs[i].d.low;
        out->x87_exponent[i] = env->fpregs[i].d.high;
        out->x87_empty[i] = env->fptags[i];
    }
    out->star = env->star;
    out->lstar = env->lstar;
    out->cstar = env->cstar;
    out->fmask = env->fmask;
    out->kernel_gs_base = env->kernelgsbase;
    out->sysenter_cs = env->sysenter_cs;
    out->sysenter_esp = env->sysenter_esp;
    out->sysenter_eip = env->sysenter_eip;
    out->pat = env->pat;
    out->tsc_aux = env->tsc_aux;
    out->xcr0 = env->xcr0;
    out->x87_control = env->fpuc;
    out->x87_status = (env->fpus & ~0x3800) | ((env->fpstt & 7) << 11);
    out->mxcsr = env->mxcsr | raised(env);
    out->interrupt_shadow = (env->hflags & HF_INHIBIT_IRQ_MASK) != 0;
    out->nmi_blocked = (env->hflags2 & HF2_NMI_MASK) != 0;
}

/*
 * The translation-time flags, from the architectural state they stand for (compare QEMU's x86_update_hflags). TF, VM and the I/O
 * privilege level are not among them: translation takes them from EFLAGS as well, and here they would stay for good.
 */
static uint32_t hidden_flags(CPUX86State *env, uint32_t interrupt_shadow)
{
    uint32_t kept = HF_SMAP_MASK | HF_SVME_MASK | HF_GUEST_MASK | HF_MPX_EN_MASK | HF_MPX_IU_MASK;
    uint32_t h = env->hflags & kept;

    h |= (env->segs[R_SS].flags >> DESC_DPL_SHIFT) & HF_CPL_MASK;
    h |= (env->cr[0] & CR0_PE_MASK) << (HF_PE_SHIFT - 0);
    h |= (env->cr[0] << (HF_MP_SHIFT - 1)) & (HF_MP_MASK | HF_EM_MASK | HF_TS_MASK);
    if (env->cr[4] & CR4_OSFXSR_MASK) {
        h |= HF_OSFXSR_MASK;
    }
    if (env->efer & MSR_EFER_LMA) {
        h |= HF_LMA_MASK;
    }
    if ((h & HF_LMA_MASK) && (env->segs[R_CS].flags & DESC_L_MASK)) {
        h |= HF_CS32_MASK | HF_SS32_MASK | HF_CS64_MASK;
    } else {
        h |= (env->segs[R_CS].flags & DESC_B_MASK) >> (DESC_B_SHIFT - HF_CS32_SHIFT);
        h |= (env->segs[R_SS].flags & DESC_B_MASK) >> (DESC_B_SHIFT - HF_SS32_SHIFT);
        if (!(env->cr[0] & CR0_PE_MASK) || (env->eflags & VM_MASK) || !(h & HF_CS32_MASK)) {
            h |= HF_ADDSEG_MASK;
        } else if (env->segs[R_DS].base | env->segs[R_ES].base | env->segs[R_SS].base) {
            h |= HF_ADDSEG_MASK;
        }
    }
    if (interrupt_shadow) {
        h |= HF_INHIBIT_IRQ_MASK;
    }
    return h;
}

void fencepost_set(struct uc_struct *uc, const struct fencepost_cpu *in)
{
    CPUState *cpu = uc->cpu;
    CPUX86State *env = cpu->env_ptr;
    bool remapped = env->cr[0] != in->cr0 || env->cr[3] != in->cr3 || env->cr[4] != in->cr4 || env->efer != in->efer;
    int i;

    for (i = 0; i < 16; i++) {
        env->regs[i] = in->gpr[i];
        env->xmm_regs[i].ZMM_Q(0) = in->xmm[i][0];
        env->xmm_regs[i].ZMM_Q(1) = in->xmm[i][1];
    }
    env->eip = in->rip;
    /* Between runs the flags live in one piece; entering the translated code takes them apart (x86_cpu_exec_enter). */
    cpu_load_eflags(env, in->rflags, ~0);
    for (i = 0; i < 6; i++) {
        set_segment(&env->segs[i], &in->segments[i]);
    }
    set_segment(&env->ldt, &in->ldt);
    set_segment(&env->tr, &in->tr);
    settle_task(env);
    set_segment(&env->gdt, &in->gdt);
    set_segment(&env->idt, &in->idt);
    env->cr[0] = in->cr0;
    env->cr[2] = in->cr2;
    env->cr[3] = in->cr3;
    env->cr[4] = in->cr4;
    env->efer = in->efer;
    if (env->dr[7] != in->dr[7]) {
        cpu_x86_update_dr7(env, in->dr[7]);
    }
    for (i = 0; i < 8; i++) {
        env->dr[i] = in->dr[i];
        env->fpregs[i].d.low = in->x87_mantissa[i];
        env->fpregs[i].d.high = in->x87_exponent[i];
        env->fptags[i] = in->x87_empty[i];
    }
    env->star = in->star;
    env->lstar = in->lstar;
    env->cstar = in->cstar;
    env->fmask = in->fmask;
    env->kernelgsbase = in->kernel_gs_base;
    env->sysenter_cs = in->sysenter_cs;
    env->sysenter_esp = in->sysenter_esp;
    env->sysenter_eip = in->sysenter_eip;
    env->pat = in->pat;
    env->tsc_aux = in->tsc_aux;
    env->xcr0 = in->xcr0;
    env->fpstt = (in->x87_status >> 11) & 7;
    env->fpus = in->x87_status & ~0x3800;
    cpu_set_fpuc(env, in->x87_control);
    set_mxcsr(env, in->mxcsr);
    env->hflags = hidden_flags(env, in->interrupt_shadow);
    env->hflags2 = in->nmi_blocked ? env->hflags2 | HF2_NMI_MASK : env->hflags2 & ~HF2_NMI_MASK;

    /* Unicorn never clears the exception in flight; a stale one turns the next fault into a double fault. */
    env->old_exception = -1;
    env->error_code = 0;
    cpu->exception_index = -1;
    cpu->halted = 0;
    if (remapped) {
        tlb_flush(cpu);
    }
}

uint64_t fencepost_linear_pc(struct uc_struct *uc)
{
    CPUX86State *env = uc->cpu->env_ptr;

    return env->segs[R_CS].base + env->eip;
}

/* A general register, to look at and to change inside a hook. */
uint64_t fencepost_gpr(struct uc_struct *uc, int index) { return ((CPUX86State *)uc->cpu->env_ptr)->regs[index]; }

/* The bases of FS and GS. */
void fencepost_bases(struct uc_struct *uc, uint64_t out[2])
{
    CPUX86State *env = uc->cpu->env_ptr;

    out[0] = env->segs[R_FS].base;
    out[1] = env->segs[R_GS].base;
}

/*
 * After a return to an outer level. It makes selectors null that may not be used there, and QEMU forgets the bases with them,
 * which 64-bit code goes on using (SDM 2A, IRET: nothing else of the register is loaded).
 */
void fencepost_keep_bases(struct uc_struct *uc, const uint64_t bases[2])
{
    CPUX86State *env = uc->cpu->env_ptr;
    int i;

    for (i = 0; i < 2; i++) {
        SegmentCache *segment = &env->segs[R_FS + i];
        if (!(segment->selector & 0xfffc) && !segment->base) {
            segment->base = bases[i];
        }
    }
}

/* The selector of the task: a transfer that has changed it has switched tasks. */
uint32_t fencepost_task(struct uc_struct *uc) { return ((CPUX86State *)uc->cpu->env_ptr)->tr.selector; }

void fencepost_set_gpr(struct uc_struct *uc, int index, uint64_t value)
{
    ((CPUX86State *)uc->cpu->env_ptr)->regs[index] = value;
}

/* The page-fault address, to put back after a fault that is not the guest's. */
uint64_t fencepost_cr2(struct uc_struct *uc) { return ((CPUX86State *)uc->cpu->env_ptr)->cr[2]; }

void fencepost_set_cr2(struct uc_struct *uc, uint64_t address) { ((CPUX86State *)uc->cpu->env_ptr)->cr[2] = address; }

/*
 * Makes the next translated block hold at most `count` instructions.
 * A block that runs on into a page without code faults when it is translated, before its first instruction; and every
 * new starting point costs the translation of a whole block, up to 512 instructions.
 */
void fencepost_limit_block(struct uc_struct *uc, uint32_t count) { uc->cpu->cflags_next_tb = curr_cflags() | count; }

/*
 * Before an instruction that is executed if the engine `goes_on`; the next block is limited as above.
 * At hooks on memory Unicorn puts its program counter back to the instruction, where it is already, by the code that has
 * called this hook: that only takes time, and from a far transfer or a task switch, which access memory when they have a new
 * one, takes it away. Where the engine stops, it has to.
 */
void fencepost_before_instruction(struct uc_struct *uc, int goes_on, uint32_t count)
{
    uc->skip_sync_pc_on_exit = goes_on;
    fencepost_limit_block(uc, count);
}

/*
 * What decides how code is found, decoded and stepped: CR0, CR3, CR4, EFER, CS's L and D bits, the trap flag, whether DR7
 * enables breakpoints or guards debug registers, whether alignment is checked, and whether MXCSR leaves an exception unmasked.
 */
void fencepost_mode(struct uc_struct *uc, uint64_t out[9])
{
    CPUX86State *env = uc->cpu->env_ptr;

    out[0] = env->cr[0];
    out[1] = env->cr[3];
    out[2] = env->cr[4];
    out[3] = env->efer;
    out[4] = (env->hflags & HF_CS64_MASK) ? 64 : (env->hflags & HF_CS32_MASK) ? 32 : 16;
    out[5] = (cpu_compute_eflags(env) & TF_MASK) != 0;
    out[6] = (env->dr[7] & 0x20ff) != 0;
    out[7] = (env->cr[0] & CR0_AM_MASK) && (env->eflags & AC_MASK) && (env->hflags & HF_CPL_MASK) == 3;
    out[8] = (~env->mxcsr & 0x1f80) != 0;
}

/* After an exception was reported and before the next run: its error code, and forget it. */
int fencepost_take_exception(struct uc_struct *uc)
{
    CPUX86State *env = uc->cpu->env_ptr;
    int code = env->error_code;

    env->error_code = 0;
    env->old_exception = -1;
    uc->cpu->exception_index = -1;
    uc->cpu->halted = 0;
    return code;
}

/*
 * After an instruction that may have loaded flags or TR, and while there are breakpoints after every one. RF only matters to
 * them, and Unicorn's PUSHF shows it, where a processor does not: without, it is not kept. It `ends` with the instruction that
 * comes after the one that has set it (SDM 3B 18.3.1.1).
 */
void fencepost_settle(struct uc_struct *uc, int ends)
{
    CPUX86State *env = uc->cpu->env_ptr;

    if (ends || (env->dr[7] & 0xff) == 0) {
        env->eflags &= ~RF_MASK;
    }
    settle_task(env);
}

/*
 * After a fault of an instruction before which a hook was called. All flags were then computed into CC_SRC; but what a fault
 * puts back is how they were kept before the hook, and that is another way.
 */
void fencepost_take_flags_of_fault(struct uc_struct *uc)
{
    const target_ulong arithmetic = CC_O | CC_S | CC_Z | CC_A | CC_P | CC_C;
    CPUX86State *env = uc->cpu->env_ptr;

    CC_OP = CC_OP_EFLAGS;
    env->eflags = (env->eflags & ~arithmetic) | (CC_SRC & arithmetic);
}

/* What SSE instructions have raised, as flags of MXCSR, and forget it. */
uint32_t fencepost_take_floats(struct uc_struct *uc)
{
    CPUX86State *env = uc->cpu->env_ptr;
    uint32_t flags = raised(env);

    set_float_exception_flags(0, &env->sse_status);
    return flags;
}

/* Sets `flags` in MXCSR. */
void fencepost_set_floats(struct uc_struct *uc, uint32_t flags) { ((CPUX86State *)uc->cpu->env_ptr)->mxcsr |= flags; }

/* What decides whether an interrupt may come: bit 0 IF, bit 1 the shadow of STI or MOV SS, bit 2 NMI blocked. */
uint32_t fencepost_openness(struct uc_struct *uc)
{
    CPUX86State *env = uc->cpu->env_ptr;

    return ((env->eflags & IF_MASK) != 0) | ((env->hflags & HF_INHIBIT_IRQ_MASK) != 0) << 1 |
           ((env->hflags2 & HF2_NMI_MASK) != 0) << 2;
}

/* Whether the exception just reported comes from INT n, INT3 or INTO. */
int fencepost_is_software(struct uc_struct *uc) { return ((CPUX86State *)uc->cpu->env_ptr)->exception_is_int; }

/* Sources of an interruption; mirrors `Source` in interruption.rs. */
enum { SOURCE_EXCEPTION, SOURCE_SOFTWARE, SOURCE_HARDWARE };

/*
 * Enters the guest's handler of `vector` as SDM 3A 6.12 to 6.14 say, by QEMU's own code; EIP is that of the faulting
 * instruction, or the next one's. An exception on the way is delivered in its place, as 6.15 (interrupt 8) says; on the way
 * of INT n it is a fault of that instruction, which is at linear address `pc`.
 * Returns the vector whose handler is entered, -1 on a triple fault, -2 when there is no memory where the processor looked.
 */
int fencepost_deliver(struct uc_struct *uc, int vector, int source, int error_code, uint64_t pc)
{
    CPUState *cpu = uc->cpu;
    CPUX86State *env = cpu->env_ptr;
    bool is_contributory = vector == 0 || (vector >= 10 && vector <= 14) || vector == EXCP08_DBLE;
    volatile bool is_hardware = source == SOURCE_HARDWARE;
    volatile bool is_on_the_way = false;
    volatile target_ulong flags;
    uint32_t task = env->tr.selector;
    int result;

    env->eflags = cpu_compute_eflags(env);
    flags = env->eflags;
    if (source == SOURCE_SOFTWARE) {
        /* It has got past what the flag is for. */
        env->eflags &= ~RF_MASK;
    }
    if (source == SOURCE_EXCEPTION && vector != EXCP01_DB) {
        /* The frame of a fault has RF set, so that its instruction is tried again past a breakpoint (SDM 3B 18.3.1.1). */
        env->eflags |= RF_MASK;
    }
    cpu->exception_index = vector;
    env->error_code = error_code;
    env->exception_is_int = source == SOURCE_SOFTWARE;
    env->exception_next_eip = env->eip;
    env->old_exception = source == SOURCE_EXCEPTION && is_contributory ? vector : -1;
    uc->nested_level++;
    if (sigsetjmp(uc->jmp_bufs[uc->nested_level - 1], 0) != 0) {
        /* An exception was raised on the way here, or memory is missing. */
        is_hardware = false;
        is_on_the_way = true;
        if (source == SOURCE_SOFTWARE && env->tr.selector == task) {
            env->eip = pc - env->segs[R_CS].base;
            if (!(env->hflags & HF_CS64_MASK)) {
                env->eip = (uint32_t)env->eip;
            }
            env->eflags |= RF_MASK;
        } else if (env->tr.selector != task) {
            /* It is the new task's. */
            env->eflags |= RF_MASK;
        }
    }
    if (is_on_the_way && uc->invalid_error != UC_ERR_OK) {
        result = -2;
    } else if (cpu->exception_index == EXCP_HLT) {
        result = -1;
    } else if (is_hardware) {
        if (vector == EXCP02_NMI) {
            /* No further one until IRET (SDM 3A 6.7.1), which QEMU's own code does. */
            env->hflags2 |= HF2_NMI_MASK;
        }
        do_interrupt_x86_hardirq(env, vector, 1);
        result = vector;
    } else {
        x86_cpu_do_interrupt(cpu);
        result = cpu->exception_index;
    }
    if (result < 0) {
        env->eflags = flags;
    } else {
        /* The shadow of STI or MOV SS is that of one instruction, whose place the handler has taken. */
        env->hflags &= ~HF_INHIBIT_IRQ_MASK;
        /* A task gate has loaded them, and in pieces. */
        env->eflags = cpu_compute_eflags(env);
    }
    uc->nested_level--;
    uc->invalid_error = UC_ERR_OK;
    uc->stop_request = false;
    settle_task(env);
    env->exception_is_int = 0;
    env->error_code = 0;
    env->old_exception = -1;
    cpu->exception_index = -1;
    cpu->halted = 0;
    return result;
}

/* Drops translated code that was made from `length` bytes of guest memory living at host address `host`. */
void fencepost_drop_code(struct uc_struct *uc, void *host, uint64_t length)
{
    ram_addr_t start = qemu_ram_addr_from_host(uc, host);

    if (start != RAM_ADDR_INVALID) {
        tb_invalidate_phys_range(uc, start, start + length);
    }
}

void fencepost_flush_tlb(struct uc_struct *uc) { tlb_flush(uc->cpu); }

/* Mirrors `PageFill` in unicorn.rs. */
struct fencepost_page {
    /* In: CR0, CR3, CR4, EFER, PAT. */
    uint64_t mode[5];
    uint64_t linear;
    /* READ, WRITE or EXECUTE as in QEMU's `prot`, and whether a user asks. */
    uint32_t access, is_user;
    /* Out (in, without paging): where the page is, how long it is, and what the engine may do with it. */
    uint64_t physical, bytes;
    uint32_t allowed;
    /* Out: whether pages must be forgotten: 1 that of `lost_page`, 2 all. */
    uint32_t lost;
    uint64_t lost_page;
    /* Out: not to be cached. */
    uint32_t asks_again;
    /* Out: this engine is not to make the access. */
    uint32_t is_refused;
};

/* What is asked for at a miss of the engine's own cache of translations. Mirrors `Question` in unicorn.rs. */
enum { FILL_LOOK_UP, FILL_WALKS, FILL_WALKED, FILL_FAULTED, FILL_UNPAGED };
typedef bool (*fencepost_fill)(void *data, int what, struct fencepost_page *page);

/* The engine's processor class with a fill function of ours, found by the pointer that is in every CPUState. */
struct fencepost_class {
    X86CPUClass class;
    fencepost_fill fill;
    void *data;
};

static bool ask(struct fencepost_class *class, CPUState *cpu, int what, struct fencepost_page *page)
{
    bool answer = class->fill(class->data, what, page);

    if (page->lost == 1) {
        tlb_flush_page(cpu, page->lost_page);
    } else if (page->lost) {
        tlb_flush(cpu);
    }
    page->lost = 0;
    return answer;
}

/* An access that this engine is not to make ends as at a page fault. */
static bool refuse(CPUState *cpu, vaddr addr, bool probe, uintptr_t retaddr)
{
    if (!probe) {
        raise_exception_err_ra(cpu->env_ptr, EXCP0E_PAGE, 0, retaddr);
    }
    return false;
}

/* A page fault, of which nothing has been found in memory (SDM 3A 5.7). */
static void note_missing(CPUState *cpu, vaddr addr, MMUAccessType access, int mmu_idx)
{
    CPUX86State *env = cpu->env_ptr;
    bool tells_fetch = ((env->efer & MSR_EFER_NXE) && (env->cr[4] & CR4_PAE_MASK)) || (env->cr[4] & CR4_SMEP_MASK);

    env->cr[2] = addr;
    env->error_code = (access == MMU_DATA_STORE ? PG_ERROR_W_MASK : 0) | (mmu_idx == MMU_USER_IDX ? PG_ERROR_U_MASK : 0) |
                      (access == MMU_INST_FETCH && tells_fetch ? PG_ERROR_I_D_MASK : 0);
    cpu->exception_index = EXCP0E_PAGE;
}

/*
 * Fills the engine's cache from the core's translation lookaside buffer, which is asked first; then page tables are walked by
 * QEMU's own code, which sets accessed and dirty bits and knows what a fault is, and what they say is noted.
 */
static bool fill_from_core(CPUState *cpu, vaddr addr, int size, MMUAccessType access, int mmu_idx, bool probe,
                           uintptr_t retaddr)
{
    struct fencepost_class *class = (struct fencepost_class *)cpu->cc;
    CPUX86State *env = cpu->env_ptr;
    struct fencepost_page page = {{env->cr[0], env->cr[3], env->cr[4], env->efer, env->pat}};

    page.linear = addr;
    page.access = 1u << access;
    page.is_user = mmu_idx == MMU_USER_IDX;
    if (!(env->cr[0] & CR0_PG_MASK)) {
        page.physical = (uint32_t)addr & x86_get_a20_mask(env);
        page.bytes = TARGET_PAGE_SIZE;
        page.allowed = PAGE_READ | PAGE_WRITE | PAGE_EXEC;
        ask(class, cpu, FILL_UNPAGED, &page);
    } else if (!ask(class, cpu, FILL_LOOK_UP, &page)) {
        bool walks = ask(class, cpu, FILL_WALKS, &page);

        if (page.is_refused) {
            return refuse(cpu, addr, probe, retaddr);
        }
        if (!walks) {
            note_missing(cpu, addr, access, mmu_idx);
        }
        if (!walks || !x86_cpu_tlb_fill(cpu, addr, size, access, mmu_idx, true, retaddr)) {
            ask(class, cpu, FILL_FAULTED, &page);
            if (!probe) {
                raise_exception_err_ra(env, cpu->exception_index, env->error_code, retaddr);
            }
            return false;
        }
        if (!ask(class, cpu, FILL_WALKED, &page)) {
            return true;
        }
        if (page.is_refused) {
            /* QEMU has cached it. */
            tlb_flush_page(cpu, addr);
        }
    }
    if (page.is_refused) {
        return refuse(cpu, addr, probe, retaddr);
    }
    tlb_set_page_with_attrs(cpu, addr & TARGET_PAGE_MASK, page.physical & TARGET_PAGE_MASK, cpu_get_mem_attrs(env),
                            page.allowed, mmu_idx, page.asks_again ? 1 : page.bytes);
    return true;
}

/*
 * The same, but what is cached for data is not for fetches: stores to a page that can be executed are slow for ever, whether
 * there is code or not, and without paging or NX that is every page.
 */
static bool fill_for_one_use(CPUState *cpu, vaddr addr, int size, MMUAccessType access, int mmu_idx, bool probe,
                             uintptr_t retaddr)
{
    bool answer = fill_from_core(cpu, addr, size, access, mmu_idx, probe, retaddr);

    if (answer && access != MMU_INST_FETCH) {
        tlb_entry(cpu->env_ptr, mmu_idx, addr)->addr_code = -1;
    }
    return answer;
}

/* `class` is room for the engine's class, and outlives the engine. */
size_t fencepost_class_size(void) { return sizeof(struct fencepost_class); }

void fencepost_fill_with(struct uc_struct *uc, struct fencepost_class *class, fencepost_fill fill, void *data)
{
    class->class = *(X86CPUClass *)uc->cpu->cc;
    class->fill = fill;
    class->data = data;
    class->class.parent_class.tlb_fill = fill_for_one_use;
    uc->cpu->cc = &class->class.parent_class;
}

void fencepost_flush_page(struct uc_struct *uc, uint64_t address) { tlb_flush_page(uc->cpu, address); }

/*
 * Before first use: no address ends a run (an `until` of 0 would), and a translation buffer of `bytes`.
 *
 * Code is known by its offset among all mapped memory. Until something has been unmapped Unicorn takes the end of the last
 * mapping in its list for the next free offset, but the list is in order of size: mappings would share offsets, and one's code
 * be taken for another's. What it does afterwards is right, so it is told that something has been.
 */
int fencepost_configure(struct uc_struct *uc, uint32_t bytes)
{
    uc_err error = uc_ctl_set_tcg_buffer_size(uc, bytes);

    uc->ram_list.freed = true;
    return error != UC_ERR_OK ? error : uc_ctl_exits_enable(uc);
}
