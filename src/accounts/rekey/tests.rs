use std::{fs, sync::Mutex};

use tempfile::TempDir;

use super::{
    super::{
        DisplayName, Edit, NewUser, StoredCredential, change_credentials, create_user, read_credentials,
    },
    *,
};
use crate::{
    accounts::encryption::AssociatedData,
    name::Owner,
    store::{ChangeOutcome, DuplicateNames, KeyIds},
};

struct World {
    dir: TempDir,
    store: Store,
    key: MasterKey,
    owner: Owner,
}

impl World {
    /// A user with this number of credentials.
    async fn new(credentials: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let key = MasterKey::load(&KeySources::default(), dir.path(), &store).await.unwrap();
        let name = DisplayName::new("ada").unwrap();
        let made = create_user(&store, &Actor::own(), &name, DuplicateNames::Allow).await.unwrap();
        let NewUser::Created { id, .. } = made else { panic!("{made:?}") };
        let world = Self { dir, store, key, owner: Owner::User(id) };
        let edits: Vec<_> = (0..credentials).map(|number| set(&format!("field{number:04}"))).collect();
        let done = world.change(&world.key, &edits).await;
        assert!(matches!(done, ChangeOutcome::Done { .. }), "{done:?}");
        world
    }

    async fn change(&self, key: &MasterKey, edits: &[Edit]) -> ChangeOutcome {
        change_credentials(&self.store, &Actor::own(), key, &self.owner, edits).await.unwrap()
    }

    async fn rekey(&self, report: impl Fn(&RekeyProgress) + Send) -> Result<RekeyProgress, RekeyError> {
        let (dir, none) = (self.dir.path(), KeySources::default());
        rekey(&self.store, &self.key, &none, dir, &Actor::own(), report).await
    }

    /// Asserts that this number of credentials decrypts with this key, and that there are no others.
    async fn assert_decrypts(&self, key: &MasterKey, expected: usize) {
        let (credentials, unreadable) = read_credentials(&self.store, key, &self.owner).await.unwrap();
        assert_eq!((credentials.iter().count(), unreadable.len()), (expected, 0));
        assert!(
            credentials
                .iter()
                .all(|(_, field, stored)| *stored == StoredCredential::plain(&secret(field)).unwrap())
        );
    }

    /// The key that the next start, or a command, loads.
    async fn loaded(&self) -> MasterKey {
        MasterKey::load(&KeySources::default(), self.dir.path(), &self.store).await.unwrap()
    }
}

fn secret(field: &str) -> String {
    format!("sk-{field}")
}

fn set(field: &str) -> Edit {
    let stored = StoredCredential::plain(&secret(field)).unwrap();
    Edit::Set { section: "demo".to_owned(), field: field.to_owned(), stored, origins: Vec::new() }
}

#[tokio::test]
async fn everything_is_re_encrypted_and_the_key_file_is_replaced() {
    let world = World::new(450).await;
    let (dir, before) = (world.dir.path(), world.key.snapshot());
    let old_file = fs::read(dir.join("master-key")).unwrap();
    let error = world.rekey(|_| {}).await.unwrap_err();
    assert!(matches!(error, RekeyError::NotBegun { .. }), "{error}");
    let id = prepare_rekey(&world.store, dir, None).await.unwrap();
    assert_eq!(prepare_rekey(&world.store, dir, None).await.unwrap(), id, "a second call keeps the next key");
    let progress = Mutex::new(Vec::new());
    let done = world.rekey(|done| progress.lock().unwrap().push(done.credentials)).await.unwrap();
    assert_eq!(
        done,
        RekeyProgress {
            id: id.clone(),
            credentials: 450,
            unreadable: 0,
            next_key_file: NextKeyFile::InPlace { old: Some(key::old_key_file(&before.id())) }
        }
    );
    assert_eq!(*progress.lock().unwrap(), [200, 400, 450]);
    assert_eq!((world.key.id(), world.store.key_ids().await.unwrap().next), (id, None));
    assert!(!dir.join("master-key.next").exists() && fs::read(dir.join("master-key")).unwrap() != old_file);
    world.assert_decrypts(&world.key, 450).await;
    world.assert_decrypts(&world.loaded().await, 450).await;
    let (_, unreadable) = read_credentials(&world.store, &before, &world.owner).await.unwrap();
    assert_eq!(unreadable.len(), 450, "the old key decrypts nothing any more");
    assert_eq!(world.change(&before, &[set("late")]).await, ChangeOutcome::OtherKey);
}

#[tokio::test]
async fn writes_during_a_rotation_decrypt_with_both_keys() {
    let world = World::new(3).await;
    let (dir, none) = (world.dir.path(), KeySources::default());
    prepare_rekey(&world.store, dir, None).await.unwrap();
    let next = key::next(dir).unwrap().unwrap();
    let act = Actor::own().act("credentials.change", "it", json!({}));
    assert!(world.store.begin_rekey(&world.key.id(), &next.id(), &act).await.unwrap());
    // Here the rotation was interrupted. Processes that start now have both keys.
    let command = MasterKey::load_beside(&none, dir, &world.store).await.unwrap();
    assert_eq!(command.id(), next.id());
    assert!(matches!(
        world.change(&command, &[set("new"), set("field0001")]).await,
        ChangeOutcome::Done { .. }
    ));
    world.assert_decrypts(&command, 4).await;
    assert_eq!(world.change(&world.key, &[set("old")]).await, ChangeOutcome::OtherKey);
    let error = prepare_rekey(&world.store, dir, Some(&write(dir, "other", &MasterKey::generate()))).await;
    assert!(matches!(error, Err(RekeyError::Key(KeyError::RotationInProgress { .. }))), "{error:?}");
    let done = world.rekey(|_| {}).await.unwrap();
    assert_eq!(done.credentials, 2, "blobs of the next key are left unchanged");
    world.assert_decrypts(&world.key, 4).await;
}

fn write(dir: &Path, name: &str, key: &MasterKey) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(name);
    fs::write(&path, key.to_hex().expose()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[tokio::test]
async fn the_next_keys_file_stays_until_the_source_has_the_key() {
    let world = World::new(2).await;
    let (dir, new) = (world.dir.path(), MasterKey::generate());
    let given = |key: &MasterKey| KeySources { variable: Some(key.to_hex()), ..KeySources::default() };
    let (old, file) = (given(&world.key), dir.join("master-key"));
    fs::remove_file(&file).unwrap();
    let from = write(dir, "given", &new);
    prepare_rekey(&world.store, dir, Some(&from)).await.unwrap();
    let actor = Actor::own();
    let done = rekey(&world.store, &world.key, &old, dir, &actor, |_| {}).await.unwrap();
    assert_eq!(done.next_key_file, NextKeyFile::Waits { origin: "TOLLGATE_MASTER_KEY".to_owned() });
    // The next start finds the key at its source or in the file.
    for sources in [&old, &given(&new)] {
        MasterKey::check(sources, dir).await.unwrap();
        let key = MasterKey::load(sources, dir, &world.store).await.unwrap();
        world.assert_decrypts(&key, 2).await;
        assert_eq!(
            dir.join("master-key.next").exists(),
            *sources.variable.as_ref().unwrap() == *old.variable.as_ref().unwrap()
        );
        if dir.join("master-key.next").exists() {
            let again = prepare_rekey(&world.store, dir, None).await.unwrap_err();
            assert!(matches!(again, RekeyError::Key(KeyError::NotMovedYet { .. })), "{again}");
        }
    }
    let refused = MasterKey::check(&old, dir).await.unwrap_err();
    assert!(matches!(refused, KeyError::Mismatch { .. }), "{refused}");
    assert!(!file.exists());
    let same = prepare_rekey(&world.store, dir, Some(&from)).await.unwrap_err();
    assert!(matches!(same, RekeyError::Key(KeyError::AlreadyCurrent { .. })), "{same}");
}

/// The rotation stopped after its last step in the store and before the step with the file.
#[tokio::test]
async fn a_start_finishes_the_cleanup_of_a_rotation() {
    let world = World::new(1).await;
    let dir = world.dir.path();
    let old = fs::read(dir.join("master-key")).unwrap();
    prepare_rekey(&world.store, dir, None).await.unwrap();
    let next = fs::read(dir.join("master-key.next")).unwrap();
    world.rekey(|_| {}).await.unwrap();
    fs::write(dir.join("master-key"), &old).unwrap();
    write(dir, "master-key.next", &key_of(&next));
    world.assert_decrypts(&world.loaded().await, 1).await;
    assert_eq!(fs::read(dir.join("master-key")).unwrap(), next.trim_ascii());
    assert!(!dir.join("master-key.next").exists());
}

fn key_of(line: &[u8]) -> MasterKey {
    MasterKey::from_hex(str::from_utf8(line).unwrap().trim()).unwrap()
}

#[tokio::test]
async fn a_rotation_without_its_next_key_cannot_continue() {
    let world = World::new(1).await;
    let dir = world.dir.path();
    prepare_rekey(&world.store, dir, None).await.unwrap();
    let next = key::next(dir).unwrap().unwrap();
    let act = Actor::own().act("credentials.change", "it", json!({}));
    world.store.begin_rekey(&world.key.id(), &next.id(), &act).await.unwrap();
    fs::remove_file(dir.join("master-key.next")).unwrap();
    world.store.clone().close().await;
    let ids = KeyIds { current: Some(world.key.id()), next: Some(next.id()) };
    for error in [
        MasterKey::check(&KeySources::default(), dir).await.unwrap_err(),
        MasterKey::load(&KeySources::default(), dir, &Store::open(dir).await.unwrap()).await.unwrap_err(),
    ] {
        assert!(matches!(&error, KeyError::NextKeyMissing { id, .. } if *id == next.id()), "{error}");
    }
    let store = Store::open(dir).await.unwrap();
    assert_eq!(store.key_ids().await.unwrap(), ids);
    let error = prepare_rekey(&store, dir, None).await.unwrap_err();
    assert!(matches!(error, RekeyError::Key(KeyError::NextKeyMissing { .. })), "{error}");
    // With the key given again, the rotation continues.
    prepare_rekey(&store, dir, Some(&write(dir, "found", &next))).await.unwrap();
    assert_eq!(MasterKey::load(&KeySources::default(), dir, &store).await.unwrap().id(), next.id());
}

#[tokio::test]
async fn credentials_without_origins_are_bound_once() {
    let world = World::new(0).await;
    let (owner, section) = (&world.owner, "demo");
    let mut changes = Vec::new();
    for field in ["apiKey", "other"] {
        let place = AssociatedData { owner, section, field, origins: None };
        let sealed =
            world.key.encrypt(place, &StoredCredential::plain(&secret(field)).unwrap().to_plaintext());
        changes.push(crate::store::CredentialChange::Put(crate::store::SealedCredential {
            owner: owner.clone(),
            section: section.to_owned(),
            field: field.to_owned(),
            sealed,
            origins: None,
            updated_at_ms: 7,
        }));
    }
    let act = Actor::own().act("credentials.change", "it", json!({}));
    world.store.change_credentials(owner, &world.key.id(), &changes, &act).await.unwrap();
    let to = vec!["https://api.example.com".to_owned()];
    let bind = async || {
        let origins = |_: &str, field: &str| if field == "apiKey" { to.clone() } else { Vec::new() };
        bind_origins(&world.store, &world.key, &Actor::own(), origins).await.unwrap()
    };
    assert_eq!(bind().await, 2);
    world.assert_decrypts(&world.key, 2).await;
    let stored = world.store.credentials(owner).await.unwrap();
    assert_eq!(
        stored.iter().map(|one| one.origins.clone()).collect::<Vec<_>>(),
        [Some(to.clone()), Some(Vec::new())]
    );
    assert_eq!((bind().await, stored[0].updated_at_ms), (0, 7));
}
