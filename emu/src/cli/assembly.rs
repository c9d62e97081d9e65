//! Instructions as text, in nasm's syntax.

use iced_x86::{Formatter, Instruction, NasmFormatter, SymbolResolver};

/// `instruction` as nasm spells it.
pub(super) fn text(instruction: &Instruction) -> String {
    let mut text = String::new();
    with_our_options(NasmFormatter::new()).format(instruction, &mut text);
    text
}

/// A formatter that knows the names of addresses.
pub(super) fn formatter_with(names: Box<dyn SymbolResolver>) -> NasmFormatter {
    with_our_options(NasmFormatter::with_options(Some(names), None))
}

/// Hexadecimal numbers as in C, a blank after the comma.
fn with_our_options(mut formatter: NasmFormatter) -> NasmFormatter {
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_space_after_operand_separator(true);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    formatter
}
