//! An impl block: its methods that carry the attribute, and for each a sibling that hands out entries.
//!
//! Statics and the methods' bodies go into an inherent impl block beside it, since a trait's impl block has room for the
//! trait's items alone.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::visit_mut::VisitMut;
use syn::{
    Attribute, FnArg, GenericParam, Generics, ImplItem, ImplItemFn, ItemImpl, Lifetime, Path,
    ReceiverKind, Type, Visibility, WherePredicate,
};

use crate::options::{Options, also};
use crate::signature::{Function, turbofish};
use crate::source::{self, Attributes, companion_doc};
use crate::vary_on::KeyPlan;

pub fn expand(mut item: ItemImpl) -> syn::Result<TokenStream> {
    let mut siblings = TokenStream::new();
    let mut errors: Option<syn::Error> = None;
    let mut found = false;
    let context = Context::of(&item);
    for part in &mut item.items {
        let ImplItem::Fn(method) = part else { continue };
        let Some(options) = take_options(&mut method.attrs) else {
            continue;
        };
        found = true;
        match options.and_then(|options| expand_method(&context, &options, method)) {
            Ok(tokens) => siblings.extend(tokens),
            Err(error) => also(&mut errors, error),
        }
    }
    if !found {
        let message = "no method of this impl block is cached: write `#[quickcache(vary_on = [...])]` on one of them too";
        return Err(syn::Error::new_spanned(&item.self_ty, message));
    }
    let errors = errors.map(syn::Error::into_compile_error);
    Ok(quote!(#errors #item #siblings))
}

/// The item as it would be without the attribute anywhere: what stands when there was an error.
pub fn without_attributes(item: TokenStream) -> TokenStream {
    match syn::parse2::<ItemImpl>(item.clone()) {
        Ok(mut block) => {
            for part in &mut block.items {
                if let ImplItem::Fn(method) = part {
                    method.attrs.retain(|attr| !is_ours(attr));
                }
            }
            block.into_token_stream()
        }
        Err(_) => item,
    }
}

pub fn is_ours(attr: &Attribute) -> bool {
    attr.path()
        .segments
        .last()
        .is_some_and(|last| last.ident == "quickcache")
}

fn take_options(attrs: &mut Vec<Attribute>) -> Option<syn::Result<Options>> {
    let at = attrs.iter().position(is_ours)?;
    let attr = attrs.remove(at);
    if let Some(again) = attrs.iter().position(is_ours) {
        let again = attrs.remove(again);
        let message = "a method is cached once: put all options into one `#[quickcache(...)]`";
        return Some(Err(syn::Error::new_spanned(again, message)));
    }
    Some(match &attr.meta {
        syn::Meta::Path(path) => Err(syn::Error::new_spanned(
            path,
            "vary_on is missing: say which arguments the value varies on, as in `#[quickcache(vary_on = [self.name, key])]`",
        )),
        _ => attr.parse_args::<Options>().map(|options| Options {
            place: syn::spanned::Spanned::span(attr.path()),
            ..options
        }),
    })
}

/// The impl block around a method.
struct Context {
    /// Of the inherent impl block beside it: parameters that occur in the type.
    generics: Generics,
    /// Those of a trait's impl block that do not: they move to the methods.
    moved: Generics,
    self_ty: Type,
    of_trait: Option<Path>,
    /// `type Item = ...`: what `Self::Item` means here.
    types: Vec<Ident>,
}

impl Context {
    fn of(item: &ItemImpl) -> Context {
        let in_type = idents(item.self_ty.to_token_stream());
        let belongs = |param: &GenericParam| in_type.contains(&param_name(param));
        let mut generics = item.generics.clone();
        let mut moved = Generics::default();
        generics.params = item
            .generics
            .params
            .iter()
            .filter(|param| belongs(param))
            .cloned()
            .collect();
        moved.params = item
            .generics
            .params
            .iter()
            .filter(|param| !belongs(param))
            .cloned()
            .collect();
        let moved_names: Vec<String> = moved.params.iter().map(param_name).collect();
        if let Some(clause) = &item.generics.where_clause {
            let (to_moved, stay): (Vec<WherePredicate>, Vec<WherePredicate>) =
                clause.predicates.iter().cloned().partition(|predicate| {
                    idents(predicate.to_token_stream())
                        .iter()
                        .any(|name| moved_names.contains(name))
                });
            generics.where_clause = None;
            generics.make_where_clause().predicates.extend(stay);
            moved.make_where_clause().predicates.extend(to_moved);
        }
        let types = item.items.iter().filter_map(|item| match item {
            ImplItem::Type(ty) => Some(ty.ident.clone()),
            ImplItem::Const(constant) => Some(constant.ident.clone()),
            _ => None,
        });
        Context {
            generics,
            moved,
            self_ty: (*item.self_ty).clone(),
            of_trait: item.trait_.as_ref().map(|(path, _)| path.clone()),
            types: if item.trait_.is_some() {
                types.collect()
            } else {
                Vec::new()
            },
        }
    }

    /// `generics` after those that moved here from the impl block; lifetimes first.
    fn with_moved(&self, generics: &Generics) -> Generics {
        let mut all = generics.clone();
        let is_lifetime = |param: &&GenericParam| matches!(param, GenericParam::Lifetime(_));
        let (own, moved) = (&generics.params, &self.moved.params);
        all.params = (own.iter().filter(is_lifetime))
            .chain(moved.iter().filter(is_lifetime))
            .chain(moved.iter().filter(|param| !is_lifetime(param)))
            .chain(own.iter().filter(|param| !is_lifetime(param)))
            .cloned()
            .collect();
        if let Some(clause) = &self.moved.where_clause {
            all.make_where_clause()
                .predicates
                .extend(clause.predicates.iter().cloned());
        }
        all
    }
}

fn param_name(param: &GenericParam) -> String {
    match param {
        GenericParam::Lifetime(param) => param.lifetime.ident.to_string(),
        GenericParam::Type(param) => param.ident.to_string(),
        GenericParam::Const(param) => param.ident.to_string(),
    }
}

fn idents(tokens: TokenStream) -> Vec<String> {
    tokens
        .into_iter()
        .flat_map(|token| match token {
            proc_macro2::TokenTree::Ident(ident) => vec![ident.to_string()],
            proc_macro2::TokenTree::Group(group) => idents(group.stream()),
            _ => Vec::new(),
        })
        .collect()
}

/// Turns `Self::Item` into `<Self as Trait>::Item`, since the code moves to an inherent impl block.
struct Qualify<'a>(&'a Context);

impl VisitMut for Qualify<'_> {
    fn visit_type_path_mut(&mut self, path: &mut syn::TypePath) {
        if path.qself.is_none()
            && let Some(of_trait) = &self.0.of_trait
            && path.path.segments.len() >= 2
            && path.path.segments[0].ident == "Self"
            && self.0.types.contains(&path.path.segments[1].ident)
        {
            let rest = path.path.segments.iter().skip(1);
            *path = syn::parse_quote!(<Self as #of_trait>::#(#rest)::*);
        }
        syn::visit_mut::visit_type_path_mut(self, path);
    }

    fn visit_expr_path_mut(&mut self, path: &mut syn::ExprPath) {
        if path.qself.is_none()
            && let Some(of_trait) = &self.0.of_trait
            && path.path.segments.len() >= 2
            && path.path.segments[0].ident == "Self"
            && self.0.types.contains(&path.path.segments[1].ident)
        {
            let rest = path.path.segments.iter().skip(1);
            *path = syn::parse_quote!(<Self as #of_trait>::#(#rest)::*);
        }
        syn::visit_mut::visit_expr_path_mut(self, path);
    }
}

/// Gives every lifetime that was left out one name.
struct NameLifetimes<'a>(&'a Lifetime);

impl VisitMut for NameLifetimes<'_> {
    fn visit_type_reference_mut(&mut self, reference: &mut syn::TypeReference) {
        reference.lifetime.get_or_insert_with(|| self.0.clone());
        syn::visit_mut::visit_type_reference_mut(self, reference);
    }
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident == "_" {
            *lifetime = self.0.clone();
        }
    }
    fn visit_type_impl_trait_mut(&mut self, ty: &mut syn::TypeImplTrait) {
        let lifetime = self.0;
        ty.bounds.push(syn::parse_quote!(#lifetime));
    }
    fn visit_parenthesized_generic_arguments_mut(
        &mut self,
        _: &mut syn::ParenthesizedGenericArguments,
    ) {
    }
    fn visit_type_fn_ptr_mut(&mut self, _: &mut syn::TypeFnPtr) {}
}

fn expand_method(
    context: &Context,
    options: &Options,
    method: &mut ImplItemFn,
) -> syn::Result<TokenStream> {
    let written = method.to_token_stream();
    let function = Function::read(&method.sig, options.keep_errors)?;
    let plan = KeyPlan::read(options, &function)?;
    let krate = &options.krate;
    let Attributes {
        outer,
        body: body_attrs,
        shared,
    } = Attributes::sort(&method.attrs);
    let name = &function.sig.ident;
    let vis = match context.of_trait {
        Some(_) => Visibility::Public(Default::default()),
        None => method.vis.clone(),
    };
    let hidden = |what: &str| format_ident!("__quickcache_{}_{}", what, name);
    let (site_fn, kind_fn, identity_fn, body_fn) = (
        hidden("site"),
        hidden("kind"),
        hidden("identity"),
        hidden("uncached"),
    );
    let entry_fn = options
        .entry
        .clone()
        .unwrap_or_else(|| format_ident!("{}_entry", name, span = name.span()));
    let generics = context.with_moved(&function.sig.generics);
    let wheres = &generics.where_clause;
    let fish = turbofish(&generics);

    // What moves to the inherent impl block.
    let mut qualify = Qualify(context);
    let mut block = method.block.clone();
    qualify.visit_block_mut(&mut block);
    let mut moved = function.clone();
    moved.sig.ident = body_fn.clone();
    moved.sig.generics = generics.clone();
    qualify.visit_signature_mut(&mut moved.sig);
    qualify.visit_type_mut(&mut moved.returned);
    qualify.visit_type_mut(&mut moved.value);
    let block = source::body(&function, &plan, &block);
    let body_sig = &moved.sig;

    let site_name = format!("{}::{}", source::type_name(&context.self_ty), name);
    let site = source::site(options, &plan, &site_name, &written);
    let kind = source::kind(options, &moved);
    let kind_type = source::kind_type(options, &moved);
    // Parameters that moved are told apart like the method's own.
    let identifying = source::identifying(&moved);
    // With a name of its own it is called that and nothing else, unless there are types to be told apart.
    let is_generic = |param: &GenericParam| !matches!(param, GenericParam::Lifetime(_));
    let this = (options.name.is_none() || context.generics.params.iter().any(is_generic))
        .then(|| syn::parse_quote!(Self));
    let identity = source::identity(options, &identifying, this);
    let identity_generics = source::plain(&identifying);
    let identity_fish = turbofish(&identifying);
    let key = plan.key(krate);
    let skips = plan.skips();
    let bounds = plan.bounds(krate);
    let import = source::import(krate);
    let args = function.forwarded();
    let asynchronous = function.sig.asyncness;
    let awaits = asynchronous.map(|_| quote!(.await));
    let (run, entry_type) = match asynchronous {
        None => (quote!(lead), quote!(Entry)),
        Some(_) => (quote!(lead_async), quote!(EntryAsync)),
    };
    let of = if function.split {
        quote!(OfValue)
    } else {
        quote!(OfWhole)
    };
    let call = quote!(#krate::internal::Call::new(Self::#site_fn(), Self::#identity_fn #identity_fish(), Self::#kind_fn #fish));
    let pending = Ident::new("__quickcache_pending", proc_macro2::Span::mixed_site());

    // The method itself.
    method.attrs = outer;
    method.sig = function.forwarding();
    method.block = syn::parse_quote!({
        #import
        #bounds
        let #pending = match #call.look(&#key, #skips) {
            ::core::result::Result::Ok(value) => return value,
            ::core::result::Result::Err(pending) => pending,
        };
        #pending.#run(move || Self::#body_fn #fish(#(#args),*)) #awaits
    });

    // Its sibling.
    let life: Lifetime = syn::parse_quote!('quickcache_entry);
    let mut entry_generics = generics.clone();
    let bounds: Vec<WherePredicate> = context
        .generics
        .params
        .iter()
        .chain(&generics.params)
        .filter_map(|param| match param {
            GenericParam::Lifetime(param) => {
                let name = &param.lifetime;
                Some(syn::parse_quote!(#name: #life))
            }
            GenericParam::Type(param) => {
                let name = &param.ident;
                Some(syn::parse_quote!(#name: #life))
            }
            GenericParam::Const(_) => None,
        })
        .collect();
    entry_generics.make_where_clause().predicates.extend(bounds);
    entry_generics.params.insert(0, syn::parse_quote!(#life));
    let entry_wheres = &entry_generics.where_clause;
    let named = |input: &FnArg| {
        let mut input = input.clone();
        match &mut input {
            FnArg::Receiver(receiver) => {
                if let ReceiverKind::Reference(_, lifetime, _) = &mut receiver.kind {
                    lifetime.get_or_insert_with(|| life.clone());
                }
            }
            FnArg::Typed(typed) => {
                qualify_type(context, &mut typed.ty);
                NameLifetimes(&life).visit_type_mut(&mut typed.ty);
            }
        }
        input
    };
    let inputs = function.forwarding().inputs;
    let is_rest = |at: usize| !function.args[at].receiver && !plan.mentioned.contains(&at);
    let params: Vec<FnArg> = (0..inputs.len())
        .filter(|&at| !is_rest(at))
        .map(|at| named(&inputs[at]))
        .collect();
    let rest: Vec<usize> = (0..inputs.len()).filter(|&at| is_rest(at)).collect();
    let rest_types: Vec<Type> = rest
        .iter()
        .filter_map(|&at| match named(&inputs[at]) {
            FnArg::Typed(typed) => Some(*typed.ty),
            FnArg::Receiver(_) => None,
        })
        .collect();
    let rest_names: Vec<&Ident> = rest.iter().map(|&at| &function.args[at].ident).collect();
    let nameable =
        !rest_types.iter().any(|ty| matches!(ty, Type::ImplTrait(_))) && rest_types.len() <= 6;
    let how = Ident::new("__quickcache_how", proc_macro2::Span::mixed_site());
    let handle = Ident::new("__quickcache_handle", proc_macro2::Span::mixed_site());
    let (value, returned) = (&moved.value, &moved.returned);
    let (rest_tuple, runs) = if nameable {
        let body = match asynchronous {
            None => quote!(#pending.how(#how).lead(move || Self::#body_fn #fish(#(#args),*))),
            Some(_) => {
                quote!(async move { #pending.how(#how).lead_async(move || Self::#body_fn #fish(#(#args),*)).await })
            }
        };
        (
            quote!((#(#rest_types,)*)),
            quote!(move |#how, (#(#rest_names,)*)| #body),
        )
    } else {
        let never = match asynchronous {
            None => quote!(match never {}),
            Some(_) => quote!(async move { match never {} }),
        };
        (
            quote!(#krate::internal::Unnameable),
            quote!(move |_, never| #never),
        )
    };
    let entry = match asynchronous {
        None => quote!(#krate::Entry<#life, #value, #returned, #rest_tuple>),
        Some(_) => quote! {
            #krate::EntryAsync<
                #life, #value, #returned, #rest_tuple, impl #krate::internal::Run<#rest_tuple, #returned>
            >
        },
    };
    let pending_for_run = nameable.then(|| quote!(let #pending = #call.anew(&#key);));
    let (own_impl, _, own_where) = context.generics.split_for_impl();
    let self_ty = &context.self_ty;
    let about = companion_doc(&format!(
        "The entry of these arguments in the cache of `{name}`: to clear it, to read it, to set it, to explain it."
    ));
    let errors = source::errors(options, &plan);
    Ok(quote! {
        #errors
        #[allow(
            dead_code, non_snake_case, private_interfaces, private_bounds, unused_lifetimes, unused_variables,
            clippy::all, clippy::pedantic, clippy::nursery
        )]
        #(#shared)*
        impl #own_impl #self_ty #own_where {
            #[doc(hidden)]
            fn #site_fn() -> &'static #krate::internal::Site {
                static SITE: #krate::internal::Site = #site;
                &SITE
            }
            #[doc(hidden)]
            #[inline(always)]
            fn #kind_fn #generics() -> #kind_type #wheres { #kind }
            #[doc(hidden)]
            #[inline(always)]
            fn #identity_fn #identity_generics() -> #krate::internal::Identity { #identity }

            #about
            #vis fn #entry_fn #entry_generics(#(#params),*)
                -> #entry
            #entry_wheres
            {
                #import
                let #handle = #call.entry_to_explain(&#key);
                #pending_for_run
                #krate::#entry_type::new(#krate::internal::#of(#handle), #runs)
            }
        }

        #[allow(dead_code, non_snake_case, private_interfaces, private_bounds, unused_lifetimes)]
        #(#shared)*
        impl #own_impl #self_ty #own_where {
            #[doc(hidden)]
            #(#body_attrs)*
            #body_sig #block
        }
    })
}

fn qualify_type(context: &Context, ty: &mut Type) {
    Qualify(context).visit_type_mut(ty);
}
