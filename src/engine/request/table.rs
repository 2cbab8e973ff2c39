//! The routing table: every client path of every provider in one tree.
//!
//! [`link`] finds conflicts between files. [`Table::find`] is the hot path: it costs the same for one provider and for ten
//! thousand. A table is immutable; a reload makes a new one.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use http::Method;

use super::{cors::Cors, unmatched::Unmatched};
use crate::{
    base::{
        budget::{Budget, Budgets},
        diag::{Code, Diagnostic},
        name::FileName,
    },
    language::{
        bind,
        compile::{self, Captures, Difference, NormalizedPath, Rejected, TokenLocations, Tree},
        fields::DeclaredFields,
        syntax,
    },
};

/// The routing table.
#[derive(Debug)]
pub struct Table {
    tree: Tree<Leaf>,
    /// True if an encoded slash may stand in a capture of some path.
    takes_slashes: bool,
    /// All providers, by name.
    pub providers: Vec<Arc<bind::Provider>>,
    /// The providers whose files are rejected, by name.
    pub rejected: Vec<Rejected>,
    /// The token locations of all files, rejected ones too. None of them is ever sent upstream.
    pub token_locations: TokenLocations,
    /// CORS: the union over all files.
    pub cors: Cors,
    /// The credential fields of all providers, and the origins that each may be sent to.
    pub fields: DeclaredFields,
    /// The prices of models. No decision about a request depends on them.
    pub prices: Arc<compile::Prices>,
    /// The clients that pages show. No decision about a request depends on them.
    pub clients: Arc<compile::Clients>,
    /// The limits of what is used, and the rules for models and endpoints.
    pub limits: Arc<compile::Limits>,
    own: LocationsByPrefix,
    pub(super) unmatched: Unmatched,
}

/// The token locations for each provider's prefix, followed by those of its parent prefixes, longest prefix first.
#[derive(Debug, Default)]
struct LocationsByPrefix {
    by_prefix: BTreeMap<String, TokenLocations>,
    longest: usize,
}

#[derive(Debug)]
struct Leaf {
    method: Method,
    provider: usize,
    endpoint: usize,
    slots: Vec<u8>,
}

/// The endpoint that a request matches, and its captures. It keeps the provider alive, but not the table.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The provider.
    pub provider: Arc<bind::Provider>,
    endpoint: usize,
    /// The endpoint's captures, as ranges of the client's path.
    pub captures: Captures,
}

impl Hit {
    /// The endpoint.
    pub fn endpoint(&self) -> &bind::Endpoint {
        &self.provider.endpoints[self.endpoint]
    }

    /// The credentials section of the provider; empty if it has none.
    pub fn section(&self) -> &str {
        self.provider.section.as_ref().map_or("", |section| section.name.as_str())
    }

    /// The endpoint's index in the provider.
    pub fn index(&self) -> usize {
        self.endpoint
    }

    /// The model in the request's path, decoded; none if the endpoint's paths hold none.
    pub fn captured_model(&self, path: &str) -> Option<String> {
        let (model, index) = self.endpoint().path_model()?;
        Some(model.model(&compile::percent_decode(bind::capture(path, &self.captures, index))))
    }
}

/// The endpoint closest to a request that matches none.
#[derive(Debug)]
pub struct Nearest<'t> {
    /// Its provider.
    pub provider: &'t bind::Provider,
    /// The endpoint.
    pub endpoint: &'t bind::Endpoint,
    /// The client path.
    pub path: &'t compile::ClientPath,
    /// The differences between the request and the endpoint.
    pub differences: Vec<Difference>,
}

/// A conflict between two providers.
#[derive(Debug)]
pub struct Conflict {
    /// The provider to reject, unless [`Conflict::turn`] is used.
    pub loser: FileName,
    /// The other one.
    pub other: FileName,
    /// The diagnostic in the loser's file; its `related` place is in the other file.
    pub diagnostic: Diagnostic,
    /// The diagnostic for the other provider's file, used if the other one loses; none if it is already rejected.
    turned: Option<Diagnostic>,
}

impl Conflict {
    /// The same conflict with the other provider as the loser; none if that one is already rejected.
    pub fn turn(self) -> Option<Self> {
        let diagnostic = self.turned?;
        Some(Self { loser: self.other, other: self.loser, diagnostic, turned: None })
    }
}

/// Conflicts between files: endpoints that clash, where the later provider loses, and credentials sections. A provider
/// that is out of service still owns its section.
///
/// `linked` are providers that serve together already: no two of them conflict, and none of their pairs is compared again.
/// The work of all other pairs is charged to the later one of `changed`, which loses if it exceeds its budget.
pub fn link(
    linked: &[Arc<compile::Provider>],
    changed: &[Arc<compile::Provider>],
    rejected: &[Rejected],
    budgets: &Budgets,
) -> Vec<Conflict> {
    if changed.is_empty() {
        return Vec::new();
    }
    let mut found = clashes(linked, changed, budgets);
    found.extend(sections(linked, changed, rejected, budgets));
    found.extend(paste_tokens(linked.iter().chain(changed)));
    found
}

/// Conflicts of two providers that issue paste tokens at one path.
fn paste_tokens<'p>(providers: impl Iterator<Item = &'p Arc<compile::Provider>>) -> Vec<Conflict> {
    let mut known = BTreeMap::new();
    let mut found = Vec::new();
    for provider in providers {
        let Some(paste) = &provider.paste_token else { continue };
        let other = match known.entry(&*paste.value.path) {
            Entry::Vacant(free) => {
                free.insert((provider, paste));
                continue;
            }
            Entry::Occupied(taken) => *taken.get(),
        };
        let twice = |mine: &compile::Located<syntax::PasteToken>, theirs: &compile::Located<_>, owner| {
            let message = format!("`{owner}` makes its paste tokens at `{}` too", mine.value.path);
            let diagnostic = Diagnostic::new(Code::Clash, mine.at.clone(), message);
            diagnostic.related(theirs.at.clone(), "the other one").help("give each a path of its own")
        };
        found.push(Conflict {
            loser: provider.name.clone(),
            other: other.0.name.clone(),
            diagnostic: twice(paste, other.1, &other.0.name),
            turned: Some(twice(other.1, paste, &provider.name)),
        });
    }
    found
}

/// A path that others are compared with.
struct LinkedPath<'a> {
    provider: &'a compile::Provider,
    method: &'a Method,
    path: &'a compile::ClientPath,
}

/// All client paths of a provider. `compile` found none of them to clash with another one of them.
fn paths_of(provider: &compile::Provider) -> impl Iterator<Item = LinkedPath<'_>> {
    let endpoints = provider.endpoints.iter();
    endpoints.flat_map(move |one| {
        one.paths.iter().map(move |path| LinkedPath { provider, method: &one.method, path })
    })
}

fn clashes(
    linked: &[Arc<compile::Provider>],
    changed: &[Arc<compile::Provider>],
    budgets: &Budgets,
) -> Vec<Conflict> {
    let mut tree: Tree<LinkedPath<'_>> = Tree::default();
    for one in linked.iter().flat_map(|provider| paths_of(provider)) {
        tree.insert(&one.path.pattern, one);
    }
    let mut found = Vec::new();
    for provider in changed {
        let budget = budgets.of(&provider.at.file);
        let mut free = Vec::new();
        for one in paths_of(provider) {
            let mut near = Vec::new();
            if !tree.candidates(&one.path.pattern, &mut near, &budget) {
                break;
            }
            let clash = near
                .into_iter()
                .find(|other| other.method == one.method && one.path.pattern.clashes(&other.path.pattern));
            match clash {
                None => free.push(one),
                Some(other) if budget.keep(CONFLICT_BYTES) => found.push(clash_of(&one, other)),
                Some(_) => break,
            }
        }
        found.extend(over_budget(provider, &budget));
        for one in free {
            tree.insert(&one.path.pattern, one);
        }
    }
    found
}

/// The bytes that are kept of a conflict.
const CONFLICT_BYTES: usize = 2048;

fn clash_of(one: &LinkedPath<'_>, other: &LinkedPath<'_>) -> Conflict {
    let (loser, owner) = (&one.provider.name, &other.provider.name);
    Conflict {
        loser: loser.clone(),
        other: owner.clone(),
        diagnostic: one.path.clash(one.method, other.path, owner),
        turned: Some(other.path.clash(one.method, one.path, loser)),
    }
}

/// A provider whose comparison with all others exceeds its budget.
fn over_budget(provider: &compile::Provider, budget: &Budget) -> Option<Conflict> {
    let diagnostic = budget.finding(&provider.at)?;
    let (loser, other) = (provider.name.clone(), provider.name.clone());
    Some(Conflict { loser, other, diagnostic, turned: None })
}

/// A provider that uses a section, valid or rejected.
struct SectionUser<'a> {
    name: &'a FileName,
    shared_with: &'a [FileName],
    /// The section, if the provider is valid.
    section: Option<&'a compile::Section>,
    /// The budget of a provider that changed.
    budget: Option<Arc<Budget>>,
}

impl SectionUser<'_> {
    fn knows(&self, other: &Self) -> bool {
        self.shared_with.contains(other.name)
    }
}

/// The most providers that one file's missing `shared_with` is reported for.
const MAX_STRANGERS_REPORTED: usize = 3;

/// Providers may share a section only if each lists all the others in `shared_with`. A provider that another one does
/// not list is rejected, regardless of order and of `base_url` (gateway or egress may lead to other hosts). Among
/// providers that agree, equal declarations of a field merge; if they differ, the later provider loses.
fn sections(
    linked: &[Arc<compile::Provider>],
    changed: &[Arc<compile::Provider>],
    rejected: &[Rejected],
    budgets: &Budgets,
) -> Vec<Conflict> {
    let mut users: BTreeMap<&str, Vec<SectionUser<'_>>> = BTreeMap::new();
    let linked = linked.iter().map(|provider| (provider, None));
    let changed = changed.iter().map(|provider| (provider, Some(budgets.of(&provider.at.file))));
    for (provider, budget) in linked.chain(changed) {
        let Some(section) = &provider.section else { continue };
        let (name, shared_with) = (&provider.name, &section.shared_with);
        let user = SectionUser { name, shared_with, section: Some(section), budget };
        users.entry(&section.name).or_default().push(user);
    }
    for one in rejected {
        let Some(sharing) = &one.sharing else { continue };
        let user =
            SectionUser { name: &one.name, shared_with: &sharing.shared_with, section: None, budget: None };
        users.entry(&sharing.section).or_default().push(user);
    }
    let mut found = Vec::new();
    for users in users.values().filter(|users| users.iter().any(|user| user.budget.is_some())) {
        for (index, user) in users.iter().enumerate() {
            user.conflicts(index, users, &mut found);
        }
    }
    found
}

impl SectionUser<'_> {
    /// The conflicts of a user with all others, and with those before it about the declarations of fields.
    fn conflicts(&self, index: usize, users: &[SectionUser<'_>], found: &mut Vec<Conflict>) {
        let Some(section) = self.section else { return };
        let work = users.len() * (1 + self.shared_with.len());
        if self.budget.as_ref().is_some_and(|budget| !budget.work(work)) {
            let diagnostic = self.budget.as_ref().and_then(|budget| budget.finding(&section.at));
            let (loser, other) = (self.name.clone(), self.name.clone());
            found.extend(diagnostic.map(|diagnostic| Conflict { loser, other, diagnostic, turned: None }));
            return;
        }
        let concerns = |other: &&SectionUser<'_>| self.budget.is_some() || other.budget.is_some();
        let others = users.iter().filter(|other| other.name != self.name).filter(concerns);
        let strangers = others.filter(|other| !other.knows(self)).take(MAX_STRANGERS_REPORTED);
        found.extend(strangers.map(|other| Conflict {
            loser: self.name.clone(),
            other: other.name.clone(),
            diagnostic: not_agreed(self.name, section, other),
            turned: other.section.map(|theirs| not_named(self.name, section, theirs)),
        }));
        let agreed = users[..index].iter().filter(concerns);
        let agreed = agreed.filter(|other| other.knows(self) && self.knows(other));
        for (other, known) in agreed.filter_map(|other| Some((other, other.section?))) {
            found.extend(fields_differ(section, known).map(|(mine, theirs)| Conflict {
                loser: self.name.clone(),
                other: other.name.clone(),
                diagnostic: differently(&section.name, mine, theirs),
                turned: Some(differently(&section.name, theirs, mine)),
            }));
        }
    }
}

fn not_agreed(name: &FileName, section: &compile::Section, other: &SectionUser<'_>) -> Diagnostic {
    let (theirs, section_name) = (other.name, &section.name);
    let message = format!(
        "`{theirs}` uses the section `{section_name}` too, and does not name `{name}` in `shared_with`"
    );
    let help = format!(
        "a key stored there would go to both: name `{name}` in `{theirs}`'s `shared_with`, or use another section"
    );
    let mut diagnostic = Diagnostic::new(Code::Section, section.at.clone(), message).help(help);
    if let Some(known) = other.section {
        diagnostic = diagnostic.related(known.at.clone(), "the other one");
    }
    diagnostic
}

fn not_named(name: &FileName, section: &compile::Section, theirs: &compile::Section) -> Diagnostic {
    let message =
        format!("`{name}` uses the section `{}` too, and is not named in `shared_with`", section.name);
    let help = format!(
        "a key stored there would go to both: name `{name}` in `shared_with`, or use another section"
    );
    let diagnostic = Diagnostic::new(Code::Section, theirs.at.clone(), message).help(help);
    diagnostic.related(section.at.clone(), "the other one")
}

type Declared = compile::Located<syntax::Field>;

/// The fields that both sections declare differently.
fn fields_differ<'s>(
    section: &'s compile::Section,
    known: &'s compile::Section,
) -> impl Iterator<Item = (&'s Declared, &'s Declared)> {
    let both = section.fields.iter().filter_map(|field| {
        let other = known.fields.iter().find(|other| other.value.name == field.value.name)?;
        Some((field, other))
    });
    both.filter(|(field, other)| field.value != other.value)
}

fn differently(section: &str, mine: &Declared, theirs: &Declared) -> Diagnostic {
    let message = format!("field `{}` of section `{section}` is declared differently", mine.value.name);
    let diagnostic = Diagnostic::new(Code::Section, mine.at.clone(), message);
    diagnostic.related(theirs.at.clone(), "the other declaration")
}

impl Table {
    /// The table of providers without conflicts (see [`link`]). `compiled`: the same, for CORS.
    pub fn new(
        providers: Vec<Arc<bind::Provider>>,
        rejected: Vec<Rejected>,
        compiled: &[&compile::Provider],
    ) -> Self {
        let (mut tree, mut takes_slashes) = (Tree::default(), false);
        for (index, provider) in providers.iter().enumerate() {
            for (at, endpoint) in provider.endpoints.iter().enumerate() {
                for path in &*endpoint.paths {
                    let method = endpoint.method.clone();
                    takes_slashes |= path.pattern.takes_slashes();
                    tree.insert(
                        &path.pattern,
                        Leaf { method, provider: index, endpoint: at, slots: path.slots.clone() },
                    );
                }
            }
        }
        let callers = providers.iter().map(|one| &one.caller);
        let token_locations = union(callers.chain(rejected.iter().map(|one| &one.caller)));
        let (own, unmatched) = (LocationsByPrefix::new(&providers), Unmatched::new(&providers));
        let fields = DeclaredFields::of(providers.iter().map(Arc::as_ref));
        let cors = Cors::of(compiled.iter().copied());
        let (prices, clients, limits) = (Arc::default(), Arc::default(), Arc::default());
        Self {
            tree,
            takes_slashes,
            providers,
            rejected,
            token_locations,
            cors,
            fields,
            prices,
            clients,
            limits,
            own,
            unmatched,
        }
    }

    /// The same table with these prices.
    #[must_use]
    pub fn with_prices(self, prices: Arc<compile::Prices>) -> Self {
        Self { prices, ..self }
    }

    /// The same table with these clients.
    #[must_use]
    pub fn with_clients(self, clients: Arc<compile::Clients>) -> Self {
        Self { clients, ..self }
    }

    /// The same table with these limits.
    #[must_use]
    pub fn with_limits(self, limits: Arc<compile::Limits>) -> Self {
        Self { limits, ..self }
    }

    /// The provider that issues paste tokens at a path. Linear in the providers: never called for a proxied request.
    pub fn pasting_at(&self, path: &str) -> Option<&Arc<bind::Provider>> {
        self.providers
            .iter()
            .find(|one| one.paste_token.as_ref().is_some_and(|paste| paste.spec.path == path))
    }

    /// The endpoint for a method and a path. None for a path that is not canonical, apart from encoded slashes in captures
    /// that take them.
    pub fn find_canonical(&self, method: &Method, path: &str) -> Option<Hit> {
        if is_canonical(path) {
            return self.find(method, path);
        }
        let found = (self.takes_slashes && is_canonical_with_slashes(path))
            .then(|| self.tree.find_with_slashes(path, |leaf| (leaf.method == *method).then_some(leaf)));
        found.flatten().map(|(leaf, found)| self.hit(leaf, &found))
    }

    /// The endpoint for a method and a canonical path.
    pub fn find(&self, method: &Method, path: &str) -> Option<Hit> {
        let (leaf, found) = self.tree.find(path, |leaf| (leaf.method == *method).then_some(leaf))?;
        Some(self.hit(leaf, &found))
    }

    /// An endpoint at a canonical path, whatever its method.
    pub(super) fn find_with_any_method(&self, path: &str) -> Option<Hit> {
        let (leaf, found) = is_canonical(path).then(|| self.tree.find(path, Some))??;
        Some(self.hit(leaf, &found))
    }

    fn hit(&self, leaf: &Leaf, found: &Captures) -> Hit {
        let mut captures = Captures::default();
        for (index, slot) in leaf.slots.iter().enumerate() {
            captures[usize::from(*slot)] = found[index];
        }
        Hit { provider: self.providers[leaf.provider].clone(), endpoint: leaf.endpoint, captures }
    }

    /// The endpoint that is closest to a request without one, if any is close. Linear in the endpoints: for `explain`,
    /// never called for a request.
    pub fn nearest(&self, method: &Method, path: &str) -> Option<Nearest<'_>> {
        let plain = NormalizedPath::new(path)?;
        let endpoints =
            self.providers.iter().flat_map(|one| one.endpoints.iter().map(move |endpoint| (one, endpoint)));
        let paths = endpoints
            .flat_map(|(one, endpoint)| endpoint.paths.iter().map(move |path| (one, endpoint, path)));
        let near = paths.filter_map(|(provider, endpoint, path)| {
            let same = endpoint.method == *method;
            Some((path.pattern.distance(&plain)?, same, provider, endpoint, path))
        });
        let (_, same, provider, endpoint, path) = near.min_by_key(|(cost, same, ..)| (*cost, !same))?;
        let method = (!same).then_some(Difference::Method).into_iter();
        let differences = method.chain(path.pattern.differences(&plain)).collect();
        Some(Nearest { provider, endpoint, path, differences })
    }

    /// The rejected provider whose path prefix covers a path.
    pub fn rejected_at(&self, path: &str) -> Option<&Rejected> {
        let below = |prefix: &str| is_below(path, prefix);
        self.rejected.iter().find(|one| one.prefixes.iter().any(|prefix| below(prefix)))
    }

    /// The token locations for a path: those of all providers whose prefix covers it, longest prefix first.
    pub fn token_locations_at(&self, path: &str) -> Option<&TokenLocations> {
        self.own.by_prefix.get(self.own.above(path).next()?)
    }
}

impl LocationsByPrefix {
    fn new(providers: &[Arc<bind::Provider>]) -> Self {
        let mut own = Self::default();
        for provider in providers {
            if provider.caller.is_empty() {
                continue;
            }
            for prefix in [&provider.prefix].into_iter().chain(&provider.prefixes) {
                own.longest = own.longest.max(prefix.len());
                own.by_prefix.entry(prefix.clone()).or_default().extend(&provider.caller);
            }
        }
        let with_those_above = own.by_prefix.keys().map(|prefix| {
            let all = [prefix.as_str()].into_iter().chain(own.above(prefix));
            let all = all.filter_map(|one| own.by_prefix.get(one));
            let mut token_locations = TokenLocations::default();
            all.for_each(|one| token_locations.extend(one));
            (prefix.clone(), token_locations)
        });
        Self { by_prefix: with_those_above.collect(), longest: own.longest }
    }

    /// The known prefixes that a path lies below, longest first.
    fn above<'p>(&self, path: &'p str) -> impl Iterator<Item = &'p str> {
        let fronts = path.rmatch_indices('/').map(|(slash, _)| &path[..slash]);
        fronts.filter(|front| front.len() <= self.longest && self.by_prefix.contains_key(*front))
    }
}

fn union<'c>(all: impl Iterator<Item = &'c TokenLocations>) -> TokenLocations {
    let mut union = TokenLocations::default();
    all.for_each(|one| union.extend(one));
    union.headers.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    union.headers.dedup();
    union.query.sort();
    union.query.dedup();
    union.subprotocol.sort();
    union.subprotocol.dedup();
    union.schemes.sort();
    union.schemes.dedup();
    union
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
}

/// True if every parser reads the path alike: no dot segments, no empty segments inside, no encoded separators.
pub fn is_canonical(path: &str) -> bool {
    let Some(inner) = path.strip_prefix('/') else { return false };
    if path.contains("//") || path.bytes().any(|b| b <= b' ' || b == b'\\' || b == 0x7f) {
        return false;
    }
    !path.contains('%') && !path.contains("/.")
        || inner.split('/').all(|segment| !compile::is_dots(segment) && good_escapes(segment))
}

/// True if a path is canonical but for encoded slashes. The captures that take them are checked by the tree.
fn is_canonical_with_slashes(path: &str) -> bool {
    let Some(inner) = path.strip_prefix('/') else { return false };
    let is_plain = |b: u8| b > b' ' && b != b'\\' && b != 0x7f;
    let good = |piece: &str| !compile::is_dots(piece) && good_escapes(piece);
    !path.contains("//")
        && path.bytes().all(is_plain)
        && inner.split('/').all(|segment| compile::between_slashes(segment).all(good))
}

/// True if every `%` begins an escape, and none encodes a separator or NUL.
fn good_escapes(segment: &str) -> bool {
    segment.split('%').skip(1).all(|escape| {
        let Some(hex) = escape.as_bytes().get(..2) else { return false };
        let value = std::str::from_utf8(hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        hex.iter().all(u8::is_ascii_hexdigit) && !matches!(value, None | Some(0 | b'/' | b'\\'))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::language::{compile::Files, syntax};

    /// A table of the files `(name, text)`, whose providers all have the endpoint `GET /one`.
    fn table(files: &[(&str, &str)]) -> Table {
        let mut all = Files::default();
        for (name, text) in files {
            let head = "title = \"X\"\nbase_url = \"https://x.example\"\n";
            let text = format!("{head}endpoint.one = {{ method = \"GET\", path = \"/one\" }}\n{text}");
            let (parsed, _) = syntax::parse(&(*name).into(), &text);
            all.providers.insert(FileName::new(name).unwrap(), parsed);
        }
        let compiled = compile::compile(&all);
        let bound = compiled.providers.iter().map(|one| Arc::new(bind::bind(one, |_, _, _| None).0.unwrap()));
        Table::new(bound.collect(), compiled.rejected, &[])
    }

    #[test]
    fn all_prefixes_above_a_path_say_where_a_token_may_be() {
        let table = table(&[
            ("a", "path_prefix = \"/p\"\ncaller = { query = [\"a\"] }"),
            ("b", "path_prefix = \"/p/b\"\ncaller = { headers = [\"x-b\"], query = [\"b\"] }"),
            ("c", "path_prefix = \"/p/b\"\ncaller = { query = [\"c\"] }"),
            ("d", "path_prefix = \"/p/d\""),
            ("e", "path_prefix = \"/e\"\npath_prefixes = [\"/p/e\"]\ncaller = { query = [\"e\"] }"),
        ]);
        let check = |path: &str, expected: &[&str]| {
            let found = table.token_locations_at(path);
            let names = found.into_iter().flat_map(|one| {
                one.headers.iter().map(HeaderName::as_str).chain(one.query.iter().map(String::as_str))
            });
            assert_eq!(names.collect::<Vec<_>>(), expected, "{path}");
        };
        check("/p/one", &["a"]);
        check("/p/b/one", &["x-b", "b", "c", "a"]);
        check("/p/b/c/d/", &["x-b", "b", "c", "a"]);
        check("/p/b", &["a"]);
        check("/p/d/one", &["a"]);
        check("/e/one", &["e"]);
        check("/p/e/one", &["e", "a"]);
        for path in ["/", "/p", "/pp/one", "/x/p/one", "", "*"] {
            check(path, &[]);
        }
    }

    #[test]
    fn paste_tokens_have_a_path_each() {
        let text = |prefix: &str, path: &str| {
            format!(
                "title = \"X\"\nbase_url = \"https://x.example\"\npath_prefix = \"/{prefix}\"\n\
                 endpoint.one = {{ method = \"GET\", path = \"/one\" }}\n\
                 credentials = {{ field = [{{ name = \"o\", kind = \"oauth2\", token_url = \"https://a.example/t\", client_id = \"c\" }}] }}\n\
                 paste_token = {{ path = \"/auth/{path}\", reply = \"t\", missing = \"m\", claims = {{}} }}"
            )
        };
        let mut all = Files::default();
        for (name, path) in [("a", "one"), ("b", "two"), ("c", "one")] {
            all.providers
                .insert(FileName::new(name).unwrap(), syntax::parse(&name.into(), &text(name, path)).0);
        }
        let compiled = compile::compile(&all);
        let found = link(&[], &compiled.providers, &[], &Budgets::default());
        let found =
            found.iter().map(|one| (one.loser.as_str(), &*one.diagnostic.message)).collect::<Vec<_>>();
        assert_eq!(found, [("c", "`a` makes its paste tokens at `/auth/one` too")]);
        let bound = compiled.providers.iter().map(|one| Arc::new(bind::bind(one, |_, _, _| None).0.unwrap()));
        let table = Table::new(bound.collect(), Vec::new(), &[]);
        let at = |path| table.pasting_at(path).map(|provider| provider.name.as_str());
        assert_eq!([at("/auth/one"), at("/auth/two"), at("/auth/three")], [Some("a"), Some("b"), None]);
    }

    #[test]
    fn rejected_files_still_say_where_tokens_are() {
        let check = |text: &str, headers: &[&str], query: &[&str]| {
            let table = table(&[("a", "path_prefix = \"/a\"\ncaller.query = [\"q\"]"), ("b", text)]);
            assert!(table.rejected.len() == 1 && table.token_locations_at("/b/one").is_none(), "{text}");
            let found: Vec<_> = table.token_locations.headers.iter().map(HeaderName::as_str).collect();
            assert_eq!(
                (found, &table.token_locations.query[..]),
                (headers.to_vec(), &strings(query)[..]),
                "{text}"
            );
        };
        let caller =
            "path_prefix = \"/b\"\ncaller = { headers = [\"X-B\", \"x y\", \"host\"], query = [\"k\", 1] }";
        check(caller, &["x-b"], &["k", "q"]);
        check(&format!("{caller}\nx ="), &["x-b"], &["k", "q"]);
        let compiles_not = caller.replace(", \"x y\", \"host\"", "").replace(", 1", "");
        check(&format!("{compiles_not}\nprobe.endpoint = \"two\""), &["x-b"], &["k", "q"]);
        check("path_prefix = \"/b\"\ncaller = 1", &[], &["q"]);
    }

    #[test]
    fn the_nearest_endpoint() {
        let paths = "endpoint.chat = { method = \"POST\", path = \"/v1/chat/completions\" }\n\
            endpoint.item = { method = \"GET\", path = \"/v1/items/{id}\" }\n\
            endpoint.files = { method = \"GET\", path = \"/v1/files/{rest...}\" }";
        let table = table(&[
            ("a", &format!("path_prefix = \"/a\"\n{paths}")),
            ("bee", &format!("path_prefix = \"/bee\"\n{paths}")),
        ]);
        let check = |method: &str, path: &str, expected: &str| {
            let found = table.nearest(&method.parse().unwrap(), path);
            let found = found.map(|one| format!("{} {:?}", one.path.text, one.differences));
            assert_eq!(found.unwrap_or_default(), expected, "{method} {path}");
        };
        check("GET", "/a/v1/chat/completions", "/a/v1/chat/completions [Method]");
        check("POST", "/a/v1/chat/completions/", "/a/v1/chat/completions [TrailingSlash]");
        check("POST", "/a/V1/chat/completions", "/a/v1/chat/completions [Case(2)]");
        check("POST", "/a/v1/ch%61t/completions", "/a/v1/chat/completions [Encoding(3)]");
        check("POST", "/a%2Fv1/chat/completions", "/a/v1/chat/completions [Encoding(0)]");
        check("POST", "/a//v1/chat/completions", "/a/v1/chat/completions [DoubleSlash]");
        check("POST", "/a/x/../v1/chat/completions", "/a/v1/chat/completions [Dots]");
        check("POST", "/a/v2/chat/completions", "/a/v1/chat/completions [Segment(2)]");
        check("POST", "/be/v1/chat/completions", "/bee/v1/chat/completions [Segment(1)]");
        check("POST", "/a/chat/completions", "/a/v1/chat/completions [Missing(2)]");
        check("POST", "/a/v1/v1/chat/completions", "/a/v1/chat/completions [Extra(3)]");
        check("GET", "/a/v1/items", "/a/v1/items/{id} [Missing(4)]");
        check("GET", "/a/v1/items/", "/a/v1/items/{id} [TrailingSlash, Missing(4)]");
        check("GET", "/a/v1/files", "/a/v1/files/{rest...} [Missing(4)]");
        check("GET", "/a/v1/file/x/y", "/a/v1/files/{rest...} [Segment(3)]");
        check("DELETE", "/a/v1/items/7", "/a/v1/items/{id} [Method]");
        check("GET", "/nothing/like/this/at/all", "");
        check("GET", "/", "");
        check("GET", &"/x".repeat(5000), "");
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn only_canonical_paths_have_endpoints() {
        let table =
            table(&[("a", "path_prefix = \"/a\"\nendpoint.any = { method = \"GET\", path = \"/{x...}\" }")]);
        let check = |path: &str, expected: Option<&str>| {
            let found = table.find_canonical(&Method::GET, path);
            assert_eq!(found.as_ref().map(|hit| &*hit.endpoint().name), expected, "{path}");
        };
        check("/a/one", Some("one"));
        check("/a/two", Some("any"));
        check("/a/../two", None);
        check("/a//two", None);
        check("/b/one", None);
    }

    #[test]
    fn encoded_slashes_have_endpoints_where_a_capture_takes_them() {
        let table = table(&[(
            "a",
            "path_prefix = \"/a\"\n\
             endpoint.model = { method = \"GET\", path = \"/m/{model}/invoke\", encoded_slash = [\"model\"] }\n\
             endpoint.tag = { method = \"GET\", path = \"/m/{model}:v/invoke\" }",
        )]);
        let check = |path: &str, expected: Option<(&str, &str)>| {
            let found = table.find_canonical(&Method::GET, path);
            let found =
                found.map(|hit| (hit.endpoint().name.to_string(), bind::capture(path, &hit.captures, 0)));
            let found = found.as_ref().map(|(name, capture)| (name.as_str(), *capture));
            assert_eq!(found, expected, "{path}");
        };
        check("/a/m/arn:x%2Fy/invoke", Some(("model", "arn:x%2Fy")));
        check("/a/m/x%2fy%2Fz/invoke", Some(("model", "x%2fy%2Fz")));
        check("/a/m/x%20y%2Fz/invoke", Some(("model", "x%20y%2Fz")));
        check("/a/m/x%2Fy:v/invoke", Some(("model", "x%2Fy:v")));
        check("/a/m/x:v/invoke", Some(("tag", "x")));
        for bad in [
            "/a/m/x/invoke%2F",
            "/a/m%2Fx/invoke",
            "/a%2Fm/x/invoke",
            "/a/m/..%2Fx/invoke",
            "/a/m/x%2F%2E%2e/invoke",
            "/a/m/%2Fx/invoke",
            "/a/m/x%2F/invoke",
            "/a/m/x%2F%2Fy/invoke",
            "/a/m/x%2Fy%5Cz/invoke",
            "/a/m/x%2Fy%00/invoke",
            "/a/m/x%2Fy%/invoke",
            "/a/m/x%252e%252e%2Fy/invoke",
            "/a/m/x%2Fy/../invoke",
            "/a/m/x%2Fy//invoke",
            "/a/m/x%2Fy%2/invoke",
            "/a/m/x%2Fy\\/invoke",
            "/a/m/..;%2Fy/invoke",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn canonical_paths() {
        let check = |path: &str, good: bool| assert_eq!(is_canonical(path), good, "{path}");
        for good in
            ["/", "/a", "/a/", "/a/b%20c", "/a/.b", "/a/b..", "/a/...", "/a:b", "/%6b", "/a;..", "/a;b/.c;d"]
        {
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
            "/..;x",
            "/a/.;/b",
            "/a/%2e.;a=b;c/d",
            "/a/..%3Bx",
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
