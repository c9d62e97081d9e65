//! Rust sources as tokens: comments are gone and strings are closed, so a word found here is code.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The lines, counted from 1, on which code says `unsafe`.
pub(super) fn unsafe_lines(source: &str) -> Vec<usize> {
    lines_where(source, |tokens| is_word(&tokens[0], "unsafe"))
}

/// The lines, counted from 1, on which code promises what the compiler cannot check: blocks, impls and extern blocks.
/// An `unsafe fn` asks for a promise instead, and what its body promises stands in blocks of its own.
pub(super) fn promise_lines(source: &str) -> Vec<usize> {
    lines_where(source, |tokens| is_word(&tokens[0], "unsafe") && is_promise(&tokens[1..]))
}

/// The lines, counted from 1, on which one of these macros is called.
pub(super) fn macro_calls(source: &str, names: &[&str]) -> Vec<usize> {
    lines_where(source, |tokens| {
        let called = matches!(tokens.get(1), Some(TokenTree::Punct(mark)) if mark.as_char() == '!');
        called && names.iter().any(|name| is_word(&tokens[0], name))
    })
}

/// The lines of the tokens that fit, each looked at together with those that follow it in its group.
fn lines_where(source: &str, fits: impl Fn(&[TokenTree]) -> bool) -> Vec<usize> {
    let mut lines = Vec::new();
    visit(parse(source), &mut |tokens| {
        if fits(tokens) {
            lines.push(tokens[0].span().start().line);
        }
    });
    lines
}

fn parse(source: &str) -> TokenStream {
    source.parse().unwrap_or_else(|error| panic!("a source of ours is not Rust: {error}\n{source}"))
}

fn visit(stream: TokenStream, look: &mut impl FnMut(&[TokenTree])) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    for (position, token) in tokens.iter().enumerate() {
        look(&tokens[position..]);
        if let TokenTree::Group(group) = token {
            visit(group.stream(), look);
        }
    }
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(name) if name == word)
}

/// Whether what follows `unsafe` is `{`, `impl`, or `extern "ABI" {`.
fn is_promise(following: &[TokenTree]) -> bool {
    let opens = |position: usize| matches!(following.get(position), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace);
    let first = |word| following.first().is_some_and(|token| is_word(token, word));
    opens(0) || first("impl") || first("extern") && (opens(1) || opens(2))
}

#[test]
fn unsafe_counts_in_code_and_only_there() {
    let source = r#"
#![forbid(unsafe_code)] // unsafe
const WORD: &str = "unsafe";
type Hook = unsafe extern "C" fn(u64);
fn f() { if true { unsafe { stop() } } }
"#;
    assert_eq!(unsafe_lines(source), [4, 5]);
}

#[test]
fn a_promise_is_a_block_an_impl_or_an_extern_block() {
    let source = r#"
type Hook = unsafe extern "C" fn(u64);
#[unsafe(no_mangle)]
unsafe extern "C" fn hook() {
    if true { unsafe { stop() } }
}
unsafe impl Send for X {}
unsafe extern "C" { fn stop(); }
"#;
    assert_eq!(promise_lines(source), [5, 7, 8]);
}

#[test]
fn a_macro_counts_where_it_is_called() {
    let source = "fn f() { let todo = \"todo!()\"; if !todo { todo!() } }\n// todo!()";
    assert_eq!(macro_calls(source, &["todo"]), [1]);
}
