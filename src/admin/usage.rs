//! Operations on usage: reports and the last exchanges, of all users for admins, and of the caller for users. A token
//! with scopes sees the usage of its scopes.
//!
//! Read next: `parameters`, the query parameters; `ledger::report`, which sums.

pub(super) mod csv;
mod document;
pub(super) mod parameters;

use std::collections::BTreeMap;

use http::StatusCode;
use jiff::tz::TimeZone;

use super::{
    Admin, ApiResult, Principal, Request, Response, page::invalid_query, scope::is_visible, store_fault,
    users::invalid_user,
};
use crate::{
    clock::{now_ms, utc},
    day::Day,
    fault::Fault,
    ledger::{
        UsageBacklog, VisibleTokens,
        report::{Dimension, Priced, report},
    },
    name::UserId,
    store::{Exchange, StoreError, UsageFilter, UsageReader},
    table::Table,
};
pub use document::{
    RecentExchange, RecentExchanges, UnpricedModel, UsageFigures, UsageReport, UsageRow, user_shown,
};
pub use parameters::DEFAULT_BY;
pub(super) use parameters::{ALL_RECENT, ALL_REPORT, OWN_RECENT, OWN_REPORT};
pub(super) use parameters::{Format, Parameters};

impl Admin {
    /// A report: of one user, or of all.
    pub(super) async fn usage(&self, request: &Request, own: Option<&UserId>) -> ApiResult {
        let known = if own.is_some() { OWN_REPORT } else { ALL_REPORT };
        let format = Parameters::of(request, known)?.format()?;
        let document = self.usage_report(request, own).await?;
        Ok(match format {
            Format::Json => Response::json(StatusCode::OK, &document),
            Format::Csv => Response::csv(csv::report(&document, &request.table.prices)),
        })
    }

    /// The document of a report.
    pub(super) async fn usage_report(
        &self,
        request: &Request,
        own: Option<&UserId>,
    ) -> Result<UsageReport, Fault> {
        let known = if own.is_some() { OWN_REPORT } else { ALL_REPORT };
        let parameters = Parameters::of(request, known)?;
        let mut asked = parameters.report(now_ms())?;
        asked.query.filter.user = self.asked_user(&parameters, own).await?;
        asked.query.visible = self.restrict(&mut asked.query.filter, request, own).await?;
        let pending = self.pending_usage(own);
        let found = report(&self.store, &request.table.prices, &asked.query).await.map_err(read_fault)?;
        let user = asked.query.by.iter().position(|dimension| *dimension == Dimension::User);
        let values = found.rows.iter().filter_map(|row| Some(row.values.as_ref()?[user?].clone()));
        let names = self.store.user_names(values.collect()).await.map_err(store_fault)?;
        Ok(UsageReport::new(&asked, found, &names, pending))
    }

    /// The last exchanges: of one user, or of all.
    pub(super) async fn recent_usage(&self, request: &Request, own: Option<&UserId>) -> ApiResult {
        let known = if own.is_some() { OWN_RECENT } else { ALL_RECENT };
        let parameters = Parameters::of(request, known)?;
        let (format, limit, after) = (parameters.format()?, parameters.limit()?, parameters.after()?);
        let mut filter = parameters.filter();
        filter.user = self.asked_user(&parameters, own).await?;
        let visible = self.restrict(&mut filter, request, own).await?;
        let pending = self.pending_usage(own);
        // Before the rows: a later exchange is then found by the next call.
        let last = self.last_number(&filter, after, own).await?;
        let found = match (parameters.request_id(), after) {
            (Some(id), after) => {
                self.store.exchanges_of_request(&id, &filter, after.unwrap_or_default(), limit).await
            }
            (None, Some(after)) => self.store.exchanges_after(&filter, after, limit).await,
            (None, None) => self.store.last_exchanges(&filter, limit).await,
        };
        let mut found = found.map_err(read_fault)?;
        found.sort_by_key(|exchange| exchange.number);
        for exchange in &mut found {
            if let Some(visible) = &visible {
                exchange.key.token = visible.shown(&exchange.key.token).into();
            }
        }
        let ids = found.iter().map(|exchange| exchange.key.user.to_string()).collect();
        let names = self.store.user_names(ids).await.map_err(store_fault)?;
        // More than those may wait behind a full page. An empty one was asked for only for its `next`.
        let is_full = limit > 0 && found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let shown = found.last().map_or(0, |exchange| exchange.number);
        let next = match (limit, after) {
            (0, Some(after)) => after,
            _ if is_full => shown,
            _ => shown.max(last),
        };
        let exchanges = found.into_iter().map(|one| recent(one, &names, &request.table)).collect();
        let document = RecentExchanges { exchanges, next, pending };
        Ok(match format {
            Format::Json => Response::json(StatusCode::OK, &document),
            Format::Csv => Response::csv(csv::recent(&document, &request.table.prices)),
        })
    }

    /// The number of the last exchange. A user sees the numbers of own exchanges alone: others would tell how many all users
    /// have.
    async fn last_number(
        &self,
        filter: &UsageFilter,
        after: Option<u64>,
        own: Option<&UserId>,
    ) -> Result<u64, Fault> {
        match (own, after) {
            (None, _) => self.store.last_exchange_number().await.map_err(store_fault),
            (Some(_), Some(after)) => Ok(after),
            (Some(_), None) => {
                let last = self.store.last_exchanges(filter, 1).await.map_err(read_fault)?;
                Ok(last.first().map_or(0, |exchange| exchange.number))
            }
        }
    }

    /// The usage that an answer lacks. Called before the store is read: what is written meanwhile is named, and not missed.
    fn pending_usage(&self, own: Option<&UserId>) -> Option<UsageBacklog> {
        let pending = self.files.usage_backlog();
        if own.is_some() { pending.map(UsageBacklog::without_details) } else { pending }
    }

    /// Restricts a user's call to the scopes of the token. Returns the tokens that it may see, as lists of tokens do.
    async fn restrict(
        &self,
        filter: &mut UsageFilter,
        request: &Request,
        own: Option<&UserId>,
    ) -> Result<Option<VisibleTokens>, Fault> {
        filter.reader = if own.is_some() { UsageReader::User } else { UsageReader::Admin };
        let Principal::User(caller) = &request.principal else { return Ok(None) };
        filter.scopes.clone_from(&caller.token.scopes);
        if filter.scopes.is_none() {
            return Ok(None);
        }
        let tokens = self.store.tokens_page(&caller.id, None, None).await.map_err(store_fault)?;
        let visible = tokens.iter().filter(|token| is_visible(token, request));
        let visible = VisibleTokens::new(visible.map(|token| token.id.to_string()));
        // No usage has that name in the store: a filter does not confirm an id either.
        filter.token = filter.token.take().map(|token| visible.shown(&token).to_owned());
        Ok(Some(visible))
    }

    /// The id of the user that a call is about; none for all.
    async fn asked_user(
        &self,
        parameters: &Parameters<'_>,
        own: Option<&UserId>,
    ) -> Result<Option<String>, Fault> {
        let given = match (own, parameters.user()) {
            (Some(own), _) => return Ok(Some(own.to_string())),
            (None, None) => return Ok(None),
            (None, Some(given)) => given,
        };
        let found = self.store.find_users(&given).await.map_err(store_fault)?;
        match found.as_slice() {
            [user] => Ok(Some(user.id.to_string())),
            // The usage of a deleted user stays.
            [] if UserId::new(&given).is_some() => Ok(Some(given)),
            others => Err(invalid_user(others.len())),
        }
    }
}

/// The fault for a read that failed. One that takes too long is no failure of the store.
pub(super) fn read_fault(error: StoreError) -> Fault {
    match error {
        StoreError::TooLong { limit } => invalid_query(format!(
            "the answer takes longer than {} s: ask for a shorter range, or with filters",
            limit.as_secs()
        )),
        error => store_fault(error),
    }
}

fn recent(exchange: Exchange, names: &BTreeMap<String, String>, table: &Table) -> RecentExchange {
    let (key, day) = (&exchange.key, Day::of_seconds(exchange.ended_at_ms / 1000));
    let price = table.prices.find(&key.provider, &key.model, day);
    let sums = crate::store::UsageSums {
        requests: 1,
        counters: exchange.counters,
        estimated_prompt: exchange.estimated_prompt,
        estimated_answer: exchange.estimated_answer,
        ..Default::default()
    };
    // The exact prompt is known, and not only the boundary of its key.
    let context = price.map_or(0, |price| price.context(exchange.counters.prompt_tokens()));
    let priced = Priced::new(&sums, price, context);
    RecentExchange::new(exchange, &priced, names)
}

/// A time zone by its name.
fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

fn shown_hour(hour: u64) -> String {
    utc(hour.saturating_mul(3_600_000))
}
