//! The orderly end: SIGTERM or SIGINT drains within a grace period, a second one stops at once, SIGHUP asks for a reload.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// Tells listeners and connections to end, and waits for them. Clones share one state.
///
/// Two stages: `stop` lets every running request finish, `abort` drops what is left. Only listeners and connections belong on
/// [`Shutdown::tasks`]: pools are needed until the last request is answered, so they end after [`Shutdown::drain`].
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
    reload: Arc<Notify>,
}

impl Shutdown {
    /// Nothing is stopping yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the program should accept no more work.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Cancelled when grace is over: whatever still runs is dropped.
    pub fn abort(&self) -> &CancellationToken {
        &self.abort
    }

    /// Where listeners and connections are spawned, so that [`Shutdown::drain`] waits for them.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Notified once per SIGHUP; several in a row may become one.
    pub fn reload(&self) -> &Notify {
        &self.reload
    }

    /// Stops accepting, lets running requests finish, and drops the rest when `grace` is over.
    ///
    /// True when everything finished by itself. If the future is dropped, the stop holds but nothing is aborted.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        let done = timeout(grace, self.tasks.wait()).await.is_ok();
        if !done {
            warn!(open = self.tasks.len(), "grace period over, dropping connections");
            self.abort.cancel();
        }
        done
    }

    /// Serves until the first stop signal (or a [`Shutdown::stop`] by someone else), then drains.
    ///
    /// `next` yields one signal per call and must be cancel safe; [`Signals::next`] is. A second stop signal ends the drain at once.
    /// True when every request finished. A SIGHUP during the drain does nothing.
    pub async fn run(&self, mut next: impl AsyncFnMut() -> Signal, grace: Duration) -> bool {
        loop {
            let signal = select! {
                () = self.stop.cancelled() => break,
                signal = next() => signal,
            };
            match signal {
                Signal::Reload => self.reload.notify_one(),
                Signal::Stop => break,
            }
        }
        info!(open = self.tasks.len(), "stopping: no new connections");
        let second = async { while next().await != Signal::Stop {} };
        select! {
            biased;
            done = self.drain(grace) => done,
            () = second => {
                warn!(open = self.tasks.len(), "second signal, dropping connections");
                self.abort.cancel();
                false
            }
        }
    }
}

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// Takes SIGTERM, SIGINT and SIGHUP over from their default, which would end the process.
    ///
    /// # Errors
    ///
    /// When the operating system refuses a signal handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal. Cancel safe: a signal that was not returned is returned by the next call.
    pub async fn next(&mut self) -> Signal {
        select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::mpsc::{self, UnboundedReceiver};

    use super::*;

    async fn next(signals: &mut UnboundedReceiver<Signal>) -> Signal {
        match signals.recv().await {
            Some(signal) => signal,
            None => pending().await,
        }
    }

    #[tokio::test]
    async fn drain_waits_for_tasks_and_reports_all_done() {
        let shutdown = Shutdown::new();
        let stop = shutdown.stop().clone();
        shutdown.tasks().spawn(async move { stop.cancelled().await });
        assert!(shutdown.drain(Duration::from_secs(5)).await);
        assert!(!shutdown.abort().is_cancelled());
    }

    #[tokio::test]
    async fn drain_reports_false_and_aborts_when_grace_is_over() {
        let shutdown = Shutdown::new();
        let abort = shutdown.abort().clone();
        let task = shutdown.tasks().spawn(async move { abort.cancelled().await });
        assert!(!shutdown.drain(Duration::from_millis(20)).await);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn first_signal_drains_and_second_stops_at_once() {
        let shutdown = Shutdown::new();
        shutdown.tasks().spawn(pending::<()>());
        let (send, mut signals) = mpsc::unbounded_channel();
        let running = shutdown.clone();
        let run = async {
            running
                .run(async || next(&mut signals).await, Duration::from_secs(3600))
                .await
        };
        let press = async {
            send.send(Signal::Stop).unwrap();
            shutdown.stop().cancelled().await;
            assert!(!shutdown.abort().is_cancelled());
            send.send(Signal::Reload).unwrap();
            send.send(Signal::Stop).unwrap();
        };
        let (done, ()) = tokio::join!(run, press);
        assert!(!done);
        assert!(shutdown.abort().is_cancelled());
    }

    #[tokio::test]
    async fn hangup_asks_for_a_reload_and_serving_goes_on() {
        let shutdown = Shutdown::new();
        let (send, mut signals) = mpsc::unbounded_channel();
        send.send(Signal::Reload).unwrap();
        let running = shutdown.clone();
        let run = async {
            running
                .run(async || next(&mut signals).await, Duration::from_secs(5))
                .await
        };
        let observe = async {
            shutdown.reload().notified().await;
            assert!(!shutdown.stop().is_cancelled());
            shutdown.stop().cancel();
        };
        let (done, ()) = tokio::join!(run, observe);
        assert!(done);
    }
}
