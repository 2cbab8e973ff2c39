//! Times in UTC of the form `2026-01-31T12:00:00Z`, for files that fix a clock.

use super::day::Day;

/// A text that is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no time in UTC in the form `2026-01-31T12:00:00Z`")]
pub struct NoTime;

/// The milliseconds from 1970 to a time.
pub fn millis_of(text: &str) -> Result<u64, NoTime> {
    let (day, time) = text.strip_suffix('Z').and_then(|text| text.split_once('T')).ok_or(NoTime)?;
    let Day(days) = day.parse().map_err(|_| NoTime)?;
    let mut seconds = 0;
    let parts: Vec<&str> = time.split(':').collect();
    if parts.len() != 3 {
        return Err(NoTime);
    }
    for (part, limit) in parts.into_iter().zip([24, 60, 60]) {
        let is_number = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        let value = part.parse::<u64>().ok().filter(|value| is_number && *value < limit);
        seconds = seconds * 60 + value.ok_or(NoTime)?;
    }
    Ok((u64::from(days) * 86_400 + seconds) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2015-08-30T12:36:00Z", Some(1_440_938_160_000)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799_000)),
            ("2015-08-30T12:36:00", None),
            ("2015-08-30 12:36:00Z", None),
            ("2015-08-30T24:00:00Z", None),
            ("2015-08-30T12:60:00Z", None),
            ("2015-08-30T12:36:60Z", None),
            ("2015-08-30T12:36Z", None),
            ("2015-08-30T1:036:00Z", None),
            ("2015-08-30T+1:36:00Z", None),
            ("2015-02-30T12:36:00Z", None),
            ("20150830T123600Z", None),
            ("", None),
        ] {
            assert_eq!(millis_of(text).ok(), expected, "{text}");
        }
    }
}
