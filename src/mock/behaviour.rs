//! `Behaviour`: all settings of a response. A flag applies to all requests; a request header `x-mock-NAME` or a query
//! parameter `mock_NAME` applies to one. The query parameter wins. All three share names and parsers.
//!
//! An invalid value is an error. It is never rounded or clamped.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, request::Parts};

/// The settings of a response.
#[derive(Debug, Clone, clap::Args)]
pub struct Behaviour {
    /// Number of text events in a stream, and of output tokens
    #[arg(long, value_name = "N", default_value_t = Self::COUNT, value_parser = parse_number::<u32>)]
    pub count: u32,
    /// Bytes of text in an event, or in a unary response
    #[arg(long, value_name = "BYTES", default_value_t = Self::SIZE, value_parser = parse_number::<u32>)]
    pub size: u32,
    /// Delay before each text event
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_time)]
    pub interval: Duration,
    /// Delay before the response head
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_time)]
    pub delay: Duration,
    /// Respond with this status; from 400 with an error body
    #[arg(long, value_name = "CODE", default_value = "200", value_parser = parse_status)]
    pub status: StatusCode,
    /// Add a header to the response (repeatable; percent-decoded)
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_field)]
    pub header: Vec<Field>,
    /// Add a trailer for clients that send `TE: trailers` (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_field)]
    pub trailers: Vec<Field>,
    /// Close the connection after this many body bytes, or before the response head (`head`)
    #[arg(long, value_name = "BYTES|head", num_args = 0..=1, default_missing_value = "head", value_parser = parse_at)]
    pub cut: Option<At>,
    /// Like `--cut`, with a TCP reset
    #[arg(long, value_name = "BYTES|head", num_args = 0..=1, default_missing_value = "head", value_parser = parse_at)]
    pub reset: Option<At>,
    /// Like `--cut`, but keep the connection open and idle
    #[arg(long, value_name = "BYTES|head", num_args = 0..=1, default_missing_value = "head", value_parser = parse_at)]
    pub hang: Option<At>,
    /// Send these raw bytes instead of an HTTP response, then close (percent-decoded)
    #[arg(long, value_name = "BYTES", num_args = 0..=1, default_missing_value = "", value_parser = parse_garbage)]
    pub garbage: Option<Bytes>,
    /// Respond with a description of the request as JSON
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value = "false", default_missing_value = "true", value_parser = parse_switch)]
    pub echo: bool,
}

/// A position in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Before the head.
    Head,
    /// After this many body bytes.
    Bytes(u64),
}

/// A header or trailer field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name.
    pub name: HeaderName,
    /// The value.
    pub value: HeaderValue,
}

/// The way a response ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Cut,
    Reset,
    Hang,
}

impl Behaviour {
    const COUNT: u32 = 8;
    const SIZE: u32 = 16;
    /// Names of all settings, as used by flags, headers and query parameters.
    pub const NAMES: &'static [&'static str] = &[
        "count", "size", "interval", "delay", "status", "header", "trailers", "cut", "reset", "hang",
        "garbage", "echo",
    ];

    /// Parses and sets one setting. The error is a message for the client.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "count" => self.count = parse_number(value)?,
            "size" => self.size = parse_number(value)?,
            "interval" => self.interval = parse_time(value)?,
            "delay" => self.delay = parse_time(value)?,
            "status" => self.status = parse_status(value)?,
            "header" => self.header.push(parse_field(value)?),
            "trailers" => self.trailers.push(parse_field(value)?),
            "cut" => self.cut = Some(parse_at(value)?),
            "reset" => self.reset = Some(parse_at(value)?),
            "hang" => self.hang = Some(parse_at(value)?),
            "garbage" => self.garbage = Some(parse_garbage(value)?),
            "echo" => self.echo = parse_switch(value)?,
            _ => return Err(format!("unknown setting; use one of {}", Self::NAMES.join(", "))),
        }
        Ok(())
    }

    /// This behaviour with the request's overrides; `None` if it has none.
    pub(super) fn overridden(&self, head: &Parts) -> Result<Option<Self>, String> {
        let mut changed = None;
        for (name, value) in &head.headers {
            if let Some(setting) = name.as_str().strip_prefix("x-mock-") {
                let value = value.to_str().map_err(|_| format!("`{name}` is not visible ASCII"))?;
                let behaviour = changed.get_or_insert_with(|| self.clone());
                behaviour.set(setting, value).map_err(|why| format!("header `{name}`: {why}"))?;
            }
        }
        for pair in head.uri.query().unwrap_or_default().split('&') {
            if let Some(pair) = pair.strip_prefix("mock_") {
                let (setting, value) = pair.split_once('=').unwrap_or((pair, ""));
                let behaviour = changed.get_or_insert_with(|| self.clone());
                behaviour.set(setting, value).map_err(|why| format!("parameter `mock_{setting}`: {why}"))?;
            }
        }
        Ok(changed)
    }

    /// The position and kind of an early end. Precedence: reset, cut, hang.
    pub(super) fn ending(&self) -> Option<(At, Ending)> {
        let reset = self.reset.map(|at| (at, Ending::Reset));
        let cut = self.cut.map(|at| (at, Ending::Cut));
        reset.or(cut).or(self.hang.map(|at| (at, Ending::Hang)))
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            count: Self::COUNT,
            size: Self::SIZE,
            interval: Duration::ZERO,
            delay: Duration::ZERO,
            status: StatusCode::OK,
            header: Vec::new(),
            trailers: Vec::new(),
            cut: None,
            reset: None,
            hang: None,
            garbage: None,
            echo: false,
        }
    }
}

fn parse_number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not a whole number in range"))
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number: u32 = digits.parse().map_err(|_| time_error(text))?;
    let unit = match unit {
        "us" => Duration::from_micros(1),
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "" if number == 0 => Duration::ZERO,
        _ => return Err(time_error(text)),
    };
    Ok(unit * number)
}

fn time_error(text: &str) -> String {
    format!("`{text}` is not a time; write it like `250us`, `20ms` or `5s`")
}

fn parse_status(text: &str) -> Result<StatusCode, String> {
    let status = StatusCode::from_bytes(text.as_bytes()).ok();
    status
        .filter(|status| !status.is_informational())
        .ok_or_else(|| format!("`{text}` is not a status from 200 to 999"))
}

fn parse_at(text: &str) -> Result<At, String> {
    match text {
        "" | "head" => Ok(At::Head),
        _ => parse_number(text).map(At::Bytes).map_err(|why| format!("{why}; write that or `head`")),
    }
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("`{text}` is neither `true` nor `false`")),
    }
}

fn parse_garbage(text: &str) -> Result<Bytes, String> {
    let text = if text.is_empty() { "%15%03this is not HTTP%00%0d%0a%0d%0a" } else { text };
    percent_decode(text).map(Bytes::from)
}

fn parse_field(text: &str) -> Result<Field, String> {
    let bad = || format!("`{text}` is not a field; write it like `name=value`");
    let (name, value) = text.split_once('=').ok_or_else(bad)?;
    Ok(Field {
        name: name.parse().map_err(|_| bad())?,
        value: HeaderValue::from_bytes(&percent_decode(value)?).map_err(|_| bad())?,
    })
}

/// Decodes `%XX`. A literal percent sign is `%25`.
fn percent_decode(text: &str) -> Result<Vec<u8>, String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = match after {
            [high, low, ..] if byte == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        if byte == b'%' && escape.is_none() {
            return Err(format!("`{text}` has a `%` without two hex digits; write `%25` for a percent sign"));
        }
        decoded.push(escape.map_or(byte, |(high, low)| high << 4 | low));
        rest = if escape.is_some() { &after[2..] } else { after };
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_settings() {
        let check = |name: &str, value: &str, good: bool| {
            assert_eq!(Behaviour::default().set(name, value).is_ok(), good, "{name}={value}");
        };
        let good = [
            ("count", "0"),
            ("size", "1048576"),
            ("interval", "250us"),
            ("delay", "5s"),
            ("delay", "0"),
            ("status", "599"),
            ("header", "set-cookie=a%3db"),
            ("trailers", "x-sum="),
            ("cut", ""),
            ("reset", "head"),
            ("hang", "12"),
            ("garbage", ""),
            ("echo", ""),
            ("echo", "0"),
        ];
        let bad = [
            ("count", "-1"),
            ("count", ""),
            ("interval", "5"),
            ("delay", "5m"),
            ("status", "100"),
            ("status", "20"),
            ("header", "a"),
            ("header", "a b=c"),
            ("header", "a=%0d%0ab"),
            ("cut", "tail"),
            ("echo", "yes"),
            ("colour", "red"),
        ];
        for (name, value) in good {
            check(name, value, true);
        }
        for (name, value) in bad {
            check(name, value, false);
        }
    }

    #[test]
    fn every_setting_is_parsed_and_is_a_flag() {
        let command = <Behaviour as clap::Args>::augment_args(clap::Command::new("mock"));
        let flags: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        assert_eq!(flags, Behaviour::NAMES);
        for name in Behaviour::NAMES {
            let refused = Behaviour::default().set(name, "\u{0}").err().unwrap_or_default();
            assert!(!refused.contains("unknown setting"), "{name}");
        }
    }

    #[test]
    fn decodes_percent_escapes() {
        let check = |text: &str, decoded: Option<&[u8]>| {
            assert_eq!(percent_decode(text).ok().as_deref(), decoded, "{text}");
        };
        check("", Some(b""));
        check("a%0D%0ab+", Some(b"a\r\nb+"));
        check("%2525", Some(b"%25"));
        for bad in ["100%", "%zz", "%4", "%%41"] {
            check(bad, None);
        }
    }
}
