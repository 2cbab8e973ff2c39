//! A user's own tokens: list, create, revoke, rotate; paste tokens. A token is shown once, in the answer to its creation.

use askama::Template;
use http::{Method, StatusCode};
use serde::de::IgnoredAny;
use serde_json::json;

use super::super::{
    client::{Api, Client},
    clients,
    form::Form,
    frame::Frame,
    response::PageResponse,
    shown,
};
use crate::{
    admin::{
        ById, CredentialFields, MadeToken, Me, PasteToken, PasteTokenPlace, ReachableProvider,
        ReachableProviders, Rotated, Token,
    },
    clock::{now_ms, utc},
    fault::Fault,
    numbers::counted,
};

/// Lifetimes that the form offers, in days; zero for no expiry.
const LIFETIMES: [(u64, &str); 5] =
    [(0, "Never"), (1, "After a day"), (7, "After a week"), (30, "After 30 days"), (90, "After 90 days")];
const DAY_MS: u64 = 86_400_000;

#[derive(Template)]
#[template(path = "config/tokens.html")]
struct TokensPage<'p> {
    frame: &'p Frame,
    me: &'p Me,
    tokens: &'p [(String, Token)],
    providers: &'p [ReachableProvider],
    /// The places that make paste tokens, with the title of what they are for.
    pastes: Vec<Paste<'p>>,
    lifetimes: &'static [(u64, &'static str)],
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

/// A token that was just made. The page that shows it is stored nowhere.
struct Made {
    title: String,
    token: String,
    /// What the person should know about it.
    notes: Vec<String>,
    /// The use that commands are shown for, if that is known.
    usage: Option<TokenUse>,
}

/// The use of a new token.
enum TokenUse {
    /// Calls to providers, with the scopes of the token if it has some.
    Calls(Option<Vec<String>>),
    /// Calls of tollgate's own API alone.
    Manage,
}

/// Commands that use a new token.
struct Example {
    /// The name and the title of the provider that they call, if they call one.
    provider: Option<(String, String)>,
    code: String,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
) -> Result<PageResponse, Fault> {
    page(client, frame, None, None).await
}

/// Creates a token.
pub(in super::super) async fn create(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let mut body = json!({ "kind": form.text("kind") });
    if !form.text("label").is_empty() {
        body["label"] = form.text("label").into();
    }
    let scopes: Vec<String> = form.all("scope").map(str::to_owned).collect();
    let is_limited = form.text("reach") == "some";
    if !is_limited && !scopes.is_empty() {
        // A token with more reach than was meant is worse than a second try.
        let problem = "You chose providers, and also everything. Choose `Only these`, or no provider";
        return page(client, frame, None, Some(problem.to_owned())).await;
    }
    let usage = match form.text("kind") {
        "manage" => TokenUse::Manage,
        _ => TokenUse::Calls(is_limited.then(|| scopes.clone())),
    };
    if is_limited {
        body["scopes"] = scopes.into();
    }
    let days = form.text("days").parse().unwrap_or(0);
    if days > 0 {
        body["expiresAt"] = utc(now_ms() + days * DAY_MS).into();
    }
    let made: Result<MadeToken, Fault> = client.send(Method::POST, "/auth/tokens", &body).await;
    let made = made.map(|made| Made {
        title: "Your new token".to_owned(),
        token: made.token,
        notes: vec!["It is shown only now. Store it where you need it.".to_owned()],
        usage: Some(usage),
    });
    finish(client, frame, made).await
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
    finish(client, frame, made).await
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
    finish(client, frame, made).await
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
        Err(fault) => page(client, frame, None, Some(fault.message.into_owned())).await,
    }
}

async fn finish(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    made: Result<Made, Fault>,
) -> Result<PageResponse, Fault> {
    match made {
        Ok(made) => page(client, frame, Some(made), None).await,
        Err(fault) => page(client, frame, None, Some(fault.message.into_owned())).await,
    }
}

async fn page(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    made: Option<Made>,
    problem: Option<String>,
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
    let usage = made.as_ref().and_then(|made| made.usage.as_ref());
    let example = usage.and_then(|usage| example(usage, &reachable.providers, &frame.public_url));
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let page = TokensPage {
        frame,
        me: &me,
        tokens: &tokens,
        providers: &reachable.providers,
        pastes: pastes.collect(),
        lifetimes: &LIFETIMES,
        made,
        example,
        problem,
    };
    Ok(PageResponse::html(status, &page))
}

/// Commands for the first provider that a client in a shell can call.
fn example(usage: &TokenUse, providers: &[ReachableProvider], server: &str) -> Option<Example> {
    let TokenUse::Calls(scopes) = usage else {
        let code = format!("curl {server}/auth/me -H \"Authorization: Bearer {}\"", clients::TOKEN);
        return Some(Example { provider: None, code });
    };
    let mut reached = providers.iter().filter_map(|provider| reached(provider, scopes.as_deref()));
    reached.find_map(|provider| {
        let setup = clients::setups(&provider, server, None).into_iter().find(|one| one.kind.is_shell())?;
        let code = setup.steps.into_iter().next()?.code;
        Some(Example { provider: Some((provider.name, provider.title)), code })
    })
}

/// The part of a provider that scopes reach. None if they reach nothing of it.
fn reached(provider: &ReachableProvider, scopes: Option<&[String]>) -> Option<ReachableProvider> {
    let mut provider = provider.clone();
    if let Some(scopes) = scopes.filter(|scopes| !scopes.contains(&provider.name)) {
        provider.endpoints.retain(|one| scopes.contains(&format!("{}/{}", provider.name, one.name)));
    }
    (!provider.endpoints.is_empty()).then_some(provider)
}

fn paste_of<'p>(title: &'p str, place: &'p PasteTokenPlace) -> Paste<'p> {
    let name = place.path.rsplit('/').next().unwrap_or_default();
    Paste { title, provider: &place.provider, name }
}

impl Token {
    /// The text for its kind.
    fn kind_shown(&self) -> String {
        serde_json::to_value(self.kind)
            .ok()
            .and_then(|kind| kind.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_call_is_within_the_reach_of_the_token() {
        let provider = |name: &str| {
            let endpoint = |name, api, path| json!({ "name": name, "method": "POST", "path": path, "api": api, "streaming": true });
            let chat = endpoint("chat", "chat-completions", "/v1/chat/completions");
            let endpoints = [endpoint("speak", "speech", "/v1/speech"), chat];
            let path = format!("/{name}");
            let provider = json!({ "name": name, "title": name, "basePath": path, "endpoints": endpoints });
            serde_json::from_value(provider).unwrap()
        };
        let providers: [ReachableProvider; 2] = [provider("a"), provider("b")];
        let check = |scopes: Option<&[&str]>, expected: Option<&str>| {
            let scopes = scopes.map(|scopes| scopes.iter().map(|one| (*one).to_owned()).collect());
            let found = example(&TokenUse::Calls(scopes), &providers, "http://g.example");
            let name = found.as_ref().and_then(|one| one.provider.as_ref()).map(|(name, _)| name.as_str());
            assert_eq!(name, expected);
            if let Some(example) = found {
                let url = format!("http://g.example/{}/v1/chat/completions", expected.unwrap());
                assert!(
                    example.code.contains(&url) && example.code.contains(clients::TOKEN),
                    "{}",
                    example.code
                );
            }
        };
        check(None, Some("a"));
        check(Some(&["b"]), Some("b"));
        check(Some(&["a/speak", "b/chat"]), Some("b"));
        check(Some(&["a/speak"]), None);
        check(Some(&["c"]), None);
        check(Some(&[]), None);
        let manage = example(&TokenUse::Manage, &providers, "http://g.example").unwrap();
        assert!(manage.provider.is_none() && manage.code.contains("http://g.example/auth/me"));
    }
}
