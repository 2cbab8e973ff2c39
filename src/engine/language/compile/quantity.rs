//! Durations and sizes in files: a whole number and a unit.

use std::time::Duration;

/// A duration such as `250ms`, `10s`, `5m` or `1h`: more than zero, at most a day.
pub fn duration(text: &str) -> Result<Duration, String> {
    match span(text)? {
        Duration::ZERO => Err("it has to be more than nothing".into()),
        duration if duration <= Duration::from_hours(24) => Ok(duration),
        _ => Err("it has to be at most `24h`".into()),
    }
}

/// A duration from zero to a year.
pub fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text).ok_or("it has to be a whole number and `ms`, `s`, `m` or `h`")?;
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = millis.ok_or("its unit has to be `ms`, `s`, `m` or `h`")?;
    let span = number.checked_mul(millis).map(Duration::from_millis);
    span.filter(|span| *span <= Duration::from_hours(8760))
        .ok_or_else(|| "it has to be at most `8760h`".into())
}

/// An age such as `400d` or `12h`, or `0` for none at all: at most ten years.
pub fn age(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { hours_or_days(text, "or `0`") }
}

/// An age of at least a day.
pub fn age_of_a_day(text: &str) -> Result<Duration, String> {
    const LEAST: &str = "at least `1d`";
    let age = hours_or_days(text, LEAST)?;
    if age < Duration::from_hours(24) { Err(format!("it has to be {LEAST}")) } else { Ok(age) }
}

fn hours_or_days(text: &str, further: &str) -> Result<Duration, String> {
    let hours = match split(text) {
        Some((number, "h")) => Some(number),
        Some((number, "d")) => number.checked_mul(24),
        _ => return Err(format!("it has to be a whole number and `h` or `d`, {further}")),
    };
    hours
        .filter(|hours| *hours <= 3650 * 24)
        .map(Duration::from_hours)
        .ok_or_else(|| "it has to be at most `3650d`".into())
}

/// A size such as `512B`, `64KiB`, `256MiB` or `1GiB`, in bytes: at most 1024 GiB.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text).ok_or("it has to be a whole number and `B`, `KiB`, `MiB` or `GiB`")?;
    let unit = match unit {
        "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let unit: u64 = unit.ok_or("its unit has to be `B`, `KiB`, `MiB` or `GiB`")?;
    let bytes = number.checked_mul(unit).filter(|bytes| *bytes <= 1 << 40);
    bytes.ok_or_else(|| "it has to be at most `1024GiB`".into())
}

/// The size of a body that is kept in memory until it is sent: at most 64 MiB, which is what a worker holds of them.
pub fn held_size(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if bytes > 64 << 20 { Err("it has to be at most `64MiB`".into()) } else { Ok(bytes) }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (text, hours) in [("0", 0), ("0d", 0), ("1h", 1), ("400d", 9600), ("3650d", 87_600)] {
            assert_eq!(age(text), Ok(Duration::from_hours(hours)), "{text}");
        }
        for text in ["", "7", "d", "-1d", "1.5d", "7 d", "3651d", "1m", "99999999999999999999d", "0 "] {
            assert!(age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn messages_name_only_ages_that_are_taken() {
        let form = "it has to be a whole number and `h` or `d`";
        let check = |text: &str, any: Result<u64, &str>, of_a_day: Result<u64, &str>| {
            let hours = |expected: Result<u64, &str>| {
                expected.map(Duration::from_hours).map_err(|end| end.replace("FORM", form))
            };
            assert_eq!((age(text), age_of_a_day(text)), (hours(any), hours(of_a_day)), "{text}");
        };
        check("1d", Ok(24), Ok(24));
        check("24h", Ok(24), Ok(24));
        check("23h", Ok(23), Err("it has to be at least `1d`"));
        check("0d", Ok(0), Err("it has to be at least `1d`"));
        check("0", Ok(0), Err("FORM, at least `1d`"));
        check("30", Err("FORM, or `0`"), Err("FORM, at least `1d`"));
        check("3651d", Err("it has to be at most `3650d`"), Err("it has to be at most `3650d`"));
    }

    #[test]
    fn durations_and_sizes() {
        let check = |text: &str, millis: Option<u64>, bytes: Option<u64>| {
            assert_eq!(duration(text).ok(), millis.map(Duration::from_millis), "{text}");
            assert_eq!(size(text).ok(), bytes, "{text}");
        };
        check("10s", Some(10_000), None);
        check("500ms", Some(500), None);
        check("24h", Some(86_400_000), None);
        check("25h", None, None);
        check("0s", None, None);
        check("s", None, None);
        check("10", None, None);
        check("99999999999999999999s", None, None);
        check("1KiB", None, Some(1024));
        check("0B", None, Some(0));
        check("2048GiB", None, None);
    }
}
