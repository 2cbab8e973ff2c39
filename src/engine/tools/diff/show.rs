//! Shows differences to people: lines for a terminal, Markdown for a comment on a change.

use super::{Change, ChangeKind, Diff, Group, Subject, Verdict};
use crate::base::{
    escape::{self, Lines},
    numbers::counted,
};

/// Providers of a group that are named; the others are counted.
const NAMES: usize = 5;
/// The title of changed prices.
const PRICES: &str = "prices, without effect on access";
/// The title of changed limits.
const LIMITS: &str = "limits, and rules for models and endpoints";
/// The title of changed clients.
const CLIENTS: &str = "clients, texts on pages without effect on access";

/// As lines.
pub fn human(diff: &Diff) -> Lines {
    let mut out = Lines::one(format_args!("{}", summary(diff)));
    for group in &diff.groups {
        out.push(format_args!(""));
        out.push(format_args!("{}", title(group, str::to_owned)));
        for change in &group.changes {
            human_change(&mut out, change);
        }
    }
    for (title, changes) in apart(diff) {
        out.push(format_args!(""));
        out.push(format_args!("{title}:"));
        for change in changes {
            human_change(&mut out, change);
        }
    }
    out
}

fn human_change(out: &mut Lines, change: &Change) {
    let text = values(change, str::to_owned);
    out.push(format_args!("  {} {} {text}", mark(change), change.subject.word()));
    if let Some(reason) = &change.widens {
        out.push(format_args!("    WIDENS: {reason}"));
    }
}

/// As Markdown: a table of the changes that widen exposure, then all changes behind a fold.
pub fn markdown(diff: &Diff) -> Lines {
    let mut out = Lines::one(format_args!("### tollgate: {}", summary(diff)));
    let of_groups = diff.groups.iter().map(|group| (names(group, code), &group.changes));
    let of_limits = [("all".to_owned(), &diff.limits)];
    let mut is_first = true;
    for (providers, changes) in of_groups.chain(of_limits) {
        for change in changes {
            let Some(reason) = &change.widens else { continue };
            if std::mem::take(&mut is_first) {
                out.extend("\n| provider | what widens | why |\n|---|---|---|");
            }
            let text = format!("{} {} {}", mark(change), change.subject.word(), values(change, code));
            out.push(format_args!("| {providers} | {text} | {} |", prose(reason)));
        }
    }
    if !diff.groups.is_empty() || apart(diff).next().is_some() {
        out.extend("\n<details><summary>All changes</summary>");
        for group in &diff.groups {
            out.push(format_args!(""));
            out.push(format_args!("**{}**", title(group, code)));
            out.push(format_args!(""));
            for change in &group.changes {
                markdown_change(&mut out, change);
            }
        }
        for (title, changes) in apart(diff) {
            out.push(format_args!("\n**{title}:**\n"));
            for change in changes {
                markdown_change(&mut out, change);
            }
        }
        out.extend("\n</details>");
    }
    out
}

fn markdown_change(out: &mut Lines, change: &Change) {
    let mark = if change.widens.is_some() { " :warning:" } else { "" };
    let text = values(change, code);
    out.push(format_args!("- {} {} {text}{mark}", verb(change), change.subject.word()));
}

/// The changes that are of no provider, each kind with its title.
fn apart(diff: &Diff) -> impl Iterator<Item = (&'static str, &[Change])> {
    let kinds = [(LIMITS, &*diff.limits), (PRICES, &*diff.prices), (CLIENTS, &*diff.clients)];
    kinds.into_iter().filter(|(_, changes)| !changes.is_empty())
}

fn summary(diff: &Diff) -> String {
    let count = |kind| {
        let groups = diff.groups.iter().filter(|group| group.kind == kind);
        groups.map(|group| group.providers.len()).sum::<usize>()
    };
    let widening = |group: &Group| {
        group.changes.iter().filter(|change| change.widens.is_some()).count() * group.providers.len()
    };
    let counts = [
        (count(ChangeKind::Changed), "changed"),
        (count(ChangeKind::Added), "added"),
        (count(ChangeKind::Removed), "removed"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{} {what}", counted(number, "provider")))
        .collect();
    let mut counts = counts;
    for (subject, what) in [(Subject::Limit, "limit"), (Subject::Allow, "rule")] {
        let number = diff.limits.iter().filter(|change| change.subject == subject).count();
        counts.extend((number > 0).then(|| format!("{} changed", counted(number, what))));
    }
    if !diff.prices.is_empty() {
        counts.push(format!("{} changed", counted(diff.prices.len(), "price")));
    }
    if !diff.clients.is_empty() {
        counts.push(format!("{} of clients changed", counted(diff.clients.len(), "text")));
    }
    match diff.verdict {
        Verdict::Same => "the same: nothing that is served differs".to_owned(),
        Verdict::Different => format!("different: {}; nothing widens exposure", counts.join(", ")),
        Verdict::Widened => {
            let loosens = diff.limits.iter().filter(|change| change.widens.is_some()).count();
            let widens = diff.groups.iter().map(widening).sum::<usize>() + loosens;
            format!("WIDENED: {}; {} exposure", counts.join(", "), widen(widens))
        }
    }
}

fn widen(number: usize) -> String {
    if number == 1 { "1 change widens".to_owned() } else { format!("{number} changes widen") }
}

fn title(group: &Group, shown: impl Fn(&str) -> String) -> String {
    let kind = match group.kind {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Changed => "changed",
    };
    let each = if group.providers.len() > 1 { ", each as {provider}" } else { "" };
    format!("{} {kind}{each}:", names(group, shown))
}

fn names(group: &Group, shown: impl Fn(&str) -> String) -> String {
    let (first, more) = group.providers.split_at(group.providers.len().min(NAMES));
    let first: Vec<String> = first.iter().map(|name| shown(name)).collect();
    match more.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// The name, the old and the new value.
fn values(change: &Change, shown: impl Fn(&str) -> String) -> String {
    let name = shown(&change.name);
    let values = [&change.old, &change.new]
        .map(|value| value.as_deref().filter(|value| !value.is_empty()).map(&shown));
    match values {
        [None, None] => name,
        [Some(value), None] | [None, Some(value)] if change.old.is_none() || change.new.is_none() => {
            format!("{name}: {value}")
        }
        [old, new] => format!("{name}: {} => {}", old.unwrap_or_default(), new.unwrap_or_default()),
    }
}

fn mark(change: &Change) -> char {
    match (&change.old, &change.new) {
        (None, _) => '+',
        (_, None) => '-',
        (Some(_), Some(_)) => '~',
    }
}

fn verb(change: &Change) -> &'static str {
    match (&change.old, &change.new) {
        (None, _) => "added",
        (_, None) => "removed",
        (Some(_), Some(_)) => "changed",
    }
}

/// The text as inline code. Escaped, so that it ends neither the code nor a table cell and mentions nobody.
fn code(text: &str) -> String {
    let text: String = text.chars().filter(|c| *c != '`').collect();
    if text.is_empty() {
        return text;
    }
    let entity = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '|' => "&#124;".to_owned(),
        '*' | '_' | '[' | ']' | '(' | ')' | '!' | '\\' | '#' | '~' | '@' | ':' => {
            format!("&#{};", u32::from(c))
        }
        c if escape::is_hidden(c) => c.escape_default().to_string().replace('\\', "&#92;"),
        c => c.to_string(),
    };
    format!("<code>{}</code>", text.chars().map(entity).collect::<String>())
}

/// One of our own sentences, with the parts in backticks as code.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 1 { code(part) } else { part.to_owned() }).collect()
}

impl Subject {
    fn word(self) -> &'static str {
        match self {
            Self::Paths => "paths",
            Self::Upstream => "upstream",
            Self::Tls => "tls",
            Self::Endpoint => "endpoint",
            Self::Origin => "origin",
            Self::Credentials => "credentials",
            Self::Auth => "auth",
            Self::Headers => "headers",
            Self::Query => "query",
            Self::Gateway => "gateway",
            Self::Egress => "egress",
            Self::Caller => "caller",
            Self::Var => "var",
            Self::Timeouts => "timeouts",
            Self::Limits => "limits",
            Self::Response => "response",
            Self::Api => "api",
            Self::Metering => "metering",
            Self::Telemetry => "telemetry",
            Self::CorsHeaders => "cors_headers",
            Self::PasteToken => "paste_token",
            Self::Probe => "probe",
            Self::Price => "price",
            Self::Client => "client",
            Self::Limit => "limit",
            Self::Allow => "allow",
        }
    }
}
