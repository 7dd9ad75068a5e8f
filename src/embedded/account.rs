//! Which user the server runs as.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Error;
use super::syscalls;

/// The user and group of every child, and the owner of the data directory.
///
/// PostgreSQL refuses to run as root, so a root process hands its children to another user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
    /// This process is root: files are handed over and children change user.
    switch: bool,
}

impl Account {
    /// Picks the user for `data_dir`: this process's own; when that is root, the owner of the data
    /// directory, else `postgres`, else `nobody`.
    ///
    /// # Errors
    ///
    /// [`Error::Owner`], [`Error::OwnedByRoot`], [`Error::NoAccount`], or [`Error::NotSearchable`] when the user
    /// could not reach the directory.
    pub(super) fn of(data_dir: &Path) -> Result<Self, Error> {
        let uid = syscalls::effective_uid();
        let existing = fs::metadata(data_dir).ok();
        if uid != 0 {
            return match existing {
                Some(dir) if dir.uid() != uid => Err(Error::Owner {
                    data_dir: data_dir.to_owned(),
                    owner: dir.uid(),
                    uid,
                }),
                // The group is only ever used as root.
                _ => Ok(Self {
                    uid,
                    gid: 0,
                    switch: false,
                }),
            };
        }
        let account = match existing {
            Some(dir) if dir.uid() != 0 => Self {
                uid: dir.uid(),
                gid: dir.gid(),
                switch: true,
            },
            Some(_) if data_dir.join("PG_VERSION").exists() => {
                return Err(Error::OwnedByRoot {
                    data_dir: data_dir.to_owned(),
                });
            }
            _ => ["postgres", "nobody"]
                .into_iter()
                .find_map(Self::named)
                .ok_or(Error::NoAccount)?,
        };
        match data_dir.ancestors().skip(1).find(|dir| !account.can_search(dir)) {
            None => Ok(account),
            Some(ancestor) => Err(Error::NotSearchable {
                data_dir: data_dir.to_owned(),
                ancestor: ancestor.to_owned(),
                uid: account.uid,
            }),
        }
    }

    /// A command that runs `program` as this user: own process group, no standard input or output, no `PG*` variables.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // The directory we stand in may be closed to the user of the children.
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        // Else Ctrl-C in the terminal ends the server while connections still drain.
        command.process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        // Messages in English: two of them are recognised.
        command.env("LC_ALL", "C").env_remove("LANGUAGE");
        if self.switch {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Hands `path` to this user; never follows a symbolic link. Nothing to do unless this process is root.
    pub(super) fn hand_over(&self, path: &Path) -> io::Result<()> {
        if self.switch {
            std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
        } else {
            Ok(())
        }
    }

    /// Hands an open file to this user. Nothing to do unless this process is root.
    pub(super) fn hand_over_file(&self, file: &fs::File) -> io::Result<()> {
        if self.switch {
            std::os::unix::fs::fchown(file, Some(self.uid), Some(self.gid))
        } else {
            Ok(())
        }
    }

    /// Whether `path` belongs to this user and nobody else may use it.
    pub(super) fn owns_privately(&self, path: &Metadata) -> bool {
        path.uid() == self.uid && path.mode() & 0o077 == 0
    }

    /// Whether this user may pass through the directory `dir`, as its mode says. Access lists are not looked at.
    pub(super) fn can_search(&self, dir: &Path) -> bool {
        let Ok(dir) = fs::metadata(dir) else { return true };
        let bit = match (dir.uid() == self.uid, dir.gid() == self.gid) {
            (true, _) => 0o100,
            // Our own groups are unknown here, and the kernel asks them anyway.
            _ if !self.switch => return true,
            (_, true) => 0o010,
            _ => 0o001,
        };
        dir.mode() & bit != 0
    }

    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// Asks `id`, not `/etc/passwd`: users may live in a directory service.
    fn named(name: &str) -> Option<Self> {
        let ask = |flag: &str| -> Option<u32> {
            let output = Command::new("id")
                .args([flag, name])
                .stdin(Stdio::null())
                .output()
                .ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        let uid = ask("-u").filter(|uid| *uid != 0)?;
        Some(Self {
            uid,
            gid: ask("-g")?,
            switch: true,
        })
    }
}
