//! The folder of a store: who may have it, and how its files come to be.
//!
//! A file appears whole or not at all: it is written under another name and linked to its own, and whoever comes second takes that
//! of the first. So opening waits for nobody. Only to set a file aside that is none of ours a process takes a lock, and it does not
//! wait long for that.

use std::fs::{File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, linkat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::files::random;

/// An open folder that is ours alone.
pub(in crate::tier) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::tier) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(in crate::tier) fn of(file: &File) -> io::Result<Identity> {
        let metadata = file.metadata()?;
        Ok(Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// What a file was found to be.
pub(in crate::tier) enum Looked<T> {
    Sound(T),
    /// To be set aside: why.
    Unsound(&'static str),
    /// To be replaced without a word: nobody can have a use for it.
    Outdated,
}

/// A kind of file in the folder.
pub(in crate::tier) trait Kind {
    const NAME: &'static str;
    type Found;

    /// Where there are several of a kind.
    fn name(&self) -> &str {
        Self::NAME
    }

    fn look(&self, file: &File) -> io::Result<Looked<Self::Found>>;

    /// All of a new file.
    fn write(&self, file: &File) -> io::Result<()>;

    /// The file is about to lose its name: tell those who have it open.
    fn leave(&self, file: &File);
}

/// The folder of this user, by the platform's convention.
pub(super) fn usual() -> PathBuf {
    match dirs::cache_dir() {
        Some(caches) if caches.is_absolute() => caches.join("quickcache"),
        _ => {
            let user = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("quickcache-{user}"))
        }
    }
}

impl Folder {
    /// Opens it, or makes it, with the folders it lies in.
    pub(in crate::tier) fn open(path: &Path) -> io::Result<Folder> {
        // Told before half of its folders are made.
        if rustix::fs::stat(path).is_err_and(|error| error == Errno::NAMETOOLONG) {
            return Err(Errno::NAMETOOLONG.into());
        }
        if let Some(parent) = path.parent() {
            make_folders(parent).map_err(|error| {
                let why = format!("the folder {} cannot be made: {error}", parent.display());
                io::Error::new(error.kind(), why)
            })?;
        }
        make_folder(path)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let folder = Folder {
            fd,
            path: path.to_owned(),
        };
        folder.is_ours()?;
        Ok(folder)
    }

    fn is_ours(&self) -> io::Result<()> {
        let stat = rustix::fs::fstat(&self.fd)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(refused("it belongs to another user"));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(refused("others may write to it: chmod 0700 it"));
        }
        if let Some(parent) = self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            let parent = std::fs::metadata(parent)?;
            // With the sticky bit others may write to it, and not rename what is ours.
            if parent.mode() & 0o022 != 0 && parent.mode() & 0o1000 == 0 {
                return Err(refused("others may write to the folder it lies in"));
            }
        }
        #[cfg(target_os = "linux")]
        if let Some(name) = over_a_network(rustix::fs::fstatfs(&self.fd)?.f_type as u64) {
            return Err(refused(&format!(
                "it is on {name}: processes of several machines cannot share memory, give the store a local folder"
            )));
        }
        Ok(())
    }

    /// Whether the folder's name still leads to it.
    pub(in crate::tier) fn is_there(&self) -> bool {
        let Ok(stat) = rustix::fs::fstat(&self.fd) else {
            return false;
        };
        let named = rustix::fs::lstat(&self.path);
        named.is_ok_and(|named| (named.st_dev, named.st_ino) == (stat.st_dev, stat.st_ino))
    }

    /// Which file has this name now.
    pub(in crate::tier) fn named(&self, name: &str) -> Option<Identity> {
        let stat = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Identity {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
        })
    }

    /// A file of the folder, sound; what it was; and why another one was set aside for it.
    pub(in crate::tier) fn file<K: Kind>(
        &self,
        kind: &K,
    ) -> io::Result<(File, K::Found, Option<&'static str>)> {
        let name = kind.name();
        let mut aside = None;
        for _ in 0..8 {
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file = match openat(&self.fd, name, flags, Mode::empty()) {
                Ok(fd) => File::from(fd),
                Err(Errno::NOENT) => {
                    self.make(kind)?;
                    continue;
                }
                // A link, a folder, or one that may not even be opened.
                Err(Errno::LOOP | Errno::ISDIR | Errno::ACCESS | Errno::NXIO) => {
                    aside = Some("it is not a file of this user");
                    self.set_aside(name, None, true, || ())?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let looked = if is_private(&file)? {
                kind.look(&file)?
            } else {
                Looked::Unsound("others than this user may read or write it")
            };
            let keep = match looked {
                Looked::Sound(found) => return Ok((file, found, aside)),
                Looked::Unsound(why) => {
                    aside = Some(why);
                    true
                }
                Looked::Outdated => false,
            };
            let identity = Identity::of(&file)?;
            self.set_aside(name, Some(identity), keep, || kind.leave(&file))?;
        }
        Err(io::Error::other(format!(
            "{name} is replaced by others again and again"
        )))
    }

    /// A new file under its name, unless another process is quicker.
    fn make<K: Kind>(&self, kind: &K) -> io::Result<()> {
        self.sweep(kind.name());
        self.make_as(kind, kind.name()).map(drop)
    }

    /// A new file of a kind, under another name. `false`: there is another one of that name; or this one was swept before it was locked.
    pub(in crate::tier) fn make_as<K: Kind>(&self, kind: &K, to: &str) -> io::Result<bool> {
        let name = format!("{}.new-{:016x}", kind.name(), random()?);
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = private(openat(&self.fd, &*name, flags, Mode::RUSR | Mode::WUSR)?)?;
        let done = (|| {
            // Whoever sweeps sees by it that it is being written. If one has come before, the file is about to lose its name.
            match file.try_lock_shared() {
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
            kind.write(&file)?;
            match linkat(&self.fd, &*name, &self.fd, to, AtFlags::empty()) {
                Ok(()) => Ok(true),
                // Both are seen at the next look.
                Err(Errno::EXIST | Errno::NOENT) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })();
        // A process that was begun meanwhile has a copy of it.
        let _ = file.unlock();
        match unlinkat(&self.fd, &*name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => done,
            Err(error) => done.and(Err(error.into())),
        }
    }

    /// Removes what makers left that were killed.
    fn sweep(&self, name: &str) {
        let Ok(entries) = std::fs::read_dir(&self.path) else {
            return;
        };
        for entry in entries.flatten() {
            let file = entry.file_name();
            let left = file.to_str().is_some_and(|file| {
                file.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(".new-"))
            });
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            if left
                && let Ok(opened) = openat(&self.fd, &file, flags, Mode::empty()).map(File::from)
                && opened.try_lock().is_ok()
            {
                // If it cannot be removed the next one tries.
                let _ = unlinkat(&self.fd, &file, AtFlags::empty());
            }
        }
    }

    /// Takes the name from a file, if it still is that file. It is kept under another name, in place of what was kept before, if
    /// somebody may want to know what it was.
    fn set_aside(
        &self,
        name: &str,
        identity: Option<Identity>,
        keep: bool,
        leave: impl FnOnce(),
    ) -> io::Result<()> {
        let _lock = self.lock()?;
        if identity.is_none() || self.named(name) == identity {
            leave();
            if !keep {
                return match unlinkat(&self.fd, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => Ok(()),
                    Err(error) => Err(error.into()),
                };
            }
            match renameat(&self.fd, name, &self.fd, format!("{name}.set-aside")) {
                Ok(()) | Err(Errno::NOENT) => {}
                // A folder is there under that name, of all things.
                Err(Errno::ISDIR | Errno::NOTDIR | Errno::NOTEMPTY | Errno::EXIST) => {
                    renameat(
                        &self.fd,
                        name,
                        &self.fd,
                        format!("{name}.set-aside-{:016x}", random()?),
                    )?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = private(openat(&self.fd, "lock", flags, Mode::RUSR | Mode::WUSR)?)?;
        for _ in 0..100 {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "another process has held its lock for 100 ms",
        ))
    }

    /// A file to be locked by one process, in a folder of this one.
    pub(in crate::tier) fn of_worker(&self, name: &dyn std::fmt::Display) -> io::Result<File> {
        match rustix::fs::mkdirat(&self.fd, "workers", Mode::RWXU) {
            Ok(()) => rustix::fs::chmodat(&self.fd, "workers", Mode::RWXU, AtFlags::empty())?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = format!("workers/{name}");
        let fd = openat(self.fd.as_fd(), &*name, flags, Mode::RUSR | Mode::WUSR)?;
        private(fd)
    }
}

/// What has a name in the folder.
#[cfg(feature = "redis")]
pub(in crate::tier) enum Existing {
    Nothing,
    File(File),
    /// No file, or not this user's alone.
    Other,
}

/// What a journal needs besides, whose files change their names.
#[cfg(feature = "redis")]
impl Folder {
    /// Opens a file, if it is there.
    pub(in crate::tier) fn existing(&self, name: &str) -> io::Result<Existing> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(Existing::Nothing),
            Err(Errno::LOOP | Errno::ISDIR | Errno::ACCESS | Errno::NXIO) => {
                return Ok(Existing::Other);
            }
            Err(error) => return Err(error.into()),
        };
        Ok(if is_private(&file)? {
            Existing::File(file)
        } else {
            Existing::Other
        })
    }

    /// Every name in it.
    pub(in crate::tier) fn names(&self) -> io::Result<Vec<String>> {
        let entries = rustix::fs::Dir::read_from(&self.fd)?;
        let mut names = Vec::new();
        for entry in entries {
            // One that is no text is none of ours.
            if let Ok(name) = entry?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Gives a file another name.
    pub(in crate::tier) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Removes a file, if it is there.
    pub(in crate::tier) fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until its names are on the disk.
    pub(in crate::tier) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }
}

/// A folder of ours alone, unless something is there: whatever the umask takes away, which may be our own rights, or leaves to a group,
/// for which it would be refused.
fn make_folder(path: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(0o700)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The same, with those it lies in.
fn make_folders(path: &Path) -> io::Result<()> {
    // Its name may end in a way that cannot be made, as `..` does.
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_folders(parent)?;
    }
    make_folder(path)?;
    // Something else may have been there.
    std::fs::metadata(path.join(".")).map(drop)
}

/// Whether a file is of this user, and nobody else's to read or write.
fn is_private(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o077 == 0)
}

/// A file as it was opened, and made, whatever the umask has taken away.
fn private(fd: OwnedFd) -> io::Result<File> {
    rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(fd))
}

/// Whether so many bytes may still be written, as far as the file system says. A disk is not to be filled in order to find out.
pub(super) fn has_room(file: &File, bytes: u64) -> io::Result<()> {
    let of = rustix::fs::fstatvfs(file)?;
    // Without a number of blocks it has no bound.
    if of.f_blocks > 0 && bytes / of.f_frsize.max(1) > of.f_bavail {
        return Err(Errno::NOSPC.into());
    }
    Ok(())
}

/// Writes to a file, from where the last one ended.
pub(in crate::tier) fn write_all(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    may_be_long(bytes.len() as u64)?;
    file.write_all(bytes)
}

/// Whether this process may write so far into a file. The system would end it, where of another failure it only tells.
pub(in crate::tier) fn may_be_long(bytes: u64) -> io::Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if limit.is_some_and(|limit| limit < bytes) {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "files of this process may not become so large (RLIMIT_FSIZE)",
        ));
    }
    Ok(())
}

/// Reads from a place of a file.
pub(in crate::tier) fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(bytes, offset)
}

/// Whether what is at a place of a file can be read without waiting for the disk. True also where that cannot be told.
pub(super) fn is_near(file: &File, offset: u64) -> bool {
    #[cfg(target_os = "linux")]
    {
        let mut byte = [0];
        let mut into = [io::IoSliceMut::new(&mut byte)];
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        rustix::io::preadv2(file, &mut into, offset, flags) != Err(rustix::io::Errno::AGAIN)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, offset);
        true
    }
}

/// Writes at a place of a file: a full disk is an error, where storing into a mapping would end the process.
pub(in crate::tier) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned())
}

/// File systems on which memory is not shared with whoever else has them. (FUSE: one cannot tell what is behind it.)
#[cfg(target_os = "linux")]
fn over_a_network(magic: u64) -> Option<&'static str> {
    Some(match magic & 0xFFFF_FFFF {
        0x6969 => "NFS",
        0x0102_1997 => "9p",
        0xFF53_4D42 | 0xFE53_4D42 | 0x517B => "SMB",
        0x6573_5546 => "FUSE or virtiofs",
        0x00C3_6400 => "Ceph",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x7461_636F => "OCFS2",
        0x0116_1970 => "GFS2",
        0x7375_7245 => "Coda",
        0x564C => "NCP",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        use super::over_a_network;

        for (magic, name) in [
            (0x6969, "NFS"),
            (0x0102_1997, "9p"),
            (0x6573_5546, "FUSE or virtiofs"),
            (0xFFFF_FFFF_FF53_4D42, "SMB"),
        ] {
            assert_eq!(over_a_network(magic), Some(name));
        }
        // ext4, tmpfs, xfs, btrfs, overlay, zfs
        for magic in [
            0xEF53,
            0x0102_1994,
            0x5846_5342,
            0x9123_683E,
            0x794C_7630,
            0x2FC1_2FC1,
        ] {
            assert_eq!(over_a_network(magic), None);
        }
    }
}
