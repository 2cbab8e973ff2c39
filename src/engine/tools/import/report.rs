//! The report as text: what was made, each disagreement with all values and their places, and the numbers at the end.

use super::{Conflict, Counts, Outcome, ProviderReport, Report, Statement};
use crate::base::{
    escape::{self, Lines},
    numbers::counted,
};

/// The report for people. `is_dry`: nothing is written.
pub fn text(report: &Report, is_dry: bool) -> Lines {
    let mut lines = Lines::default();
    for finding in &report.findings {
        let (project, place) = (finding.project.name(), escape::value(&finding.place));
        lines.push(format_args!("finding    {project}: {} ({place})", escape::value(&finding.message)));
    }
    for provider in &report.providers {
        one(&mut lines, provider, is_dry);
    }
    for alias in &report.aliases {
        let names = alias.names.join(", ");
        lines.push(format_args!("may be one {names}: `{}`", escape::value(&alias.shared)));
    }
    totals(&mut lines, &report.counts, is_dry);
    lines
}

fn one(lines: &mut Lines, provider: &ProviderReport, is_dry: bool) {
    let ProviderReport {
        name,
        outcome,
        file,
        reason,
        confirmed_by,
        assumed: _,
        in_catalogue: _,
        conflicts,
        kept,
        changes,
    } = provider;
    let would = if is_dry { "would be " } else { "" };
    let file = escape::value(file.as_deref().unwrap_or_default());
    let by: Vec<&str> = confirmed_by.iter().map(|project| project.name()).collect();
    let by = by.join(", ");
    match outcome {
        Outcome::Made => lines.push(format_args!("{name}: {would}made, {file} (base URL: {by})")),
        Outcome::Changed => lines.push(format_args!("{name}: {would}changed, {file}")),
        Outcome::Unchanged => lines.push(format_args!("{name}: unchanged, {file}")),
        Outcome::Compared => lines.push(format_args!("{name}: compared, {file}: people wrote it")),
        Outcome::NotMade => {
            let reason = escape::value(reason.as_deref().unwrap_or_default());
            lines.push(format_args!("{name}: not made: {reason}"));
        }
    }
    for change in changes {
        if change.before == change.after {
            lines.push(format_args!("  changed  {}: its sources", escape::value(&change.key)));
            continue;
        }
        let shown = |value: &Option<String>| {
            value.as_ref().map_or_else(|| "nothing".to_owned(), |value| format!("`{}`", escape::value(value)))
        };
        let (before, after) = (shown(&change.before), shown(&change.after));
        lines.push(format_args!("  changed  {}: {before} -> {after}", escape::value(&change.key)));
    }
    for line in kept {
        let (key, place) = (escape::value(&line.key), escape::value(&line.place));
        let wanted = escape::value(&line.wanted);
        match &line.value {
            Some(value) => {
                let value = escape::value(value);
                lines.push(format_args!(
                    "  kept     {key} = `{value}` ({place}): the projects say `{wanted}`"
                ));
            }
            None => {
                lines.push(format_args!(
                    "  kept     {key}: removed by hand ({place}): the projects say `{wanted}`"
                ));
            }
        }
    }
    for conflict in conflicts {
        differ(lines, conflict);
    }
}

fn differ(lines: &mut Lines, conflict: &Conflict) {
    let Conflict { key, statements, taken, why } = conflict;
    lines.push(format_args!(
        "  conflict {key}: taken `{}`, since {}",
        escape::value(taken),
        escape::value(why)
    ));
    let width = statements.iter().map(|one| one.by.len()).max().unwrap_or_default();
    for Statement { by, value, place } in statements {
        let (value, place) = (escape::value(value), escape::value(place));
        lines.push(format_args!("    {by:<width$}  `{value}` ({place})"));
    }
}

fn totals(lines: &mut Lines, counts: &Counts, is_dry: bool) {
    let Counts {
        seen,
        made,
        changed,
        unchanged,
        compared,
        not_made,
        confirmed,
        conflicts,
        kept,
        findings,
        in_catalogue,
    } = counts;
    let would = if is_dry { "would be " } else { "" };
    lines.push(format_args!(
        "{}: {made} {would}made, {changed} {would}changed, {unchanged} unchanged, {compared} compared, {not_made} not made",
        counted(*seen, "provider")
    ));
    lines.push(format_args!(
        "{confirmed} confirmed by a second project, {}, {}, {}",
        counted(*conflicts, "conflict"),
        counted(*kept, "line") + " of people kept",
        counted(*findings, "finding")
    ));
    if *in_catalogue > 0 {
        lines.push(format_args!(
            "{in_catalogue} of the made are in the catalogue too, whose files say more: `tollgate new NAME` writes them"
        ));
    }
}
