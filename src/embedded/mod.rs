//! A private PostgreSQL as a child process: for the first run without a database, and for tests.
//!
//! [`Postgres::start`] finds the server programs, makes the data directory once, and runs `postgres` on a unix socket
//! with no TCP. Everything here blocks; async callers use `spawn_blocking`. It needs nothing but the programs of
//! PostgreSQL 15 or later.
//!
//! What each part is for:
//!
//! - `places`: data directory, lock, socket directory
//! - `account`: the user the server runs as, when this process is root
//! - `binaries`: the server programs, and what to install without them
//! - `cluster`: `initdb`, or a copy of a template
//! - `postmaster`: servers that are still there from before
//! - `process`, `log`: the child, and what it says
//! - `syscalls`: all the `unsafe` there is
//!
//! On Linux a server ends with its process, even when that gets SIGKILL. Elsewhere it stays after a SIGKILL,
//! and the next start on the same data directory stops it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tracing::debug;

use self::account::Account;
use self::binaries::Binaries;
use self::log::Log;
use self::places::{Lock, SocketDir};
use self::poll::poll;
use self::postmaster::Postmaster;
use self::process::Process;

mod account;
mod binaries;
mod cluster;
mod error;
mod log;
mod places;
mod poll;
mod postmaster;
mod process;
#[expect(
    unsafe_code,
    reason = "std cannot send SIGINT, tell the user id, or bind a child's life to ours between fork and exec"
)]
mod syscalls;

pub use self::binaries::NoBinaries;
pub use self::error::Error;
pub use self::places::default_data_dir;

/// How to start a [`Postgres`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the data lies; made on the first start. Its parent must be writable: `<data_dir>.lock`, and for a moment
    /// `<data_dir>.new`, lie beside it.
    pub data_dir: PathBuf,
    /// Whether committed data survives a crash. Default: true. False is for tests: `fsync`, `synchronous_commit` and
    /// `full_page_writes` off, `initdb --no-sync`. Then a crash of the machine may ruin the whole data directory, and
    /// a crash of the server alone loses the commits of the last half second.
    pub durable: bool,
    /// PostgreSQL's `max_connections`. Default: 100, as PostgreSQL's own.
    pub max_connections: u16,
    /// Further settings, as name and value. They win over all others, so `unix_socket_directories`, `port` and
    /// `listen_addresses` do not belong here.
    pub settings: Vec<(String, String)>,
    /// The data directory of a stopped server, to copy instead of running `initdb`, which is faster. Only looked at
    /// when `data_dir` does not exist yet. For tests.
    pub template: Option<PathBuf>,
}

impl Options {
    /// The defaults for a server on `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            durable: true,
            max_connections: 100,
            settings: Vec::new(),
            template: None,
        }
    }
}

/// Where the server of a data directory listens that another process of ours runs: the directory of its socket, and the
/// port. None if there is none, or if it is starting.
#[must_use]
pub fn running(data_dir: &Path) -> Option<(PathBuf, u16)> {
    let data_dir = places::resolve(data_dir).ok()?;
    let found = Postmaster::of(&data_dir).filter(|found| found.ready && syscalls::exists(found.pid))?;
    Some((found.socket_dir, places::PORT))
}

/// A running PostgreSQL server. Dropping it stops the server, as [`stop`](Self::stop) does.
///
/// The superuser is `postgres`, without a password: the socket's directory is closed to all users but the server's own
/// and root. The encoding is UTF8, the locale C.UTF-8 (C where the system has no C.UTF-8), `wal_level` is `logical`.
///
/// The server's messages go to `rowhouse.log` in the data directory, which becomes `rowhouse.log.1` at 4 MiB, so both
/// together take about 8 MiB at most. Errors and warnings that PostgreSQL sends to a client are not in it
/// (`log_min_messages=log`): they are the client's business, come at any rate, and quote row data.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    data_dir: PathBuf,
    socket_dir: SocketDir,
    binaries: Binaries,
    account: Account,
    arguments: Vec<OsString>,
    /// Taken when the server is stopped.
    lock: Option<Lock>,
}

impl Postgres {
    /// Starts a server and returns when it takes connections: tens of milliseconds on an existing data
    /// directory, most of a second on the first run, after a crash as long as recovery takes, at most 60 s.
    ///
    /// May be called from any thread; the server does not depend on the thread's life. A root process
    /// runs the server as the owner of the data directory, else as `postgres`, else as `nobody`, and must stay root.
    ///
    /// # Errors
    ///
    /// Every [`Error`]. No server is left running then.
    pub fn start(options: Options) -> Result<Self, Error> {
        let data_dir = places::resolve(&options.data_dir)?;
        // Before the lock: in a directory of another user that would fail too, but with less to say.
        let account = Account::of(&data_dir)?;
        let lock = Lock::acquire(&data_dir)?;
        let made_by = cluster::major_version(&data_dir)?;
        let binaries = Binaries::find(made_by, &account)?;
        match made_by {
            Some(major) => binaries.check_version(&data_dir, major)?,
            None => cluster::create(&data_dir, &binaries, &account, &options)?,
        }
        let socket_dir = SocketDir::create(&data_dir, &account)?;
        let arguments = arguments(&data_dir, &socket_dir, &options);
        let process = launch(&binaries, &account, &data_dir, &socket_dir, &arguments)?;
        Ok(Self {
            process,
            data_dir,
            socket_dir,
            binaries,
            account,
            arguments,
            lock: Some(lock),
        })
    }

    /// Starts the server again if it has ended by itself or by a signal from outside. `true` if it did, and connections
    /// are taken again; it takes as long as [`start`](Self::start) after a crash. Does nothing after [`stop`](Self::stop).
    ///
    /// # Errors
    ///
    /// [`Error::Start`] and its like. The server is still down then, and may be revived later.
    pub fn revive(&mut self) -> Result<bool, Error> {
        if self.lock.is_none() || self.exited().is_none() {
            return Ok(false);
        }
        self.process = launch(
            &self.binaries,
            &self.account,
            &self.data_dir,
            &self.socket_dir,
            &self.arguments,
        )?;
        Ok(true)
    }

    /// The directory of the unix socket: the `host` of a connection. Absolute.
    pub fn socket_dir(&self) -> &Path {
        self.socket_dir.path()
    }

    /// The `port` of a connection. It only names the socket: the server does not listen on TCP.
    pub fn port(&self) -> u16 {
        places::PORT
    }

    /// The process id of the server (the postmaster).
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The data directory, absolute and without symbolic links.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The file the server's messages go to.
    pub fn log_file(&self) -> PathBuf {
        self.data_dir.join(log::NAME)
    }

    /// The last lines the server has written since it was started, for the message about its end.
    pub fn last_log_lines(&self) -> String {
        self.process.last_words()
    }

    /// The major version of the server, such as 17.
    pub fn version(&self) -> u32 {
        self.binaries.major
    }

    /// How the server ended: by itself, by a signal from outside, or by [`stop`](Self::stop). `None` while it runs.
    /// Does not block. [`revive`](Self::revive) starts it again.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// Stops the server and waits until it is gone; usually 10 to 20 ms.
    ///
    /// Open sessions are ended (SIGINT, "fast"). After 10 s without success follows SIGQUIT, 5 s later SIGKILL; the
    /// next start recovers from either. A second call does nothing.
    pub fn stop(&mut self) {
        self.process.stop();
        if let Some(lock) = self.lock.take() {
            self.socket_dir.clean();
            drop(lock);
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Spawns the server and waits until it takes connections, and before that for what a former one has left behind.
fn launch(
    binaries: &Binaries,
    account: &Account,
    data_dir: &Path,
    socket_dir: &SocketDir,
    arguments: &[OsString],
) -> Result<Process, Error> {
    postmaster::clear(data_dir, socket_dir.path())?;
    let mut attempts = 0;
    loop {
        match attempt(binaries, account, data_dir, arguments) {
            // Sessions of a postmaster that was killed still end; PostgreSQL waits for the last of them.
            Err(Error::Start { log, .. }) if attempts < ORPHAN_ATTEMPTS && log.contains(ORPHANS) => {
                attempts += 1;
                std::thread::sleep(ORPHAN_STEP);
            }
            Ok(process) => {
                debug!(pid = process.pid(), data_dir = %data_dir.display(), version = binaries.major, "PostgreSQL is ready");
                return Ok(process);
            }
            failed => return failed,
        }
    }
}

/// Spawns the server and waits until it takes connections.
fn attempt(binaries: &Binaries, account: &Account, data_dir: &Path, arguments: &[OsString]) -> Result<Process, Error> {
    let program = binaries.postgres();
    let mut command = account.command(&program);
    command.args(arguments);
    let log = Log::open(data_dir, account)?;
    let process = Process::spawn(command, log).map_err(|source| Error::io("cannot run", &program, source))?;
    // Without `psql` and without connection attempts: the server says in its pid file when it is ready.
    let outcome = poll(START_LIMIT, Duration::from_millis(2), || {
        if let Some(status) = process.exited() {
            return Some(Err(status.to_string()));
        }
        // The file may be a former server's; then it has another pid.
        let found = Postmaster::of(data_dir).filter(|postmaster| postmaster.ready && postmaster.pid == process.pid());
        found.map(|_| Ok(()))
    });
    let reason = match outcome {
        Some(Ok(())) => return Ok(process),
        Some(Err(reason)) => reason,
        None => {
            process.stop();
            format!("not ready after {} s", START_LIMIT.as_secs())
        }
    };
    Err(Error::Start {
        reason,
        log: process.last_words(),
    })
}

/// The server's command line. It wins over `postgresql.conf` and `ALTER SYSTEM`, and of two settings the last one wins.
fn arguments(data_dir: &Path, socket_dir: &SocketDir, options: &Options) -> Vec<OsString> {
    let mut arguments = vec!["-D".into(), data_dir.into()];
    let mut set = |name: &str, value: OsString| {
        let mut setting = OsString::from(name);
        setting.push("=");
        setting.push(value);
        arguments.extend(["-c".into(), setting]);
    };
    set("unix_socket_directories", socket_dir.setting());
    set("port", places::PORT.to_string().into());
    set("max_connections", options.max_connections.to_string().into());
    for (name, value) in SETTINGS {
        set(name, value.into());
    }
    if !options.durable {
        for (name, value) in VOLATILE {
            set(name, value.into());
        }
    }
    for (name, value) in &options.settings {
        set(name, value.into());
    }
    arguments
}

/// The settings of every server.
const SETTINGS: [(&str, &str); 9] = [
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("cluster_name", "rowhouse"), // shown by ps
    // Moving a tenant to another server takes logical replication, and changing this takes a restart.
    ("wal_level", "logical"),
    ("max_slot_wal_keep_size", "1GB"), // else a forgotten slot fills the disk
    // Messages go to the pipe to us, which bounds them; levels below LOG are the client's (see `Postgres`).
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_min_messages", "log"),
    ("lc_messages", "C"), // one message is recognised, see `ORPHANS`
];

/// The settings that make a server fast and its data worthless after a crash ([`Options::durable`]).
const VOLATILE: [(&str, &str); 3] = [
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
];

/// As long as `pg_ctl start` waits.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What PostgreSQL says while processes of a killed postmaster are still there.
const ORPHANS: &str = "pre-existing shared memory block";
const ORPHAN_STEP: Duration = Duration::from_millis(100);
const ORPHAN_ATTEMPTS: u32 = 50;
