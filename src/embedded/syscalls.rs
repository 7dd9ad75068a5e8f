//! The three system calls std has no safe wrapper for. All `unsafe` of this crate is on this page.

use std::io;
use std::process::Command;

/// What a PostgreSQL server is told by signal (PostgreSQL manual, "Shutting Down the Server").
#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    /// SIGINT: end the sessions, write a checkpoint, exit.
    FastShutdown,
    /// SIGQUIT: exit at once; the next start recovers from the WAL.
    ImmediateShutdown,
    /// SIGKILL: for a server that answers neither of the others.
    Kill,
}

/// Makes the child receive SIGINT when the thread that spawns it ends, so that no end of this process,
/// SIGKILL included, leaves a server behind.
///
/// The kernel counts the spawning *thread* as the parent: the caller spawns from a thread that outlives the child.
/// It also checks at that moment whether this process may signal the child, so a root process must not give up
/// its user id after the start. Source: prctl(2), `PR_SET_PDEATHSIG`. Does nothing on other systems than Linux.
pub(super) fn die_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;

        let parent = std::process::id();
        let bind = move || {
            // SAFETY: `prctl` with this option reads one integer and touches no memory of ours.
            if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT) } == -1 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died between fork and `prctl`; then the signal would never come.
            // SAFETY: `getppid` has no arguments, no failure and no memory effects.
            let now = unsafe { libc::getppid() };
            if u32::try_from(now) == Ok(parent) {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(libc::ESRCH))
            }
        };
        // std runs the closure after it has changed user and group: a change of user clears the setting.
        // SAFETY: after a fork in a program with threads only async-signal-safe functions may be called. `bind` makes
        // two system calls and builds an `io::Error` from a number: no allocation, no lock.
        unsafe { command.pre_exec(bind) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// Sends `signal` to the process `pid`.
///
/// # Errors
///
/// The error of kill(2): no such process, or not ours to signal.
pub(super) fn send(pid: u32, signal: Signal) -> io::Result<()> {
    kill(
        pid,
        match signal {
            Signal::FastShutdown => libc::SIGINT,
            Signal::ImmediateShutdown => libc::SIGQUIT,
            Signal::Kill => libc::SIGKILL,
        },
    )
}

/// Whether a process `pid` exists, a zombie included; the answer may be old by the time it is used.
pub(super) fn exists(pid: u32) -> bool {
    match kill(pid, 0) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// The effective user id of this process.
pub(super) fn effective_uid() -> u32 {
    // SAFETY: `geteuid` has no arguments, no failure and no memory effects.
    unsafe { libc::geteuid() }
}

fn kill(pid: u32, signal: libc::c_int) -> io::Result<()> {
    // To kill(2) zero and negative numbers are process groups, and 1 is init: none is a server of ours.
    let pid = libc::pid_t::try_from(pid)
        .ok()
        .filter(|pid| *pid > 1)
        .ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: `kill` reads two integers and touches no memory of ours.
    if unsafe { libc::kill(pid, signal) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_groups_and_init_are_never_signalled() {
        for pid in [0, 1, u32::MAX] {
            let error = send(pid, Signal::Kill).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{pid}");
        }
    }

    #[test]
    fn this_process_exists() {
        assert!(exists(std::process::id()));
    }
}
