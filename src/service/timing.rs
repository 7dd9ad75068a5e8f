//! What took how long, for `Server-Timing`.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// The time that each phase of a request has taken so far.
#[derive(Debug, Default)]
pub(super) struct Timings([AtomicU64; PHASES.len()]);

/// A phase of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    Jwt,
    Parse,
    Plan,
    Transaction,
    Response,
}

const PHASES: [&str; 5] = ["jwt", "parse", "plan", "transaction", "response"];

impl Timings {
    /// Adds the time since `started`.
    pub(super) fn add(&self, phase: Phase, started: Instant) {
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        if let Some(slot) = self.0.get(phase as usize) {
            slot.fetch_add(micros, Ordering::Relaxed);
        }
    }

    /// The value of the header (W3C Server Timing): milliseconds.
    pub(super) fn header(&self) -> String {
        let phases = PHASES.iter().zip(&self.0);
        let parts: Vec<String> = phases
            .map(|(name, micros)| {
                let micros = micros.load(Ordering::Relaxed);
                format!("{name};dur={}.{}", micros / 1000, micros % 1000 / 100)
            })
            .collect();
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn phases_add_up_in_milliseconds() {
        let timings = Timings::default();
        let started = Instant::now().checked_sub(Duration::from_millis(1_500)).unwrap();
        timings.add(Phase::Plan, started);
        timings.add(Phase::Plan, started);
        let header = timings.header();
        assert!(
            header.starts_with("jwt;dur=0.0, parse;dur=0.0, plan;dur=300"),
            "{header}"
        );
    }
}
