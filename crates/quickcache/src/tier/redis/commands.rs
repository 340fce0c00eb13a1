//! Commands as they go over the wire, packed where they are made: `*`, how many arguments, and each of them after its length. (What the `redis`
//! crate packs is allocated once for each argument, which was a tenth of what an async call costs.)

/// Commands, each of which is answered by one reply.
#[derive(Clone, Default)]
pub struct Commands {
    bytes: Vec<u8>,
    count: usize,
}

impl Commands {
    /// One command.
    pub fn one<const N: usize>(arguments: [&[u8]; N]) -> Commands {
        let mut commands = Commands::default();
        commands.add(arguments);
        commands
    }

    /// One more.
    pub fn add<const N: usize>(&mut self, arguments: [&[u8]; N]) {
        self.begin(N);
        for argument in arguments {
            self.argument(argument);
        }
    }

    /// One more, whose arguments follow, so many of them.
    pub fn begin(&mut self, arguments: usize) {
        self.count += 1;
        self.length(b'*', arguments);
    }

    /// Of the command that was begun.
    pub fn argument(&mut self, bytes: &[u8]) {
        self.argument_of(bytes.len(), |to| to.extend(bytes));
    }

    /// The same, written where it stands; so many bytes of it.
    pub fn argument_of(&mut self, length: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.length(b'$', length);
        let before = self.bytes.len();
        write(&mut self.bytes);
        debug_assert_eq!(self.bytes.len() - before, length);
        self.bytes.extend(b"\r\n");
    }

    fn length(&mut self, kind: u8, length: usize) {
        self.bytes.push(kind);
        self.bytes
            .extend(itoa::Buffer::new().format(length).as_bytes());
        self.bytes.extend(b"\r\n");
    }

    /// What is sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many replies are awaited.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Others, behind these.
    pub fn append(&mut self, others: &Commands) {
        self.bytes.extend(&others.bytes);
        self.count += others.count;
    }

    /// None at all, in the same place.
    pub fn empty(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_packed_as_the_redis_crate_packs_them() {
        let mut ours = Commands::one([b"PTTL", b"a\r\nb"]);
        ours.add([b"SET", b"", &[0, 255], b"PX", b"10"]);
        ours.append(&Commands::one([b"PING"]));
        let mut theirs = redis::pipe();
        theirs.cmd("PTTL").arg(b"a\r\nb");
        theirs
            .cmd("SET")
            .arg(b"")
            .arg(&[0_u8, 255][..])
            .arg("PX")
            .arg(10);
        theirs.cmd("PING");
        assert_eq!(ours.bytes(), theirs.get_packed_pipeline());
        assert_eq!(ours.count(), 3);
    }
}
