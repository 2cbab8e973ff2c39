//! Every input of the binary as the tools write it that make it: line ends of Windows, byte order marks, quotes that
//! `docker --env-file` keeps, empty values, paths that do not exist. Each is understood as its author meant it, or refused
//! with its name and the reason. Nothing fails open, and no secret is shown.
//!
//! The tables below list all inputs. A setting without a row fails a test, and so does a new reader of the environment.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, Permissions},
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    path::Path,
    process::{Command, Stdio},
};

use tollgate::settings::{Arguments, Given, PlaceFlags};

use crate::harness::{CommandOutput, Home, Site, World, binary, root};

const SERVE: &[&str] = &["serve"];
/// For failures after the sockets listen.
const ON_FREE_PORT: &[&str] = &["serve", "--listen", "127.0.0.1:0"];

/// Each setting, and a value that it takes. `DIR` is a directory of the test.
const SETTINGS: &[(&str, &str)] = &[
    ("TOLLGATE_ACCESS_LOG", "false"),
    ("TOLLGATE_ACCESS_LOG_RATE", "1000"),
    ("TOLLGATE_ACCESS_LOG_SAMPLE", "0.1"),
    ("TOLLGATE_ADMIN_LISTEN", "127.0.0.1:0"),
    ("TOLLGATE_ALLOW_PRIVATE", "true"),
    ("TOLLGATE_CA_FILE", "DIR/ca.pem"),
    ("TOLLGATE_CATALOGUE", "groq, openai"),
    ("TOLLGATE_CONFIG", "DIR/t.toml"),
    ("TOLLGATE_CONNECT_TO", "*=127.0.0.1:1"),
    ("TOLLGATE_CORS_ORIGINS", "https://a.example, http://localhost:3000"),
    ("TOLLGATE_CORS_TRUSTED_ORIGINS", "https://a.example, http://localhost:3000"),
    ("TOLLGATE_DATA", "DIR/data"),
    ("TOLLGATE_DRAIN_DELAY", "0s"),
    ("TOLLGATE_ENV_ALLOW", "ACME_*, OTHER"),
    ("TOLLGATE_GRACE", "1s"),
    ("TOLLGATE_HALF_CLOSED", "cancel"),
    ("TOLLGATE_HEAD_TIMEOUT", "60s"),
    ("TOLLGATE_IDLE_TIMEOUT", "620s"),
    ("TOLLGATE_JUDGED_BODY", "1MiB"),
    ("TOLLGATE_LIMITS", "DIR/limits"),
    ("TOLLGATE_LIMIT_HEADERS", "true"),
    ("TOLLGATE_LISTEN", "127.0.0.1:0"),
    ("TOLLGATE_LOG", "info"),
    ("TOLLGATE_LOG_FORMAT", "json"),
    ("TOLLGATE_MASTER_KEY_FILE", "DIR/key"),
    ("TOLLGATE_MAX_CONNECTIONS", "1000"),
    ("TOLLGATE_MAX_CONNECTIONS_PER_ADDRESS", "100"),
    ("TOLLGATE_MAX_HEAD", "64KiB"),
    ("TOLLGATE_MAX_REQUESTS", "100"),
    ("TOLLGATE_MAX_REQUESTS_PER_TOKEN", "10"),
    ("TOLLGATE_MAX_REQUESTS_PER_USER", "20"),
    ("TOLLGATE_MAX_STALE", "24h"),
    ("TOLLGATE_METRICS_MODELS", "model-large, model-small"),
    ("TOLLGATE_METRICS_USERS", "true"),
    ("TOLLGATE_NO_PROXY", "internal.example, 10.0.0.0/8"),
    ("TOLLGATE_OUTGOING_PROXY", "http://proxy.example:3128"),
    ("TOLLGATE_OUTGOING_PROXY_AUTH_FILE", "DIR/proxy-auth"),
    ("TOLLGATE_PROBE_TIMEOUT", "30s"),
    ("TOLLGATE_PROVIDERS", "DIR/providers.d"),
    ("TOLLGATE_PUBLIC_URL", "https://gateway.example"),
    ("TOLLGATE_SECRETS", "DIR/secrets"),
    ("TOLLGATE_SESSION_LIFETIME", "8h"),
    ("TOLLGATE_STORE_GRACE", "1h"),
    ("TOLLGATE_STRICT", "true"),
    ("TOLLGATE_SWEEP", "15s"),
    ("TOLLGATE_TLS_CERT", "DIR/tls.crt"),
    ("TOLLGATE_TLS_KEY", "DIR/tls.key"),
    ("TOLLGATE_TRACE_CONTEXT", "own"),
    ("TOLLGATE_TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8"),
    ("TOLLGATE_USAGE_DETAIL_RETENTION", "0"),
    ("TOLLGATE_USAGE_RETENTION", "30d"),
    ("TOLLGATE_USER_ORIGINS", "https://*.corp.example, http://10.0.0.0/8:*"),
    ("TOLLGATE_WORKERS", "1"),
];

/// Those that are lists.
const LISTS: &[&str] = &[
    "TOLLGATE_CATALOGUE",
    "TOLLGATE_CONNECT_TO",
    "TOLLGATE_CORS_ORIGINS",
    "TOLLGATE_CORS_TRUSTED_ORIGINS",
    "TOLLGATE_ENV_ALLOW",
    "TOLLGATE_METRICS_MODELS",
    "TOLLGATE_NO_PROXY",
    "TOLLGATE_TRUSTED_PROXIES",
    "TOLLGATE_USER_ORIGINS",
];

/// The other variables that are read, each with the source files that read it.
const VARIABLES: &[(&str, &str)] = &[
    ("TOLLGATE_MASTER_KEY", "src/cli/mod.rs"),
    ("CREDENTIALS_DIRECTORY", "src/cli/mod.rs"),
    ("HTTPS_PROXY", PROXIES),
    ("https_proxy", PROXIES),
    ("HTTP_PROXY", PROXIES),
    ("http_proxy", PROXIES),
    ("REQUEST_METHOD", PROXIES),
    ("NO_PROXY", PROXIES),
    ("no_proxy", PROXIES),
    ("NOTIFY_SOCKET", "src/systemd.rs"),
    ("SSL_CERT_FILE", "src/upstream/tls.rs"),
    ("SSL_CERT_DIR", "src/upstream/tls.rs"),
    ("LLEMTRY_ENABLED", EXPORTERS),
    ("LLEMTRY_ENDPOINT", EXPORTERS),
    ("LLEMTRY_AUTH_TOKEN", EXPORTERS),
    ("OTEL_SDK_DISABLED", EXPORTERS),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", EXPORTERS),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", EXPORTERS),
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", EXPORTERS),
    ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", EXPORTERS),
    ("OTEL_EXPORTER_OTLP_HEADERS", EXPORTERS),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", EXPORTERS),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", EXPORTERS),
    ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", EXPORTERS),
    ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", EXPORTERS),
    ("OTEL_TRACES_EXPORTER", EXPORTERS),
    ("OTEL_METRICS_EXPORTER", EXPORTERS),
    ("OTEL_LOGS_EXPORTER", EXPORTERS),
    ("OTEL_SERVICE_NAME", EXPORTERS),
    ("OTEL_RESOURCE_ATTRIBUTES", EXPORTERS),
    ("OTEL_METRIC_EXPORT_INTERVAL", EXPORTERS),
    // Those that provider files name.
    ("vars", "src/files/vars.rs"),
];

/// The reader of the variables of outgoing proxies.
const PROXIES: &str = "src/cli/serve/outgoing_proxy.rs";

/// The reader of the variables of all exporters.
const EXPORTERS: &str = "src/exporters/given.rs";

/// A defect, and its effect on a text.
type Defect = (&'static str, fn(&str) -> Vec<u8>);

const DEFECTS: &[Defect] = &[
    ("ends with a carriage return", |text| format!("{text}\r").into()),
    ("begins with a byte order mark", |text| format!("\u{feff}{text}").into()),
    ("U+00A0", |text| format!("{text}\u{a0}").into()),
    ("U+200B", |text| format!("\u{200b}{text}").into()),
    ("begins with a space", |text| format!(" {text}").into()),
    ("ends with a space", |text| format!("{text} ").into()),
    ("is in quotes", |text| format!("\"{text}\"").into()),
    ("is in quotes", |text| format!("'{text}'").into()),
    ("is in quotes", |text| format!("“{text}”").into()),
    ("U+000A", |text| format!("{text}\n").into()),
    ("is set, but empty", |_| Vec::new()),
    ("holds white space only", |_| b"  ".into()),
    ("is not UTF-8", |text| [text.as_bytes(), b"\xff"].concat()),
];

/// The home with all that good values of the settings name.
fn home() -> Home {
    let home = Home::new(&[(
        "acme",
        "title = \"A\"\nextends = \"openai-compatible\"\nbase_url = \"https://a.example\"\n",
    )]);
    let certificate = root().join("tests/it/harness/mod.rs");
    assert!(certificate.exists());
    fs::create_dir(home.path("secrets")).unwrap();
    fs::create_dir(home.path("limits")).unwrap();
    fs::write(home.path("t.toml"), "").unwrap();
    secret_file(&home.path("key"), "ab".repeat(32));
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert.pem();
    fs::write(home.path("ca.pem"), made).unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(home.path("tls.crt"), pair.cert.pem()).unwrap();
    fs::write(home.path("tls.key"), pair.signing_key.serialize_pem()).unwrap();
    fs::write(home.path("proxy-auth"), "ada:proxy-password\n").unwrap();
    home
}

fn secret_file(path: &Path, text: impl AsRef<[u8]>) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn good(home: &Home, value: &str) -> String {
    value.replace("DIR", home.path("").to_str().unwrap().trim_end_matches('/'))
}

/// Runs the binary with these variables alone. A server that starts against expectation is stopped by `timeout`.
fn run(home: &Home, args: &[&str], variables: &[(&str, OsString)]) -> CommandOutput {
    run_with(home, args, variables, b"")
}

fn run_with(home: &Home, args: &[&str], variables: &[(&str, OsString)], stdin: &[u8]) -> CommandOutput {
    use std::io::Write as _;
    let mut command = Command::new("timeout");
    command.arg("20").arg(binary()).args(args).env_clear().current_dir(home.path(""));
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the system has `timeout`");
    // A command that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    CommandOutput {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn settings() -> BTreeSet<String> {
    Arguments::<Given>::variables().into_iter().chain(Arguments::<PlaceFlags>::variables()).collect()
}

#[test]
fn every_setting_has_a_row() {
    let listed: BTreeSet<String> = SETTINGS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, settings());
    // Kubernetes sets such variables for a service named `tollgate`.
    for name in &listed {
        assert!(!name.ends_with("_PORT") && !name.contains("_PORT_") && !name.ends_with("_HOST"), "{name}");
    }
}

#[test]
fn every_reader_of_the_environment_has_a_row() {
    fn readers(dir: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                readers(&path, found);
            } else if fs::read_to_string(&path).is_ok_and(|text| {
                ["env::var(", "env::var_os(", "env::vars("].iter().any(|call| text.contains(call))
            }) && !path.ends_with("tests.rs")
            {
                found.insert(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    readers(&root().join("src"), &mut found);
    assert_eq!(found, VARIABLES.iter().map(|(_, file)| (*file).to_owned()).collect());
    let page = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    for (name, _) in VARIABLES.iter().filter(|(name, _)| *name != "vars") {
        assert!(page.contains(&format!("`{name}`")), "{name} is missing in docs/operating.md");
    }
}

#[test]
fn a_setting_with_a_defect_is_refused_by_its_name_and_changes_nothing() {
    let home = home();
    let before = fs::read_dir(home.path("")).unwrap().count();
    for (name, given) in SETTINGS {
        for (reason, spoil) in DEFECTS {
            let value = OsString::from_vec(spoil(&good(&home, given)));
            // Spaces beside the commas of a list are a part of the list.
            if LISTS.contains(name) && reason.contains("a space") {
                continue;
            }
            // Empty means that there is no proxy, whatever `HTTPS_PROXY` says.
            if *name == "TOLLGATE_OUTGOING_PROXY" && reason.contains("empty") {
                continue;
            }
            // A list in quotes is split first: its first or last entry is refused.
            let is_split = LISTS.contains(name) && good(&home, given).contains(',');
            let reason = if is_split && *reason == "is in quotes" { "cannot be" } else { reason };
            let shown = format!("{name}={value:?}");
            let said = run(&home, SERVE, &[(name, value)]);
            assert_eq!((said.code, said.out.as_str()), (1, ""), "{shown}: {said:?}");
            assert!(
                said.err.contains(&format!("`{name}` {reason}"))
                    || said.err.contains(&format!("`{name}`")) && said.err.contains(reason),
                "{shown}: {said:?}"
            );
            assert_eq!(fs::read_dir(home.path("")).unwrap().count(), before, "{shown} left a file behind");
        }
    }
}

#[test]
fn good_values_and_the_variables_of_kubernetes_serve() {
    let home = home();
    let mut env: Vec<(&str, String)> =
        SETTINGS.iter().map(|(name, value)| (*name, good(&home, value))).collect();
    env.retain(|(name, _)| *name != "TOLLGATE_LISTEN" && *name != "TOLLGATE_WORKERS");
    for (name, value) in [
        ("TOLLGATE_PORT", "tcp://10.0.0.1:80"),
        ("TOLLGATE_SERVICE_HOST", "10.0.0.1"),
        ("TOLLGATE_SERVICE_PORT", "80"),
        ("TOLLGATE_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("TOLLGATE_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("TOLLGATE_IMAGE", "tollgate:1"),
        ("HTTPS_PROXY", "http://other.example:1"),
    ] {
        env.push((name, value.to_owned()));
    }
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let gateway = home.serve_with(&[], &env);
    gateway.logged("TOLLGATE_IMAGE");
    // The setting goes before the variable.
    gateway.logged("http://proxy.example:3128");
    assert!(!gateway.log().concat().contains("other.example"));
    assert!(!gateway.log().concat().contains("TOLLGATE_PORT"));
}

#[test]
fn bad_values_name_their_origin_the_value_and_the_accepted_ones() {
    let home = home();
    let check = |args: &[&str], variable: Option<(&str, &str)>, expected: &str| {
        let variables: Vec<_> =
            variable.into_iter().map(|(name, value)| (name, OsString::from(value))).collect();
        let said = run(&home, args, &variables);
        assert!(said.code != 0 && said.err.contains(expected), "{args:?} {variable:?}: {said:?}");
    };
    check(SERVE, Some(("TOLLGATE_WORKERS", "two")), "`TOLLGATE_WORKERS` cannot be `two`: use a whole number");
    check(SERVE, Some(("TOLLGATE_STRICT", "1")), "`TOLLGATE_STRICT` cannot be `1`: use `true` or `false`");
    check(SERVE, Some(("TOLLGATE_GRACE", "30")), "`TOLLGATE_GRACE` cannot be `30`: ");
    check(&["serve", "--workers", "two"], None, "`--workers` cannot be `two`: use a whole number");
    check(
        &["serve", "--log-format", "xml"],
        None,
        "`--log-format` cannot be `xml`: use one of `human`, `json`",
    );
    check(SERVE, Some(("TOLLGATE_DTA", "x")), "`TOLLGATE_DTA` is no setting: did you mean `TOLLGATE_DATA`?");
    check(
        SERVE,
        Some(("TOLLGATE_SECRETS", "nowhere")),
        "`TOLLGATE_SECRETS` cannot be `nowhere`: there is no such directory",
    );
    check(
        SERVE,
        Some(("TOLLGATE_SECRETS", "t.toml")),
        "`TOLLGATE_SECRETS` cannot be `t.toml`: it is no directory",
    );
    // Without its directory, nothing would be limited.
    for args in [SERVE, &["check"], &["fmt"]] {
        check(
            args,
            Some(("TOLLGATE_LIMITS", "nowhere")),
            "`TOLLGATE_LIMITS` cannot be `nowhere`: there is no such directory",
        );
        check(
            args,
            Some(("TOLLGATE_LIMITS", "t.toml")),
            "`TOLLGATE_LIMITS` cannot be `t.toml`: it is no directory",
        );
    }
    check(
        SERVE,
        Some(("TOLLGATE_CONFIG", "nowhere")),
        "the settings file `nowhere`, named by `TOLLGATE_CONFIG`",
    );
    check(ON_FREE_PORT, Some(("TOLLGATE_CA_FILE", "nowhere")), "cannot read the CA file `nowhere`");
    check(ON_FREE_PORT, Some(("TOLLGATE_PROVIDERS", "nowhere")), "nowhere");
    check(
        ON_FREE_PORT,
        Some(("TOLLGATE_MASTER_KEY_FILE", "nowhere")),
        "`nowhere`, named by `master_key_file`, is missing",
    );
    check(&["--grace", "1s", "status"], None, "`--grace` is a flag of `tollgate serve`");
    // A misspelt place would send every command elsewhere; other settings are those of `serve`.
    for args in [&["check"][..], &["user", "add", "eve"], &["status"]] {
        let misspelt = "`TOLLGATE_DTA` is no setting: did you mean `TOLLGATE_DATA`?";
        check(args, Some(("TOLLGATE_DTA", "x")), misspelt);
    }
    assert_eq!(run(&home, &["check"], &[("TOLLGATE_LISTN", "x".into())]).code, 0);
    assert_eq!(run(&home, &["check"], &[("TOLLGATE_PROVIDER", "x".into())]).code, 2);
    // Nothing of this made a data directory.
    assert!(!home.path("data").exists());
}

/// A link to nothing is there, and its target is missing: not the same as no settings, providers or secrets.
#[test]
fn a_link_to_nothing_at_a_default_place_is_refused() {
    for (name, expected) in [("tollgate.toml", "`tollgate.toml`"), ("providers.d", "`providers.d`")] {
        let home = home();
        fs::remove_dir_all(home.providers()).unwrap();
        std::os::unix::fs::symlink("gone", home.path(name)).unwrap();
        for args in [ON_FREE_PORT, &["check"], &["routes"]] {
            let said = run(&home, args, &[]);
            assert!(said.code != 0 && said.err.contains(expected), "{args:?} {name}: {said:?}");
        }
    }
    let home = home();
    fs::remove_dir_all(home.path("secrets")).unwrap();
    std::os::unix::fs::symlink("gone", home.path("secrets")).unwrap();
    let text = "title = \"A\"\nextends = \"openai-compatible\"\nbase_url = \"https://a.example\"\nvars.proxy = { file = \"proxy\", optional = true }\negress = [{ when = [\"proxy\"], url = \"{proxy}?to={url}\" }]\n";
    fs::write(home.providers().join("acme.toml"), text).unwrap();
    let said = run(&home, &["routes"], &[]);
    assert!(said.code != 0 && said.err.contains("proxy"), "{said:?}");
}

#[test]
fn commands_read_only_the_settings_that_they_need() {
    let world = World::new();
    let home = &world.home;
    let data = home.data();
    let check = |args: &[&str], name: &str, value: &str, good: bool| {
        let variables = [("TOLLGATE_DATA", data.clone().into_os_string()), (name, value.into())];
        let said = run(home, args, &variables);
        assert_eq!(said.code == 0, good, "{args:?} {name}={value:?}: {said:?}");
        assert!(good || said.err.contains(name), "{said:?}");
        let _ = fs::remove_file(home.path("b.db"));
    };
    for args in [&["status"][..], &["user", "list"], &["token", "list"], &["backup", "b.db"]] {
        check(args, "TOLLGATE_WORKERS", "two", true);
        check(args, "TOLLGATE_LISTEN", "x\r", true);
        check(args, "TOLLGATE_SECRETS", "s\r", true);
        check(args, "TOLLGATE_MASTER_KEY", "", true);
        check(args, "TOLLGATE_LISTN", "x", true);
    }
    check(&["routes"], "TOLLGATE_SECRETS", "s\r", false);
    fs::write(home.path("tollgate.toml"), "grace = \"soon\"\nlistn = 1\n").unwrap();
    check(&["status"], "TOLLGATE_SWEEP", "never", true);
    check(&["user", "list"], "TOLLGATE_SWEEP", "never", true);
}

#[test]
fn a_failed_start_leaves_no_data_directory() {
    let home = home();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = busy.local_addr().unwrap().to_string();
    let check = |args: &[&str], variables: &[(&str, &str)], expected: &str| {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
        let said = run(&home, &[&["serve", "--listen", "127.0.0.1:0"], args].concat(), &variables);
        assert!(said.code == 1 && said.err.contains(expected), "{args:?}: {said:?}");
        assert!(!home.path("data").exists(), "{args:?} left a data directory");
    };
    check(&["--admin-listen", &busy], &[], "failed to listen on");
    check(&["--ca-file", "t.toml"], &[], "it is empty");
    check(&["--connect-to", "x"], &[], "`connect_to` cannot be used: `x` is not a connect rule");
    check(&[], &[("TOLLGATE_MASTER_KEY", "0123")], "TOLLGATE_MASTER_KEY does not hold a master key");
    check(
        &["--outgoing-proxy", "socks5://a.example"],
        &[],
        "`--outgoing-proxy` is not the URL of a proxy: `socks5`",
    );
    check(&[], &[("HTTPS_PROXY", "ftp://a.example")], "`HTTPS_PROXY` is not the URL of a proxy: `ftp`");
    check(&["--outgoing-proxy-auth-file", "proxy-auth"], &[], "there is no proxy");
    check(&["--no-proxy", "10.0.0.0/33"], &[], "`--no-proxy` cannot be `10.0.0.0/33`: it is no network");
    check(
        &["--user-origins", "https://*"],
        &[],
        "`--user-origins` cannot be `https://*`: its last label is `*`",
    );
    check(&["--providers", "nowhere"], &[], "nowhere");
    for backup in ["nowhere", "ca.pem"] {
        let said = run(&home, &["restore", backup], &[]);
        assert!(said.code == 1 && said.err.contains(&format!("`{backup}`")), "{said:?}");
        assert!(!home.path("data").exists(), "a failed restore left a data directory");
    }
    home.write("bad", "title = 1");
    check(&["--strict"], &[], "has errors, and `--strict` is on");
}

#[test]
fn the_master_key_is_understood_or_refused_and_never_shown() {
    let key = "0123456789abcdef".repeat(4);
    let home = home();
    let check = |text: &[u8], expected: Option<&str>| {
        secret_file(&home.path("key"), text);
        let file = [("TOLLGATE_MASTER_KEY_FILE", home.path("key").into_os_string())];
        let variable = [("TOLLGATE_MASTER_KEY", OsString::from_vec(text.to_vec()))];
        for variables in [&file[..], &variable] {
            // The listener fails after the key was read.
            let said = run(&home, &["serve", "--listen", "192.0.2.1:1"], variables);
            assert!(said.code == 1 && !said.err.contains("0123456789abcdef"), "{text:?}: {said:?}");
            let expected = expected.unwrap_or("failed to listen on");
            assert!(said.err.contains(expected), "{text:?} {variables:?}: {said:?}");
        }
    };
    check(key.as_bytes(), None);
    check(format!("{key}\n").as_bytes(), None);
    check(format!("{key}\r\n").as_bytes(), None);
    check(format!("\u{feff}{key}\r").as_bytes(), None);
    check(
        format!("\"{key}\"").as_bytes(),
        Some("64 hex digits, as `openssl rand -hex 32` prints; the text is in quotes"),
    );
    check(format!("{key}\u{a0}").as_bytes(), Some("the text has the invisible character U+00A0"));
    check(&[key.as_bytes(), b"\xff"].concat(), Some("is not UTF-8"));
    check(b"  ", Some("does not hold a master key"));
    let said = run(&home, SERVE, &[("TOLLGATE_MASTER_KEY", OsString::new())]);
    assert!(said.err.contains("`TOLLGATE_MASTER_KEY` is set, but empty"), "{said:?}");
}

#[test]
fn certificates_of_the_environment_have_no_substitute() {
    let home = home();
    let check = |name: &str, value: &str, expected: &str| {
        let variables = [(name, OsString::from(value))];
        let said = run(&home, &["serve", "--listen", "192.0.2.1:1"], &variables);
        assert!(said.code == 1 && said.err.contains(expected), "{name}={value:?}: {said:?}");
    };
    check("SSL_CERT_FILE", "ca.pem", "failed to listen on");
    check("SSL_CERT_FILE", "", "failed to listen on");
    check("SSL_CERT_FILE", "ca.pem\r", "the certificates of `SSL_CERT_FILE` cannot be used");
    check("SSL_CERT_FILE", "nowhere", "the certificates of `SSL_CERT_FILE` cannot be used");
    check("SSL_CERT_FILE", "t.toml", "there is no certificate");
    check("SSL_CERT_DIR", "nowhere", "the certificates of `SSL_CERT_DIR` cannot be used");
    check("SSL_CERT_DIR", "secrets", "there is no certificate");
}

/// A provider with an optional egress, whose URL comes from `source`.
fn with_egress(source: &str) -> String {
    format!(
        "title = \"A\"\nextends = \"openai-compatible\"\nbase_url = \"https://a.example\"\n\
        egress = [{{ when = [\"proxy\"], url = \"{{proxy}}?to={{url|urlencode}}\" }}]\n\
        [vars]\nproxy = {{ {source}, optional = true }}\n"
    )
}

/// The var of an egress: it is used, or it is unset, or the provider does not serve. Never is the egress left out.
#[test]
fn a_var_is_used_or_unset_or_keeps_the_provider_from_serving() {
    enum Verdict {
        Used,
        Unset,
        Refused(&'static str),
    }
    use Verdict::{Refused, Unset, Used};
    const PROXY: &str = "https://p.example/canary";
    let home = home();
    let judge = |source: &str, variables: &[(&str, OsString)], verdict: &Verdict, shown: &str| {
        home.write("acme", &with_egress(source));
        let said = run(&home, &["routes"], variables);
        assert!(!said.err.contains("canary"), "{shown} shows a secret: {said:?}");
        match verdict {
            Used => assert!(said.code == 0 && said.out.contains(" via "), "{shown}: {said:?}"),
            Unset => assert!(said.code == 0 && !said.out.contains(" via "), "{shown}: {said:?}"),
            Refused(reason) => {
                let named = said.err.contains("providers.d/acme.toml");
                assert!(said.code == 1 && named && said.err.contains(reason), "{shown}: {said:?}");
                assert!(!said.out.contains("a.example"), "{shown} leads to the provider directly: {said:?}");
            }
        }
    };
    let in_file = |bytes: &[u8], verdict: &Verdict| {
        fs::write(home.path("secrets/proxy"), bytes).unwrap();
        judge("file = \"proxy\"", &[], verdict, &format!("file {bytes:?}"));
    };
    let in_both = |bytes: &[u8], verdict: &Verdict| {
        in_file(bytes, verdict);
        let value = OsString::from_vec(bytes.to_vec());
        judge("env = \"ACME_PROXY\"", &[("ACME_PROXY", value)], verdict, &format!("variable {bytes:?}"));
    };
    let text = |text: String, verdict: Verdict| in_both(text.as_bytes(), &verdict);
    text(PROXY.into(), Used);
    text(format!("{PROXY}\n"), Used);
    text(format!("{PROXY}\r\n"), Used);
    text(format!("{PROXY}\r"), Used);
    text(format!("\u{feff}{PROXY}"), Used);
    text(format!("{PROXY}\n\n"), Refused("U+000A"));
    text(format!("{PROXY}\u{a0}"), Refused("U+00A0"));
    text(format!("\u{200b}{PROXY}"), Refused("U+200B"));
    text(format!("{PROXY} "), Refused("ends with a space"));
    text(format!("\"{PROXY}\""), Refused("is in quotes"));
    text(format!("'{PROXY}'"), Refused("is in quotes"));
    text("  ".into(), Refused("white space only"));
    text("p.example".into(), Refused("the egress's `url` is none"));
    in_both(b"https://p.example/\xff", &Refused("is not UTF-8"));
    in_file(b"\xff\xfeh\0", &Refused("is UTF-16"));
    in_file(b"", &Refused("is empty"));
    in_file(b"\n", &Refused("is empty"));
    in_file(b"https://p.example/\0", &Refused("U+0000"));
    judge("env = \"ACME_PROXY\"", &[], &Unset, "no variable");
    judge("env = \"ACME_PROXY\"", &[("ACME_PROXY", OsString::new())], &Unset, "an empty variable");
    fs::remove_file(home.path("secrets/proxy")).unwrap();
    judge("file = \"proxy\"", &[], &Unset, "no file");
    std::os::unix::fs::symlink("nowhere", home.path("secrets/proxy")).unwrap();
    judge("file = \"proxy\"", &[], &Refused("is a link to a file that does not exist"), "a link");
    fs::remove_file(home.path("secrets/proxy")).unwrap();
    fs::create_dir(home.path("secrets/proxy")).unwrap();
    judge("file = \"proxy\"", &[], &Refused("is a directory, not a file"), "a directory");
    // `check` needs no environment: its verdict is the same, with a note.
    home.write("acme", &with_egress("env = \"ACME_PROXY\""));
    let said = run(&home, &["check"], &[("ACME_PROXY", format!("\"{PROXY}\"").into())]);
    let note = "note: environment variable `ACME_PROXY` is in quotes";
    assert!(said.code == 0 && said.err.contains(note) && !said.err.contains("canary"), "{said:?}");
    // A directory that is named has to exist; the default one need not.
    let named = [("TOLLGATE_SECRETS", OsString::from("secrets\r"))];
    let said = run(&home, &["routes"], &named);
    assert!(
        said.code == 1 && said.err.contains("`TOLLGATE_SECRETS` ends with a carriage return"),
        "{said:?}"
    );
    fs::remove_dir_all(home.path("secrets")).unwrap();
    judge("file = \"proxy\"", &[], &Unset, "no directory");
}

#[test]
fn a_gateway_that_is_set_in_part_is_not_bypassed() {
    let home = home();
    home.write("gateways/g", "title = \"G\"\nbase_url = \"https://g.example/{id}\"\nheaders = { set = { x-token = \"{token}\" } }\n[vars]\nid = { env = \"G_ID\" }\ntoken = { env = \"G_TOKEN\", secret = true }\n");
    home.write("acme", "title = \"A\"\nextends = \"openai-compatible\"\nbase_url = \"https://a.example\"\ngateway.g = { path = \"/a{path}\" }\n");
    let check = |variables: &[(&str, &str)], out: &str, err: &str| {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
        let said = run(&home, &["routes"], &variables);
        assert!(said.out.contains(out) && said.err.contains(err), "{variables:?}: {said:?}");
        assert!(out.contains("//a.example") || !said.out.contains("//a.example"), "{variables:?}: {said:?}");
    };
    check(&[], "https://a.example/", "");
    check(&[("G_ID", "1"), ("G_TOKEN", "t")], "https://g.example/1/a/", "");
    check(
        &[("G_ID", "1")],
        "",
        "gateway `g` is set in part: its var `token` is not set (environment variable `G_TOKEN`)",
    );
    check(&[("G_ID", "1"), ("G_TOKN", "t")], "", "is set in part");
    check(&[("G_ID", "1"), ("G_TOKEN", "\"t\"")], "", "var `token` is in quotes");
}

/// The server, its status and its log report the var; a client is told which one.
#[test]
fn a_request_is_refused_with_the_var_that_is_unusable() {
    let mut site = Site::stopped("b=1");
    site.home.write("a", &format!("{}\n[[egress]]\nwhen = [\"proxy\"]\nurl = \"{{proxy}}?to={{url|urlencode}}\"\n[vars]\nproxy = {{ env = \"A_PROXY\", optional = true }}\n", site.text("a", "1")));
    site.start_with(&[("A_PROXY", "\"https://p.example\"")]);
    site.serves("a=config_rejected b=1");
    let status = site.status().to_string();
    assert!(
        status.contains("var `proxy` is in quotes") && !site.status()["ok"].as_bool().unwrap(),
        "{status}"
    );
    let lines = site.gateway().log();
    assert_eq!(lines.iter().filter(|line| line.contains("var `proxy` is in quotes")).count(), 1, "{lines:?}");
    let mut client = crate::harness::Wire::connect(site.gateway().address);
    client.send(site.request("a", "get"));
    let body = String::from_utf8(client.answer().unwrap().body).unwrap();
    assert!(body.contains("var proxy of ") && body.contains("a.toml has no usable value"), "{body}");
}

#[test]
fn documents_and_secrets_on_standard_input() {
    const LOGIN: &str = "title = \"L\"\npath_prefix = \"/l\"\nbase_url = \"https://l.example\"\nendpoint.one = { method = \"GET\", path = \"/one\" }\nauth = [{ field = \"login\", set = { x-key = \"{secret}\" } }]\n[credentials]\nsection = \"l\"\n[[credentials.field]]\nname = \"key\"\n[[credentials.field]]\nname = \"login\"\nkind = \"oauth2\"\ntoken_url = \"https://l.example/token\"\nclient_id = \"app\"\npaste = { accessToken = \"/tokens/access\" }\n";
    let home = Home::new(&[("l", LOGIN)]);
    home.user("ada");
    let data = [("TOLLGATE_DATA", home.data().into_os_string())];
    let check = |place: &str, stdin: &[u8], expected: &str| {
        let said = run_with(&home, &["credential", "set", "ada", place], &data, stdin);
        assert!(!said.err.contains("canary"), "{place}: {said:?}");
        assert_eq!(said.code == 0, expected.is_empty(), "{place}: {said:?}");
        assert!(said.err.contains(expected), "{place} {:?}: {said:?}", String::from_utf8_lossy(stdin));
    };
    let key = |stdin: &str, expected: &str| check("l.key", stdin.as_bytes(), expected);
    key("canary-key", "");
    key("canary-key\r\n", "");
    key("\u{feff}canary-key\n", "");
    key("canary-key\n\n", "forbidden character at position 11");
    key("canary-key\u{a0}", "forbidden character at position 11");
    key("\"canary-key\"", "the secret is in quotes");
    key("'canary-key'\n", "the secret is in quotes");
    key("", "is empty");
    check("l.key", b"canary\xff", "stdin is not UTF-8");
    check("l.key", b"\xff\xfec\0", "stdin is UTF-16");
    let login = r#"{"tokens":{"access":"canary-a"},"more":1}"#;
    let paste = |stdin: String, expected: &str| check("l.login", stdin.as_bytes(), expected);
    paste(login.into(), "");
    paste(format!("\u{feff}{login}\r\n"), "");
    paste(login.replace(',', ",\r\n"), "");
    paste(format!("\u{a0}{login}\u{200b}"), "");
    paste(format!("```json\n{login}\n```\n"), "");
    paste(login.replace(',', ",\u{a0}"), "the invisible character U+00A0 stands at line 1, column");
    paste(login.replace('"', "”"), "the typographic quote U+201D stands at line 1, column 2");
    paste(login[..20].into(), "the text begins as JSON and is none: see line 1");
    paste("canary".into(), "this field holds a login");
    let said = home.run(&["credential", "set", "ada", "ll.key"], "x");
    assert!(!said.err.contains('{'), "{said:?}");
}

#[test]
fn dumps_settings_files_and_provider_files() {
    let home = home();
    let dump = r#"{"users":{"usr_00000000000000aa":{"name":"ada","createdAt":1767323045000}}}"#;
    let import = |bytes: &[u8], expected: &str| {
        fs::write(home.path("dump.json"), bytes).unwrap();
        let said = run(&home, &["import-worker", "--dry-run", "dump.json"], &[]);
        assert!(said.err.contains(expected), "{bytes:?}: {said:?}");
    };
    import(dump.as_bytes(), "would import 1 user");
    import(format!("\u{feff}{dump}\r\n").as_bytes(), "would import 1 user");
    import(
        dump.replace(',', ",\u{a0}").as_bytes(),
        "the dump is not JSON: the invisible character U+00A0 stands at line 1",
    );
    import(b"", "the dump is not JSON");
    import(b"\xff\xfe{\0", "`dump.json` is UTF-16");
    let said = run(&home, &["import-worker", "nowhere"], &[]);
    assert!(said.err.contains("failed to read `nowhere`"), "{said:?}");

    let provider = "title = \"A\"\nextends = \"openai-compatible\"\nbase_url = \"https://a.example\"\n";
    let check = |bytes: &[u8], code: i32, expected: &str| {
        fs::write(home.path("providers.d/acme.toml"), bytes).unwrap();
        let said = run(&home, &["check"], &[]);
        assert!(
            said.code == code && (said.err.clone() + &said.out).contains(expected),
            "{bytes:?}: {said:?}"
        );
    };
    check(provider.as_bytes(), 0, "ok");
    check(format!("\u{feff}{}", provider.replace('\n', "\r\n")).as_bytes(), 0, "ok");
    check(provider.replace(" = ", "\u{a0}= ").as_bytes(), 1, "acme.toml:1:");
    check(provider.replace('"', "”").as_bytes(), 1, "acme.toml:1:");
    check(&[provider.as_bytes(), b"# \xff"].concat(), 1, "UTF-8");
    check(b"", 1, "acme.toml");

    fs::write(home.path("providers.d/acme.toml"), provider).unwrap();
    let settings = |bytes: &[u8], expected: &str| {
        fs::write(home.path("tollgate.toml"), bytes).unwrap();
        let said = run(&home, &["serve", "--listen", "192.0.2.1:1"], &[]);
        assert!(said.code == 1 && said.err.contains(expected), "{bytes:?}: {said:?}");
    };
    settings("\u{feff}grace = \"5s\"\r\n".as_bytes(), "failed to listen on");
    settings("grace\u{a0}= \"5s\"".as_bytes(), "tollgate.toml:1:");
    settings(
        b"[serve]\nlisten = \"127.0.0.1:0\"\n",
        "settings stand at the top of the file: remove the line `[serve]`",
    );
    settings(
        b"secrets = \"nowhere\"",
        "`secrets` in `tollgate.toml` cannot be `nowhere`: there is no such directory",
    );
    settings(b"data = \"data\\r\"", "`data` in `tollgate.toml` ends with a carriage return");
    settings(b"\xff\xfed\0", "is UTF-16");
    assert!(!home.path("data").exists());
}

#[test]
fn the_status_reports_a_store_that_fails() {
    let world = World::new();
    assert_eq!(world.home.run(&["status"], "").code, 0);
    let database = world.home.data().join("tollgate.db");
    fs::rename(&database, world.home.path("away.db")).unwrap();
    let said = world.home.run(&["status"], "");
    assert!(said.code == 1 && said.out.starts_with("NOT OK") && said.out.contains("store: "), "{said:?}");
    fs::rename(world.home.path("away.db"), &database).unwrap();
    assert_eq!(world.home.run(&["status"], "").code, 0);
}
