//! `tollgate explain`: shows the routing and rewriting of a request, from the files on disk. Sends nothing, and uses no
//! running server.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, bail, ensure};
use http::{HeaderName, HeaderValue, Method, Request, Version, request::Parts};

use super::{
    check,
    context::{find_user, open},
    token::Kind,
};
use crate::{
    accounts::{KeySources, MasterKey, StoredFacts},
    clock::now_ms,
    compile::{self, Compiled, VarSource},
    decide::TokenKind,
    escape::Lines,
    explain::{self, Access, Caller, Calling, Context, OwnerCredentials, StoredValue},
    files, filetest,
    name::{Scope, TokenId},
    output::{self, Document},
    pipeline::{self, Assembled, Loaded},
    secret::Secret,
    settings::Places,
    store::{Store, StoredToken, User},
    suggest::{backticked, nearest},
    table::Hit,
    websocket,
};

/// The arguments of `tollgate explain`.
///
/// Vars come from the environment and the secrets directory, as for `serve`. Secrets are shown as `***`. Exit codes: 0 if there
/// is an endpoint; 1 if there is none; 2 if that cannot be determined.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 there is an endpoint, 1 there is none, 2 the question cannot be answered"
)]
pub struct Args {
    /// The request's method
    method: String,
    /// The request's path and query, as a client sends them
    #[arg(value_name = "PATH")]
    path: String,
    /// A header of the request, `name: value` (repeatable)
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The calling user, by id or name, with the credentials stored in the data directory
    #[arg(long = "as", value_name = "USER", conflicts_with = "credentials")]
    user: Option<String>,
    /// The user's token for the request, by its id as `tollgate token list` shows it
    #[arg(long, value_name = "TOKEN_ID", requires = "user")]
    token: Option<String>,
    /// The kind of the request's token [default: both]
    #[arg(long, conflicts_with = "token")]
    kind: Option<Kind>,
    /// A scope of the request's token: `provider` or `provider/endpoint` (repeatable)
    #[arg(long, conflicts_with = "token")]
    scope: Vec<String>,
    /// A credential of the caller, by field of the provider's credentials section (repeatable)
    #[arg(long = "credential", value_name = "FIELD=VALUE")]
    credentials: Vec<String>,
    /// The request's body, for limits and rules that depend on it; `@FILE` reads a file
    #[arg(long, value_name = "BODY")]
    body: Option<String>,
    /// Set a var, by its name or its environment variable; `GATEWAY.NAME` for a gateway's var (repeatable)
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<String>,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// Prints the explanation. Returns true if the request has an endpoint.
pub fn run(args: &Args, places: &Places, keys: anyhow::Result<KeySources>) -> anyhow::Result<bool> {
    let head = head(args)?;
    let (providers, secrets) = (places.providers()?, places.secrets()?);
    check::note_built_in_files(&providers, places)?;
    let what = check::describe(&providers);
    let mut loaded = files::load(&providers).with_context(|| format!("cannot read {what}"))?;
    loaded.env_allow = places.env_allow()?;
    let compiled = compile::compile(&loaded.files);
    let vars = overrides(&args.vars, &compiled)?;
    // A provider whose own tests fail is explained too: the user may be looking for the reason.
    let failing = filetest::run(&compiled).diagnostics;
    loaded.files.drop_tests();
    let value = |source: &VarSource| match vars.get(source) {
        Some(value) => Ok(Some(value.clone())),
        None => files::var_value(source, &secrets),
    };
    let assembled = pipeline::assemble(&loaded, value);
    let errors: Vec<_> = assembled.diagnostics.iter().filter(|one| one.is_error()).cloned().collect();
    check::show(&loaded.sources, &errors)?;
    let hit = assembled.table.find_canonical(&head.method, head.uri.path());
    let mut caller = caller(args, places, keys, hit.as_ref())?;
    caller.calling.body = args.body.as_deref().map(body).transpose()?;
    caller.calling.now_ms = now_ms();
    let out =
        hit.as_ref().and_then(|hit| assembled.providers.iter().find(|one| one.name == hit.provider.name));
    if let Some(test) = out.and_then(|out| failing.iter().find(|one| out.inputs.contains(&one.at.file))) {
        output::note_line(format_args!(
            "warning: `{}` is not served as it is: {}",
            test.at.file, test.message
        ))?;
    }
    let context = context(&loaded, &assembled);
    let explained = explain::explain(context, &head, &|_, _, var| value(&var.source), &caller);
    let printed = if args.json {
        output::print_document(&Document::json(&explained)?)
    } else {
        output::print(&Lines::split(&explained.to_string()))
    };
    printed.context("failed to print")?;
    Ok(explained.route.is_some())
}

/// The body, or that of a file. Errors never quote it.
fn body(given: &str) -> anyhow::Result<Vec<u8>> {
    match given.strip_prefix('@') {
        Some(file) => std::fs::read(file).with_context(|| format!("failed to read the body from `{file}`")),
        None => Ok(given.as_bytes().to_vec()),
    }
}

fn context<'a>(loaded: &'a Loaded, assembled: &'a Assembled) -> Context<'a> {
    Context {
        files: &loaded.files,
        sources: &loaded.sources,
        table: &assembled.table,
        providers: &assembled.providers,
        fixture: None,
    }
}

/// The request's head. Errors never quote the arguments: they may contain a token.
fn head(args: &Args) -> anyhow::Result<Parts> {
    let method = Method::from_bytes(args.method.to_ascii_uppercase().as_bytes());
    let method = method.context("the method is not valid: give one such as `POST`")?;
    ensure!(
        args.path.starts_with('/'),
        "the path has to start with `/`: give it as a client sends it, without scheme and host"
    );
    // Clients add `Host` themselves, so the arguments need none. Only HTTP/1.0 allows that.
    let request = Request::builder().method(method).uri(&args.path).version(Version::HTTP_10).body(());
    let (mut head, ()) = request
        .context("the path is not valid in a URL: percent-encode its special characters")?
        .into_parts();
    for (index, line) in args.headers.iter().enumerate() {
        let malformed = || format!("header {} is not of the form `name: value`", index + 1);
        let (name, value) = line.split_once(':').with_context(malformed)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).with_context(malformed)?;
        let value = HeaderValue::from_str(value.trim()).ok().with_context(malformed)?;
        head.headers.append(name, value);
    }
    websocket::complete(&mut head);
    Ok(head)
}

/// The values of `--var`, by the source that each replaces.
fn overrides(given: &[String], compiled: &Compiled) -> anyhow::Result<BTreeMap<VarSource, String>> {
    let mut known: Vec<(String, &VarSource)> = Vec::new();
    for provider in &compiled.providers {
        let own = provider.vars.iter().map(|(name, var)| (name.clone(), var));
        let gateways = provider.gateways.iter().flat_map(|one| {
            let gateway = &one.gateway;
            gateway.vars.iter().map(move |(name, var)| (format!("{}.{name}", gateway.name), var))
        });
        for (name, var) in own.chain(gateways) {
            if let VarSource::Env(env) = &var.value.source {
                known.push((env.clone(), &var.value.source));
            }
            known.push((name, &var.value.source));
        }
    }
    let mut values = BTreeMap::new();
    for one in given {
        // Errors quote only the name: the value may be a secret.
        let (name, value) = one.split_once('=').context("`--var` is given as NAME=VALUE")?;
        let mut sources = known.iter().filter(|(known, _)| known == name).peekable();
        if sources.peek().is_none() {
            let near = nearest(name, known.iter().map(|(known, _)| known.as_str()));
            let help = near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"));
            bail!("no provider file has a var `{name}`{help}");
        }
        values.extend(sources.map(|(_, source)| ((*source).clone(), value.to_owned())));
    }
    Ok(values)
}

/// The caller, with the credentials that the endpoint's provider may use.
fn caller(
    args: &Args,
    places: &Places,
    keys: anyhow::Result<KeySources>,
    hit: Option<&Hit>,
) -> anyhow::Result<Caller> {
    if let Some(user) = &args.user {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (name, owners, access, calling) = runtime.block_on(async {
            let data = places.data()?;
            let store = open(&data).await?;
            let found = find_user(&store, user).await?;
            let access = access_of(args, &store, &found).await?;
            let calling = Calling {
                user: Some(found.id.clone()),
                group: found.group.clone(),
                token: args.token.as_deref().and_then(TokenId::new),
                ..Calling::default()
            };
            let name = found.name.clone();
            anyhow::Ok((name, stored_for(found, &store, &data, keys, hit).await?, access, calling))
        })?;
        let absent_reason = format!("`{user}` has stored nothing for it, and nobody shares any");
        return Ok(Caller { owners, user: name, access, absent_reason, calling });
    }
    let mut held = Vec::new();
    for one in &args.credentials {
        let (field, value) = one.split_once('=').context("`--credential` is given as FIELD=VALUE")?;
        if let Some(hit) = hit {
            check_field(hit, field)?;
        }
        held.push((field.to_owned(), StoredValue::Value(Secret::new(value))));
    }
    let absent_reason = match args.credentials.as_slice() {
        [] => "no caller is named: use `--as USER` or `--credential FIELD=VALUE`",
        _ => "no `--credential` gives it",
    };
    Ok(Caller { access: access(args)?, ..Caller::given(held, absent_reason) })
}

/// The token's kind and scopes from the arguments.
fn access(args: &Args) -> anyhow::Result<Access> {
    let scope =
        |text: &String| Scope::parse(text).context("`--scope` is given as `provider` or `provider/endpoint`");
    let scopes = args.scope.iter().map(scope).collect::<anyhow::Result<Vec<_>>>()?;
    let scopes = (!scopes.is_empty()).then_some(scopes);
    Ok(Access { kind: args.kind.map_or(TokenKind::Both, Kind::kind), scopes, ..Access::default() })
}

/// The access of the stored user, and of the stored token if `--token` names one.
async fn access_of(args: &Args, store: &Store, user: &User) -> anyhow::Result<Access> {
    let disabled = user.disabled_at_ms.is_some();
    let Some(token) = &args.token else { return Ok(Access { disabled, ..access(args)? }) };
    let tokens = store.tokens_page(&user.id, None, None).await?;
    let token = tokens.into_iter().find(|one| one.id.as_str() == token);
    let StoredToken { kind, paste, scopes, .. } = token
        .with_context(|| format!("`{}` has no such token: `tollgate token list` shows all", user.name))?;
    Ok(Access { disabled, kind, paste, scopes })
}

fn check_field(hit: &Hit, field: &str) -> anyhow::Result<()> {
    let fields = hit.provider.section.iter().flat_map(|section| &section.fields);
    let known: Vec<&str> = fields.map(|known| known.value.name.as_str()).collect();
    ensure!(
        known.contains(&field),
        "`{}` has no credentials field of that name: known are {}",
        hit.provider.name,
        if known.is_empty() { "none".to_owned() } else { backticked(&known) }
    );
    Ok(())
}

/// The stored credentials that the provider may use for a user, by owner.
async fn stored_for(
    user: User,
    store: &Store,
    data: &Path,
    keys: anyhow::Result<KeySources>,
    hit: Option<&Hit>,
) -> anyhow::Result<Vec<OwnerCredentials>> {
    let Some(hit) = hit else { return Ok(Vec::new()) };
    let Some(facts) = StoredFacts::read(store, &user, hit).await? else { return Ok(Vec::new()) };
    let key = match keys {
        Ok(keys) => MasterKey::load_beside(&keys, data, store).await.map_err(Into::into),
        Err(error) => Err(error),
    };
    // The kind that a credential was stored as is known only with the key.
    let key = if facts.needs_key() { Some(key.context("failed to load the master key")?) } else { key.ok() };
    Ok(facts.by_owner(key.as_ref()))
}
