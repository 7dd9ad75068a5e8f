//! The private PostgreSQL: it starts, keeps its data, and never stays behind.

use std::error::Error as StdError;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rowhouse::embedded::{Error, Options, Postgres};
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

#[test]
fn data_survives_a_stop_and_a_start() -> Outcome {
    // A path that needs quoting wherever a path can need it.
    let dir = Scratch::new()?;
    let options = volatile(&dir.0.join(r#"a "data", directory"#));
    let mut server = Postgres::start(options.clone())?;
    assert!(server.version() >= 15, "{}", server.version());
    assert_eq!(server.exited(), None);
    query(&server, "create table t(a text); insert into t values ('kept')")?;
    server.stop();

    let server = Postgres::start(options)?;
    assert_eq!(query(&server, "select a from t")?, ["kept"]);
    assert_eq!(query(&server, "select current_user")?, ["postgres"]);
    assert_eq!(query(&server, "show listen_addresses")?, [""]);
    assert_eq!(query(&server, "show server_encoding")?, ["UTF8"]);
    assert_eq!(query(&server, "show fsync")?, ["off"]);
    Ok(())
}

#[test]
fn durable_server_has_the_settings_that_keep_data() -> Outcome {
    let dir = Scratch::new()?;
    let mut options = Options::new(dir.0.join("pg"));
    options.max_connections = 33;
    options.settings = vec![("work_mem".to_owned(), "7MB".to_owned())];
    let server = Postgres::start(options)?;
    for (name, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("wal_level", "logical"),
        ("max_connections", "33"),
        ("work_mem", "7MB"),
    ] {
        assert_eq!(query(&server, &format!("show {name}"))?, [value], "{name}");
    }
    Ok(())
}

#[test]
fn second_server_on_one_directory_is_refused_with_the_pid() -> Outcome {
    let dir = Scratch::new()?;
    let options = volatile(&dir.0.join("pg"));
    // Both on an empty directory at once: only one may run `initdb`.
    let starts = [0, 1].map(|_| {
        let options = options.clone();
        thread::spawn(move || Postgres::start(options))
    });
    let mut running = Vec::new();
    let mut refused = Vec::new();
    for start in starts {
        match start.join().map_err(|_| "a start panicked")? {
            Ok(server) => running.push(server),
            Err(error) => refused.push(error),
        }
    }
    assert_eq!((running.len(), refused.len()), (1, 1), "{refused:?}");
    assert!(
        matches!(refused[0], Error::InUse { pid: Some(pid), .. } if pid == std::process::id()),
        "{}",
        refused[0]
    );
    assert_eq!(query(&running[0], "select 'alive'")?, ["alive"]);
    Ok(())
}

#[test]
fn server_outlives_the_thread_that_started_it() -> Outcome {
    let dir = Scratch::new()?;
    let options = volatile(&dir.0.join("pg"));
    let server = thread::spawn(move || Postgres::start(options))
        .join()
        .map_err(|_| "the start panicked")??;
    assert_eq!(query(&server, "select 'alive'")?, ["alive"]);
    assert_eq!(server.exited(), None);
    Ok(())
}

#[test]
fn stop_is_idempotent_and_leaves_no_process_and_no_file_beside_the_data() -> Outcome {
    let dir = Scratch::new()?;
    let mut server = Postgres::start(volatile(&dir.0.join("pg")))?;
    let pid = server.pid();
    server.stop();
    assert!(!exists(pid)?);
    assert_eq!(processes_in(server.data_dir())?, [0; 0]);
    assert_eq!(server.exited().map(|status| status.success()), Some(true));
    server.stop();
    drop(server);
    let names: Vec<_> = fs::read_dir(&dir.0)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    assert_eq!(names, ["pg"]);
    Ok(())
}

#[test]
fn drop_stops_the_server() -> Outcome {
    let dir = Scratch::new()?;
    let server = Postgres::start(volatile(&dir.0.join("pg")))?;
    let pid = server.pid();
    drop(server);
    assert!(!exists(pid)?);
    Ok(())
}

#[test]
fn killed_server_is_noticed_and_starts_again_with_its_data() -> Outcome {
    let dir = Scratch::new()?;
    // Durable: with `synchronous_commit=off` the last commits would be lost.
    let options = Options::new(dir.0.join("pg"));
    let mut server = Postgres::start(options.clone())?;
    query(&server, "create table t(a text); insert into t values ('committed')")?;
    signal("KILL", server.pid())?;
    assert!(within(Duration::from_secs(5), || server.exited().is_some()));
    assert_eq!(
        server
            .exited()
            .and_then(|status| std::os::unix::process::ExitStatusExt::signal(&status)),
        Some(9)
    );
    // At once, while processes of the killed server may still be there.
    server.stop();
    let server = Postgres::start(options)?;
    assert_eq!(query(&server, "select a from t")?, ["committed"]);
    assert!(fs::read_to_string(server.log_file())?.contains("was not properly shut down"));
    Ok(())
}

/// 1. A process starts a server and gets SIGKILL.
/// 2. The kernel sends SIGINT to the server, which shuts down as after a stop.
/// 3. The next start finds a clean data directory.
///
/// Elsewhere nothing tells the server; the next test is for those systems.
#[test]
#[cfg(target_os = "linux")]
fn killed_parent_leaves_no_postgres() -> Outcome {
    if let Some(data_dir) = std::env::var_os(PARENT_OF) {
        return be_a_parent(Path::new(&data_dir));
    }
    let dir = Scratch::new()?;
    let data_dir = dir.0.join("pg");
    let mut parent = Parent::start("killed_parent_leaves_no_postgres", &data_dir)?;
    parent.kill()?;
    let gone = || processes_in(&data_dir).is_ok_and(|left| left.is_empty());
    assert!(within(Duration::from_secs(5), gone), "{:?}", processes_in(&data_dir));

    let server = Postgres::start(volatile(&data_dir))?;
    let log = fs::read_to_string(server.log_file())?;
    assert!(!log.contains("was not properly shut down"), "{log}");
    Ok(())
}

/// 1. A process starts a server and gets SIGKILL.
/// 2. The server does not stop by itself; here because it has got SIGSTOP, on macOS because nothing tells it to.
/// 3. The next start finds it by its pid file and stops it first.
#[test]
fn leftover_of_a_killed_parent_is_stopped_by_the_next_start() -> Outcome {
    if let Some(data_dir) = std::env::var_os(PARENT_OF) {
        return be_a_parent(Path::new(&data_dir));
    }
    let dir = Scratch::new()?;
    let data_dir = dir.0.join("pg");
    let mut parent = Parent::start("leftover_of_a_killed_parent_is_stopped_by_the_next_start", &data_dir)?;
    let leftover = parent.server;
    signal("STOP", leftover)?;
    parent.kill()?;
    let start = thread::spawn({
        let options = volatile(&data_dir);
        move || Postgres::start(options)
    });
    // The start holds the lock, and waits for the leftover.
    assert!(within(Duration::from_secs(5), || data_dir
        .with_extension("lock")
        .exists()));
    assert!(exists(leftover)?);
    signal("CONT", leftover)?;
    let server = start.join().map_err(|_| "the start panicked")??;
    assert_ne!(server.pid(), leftover);
    assert_eq!(query(&server, "select 'alive'")?, ["alive"]);
    Ok(())
}

#[test]
fn copy_of_a_template_starts_with_its_data() -> Outcome {
    let dir = Scratch::new()?;
    let template = dir.0.join("template");
    let mut golden = Postgres::start(volatile(&template))?;
    query(&golden, "create table t(a text); insert into t values ('golden')")?;

    let mut options = volatile(&dir.0.join("pg"));
    options.template = Some(template);
    let refused = Postgres::start(options.clone()).map(drop);
    assert!(
        matches!(
            refused,
            Err(Error::Template {
                reason: "is in use by a running server",
                ..
            })
        ),
        "{refused:?}"
    );

    golden.stop();
    let server = Postgres::start(options)?;
    assert_eq!(query(&server, "select a from t")?, ["golden"]);
    // The copy is a copy.
    query(&server, "delete from t")?;
    let golden = Postgres::start(volatile(golden.data_dir()))?;
    assert_eq!(query(&golden, "select a from t")?, ["golden"]);
    Ok(())
}

#[test]
fn template_with_a_symbolic_link_is_refused() -> Outcome {
    let dir = Scratch::new()?;
    let template = dir.0.join("template");
    let mut golden = Postgres::start(volatile(&template))?;
    golden.stop();
    symlink("/tmp", template.join("pg_tblspc/16384"))?;
    let mut options = volatile(&dir.0.join("pg"));
    options.template = Some(template);
    let refused = Postgres::start(options).map(drop);
    assert!(
        matches!(
            refused,
            Err(Error::Template {
                reason: "holds a symbolic link",
                ..
            })
        ),
        "{refused:?}"
    );
    assert!(!dir.0.join("pg").exists());
    Ok(())
}

#[test]
fn socket_is_elsewhere_when_the_data_directory_has_a_long_path() -> Outcome {
    let dir = Scratch::new()?;
    let mut server = Postgres::start(volatile(&dir.0.join("x".repeat(100))))?;
    let socket_dir = server.socket_dir().to_owned();
    assert!(!socket_dir.starts_with(&dir.0), "{socket_dir:?}");
    assert_eq!(query(&server, "select 'alive'")?, ["alive"]);
    server.stop();
    assert!(!socket_dir.exists());
    Ok(())
}

#[test]
fn data_of_another_version_is_refused_with_both_versions() -> Outcome {
    let dir = Scratch::new()?;
    let options = volatile(&dir.0.join("pg"));
    let mut server = Postgres::start(options.clone())?;
    server.stop();
    fs::write(server.data_dir().join("PG_VERSION"), "9\n")?;
    let version = server.version();
    let refused = Postgres::start(options).map(drop);
    assert!(
        matches!(refused, Err(Error::VersionMismatch { made_by: 9, major, .. }) if major == version),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn directory_with_other_files_is_refused_and_left_alone() -> Outcome {
    let dir = Scratch::new()?;
    let data_dir = dir.0.join("photos");
    fs::create_dir(&data_dir)?;
    fs::write(data_dir.join("one.jpg"), "x")?;
    let refused = Postgres::start(volatile(&data_dir)).map(drop);
    assert!(matches!(refused, Err(Error::NotADataDir { .. })), "{refused:?}");
    assert_eq!(fs::read(data_dir.join("one.jpg"))?, b"x");
    Ok(())
}

#[test]
fn failed_start_carries_the_last_words_of_the_server() -> Outcome {
    let dir = Scratch::new()?;
    let mut options = volatile(&dir.0.join("pg"));
    options.settings = vec![("shared_buffers".to_owned(), "plenty".to_owned())];
    let refused = Postgres::start(options).map(drop);
    let said =
        matches!(&refused, Err(Error::Start { log, .. }) if log.contains("shared_buffers") && log.contains("plenty"));
    assert!(said, "{refused:?}");
    assert_eq!(processes_in(&dir.0.join("pg"))?, [0; 0]);
    Ok(())
}

#[test]
fn missing_programs_say_how_to_install_them() -> Outcome {
    if let Some(data_dir) = std::env::var_os(PARENT_OF) {
        let refused = Postgres::start(volatile(Path::new(&data_dir))).map(drop);
        assert!(matches!(refused, Err(Error::NoBinaries(_))), "{refused:?}");
        let message = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            message.contains("apt install postgresql") && message.contains("--database-url"),
            "{message}"
        );
        return Ok(());
    }
    let dir = Scratch::new()?;
    let status = this_test("missing_programs_say_how_to_install_them", &dir.0.join("pg"))?
        .env("PGBIN", &dir.0)
        .status()?;
    assert!(status.success());
    Ok(())
}

type Outcome = Result<(), Box<dyn StdError>>;

fn volatile(data_dir: &Path) -> Options {
    let mut options = Options::new(data_dir);
    options.durable = false;
    options
}

/// The values of the first column.
fn query(server: &Postgres, sql: &str) -> Result<Vec<String>, Box<dyn StdError>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut config = Config::new();
    config
        .host_path(server.socket_dir())
        .port(server.port())
        .user("postgres")
        .dbname("postgres");
    runtime.block_on(async {
        let (client, connection) = config.connect(NoTls).await?;
        let messages = tokio::select! {
            messages = client.simple_query(sql) => messages?,
            ended = connection => return Err(format!("the connection ended: {ended:?}").into()),
        };
        let value = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        Ok(messages.iter().filter_map(value).collect())
    })
}

/// A directory that the server's user can reach, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rowhouse-it-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        fs::canonicalize(path).map(Self)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// This test binary, as a process that starts a server and waits to be killed.
struct Parent {
    process: Child,
    server: u32,
}

impl Parent {
    fn start(test: &str, data_dir: &Path) -> Result<Self, Box<dyn StdError>> {
        let process = this_test(test, data_dir)?.stdout(Stdio::null()).spawn()?;
        let mut parent = Self { process, server: 0 };
        let started = || {
            let file = fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
            file.lines().nth(7).filter(|status| status.trim() == "ready")?;
            file.lines().next()?.parse().ok()
        };
        within(Duration::from_secs(30), || started().is_some());
        parent.server = started().ok_or("the parent has started no server")?;
        Ok(parent)
    }

    fn kill(&mut self) -> std::io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn be_a_parent(data_dir: &Path) -> Outcome {
    let _server = Postgres::start(volatile(data_dir))?;
    loop {
        thread::park();
    }
}

/// A command that runs one test of this file in a new process, which finds `data_dir` in [`PARENT_OF`].
fn this_test(name: &str, data_dir: &Path) -> std::io::Result<Command> {
    let module = module_path!().split_once("::").map_or("", |(_, module)| module);
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([&format!("{module}::{name}"), "--exact", "--nocapture"])
        .env(PARENT_OF, data_dir);
    Ok(command)
}

fn signal(name: &str, pid: u32) -> Outcome {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("kill: {status}").into())
    }
}

fn exists(pid: u32) -> std::io::Result<bool> {
    Ok(Command::new("kill")
        .args(["-0", &pid.to_string()])
        .stderr(Stdio::null())
        .status()?
        .success())
}

/// All processes of a server: each stands in the data directory. Empty without /proc.
fn processes_in(data_dir: &Path) -> std::io::Result<Vec<u32>> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let (Some(pid), Ok(dir)) = (pid, fs::read_link(entry.path().join("cwd")))
            && dir == data_dir
        {
            found.push(pid);
        }
    }
    Ok(found)
}

fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    const STEP: Duration = Duration::from_millis(5);
    let mut left = limit.as_millis() / STEP.as_millis();
    while !condition() {
        if left == 0 {
            return false;
        }
        left -= 1;
        thread::sleep(STEP);
    }
    true
}

const PARENT_OF: &str = "ROWHOUSE_TEST_PARENT_OF";
