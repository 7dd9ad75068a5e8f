//! The processes that are measured: started, listened to for their address, weighed by `/proc`, and ended.
//!
//! Where there is no `/proc`, as on macOS, nothing is weighed, and the figures are missing.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::Result;
use crate::load;
use crate::traffic::Exchange;

/// A server as a child process. Dropped, it is killed: none of them has anything to lose.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    listens: Listens,
}

/// Where a server says that it listens.
#[derive(Clone, Copy, Debug)]
struct Listens {
    address: SocketAddr,
    /// The operator's, which an edge alone has.
    operator: Option<SocketAddr>,
}

impl Server {
    /// Starts one, and returns when it says on standard error, as one JSON object, where it listens: `"listen":"…"`,
    /// and `"operator":"…"` if there is such a listener.
    pub(crate) async fn start(mut command: Command) -> Result<Self> {
        // The baseline ends when its standard input does, even if nobody is left to kill it.
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stderr = child.stderr.take().ok_or("no pipe to the child's standard error")?;
        let (tell, told) = oneshot::channel();
        thread::spawn(move || listen(stderr, tell));
        match timeout(START_LIMIT, told).await {
            Ok(Ok(listens)) => Ok(Self { child, listens }),
            _ => {
                child.kill()?;
                Err(format!("{command:?} does not listen: {}", child.wait()?).into())
            }
        }
    }

    /// Waits until the operator's listener says that it is ready, which is when every tenant is live or has failed.
    pub(crate) async fn ready(self, limit: Duration) -> Result<Self> {
        let operator = self.listens.operator.ok_or("a server without an operator")?;
        let probe = Exchange::ready();
        let asking = async {
            while load::ask(operator, &probe).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(limit, asking).await?;
        Ok(self)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listens.address
    }

    /// Has it read its configuration again.
    pub(crate) fn reload(&self) -> Result<()> {
        Command::new("kill").args(["-HUP", &self.pid().to_string()]).status()?;
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in bytes.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(proc_of(self.pid()).join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either fails only if it has ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Reads to the end, so that the child never waits for us. What it warns of is passed on.
fn listen(stderr: ChildStderr, tell: oneshot::Sender<Listens>) {
    let mut tell = Some(tell);
    for line in BufReader::new(stderr).lines().map_while(io::Result::ok) {
        if let Some(address) = address_in(&line, LISTEN) {
            let operator = address_in(&line, OPERATOR);
            // Nobody may be waiting any more.
            _ = tell.take().map(|tell| tell.send(Listens { address, operator }));
        } else if !line.contains(r#""level":"INFO""#) {
            _ = writeln!(io::stderr(), "{line}");
        }
    }
}

const LISTEN: &str = r#""listen":""#;
const OPERATOR: &str = r#""operator":""#;

/// A server that has not said so by then does not come up.
const START_LIMIT: Duration = Duration::from_secs(60);

fn address_in(line: &str, key: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(key)?;
    rest.split_once('"')?.0.parse().ok()
}

/// CPU time, counted from when the processes began. The difference of two is what was used in between.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) server: Option<Duration>,
    pub(crate) postgres: Option<Duration>,
    pub(crate) load: Option<Duration>,
}

impl Cpu {
    /// That of a server, of Postgres and of this process.
    pub(crate) fn of(server: u32, postmaster: u32) -> Self {
        Self {
            server: threads(server),
            postgres: family(postmaster),
            load: threads(std::process::id()),
        }
    }

    /// That of Postgres, and, as the load, of this process' children that have ended.
    pub(crate) fn of_children(postmaster: u32) -> Self {
        Self {
            server: None,
            postgres: family(postmaster),
            load: ended_children(std::process::id()),
        }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        let difference =
            |now: Option<Duration>, before: Option<Duration>| Some(now?.checked_sub(before?).unwrap_or_default());
        Self {
            server: difference(self.server, before.server),
            postgres: difference(self.postgres, before.postgres),
            load: difference(self.load, before.load),
        }
    }
}

/// The CPU time of a process, as the sum of its threads: to the nanosecond, which `stat` is not.
fn threads(pid: u32) -> Option<Duration> {
    let tasks = fs::read_dir(proc_of(pid).join("task")).ok()?;
    // A thread that ends while they are read is not counted. None of those that matter does.
    let times = tasks.flatten().filter_map(|task| scheduled(&task.path()));
    Some(times.sum())
}

/// The CPU time of a postmaster and all its children, those that have ended among them.
fn family(postmaster: u32) -> Option<Duration> {
    let root = proc_of(postmaster);
    let children = fs::read_to_string(root.join(format!("task/{postmaster}/children"))).ok()?;
    let living: Duration = children
        .split_whitespace()
        .filter_map(|pid| scheduled(&Path::new("/proc").join(pid)))
        .sum();
    Some(living + scheduled(&root)? + ended_children(postmaster)?)
}

/// `schedstat`: nanoseconds on a CPU first (kernel manual, "scheduler statistics").
fn scheduled(task: &Path) -> Option<Duration> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// `cutime` and `cstime` of `stat`, fields 16 and 17 of proc(5), in hundredths of a second.
fn ended_children(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(proc_of(pid).join("stat")).ok()?;
    // The second field is the program's name, in parentheses, which may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks = rest.split_whitespace().skip(13).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<Result<u64, _>>().ok()?;
    Some(Duration::from_millis(10 * ticks))
}

fn proc_of(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}
