use proptest::prelude::*;

use super::*;

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
    check("/{a...}/b", "`{rest...}` has to be the last segment");
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
    ]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    (prop::collection::vec(segment(), 1..4), prop::bool::weighted(0.2)).prop_map(|(segments, rest)| {
        let named = segments.iter().enumerate().map(|(i, s)| s.replace("{x}", &format!("{{x{i}}}")));
        let mut path = named.fold(String::new(), |path, segment| path + "/" + &segment);
        if rest {
            path.push_str("/{rest...}");
        }
        Pattern::parse(&path).unwrap()
    })
}

fn path() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "ab", "a:g", "b:g", "c", "ac", "", "..:g", "a%2E"]);
    prop::collection::vec(part, 1..5).prop_map(|parts| format!("/{}", parts.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

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
        let found = tree.find(&path, |index| Some(*index));
        prop_assert_eq!(found.as_ref().map(|(index, _)| *index), naive);
        if let Some((index, captures)) = found {
            let expected = kept[index].matches(&path).unwrap();
            let texts: Vec<_> = captures[..expected.len()].iter().map(|(s, e)| path[*s as usize..*e as usize].to_owned()).collect();
            prop_assert_eq!(texts, expected);
        }
    }
}
