//! The journal of pending clears: a clear that Redis may not have got is written down, and made up for by whichever process of the
//! machine reaches Redis next. Until then no process of the machine reads that key from Redis.
//!
//! Over-clearing is safe, and losing a clear is not: whatever cannot be told is pending, and if it cannot be told which key it was of,
//! everything is.
//!
//! ```text
//! journal-NAME                 what is appended to
//! replaying-NAME-0123...       what somebody has taken to replay, and nobody appends to any more
//!
//! a file: 8 bytes  "qcjrnl-1"; "qcjrnl-0": all of it was applied
//!         then records of 41 bytes: 1  'K' a key, 'F' a function, 'E' everything
//!                                   32 which
//!                                   8  XXH3 of those 33
//! ```
//!
//! **An append** writes whole records at the end of `journal-NAME`, waits until they are on the disk, moves the journal's word in the
//! table on, and looks whether the file still has its name; if not, somebody may have read it before, and it is all done again, after
//! three times in a file of its own that is to be replayed from the beginning. Then the caller clears what is within.
//!
//! **A replay** gives the file another name, which is nobody else's, reads it, applies it, marks it as applied, removes it, and moves
//! the word on. What it read was all there was: whoever appends later finds that the name is gone. Killed anywhere, it leaves a file
//! that the next one applies, if need be again. It holds a lock on the file meanwhile, only to spare others the work: who is stopped
//! in the midst is overtaken.
//!
//! **A read** loads the stamp of its key, then the word. Each process knows what was pending at which word, and looks into the files
//! when it has moved. A clear that came before the stamp has moved the word before.
//!
//! The word also says that a clear could not be written down (a full disk): then everything is pending.

#[cfg_attr(not(unix), path = "journal/elsewhere.rs")]
mod shared;

#[cfg(unix)]
mod commit;
#[cfg(unix)]
mod fork;
#[cfg(unix)]
mod known;
#[cfg(unix)]
mod record;
#[cfg(unix)]
mod replay;
#[cfg(unix)]
mod word;

use std::sync::atomic::AtomicU64;

pub use shared::Journal;

/// What is to be cleared in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Record {
    Key([u8; 32]),
    /// Every key of a function.
    Function([u8; 32]),
    Everything,
}

/// What a replay came to.
#[derive(Debug)]
pub struct Replayed {
    /// How many records were applied.
    pub records: usize,
    pub left: Left,
}

/// What is pending still.
#[derive(Debug)]
pub enum Left {
    Nothing,
    /// What another process is replaying.
    Elsewhere,
    /// What came meanwhile, again and again.
    More,
    /// What was applied, or could not be, since the files could not be read, renamed or removed.
    Unknown(std::io::Error),
}

/// For a clear that there is no journal for, since none could be opened: everything is pending, in every process that has one.
pub fn lose(sequence: &'static AtomicU64) {
    #[cfg(unix)]
    word::Word(sequence).lose();
    #[cfg(not(unix))]
    let _ = sequence;
}
