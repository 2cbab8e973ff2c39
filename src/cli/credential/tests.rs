use tempfile::TempDir;

use super::*;
use crate::{
    accounts::{Actor, DisplayName, KeySources, MasterKey, create_user, update_user},
    cli::context::places,
    settings::Places,
    store::{DuplicateNames, UserChange},
};

const CANARY: &str = "sk-canary-0123456789";

struct World {
    dir: TempDir,
    places: Places,
}

fn ada() -> CredentialOwner {
    CredentialOwner { user: Some("ada".to_owned()), group: None, everybody: false }
}

impl World {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let places = places(dir.path());
        let world = Self { dir, places };
        let store = world.context().store_or_new().await.unwrap();
        create_user(&store, &Actor::own(), &DisplayName::new("ada").unwrap(), DuplicateNames::Refuse)
            .await
            .unwrap();
        world
    }

    fn context(&self) -> Context<'_> {
        Context { places: &self.places, keys: Ok(KeySources::default()) }
    }

    /// The message of `set`, or its error.
    async fn set(&self, place: &str, value: &str) -> Result<String, String> {
        let report = set(&ada(), place, |_, _| Ok(Secret::new(value)), &self.context()).await;
        report.map(|report| report.note).map_err(|error| format!("{error:#}"))
    }
}

#[tokio::test]
async fn stored_credentials_are_listed_masked_and_can_be_removed() {
    let world = World::new().await;
    let context = world.context();
    assert!(list::of_owner(&ada(), &context).await.unwrap().note.contains("has no credentials yet"));
    let said = world.set("providers.demo.apiKey", &format!("{CANARY}\n")).await.unwrap();
    assert!(said.starts_with("stored `providers.demo.apiKey` for `ada` (usr_"), "{said}");
    world.set("example.oauth", r#"{"tokens":{"access":"a"},"more":1}"#).await.unwrap();
    let listed = list::of_owner(&ada(), &context).await.unwrap().out;
    let masked = "CREDENTIAL             OWNER  VALUE\n\
                  example.oauth          own    configured\n\
                  providers.demo.apiKey  own    sk-canar...6789\n";
    assert_eq!(listed, masked);
    world.set("example.oauth", r#"{"accessToken":"a","expiresAt":1767323045000}"#).await.unwrap();
    let listed = list::of_owner(&ada(), &context).await.unwrap().out;
    assert!(listed.contains("configured, expires 2026-01-02T03:04:05Z"), "{listed}");

    // Removal works also without a file that declares the field.
    std::fs::remove_file(world.dir.path().join("providers.d/demo.toml")).unwrap();
    remove(&ada(), "providers.demo.apiKey", &context).await.unwrap();
    let error = remove(&ada(), "providers.demo.apiKey", &context).await.err().unwrap();
    assert!(error.to_string().contains("has no credential `providers.demo.apiKey`"), "{error}");
}

#[tokio::test]
async fn credentials_are_shared_by_a_group_or_everybody() {
    let world = World::new().await;
    let group = |name: &str| CredentialOwner { user: None, group: Some(name.to_owned()), everybody: false };
    let all = CredentialOwner { user: None, group: None, everybody: true };
    let store = world.context().store().await.unwrap();
    let ada_is_in = async |name: &str| {
        let change = UserChange { group: Some(GroupName::new(name)), ..UserChange::default() };
        let id = store.users().await.unwrap().remove(0).id;
        update_user(&store, &Actor::own(), &id, &change).await.unwrap().unwrap();
    };
    for (owner, in_group, shown, note) in [
        (&group("research"), "research", "the group `research`", ""),
        (
            &group("reserch"),
            "research",
            "the group `reserch`",
            "no user is in `reserch`; did you mean `research`?\n",
        ),
        (
            &group("research"),
            "sales",
            "the group `research`",
            "no user is in `research` yet: `tollgate user change USER --group research` puts one there\n",
        ),
        (&all, "sales", "everybody", ""),
    ] {
        ada_is_in(in_group).await;
        let place = "providers.demo.apiKey";
        let said = set(owner, place, |_, _| Ok(Secret::new(CANARY)), &world.context()).await.unwrap().note;
        assert_eq!(said, format!("stored `{place}` for {shown}\n{note}"));
        assert!(list::of_owner(owner, &world.context()).await.unwrap().out.contains("sk-canar...6789"));
        remove(owner, place, &world.context()).await.unwrap();
    }
}

#[tokio::test]
async fn errors_name_the_field_and_never_quote_the_value() {
    let world = World::new().await;
    let check = async |place: &str, value: &str, expected: &str| {
        let error = world.set(place, value).await.unwrap_err();
        assert!(error.contains(expected) && !error.contains("canary"), "{error}");
    };
    check("demo.apiKey", CANARY, "failed to store `demo.apiKey`: no provider file has such a section").await;
    for place in ["demo.apiKey", "provider.demo.apiKey", "providers.demo.apikey", "demo", "dmeo"] {
        check(place, CANARY, "did you mean `providers.demo.apiKey`?").await;
        check(place, CANARY, "\nproviders.demo.apiKey  secret  required").await;
    }
    check("exmaple", CANARY, "did you mean `example.oauth`?").await;
    check("apiKey", CANARY, "`apiKey` is not of the form SECTION.FIELD").await;
    check(".apiKey", CANARY, "not of the form").await;
    check("providers.", CANARY, "not of the form").await;
    check(&format!("providers.demo.apiKey={CANARY}"), "", "a value is never an argument").await;
    check("providers.demo.apiKey", "canary key", "failed to store `providers.demo.apiKey`: the secret has")
        .await;
    check("example.oauth", CANARY, "failed to store `example.oauth`: this field holds a login: give its JSON, as in `tollgate credential set usr_").await;
    check("example.oauth", r#"{"accessToken":"canary","more":1}"#, "the key `more` is not known").await;
    assert!(list::of_owner(&ada(), &world.context()).await.unwrap().note.contains("has no credentials yet"));
}

fn given(key: &Secret) -> KeySources {
    KeySources { variable: Some(key.clone()), ..KeySources::default() }
}

/// A server runs with a key from the environment; nothing is encrypted yet.
#[tokio::test]
async fn no_key_is_created_if_the_server_has_another() {
    let world = World::new().await;
    let store = world.context().store().await.unwrap();
    let key = Secret::new("00".repeat(32));
    let served = MasterKey::load(&given(&key), &world.places.data().unwrap(), &store).await.unwrap();
    let error = world.set("providers.demo.apiKey", CANARY).await.unwrap_err();
    assert!(error.contains(&served.id()) && error.contains("set TOLLGATE_MASTER_KEY"), "{error}");
    assert!(!world.places.data().unwrap().join("master-key").exists());
    assert_eq!(store.master_key_id().await.unwrap(), Some(served.id()));
    let other = Context { keys: Ok(given(&Secret::new("11".repeat(32)))), ..world.context() };
    let asked =
        |_: &str, _: Typed| -> anyhow::Result<Secret> { panic!("a prompt came before the key was checked") };
    let error = set(&ada(), "providers.demo.apiKey", asked, &other).await.err().unwrap();
    assert!(format!("{error:#}").contains(&served.id()), "{error:#}");
}

#[tokio::test]
async fn another_key_neither_reads_nor_writes() {
    let world = World::new().await;
    world.set("providers.demo.apiKey", CANARY).await.unwrap();
    let context = Context { keys: Ok(given(&Secret::new("00".repeat(32)))), ..world.context() };
    let asked =
        |_: &str, _: Typed| -> anyhow::Result<Secret> { panic!("a prompt came before the key was checked") };
    for error in [
        list::of_owner(&ada(), &context).await.err().unwrap(),
        set(&ada(), "providers.demo.apiKey", asked, &context).await.err().unwrap(),
    ] {
        assert!(format!("{error:#}").contains("but the store was set up with"), "{error:#}");
    }
    let listed = list::of_owner(&ada(), &world.context()).await.unwrap().out;
    assert!(listed.contains("sk-canar...6789"), "{listed}");
}
