//! Time is an argument: seconds of the caller's clock, which may be a simulated one. Nothing here reads a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds after the start beyond which time stands still: 30 years, which no `Instant` overflows.
const LATEST: f64 = 1e9;
/// Seconds added to deadlines: a rounded one must not lie before the timer that it stands for, or a caller whose
/// clock jumps to deadlines would be told the same one for ever.
const ROUNDING: f64 = 1e-6;

/// Translates the caller's seconds into what quinn-proto takes, and back. Time never goes backwards.
pub struct Clock {
    start: f64,
    origin: Instant,
    latest: Instant,
    elapsed: Arc<AtomicU64>,
}

impl Clock {
    /// `now` must be finite.
    pub fn new(now: f64) -> Self {
        // The only look at the system's clock: quinn-proto's type has no other constructor. Differences count alone.
        let origin = Instant::now();
        Self {
            start: now,
            origin,
            latest: origin,
            elapsed: Arc::default(),
        }
    }

    /// The instant that is `now` in the caller's seconds, or the latest one there was if that is later.
    pub fn at(&mut self, now: f64) -> Instant {
        let seconds = (now - self.start).clamp(0.0, LATEST);
        let instant = self.origin + Duration::from_secs_f64(seconds);
        self.latest = self.latest.max(instant);
        let elapsed = (self.latest - self.origin).as_millis();
        self.elapsed.store(elapsed as u64, Ordering::Relaxed);
        self.latest
    }

    /// The latest instant there was.
    pub fn latest(&self) -> Instant {
        self.latest
    }

    /// A deadline in the caller's seconds, rounded up.
    pub fn seconds(&self, deadline: Instant) -> f64 {
        self.start
            + deadline
                .saturating_duration_since(self.origin)
                .as_secs_f64()
            + ROUNDING
    }

    /// The same time as a date, for tokens: it begins in 1970 and follows the caller.
    pub fn dates(&self) -> Dates {
        Dates(self.elapsed.clone())
    }
}

/// Dates that follow a `Clock`.
pub struct Dates(Arc<AtomicU64>);

impl quinn_proto::TimeSource for Dates {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn_proto::TimeSource;

    #[test]
    fn time_never_goes_backwards() {
        let mut clock = Clock::new(100.0);
        let late = clock.at(105.0);
        assert_eq!(clock.at(101.0), late);
        assert_eq!(clock.at(-1e300), late);
        assert_eq!(clock.latest(), late);
    }

    #[test]
    fn a_deadline_that_came_is_due() {
        let mut clock = Clock::new(1e6 / 3.0);
        let timer = clock.at(1e6 / 3.0) + Duration::from_nanos(123_456_789);
        let told = clock.seconds(timer);
        assert!(clock.at(told) >= timer);
    }

    #[test]
    fn the_end_of_time_does_not_panic() {
        let mut clock = Clock::new(0.0);
        clock.at(f64::MAX);
        assert!(clock.seconds(clock.latest()) <= LATEST + 1.0);
    }

    #[test]
    fn dates_follow_the_clock() {
        let mut clock = Clock::new(7.0);
        let dates = clock.dates();
        clock.at(9.5);
        assert_eq!(dates.now(), UNIX_EPOCH + Duration::from_millis(2500));
    }
}
