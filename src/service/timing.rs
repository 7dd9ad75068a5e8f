//! What took how long, for `Server-Timing`.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// The time that each phase of a request has taken so far, if anybody wants to know.
#[derive(Debug)]
pub(super) struct Timings(Option<[AtomicU64; PHASES.len()]>);

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
    /// None yet.
    pub(super) fn new(wanted: bool) -> Self {
        Self(wanted.then(Default::default))
    }

    /// When a phase begins.
    pub(super) fn begin(&self) -> Option<Instant> {
        self.0.is_some().then(Instant::now)
    }

    /// Adds the time since a phase has begun.
    pub(super) fn add(&self, phase: Phase, begun: Option<Instant>) {
        let slot = self.0.as_ref().and_then(|slots| slots.get(phase as usize));
        if let (Some(slot), Some(begun)) = (slot, begun) {
            let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            slot.fetch_add(micros, Ordering::Relaxed);
        }
    }

    /// The value of the header (W3C Server Timing): milliseconds.
    pub(super) fn header(&self) -> String {
        let phases = PHASES.iter().zip(self.0.iter().flatten());
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
        let timings = Timings::new(true);
        let started = Instant::now().checked_sub(Duration::from_millis(1_500));
        timings.add(Phase::Plan, started);
        timings.add(Phase::Plan, started);
        let header = timings.header();
        assert!(
            header.starts_with("jwt;dur=0.0, parse;dur=0.0, plan;dur=300"),
            "{header}"
        );
    }
}
