//! The form of a new token, and the answer to it: the token, which is shown once, with a first call. Users have it for their own
//! tokens, operators for those of a user.

use std::borrow::Borrow;

use serde_json::{Value, json};

use super::{clients, form::Form, frame::Frame};
use crate::{
    admin::{MadeToken, ReachableProvider, Token},
    clock::{now_ms, utc},
    compile::Clients,
    syntax::ClientKind,
};

/// Lifetimes that the form offers, in days; zero for no expiry.
pub(super) const LIFETIMES: [(u64, &str); 5] =
    [(0, "Never"), (1, "After a day"), (7, "After a week"), (30, "After 30 days"), (90, "After 90 days")];
const DAY_MS: u64 = 86_400_000;
/// The word for a token with scopes.
const SOME: &str = "some";

/// The form.
pub(super) struct TokenForm<'p> {
    /// The path that it is sent to.
    pub(super) action: String,
    /// The providers to choose from, with their endpoints.
    pub(super) providers: &'p [ReachableProvider],
    /// The refused form.
    pub(super) typed: &'p Form,
    /// True if the token is for the person who fills it in.
    pub(super) is_own: bool,
}

/// A token that was just made. The page that shows it is stored nowhere.
pub(super) struct Made {
    pub(super) title: String,
    pub(super) token: String,
    /// What the person should know about it.
    pub(super) notes: Vec<String>,
    /// The use that commands are shown for, if that is known.
    pub(super) usage: Option<TokenUse>,
}

/// The use of a new token.
pub(super) enum TokenUse {
    /// Calls to providers, with the scopes of the token if it has some.
    Calls(Option<Vec<String>>),
    /// Calls of tollgate's own API alone.
    Manage,
}

/// Commands that use a new token.
pub(super) struct Example {
    /// The name and the title of the provider that they call, if they call one.
    pub(super) provider: Option<(String, String)>,
    pub(super) code: String,
}

impl TokenForm<'_> {
    /// The text that the refused form had in a field.
    pub(super) fn text(&self, name: &str) -> &str {
        self.typed.text(name)
    }

    /// True if the refused form had this choice of a field.
    pub(super) fn has(&self, name: &str, value: &str) -> bool {
        self.typed.all(name).any(|one| one == value)
    }

    /// True if the refused form had this lifetime, in days.
    pub(super) fn has_days(&self, days: impl Borrow<u64>) -> bool {
        self.typed.text("days").parse() == Ok(*days.borrow())
    }

    /// True if the refused form had this endpoint.
    pub(super) fn has_scope(&self, provider: &str, endpoint: &str) -> bool {
        self.has("scope", &format!("{provider}/{endpoint}"))
    }

    pub(super) fn is_limited(&self) -> bool {
        self.typed.text("reach") == SOME
    }

    /// True if the refused form had an endpoint of this provider.
    pub(super) fn has_endpoint(&self, provider: &str) -> bool {
        let mut scopes = self.typed.all("scope");
        scopes.any(|scope| scope.strip_prefix(provider).is_some_and(|rest| rest.starts_with('/')))
    }
}

/// The body of the call that makes the token, and its use. The problem if the form contradicts itself.
pub(super) fn body(form: &Form) -> Result<(Value, TokenUse), String> {
    let mut body = json!({ "kind": form.text("kind") });
    if !form.text("label").is_empty() {
        body["label"] = form.text("label").into();
    }
    let scopes: Vec<String> = form.all("scope").map(str::to_owned).collect();
    let is_limited = form.text("reach") == SOME;
    if !is_limited && !scopes.is_empty() {
        // A token with more reach than was meant is worse than a second try.
        return Err(
            "You chose providers, and also everything. Choose `Only these`, or no provider".to_owned()
        );
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
        body["expiresAt"] = utc(now_ms().saturating_add(DAY_MS.saturating_mul(days))).into();
    }
    Ok((body, usage))
}

impl Made {
    /// A token by the form.
    pub(super) fn new(made: MadeToken, title: &str, usage: TokenUse) -> Self {
        Self {
            title: title.to_owned(),
            token: made.token,
            notes: vec!["It is shown only now. Store it where you need it.".to_owned()],
            usage: Some(usage),
        }
    }

    /// A first call with it.
    pub(super) fn example(&self, frame: &Frame, providers: &[ReachableProvider]) -> Option<Example> {
        example(self.usage.as_ref()?, &frame.clients, providers, &frame.public_url)
    }
}

/// Commands for the first provider that a client in a shell can call.
fn example(
    usage: &TokenUse,
    clients: &Clients,
    providers: &[ReachableProvider],
    server: &str,
) -> Option<Example> {
    let TokenUse::Calls(scopes) = usage else {
        let code = format!("curl {server}/auth/me -H \"Authorization: Bearer {}\"", clients::TOKEN);
        return Some(Example { provider: None, code });
    };
    let mut reached = providers.iter().filter_map(|provider| reached(provider, scopes.as_deref()));
    reached.find_map(|provider| {
        let setup = clients::setups(clients, &provider, server, None);
        let setup = setup.into_iter().find(|one| one.kind == ClientKind::Shell)?;
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

impl Token {
    /// The text for its kind.
    pub(super) fn kind_shown(&self) -> String {
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
        let shipped = clients::shipped();
        let check = |scopes: Option<&[&str]>, expected: Option<&str>| {
            let scopes = scopes.map(|scopes| scopes.iter().map(|one| (*one).to_owned()).collect());
            let found = example(&TokenUse::Calls(scopes), &shipped, &providers, "http://g.example");
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
        let manage = example(&TokenUse::Manage, &shipped, &providers, "http://g.example").unwrap();
        assert!(manage.provider.is_none() && manage.code.contains("http://g.example/auth/me"));
    }
}
