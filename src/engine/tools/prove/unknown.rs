//! Unknown parts of texts that a policy's globs are compared with: vars in origins, captures in paths.
//!
//! A part whose value is unknown is one atom. No literal text of a glob matches a piece of it, so that `*proxy*` does not
//! cover a var named `proxy_url`.

use std::collections::BTreeMap;

/// Stands for a capture. It occurs in no path and in no glob.
const CAPTURE: &str = "\u{1}";
/// The start of a private range of characters. No origin and no glob has them.
const PRIVATE: u32 = 0xE000;

/// The text with each `{name}` as one atom. Only `*` matches it, and the same atom.
pub(super) fn with_vars(text: &str) -> String {
    replaced(text, |name| {
        let whole = format!("{{{name}}}");
        whole.bytes().filter_map(|byte| char::from_u32(PRIVATE + u32::from(byte))).collect()
    })
}

/// The path with each capture as one atom. Only `*` matches it.
pub(super) fn with_captures(path: &str) -> String {
    replaced(path, |_| CAPTURE.to_owned())
}

/// The most texts that the closed sets of one path are written out to.
const MAX_WRITTEN_OUT: usize = 64;

/// The path with each capture of a closed set written out, member by member, and every other capture as one atom. Sets with
/// too many combinations are atoms too: then less can be proven.
pub(super) fn written_out(path: &str, sets: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    with_members(path, sets).iter().map(|text| with_captures(text)).collect()
}

/// The text with each `{name}` of a closed set written out, member by member. A set with too many combinations stays.
pub(super) fn with_members(text: &str, sets: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut texts = vec![text.to_owned()];
    for (name, members) in sets {
        if texts.len() * members.len() <= MAX_WRITTEN_OUT {
            let capture = format!("{{{name}}}");
            let with = |text: &String| -> Vec<String> {
                members.iter().map(|member| text.replace(&capture, member)).collect()
            };
            texts = texts.iter().flat_map(with).collect();
        }
    }
    texts
}

fn replaced(text: &str, atom: impl Fn(&str) -> String) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((front, (name, after))) =
        rest.split_once('{').and_then(|(front, tail)| Some((front, tail.split_once('}')?)))
    {
        out.push_str(front);
        out.push_str(&atom(name));
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::compile::Glob;

    #[test]
    fn only_a_star_and_the_same_name_match_a_var() {
        let check = |glob: &str, origin: &str, expected: bool| {
            assert_eq!(Glob::new(&with_vars(glob)).matches(&with_vars(origin)), expected, "{glob} {origin}");
        };
        check("{proxy_url}", "{proxy_url}", true);
        check("*", "{proxy_url}", true);
        check("https://*.example", "https://{region}.example", true);
        check("https://{region}.example", "https://{region}.example", true);
        check("*proxy*", "{proxy_url}", false);
        check("{pro*}", "{proxy_url}", false);
        check("*}", "{proxy_url}", false);
        check("https://*region*", "https://{region}", false);
        check("{b}", "{a}{b}", false);
        check("*{b}", "{a}{b}", true);
    }

    #[test]
    fn only_a_star_matches_a_capture() {
        let check = |glob: &str, path: &str, expected: bool| {
            assert_eq!(Glob::new(glob).matches(&with_captures(path)), expected, "{glob} {path}");
        };
        check("/v1/*", "/v1/{model}:run", true);
        check("/v1/*:run", "/v1/{model}:run", true);
        check("/v1/{model}", "/v1/{model}", false);
        check("*model*", "/v1/{model}", false);
        check("/v1/*}", "/v1/{rest...}", false);
        check("/v1/*/status", "/v1/{rest...}/status", true);
        check("/v1/a/status", "/v1/{rest...}/status", false);
    }

    #[test]
    fn closed_sets_are_written_out() {
        let check = |path: &str, sets: &[(&str, &[&str])], expected: &[&str]| {
            let set = |(name, members): &(&str, &[&str])| {
                ((*name).to_owned(), members.iter().map(|one| (*one).to_owned()).collect())
            };
            let sets: BTreeMap<String, Vec<String>> = sets.iter().map(set).collect();
            assert_eq!(written_out(path, &sets), expected, "{path} {sets:?}");
        };
        let two: &[&str] = &["x", "y"];
        check("/{a}/z", &[("a", two)], &["/x/z", "/y/z"]);
        check(
            "/{a}/{b}-{c}",
            &[("a", two), ("b", two)],
            &["/x/x-\u{1}", "/x/y-\u{1}", "/y/x-\u{1}", "/y/y-\u{1}"],
        );
        let many: Vec<String> = (0..64).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(many.len(), 64);
        let sets: BTreeMap<String, Vec<String>> = ["a", "b"]
            .map(|name| (name.to_owned(), many.iter().map(|one| (*one).to_owned()).collect()))
            .into();
        assert_eq!(written_out("/{a}/{b}", &sets)[63], "/63/\u{1}");
    }
}
