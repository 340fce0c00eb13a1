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

    /// Whether it is this text.
    #[inline]
    pub(super) fn is(&self, text: &[u8]) -> bool {
        let kept = self.as_bytes();
        if kept.len() != text.len() {
            return false;
        }
        match (words(text), words(kept)) {
            (Some([a, b, c]), Some([d, e, f])) => (a ^ d) | (b ^ e) | (c ^ f) == 0,
            _ => kept == text,
        }
    }

    pub(super) fn heap(&self) -> usize {
        match &self.0 {
            Repr::Short { .. } => 0,
            Repr::Long(text) => text.len(),
        }
    }
}

/// Most texts that are keys: 8 to 24 bytes as three words, which may overlap: compared without a call of `memcmp`
/// and without a branch on the length.
#[inline]
fn words(text: &[u8]) -> Option<[u64; 3]> {
    if text.len() > 24 {
        return None;
    }
    let last = text.len().checked_sub(8)?;
    let word = |at: usize| Some(u64::from_ne_bytes(*text.get(at..)?.first_chunk()?));
    Some([word(0)?, word(last.min(8))?, word(last)?])
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
