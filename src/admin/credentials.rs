//! Operations on the credentials of users, groups and everybody: read them masked, replace them, change some of them, or
//! confirm that they may go to other origins.

use http::StatusCode;
use serde_json::{Map, Value};

use super::{
    Admin, ApiResult, Principal, Request, Response, body, document,
    document::ValueRules,
    json,
    operations::{Parameter, ParameterKind},
    page::invalid_query,
    paste::draft_paste_tokens,
    payloads::{Confirm, Confirmation, EXPECTED_ORIGINS, MaskedCredentials, Unconfirmed},
    pointer::{self, step, wrong_type},
    scope::{VisibleSections, check_edits, check_sections},
    store_fault,
    users::{other_key, user_not_found},
};
use crate::{
    accounts::{self, Caller, ConfirmError, Edit, ExpectedOrigins, OwnValues, StoredCredential},
    fault::{Cause, Fault, FaultKind},
    name::{GroupName, Owner},
    rewrite::value_of,
    secret_scan,
    store::{ChangeOutcome, PasteTokenIssue},
};

/// The owner for a group's name in a path.
pub(super) fn group(name: &str) -> Result<Owner, Fault> {
    let invalid = || {
        let message = format!("the path: {}", GroupName::RULE);
        Fault::new(FaultKind::InvalidRequest, message).because(Cause::InvalidPath)
    };
    GroupName::new(name).map(Owner::Group).ok_or_else(invalid)
}

/// The word that demands an expiry.
const REQUIRED: &str = "required";
/// The parameter of a change of credentials.
pub(super) const EXPIRY: Parameter = Parameter {
    name: "expiry",
    description: "`required`: refuse a login (OAuth2) whose expiry cannot be read",
    kind: ParameterKind::Word(&[REQUIRED]),
};

/// The word for no paste tokens.
const NO_TOKENS: &str = "none";
/// The parameter of a change of own credentials.
pub(super) const PASTE_TOKENS: Parameter = Parameter {
    name: "paste_tokens",
    description: "`none`: make no paste token for a login that is set; those that there are stay valid",
    kind: ParameterKind::Word(&[NO_TOKENS]),
};

/// The part of an owner's credentials that a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All of them: those that it does not name are removed.
    Whole,
    /// Those that it names.
    Named,
}

impl Admin {
    pub(super) async fn get_creds(&self, owner: &Owner, request: &Request) -> ApiResult {
        self.check_owner(owner, request).await?;
        Ok(Response::json(StatusCode::OK, &self.masked_creds(owner, request).await?))
    }

    pub(super) async fn replace_creds(&self, owner: &Owner, request: &Request) -> ApiResult {
        let edits = self.requested_edits(owner, request, Extent::Whole).await?;
        self.change_creds(owner, &edits, request).await?;
        Ok(Response::done())
    }

    pub(super) async fn merge_creds(&self, owner: &Owner, request: &Request) -> ApiResult {
        let edits = self.requested_edits(owner, request, Extent::Named).await?;
        check_expiries(&edits, request)?;
        self.change_creds(owner, &edits, request).await?;
        Ok(Response::json(StatusCode::OK, &self.changed_creds(owner, request).await?))
    }

    pub(super) async fn merge_my_creds(&self, caller: &Caller, request: &Request) -> ApiResult {
        let owner = Owner::User(caller.id.clone());
        let edits = self.requested_edits(&owner, request, Extent::Named).await?;
        check_edits(caller, &edits, &request.table)?;
        check_expiries(&edits, request)?;
        let drafts = match value_of(request.query.as_deref(), PASTE_TOKENS.name).as_deref() {
            None => draft_paste_tokens(caller, &edits, request),
            Some(NO_TOKENS) => Vec::new(),
            Some(_) => {
                return Err(invalid_query(format!("?{}=: it is written `{NO_TOKENS}`", PASTE_TOKENS.name)));
            }
        };
        let (tokens, issued): (Vec<_>, Vec<_>) = drafts.into_iter().unzip();
        self.change_logins(&owner, &edits, &issued, request).await?;
        let mut document = self.changed_creds(&owner, request).await?;
        document.0.extend(tokens.into_iter().map(|(name, token)| (name, token.expose().into())));
        Ok(Response::json(StatusCode::OK, &document))
    }

    /// The credentials that wait for a confirmation, within the token's scopes.
    pub(super) async fn get_unconfirmed(&self, owner: &Owner, request: &Request) -> ApiResult {
        self.check_owner(owner, request).await?;
        let found = accounts::unconfirmed(&self.store, &self.key, owner, &request.table.fields).await;
        let mut unconfirmed = found.map_err(store_fault)?;
        let visible = VisibleSections::of(request);
        unconfirmed.retain(|place, _| visible.includes(accounts::section_and_field(place).0));
        Ok(Response::json(StatusCode::OK, &Unconfirmed { unconfirmed }))
    }

    /// Binds credentials to the origins that the call expects.
    pub(super) async fn confirm_creds(&self, owner: &Owner, request: &Request) -> ApiResult {
        let Confirm { origins } = body::parse(json::parse(&request.body)?)?;
        self.check_owner(owner, request).await?;
        if let Principal::User(caller) = &request.principal {
            let sections = origins.keys().map(|place| accounts::section_and_field(place).0);
            check_sections(caller, sections, &request.table)?;
        }
        let known = &request.table.fields;
        let confirmed =
            accounts::confirm(&self.store, &request.actor, &self.key, owner, known, &origins).await;
        let confirmed = confirmed.map_err(|error| confirm_fault("/origins", error))?;
        Ok(Response::json(StatusCode::OK, &Confirmation { confirmed }))
    }

    /// The owner's user has to exist: reading the credentials of an unknown user would find none.
    async fn check_owner(&self, owner: &Owner, request: &Request) -> Result<(), Fault> {
        if let Owner::User(id) = owner {
            self.store.user(id).await.map_err(store_fault)?.ok_or_else(|| owner_not_found(request))?;
        }
        Ok(())
    }

    /// The edits that a request's document asks for.
    async fn requested_edits(
        &self,
        owner: &Owner,
        request: &Request,
        extent: Extent,
    ) -> Result<Vec<Edit>, Fault> {
        let mut document = match json::parse(&request.body)? {
            Value::Object(document) => document,
            other => return Err(wrong_type("", &other, "an object")),
        };
        let expected = expected_origins(&mut document)?;
        if let Principal::User(caller) = &request.principal {
            let sections = expected.keys().map(|place| accounts::section_and_field(place).0);
            check_sections(caller, sections, &request.table)?;
        }
        let stored = self.store.credentials(owner).await.map_err(store_fault)?;
        let (known, places) = (&request.table.fields, stored.iter());
        let places = places.map(|one| (one.section.clone(), one.field.clone())).collect();
        let rules = ValueRules { known, user_origins: &self.user_origins };
        let mut edits = document::edits(&document, "", rules, &places)?;
        if extent == Extent::Whole {
            edits.retain(|edit| matches!(edit, Edit::Set { .. }));
            edits.insert(0, Edit::RemoveAll);
        }
        let values = OwnValues::decrypt(&self.key, known, &stored);
        let after = accounts::bind_edits(&values, known, &stored, &mut edits);
        accounts::check_change(known, &after, &expected)
            .map_err(|error| confirm_fault(&format!("/{EXPECTED_ORIGINS}"), error))?;
        Ok(edits)
    }

    async fn change_creds(&self, owner: &Owner, edits: &[Edit], request: &Request) -> Result<(), Fault> {
        self.change_logins(owner, edits, &[], request).await
    }

    async fn change_logins(
        &self,
        owner: &Owner,
        edits: &[Edit],
        issued: &[PasteTokenIssue],
        request: &Request,
    ) -> Result<(), Fault> {
        let changed =
            accounts::change_logins(&self.store, &request.actor, &self.key, owner, edits, issued).await;
        match changed.map_err(store_fault)? {
            ChangeOutcome::Done { .. } => Ok(()),
            ChangeOutcome::UnknownUser => Err(owner_not_found(request)),
            ChangeOutcome::OtherKey => Err(other_key()),
        }
    }

    /// An owner's credentials after a change.
    async fn changed_creds(&self, owner: &Owner, request: &Request) -> Result<MaskedCredentials, Fault> {
        self.masked_creds(owner, request).await.map_err(|_| {
            let message = "The credentials were changed, but the store failed before they could be shown: read them, or repeat the call";
            Fault::new(FaultKind::ChangeUnconfirmed, message)
        })
    }

    /// An owner's credentials, masked: those within the token's scopes.
    pub(super) async fn masked_creds(
        &self,
        owner: &Owner,
        request: &Request,
    ) -> Result<MaskedCredentials, Fault> {
        let read = accounts::read_credentials(&self.store, &self.key, owner).await;
        let (credentials, unreadable) = read.map_err(store_fault)?;
        let visible = VisibleSections::of(request);
        let credentials = credentials.iter().filter(|(section, ..)| visible.includes(section));
        let unreadable = unreadable.iter().filter(|one| visible.includes(&one.section));
        let unreadable = unreadable.map(|one| (one.section.as_str(), one.field.as_str()));
        Ok(document::masked(&request.table.fields, credentials, unreadable))
    }
}

/// Takes the origins that a change expects out of its document.
fn expected_origins(document: &mut Map<String, Value>) -> Result<ExpectedOrigins, Fault> {
    let path = format!("/{EXPECTED_ORIGINS}");
    let by_place = match document.remove(EXPECTED_ORIGINS) {
        None => return Ok(ExpectedOrigins::new()),
        Some(Value::Object(by_place)) => by_place,
        Some(other) => return Err(wrong_type(&path, &other, "an object")),
    };
    let one = |(place, origins): (String, Value)| match serde_json::from_value(origins.clone()) {
        Ok(origins) => Ok((place, origins)),
        Err(_) => Err(wrong_type(&format!("{path}/{}", step(&place)), &origins, "an array of strings")),
    };
    by_place.into_iter().map(one).collect()
}

/// The fault for a confirmation, or for a change that expects origins. They are at `path`.
fn confirm_fault(path: &str, error: ConfirmError) -> Fault {
    let message = error.to_string();
    match error {
        ConfirmError::Unknown { place, .. } => {
            let pointer = format!("{path}/{}", step(&place));
            pointer::fault(&pointer, Cause::UnknownCredential, secret_scan::mask(&message))
        }
        ConfirmError::Changed { .. } => Fault::new(FaultKind::OriginsChanged, message),
        ConfirmError::Other(_) => {
            Fault::new(FaultKind::OriginsChanged, secret_scan::mask(&message).into_owned())
        }
        ConfirmError::Contended => Fault::new(FaultKind::StoreUnavailable, message),
        ConfirmError::Store(error) => store_fault(error),
    }
}

/// The fault for an owner who does not exist. A calling user was deleted since the token was authenticated.
pub(super) fn owner_not_found(request: &Request) -> Fault {
    match request.principal {
        Principal::User(_) => Fault::invalid_token(),
        Principal::Local | Principal::Admin => user_not_found(),
    }
}

/// Refuses logins that expire at an unknown time, if the call asks for that: such a login would fail some day without a
/// warning.
fn check_expiries(edits: &[Edit], request: &Request) -> Result<(), Fault> {
    match value_of(request.query.as_deref(), EXPIRY.name).as_deref() {
        None => return Ok(()),
        Some(REQUIRED) => {}
        Some(_) => return Err(invalid_query(format!("?{}=: it is written `{REQUIRED}`", EXPIRY.name))),
    }
    let unknown = edits.iter().find_map(|edit| match edit {
        Edit::Set { section, field, stored: StoredCredential::OAuth { expires_at_ms: None, .. }, .. } => {
            Some((section, field))
        }
        Edit::Set { .. } | Edit::Remove { .. } | Edit::Bind { .. } | Edit::RemoveAll => None,
    });
    let Some((section, field)) = unknown else { return Ok(()) };
    let path = format!("/{}/{}", section.replace('.', "/"), step(field));
    let problem = "its expiry cannot be read: the access token is no JWT with `exp`, and `expiresAt` (milliseconds since 1970) is missing";
    Err(pointer::fault(&path, Cause::InvalidValue, problem))
}
