use proptest::prelude::*;

use super::*;
use crate::base::budget::Budget;

#[test]
fn parse_errors() {
    let check =
        |path: &str, expected: &str| assert_eq!(Pattern::parse(path).unwrap_err(), expected, "{path}");
    check("v1", "it does not start with `/`");
    check("/", "it has an empty or a dot segment");
    check("/a//b", "it has an empty or a dot segment");
    check("/a/..", "it has an empty or a dot segment");
    check("/a%2Fb", "`%` cannot stand in it");
    check("/a?b", "`?` cannot stand in it");
    check("/{a", "`{` without `}` after it");
    check("/{A}", "`A` cannot be a capture's name: use `[a-z][a-z0-9_]*`");
    check("/{a}{b}", "`{` cannot stand in it");
    check("/{a}/{a}", "it has two captures named `a`");
    check("/{a...}/b/{c...}", "it has a second rest capture, `{c...}`");
    check("/x{a...}", "`{a...}` has to be a whole segment");
    check("/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}", "it has more than 8 captures");
}

#[test]
fn relations() {
    use Relation::{Disjoint, Equal, Overlap, Subset, Superset};
    let check = |a: &str, b: &str, expected: Relation| {
        let (a, b) = (Pattern::parse(a).unwrap(), Pattern::parse(b).unwrap());
        assert_eq!(a.relation(&b), expected, "{a:?} {b:?}");
    };
    check("/a", "/a", Equal);
    check("/a", "/b", Disjoint);
    check("/a", "/{x}", Subset);
    check("/{x}", "/a", Superset);
    check("/{x}", "/{y}", Equal);
    check("/{x}:a", "/{x}:b", Disjoint);
    check("/{x}:ab", "/{x}b", Subset);
    check("/a{x}", "/{x}b", Overlap);
    check("/a/{x}", "/{y}/b", Overlap);
    check("/a/{x}", "/{y...}", Subset);
    check("/a", "/a/{y...}", Disjoint);
    check("/{x}/b", "/a/{y...}", Overlap);
    check("/{x...}", "/{y...}", Equal);
    check("/{x...}", "/a/{y...}", Superset);
    check("/q/{x...}/r/{id}", "/q/{y...}", Subset);
    check("/q/{x...}/r/{id}", "/q/{x...}/s/{id}", Disjoint);
    check("/q/{x...}/r/{id}", "/q/{x...}/{y}/{id}", Subset);
    check("/q/{x...}/r/{id}/s", "/q/{x...}/r/{id}", Overlap);
    check("/q/{x...}/s", "/q/{x...}/r/s", Superset);
    check("/q/{x...}/s", "/q/a/b", Disjoint);
    check("/q/{x...}/s", "/q/a/s", Superset);
    check("/q/{x...}/s", "/q/s", Disjoint);
    check("/q/{x...}/s", "/{y...}/q/s", Overlap);
    check("/a/{x...}", "/{y...}/b", Overlap);
    check("/a/{x...}/b", "/{y...}", Subset);
    check("/a/{x...}/b", "/{y...}/b", Subset);
}

/// A pattern as tests write it: `{x=a|b}` is a closed set, `{x%}` takes encoded slashes.
fn parse(text: &str) -> Result<Pattern, String> {
    let mut rules = CaptureRules::default();
    let mut path = String::new();
    for (index, part) in text.split(['{', '}']).enumerate() {
        if index % 2 == 0 {
            path.push_str(part);
            continue;
        }
        let name = match part.split_once('=') {
            Some((name, set)) => {
                rules.sets.insert(name.to_owned(), set.split('|').map(str::to_owned).collect());
                name.to_owned()
            }
            None => part.replace('%', ""),
        };
        if part.contains('%') {
            rules.slashes.push(name.trim_end_matches('.').to_owned());
        }
        path.extend(["{", &name, "}"]);
    }
    Pattern::parse_with(&path, &rules)
}

#[test]
fn relations_of_sets_and_slashes() {
    use Relation::{Disjoint, Equal, Overlap, Subset};
    let check = |a: &str, b: &str, expected: Relation| {
        let (one, two) = (parse(a).unwrap(), parse(b).unwrap());
        assert_eq!(one.relation(&two), expected, "{a} {b}");
        assert_eq!(two.relation(&one), expected.turned(), "{b} {a}");
    };
    check("/{x=a|b}", "/{y=c|d}", Disjoint);
    check("/{x=a|b}", "/{y=b|a}", Equal);
    check("/{x=a|b}", "/{y=b|c}", Overlap);
    check("/{x=a|b}", "/{y=a|b|c}", Subset);
    check("/{x=a|b}", "/{y}", Subset);
    check("/{x=a|b}", "/{y}:g", Disjoint);
    check("/{x=a|b:g}", "/{y}:g", Overlap);
    check("/{x=a|b}:g", "/{y}:g", Subset);
    check("/{x=a|b}:g", "/{y=a:g|b:g}", Overlap);
    check("/a", "/{y=a|b}", Subset);
    check("/c", "/{y=a|b}", Disjoint);
    check("/a", "/{y=a}", Overlap);
    check("/{x}", "/{y%}", Subset);
    check("/{x%}", "/{y%}", Equal);
    check("/a{x%}", "/{y}", Overlap);
    check("/{x%}", "/{y...}", Overlap);
    check("/{x%}", "/{y...%}", Subset);
    check("/{x...}", "/{y...%}", Subset);
    check("/a/{x%}/{z...}", "/a/{y...}", Overlap);
    check("/a/{x%}/{z...}", "/a/{y...%}", Subset);
    check("/{z...}/{x%}/a", "/{y...}/a", Overlap);
    check("/a/{x=a|b}/c", "/a/{y...}/c", Subset);
}

#[test]
fn rest_captures_before_other_segments() {
    let check = |pattern: &str, path: &str, expected: Option<&[&str]>| {
        let parsed = parse(pattern).unwrap();
        let mut tree = Tree::default();
        tree.insert(&parsed, ());
        let expected = expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        assert_eq!(parsed.matches(path), expected, "{pattern} {path}");
        let found = if path.contains('%') {
            tree.find_with_slashes(path, |()| Some(()))
        } else {
            tree.find(path, |()| Some(()))
        };
        let text = |(start, end): &(u32, u32)| path[*start as usize..*end as usize].to_owned();
        let found =
            found.map(|((), all)| all[..parsed.captures().len()].iter().map(text).collect::<Vec<_>>());
        assert_eq!(found, expected, "{pattern} {path}");
    };
    let status = "/q/{app...}/requests/{id}/status";
    check(status, "/q/a/requests/1/status", Some(&["a", "1"]));
    check(status, "/q/a/b/c/requests/1/status", Some(&["a/b/c", "1"]));
    check(status, "/q/a/requests/1/status/requests/2/status", Some(&["a/requests/1/status", "2"]));
    check(status, "/q/requests/1/status", None);
    check(status, "/q/a/requests/1/status/", None);
    check(status, "/q/a/requests//status", None);
    check(status, "/q//requests/1/status", None);
    check("/{a...}/b", "/b", None);
    check("/{a...}/b", "/b/b", Some(&["b"]));
    check("/m/{id%}/x", "/m/a%2Fb/x", Some(&["a%2Fb"]));
    check("/m/{id%}/x", "/m/a%2fb%2Fc/x", Some(&["a%2fb%2Fc"]));
    check("/m/{id}/x", "/m/a%2Fb/x", None);
    check("/m/{id...}", "/m/a%2Fb/x", None);
    check("/m/{id...%}", "/m/a%2Fb/x", Some(&["a%2Fb/x"]));
    for bad in [
        "%2Fa",
        "a%2F",
        "a%2F%2Fb",
        "a%2F..%2Fb",
        "..%2Fb",
        "a%2F%2e%2E",
        "a%2F..;v",
        "a%2F.",
        "a%2F%252e",
        "%252e%252e%2Fa",
        "a%2Fb%25",
    ] {
        check("/m/{id%}", &format!("/m/{bad}"), None);
        check("/m/{id...%}", &format!("/m/{bad}/x"), None);
        check("/m/{id%}:g", &format!("/m/{bad}:g"), None);
    }
    check("/m/{id%}", "/m/a%252Fb", Some(&["a%252Fb"]));
}

#[test]
fn captures_are_never_dots() {
    let check = |pattern: &str, path: &str, good: bool| {
        assert_eq!(Pattern::parse(pattern).unwrap().matches(path).is_some(), good, "{pattern} {path}");
    };
    check("/{a}:g", "/x.:g", true);
    check("/{a}:g", "/...:g", true);
    for bad in ["/.:g", "/..:g", "/%2e%2E:g", "/.%2e:g", "/..;x:g", "/.%3bx:g"] {
        check("/{a}:g", bad, false);
    }
}

#[test]
fn captures_do_not_cut_escapes() {
    let check = |pattern: &str, path: &str, good: bool| {
        let pattern = Pattern::parse(pattern).unwrap();
        let mut tree = Tree::default();
        tree.insert(&pattern, ());
        assert_eq!(pattern.matches(path).is_some(), good, "{pattern:?} {path}");
        assert_eq!(tree.find(path, |()| Some(())).is_some(), good, "{pattern:?} {path}");
    };
    check("/{id}0", "/a%200", true);
    check("/{id}0", "/%200", true);
    check("/{id}", "/%20", true);
    check("/{id}0", "/a%20", false);
    check("/{id}20", "/a%20", false);
    check("/{id}:20", "/a%20:20", true);
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "ab", "a:g", "b:g", "..:g"]).prop_map(str::to_owned),
        1 => Just("{x}".to_owned()),
        1 => prop::sample::select(vec!["{x}:g", "a{x}", "{x}b"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["{x%}", "a{x%}", "{x%}:g"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["{x=a|b}", "{x=b|c}", "{x=a|b|ab}", "a{x=b|c}", "{x=a|b}:g", "{x=a}"])
            .prop_map(str::to_owned),
    ]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let rest = prop::option::weighted(0.4, (0_usize..4, prop::bool::weighted(0.3)));
    (prop::collection::vec(segment(), 1..4), rest).prop_map(|(mut segments, rest)| {
        for (index, segment) in segments.iter_mut().enumerate() {
            *segment = segment.replace("{x", &format!("{{x{index}"));
        }
        if let Some((at, slash)) = rest {
            let at = if at > 2 { segments.len() } else { at.min(segments.len()) };
            segments.insert(at, if slash { "{rest...%}" } else { "{rest...}" }.to_owned());
        }
        parse(&segments.iter().fold(String::new(), |path, segment| path + "/" + segment)).unwrap()
    })
}

fn path() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a", "b", "ab", "a:g", "b:g", "c", "ac", "", "..:g", "a%2E", "a%2Fb", "b%2fb", "a%2F..", "a%2Fb:g",
    ]);
    prop::collection::vec(part, 1..6).prop_map(|parts| format!("/{}", parts.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Among patterns without conflicts, the tree and a naive scan find the same most specific match, with the same captures.
    #[test]
    fn tree_equals_naive_scan(patterns in prop::collection::vec(pattern(), 1..12), path in path()) {
        let mut tree = Tree::default();
        let mut kept: Vec<Pattern> = Vec::new();
        for pattern in patterns {
            let mut near = Vec::new();
            assert!(tree.candidates(&pattern, &mut near, &Budget::default()));
            let clash = |index: usize| matches!(pattern.relation(&kept[index]), Relation::Equal | Relation::Overlap);
            let found = near.iter().any(|index| clash(**index));
            let naive = (0..kept.len()).any(clash);
            prop_assert_eq!(found, naive, "near() must not miss a clash");
            if !found {
                tree.insert(&pattern, kept.len());
                kept.push(pattern);
            }
        }
        let mut naive: Option<usize> = None;
        for (index, pattern) in kept.iter().enumerate() {
            if pattern.matches(&path).is_some()
                && naive.is_none_or(|best| pattern.relation(&kept[best]) == Relation::Subset)
            {
                naive = Some(index);
            }
        }
        // `find` is for paths without encoded slashes, and finds the same there.
        let found = tree.find_with_slashes(&path, |index| Some(*index));
        if !path.to_ascii_lowercase().contains("%2f") {
            prop_assert_eq!(tree.find(&path, |index| Some(*index)), found);
        }
        prop_assert_eq!(found.as_ref().map(|(index, _)| *index), naive);
        if let Some((index, captures)) = found {
            let expected = kept[index].matches(&path).unwrap();
            let texts: Vec<_> = captures[..expected.len()].iter().map(|(s, e)| path[*s as usize..*e as usize].to_owned()).collect();
            prop_assert_eq!(texts, expected);
        }
    }
}

#[test]
fn a_comparison_takes_work_and_ends_without() {
    let check = |pattern: &str, path: &str, work: usize, expected: (Option<u32>, usize)| {
        let (pattern, path) = (Pattern::parse(pattern).unwrap(), NormalizedPath::new(path).unwrap());
        let mut left = work;
        let distance = pattern.distance_within(&path, &mut left);
        assert_eq!((distance, left), expected, "{pattern:?} {path:?} {work}");
    };
    // The first two segments match: one pair of segments is left, of four letters each.
    check("/a/v1/chat", "/a/v1/chap", 1000, (Some(5), 1000 - 60 - 4 * 4 - 4 * 4));
    check("/a/v1/chat", "/a/v1/chap", 91, (None, 0));
    check("/a/v1/chat", "/a/v1/chat", 1000, (Some(0), 1000 - 60 - 4));
    // Far more segments are no comparison.
    check("/a/v1/chat", "/a/v1/chat/chat/chat/chat", 1000, (None, 1000));
    check("/a/{rest...}", "/a/v1/chat/chat/chat/chat", 0, (None, 0));
}
