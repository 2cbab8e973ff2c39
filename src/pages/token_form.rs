//! The form of a new token, and the answer to it: the token, which is shown once, with a first call. Users have it for their own
//! tokens, operators for those of a user.

use std::borrow::Borrow;

use askama::Template;
use http::StatusCode;
use serde_json::{Value, json};

use super::{clients, form::Form, frame::Frame, response::PageResponse};
use crate::{
    admin::{MadeToken, ReachableProvider, Token},
    client_setup::{self, FilledStep},
    clock::{now_ms, utc},
    compile::Clients,
    fault::Fault,
    syntax::ClientKind,
};

/// Lifetimes that the form offers, in days; zero for no expiry.
pub(super) const LIFETIMES: [(u64, &str); 5] =
    [(0, "Never"), (1, "After a day"), (7, "After a week"), (30, "After 30 days"), (90, "After 90 days")];
const DAY_MS: u64 = 86_400_000;
/// The word for a token with scopes.
const SOME: &str = "some";

/// The page of a token that was made, in place of a page that cannot be read.
#[derive(Template)]
#[template(path = "made.html")]
struct MadeAlone<'p> {
    frame: &'p Frame,
    made: Option<Made>,
    problem: &'p str,
}

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
#[derive(Clone)]
pub(super) struct Made {
    pub(super) title: String,
    pub(super) token: String,
    /// The path of the page that a browser loads in place of the form's answer.
    pub(super) page: String,
    /// What the person should know about it.
    pub(super) notes: Vec<String>,
    /// The use that commands are shown for, if that is known.
    pub(super) usage: Option<TokenUse>,
}

/// The use of a new token.
#[derive(Clone)]
pub(super) enum TokenUse {
    /// Calls to providers, with the scopes of the token if it has some.
    Calls(Option<Vec<String>>),
    /// Calls of tollgate's own API alone.
    Manage,
    /// Calls to this provider by clients that take no other token than a paste token.
    Paste(String),
}

/// Commands that use a new token.
pub(super) struct Example {
    /// The name and the title of the provider that they call, if they call one.
    pub(super) provider: Option<(String, String)>,
    /// The client that they are for, if it takes no other token.
    pub(super) client: Option<String>,
    pub(super) steps: Vec<ExampleStep>,
}

/// A command, or a part of a file, with a sentence before it.
pub(super) struct ExampleStep {
    pub(super) text: Option<String>,
    pub(super) file: Option<String>,
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
    let days = form.text("days");
    let Some((days, _)) = LIFETIMES.into_iter().find(|(one, _)| one.to_string() == days) else {
        // One that cannot be read must not become none at all.
        return Err("Choose when the token ends: one of the list".to_owned());
    };
    if days > 0 {
        body["expiresAt"] = utc(now_ms().saturating_add(DAY_MS.saturating_mul(days))).into();
    }
    Ok((body, usage))
}

/// The path that revokes the token at `path` as the form asks for, and the word of its message.
pub(super) fn revocation(path: &str, form: &Form) -> (String, &'static str) {
    match form.text("with_made") {
        "" => (path.to_owned(), "revoked"),
        _ => (format!("{path}?withMade=true"), "revoked-all"),
    }
}

/// The page of a token that was made although the page that shows it cannot be read: it is shown only this once.
pub(super) fn made_alone(frame: &Frame, made: Option<Made>, fault: Fault) -> Result<PageResponse, Fault> {
    if made.is_none() {
        return Err(fault);
    }
    Ok(PageResponse::html(StatusCode::OK, &MadeAlone { frame, made, problem: &fault.message }))
}

impl Made {
    /// A token by the form.
    pub(super) fn new(made: MadeToken, page: String, title: &str, usage: TokenUse) -> Self {
        Self {
            title: title.to_owned(),
            token: made.token,
            page,
            notes: vec!["It is shown only now. Store it where you need it.".to_owned()],
            usage: Some(usage),
        }
    }

    /// A first call with it.
    pub(super) fn example(&self, frame: &Frame, providers: &[ReachableProvider]) -> Option<Example> {
        example(self.usage.as_ref()?, &frame.clients, providers, &frame.public_url)
    }
}

/// Commands for the first provider that a client in a shell can call, or for the first client that takes the paste token.
fn example(
    usage: &TokenUse,
    clients: &Clients,
    providers: &[ReachableProvider],
    server: &str,
) -> Option<Example> {
    match usage {
        TokenUse::Manage => {
            let server = client_setup::escaped(server);
            let code =
                format!("curl \"{server}/auth/me\" -H \"Authorization: Bearer {}\"", client_setup::TOKEN);
            let steps = vec![ExampleStep { text: None, file: None, code }];
            Some(Example { provider: None, client: None, steps })
        }
        TokenUse::Paste(name) => {
            let provider = providers.iter().find(|provider| provider.name == *name)?;
            let setup = clients::paste_setups(clients, provider, server).into_iter().next()?;
            let client = Some(setup.title.to_owned());
            Some(Example { client, ..Example::of(provider, setup.steps) })
        }
        TokenUse::Calls(scopes) => {
            let mut reached = providers.iter().filter_map(|provider| reached(provider, scopes.as_deref()));
            reached.find_map(|provider| {
                let setup = clients::setups(clients, &provider, server, None);
                let mut setup = setup.into_iter().find(|one| one.kind == ClientKind::Shell)?;
                setup.steps.truncate(1);
                Some(Example::of(&provider, setup.steps))
            })
        }
    }
}

impl Example {
    fn of(provider: &ReachableProvider, steps: Vec<FilledStep<'_>>) -> Self {
        let step = |step: FilledStep<'_>| ExampleStep {
            text: step.text,
            file: step.file.map(str::to_owned),
            code: step.code,
        };
        let provider = Some((provider.name.clone(), provider.title.clone()));
        Self { provider, client: None, steps: steps.into_iter().map(step).collect() }
    }
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
    fn a_revocation_may_include_what_came_from_the_token() {
        for (form, expected) in
            [("token=x", ("/t", "revoked")), ("token=x&with_made=1", ("/t?withMade=true", "revoked-all"))]
        {
            let (path, word) = revocation("/t", &Form::parse(form.as_bytes()));
            assert_eq!((path.as_str(), word), expected, "{form}");
        }
    }

    #[test]
    fn only_lifetimes_of_the_list_are_taken() {
        let check = |days: &str, expected: Option<bool>| {
            let form = Form::parse(format!("kind=both&reach=all&days={days}").as_bytes());
            let body = body(&form).ok().map(|(body, _)| body.get("expiresAt").is_some());
            assert_eq!(body, expected, "{days}");
        };
        check("0", Some(false));
        check("+7+", Some(true));
        for other in
            ["", "x", "-1", "00", "07", "8", "7.0", "1e9", "18446744073709551615", "99999999999999999999999"]
        {
            check(other, None);
        }
    }

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
                    example.steps[0].code.contains(&url)
                        && example.steps[0].code.contains(client_setup::TOKEN),
                    "{}",
                    example.steps[0].code
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
        assert!(manage.provider.is_none() && manage.steps[0].code.contains("http://g.example/auth/me"));
    }
}
