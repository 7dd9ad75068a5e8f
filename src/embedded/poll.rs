//! Waiting for what has no event to wait for: another process's file, another process's death.

use std::thread;
use std::time::Duration;
#[expect(
    clippy::disallowed_types,
    reason = "blocking code: there is no tokio clock here to pause"
)]
use std::time::Instant;

/// Asks `condition` now and then after every `step`, until it answers or `limit` is over.
pub(super) fn poll<T>(limit: Duration, step: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    #[expect(
        clippy::disallowed_types,
        reason = "blocking code: there is no tokio clock here to pause"
    )]
    let start = Instant::now();
    loop {
        // Taken before asking: the last question comes at or after the limit, however late this thread wakes up.
        let over = start.elapsed() >= limit;
        if let Some(answer) = condition() {
            return Some(answer);
        }
        if over {
            return None;
        }
        thread::sleep(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_question_comes_after_the_limit() {
        let limit = Duration::from_millis(5);
        let mut asked = 0;
        let answer = poll(limit, limit, || {
            asked += 1;
            (asked == 2).then_some(asked)
        });
        assert_eq!(answer, Some(2));
        assert_eq!(poll(Duration::ZERO, limit, || None::<()>), None);
    }
}
