//! What the attribute must know of a function: its arguments, what it returns, and what of it cannot be cached.

use proc_macro2::{Ident, Span as Place, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::visit::Visit;
use syn::{
    FnArg, GenericArgument, GenericParam, Generics, Lifetime, Pat, PathArguments, ReturnType,
    Signature, Type, spanned::Spanned,
};

#[derive(Clone)]
pub struct Arg {
    pub ident: Ident,
    pub ty: Type,
    /// `self`, in any of its forms.
    pub receiver: bool,
}

#[derive(Clone)]
pub struct Function {
    /// As written, but that every argument has a name.
    pub sig: Signature,
    pub args: Vec<Arg>,
    pub returned: Type,
    /// What is stored: `T` of a `Result<T, E>`, unless errors are kept.
    pub value: Type,
    /// `value` is a part of `returned`.
    pub split: bool,
}

impl Function {
    pub fn read(sig: &Signature, keep_errors: bool) -> syn::Result<Function> {
        refuse(sig)?;
        let mut sig = sig.clone();
        let mut args = Vec::new();
        for (at, input) in sig.inputs.iter_mut().enumerate() {
            args.push(argument(at, input)?);
        }
        let returned = match &sig.output {
            ReturnType::Default => syn::parse_quote!(()),
            ReturnType::Type(_, ty) => (**ty).clone(),
        };
        let (value, split) = match result_value(&returned) {
            Some(value) if !keep_errors => (value, true),
            _ => (returned.clone(), false),
        };
        Ok(Function {
            sig,
            args,
            returned,
            value,
            split,
        })
    }

    pub fn names(&self) -> Vec<String> {
        self.args.iter().map(|arg| arg.ident.to_string()).collect()
    }

    pub fn arg(&self, name: &Ident) -> Option<&Arg> {
        self.args.iter().find(|arg| arg.ident == *name)
    }

    /// The signature without `mut` on its arguments: for a body that only hands them on.
    pub fn forwarding(&self) -> Signature {
        let mut sig = self.sig.clone();
        for input in &mut sig.inputs {
            if let FnArg::Typed(typed) = input
                && let Pat::Ident(pat) = &mut *typed.pat
            {
                pat.mutability = None;
            }
        }
        sig
    }

    pub fn forwarded(&self) -> Vec<&Ident> {
        self.args.iter().map(|arg| &arg.ident).collect()
    }
}

/// `::<T, N>`: what a call has to say of the type and const parameters; nothing if there are none.
pub fn turbofish(generics: &Generics) -> TokenStream {
    let params: Vec<&Ident> = generics
        .params
        .iter()
        .filter_map(|param| match param {
            GenericParam::Type(param) => Some(&param.ident),
            GenericParam::Const(param) => Some(&param.ident),
            GenericParam::Lifetime(_) => None,
        })
        .collect();
    if params.is_empty() {
        return TokenStream::new();
    }
    quote!(::<#(#params),*>)
}

fn refuse(sig: &Signature) -> syn::Result<()> {
    let fail = |place: Place, message: &str| Err(syn::Error::new(place, message));
    if let Some(word) = &sig.constness {
        return fail(
            word.span(),
            "a `const fn` cannot be cached: a cache is filled while the program runs",
        );
    }
    if let Some(dots) = &sig.variadic {
        return fail(
            dots.span(),
            "a function with variable arguments cannot be cached",
        );
    }
    if let syn::Safety::Unsafe(word) = &sig.safety {
        return fail(
            word.span(),
            "an `unsafe fn` cannot be cached: its caller's promises end with the call; cache a safe function around it",
        );
    }
    if let ReturnType::Type(_, ty) = &sig.output {
        let mut borrowed = Borrowed(None);
        borrowed.visit_type(ty);
        if let Some(error) = borrowed.0 {
            return Err(error);
        }
    }
    Ok(())
}

/// Finds what cannot outlive the call in a returned type.
struct Borrowed(Option<syn::Error>);

impl Borrowed {
    fn found(&mut self, place: impl ToTokens, message: &str) {
        self.0
            .get_or_insert_with(|| syn::Error::new_spanned(place, message));
    }
}

impl<'ast> Visit<'ast> for Borrowed {
    fn visit_type(&mut self, ty: &'ast Type) {
        match ty {
            Type::ImplTrait(_) => self.found(
                ty,
                "an `impl Trait` cannot be cached: name the type, and collect what is lazy (an iterator into a `Vec`)",
            ),
            Type::Reference(reference) if !is_static(reference.lifetime.as_ref()) => self.found(
                ty,
                "a reference cannot be cached, it would outlive what it borrows: return an owned value (`String` for `&str`, `Arc<T>` for `&T`)",
            ),
            Type::Never(_) => self.found(ty, "a function that never returns has nothing to cache"),
            Type::FnPtr(_) => {}
            _ => syn::visit::visit_type(self, ty),
        }
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident == "async_trait" {
            self.found(
                lifetime,
                "`#[async_trait]` has already made a boxed future of this method: write `#[quickcache]` above it",
            );
        } else if lifetime.ident != "static" {
            self.found(
                lifetime,
                "a value that borrows cannot be cached, it would outlive what it borrows: return an owned value",
            );
        }
    }
}

fn is_static(lifetime: Option<&Lifetime>) -> bool {
    lifetime.is_some_and(|lifetime| lifetime.ident == "static")
}

fn argument(at: usize, input: &mut FnArg) -> syn::Result<Arg> {
    match input {
        FnArg::Receiver(receiver) => Ok(Arg {
            ident: Ident::new("self", receiver.self_token.span()),
            ty: syn::parse_quote!(Self),
            receiver: true,
        }),
        FnArg::Typed(typed) => {
            if let Pat::Wild(wild) = &*typed.pat {
                let ident = format_ident!("_argument_{at}", span = wild.underscore_token.span());
                *typed.pat = syn::parse_quote!(#ident);
            }
            match &*typed.pat {
                Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => Ok(Arg {
                    ident: pat.ident.clone(),
                    ty: (*typed.ty).clone(),
                    receiver: false,
                }),
                pattern => Err(syn::Error::new(
                    pattern.span(),
                    "an argument of a cached function needs a name: take it apart inside the function (`let (a, b) = pair;`)",
                )),
            }
        }
    }
}

/// `T` of `Result<T, ...>`, however the `Result` is reached (`io::Result<T>`).
fn result_value(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    if path.qself.is_some() || last.ident != "Result" {
        return None;
    }
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}
