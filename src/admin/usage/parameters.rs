//! The query parameters of usage. All are checked: a misspelt filter would otherwise give the wrong sums without a word.

use jiff::tz::TimeZone;

use super::{
    super::{
        Request,
        operations::{Parameter, ParameterKind},
        page::invalid_query,
        pointer::hint,
    },
    zone,
};
use crate::{
    fault::Fault,
    ledger::{
        range::{Edge, Every, Hours, MAX_PARTS, moment, parts},
        report::{Dimension, NONE, UsageQuery},
    },
    rewrite::value_of,
    store::{UsageFilter, UsageReader},
    suggest::{backticked, nearest},
};

/// The groups that a report shows at most, and by default.
const MAX_TOP: u64 = 1000;
/// The rows of a report at most.
const MAX_ROWS: usize = 50_000;
/// The exchanges of an answer at most.
const MAX_LIMIT: u64 = 1000;
/// The exchanges of an answer by default.
const LIMIT: u64 = 20;
/// The dimensions of a row by default.
pub const DEFAULT_BY: &str = "user,model";
/// The word for no dimensions.
const NO_DIMENSION: &str = "none";
/// The length of the longest value, in bytes.
const MAX_VALUE: usize = 256;
/// The parameters of a page: `page` checks them.
const PAGE: [&str; 2] = ["limit", "after"];

/// A parameter that is any text.
pub(in super::super) const fn text(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, description, kind: ParameterKind::Text }
}

const fn filter(name: &'static str) -> Parameter {
    text(name, "Count only exchanges with this value; `-` for those that have none")
}

pub(in super::super) const FORMAT: Parameter = Parameter {
    name: "format",
    description: "The format of the answer; `json` if left out",
    kind: ParameterKind::Word(&["json", "csv"]),
};
const USER: Parameter = text("user", "Count only exchanges of the user with this id or name");

/// The parameters of a report. The last one is for admins.
static REPORT: [Parameter; 14] = [
    text(
        "by",
        "Dimensions of a row, with commas: `user`, `token`, `group`, `provider`, `endpoint`, `model`, `key_owner`; `user,model` if left out; `none` for one row",
    ),
    text(
        "since",
        "The begin: an age (`7d`, `24h`, `4w`), a day (`2026-11-01`), or RFC 3339; `7d` if left out. Rounded down to an hour",
    ),
    text("until", "The end, in the same forms; a day is included. Now if left out. Rounded up to an hour"),
    Parameter {
        name: "every",
        description: "Split the range into hours, days or months of the time zone",
        kind: ParameterKind::Word(&["hour", "day", "month"]),
    },
    text("tz", "The time zone of days and months, by its IANA name; `UTC` if left out"),
    Parameter {
        name: "top",
        description: "Show so many groups, those with the most tokens, and the sum of the others",
        kind: ParameterKind::Count { max: MAX_TOP },
    },
    filter("token"),
    filter("group"),
    filter("provider"),
    filter("endpoint"),
    filter("model"),
    filter("key_owner"),
    FORMAT,
    USER,
];

/// The parameters of the last exchanges. The last one is for admins.
static RECENT: [Parameter; 11] = [
    Parameter {
        name: "limit",
        description: "Maximum number of exchanges; 20 if left out",
        kind: ParameterKind::Count { max: MAX_LIMIT },
    },
    Parameter {
        name: "after",
        description: "Only exchanges after the one with this number, as `next` of the answer before has it",
        kind: ParameterKind::Count { max: u64::MAX },
    },
    text(
        "request_id",
        "Only exchanges with this id, as the response's `tollgate-request-id` and the access log have it",
    ),
    filter("token"),
    filter("group"),
    filter("provider"),
    filter("endpoint"),
    filter("model"),
    filter("key_owner"),
    FORMAT,
    USER,
];

/// Those of a report of all users.
pub(in super::super) static ALL_REPORT: &[Parameter] = &REPORT;
/// Those of a report of the caller.
pub(in super::super) static OWN_REPORT: &[Parameter] = REPORT.split_at(REPORT.len() - 1).0;
/// Those of the last exchanges of all users.
pub(in super::super) static ALL_RECENT: &[Parameter] = &RECENT;
/// Those of the last exchanges of the caller.
pub(in super::super) static OWN_RECENT: &[Parameter] = RECENT.split_at(RECENT.len() - 1).0;

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Format {
    Json,
    Csv,
}

/// A report that is asked for.
#[derive(Debug, Clone)]
pub(super) struct AskedReport {
    pub(super) query: UsageQuery,
    pub(super) every: Option<String>,
    pub(super) tz: String,
}

/// The parameters of a request, all of them known.
pub(in super::super) struct Parameters<'r> {
    query: Option<&'r str>,
}

impl<'r> Parameters<'r> {
    pub(in super::super) fn of(request: &'r Request, known: &'static [Parameter]) -> Result<Self, Fault> {
        Self::among(request, known, &[])
    }

    /// The parameters of a request for a list, which has pages.
    pub(in super::super) fn of_list(
        request: &'r Request,
        known: &'static [Parameter],
    ) -> Result<Self, Fault> {
        Self::among(request, known, &PAGE)
    }

    /// The parameters among `known`, and those that `others` checks.
    fn among(request: &'r Request, known: &'static [Parameter], others: &[&str]) -> Result<Self, Fault> {
        let query = request.query.as_deref();
        let names: Vec<&str> = known.iter().map(|one| one.name).chain(others.iter().copied()).collect();
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !names.contains(&&*name) {
                return Err(invalid_query(format!("unknown query parameter; {}", hint(&name, &names))));
            }
            if !others.contains(&&*name) && (value.is_empty() || value.len() > MAX_VALUE) {
                let problem = "its value is empty, or longer than 256 bytes";
                return Err(invalid_query(format!("?{name}=: {problem}")));
            }
            if seen.contains(&name) {
                return Err(invalid_query(format!("?{name}=: it stands there twice: give it once")));
            }
            seen.push(name);
        }
        Ok(Self { query })
    }

    /// The value of a parameter.
    pub(in super::super) fn value(&self, name: &str) -> Option<String> {
        value_of(self.query, name)
    }

    pub(super) fn user(&self) -> Option<String> {
        self.value("user")
    }

    pub(super) fn request_id(&self) -> Option<String> {
        self.value("request_id")
    }

    pub(super) fn filter(&self) -> UsageFilter {
        let value = |name| self.value(name).map(|value| if value == NONE { String::new() } else { value });
        UsageFilter {
            reader: UsageReader::default(),
            user: None,
            token: value("token"),
            group: value("group"),
            provider: value("provider"),
            endpoint: value("endpoint"),
            model: value("model"),
            key_owner: value("key_owner"),
            scopes: None,
        }
    }

    pub(in super::super) fn format(&self) -> Result<Format, Fault> {
        match self.value("format").as_deref() {
            None | Some("json") => Ok(Format::Json),
            Some("csv") => Ok(Format::Csv),
            Some(_) => Err(invalid_query("?format=: it is written `json` or `csv`")),
        }
    }

    pub(super) fn limit(&self) -> Result<u64, Fault> {
        Ok(self.count("limit", MAX_LIMIT)?.unwrap_or(LIMIT))
    }

    pub(super) fn after(&self) -> Result<Option<u64>, Fault> {
        self.count("after", u64::MAX)
    }

    fn count(&self, name: &str, max: u64) -> Result<Option<u64>, Fault> {
        let Some(text) = self.value(name) else { return Ok(None) };
        let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let number = number.filter(|number| *number <= max);
        number
            .map(Some)
            .ok_or_else(|| invalid_query(format!("?{name}=: it is a number in digits, at most {max}")))
    }

    /// The report that is asked for, of all users.
    pub(super) fn report(&self, now_ms: u64) -> Result<AskedReport, Fault> {
        let tz = self.value("tz").unwrap_or_else(|| "UTC".to_owned());
        let zone = zone(&tz).ok_or_else(|| {
            invalid_query("?tz=: no such time zone: give an IANA name, such as `Europe/Berlin`")
        })?;
        let hours = self.hours(&zone, now_ms)?;
        let by = dimensions(self.value("by").as_deref().unwrap_or(DEFAULT_BY))?;
        let every = self.value("every");
        let parts = every.as_deref().map(|text| split(text, hours, &zone)).transpose()?;
        let most = MAX_ROWS / parts.as_ref().map_or(1, |parts| parts.len().max(1));
        let top = self.count("top", MAX_TOP)?.unwrap_or(MAX_TOP);
        let top = usize::try_from(top).unwrap_or(usize::MAX).min(most);
        let query = UsageQuery { hours, parts, by, top, filter: self.filter(), visible: None };
        Ok(AskedReport { query, every, tz })
    }

    /// The begin and the end that are given, in milliseconds since 1970.
    pub(in super::super) fn range(
        &self,
        zone: &TimeZone,
        now_ms: u64,
    ) -> Result<(Option<u64>, Option<u64>), Fault> {
        let read = |name: &str, edge| {
            let moment = |text: String| {
                moment(&text, edge, zone, now_ms).ok_or_else(|| {
                    invalid_query(format!(
                        "?{name}=: give an age (`7d`, `24h`, `4w`), a day (`2026-11-01`), or a time as RFC 3339 has it (`2026-11-01T12:00:00Z`)"
                    ))
                })
            };
            self.value(name).map(moment).transpose()
        };
        Ok((read("since", Edge::Since)?, read("until", Edge::Until)?))
    }

    fn hours(&self, zone: &TimeZone, now_ms: u64) -> Result<Hours, Fault> {
        let given = self.range(zone, now_ms)?;
        let since = given.0.unwrap_or_else(|| now_ms.saturating_sub(7 * 86_400_000));
        let until = given.1.unwrap_or(now_ms);
        if since <= until {
            return Ok(Hours::touched(since, until));
        }
        Err(invalid_query(match given {
            (_, None) => "?since=: it is in the future, and the range ends now: give an earlier time",
            (None, Some(_)) => "?until=: it is before the range begins, 7 days ago: give `since` too",
            (Some(_), Some(_)) => "?until=: it is before `since`",
        }))
    }
}

/// The fault for a name that is none of some.
pub(in super::super) fn unknown<'n>(
    parameter: &str,
    what: &str,
    name: &str,
    all: impl IntoIterator<Item = &'n str> + Clone,
) -> Fault {
    let near = nearest(name, all.clone()).map(|near| format!("did you mean `{near}`? All"));
    let begin = near.unwrap_or_else(|| "all".to_owned());
    invalid_query(format!("?{parameter}=: no such {what}; {begin} are {}", backticked(all)))
}

fn dimensions(text: &str) -> Result<Vec<Dimension>, Fault> {
    let names = Dimension::ALL.map(Dimension::name);
    let mut all = Vec::new();
    for name in text.split(',').filter(|_| text != NO_DIMENSION) {
        let Some(found) = Dimension::ALL.into_iter().find(|one| one.name() == name) else {
            let near = nearest(name, names).map(|near| format!("did you mean `{near}`? All"));
            let all = near.unwrap_or_else(|| "all".to_owned());
            return Err(invalid_query(format!(
                "?by=: no such dimension; {all} are {}, with commas",
                backticked(names)
            )));
        };
        if all.contains(&found) {
            return Err(invalid_query(format!("?by=: `{}` stands there twice", found.name())));
        }
        all.push(found);
    }
    Ok(all)
}

fn split(text: &str, hours: Hours, zone: &TimeZone) -> Result<Vec<crate::ledger::range::Part>, Fault> {
    let every = Every::ALL.into_iter().find(|(word, _)| *word == text);
    let (_, every) = every.ok_or_else(|| invalid_query("?every=: it is written `hour`, `day` or `month`"))?;
    parts(hours, every, zone).ok_or_else(|| {
        let advice = "choose a later `since`, or a longer `every`";
        invalid_query(format!("?every=: the range has more than {MAX_PARTS} parts: {advice}"))
    })
}
