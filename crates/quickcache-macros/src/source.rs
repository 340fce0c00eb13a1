//! What functions and methods have in common in the code that is written for them: the static that stands for a cached
//! function, how its result is treated, and what tells its instantiations apart.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, GenericParam, Generics, Type, spanned::Spanned};

use crate::options::Options;
use crate::signature::Function;
use crate::vary_on::KeyPlan;

/// The names in `quickcache::internal` of what a blocking or an async function calls.
pub struct Words {
    pub run: TokenStream,
    pub replace: TokenStream,
    pub clear: TokenStream,
    pub clear_all: TokenStream,
    pub get: TokenStream,
    pub set: TokenStream,
    pub setting: TokenStream,
    pub explain: TokenStream,
}

impl Words {
    pub fn of(function: &Function) -> Words {
        // A `Result` behind an alias is known to the compiler only: its companions speak of the whole of it.
        let (get, set) = match (!function.split, function.sig.asyncness.is_some()) {
            (false, false) => (quote!(get), quote!(set)),
            (true, false) => (quote!(get_whole), quote!(set_whole)),
            (false, true) => (quote!(get_async), quote!(set_async)),
            (true, true) => (quote!(get_whole_async), quote!(set_whole_async)),
        };
        if function.sig.asyncness.is_some() {
            Words {
                run: quote!(lead_async),
                replace: quote!(refresh_async),
                clear: quote!(clear_async),
                clear_all: quote!(clear_all_async),
                get,
                set,
                setting: quote!(SettingAsync),
                explain: quote!(explain_async),
            }
        } else {
            Words {
                run: quote!(lead),
                replace: quote!(refresh),
                clear: quote!(clear),
                clear_all: quote!(clear_all),
                get,
                set,
                setting: quote!(Setting),
                explain: quote!(explain),
            }
        }
    }
}

/// What is wrong with the attribute, as errors of the compiler.
pub fn errors(options: &Options, plan: &KeyPlan) -> TokenStream {
    let errors = options.error.iter().chain(&plan.error);
    errors.map(syn::Error::to_compile_error).collect()
}

/// What has to be in scope where the key is made.
pub fn import(krate: &syn::Path) -> TokenStream {
    quote! {
        #[allow(unused_imports)]
        use #krate::internal::NoPart as _;
    }
}

pub fn companion_doc(text: &str) -> TokenStream {
    quote!(#[doc = #text])
}

/// The attributes of a function, by where they belong.
pub struct Attributes {
    /// On what the user calls.
    pub outer: Vec<Attribute>,
    /// On the function that holds the body.
    pub body: Vec<Attribute>,
    /// On everything.
    pub shared: Vec<Attribute>,
}

impl Attributes {
    pub fn sort(attrs: &[Attribute]) -> Attributes {
        let mut sorted = Attributes {
            outer: Vec::new(),
            body: Vec::new(),
            shared: Vec::new(),
        };
        for attr in attrs {
            let mut attr = attr.clone();
            attr.style = syn::AttrStyle::Outer; // that of a body, too
            let is = |name: &str| attr.path().is_ident(name);
            if is("cfg") {
                sorted.shared.push(attr.clone());
                sorted.outer.push(attr);
            } else if is("expect") {
                // Fulfilled in the body; a lint of the signature is met twice.
                if let syn::Meta::List(list) = &attr.meta {
                    let lints = &list.tokens;
                    sorted.outer.push(syn::parse_quote!(#[allow(#lints)]));
                }
                sorted.body.push(attr);
            } else if ["allow", "warn", "deny", "forbid"].into_iter().any(is) {
                sorted.body.push(attr.clone());
                sorted.outer.push(attr);
            } else {
                sorted.outer.push(attr);
            }
        }
        sorted
    }
}

/// The function's own code. An argument that the attribute reads counts as used, though the code may not mention it.
pub fn body(function: &Function, plan: &KeyPlan, block: &syn::Block) -> TokenStream {
    let read = plan.read.iter().map(|&at| &function.args[at]);
    let names = read.filter(|arg| !arg.receiver).map(|arg| &arg.ident);
    let statements = &block.stmts;
    quote!({ #(let _ = &#names;)* #(#statements)* })
}

/// `Site::new(...)`, a constant.
pub fn site(options: &Options, plan: &KeyPlan, name: &str, item: &impl ToTokens) -> TokenStream {
    let krate = &options.krate;
    let hash = fingerprint(item.to_token_stream());
    let parts = &plan.names;
    let cache = option(options.cache.as_ref().map(|path| {
        let cache = quote_spanned!(path.span()=> #krate::internal::cache_of(&#path));
        quote!(|| #cache)
    }));
    let duration = |span: &Option<crate::duration::Span>| {
        option(span.as_ref().map(|span| {
            let span = span.tokens();
            quote!(|| #span)
        }))
    };
    let (timeout, memoize_timeout, stale_timeout, patience) = (
        duration(&options.timeout),
        duration(&options.memoize_timeout),
        duration(&options.stale_timeout),
        duration(&options.patience),
    );
    let given = option(options.name.as_ref().map(ToTokens::to_token_stream));
    let version = option(options.version.map(|version| quote!(#version)));
    quote! {
        #krate::internal::Site::new(#krate::internal::Declared {
            module: ::core::module_path!(),
            place: {
                enum Here {}
                ::core::any::type_name::<Here>
            },
            function: #name,
            name: #given,
            version: #version,
            source: #hash,
            parts: &[#(#parts),*],
            cache: #cache,
            timeout: #timeout,
            memoize_timeout: #memoize_timeout,
            stale_timeout: #stale_timeout,
            patience: #patience,
        })
    }
}

fn option(tokens: Option<TokenStream>) -> TokenStream {
    match tokens {
        Some(tokens) => quote!(::core::option::Option::Some(#tokens)),
        None => quote!(::core::option::Option::None),
    }
}

/// The type of what [`kind`] makes. Here, and nowhere else, are the bounds of the value asked.
pub fn kind_type(options: &Options, function: &Function) -> TokenStream {
    let krate = &options.krate;
    let (returned, value) = (&function.returned, &function.value);
    let place = value.span();
    if !function.split {
        quote_spanned!(place=> impl #krate::internal::Outcome<Returned = #returned>)
    } else {
        quote_spanned!(place=> impl #krate::internal::Outcome<Returned = #returned, Value = #value>)
    }
}

/// How a result is split, cloned, weighed and encoded: asked of its type, with a fallback where a type cannot do it.
pub fn kind(options: &Options, function: &Function) -> TokenStream {
    let krate = &options.krate;
    let returned = &function.returned;
    let place = function.value.span();
    let probe = if options.keep_errors {
        quote!(#krate::internal::Kept::<#returned>::new())
    } else {
        quote!(#krate::internal::Probe::<#returned>::new())
    };
    let codec = match &options.codec {
        None => quote!((&value).codec()),
        Some(path) => quote_spanned!(path.span()=> value.codec_of::<#path>()),
    };
    let weigh = match &options.weigh {
        None => quote!((&&value).weigh()),
        Some(path) => quote_spanned!(path.span()=> value.weigh_by(#path)),
    };
    let made = quote_spanned!(place=> probe.kind(hooks));
    let made = match options.stale_timeout {
        Some(_) => quote_spanned!(place=> #krate::internal::may_fail(#made)),
        None => made,
    };
    quote! {
        #[allow(unused_imports)]
        use #krate::internal::asked::*;
        let probe = #probe;
        let value = probe.value();
        let error = probe.error();
        let hooks = #krate::internal::Hooks {
            copy: (&&value).copy(),
            codec: #codec,
            weigh: #weigh,
            share: (&error).share(),
        };
        #made
    }
}

/// The type and const parameters: they tell one instantiation from another. Those of the key's parts too, since parts of two
/// types may be kept alike.
pub fn identifying(function: &Function) -> Generics {
    let mut generics = function.sig.generics.clone();
    generics.where_clause = None;
    generics.params = generics
        .params
        .into_iter()
        .filter(|param| !matches!(param, GenericParam::Lifetime(_)))
        .collect();
    generics
}

/// The parameters without their bounds.
pub fn plain(generics: &Generics) -> TokenStream {
    let params = generics.params.iter().map(|param| match param {
        GenericParam::Type(param) => {
            let name = &param.ident;
            quote!(#name: ?::core::marker::Sized)
        }
        GenericParam::Const(param) => {
            let (name, ty) = (&param.ident, &param.ty);
            quote!(const #name: #ty)
        }
        GenericParam::Lifetime(param) => quote!(#param),
    });
    if generics.params.is_empty() {
        TokenStream::new()
    } else {
        quote!(<#(#params),*>)
    }
}

/// An expression of type `Identity`, in a function that declares `generics` as [`plain`] does; `this` is `Self` in an impl.
pub fn identity(options: &Options, generics: &Generics, this: Option<Type>) -> TokenStream {
    let krate = &options.krate;
    let this = this.map_or_else(|| quote!(()), ToTokens::into_token_stream);
    if generics.params.is_empty() {
        return quote!(#krate::internal::Identity::of::<#this>());
    }
    let plain = plain(generics);
    let types = generics.params.iter().filter_map(|param| match param {
        GenericParam::Type(param) => Some(&param.ident),
        _ => None,
    });
    let fish = crate::signature::turbofish(generics);
    quote! {
        #[allow(dead_code)]
        struct Parameters #plain (::core::marker::PhantomData<(#(*const #types,)*)>);
        #krate::internal::Identity::of::<(
            ::core::marker::PhantomData<*const #this>,
            ::core::marker::PhantomData<Parameters #fish>,
        )>()
    }
}

/// A hash of the function's tokens: another body is another function. White space and comments do not count.
fn fingerprint(tokens: TokenStream) -> u64 {
    fn feed(hash: &mut u64, text: &str) {
        for byte in text.bytes().chain([0]) {
            *hash = (*hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3); // FNV-1a
        }
    }
    fn walk(hash: &mut u64, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => {
                    feed(
                        hash,
                        match group.delimiter() {
                            proc_macro2::Delimiter::Parenthesis => "(",
                            proc_macro2::Delimiter::Brace => "{",
                            proc_macro2::Delimiter::Bracket => "[",
                            proc_macro2::Delimiter::None => "",
                        },
                    );
                    walk(hash, group.stream());
                    feed(hash, ")");
                }
                other => feed(hash, &other.to_string()),
            }
        }
    }
    let mut hash = 0xcbf2_9ce4_8422_2325;
    walk(&mut hash, tokens);
    hash
}

/// What a type is called in names: its path without arguments.
pub fn type_name(ty: &Type) -> String {
    match ty {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .map_or_else(String::new, |last| last.ident.to_string()),
        other => crate::vary_on::written(other),
    }
}
