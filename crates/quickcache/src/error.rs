//! What goes wrong in a cache that its user is told about. A call of a cached function never fails for the cache's sake:
//! these errors come from what a program asks of a cache outright.

use std::fmt;

/// An error of the cache, naming the function, the tier or the option it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Kind>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// A clear that is in force here, but not yet in every tier.
    Pending {
        function: String,
        failures: Vec<String>,
    },
    /// An operation that a tier cannot do.
    CannotClearAll { function: String, tier: String },
    /// Text that is not a span of time.
    Span { text: String, why: &'static str },
    /// A value that a codec cannot write or read.
    Codec { why: String },
}

impl Error {
    pub(crate) fn pending(function: &str, failures: Vec<String>) -> Self {
        Error(Box::new(Kind::Pending {
            function: function.to_owned(),
            failures,
        }))
    }

    pub(crate) fn cannot_clear_all(function: &str, tier: &str) -> Self {
        Error(Box::new(Kind::CannotClearAll {
            function: function.to_owned(),
            tier: tier.to_owned(),
        }))
    }

    pub(crate) fn span(text: &str, why: &'static str) -> Self {
        Error(Box::new(Kind::Span {
            text: text.to_owned(),
            why,
        }))
    }

    /// For a [`Codec`](crate::Codec): the value cannot be written, or the bytes cannot be read.
    #[must_use]
    pub fn codec(why: impl fmt::Display) -> Self {
        Error(Box::new(Kind::Codec {
            why: why.to_string(),
        }))
    }

    /// Whether a clear did not reach every tier.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(*self.0, Kind::Pending { .. })
    }

    /// Whether a tier cannot do what was asked of it.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(*self.0, Kind::CannotClearAll { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Pending { function, failures } => write!(
                f,
                "the clear of `{function}` is not applied in every tier: {}",
                failures.join("; ")
            ),
            Kind::CannotClearAll { function, tier } => write!(
                f,
                "`{function}::clear_all` cannot clear tier `{tier}`: it has no list of its keys; clear the keys one by one, \
                 or give the function a new `version`"
            ),
            Kind::Span { text, why } => write!(
                f,
                "\"{text}\" {why}: write a number and a unit, as in \"250ms\", \"10s\", \"5m\", \"1h\" or \"7d\""
            ),
            Kind::Codec { why } => write!(f, "codec: {why}"),
        }
    }
}

impl std::error::Error for Error {}
