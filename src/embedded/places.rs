//! Where things lie: the data directory, its lock file, the socket directory.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Error;
use super::account::Account;
use super::poll::poll;
use super::syscalls;

/// The data directory of a server that is started in the directory `base`: `.rowhouse/pg` below it.
///
/// When this process is root and `base` lies below a directory closed to other users, as `/root` is, the server's
/// user could not get there; then it is `/var/lib/rowhouse/<name>-<digest>/pg`, the same for the same `base`.
/// Nothing is created.
pub fn default_data_dir(base: &Path) -> PathBuf {
    let absolute = || std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
    let base = fs::canonicalize(base).unwrap_or_else(|_| absolute());
    default_below(&base, syscalls::effective_uid() == 0)
}

fn default_below(base: &Path, root: bool) -> PathBuf {
    let below = base.join(".rowhouse").join("pg");
    // What does not exist yet will be created open.
    let open_to_others = |dir: &Path| fs::metadata(dir).map_or(true, |dir| dir.mode() & 0o001 != 0);
    if !root || below.ancestors().skip(1).all(open_to_others) {
        return below;
    }
    let name = base
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Path::new("/var/lib/rowhouse")
        .join(format!("{name}-{:016x}", digest(base)))
        .join("pg")
}

/// `data_dir` as an absolute path without symbolic links; the directories above it are created.
pub(super) fn resolve(data_dir: &Path) -> Result<PathBuf, Error> {
    let failed = |source| Error::io("cannot use the data directory", data_dir, source);
    let absolute = std::path::absolute(data_dir).map_err(failed)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    };
    fs::create_dir_all(parent).map_err(failed)?;
    match fs::canonicalize(&absolute) {
        Ok(existing) => Ok(existing),
        Err(_) => Ok(fs::canonicalize(parent).map_err(failed)?.join(name)),
    }
}

/// `path` with `suffix` added to its last component.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The right to use a data directory, held as a file lock on `<data_dir>.lock`.
///
/// The kernel gives it back however this process ends, and unlike `postmaster.pid` it covers `initdb` too. The file
/// names the process that holds it.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// # Errors
    ///
    /// [`Error::InUse`] when another [`Postgres`](super::Postgres), of any process, has the directory.
    pub(super) fn acquire(data_dir: &Path) -> Result<Self, Error> {
        let path = beside(data_dir, ".lock");
        let failed = |source| Error::io("cannot lock", &path, source);
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)
                .map_err(failed)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    // It may have been locked this moment, and say who by in the next.
                    let pid = poll(Duration::from_millis(200), Duration::from_millis(10), || {
                        fs::read_to_string(&path).ok()?.trim().parse().ok()
                    });
                    return Err(Error::InUse {
                        data_dir: data_dir.to_owned(),
                        pid,
                    });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Ok(()) => {}
            }
            // The former holder removes the file: then this lock is on a file nobody else will ever find.
            let found = file.metadata().map_err(failed)?;
            if fs::metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (found.dev(), found.ino())) {
                file.set_len(0)
                    .and_then(|()| writeln!(file, "{}", std::process::id()))
                    .map_err(failed)?;
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // First the name, then (when the file is closed) the lock: in the other order this could remove the next
        // holder's file.
        let _ = fs::remove_file(&self.path);
    }
}

/// The directory of the server's socket: 0700, owned by the server's user.
#[derive(Debug)]
pub(super) struct SocketDir {
    path: PathBuf,
    /// It lies outside the data directory, because the path there would be too long.
    outside: bool,
}

impl SocketDir {
    /// `<data_dir>/socket`; when that makes too long a path for a socket address, a directory named after the data
    /// directory in `$XDG_RUNTIME_DIR` or the directory for temporary files.
    ///
    /// # Errors
    ///
    /// [`Error::SocketPath`] when no place is short enough, [`Error::SocketDir`] when the place is taken.
    pub(super) fn create(data_dir: &Path, account: &Account) -> Result<Self, Error> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let elsewhere = runtime.into_iter().chain([std::env::temp_dir()]);
        let Some(path) = choose_socket_dir(data_dir, elsewhere, account) else {
            return Err(Error::SocketPath {
                data_dir: data_dir.to_owned(),
                limit: SOCKET_PATH_LIMIT,
            });
        };
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => account
                .hand_over(&path)
                .map_err(|source| Error::io("cannot change the owner of", &path, source))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // In a directory open to all, anyone may have put anything there first.
                let ours =
                    fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir() && account.owns_privately(&found));
                if !ours {
                    return Err(Error::SocketDir {
                        path,
                        uid: account.uid(),
                    });
                }
            }
            Err(source) => return Err(Error::io("cannot create", &path, source)),
        }
        Ok(Self {
            outside: !path.starts_with(data_dir),
            path,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// As the value of `unix_socket_directories`: a list, whose items may be quoted like identifiers.
    pub(super) fn setting(&self) -> OsString {
        let mut quoted = vec![b'"'];
        for byte in self.path.as_os_str().as_bytes() {
            quoted.push(*byte);
            if *byte == b'"' {
                quoted.push(b'"');
            }
        }
        quoted.push(b'"');
        OsString::from_vec(quoted)
    }

    /// Removes the directory if it is not part of the data directory. For when the server is gone.
    pub(super) fn clean(&self) {
        if self.outside {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

fn choose_socket_dir(data_dir: &Path, elsewhere: impl Iterator<Item = PathBuf>, account: &Account) -> Option<PathBuf> {
    let name = format!("rowhouse-{:016x}", digest(data_dir));
    let outside = elsewhere.filter(|dir| dir.is_absolute() && dir.is_dir() && account.can_search(dir));
    std::iter::once(data_dir.join("socket"))
        .chain(outside.map(|dir| dir.join(&name)))
        .find(|dir| {
            let socket = dir.join(format!(".s.PGSQL.{PORT}"));
            socket.as_os_str().len() <= SOCKET_PATH_LIMIT
        })
}

/// FNV-1a, 64 bits: names a directory after a path. std's hasher may change with the Rust version.
fn digest(path: &Path) -> u64 {
    path.as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}

/// The server does not listen on TCP: this number is only part of the socket's name.
pub(super) const PORT: u16 = 5432;

/// The longest path of a socket in bytes: `sun_path` (unix(7)) without the final NUL.
const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn default_is_below_the_base() {
        assert_eq!(
            default_below(Path::new("/srv/app"), false),
            Path::new("/srv/app/.rowhouse/pg")
        );
        assert_eq!(default_below(Path::new("/"), true), Path::new("/.rowhouse/pg"));
    }

    #[test]
    fn root_below_a_closed_directory_gets_a_stable_place_elsewhere() {
        let closed = Scratch::new("closed", 0o700);
        let base = closed.0.join("app");
        fs::create_dir(&base).unwrap();
        let found = default_below(&base, true);
        assert!(
            found.starts_with("/var/lib/rowhouse") && found.ends_with("pg"),
            "{found:?}"
        );
        assert_eq!(found, default_below(&base, true));
        assert_ne!(found, default_below(&closed.0.join("other"), true));
        assert_eq!(default_below(&base, false), base.join(".rowhouse/pg"));
    }

    #[test]
    fn lock_has_one_holder_and_says_who() {
        let dir = Scratch::new("lock", 0o755);
        let data_dir = dir.0.join("pg");
        let held = Lock::acquire(&data_dir).unwrap();
        let error = Lock::acquire(&data_dir).unwrap_err();
        assert!(
            matches!(error, Error::InUse { pid: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
        drop(held);
        drop(Lock::acquire(&data_dir).unwrap());
        assert!(!beside(&data_dir, ".lock").exists());
    }

    #[test]
    fn socket_goes_elsewhere_when_its_path_is_too_long() {
        let dir = Scratch::new("socket", 0o755);
        let account = Account::of(&dir.0.join("pg")).unwrap();
        let choose = |name_length: usize, elsewhere: &[PathBuf]| {
            let data_dir = dir.0.join("x".repeat(name_length));
            choose_socket_dir(&data_dir, elsewhere.iter().cloned(), &account).map(|path| path.starts_with(&data_dir))
        };
        let fixed = dir.0.join("x/socket/.s.PGSQL.5432").as_os_str().len() - 1;
        let longest = SOCKET_PATH_LIMIT - fixed;
        assert_eq!(choose(longest, std::slice::from_ref(&dir.0)), Some(true));
        assert_eq!(choose(longest + 1, &["/".into()]), Some(false));
        assert_eq!(choose(longest + 1, &[]), None);
        assert_eq!(
            choose(longest + 1, &["relative".into(), "/does/not/exist".into()]),
            None
        );
    }

    #[test]
    fn socket_directory_of_somebody_else_is_refused() {
        let dir = Scratch::new("squat", 0o755);
        let data_dir = dir.0.join("pg");
        let account = Account::of(&data_dir).unwrap();
        fs::create_dir_all(data_dir.join("socket")).unwrap();
        fs::set_permissions(data_dir.join("socket"), PermissionsExt::from_mode(0o777)).unwrap();
        let error = SocketDir::create(&data_dir, &account).unwrap_err();
        assert!(matches!(error, Error::SocketDir { .. }), "{error}");
    }

    #[test]
    fn socket_setting_is_quoted() {
        let dir = SocketDir {
            path: r#"/a, "b"/c"#.into(),
            outside: false,
        };
        assert_eq!(dir.setting(), r#""/a, ""b""/c""#);
    }

    #[test]
    fn digest_is_fnv_1a() {
        // Test vectors published by its authors.
        assert_eq!(digest(Path::new("")), 0xcbf2_9ce4_8422_2325);
        assert_eq!(digest(Path::new("a")), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(digest(Path::new("foobar")), 0x8594_4171_f739_67e8);
    }

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, mode: u32) -> Self {
            let path = std::env::temp_dir().join(format!("rowhouse-places-{name}-{}", std::process::id()));
            DirBuilder::new().mode(mode).create(&path).unwrap();
            Self(fs::canonicalize(path).unwrap())
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
