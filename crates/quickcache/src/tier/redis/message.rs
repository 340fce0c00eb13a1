//! What goes over the channel on which clears are told.
//!
//! ```text
//!  0      1          9
//!  ┌──────┬──────────┬──────────────────────────────────────────────────┐
//!  │ kind │ origin   │ key (32), name of the function, nonce (8), or none │
//!  └──────┴──────────┴──────────────────────────────────────────────────┘
//! ```
//!
//! Kind: `C` a key was cleared, `F` a function, `A` all of them, `W` a lease ended for which somebody waits, `N` a canary. Origin: the table of generations of the
//! machine that sent it, which has moved on by itself, and need not be told.

/// A message, its origin apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    Key(&'a [u8; 32]),
    Function(&'a [u8]),
    Everything,
    Wake,
    Canary(u64),
}

impl<'a> Message<'a> {
    pub fn bytes(&self, origin: &[u8; 8]) -> Vec<u8> {
        let (kind, rest): (u8, &[u8]) = match self {
            Message::Key(key) => (b'C', *key),
            Message::Function(name) => (b'F', name),
            Message::Everything => (b'A', b""),
            Message::Wake => (b'W', b""),
            Message::Canary(nonce) => (b'N', &nonce.to_le_bytes()),
        };
        [&[kind][..], origin, rest].concat()
    }

    /// A message and its origin. `None`: it is of a later version, or nobody's.
    pub fn read(bytes: &'a [u8]) -> Option<(Message<'a>, [u8; 8])> {
        let (kind, rest) = bytes.split_first()?;
        let (origin, rest) = rest.split_first_chunk()?;
        let message = match kind {
            b'C' => Message::Key(rest.try_into().ok()?),
            b'F' => Message::Function(rest),
            b'A' => Message::Everything,
            b'W' => Message::Wake,
            b'N' => Message::Canary(u64::from_le_bytes(rest.try_into().ok()?)),
            _ => return None,
        };
        Some((message, *origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written_and_nothing_else_is() {
        let key = [7; 32];
        for message in [
            Message::Key(&key),
            Message::Function(b"name"),
            Message::Everything,
            Message::Wake,
            Message::Canary(9),
        ] {
            let bytes = message.bytes(&[5; 8]);
            assert_eq!(Message::read(&bytes), Some((message, [5; 8])));
            assert_eq!(Message::read(&bytes[..8]), None);
        }
        assert_eq!(Message::read(b"C12345678short"), None);
        assert_eq!(Message::read(b"Z12345678"), None);
        assert_eq!(Message::read(b""), None);
    }
}
