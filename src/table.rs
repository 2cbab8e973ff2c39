//! The table that requests are looked up in: every client path of every provider in one tree. `link` sees
//! what no file can see alone; `find` is on every request's way and costs the same for one provider and for
//! ten thousand. Immutable once made: a reload makes a new one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use http::{HeaderName, HeaderValue, Method};

use crate::{
    bind,
    compile::{self, Captures, Carriers, Rejected, Relation, Tree},
    diag::{Code, Diagnostic},
    name::FileName,
    origin::Origin,
};

/// What requests are looked up in.
#[derive(Debug)]
pub struct Table {
    tree: Tree<Leaf>,
    /// All providers, by name.
    pub providers: Vec<Arc<bind::Provider>>,
    /// The providers that are out because of their files, by name.
    pub rejected: Vec<Rejected>,
    /// Where any client may put its token: the union over all files. None of it ever goes upstream.
    pub carriers: Carriers,
    /// `Access-Control-Allow-Headers`: the union over all files.
    pub cors_headers: HeaderValue,
    /// The providers with carriers of their own.
    carrying: Prefixes,
    /// The rejected ones.
    out: Prefixes,
}

/// Indexes by the prefix of client paths.
#[derive(Debug, Default)]
struct Prefixes {
    indexes: HashMap<Box<str>, usize>,
    longest: usize,
}

#[derive(Debug)]
struct Leaf {
    method: Method,
    provider: usize,
    endpoint: usize,
    slots: Vec<u8>,
}

/// An endpoint that a request may use. Holds its provider to the end of the stream, not the table.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The provider.
    pub provider: Arc<bind::Provider>,
    endpoint: usize,
    /// Where the endpoint's captures stand in the client's path.
    pub captures: Captures,
}

impl Hit {
    /// The endpoint.
    pub fn endpoint(&self) -> &bind::Endpoint {
        &self.provider.endpoints[self.endpoint]
    }
}

/// A finding about two files, and the provider that loses by it: the later one.
pub type Conflict = (FileName, Diagnostic);

/// What files say about each other: endpoints that clash, credentials sections that differ.
pub fn link(providers: &[Arc<compile::Provider>]) -> Vec<Conflict> {
    let mut found = clashes(providers);
    found.extend(sections(providers));
    found
}

fn clashes(providers: &[Arc<compile::Provider>]) -> Vec<Conflict> {
    type Known<'a> = (&'a compile::Provider, &'a Method, &'a compile::ClientPath);
    let mut tree: Tree<Known<'_>> = Tree::default();
    let mut found = Vec::new();
    let endpoints =
        providers.iter().flat_map(|provider| provider.endpoints.iter().map(move |one| (provider, one)));
    for (provider, endpoint) in endpoints {
        for path in &endpoint.paths {
            let mut near = Vec::new();
            tree.near(&path.pattern, &mut near);
            let clash = near.into_iter().find(|(_, method, other)| {
                **method == endpoint.method
                    && matches!(path.pattern.relation(&other.pattern), Relation::Equal | Relation::Overlap)
            });
            match clash {
                None => tree.insert(&path.pattern, (provider, &endpoint.method, path)),
                Some((owner, method, other)) => {
                    let (mine, theirs) = (&path.text, &other.text);
                    let message = format!(
                        "`{method} {mine}` and `{theirs}` of `{}` can match the same request",
                        owner.name
                    );
                    let diagnostic = Diagnostic::new(Code::Clash, path.at.clone(), message);
                    let help = "change one of the paths, or its `path_prefix`";
                    let diagnostic = diagnostic.related(other.at.clone(), "the other one").help(help);
                    found.push((provider.name.clone(), diagnostic));
                }
            }
        }
    }
    found
}

/// Equal declarations of a field merge; differing ones are an error. A stored key goes only where its owner
/// knows of: files that share a section and lead to different hosts name each other.
fn sections(providers: &[Arc<compile::Provider>]) -> Vec<Conflict> {
    let mut found = Vec::new();
    let mut by_name: BTreeMap<&str, Vec<(&compile::Provider, &compile::Section)>> = BTreeMap::new();
    for provider in providers {
        let Some(section) = &provider.section else { continue };
        let others = by_name.entry(&section.name).or_default();
        for (other, known) in others.iter() {
            let name = &provider.name;
            found.extend(fields_differ(section, known).into_iter().map(|one| (name.clone(), one)));
            let agreed =
                section.shared_with.contains(&other.name) && known.shared_with.contains(&provider.name);
            if !agreed && !same_origin(provider, other) {
                let message =
                    format!("`{}` and `{}` share the section `{}`", other.name, provider.name, section.name);
                let help =
                    "a key stored there would go to both hosts: name the other in `shared_with` in each file";
                let diagnostic = Diagnostic::new(Code::Section, section.at.clone(), message);
                found.push((name.clone(), diagnostic.related(known.at.clone(), "the other one").help(help)));
            }
        }
        others.push((provider, section));
    }
    found
}

fn fields_differ(section: &compile::Section, known: &compile::Section) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for field in &section.fields {
        let other = known.fields.iter().find(|other| other.value.name == field.value.name);
        if let Some(other) = other.filter(|other| other.value != field.value) {
            let message =
                format!("field `{}` of section `{}` is declared differently", field.value.name, section.name);
            let diagnostic = Diagnostic::new(Code::Section, field.at.clone(), message);
            found.push(diagnostic.related(other.at.clone(), "the other declaration"));
        }
    }
    found
}

fn same_origin(a: &compile::Provider, b: &compile::Provider) -> bool {
    let origin = |provider: &compile::Provider| {
        provider.base_url.value.as_text().and_then(|text| Origin::split(text).ok()).map(|(origin, _)| origin)
    };
    matches!((origin(a), origin(b)), (Some(a), Some(b)) if a == b)
}

impl Table {
    /// The table of providers that `link` finds nothing wrong with.
    pub fn new(providers: Vec<Arc<bind::Provider>>, rejected: Vec<Rejected>, cors: &[HeaderName]) -> Self {
        let mut tree = Tree::default();
        let mut carriers = Carriers::default();
        for (index, provider) in providers.iter().enumerate() {
            carriers.headers.extend(provider.caller.headers.iter().cloned());
            carriers.query.extend(provider.caller.query.iter().cloned());
            for (at, endpoint) in provider.endpoints.iter().enumerate() {
                for path in &endpoint.paths {
                    let method = endpoint.method.clone();
                    tree.insert(
                        &path.pattern,
                        Leaf { method, provider: index, endpoint: at, slots: path.slots.clone() },
                    );
                }
            }
        }
        carriers.headers.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        carriers.headers.dedup();
        carriers.query.sort();
        carriers.query.dedup();
        let own = |one: &bind::Provider| !one.caller.headers.is_empty() || !one.caller.query.is_empty();
        let carrying = Prefixes::new(providers.iter().map(|one| own(one).then_some(one.prefix.as_str())));
        let out = Prefixes::new(rejected.iter().map(|one| one.prefix.as_deref()));
        Self { tree, providers, rejected, carriers, cors_headers: allow_headers(cors), carrying, out }
    }

    /// The endpoint for a method and a canonical path.
    pub fn find(&self, method: &Method, path: &str) -> Option<Hit> {
        let (leaf, found) = self.tree.find(path, |leaf| (leaf.method == *method).then_some(leaf))?;
        let mut captures = Captures::default();
        for (index, slot) in leaf.slots.iter().enumerate() {
            captures[usize::from(*slot)] = found[index];
        }
        Some(Hit { provider: self.providers[leaf.provider].clone(), endpoint: leaf.endpoint, captures })
    }

    /// The rejected provider below whose prefix a path lies.
    pub fn rejected_at(&self, path: &str) -> Option<&FileName> {
        self.out.above(path).map(|index| &self.rejected[index].name)
    }

    /// Where a client may put its token on a path: what the provider below whose prefix it lies says.
    pub fn carriers_at(&self, path: &str) -> Option<&Carriers> {
        self.carrying.above(path).map(|index| &self.providers[index].caller)
    }
}

impl Prefixes {
    /// The prefixes, where there are any, in the order of their indexes. Of equal ones the first counts.
    fn new<'a>(prefixes: impl Iterator<Item = Option<&'a str>>) -> Self {
        let mut made = Self::default();
        for (index, prefix) in prefixes.enumerate() {
            let Some(prefix) = prefix else { continue };
            made.longest = made.longest.max(prefix.len());
            made.indexes.entry(prefix.into()).or_insert(index);
        }
        made
    }

    /// The index of the longest prefix that the path lies below. No path makes it look further than the
    /// longest prefix is.
    fn above(&self, path: &str) -> Option<usize> {
        let ends = path.match_indices('/').map(|(end, _)| end).take_while(|end| *end <= self.longest);
        ends.filter_map(|end| self.indexes.get(&path[..end]).copied()).last()
    }
}

/// `Content-Type, Authorization, x-api-key` and what the files ask for.
fn allow_headers(cors: &[HeaderName]) -> HeaderValue {
    let mut names: Vec<&str> = cors.iter().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let common = ["Content-Type", "Authorization", "x-api-key"];
    let fresh = names.into_iter().filter(|name| !common.iter().any(|known| known.eq_ignore_ascii_case(name)));
    let all: Vec<&str> = common.into_iter().chain(fresh).collect();
    HeaderValue::from_str(&all.join(", ")).expect("header names are header values")
}

/// Whether a path has one reading only: no dot segments, no empty ones inside, nothing encoded that another
/// parser would take for a separator.
pub fn is_canonical(path: &str) -> bool {
    let Some(inner) = path.strip_prefix('/') else { return false };
    if path.contains("//") || path.bytes().any(|b| b <= b' ' || b == b'\\' || b == 0x7f) {
        return false;
    }
    !path.contains('%') && !path.contains("/.")
        || inner.split('/').all(|segment| !is_dots(segment) && good_escapes(segment))
}

/// `.` and `..`, encoded or not.
fn is_dots(segment: &str) -> bool {
    let plain = segment.replace("%2e", ".").replace("%2E", ".");
    matches!(plain.as_str(), "." | "..")
}

/// Every `%` begins an escape, and none stands for a separator or NUL.
fn good_escapes(segment: &str) -> bool {
    segment.split('%').skip(1).all(|escape| {
        let Some(hex) = escape.as_bytes().get(..2) else { return false };
        let value = std::str::from_utf8(hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        hex.iter().all(u8::is_ascii_hexdigit) && !matches!(value, None | Some(0 | b'/' | b'\\'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_above_a_path() {
        let prefixes = [Some("/a"), None, Some("/a/b"), Some("/a"), Some("/c/d/e")];
        let prefixes = Prefixes::new(prefixes.into_iter());
        let check = |path: &str, expected: Option<usize>| assert_eq!(prefixes.above(path), expected, "{path}");
        check("/a/x", Some(0));
        check("/a/", Some(0));
        check("/a/b/x", Some(2));
        check("/a/bc/x", Some(0));
        check("/c/d/e/x", Some(4));
        for none in ["", "/", "/a", "/ab/x", "/c/d", "/c/d/e", "/c/d/ex/", "/x/a/b/c", "//a/b"] {
            check(none, None);
        }
        assert_eq!(Prefixes::default().above("/a/b"), None);
    }

    #[test]
    fn canonical_paths() {
        let check = |path: &str, good: bool| assert_eq!(is_canonical(path), good, "{path}");
        for good in ["/", "/a", "/a/", "/a/b%20c", "/a/.b", "/a/b..", "/a/...", "/a:b", "/%6b"] {
            check(good, true);
        }
        for bad in [
            "",
            "a",
            "*",
            "//",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/%2e",
            "/a/%2E%2e/b",
            "/.%2e",
            "/a%2Fb",
            "/a%2fb",
            "/a%5Cb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a b",
            "/a\u{7f}",
            "/a%+2",
        ] {
            check(bad, false);
        }
    }
}
