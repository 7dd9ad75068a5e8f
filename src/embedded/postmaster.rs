//! `postmaster.pid`, and servers that are still running from before.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tracing::warn;

use super::Error;
use super::poll::poll;
use super::syscalls::{self, Signal};

/// What `postmaster.pid` says of the server of a data directory (PostgreSQL source, `utils/pidfile.h`).
#[derive(Debug)]
pub(super) struct Postmaster {
    pub(super) pid: u32,
    /// The first of its `unix_socket_directories`.
    pub(super) socket_dir: PathBuf,
    pub(super) ready: bool,
}

impl Postmaster {
    /// `None` without the file, or while its first line is being written.
    pub(super) fn of(data_dir: &Path) -> Option<Self> {
        Self::parse(&fs::read(data_dir.join("postmaster.pid")).ok()?)
    }

    fn parse(file: &[u8]) -> Option<Self> {
        let lines: Vec<&[u8]> = file.split(|byte| *byte == b'\n').collect();
        let line = |number: usize| lines.get(number - 1).copied().unwrap_or_default();
        // A single-user backend (`postgres --single`) writes its pid as a negative number.
        let pid = std::str::from_utf8(line(1))
            .ok()?
            .trim()
            .trim_start_matches('-')
            .parse()
            .ok()?;
        Some(Self {
            pid,
            socket_dir: OsString::from_vec(line(5).to_vec()).into(),
            ready: line(8).trim_ascii() == b"ready",
        })
    }
}

/// Makes sure no server runs on `data_dir`: one that a killed process of ours has left is stopped.
///
/// On Linux such a server stops by itself, so that this only waits for it; elsewhere nothing tells it. It is ours
/// when its socket is where we put sockets.
///
/// # Errors
///
/// [`Error::InUse`] when the server was started by somebody else, or cannot be stopped.
pub(super) fn clear(data_dir: &Path, socket_dir: &Path) -> Result<(), Error> {
    let Some(found) = Postmaster::of(data_dir) else {
        return Ok(());
    };
    match look_at(found.pid, data_dir) {
        // A stale file: PostgreSQL recognises it, and writes a new one.
        Seen::Nothing | Seen::Stranger => Ok(()),
        Seen::Zombie => {
            // To PostgreSQL a process that init has not reaped yet is alive. If it stays one, PostgreSQL will say so.
            poll(ZOMBIE_LIMIT, Duration::from_millis(20), || {
                (!syscalls::exists(found.pid)).then_some(())
            });
            Ok(())
        }
        Seen::Server if found.socket_dir == socket_dir => {
            warn!(pid = found.pid, data_dir = %data_dir.display(), "stopping the server a killed process has left");
            let gone = || matches!(look_at(found.pid, data_dir), Seen::Nothing | Seen::Stranger);
            // An error means it is gone, or not ours to signal: then it does not go, and that is reported.
            let signal = |signal| drop(syscalls::send(found.pid, signal));
            if shut_down(signal, gone) {
                return Ok(());
            }
            Err(Error::InUse {
                data_dir: data_dir.to_owned(),
                pid: Some(found.pid),
            })
        }
        Seen::Server => Err(Error::InUse {
            data_dir: data_dir.to_owned(),
            pid: Some(found.pid),
        }),
    }
}

/// Ends a server: politely, then at once, then by force. Returns whether it is gone.
pub(super) fn shut_down(mut signal: impl FnMut(Signal), mut gone: impl FnMut() -> bool) -> bool {
    STEPS.into_iter().any(|(step, limit)| {
        if !matches!(step, Signal::FastShutdown) {
            warn!(signal = ?step, "the server did not stop in time");
        }
        signal(step);
        // A fast stop takes 15 to 25 ms.
        poll(limit, Duration::from_millis(2), || gone().then_some(())).is_some()
    })
}

/// What runs under a process id.
#[derive(Debug, PartialEq)]
enum Seen {
    Nothing,
    Zombie,
    /// The server of the data directory.
    Server,
    /// A process that has got the same number since, as happens in containers.
    Stranger,
}

fn look_at(pid: u32, data_dir: &Path) -> Seen {
    if !syscalls::exists(pid) {
        return Seen::Nothing;
    }
    let proc = PathBuf::from(format!("/proc/{pid}"));
    if let Ok(stat) = fs::read_to_string(proc.join("stat")) {
        // The state follows the program's name, which stands in parentheses and may contain any (proc(5)).
        if stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z'))
        {
            return Seen::Zombie;
        }
        // A server stands in its data directory.
        return match fs::read_link(proc.join("cwd")) {
            Ok(dir) if dir != data_dir => Seen::Stranger,
            Ok(_) => Seen::Server,
            // It may have ended just now; else it is another user's, which no server on our directory is.
            Err(_) if !syscalls::exists(pid) => Seen::Nothing,
            Err(_) => Seen::Stranger,
        };
    }
    // No /proc: macOS. The server's command line names its data directory.
    let pid = pid.to_string();
    match Command::new("ps").args(["-o", "stat=,command=", "-p", &pid]).output() {
        Err(_) => Seen::Server,
        Ok(output) => read_ps(&String::from_utf8_lossy(&output.stdout), data_dir),
    }
}

fn read_ps(line: &str, data_dir: &Path) -> Seen {
    match line.trim() {
        "" => Seen::Nothing,
        line if line.starts_with('Z') => Seen::Zombie,
        line if line.contains("postgres") && line.contains(&*data_dir.to_string_lossy()) => Seen::Server,
        _ => Seen::Stranger,
    }
}

/// How long each step of a shutdown may take.
const STEPS: [(Signal, Duration); 3] = [
    (Signal::FastShutdown, Duration::from_secs(10)),
    (Signal::ImmediateShutdown, Duration::from_secs(5)),
    (Signal::Kill, Duration::from_secs(5)),
];

const ZOMBIE_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_file_is_read_while_it_grows() {
        assert!(Postmaster::parse(b"").is_none());
        let starting = b"4242\n/data/pg\n1764000000\n5432\n/data/pg/socket\n\n  1179943   6881280\nstarting\n";
        let found = Postmaster::parse(starting).unwrap();
        assert_eq!(
            (found.pid, found.socket_dir.to_str(), found.ready),
            (4242, Some("/data/pg/socket"), false)
        );
        let ready = b"4242\n/data/pg\n1764000000\n5432\n/data/pg/socket\n\n  1179943   6881280\nready   \n";
        assert!(Postmaster::parse(ready).unwrap().ready);
        let short = Postmaster::parse(b"-77\n/data/pg\n1764000000\n").unwrap();
        assert_eq!((short.pid, short.ready), (77, false));
    }

    #[test]
    fn process_in_another_directory_is_a_stranger() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            look_at(std::process::id(), Path::new("/does/not/exist")),
            Seen::Stranger
        );
        if cfg!(target_os = "linux") {
            assert_eq!(look_at(std::process::id(), &here), Seen::Server);
        }
    }

    #[test]
    fn unreaped_child_is_a_zombie() {
        let mut child = Command::new("true").spawn().unwrap();
        let state = || (look_at(child.id(), Path::new("/")) == Seen::Zombie).then_some(());
        assert!(poll(Duration::from_secs(5), Duration::from_millis(1), state).is_some());
        child.wait().unwrap();
    }

    #[test]
    fn ps_line_tells_server_zombie_and_stranger() {
        let data_dir = Path::new("/Users/a/.rowhouse/pg");
        assert_eq!(read_ps("", data_dir), Seen::Nothing);
        assert_eq!(read_ps("Z    (postgres)\n", data_dir), Seen::Zombie);
        assert_eq!(
            read_ps("Ss   /opt/bin/postgres -D /Users/a/.rowhouse/pg -c x=y\n", data_dir),
            Seen::Server
        );
        assert_eq!(read_ps("S    /bin/zsh\n", data_dir), Seen::Stranger);
    }

    #[test]
    fn stubborn_server_is_asked_three_times() {
        let mut sent = Vec::new();
        let dead = std::cell::Cell::new(false);
        // Answers to the first signal: the others are never sent.
        let gone = shut_down(
            |signal| {
                sent.push(format!("{signal:?}"));
                dead.set(true);
            },
            || dead.get(),
        );
        assert!(gone);
        assert_eq!(sent, ["FastShutdown"]);
    }
}
