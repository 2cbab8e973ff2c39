//! Operations that list users and groups: filtered, ordered, in pages that stay as they are while users come and go.

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Admin, ApiResult, Request, Response,
    operations::{Parameter, ParameterKind},
    page::{Page, invalid_query},
    payloads::ById,
    store_fault,
    usage::Parameters,
    users::{self, user_not_found},
};
use crate::{
    clock::{now_ms, utc},
    fault::Fault,
    name::{GroupName, UserId},
    store::{self, SortKey, UserCount, UserFilter, UserOrder, UserPage},
};

const SEARCH: Parameter = Parameter {
    name: "search",
    description: "Only users whose name, id or group contains this text, in upper or lower case",
    kind: ParameterKind::Text,
};
const GROUP: Parameter =
    Parameter { name: "group", description: "Only users in this group", kind: ParameterKind::Text };
/// The orders of users, by the words of the parameter.
const ORDERS: [(&str, UserOrder); 3] =
    [("created", UserOrder::Created), ("name", UserOrder::Name), ("last_used", UserOrder::LastUsed)];
const ORDER: Parameter = Parameter {
    name: "order",
    description: "`created` for the oldest first, which is the default; `name`; or `last_used` for the last used first",
    kind: ParameterKind::Word(&["created", "name", "last_used"]),
};
/// The parameters of a list of users.
pub(super) static USERS: &[Parameter] = &[SEARCH, GROUP, ORDER];
/// Those of a number of users.
pub(super) static FILTERS: &[Parameter] = &[SEARCH, GROUP];
/// The groups of a page at most, and without `?limit=`.
const MAX_GROUPS: u64 = 100;
/// Between the id and the value of a place in a list.
const SEPARATOR: char = '~';

/// A user with what belongs to the user.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedUser {
    /// The display name.
    pub name: String,
    /// A note of the user's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The user's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The creation time.
    pub created_at: String,
    /// The time since which the user is disabled; absent if the user is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<String>,
    /// The time of the newest use of any token or session of the user, to about a minute. A token that was revoked does not
    /// count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// Valid tokens, paste tokens included, sessions not.
    pub valid_tokens: u64,
    /// The user's own stored credentials, each by section and field, such as `providers.demo.apiKey`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stored: Vec<String>,
}

/// The number of users.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserNumbers {
    /// All that the filters leave.
    pub users: u64,
    /// Those of them that are disabled.
    pub disabled: u64,
}

/// A group.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// The users who are in it.
    pub users: u64,
    /// Its stored credentials, each by section and field, such as `providers.demo.apiKey`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stored: Vec<String>,
}

impl Admin {
    pub(super) async fn list_users(&self, request: &Request) -> ApiResult {
        let parameters = Parameters::of_list(request, USERS)?;
        let (filter, order) = (filter(&parameters)?, order(&parameters)?);
        let page = Page::of(request)?;
        let after = match &page.after {
            None => None,
            Some(text) => Some(self.place(text, order).await?),
        };
        let (limit, now_ms) = (page.read_limit(), now_ms());
        let asked = UserPage { filter, order, after, limit, now_ms };
        let mut found = self.store.listed_users(&asked).await.map_err(store_fault)?;
        let next = page.cut(&mut found).map(|last| place_of(last, order));
        let link = next.map(|next| page.link(request, &next));
        let list = ById(found.iter().map(|one| (one.user.id.to_string(), listed(one))).collect());
        Ok(Response { link, ..Response::json(StatusCode::OK, &list) })
    }

    pub(super) async fn count_users(&self, request: &Request) -> ApiResult {
        let filter = filter(&Parameters::of(request, FILTERS)?)?;
        let UserCount { users, disabled } = self.store.count_users(&filter).await.map_err(store_fault)?;
        Ok(Response::json(StatusCode::OK, &UserNumbers { users, disabled }))
    }

    pub(super) async fn get_user(&self, text: &str) -> ApiResult {
        let user = self.store.show_user(&users::id(text)?, now_ms()).await.map_err(store_fault)?;
        Ok(Response::json(StatusCode::OK, &listed(&user.ok_or_else(user_not_found)?)))
    }

    pub(super) async fn list_groups(&self, request: &Request) -> ApiResult {
        let page = Page::of(request)?.within(MAX_GROUPS);
        let none = || invalid_query("?after=: it is the name of a group");
        let after = page.after.as_deref().map(|name| GroupName::new(name).ok_or_else(none)).transpose()?;
        let found = self.store.listed_groups(after.as_ref(), page.read_limit()).await.map_err(store_fault)?;
        let group =
            |one: store::ListedGroup| (one.name.to_string(), Group { users: one.users, stored: one.stored });
        let mut list = ById(found.into_iter().map(group).collect());
        let link = page.truncate(&request.path, &mut list);
        Ok(Response { link, ..Response::json(StatusCode::OK, &list) })
    }

    /// The place that a page begins after: an id alone, or with the value that it had in the order.
    async fn place(&self, text: &str, order: UserOrder) -> Result<(SortKey, UserId), Fault> {
        let none = || invalid_query("?after=: no such user exists: start again without it");
        let (id, value) = text.split_once(SEPARATOR).map_or((text, None), |(id, value)| (id, Some(value)));
        let id = UserId::new(id).ok_or_else(none)?;
        let key = match (value, order) {
            (None, _) => {
                let user = self.store.show_user(&id, now_ms()).await.map_err(store_fault)?;
                user.ok_or_else(none)?.sort_key(order)
            }
            (Some(name), UserOrder::Name) => SortKey::Name(name.to_owned()),
            (Some(at_ms), UserOrder::Created | UserOrder::LastUsed) => {
                SortKey::Time(at_ms.parse().map_err(|_| none())?)
            }
        };
        Ok((key, id))
    }
}

/// The place of a user in an order. In the default order the id is enough: the creation time never changes.
fn place_of(user: &store::ListedUser, order: UserOrder) -> String {
    let id = &user.user.id;
    match (user.sort_key(order), order) {
        (_, UserOrder::Created) => id.to_string(),
        (SortKey::Time(at_ms), _) => format!("{id}{SEPARATOR}{at_ms}"),
        (SortKey::Name(name), _) => format!("{id}{SEPARATOR}{name}"),
    }
}

fn filter(parameters: &Parameters<'_>) -> Result<UserFilter, Fault> {
    let group = |name: String| {
        GroupName::new(&name).ok_or_else(|| invalid_query(format!("?group=: {}", GroupName::RULE)))
    };
    let group = parameters.value(GROUP.name).map(group).transpose()?;
    let search = parameters.value(SEARCH.name);
    // SQLite ends a text at a NUL, and no name has a control character.
    if search.as_deref().is_some_and(|search| search.contains(char::is_control)) {
        return Err(invalid_query("?search=: no name, id or group has a control character: leave it out"));
    }
    Ok(UserFilter { search, group })
}

fn order(parameters: &Parameters<'_>) -> Result<UserOrder, Fault> {
    let Some(word) = parameters.value(ORDER.name) else { return Ok(UserOrder::default()) };
    let known = ORDERS.into_iter().find(|(name, _)| *name == word);
    let unknown = || invalid_query("?order=: it is written `created`, `name` or `last_used`");
    known.map(|(_, order)| order).ok_or_else(unknown)
}

fn listed(one: &store::ListedUser) -> ListedUser {
    let store::ListedUser { user, last_used_at_ms, valid_tokens, stored } = one;
    ListedUser {
        name: user.name.clone(),
        ip: user.ip.clone(),
        group: user.group.as_ref().map(GroupName::to_string),
        created_at: utc(user.created_at_ms),
        disabled_at: user.disabled_at_ms.map(utc),
        last_used_at: last_used_at_ms.map(utc),
        valid_tokens: *valid_tokens,
        stored: stored.clone(),
    }
}
