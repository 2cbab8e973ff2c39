//! A user's own tokens: list, create, revoke, rotate; paste tokens. A token is shown once, in the answer to its creation.

use askama::Template;
use http::{Method, StatusCode};
use serde::de::IgnoredAny;
use serde_json::json;

use super::super::{
    client::{Api, Client, segment},
    form::Form,
    frame::Frame,
    refused::Refused,
    response::PageResponse,
    shown,
    token_form::{self, Example, Made, TokenForm, TokenUse},
};
use crate::{
    admin::{
        ById, CredentialFields, ListedKind, MadeToken, Me, PasteToken, PasteTokenPlace, ReachableProviders,
        Rotated, Token,
    },
    clock::{from_utc, now_ms},
    fault::{Fault, FaultKind},
};

/// The time that a paste token stays valid after the next one of its provider was made.
const REPLACED_MS: u64 = 3_600_000;

#[derive(Template)]
#[template(path = "config/tokens.html")]
struct TokensPage<'p> {
    frame: &'p Frame,
    me: &'p Me,
    tokens: &'p [(String, Token)],
    form: TokenForm<'p>,
    /// The places that make paste tokens, with the title of what they are for.
    pastes: Vec<Paste<'p>>,
    made: Option<Made>,
    example: Option<Example>,
    problem: Option<Refused>,
}

/// A place that makes paste tokens.
struct Paste<'p> {
    title: &'p str,
    provider: &'p str,
    path: &'p str,
    /// The last segment of the path.
    name: &'p str,
}

/// The outcome of a form.
#[derive(Default)]
struct Outcome<'p> {
    made: Option<Made>,
    problem: Option<Refused>,
    typed: Option<&'p Form>,
}

/// All that the page reads.
struct Read {
    me: Me,
    /// The newest first.
    tokens: Vec<(String, Token)>,
    reachable: ReachableProviders,
    fields: CredentialFields,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
) -> Result<PageResponse, Fault> {
    page(client, frame, Outcome::default()).await
}

/// Creates a token.
pub(in super::super) async fn create(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let (body, usage) = match token_form::body(form) {
        Ok(asked) => asked,
        Err(problem) => return page(client, frame, Outcome::refused(problem, Some(form))).await,
    };
    let made: Result<MadeToken, Fault> = client.send(Method::POST, "/auth/tokens", &body).await;
    finish(
        client,
        frame,
        made.map(|made| Made::new(made, frame.path("/tokens"), "Your new token", usage)),
        Some(form),
    )
    .await
}

/// Rotates the token that the session was started with.
pub(in super::super) async fn rotate(
    client: &Client<'_, impl Api>,
    frame: &Frame,
) -> Result<PageResponse, Fault> {
    let rotated: Result<Rotated, Fault> = client.send(Method::POST, "/auth/rotate", &json!(null)).await;
    let made = rotated.map(|rotated| Made {
        title: "Your rotated gateway token".to_owned(),
        notes: vec![
            "It is shown only now. Put it into your tools.".to_owned(),
            format!("The old one works until {} UTC.", shown::time(&rotated.old_tokens_expire_at)),
        ],
        token: rotated.token,
        page: frame.path("/tokens"),
        usage: None,
    });
    finish(client, frame, made, None).await
}

/// Makes a paste token, at a path that a provider file names.
pub(in super::super) async fn paste(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    name: &str,
) -> Result<PageResponse, Fault> {
    let fields: CredentialFields = client.get("/auth/fields").await?;
    // No other path of the API is called, whatever the address of the form says.
    let Some(Paste { provider, path, .. }) = pastes(&fields).into_iter().find(|paste| paste.name == name)
    else {
        let message = "No login of yours has a paste token of this name: load the page of tokens again";
        return Err(Fault::new(FaultKind::NotFound, message));
    };
    let made: Result<PasteToken, Fault> = client.send(Method::POST, path, &json!(null)).await;
    let made = match made {
        Ok(made) => Ok(pasted(client, frame, provider, made).await),
        Err(fault) => Err(fault),
    };
    finish(client, frame, made, None).await
}

/// The paste token, with the time at which the earlier ones of the provider end.
async fn pasted(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    provider: &str,
    PasteToken(made): PasteToken,
) -> Made {
    // The token is shown in any case.
    let tokens = client.get::<ById<Token>>("/auth/tokens").await.map_or(Vec::new(), |ById(tokens)| tokens);
    let soon = now_ms() + REPLACED_MS;
    let ends = paste_tokens(&tokens, provider).filter_map(|one| one.expires_at.as_deref());
    let ends = ends.filter(|end| from_utc(end).is_some_and(|end| end <= soon));
    let mut notes = vec!["It is shown only now. Paste it where the client asks for a key.".to_owned()];
    if let Some(end) = ends.max() {
        notes.push(format!(
            "Those that were made before end within an hour, the last one at {} UTC.",
            shown::time(end)
        ));
    }
    Made {
        title: "Your paste token".to_owned(),
        token: made.into_values().next().unwrap_or_default(),
        page: frame.path("/tokens"),
        notes,
        usage: Some(TokenUse::Paste(provider.to_owned())),
    }
}

/// Revokes a token.
pub(in super::super) async fn revoke(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    id: &str,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let (path, _) = token_form::revocation(&format!("/auth/tokens/{}", segment(id)), form);
    let revoked: Result<IgnoredAny, Fault> = client.send(Method::DELETE, &path, &json!(null)).await;
    match revoked {
        Ok(_) => Ok(PageResponse::see_other(&frame.path("/tokens"))),
        Err(fault) => page(client, frame, Outcome::refused(fault, None)).await,
    }
}

/// The page, with a token that was made, or the reason why none was.
async fn finish(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    made: Result<Made, Fault>,
    form: Option<&Form>,
) -> Result<PageResponse, Fault> {
    let outcome = match made {
        Ok(made) => Outcome { made: Some(made), ..Outcome::default() },
        Err(fault) => Outcome::refused(fault, form),
    };
    page(client, frame, outcome).await
}

async fn page(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    Outcome { made, problem, typed }: Outcome<'_>,
) -> Result<PageResponse, Fault> {
    let Read { me, tokens, reachable, fields } = match read(client).await {
        Ok(read) => read,
        Err(fault) => return token_form::made_alone(frame, made, fault),
    };
    let providers = &reachable.providers;
    let example = made.as_ref().and_then(|made| made.example(frame, providers));
    let nothing = Form::default();
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let page = TokensPage {
        frame,
        me: &me,
        tokens: &tokens,
        form: TokenForm {
            action: frame.change(&["/tokens"]),
            providers,
            typed: typed.unwrap_or(&nothing),
            is_own: true,
        },
        pastes: pastes(&fields),
        made,
        example,
        problem,
    };
    Ok(PageResponse::html(status, &page))
}

async fn read(client: &Client<'_, impl Api>) -> Result<Read, Fault> {
    let me = client.get("/auth/me").await?;
    let ById(mut tokens) = client.get::<ById<Token>>("/auth/tokens").await?;
    tokens.reverse();
    let reachable = client.get("/auth/providers").await?;
    Ok(Read { me, tokens, reachable, fields: client.get("/auth/fields").await? })
}

/// The places that make paste tokens of the logins that are stored.
fn pastes(fields: &CredentialFields) -> Vec<Paste<'_>> {
    let pastes = fields.sections.iter().flat_map(|section| {
        let fields = section.fields.iter().filter(|field| field.stored.is_some());
        fields.flat_map(|field| &field.paste_tokens).map(|place| paste_of(&section.title, place))
    });
    pastes.collect()
}

fn paste_of<'p>(title: &'p str, place: &'p PasteTokenPlace) -> Paste<'p> {
    let name = place.path.rsplit('/').next().unwrap_or_default();
    Paste { title, provider: &place.provider, path: &place.path, name }
}

/// The paste tokens of a provider, in their order.
fn paste_tokens<'t>(tokens: &'t [(String, Token)], provider: &str) -> impl Iterator<Item = &'t Token> {
    let is_one =
        move |token: &&Token| token.kind == ListedKind::Paste && token.provider.as_deref() == Some(provider);
    tokens.iter().map(|(_, token)| token).filter(is_one)
}

/// True if a login is stored that paste tokens stand for, and its provider has none.
pub(super) async fn lacks_paste_token(
    client: &Client<'_, impl Api>,
    fields: &CredentialFields,
) -> Result<bool, Fault> {
    let ById(tokens) = client.get::<ById<Token>>("/auth/tokens").await?;
    Ok(pastes(fields).iter().any(|paste| paste_tokens(&tokens, paste.provider).next().is_none()))
}

impl Outcome<'_> {
    fn refused(problem: impl Into<Refused>, typed: Option<&Form>) -> Outcome<'_> {
        Outcome { made: None, problem: Some(problem.into()), typed }
    }
}

impl TokensPage<'_> {
    /// True if the revocation of a token ends the session that asks for it.
    fn ends_sign_in(&self, id: &str) -> bool {
        self.me.token.id == id || self.me.token.made_by.as_deref() == Some(id)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;
    use crate::{
        admin::Response,
        pages::{Area, PageRequest, find},
    };

    /// An API whose changes are made, and whose reads fail.
    struct WriteOnly;

    impl Api for WriteOnly {
        async fn call(&self, method: Method, path: &str, _: Option<&Value>) -> Result<Response, Fault> {
            let body = match (method, path) {
                (Method::POST, "/auth/tokens") => {
                    json!({ "token": "tg_made", "id": "tok_1", "kind": "both" })
                }
                (Method::POST, "/auth/rotate") => json!({
                    "token": "tg_rotated", "id": "tok_1", "oldTokensExpireAt": "2026-11-29T17:00:00Z",
                    "endingPasteTokens": 0, "handedOverTokens": 0,
                }),
                _ => return Err(Fault::new(FaultKind::StoreUnavailable, "The store is away")),
            };
            Ok(Response {
                status: StatusCode::OK,
                body: body.to_string(),
                csv: false,
                link: None,
                session: None,
            })
        }
    }

    #[tokio::test]
    async fn a_token_that_was_made_is_shown_though_the_lists_cannot_be_read() {
        for (path, form, token) in
            [("/tokens", "kind=both&reach=all&days=0", "tg_made"), ("/tokens/rotate", "", "tg_rotated")]
        {
            let route = find(Area::Config, &Method::POST, path).unwrap();
            let request = PageRequest {
                query: Some("as=usr_1"),
                form: Ok(form.as_bytes().to_vec().into()),
                public_url: "http://gateway.test",
                clients: &Arc::default(),
                who: "ada",
                user: Some("usr_1"),
            };
            let (status, _, body) = crate::pages::answer(&route, &request, &WriteOnly).await.into_body(false);
            let body = std::str::from_utf8(&body).unwrap();
            assert_eq!(status, StatusCode::OK, "{body}");
            assert!(body.contains(&format!("<code id=\"made\">{token}</code>")), "{body}");
            assert!(body.contains("The store is away"), "{body}");
        }
    }
}
