//! The state of the gateway: what needs attention, the figures of now and of the day, and the steps to a first call.

use std::{borrow::Borrow, cmp::Reverse, collections::BTreeMap};

use askama::Template;
use http::{Method, StatusCode};

use super::super::{
    chart::{Amount, Chart},
    client::{Api, Client},
    frame::Frame,
    response::PageResponse,
    route::{Area, find},
    shown,
};
use crate::{
    admin::{
        Attention, AttentionSeverity, AttentionTarget, Overview, OverviewHour, OverviewNow, OverviewSetup,
    },
    fault::Fault,
    numbers::grouped,
};

#[derive(Template)]
#[template(path = "console/overview.html")]
struct OverviewPage<'p> {
    frame: &'p Frame,
    overview: &'p Overview,
    now: &'p OverviewNow,
    steps: Vec<Step>,
    chart: Option<Chart>,
}

/// A step to the first call.
struct Step {
    is_done: bool,
    title: &'static str,
    text: &'static str,
    /// A command that does it.
    command: &'static str,
    /// The page that does it, below the console.
    path: &'static str,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
) -> Result<PageResponse, Fault> {
    let overview: Overview = client.get("/admin/overview").await?;
    let steps = overview.setup.map(steps).unwrap_or_default();
    let chart =
        overview.day.as_ref().map(|day| Chart::new("Requests", day.hours.iter().map(amount).collect()));
    let page = OverviewPage { frame, overview: &overview, now: &overview.now, steps, chart };
    Ok(PageResponse::html(StatusCode::OK, &page))
}

/// The steps to a first call; none if somebody has made it.
fn steps(setup: OverviewSetup) -> Vec<Step> {
    if setup.users && setup.exchanges {
        return Vec::new();
    }
    let (user, key, call) = (setup.users, setup.credentials, setup.exchanges);
    vec![
        Step {
            is_done: user,
            title: "Create a user",
            text: "A user has a token, which tools send in place of a vendor's key.",
            command: "tollgate user add NAME",
            path: "/users",
        },
        Step {
            is_done: key,
            title: "Store a key",
            text: "One for everybody, or each user's own: users store theirs at /config.",
            command: "tollgate credential set everybody SECTION.FIELD",
            path: "/shared",
        },
        Step {
            is_done: call,
            title: "Make the first call",
            text: "Point a tool at this gateway. The user's page /config/connect has the lines to copy.",
            command: "tollgate routes",
            path: "/providers",
        },
    ]
}

/// The bar of an hour, whose hatched part failed.
fn amount(hour: &OverviewHour) -> Amount {
    Amount { time: hour_shown(&hour.at).to_owned(), total: hour.requests, estimated: hour.failed }
}

/// The number of failed calls, and the numbers by outcome, the greatest first. `live.js` writes the same text.
fn failed(number: impl Borrow<u64>, failures: &BTreeMap<String, u64>) -> String {
    let mut by_outcome: Vec<_> = failures.iter().collect();
    by_outcome.sort_by_key(|(_, number)| Reverse(**number));
    let parts: Vec<_> = by_outcome
        .into_iter()
        .map(|(outcome, number)| format!("{} {}", grouped(*number), shown::words(outcome)))
        .collect();
    let all = format!("{} failed", grouped(*number.borrow()));
    if parts.is_empty() { all } else { format!("{all}: {}", parts.join(", ")) }
}

/// The number of problems that need attention.
fn problems(attention: &[Attention]) -> String {
    grouped(attention.iter().map(|one| one.count as u64).sum())
}

/// The hour and minute of a time.
fn hour_shown(at: &str) -> &str {
    at.split_once('T').map_or(at, |(_, time)| time.get(..5).unwrap_or(time))
}

/// The path of a page below the console, if this version has it.
fn page(path: &str) -> Option<&str> {
    find(Area::Console, &Method::GET, path).map(|_| path)
}

/// A rate, with a digit after the point where it is small.
fn rate(per_second: f64) -> String {
    if per_second >= 100.0 { format!("{per_second:.0}") } else { format!("{per_second:.1}") }
}

/// The parts of a message, and whether each is code: the API marks that with backticks, as diagnostics do.
fn marked(message: &str) -> impl Iterator<Item = (bool, &str)> {
    let parts = message.split('`').enumerate();
    parts.map(|(index, part)| (index % 2 == 1, part)).filter(|(_, part)| !part.is_empty())
}

impl Attention {
    fn is_error(&self) -> bool {
        self.severity == AttentionSeverity::Error
    }

    /// The page where it is mended, and the words of the link.
    fn link(&self) -> Option<(&'static str, &'static str)> {
        let (path, text) = match self.target {
            AttentionTarget::Providers => ("/providers", "See the file"),
            AttentionTarget::Shared => ("/shared", "See shared keys"),
            AttentionTarget::Unconfirmed => ("/shared/unconfirmed", "See what waits"),
            AttentionTarget::Users => ("/users", "See users"),
            AttentionTarget::Usage => ("/usage", "See usage"),
            AttentionTarget::Machine => return None,
        };
        page(path).map(|path| (path, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_end_with_the_first_call() {
        let check = |users, credentials, exchanges, expected: &[bool]| {
            let steps = steps(OverviewSetup { users, credentials, exchanges });
            assert_eq!(steps.iter().map(|step| step.is_done).collect::<Vec<_>>(), expected);
        };
        check(false, false, false, &[false, false, false]);
        check(true, true, false, &[true, true, false]);
        // A user who was deleted has called.
        check(false, false, true, &[false, false, true]);
        check(true, false, true, &[]);
    }

    #[test]
    fn failures_are_named_by_outcome() {
        let check = |failures: &[(&str, u64)], expected: &str| {
            let failures: BTreeMap<String, u64> =
                failures.iter().map(|(outcome, number)| ((*outcome).to_owned(), *number)).collect();
            assert_eq!(failed(failures.values().sum::<u64>(), &failures), expected);
        };
        check(&[], "0 failed");
        check(&[("upstream_rejected", 5)], "5 failed: 5 upstream rejected");
        check(&[("cut", 1), ("refused", 1200)], "1,201 failed: 1,200 refused, 1 cut");
    }

    #[test]
    fn backticks_mark_code() {
        let check = |message, expected: &[(bool, &str)]| {
            assert_eq!(marked(message).collect::<Vec<_>>(), expected);
        };
        check("", &[]);
        check("plain", &[(false, "plain")]);
        check("`a` of b", &[(true, "a"), (false, " of b")]);
        check("cut `here", &[(false, "cut "), (true, "here")]);
    }

    #[test]
    fn rates_and_hours_are_short() {
        for (number, expected) in [(0.0, "0.0"), (0.02, "0.0"), (9.96, "10.0"), (120.4, "120")] {
            assert_eq!(rate(number), expected);
        }
        assert_eq!((hour_shown("2026-11-29T13:00:00Z"), hour_shown("x")), ("13:00", "x"));
        assert_eq!((page("/users"), page("/nowhere")), (Some("/users"), None));
    }
}
