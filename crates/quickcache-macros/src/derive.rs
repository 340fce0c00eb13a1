//! `#[derive(KeyPart)]`: a struct or an enum as a key value. What it writes as text is a `Value::Named`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Data, DeriveInput, Fields, Index, spanned::Spanned};

pub fn expand(item: DeriveInput) -> syn::Result<TokenStream> {
    let krate = krate(&item)?;
    let name = &item.ident;
    let text = name.to_string();
    let (generics, arguments, wheres) = item.generics.split_for_impl();
    let part = quote!(#krate::internal::KeyPart);
    // At the field's type, so that one without a key form is one error, there.
    let as_part = |ty: &syn::Type| {
        let part = crate::vary_on::placed(part.clone(), ty.span());
        quote_spanned!(ty.span()=> <#ty as #part>)
    };
    let variants: Vec<Variant> = match &item.data {
        Data::Struct(data) => vec![Variant::of(quote!(#name), String::new(), &data.fields)],
        Data::Enum(data) => data
            .variants
            .iter()
            .map(|variant| {
                let ident = &variant.ident;
                Variant::of(quote!(#name::#ident), ident.to_string(), &variant.fields)
            })
            .collect(),
        Data::Union(data) => {
            let message = "a union cannot be a key value: what it holds cannot be compared";
            return Err(syn::Error::new(data.union_token.span(), message));
        }
    };
    if variants.is_empty() {
        return Err(syn::Error::new(
            name.span(),
            "an enum without members has no values",
        ));
    }
    // Asked of each field's type, at that type, and taken for granted in the rest of the impl block: so a field without a
    // key form is one error.
    let mut bounds = wheres.cloned().unwrap_or_else(|| syn::parse_quote!(where));
    for ty in variants.iter().flat_map(|variant| &variant.types) {
        let part = crate::vary_on::placed(part.clone(), ty.span());
        let bound = quote_spanned!(ty.span()=> #ty: #part);
        bounds.predicates.push(syn::parse2(bound)?);
    }
    // The kept form is a tuple: the number of the member, and the kept fields of the one that it is.
    let tuple = |inner: &dyn Fn(&Variant) -> TokenStream| {
        let each = variants.iter().map(inner);
        quote!((#(#each,)*))
    };
    let owned = tuple(&|variant| {
        let types = variant.types.iter().map(|ty| {
            let part = as_part(ty);
            quote_spanned!(ty.span()=> #part::Owned)
        });
        quote!(::core::option::Option<(#(#types,)*)>)
    });
    let hash = variants.iter().enumerate().map(|(at, variant)| {
        let (pattern, names, types) = (
            &variant.pattern,
            &variant.names,
            variant.types.iter().map(as_part),
        );
        let at = at as u32;
        quote!(#pattern => {
            ::core::hash::Hasher::write_u32(state, #at);
            #(#types::hash_part(#names, state);)*
        })
    });
    let eq = variants.iter().enumerate().map(|(at, variant)| {
        let (pattern, names, types) = (&variant.pattern, &variant.names, variant.types.iter().map(as_part));
        let (at, fields) = (Index::from(at), (0..names.len()).map(Index::from));
        quote!(#pattern => match &owned.#at {
            ::core::option::Option::Some(kept) => { let _ = kept; true #(&& #types::eq_owned(#names, &kept.#fields))* }
            ::core::option::Option::None => false,
        })
    });
    let own = variants.iter().enumerate().map(|(at, variant)| {
        let (pattern, names, types) = (
            &variant.pattern,
            &variant.names,
            variant.types.iter().map(as_part).collect::<Vec<_>>(),
        );
        let members = (0..variants.len()).map(|other| {
            if other == at {
                quote!(::core::option::Option::Some((#(#types::to_owned_part(#names),)*)))
            } else {
                quote!(::core::option::Option::None)
            }
        });
        quote!(#pattern => (#(#members,)*))
    });
    // A struct of one unnamed field is its field.
    let transparent = matches!(&item.data, Data::Struct(data) if matches!(&data.fields, Fields::Unnamed(fields) if fields.unnamed.len() == 1));
    let value = variants.iter().map(|variant| {
        let (pattern, names, types, text_of) = (
            &variant.pattern,
            &variant.names,
            variant.types.iter().map(as_part),
            &variant.text,
        );
        if transparent {
            return quote!(#pattern => #(#types::value(#names))*);
        }
        quote!(#pattern => #krate::key::Value::Named {
            type_name: ::std::borrow::Cow::Borrowed(#text),
            variant: ::std::borrow::Cow::Borrowed(#text_of),
            values: ::std::vec![#(#types::value(#names)),*],
        })
    });
    let heap = variants.iter().enumerate().map(|(at, variant)| {
        let types = variant.types.iter().map(as_part);
        let (at, fields) = (Index::from(at), (0..variant.types.len()).map(Index::from));
        quote!(+ owned.#at.as_ref().map_or(0, |kept| { let _ = kept; 0 #(+ #types::owned_heap(&kept.#fields))* }))
    });
    Ok(quote! {
        #[automatically_derived]
        #[allow(private_bounds)]
        impl #generics #part for #name #arguments #bounds {
            type Owned = #owned;
            fn hash_part<__H: ::core::hash::Hasher>(&self, state: &mut __H) {
                match self { #(#hash)* }
            }
            fn eq_owned(&self, owned: &Self::Owned) -> bool {
                match self { #(#eq,)* }
            }
            fn to_owned_part(&self) -> Self::Owned {
                match self { #(#own,)* }
            }
            fn value(&self) -> #krate::key::Value<'_> {
                match self { #(#value,)* }
            }
            fn owned_heap(owned: &Self::Owned) -> usize {
                0 #(#heap)*
            }
        }
    })
}

/// A member of an enum, or the only one of a struct.
struct Variant {
    pattern: TokenStream,
    names: Vec<syn::Ident>,
    types: Vec<syn::Type>,
    text: String,
}

impl Variant {
    fn of(path: TokenStream, text: String, fields: &Fields) -> Variant {
        let names: Vec<_> = (0..fields.len())
            .map(|at| format_ident!("field_{at}"))
            .collect();
        let pattern = match fields {
            Fields::Named(fields) => {
                let idents = fields.named.iter().map(|field| &field.ident);
                quote!(#path { #(#idents: #names),* })
            }
            Fields::Unnamed(_) => quote!(#path(#(#names),*)),
            Fields::Unit => path,
        };
        Variant {
            pattern,
            names,
            types: fields.iter().map(|field| field.ty.clone()).collect(),
            text,
        }
    }
}

/// `#[quickcache(crate = path)]`, or `::quickcache`.
fn krate(item: &DeriveInput) -> syn::Result<syn::Path> {
    let mut krate = syn::parse_quote!(::quickcache);
    for attr in item
        .attrs
        .iter()
        .filter(|attr| attr.path().is_ident("quickcache"))
    {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("crate") {
                krate = meta.value()?.parse()?;
                Ok(())
            } else {
                Err(meta.error("the only option here is `crate`"))
            }
        })?;
    }
    Ok(krate)
}
