//! `"1h"`, `"10s"`, `"5m"`, `"250ms"`: a span of time as text, read while compiling.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Expr, Lit};

/// A timeout as written: milliseconds if it was text or a number in text, else the user's expression of a `Duration`.
pub enum Span {
    Millis(u64),
    Expression(Box<Expr>),
}

impl Span {
    /// Reads the value of `option`.
    pub fn from_expr(option: &str, expr: Expr) -> syn::Result<Span> {
        let fail = |message: String| Err(syn::Error::new_spanned(&expr, message));
        let advice =
            "write a number and a unit, as in \"250ms\", \"10s\", \"5m\", \"1h\" or \"7d\"";
        match &expr {
            Expr::Lit(lit) => match &lit.lit {
                Lit::Str(text) => match millis(&text.value()) {
                    // It turns off what a cache says.
                    Ok(0) if option == "stale_timeout" => Ok(Span::Millis(0)),
                    Ok(0) => {
                        let why = if option == "patience" {
                            "no call would wait for another"
                        } else {
                            "nothing would ever be cached"
                        };
                        fail(format!("{option} of zero: {why}; {advice}"))
                    }
                    Ok(millis) => Ok(Span::Millis(millis)),
                    Err(why) => fail(format!("{option}: {why}; {advice}")),
                },
                Lit::Int(n) => fail(format!("{option} = {n} has no unit; {advice}")),
                Lit::Float(n) => fail(format!("{option} = {n} has no unit; {advice}")),
                _ => fail(format!("{option} is a span of time; {advice}")),
            },
            Expr::Unary(unary) if matches!(unary.op, syn::UnOp::Neg(_)) => {
                fail(format!("{option} cannot be negative; {advice}"))
            }
            Expr::Array(_) | Expr::Tuple(_) | Expr::Range(_) | Expr::Closure(_) => fail(format!(
                "{option} is a span of time; {advice}, or a `Duration`"
            )),
            _ => Ok(Span::Expression(Box::new(expr))),
        }
    }

    /// An expression of type `Duration`.
    pub fn tokens(&self) -> TokenStream {
        match self {
            Span::Millis(millis) => quote!(::core::time::Duration::from_millis(#millis)),
            Span::Expression(expr) => quote!(#expr),
        }
    }
}

/// The unit table, longest suffix first where one ends with another.
const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
];

fn millis(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(format!("`{text}` is negative"));
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim());
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{text}` is not a whole number with a unit"))?;
    if unit.is_empty() {
        return Err(format!("`{text}` has no unit"));
    }
    let (_, factor) = UNITS
        .into_iter()
        .find(|&(name, _)| name == unit)
        .ok_or_else(|| format!("`{unit}` is not a unit of time"))?;
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("`{text}` is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_in_every_unit() {
        assert_eq!(millis("250ms"), Ok(250));
        assert_eq!(millis("10s"), Ok(10_000));
        assert_eq!(millis("5m"), Ok(300_000));
        assert_eq!(millis("1h"), Ok(3_600_000));
        assert_eq!(millis("7 d"), Ok(604_800_000));
    }

    #[test]
    fn what_is_not_a_span_is_refused() {
        for bad in [
            "",
            "5",
            "m",
            "-1s",
            "5 minutes",
            "1.5h",
            "99999999999999999d",
        ] {
            assert!(millis(bad).is_err(), "{bad}");
        }
    }
}
