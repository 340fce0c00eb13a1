//! What runs inside Redis, each on one key, so that it is one step there whatever else goes on; and what their replies mean. The bytes that
//! they compare are those of `record`.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, Pipeline, Script, Value};

use super::record::{Era, HEAD, Record, Token, claim};
use crate::clock;

/// How long a function's own key lives if nobody asks for it: longer than any value that goes by it is likely to. Gone, it is a clear.
const FUNCTION_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* static $name: LazyLock<Script> = LazyLock::new(|| Script::new($text));)*

        /// Has a server learn them all; it forgets them when it is started again.
        pub fn load() -> Pipeline {
            let mut pipeline = redis::pipe();
            $(pipeline.cmd("SCRIPT").arg("LOAD").arg($text);)*
            pipeline
        }
    };
}

scripts! {
    /// The value, or the time that is left of another's lease (which notes that somebody waits), or the lease.
    CLAIM = r"
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 2, 33) == ARGV[1] then
  local left = redis.call('PTTL', KEYS[1])
  if string.sub(held, 1, 1) == 'V' then return {left, held} end
  if string.sub(held, 1, 1) == 'L' then
    redis.call('SETRANGE', KEYS[1], 49, 'w')
    return {left}
  end
end
redis.call('SET', KEYS[1], 'L' .. ARGV[1] .. ARGV[2] .. '-', 'PX', ARGV[3])
return {}
";
    /// Takes the key over: who had a lease of it may not store any more. A value stays, with its life, until it is replaced.
    TAKE = r"
local held = redis.call('GETRANGE', KEYS[1], 0, 49)
if string.sub(held, 2, 33) == ARGV[1] then
  redis.call('SETRANGE', KEYS[1], 33, ARGV[2])
  if string.sub(held, 1, 1) == 'L' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
else
  redis.call('SET', KEYS[1], 'L' .. ARGV[1] .. ARGV[2] .. '-', 'PX', ARGV[3])
end
return 1
";
    /// Stores, if the token is still there. Who waits is told, and everybody, if that was said: a value that is no fill takes the place of
    /// what other machines have in memory.
    FILL = r"
local held = redis.call('GETRANGE', KEYS[1], 0, 49)
if string.sub(held, 2, 49) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if ARGV[6] == '1' or string.sub(held, 50, 50) == 'w' then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
return 1
";
    /// Replaces what was read, if nothing has changed it since.
    SWAP = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
return 1
";
    /// Gives a lease back.
    RELEASE = r"
local held = redis.call('GETRANGE', KEYS[1], 0, 49)
if string.sub(held, 1, 49) ~= 'L' .. ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if string.sub(held, 50, 50) == 'w' then redis.call('PUBLISH', ARGV[2], ARGV[3]) end
return 1
";
    /// Keeps a lease alive.
    RENEW = r"
local held = redis.call('GETRANGE', KEYS[1], 0, 48)
if held ~= 'L' .. ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
";
    /// Takes away what is there, and tells every machine. May be said again at any time.
    CLEAR = r"
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[1], ARGV[2])
return 1
";
    /// What the function's own key holds; what is given, if it holds nothing.
    FUNCTION = r"
local held = redis.call('GET', KEYS[1])
if held then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return held
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
";
}

/// Adds a script with its key and arguments.
fn call<'a>(pipeline: &'a mut Pipeline, script: &Script, key: &[u8]) -> &'a mut Pipeline {
    pipeline
        .cmd("EVALSHA")
        .arg(script.get_hash())
        .arg(1)
        .arg(key)
}

fn millis(time: Duration) -> u64 {
    clock::millis(time).max(1)
}

/// Reads key and function's key. With `life`, what is left of it before that: asked first, so that no value gets its successor's.
pub fn look(key: &[u8], function: &[u8], life: bool) -> Pipeline {
    let mut pipeline = redis::pipe();
    if life {
        pipeline.cmd("PTTL").arg(key);
    }
    pipeline.cmd("MGET").arg(key).arg(function);
    pipeline
}

/// What `look` found.
pub struct Looked {
    /// What is under the key.
    pub held: Option<Vec<u8>>,
    /// What is left of its life, if that was asked.
    pub left: Option<Duration>,
    /// What the function's own key holds.
    pub function: Option<Vec<u8>>,
}

/// Of the replies to `look`.
pub fn looked(replies: Vec<Value>) -> Option<Looked> {
    let mut replies = replies.into_iter().rev();
    let Value::Array(both) = replies.next()? else {
        return None;
    };
    let [held, function]: [Value; 2] = both.try_into().ok()?;
    let left = match replies.next() {
        None => None,
        Some(Value::Int(left)) => Some(life(left)),
        Some(_) => return None,
    };
    Some(Looked {
        held: bytes(held)?,
        left,
        function: bytes(function)?,
    })
}

/// A bulk string, or nothing; `None` if it is something else.
fn bytes(value: Value) -> Option<Option<Vec<u8>>> {
    match value {
        Value::Nil => Some(None),
        Value::BulkString(bytes) => Some(Some(bytes)),
        _ => None,
    }
}

/// What PTTL says: nothing at all if there is no key, or one that is not ours, since ours all have an end.
fn life(left: i64) -> Duration {
    Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

/// Claims the lease of a key.
pub fn claim_lease(key: &[u8], era: &Era, token: Token, lease: Duration) -> Pipeline {
    let mut pipeline = redis::pipe();
    call(&mut pipeline, &CLAIM, key)
        .arg(&era.bytes())
        .arg(&token.0)
        .arg(millis(lease));
    pipeline
}

/// What became of a claim.
#[derive(Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It has a value: the record, and what is left of its life.
    Held(Vec<u8>, Duration),
    /// Another call has the lease.
    Waits,
    /// This one has it.
    Leased,
}

/// Of the reply to `claim_lease`.
pub fn claimed(replies: Vec<Value>) -> Option<Claimed> {
    let [Value::Array(reply)]: [Value; 1] = replies.try_into().ok()? else {
        return None;
    };
    let mut reply = reply.into_iter();
    match (reply.next(), reply.next()) {
        (None, None) => Some(Claimed::Leased),
        (Some(Value::Int(_)), None) => Some(Claimed::Waits),
        (Some(Value::Int(left)), Some(Value::BulkString(held))) => {
            Some(Claimed::Held(held, life(left)))
        }
        _ => None,
    }
}

/// Takes a key over, to store what is no fill.
pub fn take(key: &[u8], era: &Era, token: Token, lease: Duration) -> Pipeline {
    let mut pipeline = redis::pipe();
    call(&mut pipeline, &TAKE, key)
        .arg(&era.bytes())
        .arg(&token.0)
        .arg(millis(lease));
    pipeline
}

/// What is to be stored, and who is told of it.
pub struct Fill<'a> {
    pub key: &'a [u8],
    /// The function's own key.
    pub function: &'a [u8],
    pub era: &'a Era,
    pub token: Token,
    pub record: &'a [u8],
    pub life: Duration,
    pub channel: &'a [u8],
    pub message: &'a [u8],
    /// Everybody is told, not only who waits.
    pub tell_all: bool,
}

/// Stores a record under a token, and asks for the function's key again: a function that was cleared meanwhile left the lease alone.
pub fn fill(fill: &Fill<'_>) -> Pipeline {
    let mut pipeline = redis::pipe();
    call(&mut pipeline, &FILL, fill.key)
        .arg(&claim(fill.era, fill.token))
        .arg(fill.record)
        .arg(millis(fill.life))
        .arg(fill.channel)
        .arg(fill.message)
        .arg(u8::from(fill.tell_all));
    pipeline.cmd("GET").arg(fill.function);
    pipeline
}

/// Replaces a record that was read; `message` is empty if nobody is told.
pub fn swap(
    key: &[u8],
    (before, after): (&[u8], &[u8]),
    life: Duration,
    channel: &[u8],
    message: &[u8],
) -> Pipeline {
    let mut pipeline = redis::pipe();
    call(&mut pipeline, &SWAP, key)
        .arg(before)
        .arg(after)
        .arg(millis(life))
        .arg(channel)
        .arg(message);
    pipeline
}

/// Whether `fill` stored, and nothing cleared the key, or its function, since the lease was had.
pub fn filled(replies: Vec<Value>, era: &Era) -> Option<bool> {
    let [Value::Int(stored), function]: [Value; 2] = replies.try_into().ok()? else {
        return None;
    };
    let same = bytes(function)?.is_some_and(|held| held == era.function);
    Some(stored == 1 && same)
}

/// Gives a lease back.
pub fn release(key: &[u8], era: &Era, token: Token, channel: &[u8], message: &[u8]) -> Pipeline {
    let mut pipeline = redis::pipe();
    call(&mut pipeline, &RELEASE, key)
        .arg(&claim(era, token))
        .arg(channel)
        .arg(message);
    pipeline
}

/// Keeps a lease alive.
pub fn renew(key: &[u8], era: &Era, token: Token, lease: Duration) -> Pipeline {
    let mut pipeline = redis::pipe();
    call(&mut pipeline, &RENEW, key)
        .arg(&claim(era, token))
        .arg(millis(lease));
    pipeline
}

/// Clears a key, adding to what is to be sent. A function is cleared so too, by its own key.
pub fn clear(pipeline: &mut Pipeline, key: &[u8], channel: &[u8], message: &[u8]) {
    call(pipeline, &CLEAR, key).arg(channel).arg(message);
}

/// Looks for keys of functions, some at a time.
pub fn scan(cursor: &[u8], namespace: &str) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline
        .cmd("SCAN")
        .arg(cursor)
        .arg("MATCH")
        .arg(format!("{namespace}:f:*"))
        .arg("COUNT")
        .arg(1000);
    pipeline
}

/// Of the reply to `scan`: where to go on, and keys.
pub fn scanned(replies: Vec<Value>) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let [Value::Array(reply)]: [Value; 1] = replies.try_into().ok()? else {
        return None;
    };
    let [Value::BulkString(cursor), Value::Array(keys)]: [Value; 2] = reply.try_into().ok()? else {
        return None;
    };
    let keys = keys
        .into_iter()
        .map(|key| bytes(key)?)
        .collect::<Option<_>>()?;
    Some((cursor, keys))
}

/// What the function's own key holds, or is given now.
pub fn function(key: &[u8], fresh: Token) -> Pipeline {
    let mut pipeline = redis::pipe();
    call(&mut pipeline, &FUNCTION, key)
        .arg(&fresh.0)
        .arg(millis(FUNCTION_LIFE));
    pipeline
}

/// The one integer of a reply.
pub fn yes(replies: &[Value]) -> Option<bool> {
    match replies {
        [Value::Int(number)] => Some(*number == 1),
        _ => None,
    }
}

/// The one text of a reply, if it is a function's token.
pub fn token(replies: &[Value]) -> Option<[u8; 16]> {
    match replies {
        [Value::BulkString(held)] => held.as_slice().try_into().ok(),
        _ => None,
    }
}

/// The head and the entry of a record of this era.
pub fn entry(held: &[u8], era: &Era) -> Option<([u8; HEAD], Vec<u8>)> {
    let head = *held.first_chunk()?;
    match Record::read(held, era) {
        Record::Value(entry) => Some((head, entry.to_vec())),
        Record::Lease | Record::Foreign => None,
    }
}

/// One command.
pub fn one(command: Cmd) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.add_command(command);
    pipeline
}
