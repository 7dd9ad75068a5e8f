//! The running server as a child process.

use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::log::{Log, Tail};
use super::poll::poll;
use super::postmaster;
use super::syscalls;

/// A server, the thread that spawned it, and what it said last.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    /// Signals are sent and the exit is collected under this lock: so no signal can reach a process that has got the
    /// same number after the exit was collected.
    child: Arc<Mutex<Child>>,
    keeper: JoinHandle<()>,
    tail: Tail,
}

impl Process {
    /// Spawns the server from a keeper thread of its own, which lives as long as the server.
    ///
    /// The kernel tells the server to stop when the thread that spawned it ends (see
    /// [`die_with_parent`](syscalls::die_with_parent)), and threads of tests and of tokio end at any time. The keeper
    /// also copies the server's messages to the log and collects the exit.
    pub(super) fn spawn(mut command: Command, log: Log) -> io::Result<Self> {
        command.stderr(Stdio::piped());
        syscalls::die_with_parent(&mut command);
        let tail = log.tail();
        let (sender, spawned) = mpsc::channel();
        let keeper = thread::Builder::new()
            .name("postgres-keeper".to_owned())
            .spawn(move || {
                let mut child = match command.spawn() {
                    Ok(child) => child,
                    Err(error) => return drop(sender.send(Err(error))),
                };
                let stderr = child.stderr.take();
                let pid = child.id();
                let child = Arc::new(Mutex::new(child));
                let _ = sender.send(Ok((pid, Arc::clone(&child))));
                if let Some(stderr) = stderr {
                    log.copy_from(stderr);
                }
                // The end of the messages is the end of the server, give or take a moment: a process closes its files
                // before it can be waited for.
                poll(Duration::from_secs(1), Duration::from_millis(1), || exit_of(&child));
                // Unless `logging_collector=on` has redirected them: this thread must live as long as the server.
                while exit_of(&child).is_none() {
                    thread::sleep(KEEPER_STEP);
                }
            })?;
        let (pid, child) = spawned
            .recv()
            .map_err(|_| io::Error::other("the keeper thread ended"))??;
        Ok(Self {
            pid,
            child,
            keeper,
            tail,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// How the server ended, if it has.
    pub(super) fn exited(&self) -> Option<ExitStatus> {
        exit_of(&self.child)
    }

    /// The last lines the server has written.
    pub(super) fn last_words(&self) -> String {
        if self.exited().is_some() {
            self.wait_for_keeper();
        }
        self.tail.lines()
    }

    /// Ends the server and waits until it is gone, at most 20 s. Does nothing when it has ended already.
    pub(super) fn stop(&self) {
        if self.exited().is_some() {
            return;
        }
        let signal = |signal| {
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(None) = child.try_wait() {
                // It fails when this process has given up the right to signal its child: then the wait runs out.
                let _ = syscalls::send(self.pid, signal);
            }
        };
        postmaster::shut_down(signal, || self.exited().is_some());
        self.wait_for_keeper();
    }

    /// Waits for the last messages to reach the log: briefly, because a process that a session has started
    /// (`COPY … TO PROGRAM`) may hold the pipe open for longer than the server lives.
    fn wait_for_keeper(&self) {
        let finished = || self.keeper.is_finished().then_some(());
        poll(Duration::from_millis(500), Duration::from_millis(1), finished);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

fn exit_of(child: &Mutex<Child>) -> Option<ExitStatus> {
    let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
    // An error means that nobody can tell how it ended (SIGCHLD is ignored, and the kernel has reaped it).
    child.try_wait().unwrap_or_else(|_| Some(ExitStatus::default()))
}

/// Only while a server lives that writes its messages elsewhere.
const KEEPER_STEP: Duration = Duration::from_millis(100);
