//! The audit log: a list, and a search by actor, action, target, address and time, as JSON or CSV.
//!
//! Read next: `store::AuditQuery`, which finds the entries.

use std::collections::BTreeMap;

use http::StatusCode;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Admin, ApiResult, Request, Response,
    operations::{Parameter, ParameterKind},
    page::{Page, invalid_query},
    payloads::ById,
    store_fault,
    usage::{
        Format, Parameters, csv,
        parameters::{FORMAT, text, unknown},
        read_fault,
    },
};
use crate::{
    clock::{now_ms, utc},
    fault::Fault,
    name::{AdminTokenId, Owner, TokenId, UserId},
    store::{self, AuditActor, AuditFilter, AuditOrder, AuditQuery},
    suggest::backticked,
};

pub use crate::accounts::ACTIONS as AUDIT_ACTIONS;

/// The largest page as JSON.
const MAX_ENTRIES: u64 = 1000;
/// The largest page as CSV.
const MAX_LINES: u64 = 50_000;
/// What stands between a user and the user's token in an actor.
const TOKEN: &str = " token ";
/// The columns of CSV.
const COLUMNS: [&str; 11] = [
    "seq",
    "at",
    "at_ms",
    "actor",
    "actor_name",
    "source",
    "action",
    "target",
    "target_name",
    "detail",
    "hash",
];

/// The parameters besides those of pages.
pub(super) static PARAMETERS: &[Parameter] = &[
    text(
        "actor",
        "Only entries of this actor: the id or the name of a user, the id of a token or an admin token, `uid 1000`, or `tollgate`",
    ),
    Parameter {
        name: "action",
        description: "Only entries with this action",
        kind: ParameterKind::Word(AUDIT_ACTIONS),
    },
    text(
        "target",
        "Only entries with this target: the id or the name of a user, the id of an admin token, or an owner of credentials (`everybody`, `group:NAME`)",
    ),
    text("source", "Only entries from this address; `local` for those from the machine itself"),
    text(
        "since",
        "Only entries since then: an age (`7d`, `24h`, `4w`), a day (`2026-11-01`, UTC), or RFC 3339",
    ),
    text("until", "Only entries before then, in the same forms; a day is included"),
    Parameter {
        name: "order",
        description: "The order of the list, and of its pages; `oldest` first if left out",
        kind: ParameterKind::Word(&["oldest", "newest"]),
    },
    FORMAT,
];

/// An entry of the audit log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// The time.
    pub at: String,
    /// The same in milliseconds since 1970, the form that is hashed.
    pub at_ms: u64,
    /// The actor: a kind and an id, such as `user usr_…`.
    pub actor: String,
    /// The actor's address, or `local`.
    pub source: String,
    /// The action, such as `user.create`.
    pub action: String,
    /// The target: the id of a user or a token, or an owner of credentials.
    pub target: String,
    /// Details. Never a secret.
    pub detail: Value,
    /// SHA-256, in hex, over the hash of the entry before and all of the above.
    pub hash: String,
    /// Name of the actor now, if it is a user who still exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_name: Option<String>,
    /// Name of the target now, if it is a user who still exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_name: Option<String>,
}

impl AuditEntry {
    /// The id of the user who is the actor.
    pub fn actor_id(&self) -> Option<&str> {
        user_of(&self.actor)
    }
}

impl Admin {
    pub(super) async fn list_audit(&self, request: &Request) -> ApiResult {
        let parameters = Parameters::of_list(request, PARAMETERS)?;
        let (page, format) = (Page::of(request)?, parameters.format()?);
        let max = match format {
            Format::Json => MAX_ENTRIES,
            Format::Csv => MAX_LINES,
        };
        let query = AuditQuery {
            filter: self.audit_filter(&parameters).await?,
            order: order(&parameters)?,
            after: page.after.as_deref().map(number).transpose()?,
            limit: page.limit.map_or(max, |limit| limit.min(max)),
        };
        let found = self.store.search_audit(&query).await.map_err(read_fault)?;
        let last = found.entries.last().filter(|_| found.more);
        let link = last.map(|last| link(&request.path, request.query.as_deref(), query.limit, last.seq));
        let users = found.entries.iter().flat_map(|one| [user_of(&one.actor), Some(&*one.target)]);
        let mut users: Vec<_> = users.flatten().map(str::to_owned).collect();
        users.sort_unstable();
        users.dedup();
        let names = self.store.user_names(users).await.map_err(store_fault)?;
        let entries = found.entries.into_iter();
        Ok(match format {
            Format::Json => {
                let entries = entries.map(|entry| (entry.seq.to_string(), listed(entry, &names)));
                Response { link, ..Response::json(StatusCode::OK, &ById(entries.collect())) }
            }
            Format::Csv => Response { link, ..Response::csv(lines(entries, &names)) },
        })
    }

    async fn audit_filter(&self, parameters: &Parameters<'_>) -> Result<AuditFilter, Fault> {
        let now_ms = now_ms();
        let (since_ms, until_ms) = parameters.range(&TimeZone::UTC, now_ms)?;
        match (since_ms, until_ms) {
            (Some(since), Some(until)) if until < since => {
                return Err(invalid_query("?until=: it is before `since`"));
            }
            (Some(since), None) if now_ms < since => {
                return Err(invalid_query("?since=: it is in the future: give an earlier time"));
            }
            _ => {}
        }
        let action = parameters.value("action");
        if let Some(action) = action.as_deref().filter(|action| !AUDIT_ACTIONS.contains(action)) {
            return Err(unknown("action", "action", action, AUDIT_ACTIONS.iter().copied()));
        }
        let actor = match parameters.value("actor") {
            Some(text) => Some(self.audit_actor(text).await?),
            None => None,
        };
        let target = match parameters.value("target") {
            Some(text) => Some(self.audit_target(text).await?),
            None => None,
        };
        let source = parameters.value("source");
        Ok(AuditFilter { actor, action, target, source, since_ms, until_ms })
    }

    async fn audit_actor(&self, text: String) -> Result<AuditActor, Fault> {
        if let Some(actor) = actor(&text) {
            return Ok(actor);
        }
        match self.user_of_name("actor", &text).await? {
            Some(id) => Ok(AuditActor::Any(format!("user {id}"))),
            None => Err(invalid_query(
                "?actor=: no user has this name: give the id of a user, a token or an admin token, `uid 1000`, or `tollgate`",
            )),
        }
    }

    /// A target is any text, since commands name files. The name of a user stands for the id.
    async fn audit_target(&self, text: String) -> Result<String, Fault> {
        // Each user is an owner, too.
        if Owner::parse(&text).is_some() || AdminTokenId::new(&text).is_some() {
            return Ok(text);
        }
        Ok(self.user_of_name("target", &text).await?.unwrap_or(text))
    }

    async fn user_of_name(&self, parameter: &str, name: &str) -> Result<Option<String>, Fault> {
        match self.store.find_users(name).await.map_err(store_fault)?.as_slice() {
            [] => self.removed_user_of_name(parameter, name).await,
            [user] => Ok(Some(user.id.to_string())),
            _ => Err(invalid_query(format!("?{parameter}=: several users have this name: give an id"))),
        }
    }

    /// The id of a user who is gone, by a name that entries recorded.
    async fn removed_user_of_name(&self, parameter: &str, name: &str) -> Result<Option<String>, Fault> {
        let mut ids = self.store.audited_users(name).await.map_err(read_fault)?;
        if ids.len() > 1 {
            let ids = backticked(&ids);
            let problem = format!("?{parameter}=: several users had this name: give an id, such as {ids}");
            return Err(invalid_query(problem));
        }
        Ok(ids.pop())
    }
}

/// The actor that a text stands for, if it is not the name of a user.
fn actor(text: &str) -> Option<AuditActor> {
    let token = text.split_once(TOKEN).map_or(text, |(_, token)| token);
    if TokenId::new(token).is_some() {
        return Some(AuditActor::Token(token.to_owned()));
    }
    let kind = match text {
        _ if UserId::new(text).is_some() => "user ",
        _ if AdminTokenId::new(text).is_some() => "admin ",
        "tollgate" => "",
        _ => {
            let (kind, id) = text.split_once(' ')?;
            let is_actor = match kind {
                "user" => UserId::new(id).is_some(),
                "admin" => AdminTokenId::new(id).is_some(),
                "uid" => id.parse::<u32>().is_ok(),
                _ => false,
            };
            is_actor.then_some("")?
        }
    };
    Some(AuditActor::Any(format!("{kind}{text}")))
}

fn order(parameters: &Parameters<'_>) -> Result<AuditOrder, Fault> {
    match parameters.value("order").as_deref() {
        None | Some("oldest") => Ok(AuditOrder::OldestFirst),
        Some("newest") => Ok(AuditOrder::NewestFirst),
        Some(_) => Err(invalid_query("?order=: it is written `oldest` or `newest`")),
    }
}

fn number(text: &str) -> Result<u64, Fault> {
    text.parse().map_err(|_| {
        invalid_query("?after=: the number of an entry is written in digits, as in `?after=100`")
    })
}

/// The link to the next page, with the same filters.
fn link(path: &str, query: Option<&str>, limit: u64, last: u64) -> String {
    let given = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &limit.to_string()).append_pair("after", &last.to_string());
    query.extend_pairs(given.filter(|(name, _)| name != "limit" && name != "after"));
    format!("<{path}?{}>; rel=\"next\"", query.finish())
}

/// The id of the user who is an actor.
fn user_of(actor: &str) -> Option<&str> {
    actor.strip_prefix("user ")?.split(' ').next()
}

fn listed(entry: store::AuditEntry, names: &BTreeMap<String, String>) -> AuditEntry {
    AuditEntry {
        actor_name: user_of(&entry.actor).and_then(|id| names.get(id)).cloned(),
        target_name: names.get(&entry.target).cloned(),
        at: utc(entry.at_ms),
        at_ms: entry.at_ms,
        actor: entry.actor,
        source: entry.source,
        action: entry.action,
        target: entry.target,
        detail: serde_json::from_str(&entry.detail).unwrap_or_default(),
        hash: entry.hash,
    }
}

/// Entries as CSV. The details are the text that is hashed.
fn lines(entries: impl Iterator<Item = store::AuditEntry>, names: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    csv::line(&mut text, COLUMNS.map(str::to_owned));
    for entry in entries {
        let name = |id: Option<&str>| id.and_then(|id| names.get(id)).cloned().unwrap_or_default();
        let (actor_name, target_name) = (name(user_of(&entry.actor)), name(Some(&entry.target)));
        let store::AuditEntry { seq, at_ms, actor, source, action, target, detail, hash } = entry;
        let (seq, at, at_ms) = (seq.to_string(), utc(at_ms), at_ms.to_string());
        let cells = [seq, at, at_ms, actor, actor_name, source, action, target, target_name, detail, hash];
        csv::line(&mut text, cells);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_an_id_with_or_without_its_kind() {
        let any = |text: &str| Some(AuditActor::Any(text.to_owned()));
        let token = |text: &str| Some(AuditActor::Token(text.to_owned()));
        let (user, own, admin) = ("usr_0123456789abcdef", "tok_0123456789abcdef", "adm_0123456789abcdef");
        let check = |text: &str, expected| assert_eq!(actor(text), expected, "{text}");
        check(user, any("user usr_0123456789abcdef"));
        check("user usr_0123456789abcdef", any("user usr_0123456789abcdef"));
        check(own, token(own));
        check(&format!("user {user} token {own}"), token(own));
        check(admin, any("admin adm_0123456789abcdef"));
        check("admin adm_0123456789abcdef", any("admin adm_0123456789abcdef"));
        check("uid 1000", any("uid 1000"));
        check("tollgate", any("tollgate"));
        for name in ["ada", "uid x", "user ada", "usr_1", "admin", "", "uid 1000 token x"] {
            check(name, None);
        }
    }

    #[test]
    fn the_next_page_has_the_same_filters() {
        let check = |query: Option<&str>, expected: &str| {
            assert_eq!(link("/admin/audit", query, 3, 5), format!("</admin/audit?{expected}>; rel=\"next\""));
        };
        check(None, "limit=3&after=5");
        check(Some("after=2&limit=3"), "limit=3&after=5");
        check(
            Some("actor=uid%201000&limit=9999&order=newest"),
            "limit=3&after=5&actor=uid+1000&order=newest",
        );
    }
}
