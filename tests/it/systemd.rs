//! Checks the unit in `docs/` with systemd's own tools: it is valid and stays as hardened. Nothing starts it.

use std::{
    fs,
    process::{Command, Output},
};

use crate::harness::{Home, binary, root};

/// The highest exposure allowed, in tenths. systemd calls 0 to 20 safe; a unit without hardening has 96.
const MOST_EXPOSED: &str = "15";

/// The output of `systemd-analyze` on the unit, with the binary under test in place of the installed one.
/// None if the tool is missing.
fn analyze(args: &[&str]) -> Option<Output> {
    let home = Home::new(&[]);
    let text = fs::read_to_string(root().join("docs/tollgate.service")).expect("it is shipped");
    let unit = home.path("tollgate.service");
    let text = text.replace("/usr/local/bin/tollgate", binary().to_str().expect("text"));
    fs::write(&unit, text).expect("the directory is ours");
    match Command::new("systemd-analyze").args(args).arg("--no-pager").arg(unit).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: `systemd-analyze` does not run here: {error}");
            None
        }
    }
}

#[test]
fn the_unit_is_right() {
    let Some(output) = analyze(&["verify", "--man=no"]) else { return };
    // systemd reports an unknown key without an error. Lines about other units do not matter.
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("tollgate.service")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn the_unit_is_tight() {
    let Some(output) = analyze(&["security", "--offline=true", "--threshold", MOST_EXPOSED]) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
