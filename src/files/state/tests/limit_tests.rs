//! Tests of limits files: one that fails keeps a new text from serving, and no text that serves.

use super::*;

/// A limit with a test that admits one call more than the limit has.
fn limits(requests: u32, admitted: u32) -> String {
    let count = requests + 1;
    format!(
        "[[limit]]\nid = \"a\"\nrequests = {requests}\nwindow = \"total\"\n[[test]]\nname = \"t\"\n\
         calls = {{ count = {count}, request = {{ path = \"/demo/0x/y0\" }} }}\nexpect = {{ admitted = {admitted} }}\n"
    )
}

fn write(files: &mut Directory, file: &str, text: &str) {
    let path = files.dir.parent().unwrap().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    files.scan();
}

fn serving(state: &ReloadState) -> Option<i128> {
    state.table.limits.get("a").map(|limit| limit.amount)
}

#[test]
fn a_new_text_with_a_failing_test_does_not_serve() {
    let path = provider("demo", 1);
    let mut files = Directory::new(&[("demo.toml", &path)]);
    let check = |files: &Directory, expected: Option<i128>, state: FileState, codes: &[&str]| {
        assert_eq!(serving(&files.state), expected);
        let codes: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
        assert_eq!(files.file("limits.d/team.toml"), (state, codes));
    };
    write(&mut files, "limits.d/team.toml", &limits(2, 3));
    check(&files, None, FileState::Rejected, &["TG050"]);
    write(&mut files, "limits.d/team.toml", &limits(2, 2));
    check(&files, Some(2), FileState::Live, &[]);
    write(&mut files, "limits.d/team.toml", &limits(5, 6));
    check(&files, Some(2), FileState::Stale, &["TG050"]);
    write(&mut files, "limits.d/team.toml", &limits(5, 5));
    check(&files, Some(5), FileState::Live, &[]);
    // The path of the test is gone: the text that serves is not tested again, also after a restart.
    write(&mut files, "providers.d/demo.toml", &path.replace("/0{a}", "/1{a}"));
    check(&files, Some(5), FileState::Live, &[]);
    files.state.save();
    let mut restarted = ReloadState::new(files.state.config.clone());
    restarted.start(Watching::Events).unwrap();
    assert_eq!(serving(&restarted), Some(5));
    write(&mut files, "limits.d/team.toml", &limits(4, 4));
    check(&files, Some(5), FileState::Stale, &["TG050"]);
}
