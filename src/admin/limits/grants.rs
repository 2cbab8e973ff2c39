//! Grants: what a user has beyond the amount of a limit, for a time. Each is checked, audited, and in effect once the store has
//! it. It expires by itself.

use http::StatusCode;
use serde_json::{Value, json};

use super::super::{
    Admin, ApiResult, Request, Response, body, json as json_body, pointer, store_fault,
    users::{self, invalid_user, user_not_found},
};
use super::{
    document::{EndedGrants, LimitGrantDocument, NewLimitGrant, currency},
    hint,
    viewed::is_for,
};
use crate::{
    clock::{from_utc, now_ms, utc},
    compile::{Limit, Measure},
    fault::{Cause, Fault, FaultKind},
    limits::MAX_GRANTS,
    money::parse_decimal,
    name::LimitId,
    store::{LimitGrant, User},
    syntax::{MAX_COUNT, Per},
};

/// The longest time of a grant: a year.
const MAX_TIME_MS: u64 = 366 * 86_400_000;
/// The greatest cost that is granted, in pico-units of a currency: a million million units.
const MAX_COST: u128 = 1_000_000_000_000 * 1_000_000_000_000;
/// The most concurrent requests that are granted.
const MAX_CONCURRENT: u64 = 1_000_000;

impl Admin {
    /// Adds a grant.
    pub(in super::super) async fn grant_limit(&self, request: &Request) -> ApiResult {
        let new: NewLimitGrant = body::parse(json_body::parse(&request.body)?)?;
        let found = self.store.find_users(&new.user).await.map_err(store_fault)?;
        let [user] = found.as_slice() else {
            let fault = invalid_user(found.len());
            return Err(pointer::fault("/user", Cause::UnknownUser, problem(&fault)));
        };
        let limit = limit_for(&new.limit, user, request)?;
        let amount = amount(&new.amount, limit.measure)
            .map_err(|problem| pointer::fault("/amount", Cause::InvalidValue, problem))?;
        let now_ms = now_ms();
        let until_ms = until(&new.until, now_ms)
            .map_err(|problem| pointer::fault("/until", Cause::InvalidValue, problem))?;
        let grant = LimitGrant { limit: limit.id.clone(), user: user.id.clone(), amount, until_ms };
        let document = LimitGrantDocument {
            limit: limit.id.to_string(),
            user: user.id.to_string(),
            user_name: user.name.clone(),
            amount: limit.measure.exact(amount),
            currency: currency(limit.measure),
            until: utc(until_ms),
        };
        let LimitGrantDocument { limit: id, amount: added, currency, until, .. } = &document;
        let detail = json!({ "limit": id, "amount": added, "currency": currency, "until": until });
        let act = request.actor.act("limit.grant", &user.id, detail);
        let (states, _) = self.limit_states().await?;
        let grants = states.grants();
        let _order = grants.change().await;
        if grants.all(now_ms).len() >= MAX_GRANTS {
            let message =
                format!("There are {MAX_GRANTS} grants already: end some, or change the limit's file");
            return Err(Fault::new(FaultKind::InvalidRequest, message).because(Cause::InvalidValue));
        }
        if !self.store.add_limit_grant(&grant, now_ms, &act).await.map_err(store_fault)? {
            return Err(user_not_found());
        }
        grants.add(grant, now_ms);
        Ok(Response::json(StatusCode::CREATED, &document))
    }

    /// Ends all grants of a user for a limit.
    pub(in super::super) async fn end_limit_grants(
        &self,
        limit: &str,
        user: &str,
        request: &Request,
    ) -> ApiResult {
        let none = || {
            let message = "The user has no grant for this limit";
            Fault::new(FaultKind::NotFound, message).because(Cause::UnknownGrant)
        };
        let (limit, user) = (LimitId::new(limit).ok_or_else(none)?, users::id(user)?);
        let act = request.actor.act("limit.grant_end", &user, json!({ "limit": limit.as_str() }));
        let (states, _) = self.limit_states().await?;
        let _order = states.grants().change().await;
        let ended = self.store.end_limit_grants(&limit, &user, &act).await.map_err(store_fault)?;
        states.grants().end(&limit, &user, now_ms());
        if ended == 0 { Err(none()) } else { Ok(Response::json(StatusCode::OK, &EndedGrants { ended })) }
    }
}

/// The text of a fault about `?user=`, for a key of a body.
fn problem(fault: &Fault) -> String {
    fault.message.strip_prefix("?user=: ").unwrap_or(&fault.message).to_owned()
}

/// The limit that a grant of a user is for.
fn limit_for<'r>(id: &str, user: &User, request: &'r Request) -> Result<&'r Limit, Fault> {
    let refuse = |problem: String| pointer::fault("/limit", Cause::UnknownLimit, problem);
    let limits = &request.table.limits;
    let Some(limit) = limits.get(id) else {
        let ids = limits.all().iter().map(|limit| limit.id.as_str());
        return Err(refuse(format!("no limit has this id; {}", hint(id, ids))));
    };
    if !limit.per.iter().any(|per| matches!(per, Per::User | Per::Token)) {
        let amounts = match limit.per.as_slice() {
            [] => "one amount for everybody".to_owned(),
            _ => format!("an amount for each {}", limit.per_text()),
        };
        return Err(refuse(format!(
            "the limit has {amounts}, and none for each user or token: change its file instead"
        )));
    }
    if !is_for(&limit.filter.caller, &user.name, user.group.as_ref()) {
        return Err(refuse("the limit is not for requests of this user".to_owned()));
    }
    if limit.amount_of(&user.name).is_none() {
        return Err(refuse("this user has no amount there: `except` of the limit says `none`".to_owned()));
    }
    Ok(limit)
}

/// The amount of a grant, in units of what the limit counts.
fn amount(value: &Value, measure: Measure) -> Result<i128, String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    let text = text.strip_prefix('+').unwrap_or(&text).trim_start();
    let Measure::Cost(currency) = measure else {
        let max = if measure == Measure::Concurrent { MAX_CONCURRENT } else { MAX_COUNT };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| text.parse().ok()).flatten();
        let number = number.filter(|number: &u64| (1..=max).contains(number));
        return number.map(i128::from).ok_or_else(|| {
            format!("the limit counts {measure}: the amount is a whole number from 1 to {max}")
        });
    };
    let form = || format!("the limit counts {currency}: the amount is written as `50 {currency}`");
    let end = text.find(|sign: char| !sign.is_ascii_digit() && sign != '.').ok_or_else(form)?;
    let (number, code) = text.split_at(end);
    if code.trim_start() != currency.code() {
        return Err(form());
    }
    let pico = parse_decimal(number).ok_or_else(form)?;
    if pico == 0 || pico > MAX_COST {
        return Err(format!("a grant is more than 0 {currency} and at most 1000000000000 {currency}"));
    }
    i128::try_from(pico).map_err(|_| form())
}

/// The end of a grant, in milliseconds since 1970.
fn until(text: &str, now_ms: u64) -> Result<u64, &'static str> {
    let units = [("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)];
    let time = |(unit, ms): &(&str, u64)| {
        let number =
            text.strip_suffix(unit).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))?;
        Some(now_ms.saturating_add(number.parse::<u64>().ok()?.saturating_mul(*ms)))
    };
    let until_ms = units.iter().find_map(time).or_else(|| from_utc(text)).ok_or(
        "it is a time such as `2030-01-01T00:00:00Z`, or a time from now such as `90m`, `2h` or `3d`",
    )?;
    match until_ms {
        past if past <= now_ms => Err("it does not lie in the future"),
        far if far - now_ms > MAX_TIME_MS => Err("a grant is for at most 366 days"),
        until_ms => Ok(until_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;

    #[test]
    fn amounts_are_in_units_of_the_limit() {
        let usd = Measure::Cost(Currency::new("USD").unwrap());
        let check = |value: Value, measure: Measure, expected: Option<i128>| {
            assert_eq!(amount(&value, measure).ok(), expected, "{value} {measure}");
        };
        for text in ["50 USD", "50USD", "+50 USD", "+50USD", " + 50.000 USD "] {
            check(json!(text), usd, Some(50_000_000_000_000));
        }
        check(json!("0.000000000001 USD"), usd, Some(1));
        for wrong in [
            "50",
            "",
            "+",
            "USD",
            "50 EUR",
            "50 usd",
            "-50 USD",
            "0 USD",
            "1e3 USD",
            "50 USD x",
            "++50 USD",
            "9999999999999 USD",
        ] {
            check(json!(wrong), usd, None);
        }
        check(json!(50), usd, None);
        for value in [json!(50_000), json!("50000"), json!("+50000")] {
            check(value.clone(), Measure::Tokens, Some(50_000));
            check(value, Measure::Requests, Some(50_000));
        }
        for wrong in
            [json!(0), json!(-1), json!(""), json!("1.5"), json!("5 USD"), json!(u64::MAX), json!(1.0)]
        {
            check(wrong, Measure::Tokens, None);
        }
        check(json!(1_000_001), Measure::Concurrent, None);
        check(json!(8), Measure::Concurrent, Some(8));
    }

    #[test]
    fn ends_lie_in_the_next_year() {
        let now = 1_800_000_000_000;
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(until(text, now).ok(), expected.map(|after| now + after), "{text}");
        };
        check("90m", Some(90 * 60_000));
        check("2h", Some(7_200_000));
        check("3d", Some(3 * 86_400_000));
        check("366d", Some(MAX_TIME_MS));
        check(&utc(now + 5_000), Some(5_000));
        for wrong in [
            "",
            "h",
            "0h",
            "-1h",
            "1.5h",
            "367d",
            "99999999999999999999d",
            "2020-01-01T00:00:00Z",
            "2099-01-01T00:00:00Z",
            "tomorrow",
            "2 h",
            "+2h",
        ] {
            check(wrong, None);
        }
    }
}
