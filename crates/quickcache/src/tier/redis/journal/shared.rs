//! The journal that the processes of a machine share: what appends and reads do.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{OFlags, fcntl_setfl};

use super::commit::Commit;
use super::known::{Head, Known};
use super::record::{MAGIC, RECORD};
use super::replay::{Busy, Locked};
use super::word::{Seen, Word};
use super::{Record, fork};
use crate::tier::store::folder::{
    Existing, Folder, Identity, Kind, Looked, may_be_long, write_all,
};
use crate::tier::store::{lock, random};

/// How many records a file takes before everything stands for all.
const MOST: u64 = 1_000_000;

/// By how much others may have lengthened a file before this process writes.
const MARGIN: u64 = 64 << 10;

/// The journal of one Redis tier.
pub struct Journal {
    pub(super) folder: Folder,
    pub(super) name: String,
    /// What the names begin with of files that are replayed.
    taken: String,
    pub(super) word: Word,
    /// The word as it was when this process found nothing to be pending.
    quiet_at: AtomicU64,
    known: Mutex<Known>,
    commit: Commit<Option<Appending>>,
    /// Files that are locked by this process, which replays them.
    pub(super) locked: Mutex<Vec<Locked>>,
    pub(super) busy: Mutex<Vec<Busy>>,
}

/// The file as this process appends to it.
struct Appending {
    file: Arc<File>,
    identity: Identity,
}

struct JournalFile<'a> {
    name: &'a str,
    records: &'a [Record],
}

impl Kind for JournalFile<'_> {
    const NAME: &'static str = "journal";
    type Found = ();

    fn name(&self) -> &str {
        self.name
    }

    /// A head that is not ours says that everything is pending, and what is appended does not change that. One that says that all was
    /// applied can be found here after the machine went down, if the file's new name had not come to the disk.
    fn look(&self, file: &File) -> io::Result<Looked<()>> {
        Ok(match Head::of(file)? {
            Head::Applied => Looked::Outdated,
            Head::Ours | Head::Foreign => Looked::Sound(()),
        })
    }

    fn write(&self, file: &File) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        self.records
            .iter()
            .for_each(|record| record.write(&mut bytes));
        write_all(file, &bytes)?;
        file.sync_all()
    }

    fn leave(&self, _file: &File) {}
}

impl Journal {
    /// The journal of a tier, by its name (letters, digits, `-`), in the folder of the machine's table, with a word of that table.
    /// What earlier processes left, or an earlier start of the machine, is pending. It is never dropped.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub fn open(
        folder: &Path,
        name: &str,
        sequence: &'static AtomicU64,
    ) -> io::Result<&'static Journal> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || name.len() > 100 || !name.chars().all(fits) {
            let why = format!("`{name}` is no name of a journal");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let journal: &Journal = Box::leak(Box::new(Journal {
            folder: Folder::open(folder)?,
            name: format!("journal-{name}"),
            taken: format!("replaying-{name}-"),
            word: Word(sequence),
            quiet_at: AtomicU64::new(Seen::NEVER.0),
            known: Mutex::new(Known {
                at: None,
                strange: false,
                files: Vec::new(),
                seed: random()?,
            }),
            commit: Commit::new(),
            locked: Mutex::new(Vec::new()),
            busy: Mutex::new(Vec::new()),
        }));
        fork::expect(journal);
        // Until it can be looked at everything is pending.
        let _ = journal.look();
        Ok(journal)
    }

    /// Takes over from the journal of a table that was replaced, whose folder may be lost. If anything is pending there, everything
    /// is here.
    ///
    /// # Errors
    /// As for `append`.
    pub fn succeed(&self, old: &Journal) -> io::Result<()> {
        let was_quiet = old.is_quiet() || old.look().unwrap_or(false);
        if was_quiet {
            return Ok(());
        }
        self.append(Record::Everything)
    }

    // ---- reads ----

    /// Whether nothing is pending, as far as one load of the word tells: asked after the key's stamp was loaded. If not, `holds` says.
    #[inline]
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        // Acquire: what this process has looked at, it has looked at before.
        self.word.load().0 == self.quiet_at.load(Ordering::Acquire)
    }

    /// Whether a clear of a key, of its function or of everything is pending. In doubt it is.
    #[must_use]
    pub fn holds(&self, key: &[u8; 32], function: &[u8; 32]) -> bool {
        if self.is_quiet() {
            return false;
        }
        let mut known = lock(&self.known);
        self.look_into(&mut known).is_err()
            || known.holds(&[Record::Key(*key), Record::Function(*function)])
    }

    /// Whether nothing is pending.
    pub(super) fn look(&self) -> io::Result<bool> {
        let mut known = lock(&self.known);
        self.look_into(&mut known)?;
        Ok(self.is_quiet())
    }

    /// Looks into the files, if the word has moved.
    fn look_into(&self, known: &mut Known) -> io::Result<()> {
        // Before the files: what is written later moves it later.
        let mut seen = self.word.load();
        if known.at == Some(seen) {
            return Ok(());
        }
        let mut there = Vec::new();
        let mut strange = false;
        let mut find = |name: &str| -> io::Result<()> {
            match self.folder.existing(name)? {
                Existing::Nothing => {}
                Existing::Other => strange = true,
                Existing::File(file) => there.push((Identity::of(&file)?, Arc::new(file))),
            }
            Ok(())
        };
        // This one first, and then the list: if it is taken now, it is among the others.
        find(&self.name)?;
        for name in self.taken()? {
            find(&name)?;
        }
        known.at = None;
        known.files.retain(|file| {
            let stays = there.iter().any(|(identity, _)| *identity == file.identity);
            if !stays && file.is_lost() {
                self.word.lose();
                seen = self.word.load();
            }
            stays
        });
        let seed = known.seed;
        for (identity, file) in &there {
            known.track(file, *identity).read_on(seed)?;
        }
        known.strange = strange;
        known.at = Some(seen);
        if there.is_empty() && !strange && !seen.is_lost() {
            self.quiet_at.store(seen.0, Ordering::Release);
        }
        Ok(())
    }

    /// The names of files that are replayed, or were to be.
    pub(super) fn taken(&self) -> io::Result<Vec<String>> {
        let mut names = self.folder.names()?;
        names.retain(|name| {
            let rest = name.strip_prefix(&self.taken);
            rest.is_some_and(|rest| {
                rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        });
        Ok(names)
    }

    /// A name that no file has had.
    pub(super) fn new_taken(&self) -> io::Result<String> {
        Ok(format!("{}{:016x}", self.taken, random()?))
    }

    // ---- appends ----

    /// Writes down a clear that Redis may not have got: on the disk, and seen by every process of the machine, before this returns.
    ///
    /// # Errors
    /// If it cannot be written. Everything is pending then, in every process, until somebody has replayed it; and it is lost if the machine
    /// goes down before.
    pub fn append(&self, record: Record) -> io::Result<()> {
        if self.is_written(record) {
            return Ok(());
        }
        self.commit.append(record, |records, appending| {
            let written = self.write(records, appending);
            if written.is_err() {
                self.word.lose();
            }
            written
        })
    }

    /// Whether this process has written it to a file that nobody has taken to replay: whoever will, begins after this.
    fn is_written(&self, record: Record) -> bool {
        let written = lock(&self.known).is_written(record);
        written.is_some_and(|identity| self.is_there(identity))
    }

    /// Whether appends to a file are found by the next replay.
    fn is_there(&self, identity: Identity) -> bool {
        self.folder.named(&self.name) == Some(identity) && self.folder.is_there()
    }

    fn write(&self, mut records: Vec<Record>, appending: &mut Option<Appending>) -> io::Result<()> {
        for _ in 0..3 {
            let Appending { file, identity } = match appending {
                Some(known) if self.is_there(known.identity) => known,
                _ => match self.open_to_append() {
                    Ok(opened) => appending.insert(opened),
                    Err(_) => break,
                },
            };
            let length = file.metadata()?.len();
            let full = length >= MAGIC.len() as u64 + MOST * RECORD as u64;
            // What was lost can be written down now.
            if full || self.word.load().is_lost() {
                records = vec![Record::Everything];
            }
            append_to(file, length, &records)?;
            // Before the look at its name: if that is as it was, whoever takes the file does so when the word has moved.
            self.word.move_on();
            if self.is_there(*identity) {
                lock(&self.known).wrote(file, *identity, &records);
                return Ok(());
            }
        }
        self.write_apart(&records)
    }

    /// Others take the file away again and again, or what has its name is in the way: a file of its own, that is to be replayed from the
    /// beginning.
    fn write_apart(&self, records: &[Record]) -> io::Result<()> {
        for _ in 0..8 {
            if self
                .folder
                .make_as(&self.file(records), &self.new_taken()?)?
            {
                self.folder.sync()?;
                self.word.move_on();
                if self.folder.is_there() {
                    return Ok(());
                }
                break;
            }
        }
        Err(io::Error::other(format!(
            "{} cannot be written to: others are in the way",
            self.name
        )))
    }

    fn file<'a>(&'a self, records: &'a [Record]) -> JournalFile<'a> {
        JournalFile {
            name: &self.name,
            records,
        }
    }

    fn open_to_append(&self) -> io::Result<Appending> {
        // What is about to be set aside may have been a journal.
        if matches!(self.folder.existing(&self.name)?, Existing::Other) {
            self.word.lose();
        }
        let (file, (), _) = self.folder.file(&self.file(&[]))?;
        fcntl_setfl(&file, OFlags::APPEND)?;
        // Whoever made it may not have come so far.
        self.folder.sync()?;
        Ok(Appending {
            identity: Identity::of(&file)?,
            file: Arc::new(file),
        })
    }

    // ---- forks ----

    /// Every lock, for the moment of a fork.
    pub(super) fn hold(&self) -> impl Sized + '_ {
        (
            self.commit.hold(),
            lock(&self.known),
            lock(&self.locked),
            lock(&self.busy),
        )
    }

    /// In the child of a fork: a copy of a locked file would keep it locked beyond the parent's death.
    pub(super) fn forget(&self) {
        self.commit.forget();
        lock(&self.locked).clear();
    }
}

/// Writes records at the end of a file, by one call, and waits until they are on the disk.
fn append_to(mut file: &File, length: u64, records: &[Record]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(records.len() * RECORD);
    records.iter().for_each(|record| record.write(&mut bytes));
    may_be_long(length + bytes.len() as u64 + MARGIN)?;
    loop {
        match file.write(&bytes) {
            Ok(written) if written == bytes.len() => break,
            // What follows it is found nevertheless.
            Ok(_) => return Err(io::ErrorKind::StorageFull.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    file.sync_data()
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
