use super::*;
use crate::{
    bind, compile,
    name::{FileName, Owner},
    syntax,
};

/// The fields of a provider whose host depends on `region`, and those of one that has a host of its user.
fn known() -> DeclaredFields {
    let file = |name: &str, base: &str, fields: &str| {
        let text = format!(
            "title = \"X\"\nbase_url = \"{base}\"\npath_prefix = \"/{name}\"\nendpoint.one = {{ method = \"GET\", path = \"/one\" }}\ncredentials.field = [{{ name = \"key\" }}, {fields}]\nauth = [{{ field = \"key\", set = {{ authorization = \"{{secret}}\" }} }}]\n"
        );
        let (parsed, found) = syntax::parse(&name.into(), &text);
        assert_eq!(found, []);
        (FileName::new(name).unwrap(), parsed)
    };
    let region = "{ name = \"region\", kind = \"text\", pattern = \"[a-z]{2}\" }, { name = \"zone\", kind = \"text\", pattern = \"[0-9]\", default = \"1\" }";
    let origin = "{ name = \"host\", kind = \"origin\" }";
    let mut files = compile::Files::default();
    files
        .providers
        .extend([file("a", "https://{region}-{zone}.a.example", region), file("b", "{host}", origin)]);
    let compiled = compile::compile(&files);
    assert_eq!(compiled.diagnostics, []);
    let bound: Vec<_> =
        compiled.providers.iter().map(|one| bind::bind(one, |_, _, _| None).0.unwrap()).collect();
    DeclaredFields::of(&bound)
}

/// An owner's credentials as they are in the store.
struct World {
    key: MasterKey,
    known: DeclaredFields,
    stored: Vec<SealedCredential>,
}

impl World {
    fn new() -> Self {
        Self { key: MasterKey::generate(), known: known(), stored: Vec::new() }
    }

    fn values(&self) -> OwnValues {
        OwnValues::decrypt(&self.key, &self.known, &self.stored)
    }

    /// Applies edits such as `a.region=eu a.key=k b.host-`. A key is a secret, all else a value.
    fn change(&mut self, edits: &str) {
        let edit = |text: &str| {
            let place = |place: &str| {
                let (section, field) = place.split_once('.').unwrap();
                (format!("providers.{section}"), field.to_owned())
            };
            if let Some((at, value)) = text.split_once('=') {
                let (section, field) = place(at);
                let secret = Secret::new(value);
                let stored = match field.as_str() {
                    "key" => StoredCredential::Plain(secret),
                    _ => StoredCredential::Value(secret),
                };
                Edit::Set { section, field, stored, origins: Vec::new() }
            } else {
                let (section, field) = place(text.strip_suffix('-').unwrap());
                Edit::Remove { section, field }
            }
        };
        let mut edits: Vec<_> = edits.split(' ').map(edit).collect();
        bind_edits(&self.values(), &self.known, &self.stored, &mut edits);
        for edit in edits {
            let (section, field) = match &edit {
                Edit::Set { section, field, .. }
                | Edit::Remove { section, field }
                | Edit::Bind { section, field, .. } => (section.clone(), field.clone()),
                Edit::RemoveAll => panic!("no test removes all"),
            };
            let change =
                super::super::credentials::encrypted(&self.key, &Owner::Everybody, &edit, 0).unwrap();
            self.stored.retain(|one| (&one.section, &one.field) != (&section, &field));
            match change {
                crate::store::CredentialChange::Put(new)
                | crate::store::CredentialChange::Bind { new, .. } => {
                    self.stored.push(new);
                }
                crate::store::CredentialChange::Remove { .. } | crate::store::CredentialChange::RemoveAll => {
                }
            }
        }
    }

    /// The origins that the key of a section is bound to, and a mark if it waits for a confirmation.
    fn bound(&self, section: &str) -> String {
        let section = format!("providers.{section}");
        let key = self.stored.iter().find(|one| one.section == section && one.field == "key").unwrap();
        let waits = super::super::new_origins(&self.known, &self.values(), key).is_some();
        let origins = key.origins.clone().unwrap_or_default().join(" ").replace("https://", "");
        format!("{}{}", origins.replace(".a.example", ""), if waits { " waits" } else { "" })
    }
}

#[test]
fn a_key_is_bound_to_the_values_that_are_set_with_it_or_stored_before() {
    let mut world = World::new();
    world.change("a.region=eu a.key=k");
    assert_eq!(world.bound("a"), "eu-1");
    world.change("a.key=k a.zone=2 a.region=us");
    assert_eq!(world.bound("a"), "us-2");
    world.change("a.key=l");
    assert_eq!(world.bound("a"), "us-2");
}

#[test]
fn a_changed_value_binds_no_stored_key() {
    let mut world = World::new();
    world.change("a.region=eu a.key=k");
    world.change("a.region=us");
    assert_eq!(world.bound("a"), "eu-1 waits");
    world.change("a.region=eu");
    assert_eq!(world.bound("a"), "eu-1");
    // Also where the value was absent in between, and where another one of the section changes.
    world.change("a.region-");
    world.change("a.region=us");
    assert_eq!(world.bound("a"), "eu-1 waits");
    world.change("a.region=eu a.zone=9");
    assert_eq!(world.bound("a"), "eu-1 waits");
}

#[test]
fn the_first_value_completes_the_origin_of_a_stored_key() {
    let mut world = World::new();
    world.change("a.key=k");
    assert_eq!(world.bound("a"), "{region}-{zone}");
    world.change("a.zone=3");
    assert_eq!(world.bound("a"), "{region}-{zone}");
    world.change("a.region=eu");
    assert_eq!(world.bound("a"), "eu-3");
    world.change("a.region=us");
    assert_eq!(world.bound("a"), "eu-3 waits");
    // A key that the file did not lead there when it was stored is not completed.
    let mut world = World::new();
    world.change("a.key=k");
    world.stored[0] = super::super::credentials::reencrypted(
        &world.key,
        &world.stored[0],
        Some(vec!["https://old.a.example".to_owned()]),
    )
    .unwrap();
    world.change("a.region=eu");
    assert_eq!(world.bound("a"), "old waits");
}

#[test]
fn a_whole_origin_is_confirmed_for_a_stored_key() {
    let mut world = World::new();
    world.change("b.key=k");
    assert_eq!(world.bound("b"), "{host}");
    world.change("b.host=https://gpu.lan:8000");
    assert_eq!(world.bound("b"), "{host} waits");
    world.change("b.key=k");
    assert_eq!(world.bound("b"), "gpu.lan:8000");
}

#[test]
fn values_lead_to_origins() {
    let mut world = World::new();
    let leads =
        |world: &World, field: &str| world.values().leads_to(&world.known, "providers.a", field).join(" ");
    assert_eq!(leads(&world, "region"), "https://{region}-{zone}.a.example");
    world.change("a.region=eu");
    assert_eq!(leads(&world, "zone"), "https://eu-1.a.example");
    assert_eq!(leads(&world, "key"), "https://eu-1.a.example");
    // A value that is no part of a host makes none.
    world.change("a.region=x.evil.example/");
    assert_eq!(leads(&world, "region"), "https://{region}-{zone}.a.example");
    // A value that another key encrypted is absent, as for requests.
    world.key = MasterKey::generate();
    assert_eq!(leads(&world, "region"), "https://{region}-{zone}.a.example");
}
