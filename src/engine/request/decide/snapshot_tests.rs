//! No byte of a caller's token is sent upstream, whichever of two sets of files is current at whichever step: `begin`
//! takes one snapshot, and no later step takes another.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, Request, Version, request::Parts};
use proptest::{prelude::*, sample::subsequence};

use super::*;
use crate::{
    base::name::FileName,
    language::{
        bind,
        compile::{self, VarSource},
        syntax,
    },
};

const TOKEN: &str = "caller-token-0123";
const CREDENTIAL: &str = "stored-credential";
const HEADERS: [&str; 3] = ["x-goog-api-key", "api-key", "x-tok"];
const QUERY: [&str; 3] = ["key", "token", "a b"];

const HUB: &str = "title = \"Hub\"\nbase_url = \"https://hub.example\"\nvars = { t = { env = \"HUB\" } }\n\
    headers = { set = { x-hub = \"{t}\" } }\n";

/// One provider file.
#[derive(Debug, Clone)]
struct File {
    prefix: &'static str,
    caller_headers: Vec<&'static str>,
    caller_query: Vec<&'static str>,
    pass: Vec<&'static str>,
    set: Option<&'static str>,
    default: Option<&'static str>,
    query: &'static str,
    auth: Option<&'static str>,
    gateway: bool,
    egress: bool,
}

/// A set of files, and which vars are set.
#[derive(Debug, Clone)]
struct Files {
    providers: Vec<File>,
    hub: bool,
    proxy: bool,
}

/// A place where a client puts its token, and how it spells it.
#[derive(Debug, Clone, Copy)]
struct Place {
    name: &'static str,
    in_query: bool,
    spelling: bool,
}

fn file() -> impl Strategy<Value = File> {
    let names = || prop::option::of(prop::sample::select(HEADERS.to_vec()));
    let caller = (subsequence(HEADERS.to_vec(), 0..=3), subsequence(QUERY.to_vec(), 0..=3));
    let rules = (subsequence(vec!["origin", "referer", "x-forwarded-for"], 0..=3), names(), names());
    let prefix = prop::sample::select(vec!["/p", "/p/b", "/q"]);
    let query = prop::sample::select(vec![
        "",
        "set = { key = \"1\" }",
        "default = { token = \"1\" }",
        "remove = [\"key\"]",
    ]);
    let auth = prop::option::of(prop::sample::select(vec!["authorization", "x-goog-api-key", "x-tok"]));
    (prefix, caller, rules, query, auth, any::<bool>(), any::<bool>()).prop_map(
        |(prefix, (caller_headers, caller_query), (pass, set, default), query, auth, gateway, egress)| File {
            prefix,
            caller_headers,
            caller_query,
            pass,
            set,
            default,
            query,
            auth,
            gateway,
            egress,
        },
    )
}

fn files() -> impl Strategy<Value = Files> {
    (prop::collection::vec(file(), 1..4), any::<bool>(), any::<bool>())
        .prop_map(|(providers, hub, proxy)| Files { providers, hub, proxy })
}

fn places() -> impl Strategy<Value = Vec<Place>> {
    let headers = ["authorization", "x-api-key"].into_iter().chain(HEADERS).map(|name| (name, false));
    let all: Vec<(&str, bool)> = headers.chain(QUERY.map(|name| (name, true))).collect();
    let place = (prop::sample::select(all), any::<bool>());
    let place = place.prop_map(|((name, in_query), spelling)| Place { name, in_query, spelling });
    prop::collection::vec(place, 1..4)
}

impl File {
    fn text(&self, number: usize) -> String {
        let rule = |rule: &str, name: Option<&str>| {
            name.map(|name| format!("{rule} = {{ {name} = \"v\" }}\n")).unwrap_or_default()
        };
        let auth = self
            .auth
            .map(|name| format!("[[auth]]\nfield = \"key\"\nset = {{ {name} = \"Bearer {{secret}}\" }}\n"));
        let gateway = if self.gateway { "[gateway.hub]\npath = \"/p{path}\"\n" } else { "" };
        let egress = if self.egress {
            "[[egress]]\nwhen = [\"proxy\"]\nurl = \"{proxy}?to={url|urlencode}\"\n"
        } else {
            ""
        };
        format!(
            "title = \"P\"\nbase_url = \"https://p{number}.example/base\"\npath_prefix = \"{}\"\n\
             vars = {{ proxy = {{ env = \"PROXY\", optional = true }} }}\n\
             credentials = {{ section = \"s{number}\", field = [{{ name = \"key\" }}] }}\n\
             [caller]\nheaders = {:?}\nquery = {:?}\n[headers]\npass = {:?}\n{}{}{}\
             [endpoint.e]\nmethod = \"GET\"\npath = \"/e{number}/{{rest...}}\"\nquery = {{ {} }}\n{gateway}{egress}",
            self.prefix,
            self.caller_headers,
            self.caller_query,
            self.pass,
            rule("default", self.default.filter(|name| self.set != Some(name))),
            rule("set", self.set),
            auth.unwrap_or_default(),
            self.query,
        )
    }
}

impl Files {
    fn table(&self) -> Table {
        let mut all = compile::Files::default();
        all.gateways.insert(FileName::new("hub").unwrap(), syntax::parse(&"hub.toml".into(), HUB).0);
        for (number, file) in self.providers.iter().enumerate() {
            let name = FileName::new(&format!("p{number}")).unwrap();
            let parsed = syntax::parse(&format!("p{number}.toml").into(), &file.text(number)).0;
            all.providers.insert(name, parsed);
        }
        let compiled = compile::compile(&all);
        let value = |source: &VarSource| match source {
            VarSource::Env(name) if name == "HUB" => self.hub.then(|| "h".to_owned()),
            VarSource::Env(_) => self.proxy.then(|| "https://proxy.example".to_owned()),
            VarSource::File(_) => None,
        };
        let bound =
            compiled.providers.iter().filter_map(|one| bind::bind(one, |_, _, var| value(&var.source)).0);
        Table::new(bound.map(Arc::new).collect(), compiled.rejected, &[])
    }
}

/// A request with its token in those of these places where the snapshot's files take tokens.
fn head(path: &str, places: &[Place], snapshot: &Table) -> Parts {
    let (mut query, mut headers) = (vec!["page=1".to_owned()], Vec::new());
    for place in places {
        let known = match place {
            Place { in_query: true, name, .. } => {
                snapshot.token_locations.query.iter().any(|one| one == name)
            }
            Place { name: "authorization" | "x-api-key", .. } => true,
            Place { name, .. } => snapshot.token_locations.headers.iter().any(|one| one == name),
        };
        match *place {
            _ if !known => {}
            Place { name, in_query: true, spelling } => {
                let name = name.replace(' ', "+");
                let (first, rest) = name.split_at(1);
                let name = if spelling { format!("%{:02x}{rest}", first.as_bytes()[0]) } else { name };
                query.push(format!(
                    "{name}={}",
                    if spelling { TOKEN.replace('c', "%63") } else { TOKEN.to_owned() }
                ));
            }
            Place { name: "authorization", .. } => headers.push(("authorization", format!("Bearer {TOKEN}"))),
            // The underscore is taken for a hyphen by many servers.
            Place { name: "x-tok", spelling: true, .. } => headers.push(("x_tok", TOKEN.to_owned())),
            Place { name, .. } => headers.push((name, TOKEN.to_owned())),
        }
    }
    let uri = format!("{path}?{}", query.join("&"));
    let mut request = Request::builder().method(Method::GET).uri(uri).version(Version::HTTP_10);
    for (name, value) in headers {
        request = request.header(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

/// Percent-decoded until nothing changes: an egress encodes the whole URL.
fn decoded(url: &str) -> String {
    let mut text = url.to_owned();
    loop {
        let next = text.replace("%63", "c").replace("%25", "%");
        if next == text {
            return text;
        }
        text = next;
    }
}

/// True if the request was sent; fails if the token was.
fn sent(head: &Parts, snapshot: &Table) -> bool {
    let Ok(Begun::Provider(call)) = begin(head, snapshot, Listener::ANY) else { return false };
    let Ok(token) = call.token() else { return false };
    assert_eq!(token.expose(), TOKEN);
    let Ok(routed) = call.authenticated(CallerFacts::UNRESTRICTED) else { return false };
    let authorized = routed.in_scope().unwrap();
    let secret = Secret::new(CREDENTIAL);
    let credential = authorized.credential([|_: &str| Some(Candidate::given(&secret))], 0).unwrap();
    let Ok(out) = credential.without_refresh().request(0, Fresh::STAND_IN) else { return false };
    assert!(!decoded(&out.url()).contains(TOKEN), "{}", out.url());
    for (name, value) in &out.headers {
        let holds = value.as_bytes().windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
        assert!(!holds, "{name} holds the token");
    }
    true
}

#[test]
fn no_token_is_sent_whichever_files_are_current() {
    let config = ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let count = std::cell::Cell::new(0);
    let cases = (files(), files(), places(), prop::sample::select(vec!["/p", "/p/b", "/q"]), 0..3_usize);
    runner
        .run(&cases, |(before, after, places, prefix, number)| {
            let tables = [before.table(), after.table()];
            let path = format!("{prefix}/e{number}/x");
            // The client may follow either set of files, and either may be current when its request begins.
            for client in &tables {
                for snapshot in &tables {
                    let mut places = places.clone();
                    places.retain(|place| {
                        !place.in_query || client.token_locations.query.iter().any(|one| one == place.name)
                    });
                    count.set(count.get() + usize::from(sent(&head(&path, &places, snapshot), snapshot)));
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(count.get() > 50, "{} requests were sent", count.get());
}
