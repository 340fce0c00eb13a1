//! A look at what is under a key, and under its function's own key. Looks that are made at once are one `MGET` (in a cluster one for each bucket), in which a function is asked for
//! once: for the server a key more is much less than a command more, and so it is for whoever reads the replies.

use std::borrow::Cow;
use std::time::Duration;

use redis::Value;

use super::commands::Commands;
use super::link::Out;
use super::names::{FUNCTION, Names, VALUE};
use super::record::{Fence, FunctionToken};

/// What is looked at.
#[derive(Clone, Copy)]
pub struct Look {
    pub key: [u8; 20],
    pub function: [u8; 20],
    /// Whether a faster tier wants to know how long the value may still live.
    pub life: bool,
}

/// What was found.
#[derive(Debug)]
pub struct Looked {
    /// What is under the key.
    pub held: Option<Vec<u8>>,
    /// What is left of its life, if that was asked.
    pub left: Option<Duration>,
    /// What the function's own key holds.
    pub function: Option<FunctionToken>,
    /// Who said so.
    pub fence: Fence,
}

/// What came of a look.
pub type Outcome = Result<Looked, Out>;

/// Looks, those of one bucket together.
pub(super) struct ByBucket<'a> {
    pub(super) looks: Cow<'a, [Look]>,
    /// Where each of them was; nothing, if there.
    places: Vec<usize>,
}

impl<'a> ByBucket<'a> {
    pub(super) fn of(looks: &'a [Look], names: &Names) -> Self {
        if !names.cluster || looks.len() < 2 {
            return ByBucket {
                looks: looks.into(),
                places: Vec::new(),
            };
        }
        let mut places: Vec<usize> = (0..looks.len()).collect();
        places.sort_by_key(|at| names.bucket(&looks[*at].key));
        ByBucket {
            looks: places.iter().map(|at| looks[*at]).collect(),
            places,
        }
    }

    /// What came of each of them, as they were.
    pub(super) fn in_place<T>(&self, looked: Vec<T>) -> Vec<T> {
        if self.places.is_empty() {
            return looked;
        }
        let mut placed: Vec<_> = self.places.iter().zip(looked).collect();
        placed.sort_unstable_by_key(|(at, _)| **at);
        placed.into_iter().map(|(_, looked)| looked).collect()
    }
}

/// The functions of looks, each once.
fn functions(looks: &[Look]) -> Vec<[u8; 20]> {
    let mut functions = Vec::new();
    for look in looks {
        if !functions.contains(&look.function) {
            functions.push(look.function);
        }
    }
    functions
}

/// Asks for all of them, which are of one bucket. What is left of a life is asked first, so that no value gets its successor's.
pub(super) fn pack(looks: &[Look], names: &Names, commands: &mut Commands) {
    let Some(first) = looks.first() else {
        return;
    };
    let bucket = names.bucket(&first.key);
    for look in looks {
        if look.life {
            commands.begin(2);
            commands.argument(b"PTTL");
            names.add(commands, VALUE, bucket, &look.key);
        }
    }
    let functions = functions(looks);
    commands.begin(1 + looks.len() + functions.len());
    commands.argument(b"MGET");
    for look in looks {
        names.add(commands, VALUE, bucket, &look.key);
    }
    for function in &functions {
        names.add(commands, FUNCTION, bucket, function);
    }
}

/// What the replies to `pack` say; `None` if they are not what was expected.
pub fn unpack(looks: &[Look], fence: Fence, replies: Vec<Value>) -> Option<Vec<Looked>> {
    if looks.is_empty() {
        return Some(Vec::new());
    }
    let mut replies = replies.into_iter();
    let mut lives = Vec::with_capacity(looks.len());
    for look in looks {
        lives.push(match look.life {
            false => None,
            true => match replies.next()? {
                Value::Int(left) => Some(life(left)),
                _ => return None,
            },
        });
    }
    let Value::Array(held) = replies.next()? else {
        return None;
    };
    let functions = functions(looks);
    if held.len() != looks.len() + functions.len() {
        return None;
    }
    let mut held = held.into_iter();
    let values: Vec<_> = held.by_ref().take(looks.len()).collect();
    let tokens: Vec<Option<FunctionToken>> = held
        .map(|token| Some(bytes(token)?.and_then(|token| token.try_into().ok())))
        .collect::<Option<_>>()?;
    let looked = looks.iter().zip(values).zip(lives);
    looked
        .map(|((look, held), left)| {
            let at = functions.iter().position(|of| *of == look.function)?;
            Some(Looked {
                held: bytes(held)?,
                left,
                function: tokens[at],
                fence,
            })
        })
        .collect()
}

/// A bulk string, or nothing; `None` if it is something else.
pub fn bytes(value: Value) -> Option<Option<Vec<u8>>> {
    match value {
        Value::Nil => Some(None),
        Value::BulkString(bytes) => Some(Some(bytes)),
        _ => None,
    }
}

/// What PTTL says: nothing at all if there is no key, or one that is not ours, since ours all have an end.
pub fn life(left: i64) -> Duration {
    Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(key: u8, function: u8, life: bool) -> Look {
        Look {
            key: [key; 20],
            function: [function; 20],
            life,
        }
    }

    fn bulk(byte: u8, length: usize) -> Value {
        Value::BulkString(vec![byte; length])
    }

    #[test]
    fn looks_at_once_are_one_question_in_which_each_function_is_asked_for_once() {
        let looks = [look(1, 7, true), look(2, 8, false), look(3, 7, true)];
        let mut commands = Commands::default();
        let names = Names {
            namespace: "ns".to_owned(),
            database: 0,
            cluster: false,
        };
        pack(&looks, &names, &mut commands);
        assert_eq!(commands.count(), 3);
        let text = String::from_utf8_lossy(commands.bytes()).into_owned();
        assert!(text.contains("*6\r\n$4\r\nMGET"), "{text}");
        assert_eq!(text.matches("ns:f:0707").count(), 1);

        let array = vec![
            bulk(b'a', 3),
            Value::Nil,
            bulk(b'c', 3),
            bulk(70, 16),
            Value::Nil,
        ];
        let replies = vec![Value::Int(10), Value::Int(-2), Value::Array(array)];
        let looked = unpack(&looks, [9; 16], replies).expect("as expected");
        let [one, two, three] = looked.try_into().expect("three");
        assert_eq!(one.held.as_deref(), Some(&b"aaa"[..]));
        assert_eq!(one.left, Some(Duration::from_millis(10)));
        assert_eq!(one.function, Some([70; 16]));
        assert_eq!((two.held, two.left, two.function), (None, None, None));
        assert_eq!(three.left, Some(Duration::ZERO));
        assert_eq!(three.function, one.function);
    }

    #[test]
    fn replies_that_do_not_fit_are_none() {
        let looks = [look(1, 7, true)];
        for replies in [
            vec![],
            vec![Value::Nil, Value::Array(vec![Value::Nil, Value::Nil])],
            vec![Value::Int(1), Value::Array(vec![Value::Nil])],
            vec![Value::Int(1), Value::Int(1)],
            vec![Value::Int(1), Value::Array(vec![Value::Int(2), Value::Nil])],
        ] {
            assert!(unpack(&looks, [0; 16], replies).is_none());
        }
    }
}
