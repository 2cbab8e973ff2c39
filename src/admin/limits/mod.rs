//! Operations on limits: the state of their amounts, of all users for admins and of the caller for users, and grants.
//!
//! The counters are those of the running server; a command without one reads the store. A user sees the amounts that the
//! caller's requests take from, and of those only what other users do not reveal: no models that others in a group called, no
//! tokens and providers beyond the scopes of the calling token.
//!
//! Read next: `document` for the form, `viewed` for what a user sees, `grants` for changes.

mod document;
mod grants;
mod viewed;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use http::StatusCode;

pub use self::document::{
    AllowRule, EndedGrants, GrantOfLimit, LimitBalance, LimitCounters, LimitGrantDocument, LimitKey,
    LimitScope, LimitsReport, NewLimitGrant,
};
use self::viewed::Viewed;
use super::{
    Admin, ApiResult, ProviderFiles, Request, Response,
    operations::{Parameter, ParameterKind},
    page::{Page, invalid_query},
    store_fault,
    usage::Parameters,
};
use crate::{
    call_limits::terms::Balance,
    clock::{now_ms, utc},
    compile::Limit,
    fault::Fault,
    limits::{self, LimitReport, LimitStates, ReportPage, share},
    name::{LimitId, UserId},
    store::LimitGrant,
    syntax::Per,
};

/// The amounts of a page at most, and without `?limit=`.
const MAX_AMOUNTS: u64 = 1000;
/// Between the id of a limit and a key in the place of a page.
const SEPARATOR: char = '~';

const ID: Parameter =
    Parameter { name: "id", description: "Only the limit with this id", kind: ParameterKind::Text };
const NEAR: Parameter = Parameter {
    name: "near",
    description: "Only amounts of which at least this share is used or reserved, such as `0.8`",
    kind: ParameterKind::Text,
};
const USER: Parameter = Parameter {
    name: "user",
    description: "Only the amounts that requests of the user with this id or name take from",
    kind: ParameterKind::Text,
};
/// The parameters for admins.
pub(super) static ALL: &[Parameter] = &[ID, NEAR, USER];
/// Those for users.
pub(super) static OWN: &[Parameter] = &[ID, NEAR];

/// The amounts that are asked for.
struct Asked {
    page: Page,
    id: Option<String>,
    near: Option<f64>,
    /// The place that the page begins after: a limit and a key.
    after: Option<(String, String)>,
    now_ms: u64,
}

/// An amount of a limit.
struct Row {
    limit: Arc<Limit>,
    key: Arc<str>,
    parts: Vec<(Per, String)>,
    amount: i128,
    balance: Balance,
}

/// What decides about the amounts of users.
struct Users {
    /// Users whose amounts may differ from those of others, and their names.
    names: BTreeMap<UserId, String>,
    /// The users of tokens that matter, by the token's id.
    tokens: BTreeMap<String, UserId>,
}

impl Admin {
    /// The amounts of all limits, or those of one user.
    pub(super) async fn limits(&self, request: &Request) -> ApiResult {
        let parameters = Parameters::of_list(request, ALL)?;
        let viewed = match parameters.value(USER.name) {
            Some(user) => Some(self.viewed_user(&user).await?),
            None => None,
        };
        self.limits_report(request, &parameters, viewed).await
    }

    /// The amounts that the caller's requests take from.
    pub(super) async fn my_limits(&self, request: &Request) -> ApiResult {
        let parameters = Parameters::of_list(request, OWN)?;
        let viewed = self.viewed_caller(request.caller()?, request).await?;
        self.limits_report(request, &parameters, Some(viewed)).await
    }

    async fn limits_report(
        &self,
        request: &Request,
        parameters: &Parameters<'_>,
        viewed: Option<Viewed>,
    ) -> ApiResult {
        let asked = Asked::of(request, parameters)?;
        let (states, counters) = self.limit_states().await?;
        let limits = &request.table.limits;
        if let Some(id) = asked.id.as_deref().filter(|id| limits.get(id).is_none()) {
            let ids = limits.all().iter().map(|limit| limit.id.as_str());
            return Err(invalid_query(format!("?id=: no limit has this id; {}", hint(id, ids))));
        }
        let wanted: Vec<&Arc<Limit>> = limits.all().iter().filter(|limit| asked.wants(limit)).collect();
        let users = self.users_of(&wanted, viewed.as_ref(), &states, asked.now_ms).await?;
        let mut rows = rows(&wanted, &states, &asked, viewed.as_ref(), &users);
        let link = asked
            .page
            .cut(&mut rows)
            .map(|last| asked.page.link(request, &format!("{}{SEPARATOR}{}", last.limit.id, last.key)));
        let names = self.names_of(&rows).await?;
        let balance = |row: &Row| document::balance(row, &names, &states, asked.now_ms);
        let report = LimitsReport {
            at: utc(asked.now_ms),
            counters,
            limits: rows.iter().map(balance).collect(),
            rules: viewed.as_ref().map(|viewed| viewed.rules(limits)),
        };
        Ok(Response { link, ..Response::json(StatusCode::OK, &report) })
    }

    /// The counters, and where they come from.
    async fn limit_states(&self) -> Result<(LimitStates, LimitCounters), Fault> {
        Ok(match &self.files {
            ProviderFiles::Live(files) => (files.limits.clone(), LimitCounters::Live),
            ProviderFiles::Loaded(_) => {
                (limits::stored(&self.store).await.map_err(store_fault)?, LimitCounters::Stored)
            }
        })
    }

    /// The users whose amounts differ from those of others, with the tokens that have an amount of their own.
    async fn users_of(
        &self,
        limits: &[&Arc<Limit>],
        viewed: Option<&Viewed>,
        states: &LimitStates,
        now_ms: u64,
    ) -> Result<Users, Fault> {
        if let Some(Viewed { id, name, tokens, .. }) = viewed {
            let tokens = tokens.iter().map(|token| (token.clone(), id.clone())).collect();
            return Ok(Users { names: BTreeMap::from([(id.clone(), name.clone())]), tokens });
        }
        let names: BTreeSet<String> =
            limits.iter().flat_map(|limit| limit.except.keys()).map(|name| (**name).to_owned()).collect();
        let names: Vec<String> = names.into_iter().collect();
        let names = self.store.users_named(&names).await.map_err(store_fault)?;
        let granted = states.grants().all(now_ms).into_iter().map(|grant| grant.user.to_string());
        let ids: Vec<String> = names.keys().map(UserId::to_string).chain(granted).collect();
        let by_token = limits.iter().any(|limit| limit.per.contains(&Per::Token));
        let tokens = if by_token && !ids.is_empty() {
            self.store.token_users(&[], &ids).await.map_err(store_fault)?
        } else {
            BTreeMap::new()
        };
        Ok(Users { names, tokens })
    }

    /// The users of some amounts, and their names.
    async fn names_of(&self, rows: &[Row]) -> Result<document::Names, Fault> {
        let part = |per: Per| {
            let parts = rows.iter().flat_map(|row| &row.parts).filter(move |(one, _)| *one == per);
            parts.map(|(_, text)| text.clone()).collect::<Vec<_>>()
        };
        let tokens = match part(Per::Token) {
            none if none.is_empty() => BTreeMap::new(),
            tokens => self.store.token_users(&tokens, &[]).await.map_err(store_fault)?,
        };
        let users = part(Per::User).into_iter().chain(tokens.values().map(UserId::to_string)).collect();
        let users = self.store.user_names(users).await.map_err(store_fault)?;
        Ok(document::Names { tokens, users })
    }
}

impl Asked {
    fn of(request: &Request, parameters: &Parameters<'_>) -> Result<Self, Fault> {
        let page = Page::of(request)?.within(MAX_AMOUNTS);
        let form = || invalid_query("?after=: no such amount exists: start again without it");
        let after = page.after.as_deref().map(|after| after.split_once(SEPARATOR).ok_or_else(form));
        let after = after.transpose()?.map(|(limit, key)| (limit.to_owned(), key.to_owned()));
        let near = parameters.value(NEAR.name).map(|text| near(&text)).transpose()?;
        Ok(Self { id: parameters.value(ID.name), near, after, page, now_ms: now_ms() })
    }

    /// True if amounts of a limit may be on the page.
    fn wants(&self, limit: &Limit) -> bool {
        let is_later = self.after.as_ref().is_none_or(|(id, _)| limit.id.as_str() >= id.as_str());
        is_later && self.id.as_ref().is_none_or(|id| limit.id.as_str() == id)
    }

    /// The key that amounts of a limit have to come after.
    fn after_key(&self, limit: &Limit) -> Option<&str> {
        let (id, key) = self.after.as_ref()?;
        (limit.id.as_str() == id).then_some(key)
    }

    /// True if so much of an amount is taken.
    fn is_near(&self, balance: &Balance, amount: i128) -> bool {
        self.near.is_none_or(|near| share(balance, amount) >= near)
    }
}

fn near(text: &str) -> Result<f64, Fault> {
    let share = text.parse().ok().filter(|share: &f64| share.is_finite() && (0.0..=1.0).contains(share));
    share.ok_or_else(|| invalid_query("?near=: it is a share of the amount from 0 to 1, such as `0.8`"))
}

/// A hint for an unknown id.
fn hint<'i>(id: &str, known: impl Iterator<Item = &'i str>) -> String {
    super::pointer::hint(id, &known.take(20).collect::<Vec<_>>())
}

/// The amounts of a page, and one more if another page follows.
fn rows(
    all: &[&Arc<Limit>],
    states: &LimitStates,
    asked: &Asked,
    viewed: Option<&Viewed>,
    users: &Users,
) -> Vec<Row> {
    let wanted = asked.page.read_limit().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let mut found: Vec<Row> = Vec::new();
    for limit in all.iter().filter(|limit| viewed.is_none_or(|viewed| viewed.is_in(limit))) {
        let max = wanted.saturating_sub(found.len());
        if max == 0 {
            break;
        }
        let amount = |parts: &[(Per, String)]| {
            if viewed.is_some_and(|viewed| !viewed.has(parts)) {
                return None;
            }
            let of = users.user(parts);
            let name = of.as_ref().and_then(|user| users.names.get(user));
            let amount = name.map_or(Some(limit.amount), |name| limit.amount_of(name))?;
            let extra = of.map_or(0, |user| states.grants().extra(&limit.id, &user, asked.now_ms));
            Some(amount.saturating_add(extra))
        };
        if let Some(key) = own_key(limit, viewed) {
            let key: Arc<str> = key.into();
            let Some(amount) = amount(&limits::key_parts(limit, &key)) else { continue };
            let LimitReport { parts, balance } = states.report(limit, &key, amount, asked.now_ms);
            let is_later = asked.after_key(limit).is_none_or(|after| &*key > after);
            if is_later && asked.is_near(&balance, amount) {
                found.push(Row { limit: Arc::clone(limit), key, parts, amount, balance });
            }
            continue;
        }
        let page = ReportPage { after: asked.after_key(limit), max, now_ms: asked.now_ms };
        let report = |LimitReport { parts, balance }, amount: i128| {
            asked.is_near(&balance, amount).then_some((parts, amount, balance))
        };
        let page = states.page(limit, page, amount, report);
        found.extend(page.into_iter().map(|(key, (parts, amount, balance))| Row {
            limit: Arc::clone(limit),
            key,
            parts,
            amount,
            balance,
        }));
    }
    found
}

/// The key of the one amount of a limit that requests of a user take from, or of the one that there is.
fn own_key(limit: &Limit, viewed: Option<&Viewed>) -> Option<String> {
    let part = |per: &Per| match (per, viewed) {
        (Per::All, _) => Some(String::new()),
        (Per::User, Some(viewed)) => Some(viewed.id.to_string()),
        (Per::Group, Some(viewed)) => {
            Some(viewed.group.as_ref().map_or_else(String::new, ToString::to_string))
        }
        (Per::User | Per::Group | Per::Token | Per::Provider | Per::Model, _) => None,
    };
    let parts: Option<Vec<String>> = limit.per.iter().map(part).collect();
    parts.map(|parts| parts.join(" "))
}

impl Users {
    /// The user whose amount it is, if it is one user's, and is known.
    fn user(&self, parts: &[(Per, String)]) -> Option<UserId> {
        let of = |per: Per| parts.iter().find(|(one, _)| *one == per).map(|(_, text)| text.as_str());
        match of(Per::User) {
            Some(id) => UserId::new(id),
            None => self.tokens.get(of(Per::Token)?).cloned(),
        }
    }
}

/// The grants of a user for a limit.
fn grants_of(states: &LimitStates, limit: &LimitId, user: &UserId, now_ms: u64) -> Vec<LimitGrant> {
    let all = states.grants().of_user(user, now_ms);
    all.into_iter().filter(|grant| grant.limit == *limit).collect()
}
