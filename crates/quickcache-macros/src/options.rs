//! The options of the attribute: `name = value` pairs, each known, each at most once.

use proc_macro2::{Ident, Span as Place};
use syn::parse::{Parse, ParseStream};
use syn::{Expr, ExprLit, Lit, LitStr, Path, Token, spanned::Spanned};

use crate::duration::Span;
use crate::suggest::did_you_mean;

pub const NAMES: [&str; 12] = [
    "vary_on",
    "skip_arg",
    "cache",
    "timeout",
    "memoize_timeout",
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
    pub name: Option<LitStr>,
    pub version: Option<u64>,
    pub keep_errors: bool,
    pub codec: Option<Path>,
    pub weigh: Option<Path>,
    /// Methods: the name of the sibling; else `<method>_entry`.
    pub entry: Option<Ident>,
    /// The path of this library, if it goes by another name.
    pub krate: Path,
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
            name: None,
            version: None,
            keep_errors: false,
            codec: None,
            weigh: None,
            entry: None,
            krate: syn::parse_quote!(::quickcache),
        };
        let mut seen: Vec<String> = Vec::new();
        while !input.is_empty() {
            let (name, place) = option_name(input)?;
            if seen.contains(&name) {
                return Err(syn::Error::new(place, format!("`{name}` is given twice")));
            }
            if !input.peek(Token![=]) {
                let message = format!("`{name}` takes a value: `{name} = ...`");
                return Err(syn::Error::new(place, message));
            }
            input.parse::<Token![=]>()?;
            if input.is_empty() || input.peek(Token![,]) {
                let message = format!("`{name}` takes a value: `{name} = ...`");
                return Err(syn::Error::new(place, message));
            }
            options.set(&name, place, input)?;
            seen.push(name);
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
    let near = did_you_mean(&name, NAMES);
    let known = NAMES.join(", ");
    let message = format!("quickcache has no option `{name}`{near}\nthe options are {known}");
    Err(syn::Error::new(word.span(), message))
}

impl Options {
    fn set(&mut self, name: &str, place: Place, input: ParseStream<'_>) -> syn::Result<()> {
        match name {
            "vary_on" => self.vary_on = Some(vary_on(input.parse()?)?),
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
                let advice =
                    "errors takes one word: `errors = keep` caches an `Err` as it caches an `Ok`";
                let word: Ident = input
                    .parse()
                    .map_err(|e| syn::Error::new(e.span(), advice))?;
                if word != "keep" {
                    return Err(syn::Error::new(word.span(), advice));
                }
                self.keep_errors = true;
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
        other => Err(syn::Error::new(other.span(), advice)),
    }
}

fn vary_on(expr: Expr) -> syn::Result<VaryOn> {
    match expr {
        Expr::Array(list) => {
            for part in &list.elems {
                if let Expr::Lit(ExprLit {
                    lit: Lit::Str(text),
                    ..
                }) = part
                {
                    let message = format!(
                        "vary_on takes expressions over the arguments, not text; without the quotes: `{}`",
                        text.value()
                    );
                    return Err(syn::Error::new(text.span(), message));
                }
            }
            Ok(VaryOn::Parts(list.elems.into_iter().collect()))
        }
        Expr::Path(path) if path.qself.is_none() => Ok(VaryOn::Function(path.path)),
        other => Err(syn::Error::new(
            other.span(),
            "vary_on takes a list of expressions over the arguments, as in `vary_on = [person.id, locale]`, or a function",
        )),
    }
}
