//! Answers that a real server does not give on demand.

/// What the proxy answers to a command in the server's place; for [`Proxy::answer`](crate::Proxy::answer).
///
/// Unless it says [`executed`](Answer::executed), the server does not see the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    command: Vec<String>,
    pub(super) reply: Vec<u8>,
    times: Option<u32>,
    pub(super) executed: bool,
    pub(super) closes: bool,
}

impl Answer {
    pub const LOADING: &[u8] = b"-LOADING Redis is loading the dataset in memory\r\n";
    pub const READONLY: &[u8] = b"-READONLY You can't write against a read only replica.\r\n";
    pub const OOM: &[u8] = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    pub const NOAUTH: &[u8] = b"-NOAUTH Authentication required.\r\n";
    pub const WRONGTYPE: &[u8] =
        b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    pub const NOSCRIPT: &[u8] = b"-NOSCRIPT No matching script. Please use EVAL.\r\n";
    pub const BUSY: &[u8] =
        b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n";
    pub const CLUSTERDOWN: &[u8] = b"-CLUSTERDOWN The cluster is down\r\n";
    pub const TRYAGAIN: &[u8] = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n";
    /// What a server says to a connection that is one too many; for [`Door::Greet`](crate::Door::Greet).
    pub const MAXCLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";

    /// These bytes, whatever they are (half a reply, garbage, nothing), to commands whose first words are these, in any case: `"GET"`,
    /// `"CLIENT TRACKING"`; to every command if there is no word.
    pub fn to(command: &str, reply: impl AsRef<[u8]>) -> Answer {
        Answer {
            command: command.split_whitespace().map(str::to_string).collect(),
            reply: reply.as_ref().to_vec(),
            times: None,
            executed: false,
            closes: false,
        }
    }

    /// Only to the next so many such commands, of all connections together.
    pub fn times(mut self, times: u32) -> Answer {
        self.times = Some(times);
        self
    }

    /// The server executes the command, and its own reply is lost.
    pub fn executed(mut self) -> Answer {
        self.executed = true;
        self
    }

    /// The connection is closed behind these bytes.
    pub fn and_close(mut self) -> Answer {
        self.closes = true;
        self
    }

    fn fits(&self, words: &[Vec<u8>]) -> bool {
        self.command.len() <= words.len()
            && (self.command.iter().zip(words))
                .all(|(own, word)| own.as_bytes().eq_ignore_ascii_case(word))
    }
}

/// The answer to a command: the one that was given first of those that fit and are not used up.
pub(super) fn find(answers: &mut Vec<Answer>, words: &[Vec<u8>]) -> Option<Answer> {
    let place = answers.iter().position(|answer| answer.fits(words))?;
    let left = &mut answers[place].times;
    *left = left.map(|times| times.saturating_sub(1));
    if *left == Some(0) {
        return Some(answers.remove(place));
    }
    Some(answers[place].clone())
}
