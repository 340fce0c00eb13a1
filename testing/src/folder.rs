//! Temporary folders.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const NAME: &str = "quickcache-testing-";
/// Of a file beside each folder, that is locked as long as the folder is somebody's.
const ALIVE: &str = "alive";

/// A folder that nobody else has and that only this user can enter; removed at drop. One that is never dropped, because it is in a static
/// or its process was killed, is removed by the next process that makes one.
pub struct Folder {
    path: PathBuf,
    _alive: File,
}

impl Folder {
    /// A new one below the folder for temporary files. Panics if none can be made.
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        loop {
            let number = NEXT.fetch_add(1, Relaxed);
            let name = format!("{NAME}{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match make(&path) {
                Ok(alive) => {
                    return Folder {
                        path,
                        _alive: alive,
                    };
                }
                // Of a process that had this number before, in another container perhaps.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("no temporary folder {}: {error}", path.display()),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Default for Folder {
    fn default() -> Folder {
        Folder::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn make(path: &Path) -> io::Result<File> {
    let alive = File::create_new(path.with_extension(ALIVE))?;
    alive.lock()?;
    DirBuilder::new().mode(0o700).create(path)?;
    Ok(alive)
}

fn remove(path: &Path) {
    // A test that panics must not panic twice; what is left is in the folder for temporary files.
    let _ = fs::remove_dir_all(path);
    let _ = fs::remove_file(path.with_extension(ALIVE));
}

/// Removes the folders whose processes have ended.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let ours = path.file_stem().and_then(|name| name.to_str());
        if ours.is_some_and(|name| name.starts_with(NAME))
            && path.extension().is_some_and(|extension| extension == ALIVE)
            && File::open(&path).is_ok_and(|alive| alive.try_lock().is_ok())
        {
            remove(&path.with_extension(""));
        }
    }
}
