//! The filters of `tollgate usage`. If nothing matches them, they are named, and a misspelt value gets a suggestion: the
//! ledger keeps removed providers and models, so that no value can be refused.

use anyhow::Context as _;

use super::{Context, Query, call};
use crate::{
    admin::UsageReport,
    escape,
    ledger::report::NONE,
    suggest::{backticked, nearest},
};

/// Known values that are listed.
const LISTED: usize = 5;

/// Values that dimensions are restricted to.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Filter {
    /// Only this user, by id or name
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only this token, by id; - for none
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Only this group; - for none
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only this provider; - for none
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// Only this endpoint; - for none
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// Only this model; - for none
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Only credentials of this owner: a user's id, `group:NAME` or `everybody`; - for none
    #[arg(long, value_name = "OWNER")]
    key_owner: Option<String>,
}

impl Filter {
    /// The dimensions that are restricted, with their values.
    pub(super) fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Self { user, token, group, provider, endpoint, model, key_owner } = self;
        let all = [
            ("user", user),
            ("token", token),
            ("group", group),
            ("provider", provider),
            ("endpoint", endpoint),
            ("model", model),
            ("key_owner", key_owner),
        ];
        all.into_iter().filter_map(|(dimension, value)| Some((dimension, value.as_deref()?)))
    }

    /// The filters in a sentence: ` with ...`; empty without any.
    pub(super) fn named(&self) -> String {
        let flags: Vec<_> = self.given().map(|(dimension, value)| flag(dimension, value)).collect();
        if flags.is_empty() { String::new() } else { format!(" with {}", backticked(flags)) }
    }

    /// The end of that sentence: `; ...` for each value that no usage ever had.
    pub(super) async fn hints(&self, context: &Context<'_>) -> anyhow::Result<String> {
        let mut hints = String::new();
        // The API refuses an unknown user.
        for (dimension, value) in self.given().filter(|(dimension, _)| *dimension != "user") {
            let query = Query::default().with("by", Some(dimension)).with("since", Some("1970-01-01"));
            let text = call(context, &query.below("/admin/usage")).await?;
            let report: UsageReport =
                serde_json::from_str(&text).context("the response is not a usage report")?;
            let known = report.rows.iter().filter_map(|row| row.value(dimension));
            hints.push_str(&hint(dimension, value, &known.collect::<Vec<_>>()));
        }
        Ok(hints)
    }
}

/// The hint about a value, of all values that usage has, those with the most tokens first.
fn hint(dimension: &str, value: &str, known: &[&str]) -> String {
    if value == NONE {
        let is_known = known.is_empty() || known.contains(&"");
        return if is_known { String::new() } else { "; no usage is without one".to_owned() };
    }
    let known: Vec<&str> = known.iter().copied().filter(|one| !one.is_empty()).collect();
    if known.is_empty() || known.contains(&value) {
        return String::new();
    }
    if let Some(near) = nearest(value, known.iter().copied()) {
        return format!("; did you mean `{}`?", flag(dimension, near));
    }
    let listed = known.iter().take(LISTED).map(|one| escape::value(one));
    let more = known.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("; all usage has `--{}` {}{more}", dimension.replace('_', "-"), backticked(listed))
}

fn flag(dimension: &str, value: &str) -> String {
    format!("--{} {}", dimension.replace('_', "-"), escape::value(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_named() {
        assert_eq!(Filter::default().named(), "");
        let some =
            Filter { model: Some("m\n".into()), key_owner: Some("everybody".into()), ..Filter::default() };
        assert_eq!(some.named(), " with `--model m\\n`, `--key-owner everybody`");
    }

    #[test]
    fn a_value_without_usage_gets_a_hint() {
        let check = |value: &str, known: &[&str], expected: &str| {
            assert_eq!(hint("key_owner", value, known), expected);
        };
        check("group:ops", &[], "");
        check("group:ops", &[""], "");
        check("group:ops", &["everybody", "group:ops"], "");
        check("group:obs", &["everybody", "group:ops"], "; did you mean `--key-owner group:ops`?");
        check("-", &["everybody"], "; no usage is without one");
        check("-", &["", "everybody"], "");
        check("x", &["", "everybody", "y\n"], "; all usage has `--key-owner` `everybody`, `y\\n`");
        check(
            "x",
            &["a", "b", "c", "d", "e", "f"],
            "; all usage has `--key-owner` `a`, `b`, `c`, `d`, `e` and 1 more",
        );
    }
}
