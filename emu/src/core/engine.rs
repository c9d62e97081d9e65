//! The engine module: the only place that knows Unicorn, and the only host code with `unsafe`.
//!
//! A virtual core is executed by two Unicorn engines over the same host memory:
//!
//! - the [`fast`] one runs whole blocks at nearly Unicorn's own speed. Its stores go straight to memory, so it runs only
//!   stretches at whose end the core's store buffer is empty anyway; it stops before whatever needs more care;
//! - the [`precise`] one reports every instruction and every access before it happens, to an [`Observer`].
//!
//! Both are caches of a [`CpuState`](super::cpu_state::CpuState), which moves between them through a C shim
//! (`engine/shim.c`) compiled against Unicorn's own headers. Both take translations of addresses from the core's
//! [`Tlb`](super::tlb::Tlb), which they ask whenever they have none cached.
//!
//! Traps that shaped this code: a stop inside a write hook leaves the store performed and the instruction unretired; no
//! engine notices stores made by another engine or by the host to translated code; `until = 0` is an address like any other;
//! stopping from another thread corrupts the guest; with any memory hook *all* accesses take the slow path.
//!
//! Known limits:
//!
//! - in the fast engine a 16-byte (or longer) store that crosses into a page that faults leaves its first half in memory;
//! - Unicorn does not check the alignment of MOVAPS and its relatives; MONITOR is accepted;
//! - of x87 exceptions only the division by zero is known; what is left out of SSE's is in [`floats`](super::floats);
//! - it does not enforce what segments limit and forbid (SDM 3A 5.3 to 5.5) but for their presence, type and privilege when they
//!   are loaded: offsets past the limit, stores through code segments and accesses through null selectors go on;
//! - of debugging (SDM 3B 18) there are no branch records and no BTF; a #DB handler that is a task does not trap itself;
//! - a transfer to where no address is canonical faults after it;
//! - tasks of 16 bits are read and saved as if their selectors lay four bytes apart.

pub(crate) mod fast;
mod host_memory;
pub(crate) mod precise;
mod seat;
mod unicorn;

pub(crate) use host_memory::HostMemory;
pub(crate) use precise::{Flow, Observer};
pub(crate) use seat::Engines;
pub(crate) use unicorn::Hooked;
