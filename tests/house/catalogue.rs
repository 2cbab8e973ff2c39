//! `docs/catalogue.md` is fresh.

use std::fs;

use tollgate::{catalogue, cli::providers};

use super::root;

#[test]
fn the_catalogue_is_fresh() {
    let path = root().join("docs/catalogue.md");
    let table = catalogue::markdown(&providers::all().unwrap());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let on_disk = fs::read_to_string(&path).unwrap_or_default();
    assert!(on_disk == table, "docs/catalogue.md is stale: run tests/update.sh");
}
