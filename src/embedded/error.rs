//! What can keep the server from starting.

use std::io;
use std::path::{Path, PathBuf};

use super::binaries::{MIN_MAJOR, NoBinaries};

/// Why no server was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server programs are not installed; the text says how to install them.
    #[error("{0}")]
    NoBinaries(NoBinaries),

    /// All server programs found are too old.
    #[error(
        "the PostgreSQL server programs in {} have version {major}; {} or later is needed",
        .bin_dir.display(), MIN_MAJOR
    )]
    TooOld {
        /// Where they are.
        bin_dir: PathBuf,
        /// Their major version.
        major: u32,
    },

    /// The data directory belongs to a version for which no server programs were found.
    #[error(
        "the data directory {} was made by PostgreSQL {made_by}, but the server programs in {} have version {major}: \
         install PostgreSQL {made_by} or set PGBIN to its programs, or convert the directory with pg_upgrade, or move \
         it away to start with an empty one",
        .data_dir.display(), .bin_dir.display()
    )]
    VersionMismatch {
        /// The directory.
        data_dir: PathBuf,
        /// The major version that made it.
        made_by: u32,
        /// Where the programs are.
        bin_dir: PathBuf,
        /// Their major version.
        major: u32,
    },

    /// Another server, or another process about to start one, has the data directory.
    #[error("the data directory {} is in use by {}", .data_dir.display(), process_name(*.pid))]
    InUse {
        /// The directory.
        data_dir: PathBuf,
        /// The process that has it, if it said so: one of ours, or a server that was started by other means.
        pid: Option<u32>,
    },

    /// The data directory belongs to another user, and this process is not root.
    #[error(
        "the data directory {} belongs to user id {owner}, but this process runs as user id {uid}: \
         run it as that user, or as root",
        .data_dir.display()
    )]
    Owner {
        /// The directory.
        data_dir: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        uid: u32,
    },

    /// The data directory belongs to root.
    #[error(
        "the data directory {0} belongs to root, as which PostgreSQL does not run: chown -R postgres {0}",
        .data_dir.display()
    )]
    OwnedByRoot {
        /// The directory.
        data_dir: PathBuf,
    },

    /// The data directory holds something else than PostgreSQL's data.
    #[error("{} is not empty and is no PostgreSQL data directory", .data_dir.display())]
    NotADataDir {
        /// The directory.
        data_dir: PathBuf,
    },

    /// This process is root, and the user its server would run as cannot reach the data directory.
    #[error(
        "user id {uid}, as which PostgreSQL would run, cannot reach the data directory {}, because {} is closed to it: \
         put the data elsewhere, for example below /var/lib",
        .data_dir.display(), .ancestor.display()
    )]
    NotSearchable {
        /// The directory.
        data_dir: PathBuf,
        /// The directory above it that is closed.
        ancestor: PathBuf,
        /// The user.
        uid: u32,
    },

    /// This process is root, and there is no other user to run the server as.
    #[error("PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody to run it as")]
    NoAccount,

    /// `initdb` needs the name of the user it runs as.
    #[error(
        "user id {uid} has no entry in /etc/passwd, without which initdb does not run: \
         add one, or run this process as root or another user"
    )]
    NoPasswdEntry {
        /// The user.
        uid: u32,
    },

    /// Every place for the socket has too long a path.
    #[error(
        "no path for the server's socket is short enough: below the data directory {} it has more than {limit} bytes, \
         and neither $XDG_RUNTIME_DIR nor the directory for temporary files will do",
        .data_dir.display()
    )]
    SocketPath {
        /// The data directory.
        data_dir: PathBuf,
        /// The longest possible path, in bytes.
        limit: usize,
    },

    /// The directory for the socket exists and is not private.
    #[error(
        "{} must be a directory that belongs to user id {uid} alone (mode 0700), for the server's socket",
        .path.display()
    )]
    SocketDir {
        /// The directory.
        path: PathBuf,
        /// Whose it should be.
        uid: u32,
    },

    /// The template cannot be copied.
    #[error("the template {} {reason}", .template.display())]
    Template {
        /// [`Options::template`](super::Options::template).
        template: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// `initdb` failed.
    #[error("initdb failed: {output}")]
    Initdb {
        /// Its messages.
        output: String,
    },

    /// The server did not come up.
    #[error("PostgreSQL did not start ({reason}):\n{log}")]
    Start {
        /// How it ended, or that it took too long.
        reason: String,
        /// Its last messages.
        log: String,
    },

    /// A file or program could not be used.
    #[error("{what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or program.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }
}

fn process_name(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_mismatch_names_both_versions_and_the_ways_out() {
        let message = Error::VersionMismatch {
            data_dir: "/data/pg".into(),
            made_by: 15,
            bin_dir: "/usr/lib/postgresql/17/bin".into(),
            major: 17,
        }
        .to_string();
        for part in [
            "made by PostgreSQL 15",
            "have version 17",
            "PGBIN",
            "pg_upgrade",
            "/data/pg",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }

    #[test]
    fn in_use_names_the_process_if_known() {
        let message = |pid| {
            Error::InUse {
                data_dir: "/data/pg".into(),
                pid,
            }
            .to_string()
        };
        assert_eq!(message(Some(42)), "the data directory /data/pg is in use by process 42");
        assert_eq!(
            message(None),
            "the data directory /data/pg is in use by another process"
        );
    }
}
