//! Total store order (x86-TSO, CACM 2010; SDM 3A 9.2.2): ordinary stores drain first in, first out.
//!
//! Write-combining and non-temporal stores keep no order among themselves or with ordinary stores (SDM 3A 12.3.1).

use super::Rules;
use crate::store_buffer::StoreKind::Ordinary;

pub(super) const RULES: Rules = Rules {
    name: "tso",
    summary: "total store order, as x86: stores wait in a first-in first-out buffer",
    buffers: |_| true,
    keeps_order: |older, younger| older == Ordinary && younger == Ordinary,
};
