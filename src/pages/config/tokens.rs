//! A user's own tokens: list, create, revoke, rotate; paste tokens. A token is shown once, in the answer to its creation.

use askama::Template;
use http::{Method, StatusCode};
use serde::de::IgnoredAny;
use serde_json::json;

use super::super::{
    client::{Api, Client},
    form::Form,
    frame::Frame,
    response::PageResponse,
    shown,
    token_form::{self, Example, Made, TokenForm},
};
use crate::{
    admin::{
        ById, CredentialFields, MadeToken, Me, PasteToken, PasteTokenPlace, ReachableProviders, Rotated,
        Token,
    },
    fault::Fault,
};

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
    problem: Option<String>,
}

/// A place that makes paste tokens.
struct Paste<'p> {
    title: &'p str,
    provider: &'p str,
    /// The last segment of its path.
    name: &'p str,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
) -> Result<PageResponse, Fault> {
    page(client, frame, None, None, &Form::default()).await
}

/// Creates a token.
pub(in super::super) async fn create(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let (body, usage) = match token_form::body(form) {
        Ok(asked) => asked,
        Err(problem) => return page(client, frame, None, Some(problem), form).await,
    };
    let made: Result<MadeToken, Fault> = client.send(Method::POST, "/auth/tokens", &body).await;
    finish(client, frame, made.map(|made| Made::new(made, "Your new token", usage)), form).await
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
            format!("The old one works until {}.", shown::time(&rotated.old_tokens_expire_at)),
        ],
        token: rotated.token,
        usage: None,
    });
    finish(client, frame, made, &Form::default()).await
}

/// Makes a paste token, at the path that a provider file names.
pub(in super::super) async fn paste(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    name: &str,
) -> Result<PageResponse, Fault> {
    let path = format!("/auth/{name}");
    let made: Result<PasteToken, Fault> = client.send(Method::POST, &path, &json!(null)).await;
    let made = made.map(|PasteToken(tokens)| Made {
        title: "Your paste token".to_owned(),
        token: tokens.into_values().next().unwrap_or_default(),
        notes: vec![
            "It is shown only now. Paste it where the client asks for a key.".to_owned(),
            "A paste token that was made before stays valid until it is revoked below.".to_owned(),
        ],
        usage: None,
    });
    finish(client, frame, made, &Form::default()).await
}

/// Revokes a token.
pub(in super::super) async fn revoke(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    id: &str,
) -> Result<PageResponse, Fault> {
    let revoked: Result<IgnoredAny, Fault> =
        client.send(Method::DELETE, &format!("/auth/tokens/{id}"), &json!(null)).await;
    match revoked {
        Ok(_) => Ok(PageResponse::see_other(&frame.path("/tokens"))),
        Err(fault) => page(client, frame, None, Some(fault.message.into_owned()), &Form::default()).await,
    }
}

async fn finish(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    made: Result<Made, Fault>,
    form: &Form,
) -> Result<PageResponse, Fault> {
    match made {
        Ok(made) => page(client, frame, Some(made), None, &Form::default()).await,
        Err(fault) => page(client, frame, None, Some(fault.message.into_owned()), form).await,
    }
}

async fn page(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    made: Option<Made>,
    problem: Option<String>,
    typed: &Form,
) -> Result<PageResponse, Fault> {
    let me: Me = client.get("/auth/me").await?;
    let ById(mut tokens) = client.get::<ById<Token>>("/auth/tokens").await?;
    // The newest first.
    tokens.reverse();
    let reachable: ReachableProviders = client.get("/auth/providers").await?;
    let fields: CredentialFields = client.get("/auth/fields").await?;
    let pastes = fields.sections.iter().flat_map(|section| {
        let fields = section.fields.iter().filter(|field| field.stored.is_some());
        fields.flat_map(|field| &field.paste_tokens).map(|place| paste_of(&section.title, place))
    });
    let example = made.as_ref().and_then(|made| made.example(frame, &reachable.providers));
    let providers = &reachable.providers;
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let page = TokensPage {
        frame,
        me: &me,
        tokens: &tokens,
        form: TokenForm { action: frame.change(&["/tokens"]), providers, typed, is_own: true },
        pastes: pastes.collect(),
        made,
        example,
        problem,
    };
    Ok(PageResponse::html(status, &page))
}

fn paste_of<'p>(title: &'p str, place: &'p PasteTokenPlace) -> Paste<'p> {
    let name = place.path.rsplit('/').next().unwrap_or_default();
    Paste { title, provider: &place.provider, name }
}
