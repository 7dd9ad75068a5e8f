//! What one connection is doing, counted: how its idle time is known without a timer per request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one connection. `Relaxed` throughout: they are read seconds apart, and guard no other memory.
#[derive(Debug, Default)]
pub(super) struct Activity {
    answering: AtomicU64,
    events: AtomicU64,
    written: AtomicU64,
}

impl Activity {
    /// Counts a request as being answered until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        self.answering.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    /// Counts bytes that the socket took.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// True when nothing is being answered and, since the last call with the same `seen`, no request began or ended and fewer than
    /// `least_bytes` were sent. Sent bytes count because a response may take longer to leave than its rows took to come.
    pub(super) fn is_quiet(&self, seen: &mut Seen, least_bytes: u64) -> bool {
        let now = Seen {
            events: self.events.load(Ordering::Relaxed),
            written: self.written.load(Ordering::Relaxed),
        };
        let before = std::mem::replace(seen, now);
        self.answering.load(Ordering::Relaxed) == 0
            && before.events == seen.events
            && seen.written.wrapping_sub(before.written) < least_bytes
    }
}

/// A request being answered.
#[derive(Debug)]
pub(super) struct Answering(Arc<Activity>);

impl Answering {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.0
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.events.fetch_add(1, Ordering::Relaxed);
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The counters as they stood at the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    events: u64,
    written: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_means_no_request_and_few_bytes_since_the_last_look() {
        let activity = Arc::new(Activity::default());
        let mut seen = Seen::default();
        assert!(activity.is_quiet(&mut seen, 10));
        let answering = activity.begin();
        assert!(!activity.is_quiet(&mut seen, 10), "began");
        assert!(!activity.is_quiet(&mut seen, 10), "still answering");
        drop(answering);
        assert!(!activity.is_quiet(&mut seen, 10), "ended");
        assert!(activity.is_quiet(&mut seen, 10));
        activity.wrote(10);
        assert!(!activity.is_quiet(&mut seen, 10), "a slow reader, but reading");
        activity.wrote(9);
        assert!(activity.is_quiet(&mut seen, 10), "too slow");
    }
}
