//! The machine fails the house: a disk that is full or read-only, a database that others hold, replace or
//! damage, wrong rights, a port that is taken, a key that is gone, too many open files. Each is told clearly,
//! damages nothing, and is over when the cause is.

use crate::harness::{Home, provider};

/// A home whose provider nobody calls.
fn home() -> Home {
    Home::new(&[("t", &provider("http://127.0.0.1:1", ""))])
}

/// A file system of its own for the data directory, of this size.
fn small_disk(size: &str) -> String {
    format!("mkdir -p \"$TOLLGATE_DATA\"; mount -t tmpfs -o size={size},mode=700 none \"$TOLLGATE_DATA\"")
}

#[test]
fn a_small_disk_is_the_binarys_own() {
    let home = home();
    let Some(namespace) = home.namespace(&small_disk("1m")) else { return };
    let said = home.run_in(&namespace, &["user", "add", "ada"], "");
    assert_eq!(said.code, 0, "{said:?}");
    let gateway = home.serve_in(&namespace, &[]);
    let database = home.data().join("tollgate.db");
    assert!(gateway.inside(&database).exists() && !database.exists());
    let said = home.run_beside(&gateway, &["user", "list"], "");
    assert!(said.code == 0 && said.out.is_empty(), "{said:?}");
    assert!(home.sh_beside(&gateway, "ls \"$TOLLGATE_DATA\"").contains("master-key"));
}
