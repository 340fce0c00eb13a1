//! `vary_on` and `skip_arg` against the arguments of the function: which arguments they mention, and which they only
//! seem to.

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::visit::Visit;
use syn::{Expr, ExprPath, Pat, Path, Type, spanned::Spanned};

use crate::options::{Options, VaryOn, also};
use crate::signature::{Arg, Function};
use crate::suggest::{did_you_mean, list, nearest};

/// What is known of a function's key after it was checked.
pub struct KeyPlan {
    /// One expression per part, or one whole for a `vary_on` function.
    pub parts: Parts,
    /// Arguments (by position) that the companions take.
    pub mentioned: Vec<usize>,
    /// Those, and what the skip is asked of.
    pub read: Vec<usize>,
    pub skip: Skip,
    /// For `explain`: the parts as the user wrote them.
    pub names: Vec<String>,
    /// What is wrong with `vary_on` or `skip_arg`; see [`Options::error`].
    pub error: Option<syn::Error>,
}

pub enum Parts {
    Expressions(Vec<Expr>),
    Function(TokenStream),
}

pub enum Skip {
    Never,
    Argument(Ident),
    Function(TokenStream),
}

impl KeyPlan {
    pub fn read(options: &Options, function: &Function) -> syn::Result<KeyPlan> {
        let mut error = None;
        let skip = skip(options, function).unwrap_or_else(|wrong| {
            error = Some(wrong);
            Skip::Never
        });
        let skip_at = match &skip {
            Skip::Argument(name) => function.args.iter().position(|arg| arg.ident == *name),
            _ => None,
        };
        let Some(vary_on) = &options.vary_on else {
            // If another option is wrong, it may be this one.
            return Err(options.error.clone().unwrap_or_else(|| {
                syn::Error::new(
                    options.place,
                    "vary_on is missing: say which arguments the value varies on, as in `vary_on = [person.id]`; `vary_on = []` if it is always the same",
                )
            }));
        };
        let mut list = None;
        if let VaryOn::Function(path) = vary_on
            && let Some(name) = path.get_ident()
            && function.arg(name).is_some()
        {
            let message = format!("vary_on takes a list: `vary_on = [{name}]`");
            also(&mut error, syn::Error::new(path.span(), message));
            list = Some(VaryOn::Parts(vec![syn::parse_quote!(#path)]));
        }
        match list.as_ref().unwrap_or(vary_on) {
            VaryOn::Parts(exprs) => {
                let mut mentioned = BTreeSet::new();
                let mut names = Vec::new();
                if exprs.len() > 12 {
                    let message = "vary_on takes at most twelve key values; put some of them in a tuple: `(a, b)`";
                    return Err(syn::Error::new(exprs[12].span(), message));
                }
                let mut parts = Vec::new();
                for expr in exprs {
                    let named = mentions(expr, function, &mut mentioned)
                        .and_then(|()| has_a_type(expr, function));
                    match named {
                        Ok(()) => {
                            names.push(written(expr));
                            parts.push(expr.clone());
                        }
                        Err(wrong) => also(&mut error, wrong),
                    }
                }
                if let Some(at) = skip_at
                    && mentioned.contains(&at)
                    && let Some(path) = &options.skip_arg
                {
                    let name = &function.args[at].ident;
                    let message = format!(
                        "`{name}` cannot be both in vary_on and skip_arg: a call that skips would never find the entry it is to replace"
                    );
                    also(&mut error, syn::Error::new(path.span(), message));
                }
                let mentioned: Vec<usize> = mentioned.into_iter().collect();
                Ok(KeyPlan {
                    parts: Parts::Expressions(parts),
                    read: read(&mentioned, skip_at, &skip, function),
                    mentioned,
                    skip,
                    names,
                    error,
                })
            }
            VaryOn::Function(path) => {
                let mentioned: Vec<usize> = (0..function.args.len())
                    .filter(|at| Some(*at) != skip_at)
                    .collect();
                let args = mentioned.iter().map(|&at| handed(&function.args[at]));
                let call = quote_spanned!(path.span()=> #path(#(#args),*));
                Ok(KeyPlan {
                    parts: Parts::Function(call),
                    read: read(&mentioned, skip_at, &skip, function),
                    mentioned,
                    skip,
                    names: vec![written(path)],
                    error,
                })
            }
        }
    }

    /// The key as a tuple of borrowed parts. Where it stands, `internal::NoPart` is in scope.
    pub fn key(&self, krate: &Path) -> TokenStream {
        let part = |place: Span, part: TokenStream| {
            let krate = placed(krate.to_token_stream(), place);
            quote_spanned!(place=> #krate::internal::Part(&(#part)).part(),)
        };
        let parts = self.each(part);
        quote!((#(#parts)*))
    }

    /// Asks that every part has a key form. Written once, so that one without is one error: [`key`](Self::key) has a
    /// stand-in for it.
    pub fn bounds(&self, krate: &Path) -> TokenStream {
        let bound = |place: Span, part: TokenStream| {
            let krate = placed(krate.to_token_stream(), place);
            quote_spanned!(place=> #krate::internal::has_key_form(&(#part));)
        };
        let bounds = self.each(bound);
        quote!(if false { #(#bounds)* })
    }

    fn each(&self, write: impl Fn(Span, TokenStream) -> TokenStream) -> Vec<TokenStream> {
        match &self.parts {
            Parts::Expressions(exprs) => exprs
                .iter()
                .map(|expr| write(expr.span(), expr.to_token_stream()))
                .collect(),
            Parts::Function(call) => vec![write(call.span(), call.clone())],
        }
    }

    /// An expression of type `bool`: is the cache to be skipped?
    pub fn skips(&self) -> TokenStream {
        match &self.skip {
            Skip::Never => quote!(false),
            Skip::Argument(name) => quote!(#name),
            // With a type, so that another one is an error in the user's terms.
            Skip::Function(call) => {
                quote_spanned!(call.span()=> { let skip: bool = #call; skip })
            }
        }
    }
}

/// The tokens as if they stood at `place`.
pub fn placed(tokens: TokenStream, place: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|mut token| {
            token.set_span(place);
            token
        })
        .collect()
}

/// An argument handed to a `vary_on` or `skip_arg` function: references and plain numbers as they are, the rest borrowed.
fn handed(arg: &Arg) -> TokenStream {
    let name = &arg.ident;
    match &arg.ty {
        _ if arg.receiver => quote!(&*#name),
        Type::Reference(reference) if reference.mutability.is_some() => quote!(&*#name),
        Type::Reference(_) => quote!(#name),
        Type::Path(path) if path.path.get_ident().is_some_and(is_plain) => quote!(#name),
        _ => quote!(&#name),
    }
}

fn is_plain(name: &Ident) -> bool {
    const PLAIN: [&str; 16] = [
        "bool", "char", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64",
        "i128", "isize", "f32", "f64",
    ];
    PLAIN.contains(&name.to_string().as_str())
}

fn skip(options: &Options, function: &Function) -> syn::Result<Skip> {
    let Some(path) = &options.skip_arg else {
        return Ok(Skip::Never);
    };
    let Some(arg) = path.get_ident().and_then(|name| function.arg(name)) else {
        let names = function.names();
        if let Some(name) = path.get_ident()
            && let Some(near) = nearest(&name.to_string(), names.iter().map(String::as_str))
        {
            let message = format!("skip_arg: no argument named `{name}`; did you mean `{near}`?");
            return Err(syn::Error::new(name.span(), message));
        }
        let args = function.args.iter().map(handed);
        return Ok(Skip::Function(
            quote_spanned!(path.span()=> #path(#(#args),*)),
        ));
    };
    let name = &arg.ident;
    if let Type::Path(ty) = &arg.ty
        && ty.path.is_ident("bool")
    {
        return Ok(Skip::Argument(format_ident!(
            "{}",
            name,
            span = path.span()
        )));
    }
    let ty = written(&arg.ty);
    let message = format!(
        "skip_arg must be a `bool`; `{name}` is `{ty}` (a function of the arguments can turn it into one)"
    );
    Err(syn::Error::new(path.span(), message))
}

fn read(
    mentioned: &[usize],
    skip_at: Option<usize>,
    skip: &Skip,
    function: &Function,
) -> Vec<usize> {
    match skip {
        Skip::Function(_) => (0..function.args.len()).collect(),
        _ => mentioned.iter().copied().chain(skip_at).collect(),
    }
}

/// Two types may be kept alike, and only a type with a name tells their entries apart.
fn has_a_type(expr: &Expr, function: &Function) -> syn::Result<()> {
    let mut whole = expr;
    while let Expr::Reference(syn::ExprReference { expr, .. })
    | Expr::Paren(syn::ExprParen { expr, .. }) = whole
    {
        whole = expr;
    }
    let Expr::Path(path) = whole else {
        return Ok(());
    };
    let arg = path.path.get_ident().and_then(|name| function.arg(name));
    let mut ty = arg.map(|arg| &arg.ty);
    while let Some(Type::Reference(reference)) = ty {
        ty = Some(&reference.elem);
    }
    if !matches!(ty, Some(Type::ImplTrait(_))) {
        return Ok(());
    }
    Err(syn::Error::new(
        expr.span(),
        "an `impl Trait` cannot be a key value, since its type has no name by which its entries are told from those of another: write a type parameter, `fn f<T: Trait>(x: T)`",
    ))
}

fn mentions(expr: &Expr, function: &Function, found: &mut BTreeSet<usize>) -> syn::Result<()> {
    let mut mentions = Mentions {
        function,
        found,
        bound: Vec::new(),
        error: None,
    };
    mentions.visit_expr(expr);
    mentions.error.map_or(Ok(()), Err)
}

struct Mentions<'a> {
    function: &'a Function,
    found: &'a mut BTreeSet<usize>,
    /// Names that the expression itself binds (the arguments of a closure).
    bound: Vec<String>,
    error: Option<syn::Error>,
}

impl Mentions<'_> {
    fn name(&mut self, name: &Ident) -> bool {
        match self.function.args.iter().position(|arg| arg.ident == *name) {
            Some(at) => {
                self.found.insert(at);
                true
            }
            None => false,
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    self.name(&name);
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Mentions<'_> {
    fn visit_expr_path(&mut self, expr: &'ast ExprPath) {
        let Some(name) = expr.path.get_ident() else {
            return;
        };
        let text = name.to_string();
        // A name in capitals is a constant, or a unit struct.
        if self.name(name) || self.bound.contains(&text) || text.starts_with(char::is_uppercase) {
            return;
        }
        let names = self.function.names();
        let near = nearest(&text, names.iter().map(String::as_str));
        // What was meant is what the companions take.
        self.found
            .extend(near.and_then(|near| names.iter().position(|name| name == near)));
        let near = did_you_mean(near);
        let message = if text == "self" {
            "vary_on: this function has no `self`".to_owned()
        } else if names.is_empty() {
            format!("vary_on: no argument named `{text}`; the function has none: `vary_on = []`")
        } else {
            let known = list(&names);
            format!("vary_on: no argument named `{text}`{near}\nthe arguments are {known}")
        };
        self.error
            .get_or_insert(syn::Error::new(name.span(), message));
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if !matches!(&*call.func, Expr::Path(_)) {
            self.visit_expr(&call.func);
        }
        call.args.iter().for_each(|arg| self.visit_expr(arg));
    }

    fn visit_pat(&mut self, pat: &'ast Pat) {
        if let Pat::Ident(pat) = pat {
            self.bound.push(pat.ident.to_string());
        }
        syn::visit::visit_pat(self, pat);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.tokens(mac.tokens.clone());
    }
}

/// Tokens as a person writes them: for messages and `explain`.
pub fn written(tokens: &impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (spaced, tight) in [
        (" . ", "."),
        (" :: ", "::"),
        (":: ", "::"),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        ("& ", "&"),
        (" [", "["),
        ("[ ", "["),
        (" ]", "]"),
        (" < ", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        ("* ", "*"),
    ] {
        text = text.replace(spaced, tight);
    }
    text
}
