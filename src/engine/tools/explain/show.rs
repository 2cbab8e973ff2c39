//! The text output of `explain`. Each line is escaped: a value adds none, and controls no terminal.

use std::fmt;

use super::{
    Action, CallLimits, CallerInfo, Choice, ErrorReply, Explanation, Inserted, LimitOfCall, Metering, Miss,
    Position, Route, RuleOfCall, Step, TakenOut, Telemetry, Timeout, Verdict, reasons,
};
use crate::{
    base::{escape, fault::FaultKind, suggest::backticked},
    language::compile::metering::WhenMissing,
    request::decide::TokenKind,
};

/// Width of the label column.
const LABEL: usize = 10;

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        put(out, format_args!("{} {}", self.request.method, self.request.path))?;
        if let Some(token) = &self.token {
            let scheme = token.scheme.as_ref().map(|scheme| match scheme.as_str() {
                "" => ", without a scheme".to_owned(),
                scheme => format!(", with the scheme `{scheme}`"),
            });
            let scheme = scheme.unwrap_or_default();
            line(out, "token", &format!("in the {} `{}`{scheme}", token.r#in, token.name), None)?;
        }
        if let Some(limits) = limits(&self.caller) {
            line(out, "caller", &limits, None)?;
        }
        self.route.iter().try_for_each(|route| route.fmt(out))?;
        self.miss.iter().try_for_each(|miss| miss.fmt(out))
    }
}

/// Restrictions of the caller. None if there are none.
fn limits(caller: &CallerInfo) -> Option<String> {
    let CallerInfo { user: _, disabled, kind, paste, scopes } = caller;
    let disabled = disabled.then(|| "the user is disabled".to_owned());
    let kind = (kind.as_ref() != TokenKind::Both.as_str()).then(|| format!("a token of the kind `{kind}`"));
    let paste = paste.as_ref().map(|provider| format!("a paste token for `{provider}`"));
    let scopes = scopes.as_ref().map(|scopes| format!("scopes {}", backticked(scopes)));
    let all: Vec<String> = [disabled, kind, paste, scopes].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn line(out: &mut fmt::Formatter<'_>, label: &str, text: &str, at: Option<&Position>) -> fmt::Result {
    put(out, format_args!("  {label:LABEL$}{text}{}", shown(at)))
}

/// Writes one line.
fn put(out: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(out, "{}", escape::line(&text.to_string()))
}

fn shown(at: Option<&Position>) -> String {
    at.map_or_else(String::new, |at| format!("  ({at})"))
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = &self.endpoint;
        let text =
            format!("`{}` of `{}`: {} {}", endpoint.name, endpoint.provider, endpoint.method, endpoint.path);
        line(out, "endpoint", &text, endpoint.at.as_ref())?;
        if let Some(upgrade) = &endpoint.upgrade {
            line(out, "", &format!("the connection switches to `{upgrade}`: frames pass as they are"), None)?;
        }
        if let Some(origin) = &endpoint.origin {
            line(out, "", &format!("it calls the origin `{origin}`, and not `base_url`"), None)?;
        }
        for (name, value) in &endpoint.captures {
            let set = endpoint.sets.get(name).map(|members| format!(", one of {}", backticked(members)));
            line(out, "", &format!("{{{name}}} is `{value}`{}", set.unwrap_or_default()), None)?;
        }
        choices(out, "auth", &self.auth, "none is needed")?;
        choices(out, "gateway", &self.gateways, "none")?;
        choices(out, "egress", &self.egresses, "none")?;
        if !self.tls.is_empty() {
            choices(out, "tls", &self.tls, "that of the system")?;
        }
        line(out, "url", &format!("{} {}", self.method, self.url), None)?;
        for (label, name, one) in [
            ("timeouts", "connect", &self.timeouts.connect),
            ("", "first_byte", &self.timeouts.first_byte),
            ("", "idle", &self.timeouts.idle),
        ] {
            timeout(out, label, name, one)?;
        }
        if let Some(limit) = self.signed_body {
            let text = format!(
                "the SHA-256 of the body, here of an empty one; up to {limit} bytes are kept in memory"
            );
            line(out, "signed", &text, None)?;
        }
        let mut label = "returns";
        for one in &self.returned_urls {
            let text = format!("`{}` of the answer as the client's URL, if an endpoint reaches it", one.name);
            line(out, label, &text, one.at.as_ref())?;
            label = "";
        }
        metering(out, &self.metering)?;
        telemetry(out, &self.telemetry)?;
        call_limits(out, &self.limits)?;
        if let Some(fault) = &self.fault {
            refused(out, fault)?;
        }
        let (sent, removed): (Vec<_>, Vec<_>) = self.headers.iter().partition(|one| !one.values.is_empty());
        let would = if self.fault.is_some() { "that would be " } else { "" };
        section(out, &format!("headers {would}sent upstream"))?;
        for header in sent {
            for value in &header.values {
                put(out, format_args!("  {}: {value}", header.name))?;
            }
            steps(out, &header.steps)?;
        }
        if !removed.is_empty() {
            section(out, "headers removed")?;
        }
        for header in removed {
            put(out, format_args!("  {}", header.name))?;
            steps(out, &header.steps)?;
        }
        if !self.query.is_empty() {
            section(out, "query")?;
        }
        for parameter in &self.query {
            put(out, format_args!("  {}", parameter.name))?;
            steps(out, &parameter.steps)?;
        }
        Ok(())
    }
}

/// The limits and rules. Nothing if there are none.
fn call_limits(out: &mut fmt::Formatter<'_>, limits: &CallLimits) -> fmt::Result {
    let CallLimits { rules, limits, depends_on, verdict, fault, at } = limits;
    if rules.is_empty() && limits.is_empty() {
        return Ok(());
    }
    let mut label = "rules";
    for rule in rules {
        let allows = match rule.allows {
            Some(true) => "allows it",
            Some(false) => "does not allow it",
            None => "allows some models",
        };
        let RuleOfCall { providers, endpoints, models, allows: _, at } = rule;
        let text = format!("{allows}: providers `{providers}`, endpoints `{endpoints}`, models `{models}`");
        line(out, label, &text, at.as_ref())?;
        label = "";
    }
    let mut label = "limits";
    for limit in limits {
        line(out, label, &limit_text(limit), limit.at.as_ref())?;
        label = "";
    }
    let text = match (verdict, fault) {
        (_, Some(fault)) => format!("refused: {} {}", fault.status, fault.code),
        (Verdict::Depends, None) => {
            let parts: Vec<&str> = depends_on.iter().map(|part| part_of_body(part)).collect();
            format!("the body decides, and is not known: {}", parts.join(", "))
        }
        (Verdict::Allowed | Verdict::Refused, None) => {
            let is_counted = limits.is_empty() || limits.iter().any(|limit| limit.left.is_some());
            let so_far = if is_counted { "" } else { ", as if nothing had been used so far" };
            format!("allowed by limits and rules{so_far}")
        }
    };
    line(out, "verdict", &text, at.as_ref())
}

fn part_of_body(part: &str) -> &str {
    match part {
        "model" => "the model",
        "max_output" => "the cap on the tokens of the answer",
        "size" => "its size",
        other => other,
    }
}

fn limit_text(limit: &LimitOfCall) -> String {
    let LimitOfCall { id, measure: _, amount, window, per, rejects, reserves, left, at: _ } = limit;
    let Some(amount) = amount else { return format!("`{id}`: it exempts the caller") };
    let window = window.as_ref().map(|window| format!(" {window}")).unwrap_or_default();
    let mut text = format!("`{id}`: {amount}{window} per {per}");
    for (word, value) in [("reserves", reserves), ("left", left)] {
        if let Some(value) = value {
            text = format!("{text}, {word} {value}");
        }
    }
    if *rejects { text } else { format!("{text}; it only warns") }
}

fn refused(out: &mut fmt::Formatter<'_>, fault: &ErrorReply) -> fmt::Result {
    line(out, "refused", &format!("{} {}: {}", fault.status, fault.code, fault.message), None)
}

fn section(out: &mut fmt::Formatter<'_>, title: &str) -> fmt::Result {
    writeln!(out, "\n{title}")
}

/// Lists those in use first, then the others with their reasons.
fn choices(out: &mut fmt::Formatter<'_>, label: &str, all: &[Choice], none: &str) -> fmt::Result {
    let mut label = label;
    if !all.iter().any(|one| one.used) {
        line(out, label, none_of(all, none), None)?;
        label = "";
    }
    let (used, other): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.used);
    for one in used {
        line(out, label, &format!("`{}`: {}", one.name, one.reason), one.at.as_ref())?;
        label = "";
    }
    for one in other {
        let text = format!("skipped `{}`: {}", one.name, one.reason);
        line(out, label, &text, one.at.as_ref())?;
    }
    Ok(())
}

fn none_of<'t>(all: &[Choice], none: &'t str) -> &'t str {
    if all.is_empty() { none } else { "none" }
}

fn timeout(out: &mut fmt::Formatter<'_>, label: &str, name: &str, one: &Timeout) -> fmt::Result {
    let shown =
        if one.ms.is_multiple_of(1000) { format!("{}s", one.ms / 1000) } else { format!("{}ms", one.ms) };
    line(out, label, &format!("{name} {shown}"), one.at.as_ref())
}

fn metering(out: &mut fmt::Formatter<'_>, metering: &Metering) -> fmt::Result {
    let Metering { api, when_missing, inserts, takes_out, reason, at } = metering;
    let text = match (api, when_missing, reason) {
        (Some(api), Some(when_missing), _) => format!("as `{api}`, when missing: {when_missing}"),
        (_, _, Some(reason)) => format!("none: {reason}"),
        _ => "none".to_owned(),
    };
    line(out, "metering", &text, at.as_ref())?;
    let Some(Inserted { at, value, when }) = inserts else {
        let asks = when_missing.as_deref() == Some(WhenMissing::Ask.name());
        return if asks { line(out, "", reasons::NOT_ASKED, None) } else { Ok(()) };
    };
    let when = when.as_ref().map(|when| format!(", if `{when}` is true")).unwrap_or_default();
    line(out, "", &format!("inserts `{at}` = `{value}` into the body{when}"), None)?;
    let Some(TakenOut { at, empty, with }) = takes_out else { return Ok(()) };
    let with = if with.is_empty() { String::new() } else { format!(" but {}", backticked(with)) };
    let text = format!(
        "takes out of the answer then: events with `{at}`, an empty `{empty}`, and nothing else{with}"
    );
    line(out, "", &text, None)
}

fn telemetry(out: &mut fmt::Formatter<'_>, names: &Telemetry) -> fmt::Result {
    let Telemetry { operation, provider } = names;
    line(out, "telemetry", &format!("operation `{}`", operation.name), operation.at.as_ref())?;
    line(out, "", &format!("provider `{}`", provider.name), provider.at.as_ref())
}

fn steps(out: &mut fmt::Formatter<'_>, steps: &[Step]) -> fmt::Result {
    for step in steps {
        let reason = match (&step.rule, &step.reason) {
            (Some(rule), _) => format!(" by {rule}"),
            (None, Some(reason)) if step.action == Action::Kept => format!(": {reason}"),
            (None, Some(reason)) => format!(" by the engine: {reason}"),
            (None, None) => String::new(),
        };
        put(out, format_args!("      {}{reason}{}", step.action, shown(step.at.as_ref())))?;
    }
    Ok(())
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Kept => "kept",
            Self::LetThrough => "let through",
            Self::Removed => "removed",
            Self::Added => "added",
            Self::Appended => "appended",
            Self::Set => "set",
        })
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(own) = &self.own {
            line(out, "own", own, None)?;
        }
        if let Some(fault) = &self.fault {
            refused(out, fault)?;
        }
        if self.own.is_some() {
            return Ok(());
        }
        let Some(near) = &self.nearest else {
            let unknown =
                self.fault.as_ref().is_some_and(|fault| fault.code == FaultKind::RouteNotFound.code());
            let text = "no endpoint is similar: `tollgate routes` lists all";
            return if unknown { line(out, "nearest", text, None) } else { Ok(()) };
        };
        let text = format!("`{}` of `{}`: {} {}", near.name, near.provider, near.method, near.path);
        line(out, "nearest", &text, near.at.as_ref())?;
        let mut label = "but";
        for one in &near.differs {
            line(out, label, &one.message, None)?;
            label = "";
        }
        Ok(())
    }
}
