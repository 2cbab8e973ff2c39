//! Amounts of money, exact: whole pico-units (10^-12) of a currency. Amounts of different currencies are never added.
//!
//! It never rounds but for display. Sums stop at the greatest value.

use std::{collections::BTreeMap, fmt};

use super::currencies;

/// The pico-units of one unit of a currency.
pub const PICO: u128 = 1_000_000_000_000;
/// The digits after the point of an exact amount.
const DIGITS: usize = 12;
/// The significant digits of a small amount that are shown.
const SHOWN_DIGITS: usize = 4;

/// A currency by its ISO 4217 code: three capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The code of no currency.
    pub const NONE: Self = Self(*b"XXX");

    /// The currency of a code; none if ISO 4217 has no such code.
    pub fn new(code: &str) -> Option<Self> {
        let is_known = Self::codes().any(|known| known == code);
        code.as_bytes().try_into().ok().filter(|_| is_known).map(Self)
    }

    /// All codes.
    pub fn codes() -> impl Iterator<Item = &'static str> {
        currencies::CODES.split(' ')
    }

    /// True if one unit is worth little, so that prices have many digits before the point.
    pub fn is_small(self) -> bool {
        currencies::SMALL.split(' ').any(|small| small == self.code())
    }

    /// Its code.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a code is made of ASCII letters")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.code())
    }
}

/// An amount of money. Displayed with its currency, rounded to cents, and below one unit to four significant digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    /// Whole pico-units of the currency.
    pub pico: u128,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// The exact decimal number without the currency, for programs: `0.0025`.
    pub fn exact(&self) -> String {
        let text = decimal(self.pico, DIGITS);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// The amount as a floating-point number, for formats that have no other.
    pub fn to_f64(&self) -> f64 {
        self.exact().parse().expect("a decimal number is a floating-point number")
    }
}

impl fmt::Display for Money {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", rounded(self.pico), self.currency)
    }
}

/// The pico-units of a decimal number such as `0.0025`: digits, with at most 12 after the point.
pub fn parse_decimal(text: &str) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) || fraction.len() > DIGITS {
        return None;
    }
    let missing = u32::try_from(DIGITS - fraction.len()).ok()?;
    let fraction = fraction.parse::<u64>().ok()? * 10_u64.pow(missing);
    whole.parse::<u128>().ok()?.checked_mul(PICO)?.checked_add(fraction.into())
}

/// A number with this many digits after the point; the last ones are cut.
fn decimal(pico: u128, digits: usize) -> String {
    let fraction = format!("{:0DIGITS$}", pico % PICO);
    format!("{}.{}", pico / PICO, &fraction[..digits])
}

fn rounded(pico: u128) -> String {
    let leading_zeros = DIGITS.saturating_sub(pico.max(1).to_string().len());
    let digits = if pico >= PICO || pico == 0 { 2 } else { (leading_zeros + SHOWN_DIGITS).min(DIGITS) };
    let step = 10_u128.pow(u32::try_from(DIGITS - digits).unwrap_or_default());
    let text = decimal(pico.saturating_add(step / 2), digits);
    // Two digits after the point stay.
    let kept = text.find('.').map_or(text.len(), |point| (point + 3).min(text.len()));
    let zeros = text[kept..].len() - text[kept..].trim_end_matches('0').len();
    text[..text.len() - zeros].to_owned()
}

/// Sums of money, one for each currency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<Currency, u128>);

impl Amounts {
    /// The amounts of a document: decimal numbers by currency. What is none is left out.
    pub fn read(document: &BTreeMap<String, String>) -> Self {
        let mut sums = Self::default();
        for (currency, amount) in document {
            if let Some((currency, pico)) = Currency::new(currency).zip(parse_decimal(amount)) {
                sums.add(Money { pico, currency });
            }
        }
        sums
    }

    /// Adds an amount.
    pub fn add(&mut self, money: Money) {
        let sum = self.0.entry(money.currency).or_default();
        *sum = sum.saturating_add(money.pico);
    }

    /// Adds all sums of another value.
    pub fn add_all(&mut self, other: &Self) {
        other.iter().for_each(|money| self.add(money));
    }

    /// The sums in the order of their currencies.
    pub fn iter(&self) -> impl Iterator<Item = Money> {
        self.0.iter().map(|(currency, pico)| Money { pico: *pico, currency: *currency })
    }

    /// True if nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Amounts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sums: Vec<String> = self.iter().map(|money| money.to_string()).collect();
        out.write_str(&sums.join(" + "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(pico: u128) -> Money {
        Money { pico, currency: Currency::new("USD").unwrap() }
    }

    #[test]
    fn amounts_are_shown_with_sensible_digits() {
        for (pico, exact, shown) in [
            (0, "0", "0.00 USD"),
            (1, "0.000000000001", "0.000000000001 USD"),
            (123_456, "0.000000123456", "0.0000001235 USD"),
            (2_500_000_000, "0.0025", "0.0025 USD"),
            (12_345_678_900, "0.0123456789", "0.01235 USD"),
            (500_000_000_000, "0.5", "0.50 USD"),
            (999_960_000_000, "0.99996", "1.00 USD"),
            (PICO, "1", "1.00 USD"),
            (1_860_000_000_000, "1.86", "1.86 USD"),
            (1_234_567_900_000_000, "1234.5679", "1234.57 USD"),
            (9_995_000_000_000, "9.995", "10.00 USD"),
        ] {
            assert_eq!((money(pico).exact().as_str(), money(pico).to_string().as_str()), (exact, shown));
            assert_eq!(parse_decimal(exact), Some(pico), "{exact}");
        }
        assert_eq!(money(u128::MAX).exact(), "340282366920938463463374607.431768211455");
        assert_eq!(money(u128::MAX).to_string(), "340282366920938463463374607.43 USD");
        assert!((money(2_500_000_000).to_f64() - 0.0025).abs() < f64::EPSILON);
    }

    #[test]
    fn only_decimal_numbers_are_read() {
        assert_eq!(parse_decimal("007.50"), Some(7_500_000_000_000));
        for text in ["", ".", ".5", "5.", "-1", "+1", "1e3", "1,5", "0.0000000000001", &"9".repeat(40)] {
            assert_eq!(parse_decimal(text), None, "{text}");
        }
    }

    #[test]
    fn currencies_are_never_added_to_each_other() {
        for code in ["", "US", "usd", "USDT", "U1D", "é$", "UDS", "D E", "AED AFN", " "] {
            assert_eq!(Currency::new(code), None, "{code}");
        }
        assert!(Currency::codes().all(|code| Currency::new(code).is_some_and(|one| one.code() == code)));
        assert!(Currency::codes().is_sorted() && currencies::SMALL.split(' ').is_sorted());
        let is_small = |code| Currency::new(code).unwrap().is_small();
        assert!(currencies::SMALL.split(' ').all(is_small) && !is_small("USD"));
        let euro = Currency::new("EUR").unwrap();
        let mut sums = Amounts::default();
        assert!(sums.is_empty());
        sums.add(money(u128::MAX));
        sums.add(money(1));
        sums.add(Money { pico: 3 * PICO, currency: euro });
        let mut all = Amounts::default();
        all.add(Money { pico: PICO, currency: euro });
        all.add_all(&sums);
        assert_eq!(all.iter().map(|sum| sum.pico).collect::<Vec<_>>(), [4 * PICO, u128::MAX]);
        assert!(all.to_string().starts_with("4.00 EUR + 3402"), "{all}");
    }
}
