//! The `#[quickcache]` attribute and `#[derive(KeyPart)]`. Use them through the crate `quickcache`, where they are documented.
//!
//! `options` reads the attribute, `signature` the function, `vary_on` sets one against the other; `free` writes a
//! function and `block` an impl block, out of the pieces in `source`.

use proc_macro::TokenStream;
use syn::parse::Parser;

mod block;
mod derive;
mod duration;
mod free;
mod options;
mod signature;
mod source;
mod suggest;
mod vary_on;

/// Caches a function, or the methods of an impl block. See the crate `quickcache`.
#[proc_macro_attribute]
pub fn quickcache(attr: TokenStream, item: TokenStream) -> TokenStream {
    let original = proc_macro2::TokenStream::from(item.clone());
    match expand(attr.into(), item.into()) {
        Ok(tokens) => tokens.into(),
        // The item stays, so that what uses it is not an error too.
        Err(error) => {
            let (error, item) = (
                error.into_compile_error(),
                block::without_attributes(original),
            );
            quote::quote!(#error #item).into()
        }
    }
}

fn expand(
    attr: proc_macro2::TokenStream,
    item: proc_macro2::TokenStream,
) -> syn::Result<proc_macro2::TokenStream> {
    match syn::parse2::<syn::Item>(item.clone()) {
        Ok(syn::Item::Fn(item)) => free::expand(&parse_options.parse2(attr)?, item),
        Ok(syn::Item::Impl(item)) => {
            if !attr.is_empty() {
                let message = "options stand on each method; on the impl block the attribute is only `#[quickcache]`";
                return Err(syn::Error::new_spanned(attr, message));
            }
            block::expand(item)
        }
        Ok(other) => Err(syn::Error::new_spanned(
            other,
            "`#[quickcache]` caches functions: write it on a function, or on an impl block and its methods",
        )),
        // A method of an impl block or a trait is not an item.
        Err(error) => match syn::parse2::<syn::ImplItemFn>(item) {
            Ok(method) => match method.sig.receiver() {
                Some(receiver) => Err(syn::Error::new_spanned(
                    receiver,
                    "this is a method: write `#[quickcache]` on its impl block too",
                )),
                None => Err(error),
            },
            Err(_) => Err(error),
        },
    }
}

fn parse_options(input: syn::parse::ParseStream<'_>) -> syn::Result<options::Options> {
    input.parse()
}

/// Makes a struct or an enum a key value. See `quickcache::KeyPart`.
#[proc_macro_derive(KeyPart, attributes(quickcache))]
pub fn key_part(item: TokenStream) -> TokenStream {
    syn::parse(item)
        .and_then(derive::expand)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
