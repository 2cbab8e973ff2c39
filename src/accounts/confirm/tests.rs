use tempfile::TempDir;

use super::*;
use crate::{
    accounts::{
        DisplayName, Edit, KeySources, NewUser, StoredCredential, change_credentials, create_user,
        read_credentials,
    },
    fields::{Field, FieldKind},
    store::DuplicateNames,
};

const OLD: &str = "https://old.example";
const NEW: &str = "https://new.example";

/// Fields of the section `s` and their current origins: `key=old login=new,old`.
fn known(fields: &str) -> DeclaredFields {
    let one = |pair: &str| {
        let (name, origins) = pair.split_once('=').unwrap();
        (name.to_owned(), Box::new(Field::sent_to(FieldKind::Secret, list(origins))))
    };
    DeclaredFields(BTreeMap::from([("s".to_owned(), fields.split(' ').map(one).collect())]))
}

fn list(origins: &str) -> Vec<String> {
    origins.split(',').filter(|one| !one.is_empty()).map(|one| format!("https://{one}.example")).collect()
}

struct World {
    _dir: TempDir,
    store: Store,
    key: MasterKey,
    owner: Owner,
}

impl World {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let key = MasterKey::load(&KeySources::default(), dir.path(), &store).await.unwrap();
        let made =
            create_user(&store, &Actor::own(), &DisplayName::new("ada").unwrap(), DuplicateNames::Allow)
                .await
                .unwrap();
        let NewUser::Created { id, .. } = made else { panic!("{made:?}") };
        Self { _dir: dir, store, key, owner: Owner::User(id) }
    }

    /// Sets fields of the section `s`. The secret of each is its own name.
    async fn set(&self, fields: &str) {
        let edits =
            fields.split(' ').filter_map(|pair| pair.split_once('=')).map(|(field, origins)| Edit::Set {
                section: "s".to_owned(),
                field: field.to_owned(),
                stored: StoredCredential::plain(field).unwrap(),
                origins: list(origins),
            });
        let edits: Vec<_> = edits.collect();
        change_credentials(&self.store, &Actor::own(), &self.key, &self.owner, &edits).await.unwrap();
    }

    /// Confirms fields of the section `s`, each with the origins that are expected: `key=new`.
    async fn confirm(&self, known: &DeclaredFields, expected: &str) -> Result<String, String> {
        let pairs = expected.split(' ').filter_map(|pair| pair.split_once('='));
        let expected = pairs.map(|(field, origins)| (format!("s.{field}"), list(origins))).collect();
        let done = confirm(&self.store, &Actor::own(), &self.key, &self.owner, known, &expected).await;
        done.map(|done| serde_json::to_string(&done).unwrap()).map_err(|error| error.to_string())
    }

    /// The stored fields and the origins that they are bound to: `key=old`.
    async fn stored(&self) -> String {
        let (credentials, unreadable) = read_credentials(&self.store, &self.key, &self.owner).await.unwrap();
        assert!(unreadable.is_empty(), "{unreadable:?}");
        let shown = credentials.iter().map(|(section, field, stored)| {
            assert_eq!(*stored, StoredCredential::plain(field).unwrap());
            let origins = credentials.origins(section, field).join(",");
            format!("{field}={}", origins.replace("https://", "").replace(".example", ""))
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    async fn audited(&self) -> Vec<String> {
        let entries = self.store.audit_page(0, None).await.unwrap();
        entries.into_iter().filter(|one| one.action == "credentials.confirm").map(|one| one.detail).collect()
    }
}

#[tokio::test]
async fn only_credentials_with_unconfirmed_origins_are_bound_again() {
    let world = World::new().await;
    world.set("a=old b=old,new c=old d=").await;
    let known = known("a=new b=old c=new,old d=new");
    let field = |name: &str, from: &str, to: &str| format!(r#""s.{name}":{{"from":[{from}],"to":[{to}]}}"#);
    let (old, new) = (format!("\"{OLD}\""), format!("\"{NEW}\""));
    let waiting = unconfirmed(&world.store, &world.key, &world.owner, &known).await.unwrap();
    assert_eq!(waiting.keys().collect::<Vec<_>>(), ["s.a", "s.c", "s.d"]);
    assert_eq!(waiting["s.c"], NewOrigins { from: list("old"), to: list("new,old") });
    let done = world.confirm(&known, "a=new").await.unwrap();
    assert_eq!(done, format!("{{{}}}", field("a", &old, &new)));
    assert_eq!(world.stored().await, "a=new b=old,new c=old d=");
    let done = world.confirm(&known, "a=new b=old c=old,new d=new").await.unwrap();
    assert_eq!(done, format!("{{{},{}}}", field("c", &old, &format!("{new},{old}")), field("d", "", &new)));
    assert_eq!(world.stored().await, "a=new b=old,new c=new,old d=new");
    assert_eq!(world.confirm(&known, "a=new b=old c=new,old d=new").await.unwrap(), "{}");
    assert_eq!(world.confirm(&known, "").await.unwrap(), "{}");
    assert!(unconfirmed(&world.store, &world.key, &world.owner, &known).await.unwrap().is_empty());
    let audited = world.audited().await;
    assert_eq!(audited[0], format!(r#"{{"field":"s.a","from":[{old}],"to":[{new}]}}"#));
    assert_eq!(audited.len(), 3);
}

#[tokio::test]
async fn undeclared_fields_are_not_confirmed() {
    let world = World::new().await;
    world.set("a=old").await;
    let none = "the section `s` has no field `z` (known: `a`)";
    assert_eq!(world.confirm(&known("a=old"), "z=old").await.unwrap_err(), none);
    // Declared, but not stored.
    assert_eq!(world.confirm(&known("z=new"), "z=new").await.unwrap(), "{}");
    assert_eq!(world.stored().await, "a=old");
}

#[tokio::test]
async fn other_origins_than_expected_are_refused() {
    let world = World::new().await;
    world.set("a=old b=old").await;
    let check = async |known_now: &str, expected: &str, current: &str| {
        let error = world.confirm(&known(known_now), expected).await.unwrap_err();
        let current = list(current).join(", ");
        assert_eq!(error, format!("`s.a` leads to {current}: look at it again, then confirm that"));
        assert_eq!(world.stored().await, "a=old b=old", "nothing is confirmed");
    };
    check("a=evil b=new", "a=new b=new", "evil").await;
    check("a=new,evil b=new", "a=new b=new", "evil,new").await;
    check("a=new b=new", "a=new,old b=new", "new").await;
    check("a=new b=new", "a= b=new", "new").await;
}

#[tokio::test]
async fn a_credential_of_another_key_is_left_unchanged() {
    let mut world = World::new().await;
    world.set("a=old").await;
    world.key = MasterKey::generate();
    assert_eq!(world.confirm(&known("a=new"), "a=new").await.unwrap(), "{}");
    assert_eq!(world.audited().await, [""; 0]);
}

#[tokio::test]
async fn a_credential_that_is_set_meanwhile_wins() {
    let world = World::new().await;
    let known = known("a=new");
    for round in 0..50 {
        world.set("a=old").await;
        // In either order, the result is the value that was set, bound to the origins that it was set with.
        let ((), done) = tokio::join!(world.set("a=old,new"), world.confirm(&known, "a=new"));
        done.unwrap();
        assert_eq!(world.stored().await, "a=old,new", "round {round}");
    }
}
