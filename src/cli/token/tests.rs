use tempfile::TempDir;

use super::*;
use crate::{
    accounts::{KeySources, NewUser, create_user},
    cli::context::places,
    name::UserId,
    settings::Places,
    store::{DuplicateNames, NewToken, Store, TokenKind},
};

struct World {
    _dir: TempDir,
    places: Places,
    store: Store,
    user: UserId,
}

impl World {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let places = places(dir.path());
        let store = Store::open(&places.data().unwrap()).await.unwrap();
        let made =
            create_user(&store, &Actor::own(), &DisplayName::new("ada").unwrap(), DuplicateNames::Refuse)
                .await
                .unwrap();
        let NewUser::Created { id: user, .. } = made else { panic!("{made:?}") };
        Self { _dir: dir, places, store, user }
    }

    fn context(&self) -> Context<'_> {
        Context { places: &self.places, keys: Ok(KeySources::default()) }
    }

    async fn add(&self) -> String {
        self.made("ada --label ci").await.unwrap()
    }

    /// The token that `token add` prints.
    async fn made(&self, line: &str) -> anyhow::Result<String> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: AddArgs,
        }
        let line = <Line as clap::Parser>::parse_from(["add"].into_iter().chain(line.split(' ')));
        Ok(add(&line.args, &self.context()).await?.0.out.trim_end().to_owned())
    }

    async fn revoke(&self, text: &str, stdin: &str) -> Result<String, String> {
        let read = |_: &str| Ok(Secret::new(stdin));
        let report = revoke(vec![text.to_owned()], RevokeExtent::Alone, read, &self.context()).await;
        report.map(|report| report.note).map_err(|error| format!("{error:#}"))
    }

    async fn is_known(&self, token: &str) -> bool {
        self.store.lookup_token(&TokenHash::of(token)).await.unwrap().is_some()
    }
}

#[tokio::test]
async fn a_token_is_printed_once_and_listed_by_its_prefix() {
    let world = World::new().await;
    let token = world.add().await;
    assert!(world.is_known(&token).await);
    let listed = list(Some("ada"), &world.context()).await.unwrap().out;
    assert_eq!(listed.lines().count(), 3);
    let line = listed.lines().find(|line| line.contains(&token[..11])).unwrap();
    assert!(
        line.contains(world.user.as_str())
            && line.ends_with("never    never      ada   ci")
            && line.contains("proxy")
            && line.starts_with("tok_"),
        "{line}"
    );
    assert!(!listed.contains(&token[..12]));
    let label = world.made("ada --label=").await.unwrap_err();
    assert!(label.to_string().starts_with("`--label`: "), "{label:#}");
    world
        .store
        .delete_user(&world.user, &Actor::own().act("user.delete", &world.user, serde_json::Value::Null))
        .await
        .unwrap();
    assert!(list(None, &world.context()).await.unwrap().note.contains("there are no tokens"));
}

#[tokio::test]
async fn tokens_are_revoked_by_prefix_or_value() {
    let world = World::new().await;
    let tokens = [world.add().await, world.add().await, world.add().await];
    let revoked = Ok("revoked 1 token\n".to_owned());
    assert_eq!(world.revoke(&tokens[0][..11], "").await, revoked);
    assert_eq!(world.revoke("-", &format!("{}\n", tokens[1])).await, revoked);
    assert_eq!(world.revoke(&tokens[2], "").await, revoked);
    for token in &tokens {
        assert!(!world.is_known(token).await);
        let error = world.revoke(token, "").await.unwrap_err();
        assert!(error.contains(&token[..11]) && !error.contains(&token[..12]), "{error}");
    }
    let token = world.add().await;
    let stored = world.store.tokens().await.unwrap();
    let id = &stored.iter().find(|one| one.hash == TokenHash::of(&token)).unwrap().id;
    assert_eq!(world.revoke(id.as_str(), "").await, revoked);
    assert!(!world.is_known(&token).await);
    let admins = world.revoke("adm_0123456789abcdef", "").await.unwrap_err();
    assert_eq!(admins, "`adm_0123456789abcdef` is an admin token's id: add `--admin`; nothing was revoked");
    for nothing in ["", "tg_", "-", id.as_str()] {
        assert!(world.revoke(nothing, "").await.is_err());
    }
}

#[tokio::test]
async fn one_unknown_token_keeps_all_from_being_revoked() {
    let world = World::new().await;
    let token = world.add().await;
    for extent in [RevokeExtent::Alone, RevokeExtent::WithMade] {
        let read = |_: &str| panic!("nothing to read");
        let tokens = [token[..11].to_owned(), "tg_nothing".to_owned(), "tok_00000000000000ff".to_owned()];
        let error = revoke(tokens.to_vec(), extent, read, &world.context()).await.err().unwrap().to_string();
        assert!(error.contains("tg_nothing") && error.contains("tok_00000000000000ff"), "{error}");
        assert!(world.is_known(&token).await);
    }
}

#[tokio::test]
async fn one_unknown_admin_token_keeps_all_from_being_revoked() {
    let world = World::new().await;
    for label in ["a", "b"] {
        add_admin(Some(label), &world.context()).await.unwrap();
    }
    let ids: Vec<String> =
        world.store.admin_tokens().await.unwrap().iter().map(|one| one.id.to_string()).collect();
    let unknown = ["adm_00000000000000fe", "adm_00000000000000ff"];
    for extent in [RevokeExtent::Alone, RevokeExtent::WithMade] {
        let named = [ids[0].clone(), unknown[0].to_owned(), unknown[1].to_owned()];
        let error = revoke_admin(&named, extent, &world.context()).await.err().unwrap().to_string();
        assert!(unknown.iter().all(|id| error.contains(id)) && !error.contains(&ids[0]), "{error}");
        assert_eq!(world.store.admin_tokens().await.unwrap().len(), 2, "{error}");
    }
    // If the last valid one is among them, the error names what was revoked before.
    let error = revoke_admin(&ids, RevokeExtent::Alone, &world.context()).await.err().unwrap();
    let error = format!("{error:#}");
    assert!(error.contains("before that: revoked 1 admin token") && error.contains("is the last"), "{error}");
}

#[tokio::test]
async fn an_admin_token_may_be_named_twice_or_beside_its_maker() {
    let world = World::new().await;
    for label in ["keep", "maker"] {
        add_admin(Some(label), &world.context()).await.unwrap();
    }
    let maker = world.store.admin_tokens().await.unwrap().pop().unwrap().id;
    let by_maker = Actor { right: Some(crate::store::Right::Admin(maker.clone())), ..Actor::own() };
    let (_, made) = issue_admin_token(&world.store, &by_maker, None).await.unwrap();
    let named = [&maker, &made, &made].map(AdminTokenId::to_string);
    let report = revoke_admin(&named, RevokeExtent::WithMade, &world.context()).await.unwrap();
    assert!(report.note.starts_with("revoked 2 admin tokens\n"), "{}", report.note);
}

#[tokio::test]
async fn further_admin_tokens_can_be_created_and_revoked() {
    let world = World::new().await;
    let (report, _) = add_admin(Some("laptop"), &world.context()).await.unwrap();
    let token = report.out.strip_suffix('\n').unwrap();
    assert!(world.store.find_admin_token(&TokenHash::of(token)).await.unwrap().is_some());
    assert!(!world.is_known(token).await, "it is no user's");
    assert!(report.note.contains("shown this once") && !report.note.contains(token), "{}", report.note);
    let first = add_admin(None, &world.context()).await.unwrap().0.out;
    assert!(world.store.find_admin_token(&TokenHash::of(first.trim())).await.unwrap().is_some());
    assert!(world.store.find_admin_token(&TokenHash::of(token)).await.unwrap().is_some());
    let listed = list_admin(&world.context()).await.unwrap().out;
    assert!(listed.contains("laptop") && !listed.contains(token), "{listed}");
    let ids: Vec<String> = listed.lines().skip(1).map(|line| line[..20].to_owned()).collect();
    let revoke = async |id: &String| {
        revoke_admin(std::slice::from_ref(id), RevokeExtent::Alone, &world.context()).await
    };
    assert_eq!(revoke(&ids[0]).await.unwrap().note, "revoked 1 admin token\n");
    let last = revoke(&ids[1]).await.err().unwrap().to_string();
    assert!(last.contains("is the last valid admin token"), "{last}");
    assert!(revoke(&ids[0]).await.err().unwrap().to_string().contains("no admin token has the id"));
}

#[tokio::test]
async fn a_token_may_have_scopes_and_an_expiry() {
    let world = World::new().await;
    let token = world.made("ada --kind both --scope demo/one --scope login --expires 30d").await.unwrap();
    let found = world.store.tokens().await.unwrap();
    let found = found.iter().find(|one| one.hash == TokenHash::of(&token)).unwrap();
    let scopes = found.scopes.iter().flatten().map(Scope::to_string).collect::<Vec<_>>();
    assert_eq!((found.kind, scopes), (TokenKind::Both, vec!["demo/one".to_owned(), "login".to_owned()]));
    let days = (found.expires_at_ms.unwrap() - found.created_at_ms) / 86_400_000;
    assert!((29..=30).contains(&days), "{days}");
    for (bad, expected) in [
        ("ada --scope demo/a/b", "`--scope`: a scope is written `provider` or `provider/endpoint`"),
        ("ada --expires 2001-01-01T00:00:00Z", "lies in the past"),
        ("ada --expires 0d", "is not a time"),
        ("ada --expires soon", "is not a time"),
    ] {
        let error = world.made(bad).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{bad}: {error}");
    }
    assert_eq!(from_utc("2030-01-01T00:00:00Z"), Some(expiry("2030-01-01T00:00:00Z").unwrap()));
}

#[tokio::test]
async fn an_ambiguous_prefix_lists_all_matches() {
    let world = World::new().await;
    for label in ["one", "two"] {
        let token = NewToken {
            id: crate::name::TokenId::new(&format!("tok_{:016x}", label.as_bytes()[0])).unwrap(),
            kind: crate::store::TokenKind::Both,
            scopes: None,
            hash: TokenHash::of(label),
            prefix: "tg_00000000".to_owned(),
            label: Some(label.to_owned()),
            created_at_ms: 1,
            expires_at_ms: None,
        };
        world
            .store
            .add_token(
                &world.user,
                &token,
                &Actor::own().act("token.create", &world.user, serde_json::Value::Null),
            )
            .await
            .unwrap();
    }
    let error = world.revoke("tg_00000000", "").await.unwrap_err();
    assert!(error.contains("one\n") && error.ends_with("two") && error.contains("give an id"), "{error}");
    assert!(world.is_known("one").await && world.is_known("two").await);
}

#[tokio::test]
async fn a_revocation_names_what_ended_and_what_stays() {
    let world = World::new().await;
    let token = world.made("ada --kind both").await.unwrap();
    let hash = TokenHash::of(&token);
    let by = |hash| {
        let act = Actor::own().act("token.create", &world.user, serde_json::Value::Null);
        crate::store::Act { right: Some(crate::store::Right::Token(hash)), ..act }
    };
    let mut maker = hash;
    for number in [1, 2] {
        let text = format!("made {number}");
        let made = NewToken {
            id: TokenId::new(&format!("tok_{number:016x}")).unwrap(),
            kind: TokenKind::Both,
            scopes: None,
            hash: TokenHash::of(&text),
            prefix: text.clone(),
            label: None,
            created_at_ms: 1,
            expires_at_ms: None,
        };
        assert!(world.store.add_token(&world.user, &made, &by(maker)).await.unwrap());
        maker = made.hash;
    }
    let listed = list(None, &world.context()).await.unwrap().out;
    assert!(listed.lines().next().unwrap().contains("MADE BY") && listed.contains("tok_0000000000000001"));
    let said = world.revoke(&token, "").await.unwrap();
    let advice = "still valid: 2 tokens that came from it: `--with-made` revokes these too";
    assert!(said.starts_with("revoked 1 token\n") && said.contains(advice), "{said}");
    // The first of them leads to the second, also once it is revoked.
    world.revoke("tok_0000000000000001", "").await.unwrap();
    let with_made = async |id: &str| {
        let read = |_: &str| panic!("nothing to read");
        revoke(vec![id.to_owned()], RevokeExtent::WithMade, read, &world.context()).await
    };
    assert_eq!(with_made("tok_0000000000000001").await.unwrap().note, "revoked 1 token\n");
    assert!(!world.is_known("made 2").await);
    assert!(with_made("tok_0000000000000001").await.is_err());
}
