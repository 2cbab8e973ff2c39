//! Environment variables that look like settings and are none: a misspelt one would otherwise be ignored without a word.

use std::ffi::OsString;

use super::SettingsError;
use crate::suggest::misspelt;

/// The prefix of all variables of tollgate.
const PREFIX: &str = "TOLLGATE_";

/// The variable with the master key. It has no flag: other users of the machine see arguments.
pub const MASTER_KEY: &str = "TOLLGATE_MASTER_KEY";

/// Checks the names of all environment variables. Returns those that look like settings and resemble none; one that
/// resembles a setting is an error, since its author meant that one.
pub fn unknown_variables(
    names: impl IntoIterator<Item = OsString>,
    known: &[String],
) -> Result<Vec<String>, SettingsError> {
    let mut unknown = Vec::new();
    for name in names {
        let name = name.to_string_lossy().into_owned();
        if known.contains(&name) || is_of_orchestrator(&name) {
            continue;
        }
        let Some(meant) = as_setting(&name) else { continue };
        let suffixes = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
        // What is often written for a directory.
        let stem = meant.strip_suffix("_DIR").unwrap_or(&meant);
        let near = if known.contains(&format!("{PREFIX}{stem}")) {
            Some(stem.to_owned())
        } else {
            misspelt(stem, suffixes).map(str::to_owned)
        };
        match near {
            Some(near) => {
                return Err(SettingsError::UnknownVariable {
                    name: name.escape_debug().to_string(),
                    near: format!("{PREFIX}{near}"),
                });
            }
            None => unknown.push(name),
        }
    }
    unknown.sort();
    Ok(unknown)
}

/// The part after the prefix, in upper case, of a name that begins with it in any case. Characters before and after that
/// no name has are left out: a byte order mark, white space, `export`.
fn as_setting(name: &str) -> Option<String> {
    let plain = name.to_ascii_uppercase().replace(['-', '.'], "_");
    let start = plain.find(PREFIX)?;
    let before = plain[..start].trim_end_matches(|one: char| !one.is_ascii_alphanumeric() && one != '_');
    let stands_alone = before.len() < start || start == 0;
    if !(stands_alone && (before.is_empty() || before == "EXPORT")) {
        return None;
    }
    let rest = plain[start + PREFIX.len()..]
        .trim_end_matches(|one: char| !one.is_ascii_alphanumeric() && one != '_');
    Some(rest.to_owned())
}

/// True for the variables that Kubernetes sets for a service whose name begins with `tollgate`, and Docker for a link:
/// `TOLLGATE_SERVICE_HOST`, `TOLLGATE_PORT`, `TOLLGATE_PORT_8787_TCP_ADDR`. No setting has such a name.
fn is_of_orchestrator(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let words: Vec<&str> = rest.split('_').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let of_service = words.windows(2).any(|pair| matches!(pair, ["SERVICE", "HOST" | "PORT"]));
    let of_port = words.last() == Some(&"PORT")
        || words
            .windows(3)
            .any(|three| matches!(three, ["PORT", port, "TCP" | "UDP" | "SCTP"] if is_number(port)));
    of_service || of_port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_variables_are_refused_and_foreign_ones_returned() {
        let known: Vec<String> =
            ["DATA", "STRICT", "ADMIN_LISTEN", "MASTER_KEY", "ENV_ALLOW", "STORE_GRACE", "LOG_FORMAT"]
                .map(|name| format!("{PREFIX}{name}"))
                .into();
        let check = |name: &str, expected: &str| {
            let found = match unknown_variables([name.into()], &known) {
                Ok(unknown) => unknown.concat(),
                Err(error) => error.to_string(),
            };
            assert!(
                if expected.is_empty() { found.is_empty() } else { found.contains(expected) },
                "{name}: {found}"
            );
        };
        for fine in
            ["PATH", "TOLLGATE_DATA", "MY_TOLLGATE_DATA", "XTOLLGATE_DATA", "tollgate", "TOLLGATE", "DATA"]
        {
            check(fine, "");
        }
        for injected in [
            "TOLLGATE_PORT",
            "TOLLGATE_SERVICE_HOST",
            "TOLLGATE_SERVICE_PORT",
            "TOLLGATE_SERVICE_PORT_HTTP",
            "TOLLGATE_PORT_8787_TCP",
            "TOLLGATE_PORT_8787_TCP_PROTO",
            "TOLLGATE_PORT_8787_TCP_PORT",
            "TOLLGATE_PORT_8787_TCP_ADDR",
            "TOLLGATE_ADMIN_SERVICE_HOST",
            "TOLLGATE_ADMIN_PORT_8789_TCP",
            "TOLLGATE_DATA_PORT",
        ] {
            check(injected, "");
        }
        check("TOLLGATE_DTA", "did you mean `TOLLGATE_DATA`?");
        check("TOLLGATE_STRCIT", "did you mean `TOLLGATE_STRICT`?");
        check("TOLLGATE_ADMIN_LISTN", "did you mean `TOLLGATE_ADMIN_LISTEN`?");
        check("TOLLGATE_DATA_DIR", "did you mean `TOLLGATE_DATA`?");
        check("tollgate_data", "did you mean `TOLLGATE_DATA`?");
        check("TOLLGATE-DATA", "did you mean `TOLLGATE_DATA`?");
        check("TOLLGATE_DATA ", "did you mean `TOLLGATE_DATA`?");
        check("TOLLGATE_DATA\r", "`TOLLGATE_DATA\\r` is no setting");
        check("\u{feff}TOLLGATE_DATA", "`\\u{feff}TOLLGATE_DATA` is no setting");
        check("export TOLLGATE_DATA", "did you mean `TOLLGATE_DATA`?");
        // Names of other programs, and those that Docker sets for a link.
        for foreign in ["ADMIN_TOKEN", "ENV", "STORE", "DATA_VOLUME", "LOG_DIR", "ENV_PATH", "ENV_HOME"] {
            check(&format!("{PREFIX}{foreign}"), foreign);
        }
        check("TOLLGATE_VERSION", "TOLLGATE_VERSION");
        check("TOLLGATE_IMAGE", "TOLLGATE_IMAGE");
    }
}
