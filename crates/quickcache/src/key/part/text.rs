//! Text as an entry keeps it. Most keys are short; those lie in the entry itself, so that a hit that compares them does not
//! follow one pointer more, to memory that is seldom in a cache.

use std::fmt;

/// Kept text: up to 22 bytes in place, more on the heap.
#[derive(Clone)]
pub struct KeptText(Repr);

#[derive(Clone)]
enum Repr {
    Short {
        len: u8,
        bytes: [u8; KeptText::SHORT],
    },
    Long(Box<str>),
}

impl KeptText {
    const SHORT: usize = 22;

    #[inline]
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = [0; Self::SHORT];
        match bytes.get_mut(..text.len()) {
            Some(start) => {
                start.copy_from_slice(text.as_bytes());
                KeptText(Repr::Short {
                    len: text.len() as u8,
                    bytes,
                })
            }
            None => KeptText(Repr::Long(text.into())),
        }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Repr::Long(text) => text.as_bytes(),
        }
    }

    /// Whether it is this text. Short ones are compared by words that may overlap: a call of `memcmp` takes longer.
    #[inline]
    pub(super) fn is(&self, text: &[u8]) -> bool {
        let kept = self.as_bytes();
        if kept.len() != text.len() {
            return false;
        }
        if let (Some(first), Some(kept_first), Some(last), Some(kept_last)) = (
            text.first_chunk::<8>(),
            kept.first_chunk::<8>(),
            text.last_chunk::<8>(),
            kept.last_chunk::<8>(),
        ) && text.len() <= 24
        {
            let (middle, kept_middle) = match (text.get(8..16), kept.get(8..16)) {
                (Some(middle), Some(kept_middle)) => (middle, kept_middle),
                _ => (&last[..], &kept_last[..]),
            };
            return first == kept_first && last == kept_last && middle == kept_middle;
        }
        kept == text
    }

    pub(super) fn heap(&self) -> usize {
        match &self.0 {
            Repr::Short { .. } => 0,
            Repr::Long(text) => text.len(),
        }
    }
}

impl PartialEq for KeptText {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for KeptText {}

impl fmt::Debug for KeptText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.as_bytes()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_text_is_kept_as_it_is() {
        assert_eq!(size_of::<KeptText>(), 24);
        for len in 0..60 {
            let text = "é".repeat(len);
            let kept = KeptText::new(&text);
            assert_eq!(kept.as_bytes(), text.as_bytes());
            assert_eq!(kept.heap(), if text.len() > 22 { text.len() } else { 0 });
            assert!(kept == kept.clone() && kept != KeptText::new("other"));
            assert!(kept.is(text.as_bytes()) && !kept.is(b"other"));
            // Another text of the same length, different at any one place.
            for at in 0..text.len() {
                let mut other = text.clone().into_bytes();
                other[at] ^= 1;
                assert!(!kept.is(&other), "{len} {at}");
            }
        }
    }
}
