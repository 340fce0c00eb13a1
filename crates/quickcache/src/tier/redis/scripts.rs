//! What runs inside Redis, each on one key, so that it is one step there whatever else goes on; and what their replies mean. The bytes that
//! they compare are those of `record`. A channel of a cluster has a brace in its name, and is of the slot of the key: what goes there stays with the node.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Script, Value};

use super::commands::Commands;
use super::link::{Out, Outcome, unexpected};
use super::look::{bytes, life};
use super::record::{Era, Token, claim};
use crate::clock;

/// How long a function's own key lives if nobody asks for it: longer than any value that goes by it is likely to. Gone, it is a clear.
const FUNCTION_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* static $name: LazyLock<Script> = LazyLock::new(|| Script::new($text));)*

        /// Makes them all: the child of a fork would wait for ever for a thread that was about to make one.
        pub(super) fn make() {
            $(LazyLock::force(&$name);)*
        }

        /// Has a server learn them all; it forgets them when it is started again.
        pub fn load() -> Commands {
            let mut commands = Commands::default();
            $(commands.add([b"SCRIPT", b"LOAD", $text.as_bytes()]);)*
            commands
        }
    };
}

scripts! {
    /// The value, if it is not stale; or the time that is left, while another has the lease (which notes that somebody waits); or the
    /// lease. That of a stale value leaves it where it is. What would last for longer than any lease does is none, nor is what is no text.
    CLAIM = r"
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' and string.sub(held, 2, 33) == ARGV[1] then
  local kind, left = string.sub(held, 1, 1), redis.call('PTTL', KEYS[1])
  if kind == 'V' then return {left, held} end
  local lease = left
  if kind == 'P' then
    if left > (tonumber(string.sub(held, 51, 62)) or left) then return {left, held} end
    lease = left - (tonumber(string.sub(held, 63, 74)) or left)
  end
  local stands = lease > 0 and lease <= 10 * ARGV[3]
  if kind == 'P' and not stands then
    redis.call('SETRANGE', KEYS[1], 33, ARGV[2] .. '-')
    redis.call('SETRANGE', KEYS[1], 62, string.format('%012d', math.max(left - ARGV[3], 0)))
    return {}
  end
  if stands and (kind == 'L' or kind == 'P') then
    redis.call('SETRANGE', KEYS[1], 49, 'w')
    return {left}
  end
end
redis.call('SET', KEYS[1], 'L' .. ARGV[1] .. ARGV[2] .. '-', 'PX', ARGV[3])
return {}
";
    /// Takes the key over: who had a lease of it may not store any more. A value stays, with its life, until it is replaced.
    TAKE = r"
local held = redis.pcall('GETRANGE', KEYS[1], 0, 73)
if type(held) == 'string' and string.sub(held, 2, 33) == ARGV[1] then
  local kind, left = string.sub(held, 1, 1), redis.call('PTTL', KEYS[1])
  redis.call('SETRANGE', KEYS[1], 33, ARGV[2])
  if kind == 'L' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
  if kind == 'P' and left <= (tonumber(string.sub(held, 51, 62)) or left) then
    redis.call('SETRANGE', KEYS[1], 62, string.format('%012d', math.max(left - ARGV[3], 0)))
  end
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
if ARGV[6] == '1' or string.sub(held, 50, 50) == 'w' then redis.call(string.find(ARGV[4], '{', 1, true) and 'SPUBLISH' or 'PUBLISH', ARGV[4], ARGV[5]) end
return 1
";
    /// Replaces what was read, if nothing has changed it since.
    SWAP = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if ARGV[5] ~= '' then redis.call(string.find(ARGV[4], '{', 1, true) and 'SPUBLISH' or 'PUBLISH', ARGV[4], ARGV[5]) end
return 1
";
    /// Gives a lease back; with that of a stale value comes what is left of its life, and the value.
    RELEASE = r"
local held = redis.call('GETRANGE', KEYS[1], 0, 73)
local kind, reply = string.sub(held, 1, 1), 1
if string.sub(held, 2, 49) ~= ARGV[1] or (kind ~= 'L' and kind ~= 'P') then return 0 end
if kind == 'L' then
  redis.call('DEL', KEYS[1])
else
  local left = redis.call('PTTL', KEYS[1])
  if left > (tonumber(string.sub(held, 51, 62)) or left) then return 0 end
  redis.call('SETRANGE', KEYS[1], 33, string.rep('\0', 16) .. '-')
  redis.call('SETRANGE', KEYS[1], 62, string.sub(held, 51, 62))
  reply = {left, redis.call('GET', KEYS[1])}
end
if string.sub(held, 50, 50) == 'w' then redis.call(string.find(ARGV[2], '{', 1, true) and 'SPUBLISH' or 'PUBLISH', ARGV[2], ARGV[3]) end
return reply
";
    /// Keeps a lease alive; that of a stale value, until the value's end at most.
    RENEW = r"
local held = redis.call('GETRANGE', KEYS[1], 0, 61)
local kind = string.sub(held, 1, 1)
if string.sub(held, 2, 49) ~= ARGV[1] then return 0 end
if kind == 'L' then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
local left = redis.call('PTTL', KEYS[1])
if kind ~= 'P' or left > (tonumber(string.sub(held, 51, 62)) or left) then return 0 end
redis.call('SETRANGE', KEYS[1], 62, string.format('%012d', math.max(left - ARGV[2], 0)))
return 1
";
    /// Takes away what is there, and tells every machine, if there is something to tell. May be said again at any time.
    CLEAR = r"
redis.call('DEL', KEYS[1])
if ARGV[2] ~= '' then redis.call(string.find(ARGV[1], '{', 1, true) and 'SPUBLISH' or 'PUBLISH', ARGV[1], ARGV[2]) end
return 1
";
    /// What the function's own key holds; what is given, if it holds nothing that is ours.
    FUNCTION = r"
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' and #held == 16 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return held
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
";
}

/// Adds a script with its key and arguments.
fn call<const N: usize>(
    commands: &mut Commands,
    script: &Script,
    key: &[u8],
    arguments: [&[u8]; N],
) {
    commands.begin(4 + N);
    for argument in [b"EVALSHA", script.get_hash().as_bytes(), b"1", key] {
        commands.argument(argument);
    }
    for argument in arguments {
        commands.argument(argument);
    }
}

/// A script with its key and arguments.
fn one<const N: usize>(script: &Script, key: &[u8], arguments: [&[u8]; N]) -> Commands {
    let mut commands = Commands::default();
    call(&mut commands, script, key, arguments);
    commands
}

fn millis(time: Duration) -> String {
    clock::millis(time).max(1).to_string()
}

/// Claims the lease of a key.
pub fn claim_lease(key: &[u8], era: &Era, token: Token, lease: Duration) -> Commands {
    let life = millis(lease);
    one(&CLAIM, key, [&era.bytes(), &token.0, life.as_bytes()])
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
        // Too large to be kept.
        (Some(Value::Int(left)), Some(Value::Nil)) => Some(Claimed::Held(Vec::new(), life(left))),
        _ => None,
    }
}

/// Takes a key over, to store what is no fill.
pub fn take(key: &[u8], era: &Era, token: Token, lease: Duration) -> Commands {
    let life = millis(lease);
    one(&TAKE, key, [&era.bytes(), &token.0, life.as_bytes()])
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
pub fn fill(fill: &Fill<'_>) -> Commands {
    let mut commands = one(
        &FILL,
        fill.key,
        [
            &claim(fill.era, fill.token),
            fill.record,
            millis(fill.life).as_bytes(),
            fill.channel,
            fill.message,
            if fill.tell_all { b"1" } else { b"0" },
        ],
    );
    commands.add([b"GET", fill.function]);
    commands
}

/// Replaces a record that was read; `message` is empty if nobody is told.
pub fn swap(
    key: &[u8],
    (before, after): (&[u8], &[u8]),
    life: Duration,
    channel: &[u8],
    message: &[u8],
) -> Commands {
    let life = millis(life);
    one(
        &SWAP,
        key,
        [before, after, life.as_bytes(), channel, message],
    )
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
pub fn release(key: &[u8], era: &Era, token: Token, channel: &[u8], message: &[u8]) -> Commands {
    one(&RELEASE, key, [&claim(era, token), channel, message])
}

/// The same, and asks for the function's key again, as a fill does.
pub fn release_for_past(
    (key, function): (&[u8], &[u8]),
    era: &Era,
    token: Token,
    channel: &[u8],
    message: &[u8],
) -> Commands {
    let mut commands = release(key, era, token, channel, message);
    commands.add([b"GET", function]);
    commands
}

/// Keeps a lease alive.
pub fn renew(key: &[u8], era: &Era, token: Token, lease: Duration) -> Commands {
    one(&RENEW, key, [&claim(era, token), millis(lease).as_bytes()])
}

/// Clears a key. A function is cleared so too, by its own key.
pub fn clear(key: &[u8], channel: &[u8], message: &[u8]) -> Commands {
    one(&CLEAR, key, [channel, message])
}

/// Whether all of it came to pass that was asked by `clear`. Whatever else was said, it may not have.
pub fn cleared(outcome: Outcome) -> Result<(), Out> {
    match outcome? {
        Some(answer) if answer.replies.iter().all(|reply| *reply == Value::Int(1)) => Ok(()),
        _ => Err(unexpected()),
    }
}

/// Looks for keys of functions, some at a time.
pub fn scan(cursor: &[u8], pattern: &[u8]) -> Commands {
    Commands::one([b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"1000"])
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
pub fn function(key: &[u8], fresh: Token) -> Commands {
    let life = millis(FUNCTION_LIFE);
    one(&FUNCTION, key, [&fresh.0, life.as_bytes()])
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

/// What became of a lease that was given back.
#[derive(Debug, PartialEq, Eq)]
pub enum Released {
    /// It was not there.
    Lost,
    Stood,
    /// It stood, over a stale value: what is left of its life, and the record.
    Over(Duration, Vec<u8>),
}

/// Of the replies to `release_for_past`.
pub fn released_for_past(replies: Vec<Value>, era: &Era) -> Option<Released> {
    let [reply, function]: [Value; 2] = replies.try_into().ok()?;
    let released = released(vec![reply])?;
    Some(match bytes(function)? {
        Some(held) if held == era.function => released,
        _ => Released::Lost,
    })
}

/// Of the reply to `release`.
pub fn released(replies: Vec<Value>) -> Option<Released> {
    let [reply]: [Value; 1] = replies.try_into().ok()?;
    match reply {
        Value::Int(1) => Some(Released::Stood),
        Value::Int(_) => Some(Released::Lost),
        Value::Array(both) => {
            let [Value::Int(left), held]: [Value; 2] = both.try_into().ok()? else {
                return None;
            };
            Some(match bytes(held)? {
                Some(held) => Released::Over(life(left), held),
                None => Released::Stood,
            })
        }
        _ => None,
    }
}
