//! Hot reload: provider files that change in any way while `serve` runs. Good files serve, a bad one affects no other, and
//! its last good version goes on serving, also after a restart.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::Signal,
};
use serde_json::Value;

use crate::harness::{Site, Wire, eventually, over_socket, pause, root, save};

const BROKEN: &str = "title = \n";

// === Ways to change files ===

#[test]
fn every_way_of_saving_a_file_reloads_it() {
    let site = Site::new("a=1 b=1", &[]);
    let mut version = 1;
    let mut check = |saved: fn(&Path, &str)| {
        version += 1;
        saved(&site.file("a"), &site.text("a", &version.to_string()));
        site.serves(&format!("a={version} b=1"));
    };
    // A synced temporary file, renamed over the old one.
    check(|path, text| {
        let draft = path.with_extension("toml.tmp");
        let mut file = File::create(&draft).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.sync_all().unwrap();
        fs::rename(draft, path).unwrap();
    });
    // The old file moved away, and a new one written.
    check(|path, text| {
        fs::rename(path, path.with_extension("toml~")).unwrap();
        fs::write(path, text).unwrap();
        fs::remove_file(path.with_extension("toml~")).unwrap();
    });
    // Written in place, at once and in pieces.
    check(|path, text| fs::write(path, text).unwrap());
    check(|path, text| {
        let mut file = OpenOptions::new().write(true).truncate(true).open(path).unwrap();
        for piece in text.as_bytes().chunks(7) {
            file.write_all(piece).unwrap();
        }
    });
    // Removed and written again.
    check(|path, text| {
        fs::remove_file(path).unwrap();
        fs::write(path, text).unwrap();
    });
    // Replaced by a link, then written at its target.
    check(|path, text| {
        let real = path.with_file_name("real/a");
        fs::create_dir(real.parent().unwrap()).unwrap();
        fs::write(&real, text).unwrap();
        fs::remove_file(path).unwrap();
        symlink(real, path).unwrap();
    });
    check(|path, text| fs::write(path.with_file_name("real/a"), text).unwrap());
    check(|path, text| save(&path.with_file_name("real/a"), text));
    check(|path, text| fs::write(path, text).unwrap());
    check(save);
}

#[test]
fn half_of_a_file_never_serves() {
    let site = Site::new("a=1 b=1", &[]);
    let text = site.text("a", "2");
    let (first, second) = text.split_at(text.find("path_prefix").unwrap());
    let mut file = OpenOptions::new().write(true).truncate(true).open(site.file("a")).unwrap();
    file.write_all(first.as_bytes()).unwrap();
    site.serves("a=1~ b=1");
    file.write_all(second.as_bytes()).unwrap();
    site.serves("a=2 b=1");
}

#[test]
fn a_deleted_file_stops_serving_until_it_is_restored() {
    let site = Site::new("a=1 b=1", &[]);
    for _ in 0..2 {
        fs::remove_file(site.file("a")).unwrap();
        site.serves("a=route_not_found b=1");
        site.write("a", "1");
        site.serves("a=1 b=1");
    }
}

/// Compares the table with that of another process, started with the same files.
fn same_as_fresh(site: &Site) {
    let data = site.home.path("fresh");
    let _fresh = site.home.serve(&["--data", data.to_str().unwrap()]);
    let (fresh, status) = (over_socket(&data, "GET /admin/providers").1, site.status());
    assert_eq!((&status["hash"], &status["counts"]), (&fresh["hash"], &fresh["counts"]));
}

/// A directory as Kubernetes mounts it: files are links through `..data`, which each change points to another directory.
fn mounted(dir: &Path, generation: &str, files: &[(&str, &str)]) {
    let real = format!("..{generation}");
    fs::create_dir_all(dir.join(&real)).unwrap();
    for (name, text) in files {
        fs::write(dir.join(&real).join(name), text).unwrap();
        if !dir.join(name).is_symlink() {
            symlink(Path::new("..data").join(name), dir.join(name)).unwrap();
        }
    }
    let old = fs::read_link(dir.join("..data"));
    symlink(real, dir.join("..data_tmp")).unwrap();
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    if let Ok(old) = old {
        fs::remove_dir_all(dir.join(old)).unwrap();
    }
}

#[test]
fn a_swapped_config_map_is_reloaded() {
    let mut site = Site::stopped("");
    let mount = |version: &str| {
        let (a, b) = (site.text("a", version), site.text("b", version));
        mounted(site.home.providers(), &format!("2026_{version}"), &[("a.toml", &a), ("b.toml", &b)]);
    };
    mount("1");
    site.start(&[]);
    site.serves("a=1 b=1");
    let mount = |version: &str| {
        let (a, b) = (site.text("a", version), site.text("b", version));
        mounted(site.home.providers(), &format!("2026_{version}"), &[("a.toml", &a), ("b.toml", &b)]);
    };
    for version in ["2", "3", "1", "2"] {
        mount(version);
        site.serves(&format!("a={version} b={version}"));
    }
}

#[test]
fn changes_of_a_mounted_file_are_detected() {
    let mut site = Site::stopped("a=1 b=1");
    let source = site.home.path("source.toml");
    fs::write(&source, site.text("a", "2")).unwrap();
    let mount = format!("mount --bind '{}' \"$TOLLGATE_PROVIDERS/a.toml\"", source.display());
    let Some(namespace) = site.home.namespace(&mount) else { return };
    site.start_in(&namespace, &["--sweep", "1h"]);
    site.serves("a=2 b=1");
    fs::write(&source, site.text("a", "3")).unwrap();
    site.serves("a=3 b=1");
    fs::write(&source, BROKEN).unwrap();
    site.serves("a=3~ b=1");
    fs::write(&source, site.text("a", "4")).unwrap();
    site.serves("a=4 b=1");
    // The mount shows the file that it was made with, not the one renamed over it.
    save(&source, &site.text("a", "5"));
    site.write("b", "2");
    site.serves("a=4 b=2");
    site.home.sh_beside(site.gateway(), &format!("umount \"$TOLLGATE_PROVIDERS/a.toml\"\n{mount}"));
    site.reload();
    site.serves("a=5 b=2");
    fs::write(&source, site.text("a", "6")).unwrap();
    site.serves("a=6 b=2");
    // A directory mounted over the watched one.
    let other = site.home.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("a.toml"), site.text("a", "7")).unwrap();
    let mount = format!("mount --bind '{}' \"$TOLLGATE_PROVIDERS\"", other.display());
    site.home.sh_beside(site.gateway(), &mount);
    site.reload();
    site.serves("a=7 b=route_not_found");
    save(&other.join("a.toml"), &site.text("a", "8"));
    site.serves("a=8 b=route_not_found");
}

#[test]
fn a_write_through_a_memory_map_is_reloaded() {
    let site = Site::new("a=1 b=1", &["--sweep", "1h"]);
    let script = "import mmap, sys\n\
        with open(sys.argv[1], 'r+b') as file, mmap.mmap(file.fileno(), 0) as map:\n    \
            at = map.find(b'/a/1')\n    map[at:at + 4] = b'/a/2'\n";
    match Command::new("python3").args(["-c", script]).arg(site.file("a")).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => return eprintln!("not tested here, for want of python3: {error}"),
    }
    site.serves("a=2 b=1");
}

#[test]
fn a_git_checkout_is_reloaded() {
    let site = Site::new("a=1 b=1", &[]);
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=ada", "-c", "user.email=ada@example.com"]).args(args);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        let output = command.current_dir(site.home.providers()).output();
        output.inspect(|output| assert!(output.status.success(), "git {args:?}: {output:?}"))
    };
    if git(&["init", "--quiet", "--initial-branch", "one"]).is_err() {
        return eprintln!("not tested here, for want of git");
    }
    let commit =
        || git(&["add", "."]).and_then(|_| git(&["commit", "--quiet", "--message", "files"])).unwrap();
    commit();
    git(&["checkout", "--quiet", "-b", "two"]).unwrap();
    site.write("a", "2");
    fs::remove_file(site.file("b")).unwrap();
    site.write("c", "2");
    commit();
    for _ in 0..3 {
        git(&["checkout", "--quiet", "one"]).unwrap();
        site.serves("a=1 b=1 c=route_not_found");
        git(&["checkout", "--quiet", "two"]).unwrap();
        site.serves("a=2 b=route_not_found c=2");
    }
    same_as_fresh(&site);
}

#[test]
fn a_missing_or_empty_directory_changes_nothing() {
    let site = Site::new("a=1 b=1", &[]);
    let (dir, away) = (site.home.providers().to_owned(), site.home.path("away"));
    let check = |go: &dyn Fn(), come: &dyn Fn()| {
        go();
        site.serves("a=1~ b=1~");
        come();
        site.serves("a=1 b=1");
    };
    for _ in 0..2 {
        check(&|| fs::rename(&dir, &away).unwrap(), &|| fs::rename(&away, &dir).unwrap());
    }
    // Another directory with the same name.
    let files = ["a", "b"].map(|name| (name, site.text(name, "1")));
    check(&|| fs::remove_dir_all(&dir).unwrap(), &|| {
        for (name, text) in &files {
            site.home.write(name, text);
        }
    });
    // An empty directory: nobody means that.
    check(
        &|| ["a", "b"].map(|name| fs::remove_file(site.file(name)).unwrap()).into_iter().collect(),
        &|| {
            for (name, text) in &files {
                site.home.write(name, text);
            }
        },
    );
    let problems = site.lines().into_iter().filter_map(|line| Some(line["problem"].as_str()?.to_owned()));
    let problems: Vec<_> = problems.collect();
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(
        problems[0].contains("cannot be read") && problems[3].contains("has no provider file"),
        "{problems:?}"
    );
    // The directory is still watched.
    save(&site.file("a"), &site.text("a", "2"));
    site.serves("a=2 b=1");
}

/// Replaces a link atomically.
fn link(to: &Path, at: &Path) {
    let draft = at.with_extension("tmp");
    symlink(to, &draft).unwrap();
    fs::rename(draft, at).unwrap();
}

#[test]
fn a_retargeted_link_is_followed() {
    let mut site = Site::stopped("");
    let root = site.home.path("");
    for version in ["1", "2"] {
        let dir = root.join(format!("release-{version}/files"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("a.toml"), site.text("a", version)).unwrap();
    }
    // The directory is a link to a path through another link.
    fs::remove_dir(site.home.providers()).unwrap();
    link(Path::new("release-1"), &root.join("current"));
    link(Path::new("current/files"), site.home.providers());
    site.start(&[]);
    site.serves("a=1");
    let check = |to: &str, at: &Path, expected: &str| {
        link(Path::new(to), at);
        site.serves(expected);
    };
    check("release-2", &root.join("current"), "a=2");
    check("release-1/files", site.home.providers(), "a=1");
    check("release-2/files", site.home.providers(), "a=2");
    check("current/files", site.home.providers(), "a=2");
    check("release-1", &root.join("current"), "a=1");
    save(&root.join("release-1/files/a.toml"), &site.text("a", "3"));
    site.serves("a=3");
    check("nowhere", &root.join("current"), "a=3~");
    check("release-2", &root.join("current"), "a=2");
}

#[test]
fn endless_changes_are_reloaded_and_end_in_the_right_state() {
    const LAST: usize = 2000;
    let site = Site::new("a=0 b=1", &[]);
    let (written, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let start = Instant::now();
    let due = |number: usize| start + Duration::from_millis(5) * u32::try_from(number).unwrap();
    let most = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=LAST {
                pause(due(number).saturating_duration_since(Instant::now()));
                let text = site.text("a", &number.to_string());
                match number % 4 {
                    0 => fs::write(site.file("a"), text).unwrap(),
                    1 => fs::write(site.home.providers().join(".swap"), text).unwrap(),
                    2 => save(&site.file("a"), &text),
                    _ => site.write("c", &number.to_string()),
                }
                written.store(number, Ordering::Release);
            }
            over.store(true, Ordering::Release);
        });
        let mut client = Wire::connect(site.gateway().address);
        let mut most = Duration::ZERO;
        while !over.load(Ordering::Acquire) {
            let seen: usize = site.seen(&mut client, "a").parse().expect("it serves at all times");
            assert_eq!(site.seen(&mut client, "b"), "1");
            assert!(seen <= written.load(Ordering::Acquire) + 1);
            // Two or four changes later, the seen version was replaced.
            most = most.max(Instant::now().saturating_duration_since(due(seen + 4)));
            pause(Duration::from_millis(10));
        }
        most
    });
    site.serves(&format!("a={LAST} b=1 c={}", LAST - 1));
    same_as_fresh(&site);
    println!("in a storm, what serves is at most {most:?} old");
    assert!(most < Duration::from_secs(5), "{most:?}");
    assert!(site.gateway().log().len() < 100, "{} lines", site.gateway().log().len());
}

#[test]
fn a_link_is_checked_again_at_each_scan() {
    let mut site = Site::stopped("");
    let (root, files) = (site.home.path(""), site.home.path("files"));
    fs::remove_dir(site.home.providers()).unwrap();
    fs::create_dir_all(files.join("inner")).unwrap();
    fs::write(files.join("a.toml"), site.text("a", "1")).unwrap();
    fs::write(files.join("inner/b.toml"), site.text("b", "1")).unwrap();
    symlink("../a.toml", files.join("inner/a.toml")).unwrap();
    symlink("files/inner", site.home.providers()).unwrap();
    // Old enough for its stamp to count as unchanged.
    let old =
        || fs::metadata(files.join("a.toml")).unwrap().modified().unwrap().elapsed().unwrap().as_secs() > 3;
    eventually("the file is old", old);
    site.start(&[]);
    site.serves("a=route_not_found b=1");
    let check = |to: &str, expected: &str| {
        link(Path::new(to), &root.join("providers.d"));
        site.serves(expected);
    };
    // The same file, moved inside and outside again.
    check("files", "a=1 b=route_not_found");
    check("files/inner", "a=1~ b=1");
    check("files", "a=1 b=route_not_found");
}

// === Bad files ===

#[test]
fn a_broken_file_serves_its_last_good_version_and_affects_no_other() {
    let site = Site::new("a=1 b=1 c=1", &[]);
    let check = |file: &str, text: &str, expected: &str| {
        site.home.write(file, text);
        site.serves(expected);
    };
    let failing = "[[test]]\nname = \"t\"\nrequest = { path = \"/a/get\" }\nexpect = { method = \"POST\" }\n";
    check("a", BROKEN, "a=1~ b=1 c=1");
    check("b", &site.text("b", "2"), "a=1~ b=2 c=1");
    check("a", &site.text("a", "2"), "a=2 b=2 c=1");
    check("a", &format!("wrong = 1\n{}", site.text("a", "3")), "a=2~ b=2 c=1");
    check("a", &site.text("a", "1"), "a=1 b=2 c=1");
    check("a", &format!("{}{failing}", site.text("a", "4")), "a=1~ b=2 c=1");
    check("a", &site.text("a", "1"), "a=1 b=2 c=1");
    check("a", "", "a=1~ b=2 c=1");
    check("a", &format!("{}{failing}", site.text("a", "4")).replace("POST", "GET"), "a=4 b=2 c=1");
    // A file that was never good is rejected.
    check("d", &format!("wrong = 1\n{}", site.text("d", "1")), "a=4 b=2 c=1 d=config_rejected");
    check("d", &site.text("d", "1"), "a=4 b=2 c=1 d=1");
    check("d", BROKEN, "a=4 b=2 c=1 d=1~");
    fs::remove_file(site.file("d")).unwrap();
    site.serves("a=4 b=2 c=1 d=route_not_found");
}

/// Breaks a shared file. `with` are the lines of a provider file that use it, `v` is the version its users serve.
fn shared(file: &str, text: &str, with: &str, v: &str) {
    let mut site = Site::stopped("c=1");
    fs::create_dir(site.home.path("secrets")).unwrap();
    fs::write(site.home.path("secrets/v"), "v").unwrap();
    let users = ["a", "b", "d"].map(|name| {
        (
            name,
            format!("{}\n{}", with.replace("NAME", name), site.text(name, "1"))
                .replace("path = \"/get\"", "path = \"/get\"\nUSES"),
        )
    });
    let key = if with.is_empty() { "api = \"x\"" } else { "" };
    let user = |at: usize| (users[at].0, users[at].1.replace("USES", key));
    for (name, text) in [user(0), user(1)] {
        site.home.write(name, &text);
    }
    let text = &text.replace("UPSTREAM", &site.upstream.address().to_string());
    site.home.write(file, text);
    site.start(&[]);
    let serves = |expected: &str| site.serves(&expected.replace("=v", &format!("={v}")));
    serves("a=v b=v c=1");
    let check = |(file, text): (&str, String), expected: &str| {
        site.home.write(file, &text);
        serves(expected);
    };
    check((file, BROKEN.into()), "a=v~ b=v~ c=1");
    check(user(2), "a=v~ b=v~ c=1 d=config_rejected");
    check(("c", site.text("c", "2")), "a=v~ b=v~ c=2 d=config_rejected");
    check((file, format!("wrong = 1\n{text}")), "a=v~ b=v~ c=2 d=config_rejected");
    // A provider that no longer uses the file is good again.
    check(("b", site.text("b", "2")), "a=v~ b=2 c=2 d=config_rejected");
    check((file, text.into()), "a=v b=2 c=2 d=v");
    fs::remove_file(site.file(file)).unwrap();
    serves("a=v~ b=2 c=2 d=v~");
    fs::remove_dir(site.file(file).parent().unwrap()).unwrap();
    check((file, format!("{text}# as before\n")), "a=v b=2 c=2 d=v");
}

#[test]
fn a_broken_preset_rejects_only_its_new_users() {
    shared("presets/p", "docs = \"https://example.com/\"\n", "extends = \"p\"", "1");
}

#[test]
fn a_broken_endpoint_set_rejects_only_its_new_users() {
    let text = "title = \"E\"\nendpoint.more = { method = \"GET\", path = \"/more\" }\n";
    shared("endpoints/some/e", text, "include = [\"some/e\"]", "1");
}

#[test]
fn a_broken_gateway_rejects_only_its_new_users() {
    let text = "title = \"G\"\nbase_url = \"http://UPSTREAM\"\nvars = { v = { file = \"v\" } }\nheaders = { set = { x-v = \"{v}\" } }\n";
    shared("gateways/g", text, "gateway = { g = { strip = \"/NAME/1\", path = \"/NAME/g{path}\" } }", "g");
}

#[test]
fn a_broken_api_rejects_only_its_new_users() {
    shared("apis/x", "title = \"X\"\n[error]\nbody = { error = \"{message}\" }\n", "", "1");
}

#[test]
fn a_broken_shared_file_affects_no_user_after_a_restart() {
    let mut site = Site::stopped("b=1");
    fs::create_dir(site.home.path("secrets")).unwrap();
    fs::write(site.home.path("secrets/v"), "v").unwrap();
    let gateway = "title = \"G\"\nbase_url = \"https://one.example\"\nvars = { v = { file = \"v\" } }\nheaders = { set = { x-v = \"{v}\" } }\n";
    // The preset's own test goes through the gateway; requests to its users do not.
    let preset = r#"docs = "https://example.com/"
[[test]]
name = "t"
vars = { g = { v = "x" } }
request = { path = "/demo/get" }
expect = { url = "https://one.example/x/get" }
[test.provider]
title = "Demo"
path_prefix = "/demo"
base_url = "https://two.example"
endpoint = { get = { method = "GET", path = "/get" } }
gateway = { g = { path = "/x{path}" } }
"#;
    site.home.write("gateways/g", gateway);
    site.home.write("presets/p", preset);
    site.home.write("a", &format!("extends = \"p\"\n{}", site.text("a", "1")));
    site.start(&[]);
    site.serves("a=1 b=1");
    site.home.write("gateways/g", &gateway.replace("one.example", "three.example"));
    site.logs(0, &["p.toml\"", "test `t` fails"]);
    site.serves("a=1 b=1");
    let mut restart = |expected: &str| {
        site.stop(Signal::TERM);
        site.start(&[]);
        site.serves(expected);
        site.home.write("presets/p", BROKEN);
    };
    restart("a=1~ b=1");
    restart("a=1~ b=1");
    restart("a=1~ b=1");
    site.home.write("presets/p", preset);
    site.home.write("gateways/g", gateway);
    site.serves("a=1 b=1");
}

#[test]
fn on_a_conflict_the_provider_that_served_stays() {
    let mut site = Site::stopped("");
    let (root, template) = (site.home.path(""), site.text("NAME", "VERSION"));
    fs::remove_dir(site.home.providers()).unwrap();
    // A swapped directory changes two files at once.
    let release = |site: &Site, number: &str, files: &[(&str, &str)]| {
        fs::create_dir(root.join(number)).unwrap();
        for (name, text) in files {
            fs::write(root.join(number).join(format!("{name}.toml")), text).unwrap();
        }
        link(Path::new(number), site.home.providers());
    };
    let at = |name: &str, version: &str, prefix: &str| {
        let text = template.replace("path_prefix = \"/NAME", &format!("path_prefix = \"/{prefix}"));
        text.replace("NAME", name).replace("VERSION", version)
    };
    let (a, b, b_to_a) = (at("a", "1", "a"), at("b", "1", "b"), at("b", "2", "a"));
    let (a_to_z, b_to_z, a_to_b) = (at("a", "3", "z"), at("b", "3", "z"), at("a", "4", "b"));
    release(&site, "1", &[("a", &a), ("b", &b)]);
    site.start(&[]);
    let check = |number: &str, files: &[(&str, &str)], expected: &str| {
        release(&site, number, files);
        site.serves(expected);
    };
    site.serves("a=1 b=1");
    check("2", &[("a", &a), ("b", &b_to_a)], "a=1 b=1~");
    check("3", &[("a", &a_to_b), ("b", &b)], "a=1~ b=1");
    check("4", &[("a", &a_to_z), ("b", &b_to_z)], "a=1~ b=1~ z=route_not_found");
    check("5", &[("a", &a), ("b", &b)], "a=1 b=1");
    // A new provider displaces none, whatever its name is.
    check("6", &[("0", &at("0", "1", "a")), ("a", &a), ("b", &b)], "a=1 b=1 0=route_not_found");
    check("7", &[("a", &a), ("b", &b)], "a=1 b=1");
}

#[test]
fn an_unreadable_file_rejects_only_itself() {
    let site = Site::new("a=1 b=1", &[]);
    let outside = site.home.path("outside.toml");
    fs::write(&outside, site.text("a", "2")).unwrap();
    let mut version = 1;
    let mut check = |reason: &str, put: &dyn Fn(&Path)| {
        let from = site.gateway().log().len();
        let path = site.file("a");
        fs::remove_file(&path).unwrap();
        put(&path);
        site.serves(&format!("a=1~ b={version}"));
        site.logs(from, &["a.toml\"", reason]);
        // A file that was never good.
        let other = site.file("other");
        put(&other);
        site.logs(from, &["other.toml\"", reason]);
        version += 1;
        site.write("b", &version.to_string());
        site.serves(&format!("a=1~ b={version} other=route_not_found"));
        for path in [other, path] {
            let gone = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
            gone.unwrap();
        }
        site.write("a", "1");
        site.serves(&format!("a=1 b={version}"));
    };
    check("is a pipe, not a file", &|path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap());
    check("is a directory, not a file", &|path| fs::create_dir(path).unwrap());
    check("a link that leads to itself", &|path| symlink(path.file_name().unwrap(), path).unwrap());
    check("leads out of the providers directory", &|path| symlink(&outside, path).unwrap());
    check("a link that leads nowhere", &|path| symlink("nowhere", path).unwrap());
    check("is larger than 1048576 bytes", &|path| fs::write(path, vec![b'#'; 2 << 20]).unwrap());
    check("not UTF-8", &|path| fs::write(path, b"title = \"\xff\"").unwrap());
    let unreadable = |path: &Path| {
        use std::os::unix::fs::OpenOptionsExt;
        OpenOptions::new().write(true).create_new(true).mode(0o000).open(path).unwrap();
    };
    let probe = site.home.path("probe");
    unreadable(&probe);
    if File::open(probe).is_ok() {
        return eprintln!("a file without rights is not tested here: root reads it");
    }
    check("Permission denied", &unreadable);
}

#[test]
fn files_of_editors_are_ignored_without_a_log_line() {
    let site = Site::new("a=1", &[]);
    let lines = site.gateway().log().len();
    for name in
        [".a.toml", ".a.toml.swp", "a.toml~", ".#a.toml", "#a.toml#", "4913", "a.toml.orig", "README.md"]
    {
        fs::write(site.home.providers().join(name), BROKEN).unwrap();
    }
    hang_up(&site, "provider files reloaded: no change");
    site.serves("a=1");
    assert_eq!(site.gateway().log().len(), lines + 1);
}

// === Vars ===

/// A provider whose version is a var.
fn with_var(site: &Site, name: &str, var: &str) -> String {
    format!("{}[vars]\nv = {{ {var} }}\n", site.text(name, "{v}"))
}

#[test]
fn a_rotated_secret_takes_effect() {
    let mut site = Site::stopped("b=1");
    let secrets = site.home.path("secrets");
    fs::create_dir(&secrets).unwrap();
    let write = |text: &str| fs::write(secrets.join("v"), text).unwrap();
    write("1\n");
    site.home.write("a", &with_var(&site, "a", "file = \"v\""));
    site.start(&[]);
    site.serves("a=1 b=1");
    write("2\n");
    site.serves("a=2 b=1");
    save(&secrets.join("v"), "3");
    site.serves("a=3 b=1");
    // A stale provider serves with the new secret.
    site.home.write("a", BROKEN);
    site.serves("a=3~ b=1");
    write("4");
    site.serves("a=4~ b=1");
    site.home.write("a", &with_var(&site, "a", "file = \"v\""));
    site.serves("a=4 b=1");
    fs::remove_file(secrets.join("v")).unwrap();
    site.serves("a=4~ b=1");
    for version in ["5", "6", "7"] {
        mounted(&secrets, version, &[("v", version)]);
        site.serves(&format!("a={version} b=1"));
    }
    fs::remove_dir_all(&secrets).unwrap();
    site.serves("a=7~ b=1");
    fs::create_dir(&secrets).unwrap();
    write("8");
    site.serves("a=8 b=1");
    assert!(!site.gateway().log().join("\n").contains("a new environment variable"));
}

#[test]
fn a_rotated_secret_takes_effect_for_stale_providers_too() {
    let check = |args: &[&str], spoil: fn(&Site), expected: &str| {
        let mut site = Site::stopped("b=1");
        let secrets = site.home.path("secrets");
        fs::create_dir(&secrets).unwrap();
        let write = |text: &str| fs::write(secrets.join("v"), text).unwrap();
        write("1");
        site.home.write("a", &with_var(&site, "a", "file = \"v\""));
        site.start(args);
        site.serves("a=1 b=1");
        spoil(&site);
        site.logs(0, &["some are not live"]);
        write("2");
        site.serves(expected);
    };
    // The changed file now conflicts with another.
    let clashes = |site: &Site| {
        let text = with_var(site, "a", "file = \"v\"");
        site.home.write("a", &text.replace("path_prefix = \"/a\"", "path_prefix = \"/b\""));
    };
    check(&[], clashes, "a=2~ b=1");
    // The directory is missing.
    let gone = |site: &Site| fs::rename(site.home.providers(), site.home.path("gone")).unwrap();
    check(&[], gone, "a=2~ b=1~");
    // `strict` refuses the reload.
    check(&["--strict"], |site| site.home.write("c", BROKEN), "a=2 b=1");
}

#[test]
fn a_last_good_version_waits_for_its_missing_secret() {
    let mut site = Site::stopped("b=1");
    let secret = site.home.path("secrets/v");
    fs::create_dir(site.home.path("secrets")).unwrap();
    fs::write(&secret, "1").unwrap();
    site.home.write("a", &with_var(&site, "a", "file = \"v\""));
    site.start(&[]);
    site.serves("a=1 b=1");
    site.home.write("a", BROKEN);
    site.serves("a=1~ b=1");
    fs::remove_file(&secret).unwrap();
    for _ in 0..2 {
        site.stop(Signal::TERM);
        site.start(&["--sweep", "200ms"]);
        site.serves("a=route_not_found b=1");
    }
    fs::write(&secret, "2").unwrap();
    site.serves("a=2~ b=1");
}

#[test]
fn the_spelling_of_the_directory_makes_no_difference() {
    let mut site = Site::stopped("b=1");
    let preset = "path_prefix = \"/{provider}\"\n[endpoint.get]\nmethod = \"GET\"\npath = \"/get\"\n";
    fs::create_dir(site.home.providers().join("presets")).unwrap();
    site.home.write("presets/p", preset);
    let base = format!("base_url = \"http://{}/a/1\"", site.upstream.address());
    site.home.write("a", &format!("title = \"a\"\nextends = \"p\"\n{base}\n"));
    site.start(&[]);
    site.home.write("a", BROKEN);
    site.serves("a=1~ b=1");
    let counts = |site: &Site| site.status()["counts"].clone();
    let before = counts(&site);
    site.stop(Signal::TERM);
    let (above, name) = (site.home.path("."), site.home.providers().file_name().unwrap());
    site.start(&["--providers", above.join(name).to_str().unwrap()]);
    site.serves("a=1~ b=1");
    assert_eq!(counts(&site), before);
}

#[test]
fn the_hash_depends_on_the_texts_and_not_on_their_directory() {
    let shared = root().join("providers.d/presets");
    let preset = fs::read_dir(shared).unwrap().next().unwrap().unwrap().path();
    let name = preset.file_stem().unwrap().to_str().unwrap();
    let mut site = Site::stopped("");
    let base = format!("base_url = \"http://{}\"", site.upstream.address());
    site.home.write("z", &format!("title = \"z\"\nextends = \"{name}\"\n{base}\n"));
    site.start(&[]);
    let before = site.status();
    assert_eq!(before["ok"], true, "{before}");
    site.home.write(&format!("presets/{name}"), &fs::read_to_string(&preset).unwrap());
    let after = site.reload();
    assert_eq!((&after["hash"], &after["counts"]["live"]), (&before["hash"], &2.into()), "{after}");
    site.home.write("z", &format!("title = \"y\"\nextends = \"{name}\"\n{base}\n"));
    assert_ne!(site.reload()["hash"], before["hash"]);
}

#[test]
fn a_rejected_file_stays_in_the_status_while_the_directory_is_missing() {
    let site = Site::new("a=1", &[]);
    site.home.write("c", &site.text("c", "1").replace("title", "titel"));
    site.serves("a=1 c=config_rejected");
    fs::rename(site.home.providers(), site.home.path("away")).unwrap();
    site.serves("a=1~ c=config_rejected");
    let status = site.status();
    let found: Vec<_> =
        status["files"].as_array().unwrap().iter().filter_map(|file| file["state"].as_str()).collect();
    assert_eq!((found, &status["counts"]["rejected"]), (vec!["stale", "rejected"], &1.into()), "{status}");
}

#[test]
fn environment_variables_are_read_at_the_start_and_the_log_warns() {
    let mut site = Site::stopped("");
    site.home.write("a", &with_var(&site, "a", "env = \"FIRST\""));
    site.start_with(&[("FIRST", "1"), ("SECOND", "2")]);
    site.serves("a=1");
    let check = |var: &str, set: &str, expected: &str| {
        let from = site.gateway().log().len();
        site.home.write("a", &with_var(&site, "a", &format!("env = \"{var}\"")));
        site.serves(expected);
        let variable = format!("\"{var}\"");
        site.logs(from, &["named a new environment variable", &variable, set]);
    };
    check("SECOND", "\"set\":true", "a=2");
    check("THIRD", "\"set\":false", "a=2~");
    let from = site.gateway().log().len();
    site.home.write("a", &with_var(&site, "a", "env = \"FIRST\""));
    site.serves("a=1");
    assert!(
        site.gateway().log()[from..].iter().all(|line| !line.contains("a new environment variable")),
        "logged once"
    );
}

// === Missing directory, and restarts ===

/// Waits until the last good version is stored, so that the process may be killed.
fn wait_until_stored(site: &Site, name: &str, version: &str) {
    let kept = || {
        let files = fs::read_dir(site.home.data().join("last-good")).into_iter().flatten().flatten();
        let index = fs::read_to_string(site.home.data().join("last-good/index.json")).unwrap_or_default();
        files.map(|file| file.path()).any(|path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            index.contains(&stem)
                && fs::read_to_string(&path).is_ok_and(|text| text == site.text(name, version))
        })
    };
    eventually("what is good is kept", kept);
}

#[test]
fn last_good_versions_survive_a_restart() {
    for signal in [Signal::TERM, Signal::KILL] {
        let mut site = Site::new("a=1 b=1 c=1", &[]);
        site.write("a", "2");
        site.serves("a=2 b=1 c=1");
        wait_until_stored(&site, "a", "2");
        site.stop(signal);
        site.home.write("a", BROKEN);
        fs::remove_file(site.file("b")).unwrap();
        site.home.write("d", &format!("wrong = 1\n{}", site.text("d", "1")));
        site.start(&[]);
        site.serves("a=2~ b=route_not_found c=1 d=config_rejected");
        let since = |site: &Site| {
            let line = site.logs(0, &["a.toml\"", "stale: serving its last good version"]);
            let status = site.status();
            let file =
                status["files"].as_array().unwrap().iter().find(|file| file["provider"] == "a").unwrap();
            assert_eq!(file["since"], site.lines()[line]["since"]);
            file["since"].clone()
        };
        let first = since(&site);
        site.write("c", "2");
        site.serves("a=2~ c=2");
        wait_until_stored(&site, "c", "2");
        site.stop(signal);
        // The time of the first error counts, also after another change.
        site.home.write("a", "title = 1\n");
        site.start(&[]);
        site.serves("a=2~ b=route_not_found c=2 d=config_rejected");
        assert_eq!(since(&site), first);
        site.write("a", "3");
        site.serves("a=3 c=2");
    }
}

#[test]
fn a_process_killed_at_any_moment_loses_no_last_good_version() {
    let mut site = Site::new("a=0 b=1", &[]);
    wait_until_stored(&site, "a", "0");
    let mut version = 0;
    for changes in [1, 7, 12, 25] {
        for _ in 0..changes {
            version += 1;
            save(&site.file("a"), &site.text("a", &version.to_string()));
            site.reload();
        }
        // The last version may not be stored yet.
        site.stop(Signal::KILL);
        site.home.write("a", &format!("wrong = 1\n{}", site.text("a", "-")));
        site.start(&[]);
        let seen = site.seen(&mut Wire::connect(site.gateway().address), "a");
        let seen: usize = seen.parse().expect("some version was kept");
        assert!((version - 1..=version).contains(&seen), "{seen} serves, {version} was the last");
        site.serves(&format!("a={seen}~ b=1"));
    }
}

#[test]
fn a_damaged_text_is_ignored_and_affects_no_other() {
    let damage = |site: &Site, name: &str, with: &dyn Fn(&Path)| {
        let files = fs::read_dir(site.home.data().join("last-good")).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        let is = |path: &std::path::PathBuf| fs::read_to_string(path).unwrap() == site.text(name, "1");
        with(&files.find(is).unwrap());
    };
    let check = |with: &dyn Fn(&Path)| {
        let mut site = Site::new("a=1 b=1 c=1", &[]);
        site.stop(Signal::TERM);
        damage(&site, "a", with);
        for name in ["a", "b"] {
            site.home.write(name, &format!("wrong = 1\n{}", site.text(name, "1")));
        }
        site.start(&[]);
        site.serves("a=config_rejected b=1~ c=1");
        site.write("a", "1");
        site.serves("a=1 b=1~ c=1");
        site.stop(Signal::TERM);
        // Good versions are stored again after damage to the stored ones only.
        damage(&site, "a", with);
        site.start(&[]);
        site.serves("a=1 b=1~ c=1");
        site.stop(Signal::TERM);
        site.home.write("a", BROKEN);
        site.start(&[]);
        site.serves("a=1~ b=1~ c=1");
    };
    check(&|path| fs::write(path, "title = \"Another\"\n").unwrap());
    check(&|path| File::options().write(true).open(path).unwrap().set_len(10).unwrap());
    check(&|path| fs::remove_file(path).unwrap());
    // The index.
    let mut site = Site::new("a=1 b=1", &[]);
    site.stop(Signal::TERM);
    site.home.write("a", &format!("wrong = 1\n{}", site.text("a", "1")));
    fs::write(site.home.data().join("last-good/index.json"), "{\"version\":1,").unwrap();
    site.start(&[]);
    site.serves("a=config_rejected b=1");
    site.logs(0, &["index.json", "damaged"]);
    site.stop(Signal::TERM);
    site.home.write("b", BROKEN);
    site.start(&[]);
    site.serves("a=config_rejected b=1~");
}

#[test]
fn a_start_without_a_directory_needs_last_good_versions() {
    let check = |spoil: fn(&Path), reason: &str| {
        let mut site = Site::stopped("a=1");
        let dir = site.home.providers().to_owned();
        spoil(&dir);
        let said = site.home.run(&["serve", "--listen", "127.0.0.1:0"], "");
        assert!(said.code == 1 && said.err.contains(reason), "{said:?}");
        assert!(
            said.err.contains(&dir.display().to_string()) && said.err.contains("--providers"),
            "{said:?}"
        );
        let _ = fs::remove_dir_all(&dir);
        site.write("a", "1");
        site.start(&[]);
        site.serves("a=1");
        site.stop(Signal::TERM);
        spoil(&dir);
        site.start(&[]);
        site.serves("a=1~");
        site.logs(0, &["provider files cannot be read", reason]);
        let _ = fs::remove_dir_all(&dir);
        site.write("a", "2");
        site.serves("a=2");
    };
    check(|dir| fs::remove_dir_all(dir).unwrap(), "No such file");
    check(|dir| fs::remove_file(dir.join("a.toml")).unwrap(), "has no provider file");
    check(|dir| fs::write(dir.join("presets"), "").unwrap(), "`presets`: Not a directory");
}

#[test]
fn a_missing_default_directory_is_not_replaced_by_the_built_in_files() {
    let mut site = Site::stopped("a=1");
    let default = [("TOLLGATE_PROVIDERS", "")];
    site.start_with(&default);
    site.serves("a=1");
    site.stop(Signal::TERM);
    fs::rename(site.home.providers(), site.home.path("away")).unwrap();
    site.start_with(&default);
    site.serves("a=1~");
    site.logs(0, &["`providers.d` is missing; serving its last good snapshot"]);
    site.stop(Signal::TERM);
    fs::remove_dir_all(site.home.data().join("last-good")).unwrap();
    site.start_with(&default);
    site.serves("a=route_not_found");
    assert_eq!(site.status()["source"], "built-in");
}

#[test]
fn strict_reloads_all_files_or_none() {
    let mut site = Site::stopped("a=1 b=1");
    site.home.write("c", BROKEN);
    let said = site.home.run(&["serve", "--listen", "127.0.0.1:0", "--strict"], "");
    assert!(said.code == 1 && said.err.contains("--strict") && said.err.contains("c.toml"), "{said:?}");
    site.write("c", "1");
    site.start(&["--strict"]);
    let check = |file: &str, text: &str, expected: &str| {
        site.home.write(file, text);
        site.serves(expected);
    };
    site.serves("a=1 b=1 c=1");
    check("a", BROKEN, "a=1~ b=1 c=1");
    check("b", &site.text("b", "2"), "a=1~ b=1~ c=1");
    check("d", &site.text("d", "1"), "a=1~ b=1~ c=1 d=route_not_found");
    site.logs(0, &["`strict` is on", "the reload changed nothing"]);
    check("a", &site.text("a", "2"), "a=2 b=2 c=1 d=1");
    // Nor does it start with last good versions if the directory is missing.
    site.stop(Signal::TERM);
    fs::rename(site.home.providers(), site.home.path("away")).unwrap();
    let said = site.home.run(&["serve", "--listen", "127.0.0.1:0", "--strict"], "");
    assert!(said.code == 1 && said.err.contains("cannot be read"), "{said:?}");
}

#[test]
fn a_provider_stale_for_longer_than_max_stale_is_rejected() {
    let mut site = Site::new("a=1 b=1", &["--max-stale", "1s"]);
    site.home.write("a", &format!("wrong = 1\n{}", site.text("a", "1")));
    site.serves("a=1~ b=1");
    site.serves("a=config_rejected b=1");
    site.write("a", "2");
    site.serves("a=2 b=1");
    // The whole directory.
    let (dir, away) = (site.home.providers().to_owned(), site.home.path("away"));
    fs::rename(&dir, &away).unwrap();
    site.serves("a=2~ b=1~");
    site.serves("a=config_rejected b=config_rejected");
    fs::rename(&away, &dir).unwrap();
    site.serves("a=2 b=1");
    // `max_stale` does not run for good files that `strict` holds back.
    site.stop(Signal::TERM);
    site.start(&["--max-stale", "1s", "--strict"]);
    site.write("b", "2");
    site.serves("a=2 b=2");
    site.home.write("a", BROKEN);
    site.serves("a=2~ b=2");
    site.write("b", "3");
    site.serves("a=config_rejected b=2~");
    site.write("a", "2");
    site.serves("a=2 b=3");
    site.write("b", "1");
    site.serves("a=2 b=1");
    // `max_stale` continues through a restart.
    site.stop(Signal::TERM);
    site.home.write("a", &format!("wrong = 1\n{}", site.text("a", "3")));
    site.start(&[]);
    site.serves("a=2~ b=1");
    site.stop(Signal::TERM);
    site.start(&["--max-stale", "1ms"]);
    site.serves("a=config_rejected b=1");
    let log = site.gateway().log().join("\n");
    assert!(!log.contains("serving its last good version") && log.contains("out of service"), "{log}");
}

// === Events, sweep and polling ===

/// Reloads by SIGHUP. Returns the log line with the outcome.
fn hang_up(site: &Site, outcome: &str) -> Value {
    let from = site.gateway().log().len();
    site.gateway().signal(Signal::HUP);
    let line = site.logs(from, &[&format!("\"{outcome}\"")]);
    site.lines().swap_remove(line)
}

#[test]
fn changes_without_an_event_are_found_by_the_sweep() {
    // A write through another hard link causes an event in that link's directory only.
    let hidden =
        |site: &Site, version: &str| fs::write(site.home.path("elsewhere"), site.text("a", version)).unwrap();
    let site = Site::new("a=1 b=1", &["--sweep", "1s"]);
    fs::hard_link(site.file("a"), site.home.path("elsewhere")).unwrap();
    for missed in ["1", "2"] {
        let version = format!("2{missed}");
        hidden(&site, &version);
        site.serves(&format!("a={version} b=1"));
        site.logs(0, &["files changed without an event", &format!("\"missed\":{missed},")]);
        assert_eq!(site.status()["missed"].to_string(), missed);
    }
    // A change with an event is not missed.
    site.write("b", "2");
    site.serves("a=22 b=2");
    assert_eq!((&site.status()["missed"], &site.status()["watching"]), (&2.into(), &"events".into()));
    // A requested reload does not wait for the sweep.
    let site = Site::new("a=1", &["--sweep", "1h"]);
    fs::hard_link(site.file("a"), site.home.path("elsewhere")).unwrap();
    hidden(&site, "2");
    let line = hang_up(&site, "provider files reloaded");
    assert_eq!(line["changed"], "a");
    site.serves("a=2");
    hang_up(&site, "provider files reloaded: no change");
    hidden(&site, "3");
    assert_eq!(site.reload()["generation"], 3);
    site.serves("a=3");
    assert!(!site.gateway().log().join("\n").contains("missed"));
}

/// The number of times that the threads of the watcher were woken so far.
fn watcher_wakes(site: &Site) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", site.gateway().pid())).unwrap();
    let of_watcher = tasks
        .map(|task| task.unwrap().path())
        .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.starts_with("notify-rs")));
    let wakes = of_watcher.map(|task| {
        let status = fs::read_to_string(task.join("status")).unwrap();
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.unwrap().trim().parse::<u64>().unwrap()
    });
    wakes.sum()
}

#[test]
fn a_log_file_beside_the_providers_wakes_nothing() {
    let site = Site::new("a=1", &[]);
    let log = site.home.path("access.log");
    fs::write(&log, "").unwrap();
    site.write("a", "2");
    site.serves("a=2");
    let before = watcher_wakes(&site);
    assert!(before > 0, "the watcher has threads");
    for _ in 0..1000 {
        OpenOptions::new().append(true).open(&log).unwrap().write_all(b"a line\n").unwrap();
    }
    // A later event shows that those before it were handled.
    site.write("a", "3");
    site.serves("a=3");
    let woken = watcher_wakes(&site) - before;
    assert!(woken < 100, "1000 lines woke it {woken} times");
    // A file beside the providers that does count is read again after a write in place.
    let policy = site.home.path("policy.toml");
    fs::write(&policy, "title = 1\n").unwrap();
    site.logs(0, &["policy.toml"]);
    fs::write(&policy, "").unwrap();
    eventually("the policy is read again", || site.status()["problem"].is_null());
}

#[test]
fn files_are_polled_where_inotify_is_exhausted() {
    let check = |limit: &str, reason: &str| {
        let mut site = Site::stopped("a=1 b=1");
        let Some(namespace) = site.home.namespace(&format!("echo 0 > /proc/sys/user/{limit}")) else {
            return;
        };
        site.start_in(&namespace, &["--sweep", "1h"]);
        site.logs(0, &["files are polled instead", reason]);
        for version in ["2", "3"] {
            site.write("a", version);
            site.serves(&format!("a={version} b=1"));
        }
        site.home.write("a", BROKEN);
        site.serves("a=3~ b=1");
        let count =
            site.gateway().log().iter().filter(|line| line.contains("files are polled instead")).count();
        assert_eq!((count, &site.status()["watching"]), (1, &"polling".into()), "logged once");
    };
    check("max_inotify_instances", "max_user_instances");
    check("max_inotify_watches", "max_user_watches");
}
