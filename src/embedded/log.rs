//! The server's own messages: into a file that cannot grow without bound.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

use super::Error;
use super::account::Account;

/// A log file of [`SIZE_LIMIT`] bytes, give or take one read; when it is full it becomes [`OLD_NAME`], in place of the one before.
///
/// PostgreSQL's own `logging_collector` bounds the age of its files but not their size. So the server writes to a
/// pipe, and this end of it counts.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    account: Account,
    file: File,
    size: u64,
    tail: Tail,
}

impl Log {
    pub(super) fn open(data_dir: &Path, account: &Account) -> Result<Self, Error> {
        let path = data_dir.join(NAME);
        let (file, size) =
            open(&path, account).map_err(|source| Error::io("cannot write the server's log", &path, source))?;
        Ok(Self {
            path,
            account: *account,
            file,
            size,
            tail: Tail::default(),
        })
    }

    /// The last lines written since this log was opened, for messages.
    pub(super) fn tail(&self) -> Tail {
        self.tail.clone()
    }

    /// Copies `source` to its end.
    pub(super) fn copy_from(mut self, mut source: impl Read) {
        let mut buffer = [0; 8192];
        let mut failing = false;
        loop {
            let read = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            self.tail.push(&buffer[..read]);
            let written = self.write(&buffer[..read]);
            // A full disk is no reason to stop reading: the server would wait for us for ever.
            if let Err(error) = &written
                && !failing
            {
                warn!(%error, path = %self.path.display(), "cannot write the server's log");
            }
            failing = written.is_err();
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size >= SIZE_LIMIT {
            fs::rename(&self.path, self.path.with_file_name(OLD_NAME))?;
            (self.file, self.size) = open(&self.path, &self.account)?;
        }
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }
}

/// The last [`TAIL_SIZE`] bytes of a log, shared with whoever reports a failure.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let surplus = kept.len().saturating_sub(TAIL_SIZE);
        kept.drain(..surplus);
    }

    /// The last [`TAIL_LINES`] lines.
    pub(super) fn lines(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

fn open(path: &Path, account: &Account) -> io::Result<(File, u64)> {
    // The data directory belongs to the server's user: a link planted there must not make root write elsewhere.
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    // Else `pg_basebackup` stops at a file the server cannot read.
    account.hand_over_file(&file)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// The log's name in the data directory.
pub(super) const NAME: &str = "rowhouse.log";

/// The name of the full log before.
pub(super) const OLD_NAME: &str = "rowhouse.log.1";

/// A start and a stop write about ten lines. There are two files of this size.
const SIZE_LIMIT: u64 = 4 << 20;

const TAIL_SIZE: usize = 8 << 10;

/// A failed start takes 2 to 6 lines (LOG, FATAL, DETAIL, HINT).
const TAIL_LINES: usize = 12;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn full_log_is_set_aside_once_and_the_tail_is_kept() {
        let dir = scratch("full");
        let account = Account::of(&dir.join("pg")).unwrap();
        let log = Log::open(&dir, &account).unwrap();
        let tail = log.tail();
        let line = "x".repeat(99) + "\n";
        let text = line.repeat(3 * usize::try_from(SIZE_LIMIT).unwrap() / line.len()) + "the last line\n";
        log.copy_from(text.as_bytes());

        let mut names: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["rowhouse.log", "rowhouse.log.1"]);
        for name in names {
            let size = fs::metadata(dir.join(name)).unwrap().len();
            assert!(size <= SIZE_LIMIT + 8192, "{size}");
        }
        assert_eq!(tail.lines().lines().count(), TAIL_LINES);
        assert!(tail.lines().ends_with("\nthe last line"));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn link_in_place_of_the_log_is_not_followed() {
        let dir = scratch("link");
        symlink(dir.join("target"), dir.join(NAME)).unwrap();
        let account = Account::of(&dir.join("pg")).unwrap();
        assert!(Log::open(&dir, &account).is_err());
        assert!(!dir.join("target").exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("rowhouse-log-{name}-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        dir
    }
}
