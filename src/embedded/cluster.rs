//! Making a data directory: by `initdb`, or as a copy of another.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Stdio;

use tracing::info;

use super::account::Account;
use super::binaries::Binaries;
use super::postmaster::Postmaster;
use super::{Error, Options};
use super::{log, places, syscalls};

/// The major version that made `data_dir`; `None` when there is nothing yet, or an empty directory.
///
/// # Errors
///
/// [`Error::NotADataDir`] when it holds something else.
pub(super) fn major_version(data_dir: &Path) -> Result<Option<u32>, Error> {
    let file = data_dir.join("PG_VERSION");
    let foreign = || Error::NotADataDir {
        data_dir: data_dir.to_owned(),
    };
    match fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| foreign()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_dir(data_dir).map(|mut all| all.next())
        {
            Ok(Some(_)) => Err(foreign()),
            Ok(None) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("cannot read the data directory", data_dir, source)),
        },
        Err(source) => Err(Error::io("cannot read", &file, source)),
    }
}

/// Makes the data directory under another name, and gives it its own when it is whole.
pub(super) fn create(data_dir: &Path, binaries: &Binaries, account: &Account, options: &Options) -> Result<(), Error> {
    let new = places::beside(data_dir, ".new");
    let failed = |source| Error::io("cannot create", &new, source);
    // What a process that was killed at this point has left; the lock says it is nobody's now.
    match fs::remove_dir_all(&new) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed(source)),
        _ => {}
    }
    DirBuilder::new()
        .mode(0o700)
        .create(&new)
        .and_then(|()| account.hand_over(&new))
        .map_err(failed)?;
    info!(data_dir = %data_dir.display(), version = binaries.major, "making a new PostgreSQL data directory");
    match &options.template {
        Some(template) => copy_template(template, &new, binaries, account).and_then(|()| {
            if options.durable {
                initdb(&new, binaries, account, &["--sync-only"])
            } else {
                Ok(())
            }
        })?,
        None => initialise(&new, binaries, account, options.durable)?,
    }
    fs::rename(&new, data_dir).map_err(failed)?;
    if options.durable {
        // Without this a power cut can take the directory's name away, and everything written since with it.
        let parent = data_dir.parent().unwrap_or(data_dir);
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(failed)?;
    }
    Ok(())
}

fn initialise(dir: &Path, binaries: &Binaries, account: &Account, durable: bool) -> Result<(), Error> {
    // `trust` is safe: the socket's directory is closed to others and there is no TCP. `peer` would shut out a root
    // process whose server runs as another user.
    let mut arguments = vec![
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-instructions",
        "--locale=C.UTF-8",
    ];
    if !durable {
        arguments.push("--no-sync");
    }
    match initdb(dir, binaries, account, &arguments) {
        // The C library has no C.UTF-8 (macOS, old glibc, musl builds without locales).
        Err(Error::Initdb { output }) if output.contains("invalid locale") => {
            let last = arguments.iter().map(|argument| {
                if *argument == "--locale=C.UTF-8" {
                    "--locale=C"
                } else {
                    argument
                }
            });
            initdb(dir, binaries, account, &last.collect::<Vec<_>>())
        }
        result => result,
    }
}

/// Runs `initdb` with a limit on its life: this thread waits for it, so it ends with this process.
fn initdb(dir: &Path, binaries: &Binaries, account: &Account, arguments: &[&str]) -> Result<(), Error> {
    let program = binaries.initdb();
    let mut command = account.command(&program);
    command.arg("--pgdata").arg(dir).args(arguments).stderr(Stdio::piped());
    syscalls::die_with_parent(&mut command);
    let output = command
        .output()
        .map_err(|source| Error::io("cannot run", &program, source))?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.contains("could not look up effective user ID") {
        return Err(Error::NoPasswdEntry { uid: account.uid() });
    }
    Err(Error::Initdb { output })
}

fn copy_template(template: &Path, new: &Path, binaries: &Binaries, account: &Account) -> Result<(), Error> {
    let refuse = |reason| {
        Err(Error::Template {
            template: template.to_owned(),
            reason,
        })
    };
    match major_version(template)? {
        None => return refuse("is no PostgreSQL data directory"),
        Some(major) => binaries.check_version(template, major)?,
    }
    if Postmaster::of(template).is_some_and(|postmaster| syscalls::exists(postmaster.pid)) {
        return refuse("is in use by a running server");
    }
    let left_behind = ["postmaster.pid", "postmaster.opts", "socket", log::NAME, log::OLD_NAME];
    match copy_tree(template, new, account, &left_behind) {
        // A tablespace, or the WAL kept elsewhere: the copy would share it with the template.
        Ok(Copied::Link) => refuse("holds a symbolic link"),
        Ok(Copied::Whole) => Ok(()),
        Err(source) => Err(Error::io("cannot copy", template, source)),
    }
}

enum Copied {
    Whole,
    /// Met a symbolic link and stopped.
    Link,
}

fn copy_tree(from: &Path, to: &Path, account: &Account, left_behind: &[&str]) -> io::Result<Copied> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if left_behind.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let (kind, copy) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_symlink() {
            return Ok(Copied::Link);
        } else if kind.is_dir() {
            DirBuilder::new().mode(0o700).create(&copy)?;
            account.hand_over(&copy)?;
            // The names to leave behind are those at the top only.
            if let Copied::Link = copy_tree(&entry.path(), &copy, account, &[])? {
                return Ok(Copied::Link);
            }
        } else if kind.is_file() {
            fs::copy(entry.path(), &copy)?;
            account.hand_over(&copy)?;
        }
    }
    Ok(Copied::Whole)
}
