use super::*;

const RULES: Rules<'_> = Rules { leading: &["base_url"], following: &["test "], quiet: &["day"] };
const PLAIN: &str = "title = \"A\"\nbase_url = \"https://a.example\"\nday = \"1\"\n\n[known]\nlist = [\"x\", \"y\"]\n\n[[test]]\nname = \"t\"\nurl = \"https://a.example/x\"\n";

fn fresh(plain: &str) -> String {
    stamp(plain, |key| (key == "title").then(|| "demo file".to_owned()))
}

/// Renews the file of `PLAIN` after the `edits` of a person, by that of `PLAIN` with `news`. Returns what changed and what was
/// kept on a line each, and the text.
fn renewed(edits: &[(&str, &str)], news: &[(&str, &str)]) -> (Vec<String>, Option<String>) {
    let apply = |text: &str, all: &[(&str, &str)]| {
        all.iter().fold(text.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from} is not in {text}");
            text.replacen(from, to, 1)
        })
    };
    let there = apply(&fresh(PLAIN), edits);
    let renewed = renew(&there, &fresh(&apply(PLAIN, news)), RULES).unwrap();
    let shown = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let changes = renewed.changes.into_iter();
    let changes = changes.map(|one| format!("{}: {} > {}", one.key, shown(one.before), shown(one.after)));
    let kept = renewed.kept.into_iter().map(|one| format!("kept {}: {}", one.key, shown(one.value)));
    (changes.chain(kept).collect(), renewed.text)
}

#[test]
fn a_stamp_has_hashes_notes_and_keys() {
    let text = fresh(PLAIN);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], [HEAD, "# import keys: title, base_url, day, known.list, test t"]);
    assert!(lines[3].starts_with("title    = \"A\"") && lines[3].ends_with(": demo file"), "{text}");
    assert_eq!(text.matches("# import ").count(), 6, "{text}");
    assert!(is_stamped(&text) && !is_stamped(PLAIN) && !is_stamped(""));
    assert_eq!(renew(PLAIN, &text, RULES), None);
}

#[test]
fn only_what_changed_is_renewed() {
    let check = |edits: &[(&str, &str)], news: &[(&str, &str)], expected: &[&str]| {
        let (seen, text) = renewed(edits, news);
        assert_eq!(seen, expected, "{edits:?} {news:?}");
        let is_change = expected.iter().any(|line| !line.starts_with("kept "));
        assert_eq!(text.is_some(), is_change, "{text:?}");
        // A second run changes nothing more.
        if let Some(text) = text {
            let apply = news.iter().fold(PLAIN.to_owned(), |text, (from, to)| text.replacen(from, to, 1));
            let again = renew(&text, &fresh(&apply), RULES).unwrap();
            assert_eq!((again.text, again.changes), (None, vec![]), "{text}");
        }
    };
    let title = [("\"A\"", "\"B\"")];
    check(&[], &[], &[]);
    check(&[], &title, &["title: \"A\" > \"B\""]);
    check(&[], &[("day = \"1\"", "day = \"2\"")], &[]);
    check(
        &[],
        &[("\"A\"", "\"B\""), ("day = \"1\"", "day = \"2\"")],
        &["title: \"A\" > \"B\"", "day: \"1\" > \"2\""],
    );
    check(&[], &[("[\"x\", \"y\"]", "[\"x\"]")], &["known.list: [\"x\", \"y\"] > [\"x\"]"]);
    check(&[], &[("[known]\nlist = [\"x\", \"y\"]\n", "")], &["known.list: [\"x\", \"y\"] > -"]);
    check(&[], &[("day = \"1\"", "day = \"1\"\ndocs = \"d\"")], &["docs: - > \"d\""]);
    check(&[], &[("[known]\n", "[new]\na = 1\n[known]\n")], &["new.a: - > 1"]);
    let test =
        "test t: name = \"t\"; url = \"https://a.example/x\" > name = \"t\"; url = \"https://a.example/z\"";
    check(&[], &[("a.example/x", "a.example/z")], &[test]);
    // Another spelling of the same value is still the import's.
    check(
        &[("[\"x\", \"y\"]", "[\n\"x\",\n'y' ]")],
        &[("[\"x\", \"y\"]", "[]")],
        &["known.list: [\"x\", \"y\"] > []"],
    );
}

#[test]
fn what_a_person_wrote_stays() {
    let check = |edits: &[(&str, &str)], news: &[(&str, &str)], expected: &[&str], stays: &str| {
        let (seen, text) = renewed(edits, news);
        assert_eq!(seen, expected, "{edits:?} {news:?}");
        assert!(text.as_ref().is_none_or(|text| text.contains(stays)), "{text:?}");
    };
    let title = ("\"A\"", "\"B\"");
    let mine = ("\"A\" ", "\"Mine\" ");
    check(&[mine], &[title], &["kept title: \"Mine\""], "");
    check(&[mine], &[], &["kept title: \"Mine\""], "");
    check(&[mine], &[("\"A\"", "\"Mine\"")], &[], "");
    check(
        &[mine],
        &[("[\"x\", \"y\"]", "[]")],
        &["known.list: [\"x\", \"y\"] > []", "kept title: \"Mine\""],
        "\"Mine\"",
    );
    // A line without its mark, one with a comment in its value, one that is gone.
    check(&[(": demo file", "")], &[title], &["title: \"A\" > \"B\""], "");
    check(
        &[("# import 12d5b54b", "# ours")],
        &[("[\"x\", \"y\"]", "[]")],
        &["kept known.list: [\"x\", \"y\"]"],
        "",
    );
    check(&[("\"x\",", "\n# why\n\"x\",")], &[("[\"x\", \"y\"]", "[]")], &["kept known.list: ..."], "");
    check(&[("day      = \"1\"", "# day")], &[title], &["title: \"A\" > \"B\"", "kept day: -"], "# day");
    // A comment above a line, a table and a key of a person.
    check(&[("title    =", "# ours\ntitle    =")], &[title], &["title: \"A\" > \"B\""], "# ours\ntitle");
    check(&[("[known]", "[mine]\na = 1\n\n[known]")], &[title], &["title: \"A\" > \"B\""], "[mine]\na = 1");
    check(
        &[("[known]", "[known]\nmine = 1")],
        &[("[\"x\", \"y\"]", "[]")],
        &["known.list: [\"x\", \"y\"] > []"],
        "mine = 1",
    );
    // A line that goes keeps a person's comment, and stays with it.
    check(&[("list =", "# ours\nlist =")], &[("[known]\nlist = [\"x\", \"y\"]\n", "")], &[], "");
    // With a base URL of their own, the tests stay too.
    let own = ("\"https://a.example\"", "\"https://mine.example\"");
    check(&[own], &[("a.example/x", "a.example/z")], &["kept base_url: \"https://mine.example\""], "");
    check(
        &[("example/x\"", "example/y\"")],
        &[("a.example/x", "a.example/z")],
        &["kept test t: name = \"t\"; url = \"https://a.example/y\""],
        "",
    );
}
