//! Pauses between the tries of a batch: they grow while tollgate serves, and begin short again once it stops. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause after a failure. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// The time in which the last batches are tried again at shutdown.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);

/// The end of all tries at shutdown. Batches share one: their time does not add up.
#[derive(Debug, Default)]
pub(super) struct Deadline(Option<Instant>);

/// The pauses of one batch.
#[derive(Debug)]
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) const fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    /// The pause after a failure. `None` at the end of the time for a shutdown; the last try is made at that end.
    pub(super) fn next(&mut self, now: Instant, closed: bool, deadline: &mut Deadline) -> Option<Duration> {
        if closed && deadline.0.is_none() {
            deadline.0 = Some(now + CLOSE_TIMEOUT);
            // A pause that has grown would be most of that time, or longer.
            self.0 = FIRST_PAUSE;
        }
        let left = deadline.0.map_or(LAST_PAUSE, |end| end.saturating_duration_since(now));
        let pause = self.0.min(left);
        self.0 = LAST_PAUSE.min(self.0 * 2);
        (!pause.is_zero()).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: usize = usize::MAX;

    /// The pauses of a batch in milliseconds, up to so many, with the sink closed before the failure with that index.
    fn pauses(close_at: usize, limit: usize, now: &mut Instant, deadline: &mut Deadline) -> Vec<u128> {
        let mut pauses = Pauses::new();
        let mut all = Vec::new();
        while all.len() < limit
            && let Some(pause) = pauses.next(*now, all.len() >= close_at, deadline)
        {
            *now += pause;
            all.push(pause.as_millis());
        }
        all
    }

    #[test]
    fn a_shutdown_begins_with_a_short_pause_and_uses_all_its_time() {
        let check = |close_at: usize, limit: usize, expected: &[u128]| {
            let found = pauses(close_at, limit, &mut Instant::now(), &mut Deadline::default());
            assert_eq!(found, expected, "closed before failure {close_at}");
        };
        check(NEVER, 8, &[250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
        check(0, NEVER, &[250, 500, 1000, 2000, 250]);
        check(3, NEVER, &[250, 500, 1000, 250, 500, 1000, 2000, 250]);
        check(6, NEVER, &[250, 500, 1000, 2000, 4000, 5000, 250, 500, 1000, 2000, 250]);
    }

    #[test]
    fn all_batches_share_the_time_of_a_shutdown() {
        let (mut now, mut deadline) = (Instant::now(), Deadline::default());
        assert_eq!(pauses(0, 3, &mut now, &mut deadline), [250, 500, 1000]);
        assert_eq!(pauses(0, NEVER, &mut now, &mut deadline), [250, 500, 1000, 500]);
        assert_eq!(pauses(0, NEVER, &mut now, &mut deadline), []);
    }
}
