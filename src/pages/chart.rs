//! Bar charts as SVG. Only shapes are in the picture: labels are text of the page, which stays readable at any width.

use std::borrow::Borrow;

use super::shown;
use crate::money::{Currency, Money};

/// The pico-units of the unit that amounts of money are counted in: nano-units of the currency.
const PICO_PER_NANO: u128 = 1000;

/// The width of the picture in its own units. It is stretched to the page.
const WIDTH: u64 = 1000;
/// The height of the picture in its own units.
const HEIGHT: u64 = 200;
/// The part of a bar's place that stays empty, as a divisor.
const GAP: u64 = 6;
/// The most labels below a chart.
const LABELS: usize = 6;

/// The amount of one part of time: a number, or nano-units of the chart's currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Amount {
    /// The time, as the page shows it.
    pub(super) time: String,
    pub(super) total: u64,
    /// The part of the total that is an estimate.
    pub(super) estimated: u64,
}

/// A chart of amounts over time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chart {
    pub(super) title: String,
    /// The currency of the amounts; none for numbers.
    currency: Option<Currency>,
    pub(super) bars: Vec<Bar>,
    /// The greatest amount: the top of the chart.
    pub(super) top: u64,
    /// Some of the times, evenly spread.
    pub(super) labels: Vec<String>,
    /// True if a part of an amount is an estimate.
    pub(super) estimated: bool,
}

/// A bar: a rectangle for what was counted, and one above it for what is an estimate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) amount: Amount,
    pub(super) x: u64,
    pub(super) width: u64,
    pub(super) counted: Span,
    pub(super) estimated: Span,
}

/// A vertical extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) y: u64,
    pub(super) height: u64,
}

impl Chart {
    /// The chart of some amounts, in the order of their times.
    pub(super) fn new(title: &str, amounts: Vec<Amount>) -> Self {
        let top = amounts.iter().map(|amount| amount.total).max().unwrap_or_default();
        let estimated = amounts.iter().any(|amount| amount.estimated > 0);
        let labels = labels(&amounts);
        let number = u64::try_from(amounts.len()).unwrap_or(u64::MAX).max(1);
        let bars = (0..).zip(amounts).map(|(index, amount)| Bar::new(amount, index, number, top)).collect();
        Self { title: title.to_owned(), currency: None, bars, top, labels, estimated }
    }

    /// The same, of amounts of money.
    pub(super) fn of_money(title: &str, currency: Currency, amounts: Vec<Amount>) -> Self {
        Self { currency: Some(currency), ..Self::new(&format!("{title} ({currency})"), amounts) }
    }

    /// The top of the chart, to read at a glance.
    pub(super) fn scale(&self) -> String {
        match self.currency {
            None => shown::rough(self.top, false),
            Some(_) => self.exact(self.top, false),
        }
    }

    /// An amount, with a mark if a part of it is an estimate.
    pub(super) fn exact(&self, amount: impl Borrow<u64>, estimated: bool) -> String {
        let amount = *amount.borrow();
        match self.currency {
            None => shown::exact(amount, estimated),
            Some(currency) => {
                let money = Money { pico: u128::from(amount) * PICO_PER_NANO, currency };
                format!("{}{money}", shown::mark(estimated))
            }
        }
    }

    /// The picture's extent, as `viewBox` has it.
    pub(super) fn view_box() -> String {
        format!("0 0 {WIDTH} {HEIGHT}")
    }

    /// True if every amount is zero.
    pub(super) fn is_empty(&self) -> bool {
        self.top == 0
    }
}

impl Bar {
    fn new(amount: Amount, index: u64, number: u64, top: u64) -> Self {
        let place = (WIDTH / number).max(1);
        // A small amount is seen too.
        let scaled = |part: u64| {
            let height = u128::from(part) * u128::from(HEIGHT) / u128::from(top.max(1));
            u64::try_from(height).unwrap_or(HEIGHT).max(u64::from(part > 0))
        };
        let (whole, estimate) = (scaled(amount.total), scaled(amount.estimated.min(amount.total)));
        let estimated = Span { y: HEIGHT - whole, height: estimate };
        let counted = Span { y: HEIGHT - whole + estimate, height: whole - estimate };
        let x = WIDTH * index / number + place / GAP / 2;
        Self { amount, x, width: (place - place / GAP).max(1), counted, estimated }
    }
}

/// An amount of money as a chart counts it.
pub(super) fn nano(pico: u128) -> u64 {
    u64::try_from(pico.div_ceil(PICO_PER_NANO)).unwrap_or(u64::MAX)
}

/// The first time, the last, and some between them.
fn labels(amounts: &[Amount]) -> Vec<String> {
    let (number, last) = (amounts.len().min(LABELS), amounts.len().saturating_sub(1));
    // The page spreads them evenly from one end to the other.
    let place = |label| last * label / number.saturating_sub(1).max(1);
    (0..number).map(|label| amounts[place(label)].time.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(numbers: &[(u64, u64)]) -> Vec<Amount> {
        let amount = |(index, (total, estimated)): (usize, &(u64, u64))| Amount {
            time: index.to_string(),
            total: *total,
            estimated: *estimated,
        };
        numbers.iter().enumerate().map(amount).collect()
    }

    #[test]
    fn bars_stand_on_the_ground_and_within_the_picture() {
        let check = |numbers: &[(u64, u64)]| {
            let chart = Chart::new("Tokens", amounts(numbers));
            let mut end = 0;
            for bar in &chart.bars {
                let Bar { amount, x, width, counted, estimated } = bar;
                assert!(*x >= end && x + width <= WIDTH, "{bar:?}");
                end = x + width;
                assert_eq!(estimated.y + estimated.height, counted.y, "{bar:?}");
                assert_eq!(counted.y + counted.height, HEIGHT, "{bar:?}");
                assert_eq!(counted.height + estimated.height > 0, amount.total > 0, "{bar:?}");
            }
        };
        check(&[]);
        check(&[(0, 0)]);
        check(&[(5, 5), (1, 0), (1_000_000, 1), (0, 0)]);
        check(&[(u64::MAX, 3), (1, u64::MAX)]);
        check(&[(7, 2); 300]);
        check(&[(7, 2); 1000]);
    }

    #[test]
    fn money_is_shown_with_its_currency() {
        let usd = Currency::new("USD").unwrap();
        let chart = Chart::of_money("Cost", usd, amounts(&[(nano(2_500_000_000), 0), (nano(1), 1)]));
        assert_eq!((chart.title.as_str(), chart.scale().as_str()), ("Cost (USD)", "0.0025 USD"));
        assert_eq!(chart.exact(1_500_000_000, true), "~1.50 USD");
        assert!(chart.bars[1].counted.height + chart.bars[1].estimated.height > 0, "the least is seen too");
    }

    #[test]
    fn labels_are_few() {
        for number in [0, 1, 2, 24, 31, 300] {
            let chart = Chart::new("Tokens", amounts(&vec![(1, 0); number]));
            assert!(chart.labels.len() <= LABELS && chart.labels.is_empty() == (number == 0), "{number}");
            let ends = chart
                .bars
                .first()
                .zip(chart.bars.last())
                .map(|(first, last)| (&first.amount.time, &last.amount.time));
            assert_eq!(chart.labels.first().zip(chart.labels.last()), ends, "{number}");
        }
    }
}
