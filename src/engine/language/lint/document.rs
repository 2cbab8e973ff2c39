//! Lints of one document as written. Findings about a preset's rules are in the preset, once.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    base::{
        diag::{Code, Diagnostic, Location},
        header_name::FoldedName,
        usage::Counter,
    },
    language::{
        auth,
        compile::Glob,
        syntax::{
            self, Auth, Caller, Count, EndpointEntry, Headers, Overlay, Parsed, Pointers, Query, Response,
            Spans, pointer_step,
        },
    },
};

/// A provider, or a preset.
pub(super) fn provider(parsed: &Parsed<syntax::Provider>, found: &mut Vec<Diagnostic>) {
    let document = &parsed.document;
    let mut linter = Linter { file: &parsed.file, spans: &parsed.spans, found };
    linter.url("/base_url", document.base_url.as_ref());
    for (name, url) in document.origins.iter().flatten() {
        linter.url(&format!("/origins/{}", pointer_step(name)), Some(url));
    }
    let fields = document.credentials.iter().flat_map(|one| one.field.iter().flatten());
    for (index, field) in fields.enumerate() {
        linter.url(&format!("/credentials/field/{index}/token_url"), field.token_url.as_ref());
    }
    for (name, token) in document.token.iter().flatten() {
        let url = token.request.as_ref().map(|request| &request.url);
        linter.url(&format!("/token/{}/request/url", pointer_step(name)), url);
    }
    linter.auth(document.auth.as_deref().unwrap_or_default());
    linter.caller(document.caller.as_ref());
    linter.headers("/headers", document.headers.as_ref());
    for (name, entry) in document.endpoint.iter().flatten() {
        if let EndpointEntry::Table(endpoint) = entry {
            let pointer = format!("/endpoint/{}", pointer_step(name));
            linter.catch_all(&pointer, endpoint);
            linter.headers(&format!("{pointer}/headers"), endpoint.headers.as_ref());
            linter.query(&format!("{pointer}/query"), endpoint.query.as_ref());
            linter.removed_parameters(&pointer, endpoint.query.as_ref(), document.auth.as_deref());
            linter.responses(&format!("{pointer}/response"), endpoint.response.as_deref());
        }
    }
    for (index, egress) in document.egress.iter().flatten().enumerate() {
        linter.url(&format!("/egress/{index}/url"), egress.url.as_ref());
        linter.overlay(&format!("/egress/{index}/headers"), egress.headers.as_ref());
    }
    linter.responses("/response", document.response.as_deref());
}

/// A gateway.
pub(super) fn gateway(parsed: &Parsed<syntax::Gateway>, found: &mut Vec<Diagnostic>) {
    let mut linter = Linter { file: &parsed.file, spans: &parsed.spans, found };
    linter.url("/base_url", Some(&parsed.document.base_url));
    linter.overlay("/headers", parsed.document.headers.as_ref());
}

/// An api.
pub(super) fn api(parsed: &Parsed<syntax::Api>, found: &mut Vec<Diagnostic>) {
    let document = &parsed.document;
    if let Some(usage) = &document.usage {
        for (place, map) in [("/usage/body", &usage.body), ("/usage/event", &usage.event)] {
            let counts: Vec<_> = map.iter().flat_map(syntax::UsageMap::counts).collect();
            double_counts(parsed, place, &counts, found);
        }
        let counts: Vec<_> = usage.request.iter().flat_map(syntax::RequestCounts::counts).collect();
        double_counts(parsed, "/usage/request", &counts, found);
    }
    let is_tested = document.test.iter().flatten().any(|test| test.expect.usage.is_some());
    if document.usage.is_some() && !is_tested {
        let at = parsed.spans.key(&parsed.file, "/usage");
        let help = "add a `[[test]]` with a recorded `answer`, and `expect = { usage = { input = 3 } }`";
        found.push(
            Diagnostic::new(Code::UntestedUsage, at, "no test covers the usage of this format").help(help),
        );
    }
}

/// Counts of one document that have a place in common.
fn double_counts(
    parsed: &Parsed<syntax::Api>,
    place: &str,
    counts: &[(Counter, &Count)],
    found: &mut Vec<Diagnostic>,
) {
    let mut first: BTreeMap<&str, (Counter, Location)> = BTreeMap::new();
    for (counter, count) in counts {
        for (below, pointer) in pointers(count) {
            let at = parsed.spans.value(&parsed.file, &format!("{place}/{counter}{below}"));
            let Some((other, other_at)) = first.get(pointer) else {
                first.insert(pointer, (*counter, at));
                continue;
            };
            if includes(count, *other)
                || counts.iter().any(|(one, count)| one == other && includes(count, *counter))
            {
                continue;
            }
            let message = format!("`{}` is counted twice", pointer.escape_debug());
            let help = "if one of the counts includes the other, name that one in its `minus`; else correct the pointer";
            let finding = Diagnostic::new(Code::DoubleCount, at, message).help(help);
            found.push(finding.related(other_at.clone(), format!("it is counted as `{other}` here")));
        }
    }
}

/// The pointers of a count, each with its place below the count.
fn pointers(count: &Count) -> Vec<(String, &str)> {
    match count {
        Count::At(at) => at.each().collect(),
        Count::Table(table) => {
            let plus = table.plus.iter().flat_map(Pointers::each);
            let plus = plus.map(|(below, text)| (format!("/plus{below}"), text));
            table.at.each().map(|(below, text)| (format!("/at{below}"), text)).chain(plus).collect()
        }
    }
}

/// True if a count names the other one in its `minus`.
fn includes(count: &Count, part: Counter) -> bool {
    match count {
        Count::At(_) => false,
        Count::Table(table) => table.minus.iter().flatten().any(|name| name == part.name()),
    }
}

struct Linter<'a> {
    file: &'a Arc<str>,
    spans: &'a Spans,
    found: &'a mut Vec<Diagnostic>,
}

impl Linter<'_> {
    fn key(&self, pointer: &str) -> Location {
        self.spans.key(self.file, pointer)
    }

    fn value(&self, pointer: &str) -> Location {
        self.spans.value(self.file, pointer)
    }

    /// Reports a rule that never applies, with the rule that hides it.
    fn dead(&mut self, at: Location, message: String, other: Location, help: &str) {
        let diagnostic = Diagnostic::new(Code::DeadRule, at, message);
        self.found.push(diagnostic.related(other, "this one").help(help));
    }

    fn url(&mut self, pointer: &str, url: Option<&String>) {
        let Some(rest) = url.and_then(|url| url.strip_prefix("http://")) else { return };
        let host = host(rest);
        if is_loopback(host) {
            return;
        }
        let message = format!("`http://` to `{host}`: everybody on the way can read what goes over it");
        let diagnostic = Diagnostic::new(Code::PlainHttp, self.value(pointer), message);
        self.found.push(
            diagnostic.help("write `https://`, or a loopback address if the upstream is on this machine"),
        );
    }

    fn auth(&mut self, entries: &[Auth]) {
        for (index, auth) in entries.iter().enumerate() {
            // Without a `match` above it the entry is an error already.
            let Some(mine) = &auth.r#match else { continue };
            let hides = |other: &&Auth| {
                let is_wide = other.endpoints.is_none() || other.endpoints == auth.endpoints;
                let matches = other.r#match.as_deref().is_some_and(|one| covers(one, mine));
                is_wide && other.field == auth.field && matches
            };
            if let Some(first) = entries[..index].iter().position(|other| hides(&other)) {
                let message = format!(
                    "never reached: an entry above takes every `{}` that matches `{mine}`",
                    auth.field.as_deref().unwrap_or_default()
                );
                let (at, other) = (self.key(&format!("/auth/{index}")), self.key(&format!("/auth/{first}")));
                self.dead(at, message, other, "put the narrower `match` first, or drop one of the two");
            }
        }
    }

    /// Token locations that count for every provider.
    fn caller(&mut self, caller: Option<&Caller>) {
        for (index, name) in caller.iter().flat_map(|caller| caller.headers.iter().flatten()).enumerate() {
            let folded = FoldedName::of(name);
            if !matches!(folded.as_str(), "authorization" | "x-api-key") {
                continue;
            }
            let message = format!("`{name}` has no effect here: a token in it counts for every provider");
            let help = match folded.as_str() {
                "authorization" => "drop it; for another scheme than `Bearer`, write `schemes = [\"Token\"]`",
                _ => "drop it",
            };
            let at = self.value(&format!("/caller/headers/{index}"));
            self.found.push(Diagnostic::new(Code::DeadRule, at, message).help(help));
        }
    }

    fn headers(&mut self, pointer: &str, headers: Option<&Headers>) {
        let Some(headers) = headers else { return };
        for (index, name) in headers.pass.iter().flatten().enumerate() {
            let at = self.value(&format!("{pointer}/pass/{index}"));
            let message = format!("`{name}` of the client's goes up, which the engine would remove");
            let help = "drop it unless the upstream has to have it; `[lints] header_pass = \"allow\"` in `tollgate.toml` says that it does";
            self.found.push(Diagnostic::new(Code::HeaderPass, at, message).help(help));
            let removed = headers.remove.iter().flatten().position(|glob| covers_name(glob, name));
            if let Some(other) = removed {
                let at = self.value(&format!("{pointer}/pass/{index}"));
                let other = self.value(&format!("{pointer}/remove/{other}"));
                self.dead(
                    at,
                    format!("`{name}` never passes: it is removed again"),
                    other,
                    "drop one of the two",
                );
            }
        }
        self.removes(pointer, headers.remove.as_deref());
        self.defaults(pointer, headers.default.as_ref(), headers.set.as_ref(), str::eq_ignore_ascii_case);
    }

    fn overlay(&mut self, pointer: &str, overlay: Option<&Overlay>) {
        self.removes(pointer, overlay.and_then(|one| one.remove.as_deref()));
    }

    fn query(&mut self, pointer: &str, query: Option<&Query>) {
        let Some(query) = query else { return };
        self.defaults(pointer, query.default.as_ref(), query.set.as_ref(), str::eq);
    }

    /// Parameters that a credential sets are removed from every request.
    fn removed_parameters(&mut self, endpoint: &str, query: Option<&Query>, auth: Option<&[Auth]>) {
        let removed = query.iter().flat_map(|query| query.remove.iter().flatten()).enumerate();
        for (index, name) in removed {
            let entries = auth.iter().copied().flatten();
            let sets = |entry: &Auth| auth::parameters(entry).any(|(known, _)| known == name);
            let Some(entry) = entries.into_iter().position(sets) else { continue };
            let message = format!("the client's `{name}` is removed already: a credential sets it");
            let at = self.value(&format!("{endpoint}/query/remove/{index}"));
            let other = self.key(&format!("/auth/{entry}/query/{}", pointer_step(name)));
            self.dead(at, message, other, "drop it");
        }
    }

    fn removes(&mut self, pointer: &str, globs: Option<&[String]>) {
        let globs = globs.unwrap_or_default();
        for (index, glob) in globs.iter().enumerate() {
            let wider = |(at, other): &(usize, &String)| {
                *at != index && covers_name(other, glob) && (*at < index || !covers_name(glob, other))
            };
            if let Some((other, hides)) = globs.iter().enumerate().find(wider) {
                let message = format!("`{glob}` removes nothing more: `{hides}` covers it");
                let at = self.value(&format!("{pointer}/remove/{index}"));
                let other = self.value(&format!("{pointer}/remove/{other}"));
                self.dead(at, message, other, "drop it");
            }
        }
    }

    fn defaults<V>(
        &mut self,
        pointer: &str,
        defaults: Option<&BTreeMap<String, V>>,
        set: Option<&BTreeMap<String, V>>,
        same: fn(&str, &str) -> bool,
    ) {
        for name in defaults.into_iter().flatten().map(|(name, _)| name) {
            let hides = set.into_iter().flatten().map(|(other, _)| other).find(|other| same(other, name));
            if let Some(other) = hides {
                let at = self.key(&format!("{pointer}/default/{}", pointer_step(name)));
                let other = self.key(&format!("{pointer}/set/{}", pointer_step(other)));
                let message =
                    format!("the default of `{name}` never counts: it is set, whatever the client sends");
                self.dead(at, message, other, "drop one of the two");
            }
        }
    }

    fn responses(&mut self, pointer: &str, rules: Option<&[Response]>) {
        let rules = rules.unwrap_or_default();
        for (index, rule) in rules.iter().enumerate() {
            if let Some(first) = rules[..index].iter().position(|other| answers(other, rule)) {
                let (at, other) =
                    (self.key(&format!("{pointer}/{index}")), self.key(&format!("{pointer}/{first}")));
                let message = "never reached: a rule above takes every such answer".to_owned();
                self.dead(at, message, other, "put the narrower rule first, or drop one of the two");
            }
        }
    }

    /// Reports paths that have only captures and versions.
    fn catch_all(&mut self, pointer: &str, endpoint: &syntax::Endpoint) {
        let wide = |path: &&String| {
            path.contains('{')
                && path.split('/').filter(|one| !one.is_empty()).all(|one| is_capture(one) || is_version(one))
        };
        let paths = endpoint.path.iter().map(|path| (format!("{pointer}/path"), path));
        for (pointer, path) in paths.filter(|(_, path)| wide(path)) {
            let message = format!("`{path}` lets through whatever the upstream has there, now and later");
            let help = "name the paths that are needed, or at least one segment that all of them share";
            self.found.push(Diagnostic::new(Code::CatchAll, self.value(&pointer), message).help(help));
        }
    }
}

fn is_capture(segment: &str) -> bool {
    segment.starts_with('{') && segment.ends_with('}') && segment.matches('{').count() == 1
}

/// True for version segments such as `v1`, `v1beta` and `v2.1`.
pub(super) fn is_version(segment: &str) -> bool {
    let tail = segment.strip_prefix('v').filter(|tail| tail.starts_with(|c: char| c.is_ascii_digit()));
    tail.is_some_and(|tail| tail.len() <= 10 && tail.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'))
}

/// The host of a URL after its scheme, with placeholders.
fn host(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    match authority.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        Some((inside, _)) => inside,
        None => authority.split(':').next().unwrap_or_default(),
    }
}

fn is_loopback(host: &str) -> bool {
    let v4 = host.starts_with("127.") && host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let host = host.to_ascii_lowercase();
    v4 || matches!(host.as_str(), "::1" | "localhost") || host.ends_with(".localhost")
}

/// True if `earlier` replaces every response that `later` matches.
fn answers(earlier: &Response, later: &Response) -> bool {
    let (earlier, later) = (&earlier.when, &later.when);
    let status = earlier.status.is_none() || earlier.status == later.status;
    let content = match (&earlier.content_type, &later.content_type) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => covers_name(earlier, later),
    };
    status && content
}

fn covers_name(wide: &str, narrow: &str) -> bool {
    covers(FoldedName::of(wide).as_str(), FoldedName::of(narrow).as_str())
}

/// True if the glob `wide` matches everything that `narrow` matches. Only a `*` in `wide` can match a `*` in `narrow`.
fn covers(wide: &str, narrow: &str) -> bool {
    // A byte that occurs in no header and in no glob.
    Glob::new(wide).matches(&narrow.replace('*', "\u{1}"))
}
