//! One source for code that waits for a device and for code that is waited for: written as `async`,
//! and compiled a second time without.
//!
//! A module that is included twice names one of the two attributes as `each_way` and puts it on what has
//! `async fn` in it. [`asynchronous`] leaves that as it is; [`blocking`] takes away every `async` and
//! every `.await`. So who blocks has no state machines in the program, and who does not has the same
//! algorithm.

use proc_macro::{Group, TokenStream, TokenTree};

/// The code as it stands.
#[proc_macro_attribute]
pub fn asynchronous(_: TokenStream, code: TokenStream) -> TokenStream {
    code
}

/// The code without `async` and `.await`.
#[proc_macro_attribute]
pub fn blocking(_: TokenStream, code: TokenStream) -> TokenStream {
    let mut kept = Vec::new();
    for token in code {
        match token {
            TokenTree::Ident(word) if word.to_string() == "async" => {}
            TokenTree::Ident(word) if word.to_string() == "await" => {
                // The dot before it.
                kept.pop();
            }
            TokenTree::Group(group) => {
                let mut inner =
                    Group::new(group.delimiter(), blocking(TokenStream::new(), group.stream()));
                inner.set_span(group.span());
                kept.push(TokenTree::Group(inner));
            }
            other => kept.push(other),
        }
    }
    kept.into_iter().collect()
}
