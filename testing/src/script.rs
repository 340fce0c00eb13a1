//! What a proxy is told by lines of text.

use std::io::{BufRead, Write};
use std::net::ToSocketAddrs;
use std::str::FromStr;
use std::time::Duration;

use quickcache_testing::{Answer, Direction, Door, Flips, Mode, Proxy};

/// Tells its port, then does what each line of the standard input says, until that ends.
pub fn run(target: &str) -> Result<(), String> {
    let proxy = Proxy::to(address(target)?);
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| {
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .map_err(|error| format!("nobody reads the answers: {error}"))
    };
    say(proxy.port().to_string())?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| format!("the input cannot be read: {error}"))?;
        say(match obey(&proxy, line.trim()) {
            Ok(said) => format!("ok {said}").trim_end().to_string(),
            Err(why) => format!("error {why}"),
        })?;
    }
    Ok(())
}

/// Does it. What there is to say of it: mostly how many connections are concerned.
fn obey(proxy: &Proxy, line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["only", pattern, ref rest @ ..] => {
            let scope = proxy.only(&unescaped(pattern)?);
            let concerned = match rest {
                ["reset"] => scope.reset(),
                ["drop"] => scope.drop_connections(),
                ["half-close", way] => scope.half_close(direction(way)?),
                mode => scope.set(mode_of(mode)?),
            };
            return Ok(concerned.to_string());
        }
        ["reset"] => return Ok(proxy.reset().to_string()),
        ["drop"] => return Ok(proxy.drop_connections().to_string()),
        ["half-close", way] => return Ok(proxy.half_close(direction(way)?).to_string()),
        ["door", ..] => proxy.door(door(behind(line, "door"))?),
        ["aim", target] => proxy.aim(address(target)?),
        ["answer", ..] => proxy.answer(answer(behind(line, "answer"))?),
        ["answer-no-more"] => proxy.answer_no_more(),
        ["heal"] => proxy.heal(),
        ["counts"] => {
            let counts = proxy.counts();
            return Ok(format!(
                "accepted={} live={} to-server={} to-client={} answered={}",
                counts.accepted, counts.live, counts.to_server, counts.to_client, counts.answered
            ));
        }
        ref mode => return Ok(proxy.set(mode_of(mode)?).to_string()),
    }
    Ok(String::new())
}

fn mode_of(words: &[&str]) -> Result<Mode, String> {
    Ok(match words {
        ["pass"] => Mode::Pass,
        ["delay", way, by] => Mode::Delay(direction(way)?, milliseconds(by)?),
        ["blackhole", way] => Mode::Blackhole(direction(way)?),
        ["drip", way, bytes, every] => Mode::Drip {
            direction: direction(way)?,
            bytes: number(bytes)?,
            every: milliseconds(every)?,
        },
        ["corrupt", way, "every", n] => Mode::Corrupt(direction(way)?, Flips::EveryNth(number(n)?)),
        ["corrupt", way, "random", seed, one_in] => {
            let (seed, one_in) = (number(seed)?, number(one_in)?);
            Mode::Corrupt(direction(way)?, Flips::Random { seed, one_in })
        }
        ["cut", way, after] => Mode::Cut(direction(way)?, number(after)?),
        other => return Err(format!("`{}` is nothing that can be done", other.join(" "))),
    })
}

fn door(text: &str) -> Result<Door, String> {
    Ok(match text {
        "open" => Door::Open,
        "reset" => Door::Reset,
        "closed" => Door::Closed,
        _ => match text.strip_prefix("greet ") {
            Some(greeting) => Door::Greet(unescaped(greeting)?),
            None => {
                return Err(format!(
                    "a door is open, reset, closed or greet, not `{text}`"
                ));
            }
        },
    })
}

fn answer(text: &str) -> Result<Answer, String> {
    let (mut times, mut executed, mut closes) = (None, false, false);
    let mut rest = text;
    loop {
        let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        match word {
            "executed" => executed = true,
            "close" => closes = true,
            _ => match word.strip_prefix("times=") {
                Some(count) => times = Some(number(count)?),
                None => {
                    let command = unescaped(if word == "*" { "" } else { word })?;
                    let command = String::from_utf8_lossy(&command).into_owned();
                    let mut answer = Answer::to(&command, unescaped(behind)?);
                    if let Some(times) = times {
                        answer = answer.times(times);
                    }
                    if executed {
                        answer = answer.executed();
                    }
                    return Ok(if closes { answer.and_close() } else { answer });
                }
            },
        }
        if behind.is_empty() {
            return Err("answer .. COMMAND TEXT: there is no command".into());
        }
        rest = behind;
    }
}

/// What stands behind the line's first word.
fn behind<'l>(line: &'l str, word: &str) -> &'l str {
    line.strip_prefix(word).unwrap_or_default().trim_start()
}

fn direction(word: &str) -> Result<Direction, String> {
    match word {
        "to-server" => Ok(Direction::ToServer),
        "to-client" => Ok(Direction::ToClient),
        "both" => Ok(Direction::Both),
        _ => Err(format!(
            "a direction is to-server, to-client or both, not `{word}`"
        )),
    }
}

fn number<N: FromStr>(word: &str) -> Result<N, String> {
    word.parse()
        .map_err(|_| format!("`{word}` is not a number that fits here"))
}

fn milliseconds(word: &str) -> Result<Duration, String> {
    number(word).map(Duration::from_millis)
}

fn address(target: &str) -> Result<std::net::SocketAddr, String> {
    target
        .to_socket_addrs()
        .map_err(|error| format!("`{target}` is no HOST:PORT: {error}"))?
        .next()
        .ok_or_else(|| format!("`{target}` has no address"))
}

fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (byte, behind) = match rest {
            [b'r', behind @ ..] => (b'\r', behind),
            [b'n', behind @ ..] => (b'\n', behind),
            [b'\\', behind @ ..] => (b'\\', behind),
            [b'x', high, low, behind @ ..] => {
                let digits = String::from_utf8_lossy(&[*high, *low]).into_owned();
                let byte = u8::from_str_radix(&digits, 16);
                (byte.map_err(|_| format!("\\x{digits} is no byte"))?, behind)
            }
            _ => return Err(format!("`{text}`: \\r, \\n, \\\\ and \\xHH are known")),
        };
        bytes.push(byte);
        rest = behind;
    }
    Ok(bytes)
}
