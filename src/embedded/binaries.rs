//! Finds the server programs, `initdb` and `postgres`.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tracing::debug;

use super::Error;
use super::account::Account;

/// A directory that holds `initdb` and `postgres`, and their major version.
#[derive(Debug)]
pub(super) struct Binaries {
    pub(super) dir: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    /// Finds server programs, those of version `wanted` if there are any.
    ///
    /// `$PGBIN` is taken at its word. Otherwise the first of: `$PATH`, the directories of [`INSTALLED`] with the newest
    /// first, `pg_config --bindir` (last, because asking it takes 5 to 10 ms).
    ///
    /// # Errors
    ///
    /// [`Error::NoBinaries`]; [`Error::TooOld`] when all there is is older than [`MIN_MAJOR`].
    pub(super) fn find(wanted: Option<u32>, account: &Account) -> Result<Self, Error> {
        if let Some(dir) = std::env::var_os("PGBIN").filter(|dir| !dir.is_empty()) {
            let dir = std::path::absolute(&dir).unwrap_or_else(|_| dir.into());
            return match Self::at(dir.clone(), account) {
                None => Err(Error::NoBinaries(NoBinaries { pgbin: Some(dir) })),
                Some(found) => found.new_enough(),
            };
        }
        // Lazy: when the first place has the right version, the later ones are not looked at.
        let places = on_path()
            .chain(std::iter::once_with(installed).flatten())
            .chain(std::iter::once_with(pg_config).flatten());
        let mut first = None;
        for found in places.filter_map(|dir| Self::at(dir, account)) {
            if wanted.is_none_or(|wanted| wanted == found.major) && found.major >= MIN_MAJOR {
                return Ok(found);
            }
            first.get_or_insert(found);
        }
        first.ok_or(Error::NoBinaries(NoBinaries { pgbin: None }))?.new_enough()
    }

    /// # Errors
    ///
    /// [`Error::VersionMismatch`] unless `data_dir`, made by version `made_by`, is for these programs.
    pub(super) fn check_version(&self, data_dir: &Path, made_by: u32) -> Result<(), Error> {
        if made_by == self.major {
            return Ok(());
        }
        Err(Error::VersionMismatch {
            data_dir: data_dir.to_owned(),
            made_by,
            bin_dir: self.dir.clone(),
            major: self.major,
        })
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    /// `dir`, when both programs are there and `postgres` tells its version to the user that will run it.
    fn at(dir: PathBuf, account: &Account) -> Option<Self> {
        if !["initdb", "postgres"]
            .iter()
            .all(|program| is_program(&dir.join(program)))
        {
            return None;
        }
        let answer = account
            .command(&dir.join("postgres"))
            .arg("--version")
            .stdout(Stdio::piped())
            .output();
        let major = answer
            .ok()
            .and_then(|answer| parse_major(&String::from_utf8_lossy(&answer.stdout)));
        if major.is_none() {
            debug!(dir = %dir.display(), "postgres is there but does not run");
        }
        major.map(|major| Self { dir, major })
    }

    fn new_enough(self) -> Result<Self, Error> {
        if self.major >= MIN_MAJOR {
            Ok(self)
        } else {
            Err(Error::TooOld {
                bin_dir: self.dir,
                major: self.major,
            })
        }
    }
}

/// No server programs were found. Its text says where they were looked for and how to install them.
#[derive(Debug)]
pub struct NoBinaries {
    /// `$PGBIN`, if it was set.
    pgbin: Option<PathBuf>,
}

impl fmt::Display for NoBinaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no PostgreSQL server programs (initdb, postgres) found.")?;
        match &self.pgbin {
            Some(dir) => writeln!(f, "  Looked in $PGBIN only, because it is set: {}", dir.display())?,
            None => writeln!(
                f,
                "  Looked in $PGBIN, $PATH, `pg_config --bindir`, /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, Homebrew."
            )?,
        }
        for (name, install) in install_commands(&system_ids()) {
            writeln!(f, "  {:<15} {install}", format!("{name}:"))?;
        }
        write!(
            f,
            "  or point the server at a running one: --database-url postgres://user@host/db"
        )
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn on_path() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A relative entry would run whatever lies in the current directory.
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .collect::<Vec<_>>()
        .into_iter()
}

fn installed() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (parent, prefix, below) in INSTALLED {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let major = name
                .to_str()
                .and_then(|name| name.strip_prefix(prefix))
                .and_then(leading_number);
            if let Some(major) = major {
                found.push((major, entry.path().join(below)));
            }
        }
    }
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, dir)| dir).collect()
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let dir = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(dir.trim())).filter(|dir| dir.is_absolute())
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is 15; so is `postgres (PostgreSQL) 15beta1`.
fn parse_major(version: &str) -> Option<u32> {
    version.strip_prefix("postgres (PostgreSQL) ").and_then(leading_number)
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The names this system goes by, most specific first.
fn system_ids() -> Vec<String> {
    if cfg!(target_os = "macos") {
        return vec!["macos".to_owned()];
    }
    let text = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
    os_release_ids(&text.unwrap_or_default())
}

/// `ID` and `ID_LIKE` of an os-release file (os-release(5)).
fn os_release_ids(text: &str) -> Vec<String> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    let all = format!("{} {}", value("ID"), value("ID_LIKE"));
    all.split_whitespace().map(str::to_owned).collect()
}

/// Names of systems with their install command, this system's first.
fn install_commands(ids: &[String]) -> Vec<(&'static str, &'static str)> {
    let mut commands = INSTALL.to_vec();
    let here = |(_, names, _): &(&str, &[&str], &str)| ids.iter().position(|id| names.contains(&id.as_str()));
    commands.sort_by_key(|command| here(command).unwrap_or(usize::MAX));
    commands.into_iter().map(|(name, _, install)| (name, install)).collect()
}

/// The oldest supported major version.
pub(super) const MIN_MAJOR: u32 = 15;

/// Where packages put a major version: the directory, the name up to the version number, what is below it.
const INSTALLED: [(&str, &str, &str); 9] = [
    ("/usr/lib/postgresql", "", "bin"),   // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),            // packages of postgresql.org for Fedora, RHEL
    ("/usr/libexec", "postgresql", ""),   // Alpine
    ("/usr/lib", "postgresql", "bin"),    // SUSE
    ("/usr/lib64", "postgresql-", "bin"), // Gentoo
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// What to call a system, its ids in os-release, the install command.
const INSTALL: [(&str, &[&str], &str); 6] = [
    ("Debian/Ubuntu", &["debian", "ubuntu"], "apt install postgresql"),
    (
        "Fedora/RHEL",
        &["fedora", "rhel", "centos"],
        "dnf install postgresql-server",
    ),
    ("Alpine", &["alpine"], "apk add postgresql17"),
    ("macOS", &["macos"], "brew install postgresql@17"),
    ("Arch", &["arch"], "pacman -S postgresql"),
    ("SUSE", &["suse", "opensuse"], "zypper install postgresql-server"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_version_is_read_from_releases_and_betas() {
        assert_eq!(
            parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(parse_major("postgres (PostgreSQL) 18.4\n"), Some(18));
        assert_eq!(parse_major("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(parse_major("postgres (PostgreSQL) 9.6.24\n"), Some(9));
        assert_eq!(parse_major("psql (PostgreSQL) 15.18\n"), None);
        assert_eq!(parse_major(""), None);
    }

    #[test]
    fn this_system_comes_first_in_the_message() {
        let first = |os_release: &str| install_commands(&os_release_ids(os_release))[0].0;
        assert_eq!(
            first("PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=\"12\"\nID=debian\n"),
            "Debian/Ubuntu"
        );
        assert_eq!(first("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), "Debian/Ubuntu");
        assert_eq!(first("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), "Fedora/RHEL");
        assert_eq!(first("NAME=\"Alpine Linux\"\nID=alpine\n"), "Alpine");
        assert_eq!(first("ID=arch\n"), "Arch");
        assert_eq!(first("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n"), "SUSE");
        assert_eq!(
            install_commands(&["macos".to_owned()])[0],
            ("macOS", "brew install postgresql@17")
        );
        assert_eq!(first(""), "Debian/Ubuntu");
    }

    #[test]
    fn message_names_the_places_and_the_way_out() {
        let message = NoBinaries { pgbin: None }.to_string();
        assert!(
            message.starts_with("no PostgreSQL server programs (initdb, postgres) found.\n"),
            "{message}"
        );
        for part in [
            "$PATH",
            "pg_config --bindir",
            "apt install postgresql",
            "--database-url postgres://",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(
            NoBinaries {
                pgbin: Some("/nowhere".into())
            }
            .to_string()
            .contains("/nowhere")
        );
    }
}
