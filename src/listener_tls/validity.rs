//! The dates of a certificate (RFC 5280, section 4.1.2.5), read from its DER. It verifies nothing: clients do.

use crate::clock;

use super::WARN_MS;

/// The time in which a certificate is valid, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) since_ms: u64,
    pub(super) until_ms: u64,
}

/// DER: a tag and the content of the element.
struct Element<'d> {
    tag: u8,
    content: &'d [u8],
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// The version, explicitly tagged.
const VERSION: u8 = 0xa0;

impl Validity {
    /// The dates of this certificate. None if it is not laid out as one.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let mut whole = certificate;
        let mut signed = take(&mut whole, SEQUENCE)?;
        let mut fields = take(&mut signed, SEQUENCE)?;
        if fields.first() == Some(&VERSION) {
            take(&mut fields, VERSION)?;
        }
        // The serial number, the algorithm and the issuer come first.
        for tag in [INTEGER, SEQUENCE, SEQUENCE] {
            take(&mut fields, tag)?;
        }
        let mut dates = take(&mut fields, SEQUENCE)?;
        let (since, until) = (element(&mut dates)?, element(&mut dates)?);
        Some(Self { since_ms: time(&since)?, until_ms: time(&until)? })
    }

    /// True if the end is near, or over.
    pub(super) fn ends_soon(self, now_ms: u64) -> bool {
        let life = self.until_ms.saturating_sub(self.since_ms);
        now_ms + WARN_MS.min(life / 6) >= self.until_ms
    }
}

fn take<'d>(der: &mut &'d [u8], tag: u8) -> Option<&'d [u8]> {
    element(der).filter(|element| element.tag == tag).map(|element| element.content)
}

fn element<'d>(der: &mut &'d [u8]) -> Option<Element<'d>> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some(Element { tag, content })
}

/// `YYMMDDHHMMSSZ`, of the years from 1950 to 2049, or `YYYYMMDDHHMMSSZ`. A date before 1970 is 0.
fn time(element: &Element<'_>) -> Option<u64> {
    let text = std::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    let is_good = |length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    let (year, rest) = match element.tag {
        UTC_TIME if is_good(12) => {
            let (year, rest) = text.split_at(2);
            (format!("{}{year}", if year < "50" { "20" } else { "19" }), rest)
        }
        GENERALIZED_TIME if is_good(14) => (text[..4].to_owned(), &text[4..]),
        _ => return None,
    };
    if &*year < "1970" {
        return Some(0);
    }
    let part = |at: usize| &rest[at..at + 2];
    let written = format!("{year}-{}-{}T{}:{}:{}Z", part(0), part(2), part(4), part(6), part(8));
    clock::from_utc(&written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_a_certificate() {
        let check = |from: (i32, u8, u8), to: (i32, u8, u8), expected: (&str, &str)| {
            let mut params = rcgen::CertificateParams::new(vec!["demo".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
            params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
            let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            let found = Validity::of(certificate.der()).unwrap();
            let found = (clock::utc(found.since_ms), clock::utc(found.until_ms));
            assert_eq!((&*found.0, &*found.1), expected);
        };
        let long = ("1975-01-01T00:00:00Z", "4096-01-01T00:00:00Z");
        check((1975, 1, 1), (4096, 1, 1), long);
        check((2026, 2, 3), (2026, 5, 4), ("2026-02-03T00:00:00Z", "2026-05-04T00:00:00Z"));
        check((2049, 12, 31), (2050, 1, 1), ("2049-12-31T00:00:00Z", "2050-01-01T00:00:00Z"));
    }

    #[test]
    fn other_bytes_have_no_dates() {
        let certificate = rcgen::generate_simple_self_signed(["demo".to_owned()]).unwrap().cert;
        let der: &[u8] = certificate.der();
        assert!((0..der.len() / 2).all(|length| Validity::of(&der[..length]).is_none()));
        for bad in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x89", &[0xff; 100]] {
            assert_eq!(Validity::of(bad), None);
        }
    }

    #[test]
    fn the_end_is_near_for_a_sixth_of_a_life_at_most_two_weeks() {
        const DAY: u64 = 24 * 60 * 60 * 1000;
        let check = |life: u64, left: u64, expected: bool| {
            let validity = Validity { since_ms: 0, until_ms: life * DAY };
            assert_eq!(validity.ends_soon((life - left) * DAY), expected, "{life} {left}");
        };
        check(365, 15, false);
        check(365, 14, true);
        check(365, 0, true);
        check(6, 2, false);
        check(6, 1, true);
    }
}
