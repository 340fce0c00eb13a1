//! A free function: the function itself, and its companions on an empty enum of its name.
//!
//! A function and a type may share a name, and `use`, `pub` and nesting treat both alike: that is why the companions
//! are on an enum and not in a module, which could not see local types or lie in a function.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{FnArg, Ident, ItemFn};

use crate::block;
use crate::options::Options;
use crate::signature::{Function, turbofish};
use crate::source::{self, Attributes, Words, companion_doc};
use crate::vary_on::KeyPlan;

pub fn expand(options: &Options, item: ItemFn) -> syn::Result<TokenStream> {
    if let Some(receiver) = item.sig.receiver() {
        return Err(syn::Error::new_spanned(
            receiver,
            "this is a method: write `#[quickcache]` on its impl block too",
        ));
    }
    if let Some(again) = item.attrs.iter().find(|attr| block::is_ours(attr)) {
        let message = "a function is cached once: put all options into one `#[quickcache(...)]`";
        return Err(syn::Error::new_spanned(again, message));
    }
    if let Some(entry) = &options.entry {
        return Err(syn::Error::new_spanned(
            entry,
            "entry is for methods; the operations of a function are `name::clear(...)` and the like",
        ));
    }
    let function = Function::read(&item.sig, options.keep_errors)?;
    let plan = KeyPlan::read(options, &function)?;
    let krate = &options.krate;
    let Attributes {
        outer: outer_attrs,
        body: body_attrs,
        shared,
    } = Attributes::sort(&item.attrs);
    let vis = &item.vis;
    let name = &function.sig.ident;
    let asynchronous = function.sig.asyncness;
    let awaits = asynchronous.map(|_| quote!(.await));
    let words = Words::of(&function);
    let Words {
        run,
        replace,
        clear,
        clear_all,
        get,
        set,
        setting,
        explain,
    } = &words;
    let outer_sig = function.forwarding();
    let body_sig = {
        let mut sig = function.sig.clone();
        sig.ident = Ident::new("uncached", name.span());
        sig
    };
    let refresh_sig = {
        let mut sig = function.forwarding();
        sig.ident = Ident::new("refresh", name.span());
        sig
    };
    let block = source::body(&function, &plan, &item.block);
    let fish = turbofish(&function.sig.generics);
    let args = function.forwarded();
    let (generics, wheres) = (&function.sig.generics, &function.sig.generics.where_clause);
    let params: Vec<&FnArg> = plan
        .mentioned
        .iter()
        .map(|&at| &outer_sig.inputs[at])
        .collect();
    let site = source::site(options, &plan, &name.to_string(), &item);
    let kind = source::kind(options, &function);
    let kind_type = source::kind_type(options, &function);
    let identifying = source::identifying(&function);
    let identity = source::identity(options, &identifying, None);
    let identity_generics = source::plain(&identifying);
    let identity_fish = turbofish(&identifying);
    let value = &function.value;
    let key = plan.key(krate);
    let skips = plan.skips();
    let bounds = plan.bounds(krate);
    let import = source::import(krate);
    let call = quote!(#krate::internal::Call::new(
        #name::__site(), #name::__identity #identity_fish(), #name::__kind #fish
    ));
    let pending = Ident::new("__quickcache_pending", proc_macro2::Span::mixed_site());
    let clear_doc = companion_doc(
        "Clears the entry of these arguments: a call that starts after this returned gets a new value.",
    );
    let get_doc = companion_doc("The value of these arguments if one is cached; runs nothing.");
    let set_doc =
        companion_doc("`set_cached_value(...).to(value)` caches a value of the caller's own.");
    let refresh_doc =
        companion_doc("Runs the function now and caches the result, whatever was cached.");
    let key_doc =
        companion_doc("The text of these arguments' key, as a tier outside the process knows it.");
    let explain_doc = companion_doc(
        "The key and its parts, which tier holds it, its age and time left, why the last call missed.",
    );
    let clear_all_doc = companion_doc("Clears every entry of the function, at once.");
    let stats_doc = companion_doc("What the cache did for this function so far.");
    let uncached_doc = companion_doc("The function itself, without a cache.");
    let about = format!("What can be done with the cache of the function [`{name}`](fn@{name}).");
    let errors = source::errors(options, &plan);
    Ok(quote! {
        #errors
        #(#outer_attrs)*
        #vis #outer_sig {
            #import
            #bounds
            let #pending = match #call.look(&#key, #skips) {
                ::core::result::Result::Ok(value) => return value,
                ::core::result::Result::Err(pending) => pending,
            };
            #pending.#run(move || #name::uncached #fish(#(#args),*)) #awaits
        }

        #(#shared)*
        #[doc = #about]
        #[allow(non_camel_case_types, dead_code)]
        #vis enum #name {}

        #(#shared)*
        #[allow(
            dead_code, private_interfaces, private_bounds, unused_lifetimes, unused_variables,
            clippy::all, clippy::pedantic, clippy::nursery
        )]
        impl #name {
            fn __site() -> &'static #krate::internal::Site {
                static SITE: #krate::internal::Site = #site;
                &SITE
            }
            #[inline(always)]
            fn __kind #generics() -> #kind_type #wheres { #kind }
            #[inline(always)]
            fn __identity #identity_generics() -> #krate::internal::Identity { #identity }

            #refresh_doc
            pub #refresh_sig {
                #import
                let #pending = #call.anew(&#key);
                #pending.#replace(move || #name::uncached #fish(#(#args),*)) #awaits
            }
            #clear_doc
            pub #asynchronous fn clear #generics(#(#params),*) -> #krate::Cleared #wheres {
                #import
                #call.entry(&#key).#clear() #awaits
            }
            #get_doc
            pub #asynchronous fn get_cached_value #generics(#(#params),*) -> ::core::option::Option<#value> #wheres {
                #import
                #call.entry(&#key).#get() #awaits
            }
            #set_doc
            pub fn set_cached_value #generics(#(#params),*) -> #krate::#setting<#value> #wheres {
                #import
                #call.entry(&#key).#set()
            }
            #key_doc
            pub fn key #generics(#(#params),*) -> ::std::string::String #wheres {
                #import
                #call.entry(&#key).text()
            }
            #explain_doc
            pub #asynchronous fn explain #generics(#(#params),*) -> #krate::Explanation #wheres {
                #import
                #call.entry_to_explain(&#key).#explain() #awaits
            }
            #clear_all_doc
            pub #asynchronous fn clear_all() -> #krate::Cleared {
                Self::__site().#clear_all() #awaits
            }
            #stats_doc
            pub fn stats() -> #krate::Stats {
                Self::__site().stats()
            }
        }

        #(#shared)*
        #[allow(dead_code, private_interfaces, private_bounds, unused_lifetimes)]
        impl #name {
            #uncached_doc
            #(#body_attrs)*
            pub #body_sig #block
        }
    })
}
