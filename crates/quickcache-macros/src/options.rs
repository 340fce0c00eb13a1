//! The options of the attribute: `name = value` pairs, each known, each at most once.

use proc_macro2::{Ident, Span as Place, TokenTree};
use syn::parse::{Parse, ParseStream};
use syn::{Expr, ExprLit, Lit, LitStr, Path, Token, spanned::Spanned};

use crate::duration::Span;
use crate::suggest::{did_you_mean, nearest};

pub const NAMES: [&str; 14] = [
    "vary_on",
    "skip_arg",
    "cache",
    "timeout",
    "memoize_timeout",
    "stale_timeout",
    "patience",
    "name",
    "version",
    "errors",
    "codec",
    "weigh",
    "entry",
    "crate",
];

pub struct Options {
    /// Where the attribute stands, for what it lacks.
    pub place: Place,
    pub vary_on: Option<VaryOn>,
    pub skip_arg: Option<Path>,
    pub cache: Option<Path>,
    pub timeout: Option<Span>,
    pub memoize_timeout: Option<Span>,
    pub stale_timeout: Option<Span>,
    pub patience: Option<Span>,
    pub name: Option<LitStr>,
    pub version: Option<u64>,
    pub keep_errors: bool,
    pub codec: Option<Path>,
    pub weigh: Option<Path>,
    /// Methods: the name of the sibling; else `<method>_entry`.
    pub entry: Option<Ident>,
    /// The path of this library, if it goes by another name.
    pub krate: Path,
    /// What is wrong with them. The companions are written all the same, so that code that calls them is not wrong too.
    pub error: Option<syn::Error>,
}

/// Adds an error to those there are.
pub fn also(errors: &mut Option<syn::Error>, error: syn::Error) {
    match errors {
        Some(errors) => errors.combine(error),
        None => *errors = Some(error),
    }
}

pub enum VaryOn {
    /// Expressions over the arguments.
    Parts(Vec<Expr>),
    /// A function of the arguments.
    Function(Path),
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Options {
            place: Place::call_site(),
            vary_on: None,
            skip_arg: None,
            cache: None,
            timeout: None,
            memoize_timeout: None,
            stale_timeout: None,
            patience: None,
            name: None,
            version: None,
            keep_errors: false,
            codec: None,
            weigh: None,
            entry: None,
            krate: syn::parse_quote!(::quickcache),
            error: None,
        };
        let mut seen: Vec<String> = Vec::new();
        while !input.is_empty() {
            if let Err(error) = options.read(input, &mut seen) {
                also(&mut options.error, error);
                while !input.is_empty() && !input.peek(Token![,]) {
                    input.parse::<TokenTree>()?;
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

/// An identifier, or the keyword `crate`; refuses a name that is no option.
fn option_name(input: ParseStream<'_>) -> syn::Result<(String, Place)> {
    if input.peek(Token![crate]) {
        let word: Token![crate] = input.parse()?;
        return Ok(("crate".to_owned(), word.span()));
    }
    let advice =
        "options are written `name = value`, as in `vary_on = [person.id], timeout = \"1h\"`";
    if input.peek(syn::token::Bracket) {
        let message = format!("the list of key values needs its name: `vary_on = [...]`; {advice}");
        return Err(input.error(message));
    }
    let word: Ident = input
        .parse()
        .map_err(|e| syn::Error::new(e.span(), advice))?;
    let name = word.to_string();
    if NAMES.contains(&name.as_str()) {
        return Ok((name, word.span()));
    }
    let near = did_you_mean(nearest(&name, NAMES));
    let known = NAMES.join(", ");
    let message = format!("quickcache has no option `{name}`{near}\nthe options are {known}");
    Err(syn::Error::new(word.span(), message))
}

impl Options {
    /// One `name = value`.
    fn read(&mut self, input: ParseStream<'_>, seen: &mut Vec<String>) -> syn::Result<()> {
        let (name, place) = option_name(input)?;
        if seen.contains(&name) {
            return Err(syn::Error::new(place, format!("`{name}` is given twice")));
        }
        seen.push(name.clone());
        let message = format!("`{name}` takes a value: `{name} = ...`");
        if !input.peek(Token![=]) {
            return Err(syn::Error::new(place, message));
        }
        input.parse::<Token![=]>()?;
        if input.is_empty() || input.peek(Token![,]) {
            return Err(syn::Error::new(place, message));
        }
        self.set(&name, place, input)?;
        if !input.is_empty() && !input.peek(Token![,]) {
            let message = format!("a comma is missing after the value of `{name}`");
            return Err(input.error(message));
        }
        Ok(())
    }

    fn set(&mut self, name: &str, place: Place, input: ParseStream<'_>) -> syn::Result<()> {
        match name {
            "vary_on" => self.vary_on = Some(vary_on(input.parse()?, &mut self.error)?),
            "skip_arg" => {
                let advice = "skip_arg takes the name of an argument, or a function";
                self.skip_arg = Some(path(input, advice)?);
            }
            "cache" => {
                let advice = "cache takes the path of a `QuickCache`, as in `cache = CACHE`";
                self.cache = Some(path(input, advice)?);
            }
            "timeout" => self.timeout = Some(Span::from_expr(name, input.parse()?)?),
            "memoize_timeout" => {
                self.memoize_timeout = Some(Span::from_expr(name, input.parse()?)?);
            }
            "stale_timeout" => self.stale_timeout = Some(Span::from_expr(name, input.parse()?)?),
            "patience" => self.patience = Some(Span::from_expr(name, input.parse()?)?),
            "name" => {
                let text: LitStr = literal(input, "name takes text in quotes: `name = \"posts\"`")?;
                if text.value().is_empty() {
                    return Err(syn::Error::new(text.span(), "name cannot be empty"));
                }
                self.name = Some(text);
            }
            "version" => {
                let advice = "version takes a whole number: `version = 2`";
                let number: syn::LitInt = literal(input, advice)?;
                let number = number.base10_parse();
                self.version = Some(number.map_err(|e| syn::Error::new(e.span(), advice))?);
            }
            "errors" => {
                self.keep_errors = true;
                let advice =
                    "errors takes one word: `errors = keep` caches an `Err` as it caches an `Ok`";
                let word: Ident = input
                    .parse()
                    .map_err(|e| syn::Error::new(e.span(), advice))?;
                if word != "keep" {
                    return Err(syn::Error::new(word.span(), advice));
                }
            }
            "codec" => {
                self.codec = Some(path(
                    input,
                    "codec takes the path of a type: `codec = MessagePack`",
                )?)
            }
            "weigh" => {
                self.weigh = Some(path(input, "weigh takes a function: `weigh = bytes_of`")?)
            }
            "entry" => {
                let advice = "entry takes the name of the method that is to hand out an entry";
                self.entry = Some(
                    input
                        .parse()
                        .map_err(|e| syn::Error::new(e.span(), advice))?,
                );
            }
            "crate" => self.krate = path(input, "crate takes the path of this library")?,
            _ => return Err(syn::Error::new(place, "quickcache has no such option")),
        }
        Ok(())
    }
}

fn literal<T: Parse>(input: ParseStream<'_>, advice: &str) -> syn::Result<T> {
    let place = input.span();
    input.parse().map_err(|_| syn::Error::new(place, advice))
}

fn path(input: ParseStream<'_>, advice: &str) -> syn::Result<Path> {
    let expr: Expr = input
        .parse()
        .map_err(|e| syn::Error::new(e.span(), advice))?;
    match expr {
        Expr::Path(path) if path.qself.is_none() => Ok(path.path),
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => {
            let message = format!("{advice}; without the quotes: `{}`", text.value());
            Err(syn::Error::new(text.span(), message))
        }
        other => Err(syn::Error::new_spanned(other, advice)),
    }
}

fn vary_on(expr: Expr, error: &mut Option<syn::Error>) -> syn::Result<VaryOn> {
    match expr {
        Expr::Array(list) => {
            let mut parts = Vec::new();
            for part in list.elems {
                match &part {
                    Expr::Lit(ExprLit {
                        lit: Lit::Str(text),
                        ..
                    }) => {
                        let message = format!(
                            "vary_on takes expressions over the arguments, not text; without the quotes: `{}`",
                            text.value()
                        );
                        also(error, syn::Error::new(text.span(), message));
                        parts.extend(text.parse::<Expr>());
                    }
                    _ => parts.push(part),
                }
            }
            Ok(VaryOn::Parts(parts))
        }
        Expr::Path(path) if path.qself.is_none() => Ok(VaryOn::Function(path.path)),
        other => Err(syn::Error::new_spanned(
            other,
            "vary_on takes a list of expressions over the arguments, as in `vary_on = [person.id, locale]`, or a function",
        )),
    }
}
