//! Requests that no endpoint serves: the wire format of their errors, and the endpoint that was probably meant.
//!
//! It guarantees: the format takes a few look-ups. The search for an endpoint takes an amount of work that is bounded for
//! any number of providers and any path; only authenticated callers cause it. Neither decides about a request.
//!
//! Read next: `table`, which finds endpoints; `compile/api.rs` for `known_by`.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, Method, request::Parts};

use super::table::{Hit, Table};
use crate::{
    base::{own_paths, suggest},
    language::{
        bind::{Endpoint, Provider},
        compile::{Api, NormalizedPath},
    },
};

/// The longest path, in bytes, that is compared with anything. Those of endpoints are shorter.
const MAX_PATH: usize = 256;
/// The most segments of a path that is compared with those of endpoints: the work grows with their number.
const MAX_SEGMENTS: usize = 24;
/// The most work of all comparisons for one request, in pairs of letters: below 0.1 ms.
const MAX_WORK: usize = 30_000;
/// The most paths of endpoints below one prefix that one path is compared with.
const MAX_COMPARED: usize = 512;
/// The most repetitions in a path that are left out, one by one.
const MAX_DOUBLES: usize = 8;
/// The most prefixes that are put before a path, or compared with its beginning.
const MAX_PREFIXES: usize = 1024;
/// The most segments at the beginning of a path that are taken for a prefix.
const MAX_PREFIX_SEGMENTS: usize = 4;

/// What is known of paths without an endpoint.
#[derive(Debug, Default)]
pub(super) struct Unmatched {
    /// The providers below each prefix, by index.
    by_prefix: BTreeMap<String, Vec<usize>>,
    longest: usize,
    /// The wire formats of each provider.
    formats: Vec<Formats>,
    /// The wire formats of all providers that requests are known by, by name.
    known: Vec<Arc<Api>>,
}

/// The wire formats of a provider.
#[derive(Debug)]
struct Formats {
    /// That of most endpoints.
    usual: Option<Arc<Api>>,
    /// Those that requests are known by.
    known: Vec<Arc<Api>>,
}

impl Unmatched {
    pub(super) fn new(providers: &[Arc<Provider>]) -> Self {
        let mut made = Self::default();
        let mut known = BTreeMap::new();
        for (index, provider) in providers.iter().enumerate() {
            for prefix in [&provider.prefix].into_iter().chain(&provider.prefixes) {
                made.longest = made.longest.max(prefix.len());
                let below = made.by_prefix.entry(prefix.clone()).or_default();
                if !below.contains(&index) {
                    below.push(index);
                }
            }
            let formats = Formats::of(provider);
            for api in &formats.known {
                known.entry(api.name.clone()).or_insert_with(|| api.clone());
            }
            made.formats.push(formats);
        }
        made.known = known.into_values().collect();
        made
    }

    /// The providers of the longest prefix that a path lies below.
    fn below(&self, path: &str) -> &[usize] {
        let fronts = path.rmatch_indices('/').map(|(slash, _)| &path[..slash]);
        let mut known = fronts.filter(|front| front.len() <= self.longest);
        known.find_map(|front| self.by_prefix.get(front)).map_or(&[], Vec::as_slice)
    }
}

impl Formats {
    fn of(provider: &Provider) -> Self {
        let mut counts: Vec<(usize, &Arc<Api>)> = Vec::new();
        for api in provider.endpoints.iter().filter_map(|endpoint| endpoint.api.as_ref()) {
            match counts.iter_mut().find(|(_, known)| known.name == api.name) {
                Some((count, _)) => *count += 1,
                None => counts.push((1, api)),
            }
        }
        let known = counts.iter().map(|(_, api)| *api).filter(|api| api.is_known_by_something());
        let known = known.cloned().collect();
        // The last of the greatest is taken: of two formats with as many endpoints, that is the first.
        let usual = counts.iter().rev().max_by_key(|(count, _)| *count).map(|(_, api)| Arc::clone(api));
        Self { usual, known }
    }
}

/// The first format that a request is known by: its path counts before its headers.
fn known<'a>(
    apis: &(impl Iterator<Item = &'a Arc<Api>> + Clone),
    path: &str,
    headers: &HeaderMap,
) -> Option<&'a Arc<Api>> {
    let by_path = || (path.len() <= MAX_PATH).then(|| apis.clone().find(|api| api.is_known_by_path(path)));
    by_path().flatten().or_else(|| apis.clone().find(|api| api.is_known_by_headers(headers)))
}

impl Table {
    /// The vendor of a key, by its beginning: the title of the provider with the longest one that fits. None if two vendors
    /// have the same.
    pub fn vendor_of_key(&self, key: &str) -> Option<&str> {
        let all = self.providers.iter().map(|one| &one.shown);
        let all = all.flat_map(|shown| shown.key_prefixes.iter().map(move |prefix| (prefix, &*shown.title)));
        let fitting = all.filter(|(prefix, _)| key.starts_with(prefix.as_str()));
        let longest = fitting.clone().map(|(prefix, _)| prefix.len()).max()?;
        let mut titles = fitting.filter(|(prefix, _)| prefix.len() == longest).map(|(_, title)| title);
        let title = titles.next()?;
        titles.all(|other| other == title).then_some(title)
    }

    /// The wire format of tollgate's own error for a request: that of its endpoint, with another method if need be; else, below the
    /// prefix of a provider, one of that provider's, chosen by what the request is known by; elsewhere, the one that the
    /// request is known by. None for tollgate's own paths, and where nothing is known.
    pub fn error_format(&self, head: &Parts) -> Option<Arc<Api>> {
        let path = head.uri.path();
        if own_paths::find(path).is_some() {
            return None;
        }
        let api = |hit: Hit| hit.endpoint().api.clone();
        let of_endpoint = self.find_canonical(&head.method, path).and_then(api);
        if let Some(api) = of_endpoint.or_else(|| self.find_with_any_method(path).and_then(api)) {
            return Some(api);
        }
        let Unmatched { formats, known: all, .. } = &self.unmatched;
        let below = self.unmatched.below(path).iter().filter_map(|index| formats.get(*index));
        let own = known(&below.clone().flat_map(|formats| &formats.known), path, &head.headers)
            .or_else(|| below.clone().find_map(|formats| formats.usual.as_ref()));
        own.or_else(|| known(&all.iter(), path, &head.headers)).cloned()
    }

    /// The endpoint that a request without one was probably meant for, among those that `reaches` accepts: its method, and
    /// a client path.
    pub fn meant(
        &self,
        method: &Method,
        path: &str,
        reaches: impl Fn(&Provider, &Endpoint) -> bool + Copy,
    ) -> Option<(Method, String)> {
        if path.len() > MAX_PATH || path.matches('/').count() > MAX_SEGMENTS {
            return None;
        }
        let mut search = Search { table: self, method, work: MAX_WORK, reaches };
        let without_double = search.without_double(path);
        if without_double.is_some() {
            return without_double;
        }
        if !self.unmatched.below(path).is_empty() {
            return search.near(path);
        }
        search
            .without_front(path)
            .or_else(|| search.without_prefix(path))
            .or_else(|| fronts(path).find_map(|front| search.near(&path[front.len()..])))
            .or_else(|| search.with_misspelt_prefix(path))
    }
}

/// What a path may begin with instead of a prefix, the shortest first.
fn fronts(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(slash, _)| &path[..slash]).skip(1).take(MAX_PREFIX_SEGMENTS)
}

/// The search for the endpoint that a request was meant for. The path of an endpoint counts before its method.
struct Search<'t, R> {
    table: &'t Table,
    method: &'t Method,
    /// What is left for comparisons.
    work: usize,
    reaches: R,
}

impl<R: Fn(&Provider, &Endpoint) -> bool> Search<'_, R> {
    /// An endpoint that serves exactly this path, with the request's method before others.
    fn served(&self, path: &str) -> Option<(Method, String)> {
        let hits = [self.table.find_canonical(self.method, path), self.table.find_with_any_method(path)];
        let mut reached =
            hits.into_iter().flatten().filter(|hit| (self.reaches)(&hit.provider, hit.endpoint()));
        reached.next().map(|hit| (hit.endpoint().method.clone(), path.to_owned()))
    }

    /// The endpoint of a path in which one segment, or several in a row, came twice.
    fn without_double(&self, path: &str) -> Option<(Method, String)> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let lengths = 1..=MAX_PREFIX_SEGMENTS.min(segments.len() / 2);
        let doubles =
            lengths.flat_map(|length| (0..=segments.len() - 2 * length).map(move |at| (at, length)));
        let mut doubles = doubles.filter(|(at, length)| {
            let (first, second) = (*at..at + length, at + length..at + 2 * length);
            segments[first] == segments[second]
        });
        doubles.by_ref().take(MAX_DOUBLES).find_map(|(at, length)| {
            let left = [&segments[..at], &segments[at + length..]].concat();
            self.served(&format!("/{}", left.join("/")))
        })
    }

    /// The endpoint of a path with too many segments at its begin, as where a client adds a prefix of its own.
    fn without_front(&self, path: &str) -> Option<(Method, String)> {
        fronts(path).find_map(|front| {
            let rest = &path[front.len()..];
            self.served(rest).or_else(|| self.without_double(rest))
        })
    }

    /// The endpoint whose prefix the client left out. Of several, the one with the shortest path.
    fn without_prefix(&self, path: &str) -> Option<(Method, String)> {
        let prefixes = self.table.unmatched.by_prefix.keys().take(MAX_PREFIXES);
        let whole = prefixes.map(|prefix| format!("{prefix}{path}"));
        let served = whole.filter(|whole| {
            let hit = self.table.find_canonical(self.method, whole);
            hit.is_some_and(|hit| (self.reaches)(&hit.provider, hit.endpoint()))
        });
        served.min_by_key(String::len).map(|path| (self.method.clone(), path))
    }

    /// The nearest endpoint of the providers of a path's prefix.
    fn near(&mut self, path: &str) -> Option<(Method, String)> {
        let Self { table, method, work, reaches } = self;
        let below = table.unmatched.below(path);
        let plain = NormalizedPath::new(path).filter(|_| !below.is_empty())?;
        let providers = below.iter().filter_map(|index| table.providers.get(*index));
        let endpoints = providers.flat_map(|one| one.endpoints.iter().map(move |endpoint| (one, endpoint)));
        let endpoints = endpoints.filter(|(one, endpoint)| reaches(one, endpoint));
        let paths =
            endpoints.flat_map(|(_, endpoint)| endpoint.paths.iter().map(move |path| (endpoint, path)));
        let near = paths.take(MAX_COMPARED).filter_map(|(endpoint, path)| {
            let cost = path.pattern.distance_within(&plain, work)?;
            Some(((cost, endpoint.method != **method), endpoint, path))
        });
        let (_, endpoint, path) = near.min_by_key(|(cost, ..)| *cost)?;
        Some((endpoint.method.clone(), path.text.clone()))
    }

    /// The nearest endpoint below the prefix that a path begins like, or with the end of.
    fn with_misspelt_prefix(&mut self, path: &str) -> Option<(Method, String)> {
        let segments = |text: &str| text.matches('/').count();
        let table = self.table;
        fronts(path).find_map(|front| {
            let all = table.unmatched.by_prefix.keys().map(String::as_str).take(MAX_PREFIXES);
            // A misspelt prefix has nearly as many letters.
            let alike = all.clone().filter(|prefix| {
                prefix.len().abs_diff(front.len()) <= 2 && segments(prefix) == segments(front)
            });
            let prefix = all.clone().find(|prefix| prefix.ends_with(front));
            let prefix = prefix.or_else(|| suggest::misspelt(front, alike))?;
            self.near(&format!("{prefix}{}", &path[front.len()..]))
        })
    }
}
