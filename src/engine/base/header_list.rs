//! Adds members to a header whose value is a list (RFC 9110, sections 5.3 and 5.6.1). Nothing that is there is removed, and
//! no member is added twice.

use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

/// Adds the members of `added` that the header lacks. Returns true if there was one. Members are compared byte for byte.
///
/// A header that has them all keeps its lines. Otherwise its lines become one, with the new members at the end: many servers
/// read the first line alone.
pub fn add(headers: &mut HeaderMap, name: &HeaderName, added: &HeaderValue) -> bool {
    let lines = || headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let known = |member: &&[u8]| lines().any(|line| members(line).any(|other| other == *member));
    let mut missing: Vec<&[u8]> = Vec::new();
    for member in members(added.as_bytes()).filter(|member| !known(member)) {
        if !missing.contains(&member) {
            missing.push(member);
        }
    }
    if missing.is_empty() {
        return false;
    }
    // A member may be a secret: no copy of it stays behind in memory.
    let new = Zeroizing::new(missing.join(&b", "[..]));
    // A quote that never ends would take the new members in.
    let joins = lines().all(|line| !is_open(line));
    let kept: Vec<&[u8]> = lines().filter(|line| joins && !line.is_empty()).collect();
    let value = Zeroizing::new(kept.into_iter().chain([new.as_slice()]).collect::<Vec<_>>().join(&b", "[..]));
    let Ok(mut value) = HeaderValue::from_bytes(&value) else { return false };
    value.set_sensitive(added.is_sensitive());
    if joins {
        headers.insert(name.clone(), value);
    } else {
        headers.append(name.clone(), value);
    }
    true
}

/// The members of a list. A comma in quotes separates none, and empty members do not count.
pub fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let separates = move |byte: &u8| {
        let is_escaped = std::mem::take(&mut escaped);
        match byte {
            b'"' if !is_escaped => quoted = !quoted,
            b'\\' if quoted && !is_escaped => escaped = true,
            _ => {}
        }
        *byte == b',' && !quoted
    };
    line.split(separates).map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// True if a quote begins in a line and does not end there.
fn is_open(line: &[u8]) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for byte in line {
        let is_escaped = std::mem::take(&mut escaped);
        match byte {
            b'"' if !is_escaped => quoted = !quoted,
            b'\\' if quoted && !is_escaped => escaped = true,
            _ => {}
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: HeaderName = HeaderName::from_static("x-list");

    fn with(lines: &[&str], added: &str) -> Vec<String> {
        let line = |line: &&str| (NAME, HeaderValue::from_str(line).unwrap());
        let mut headers: HeaderMap = lines.iter().map(line).collect();
        add(&mut headers, &NAME, &HeaderValue::from_str(added).unwrap());
        headers.get_all(NAME).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn missing_members_are_added_at_the_end() {
        let check = |lines: &[&str], added: &str, expected: &[&str]| {
            assert_eq!(with(lines, added), expected, "{lines:?} {added}");
        };
        check(&[], "a", &["a"]);
        check(&[], "a,b , a", &["a, b"]);
        check(&[""], "a", &["a"]);
        check(&["a"], "a", &["a"]);
        check(&["b ,a"], "a", &["b ,a"]);
        check(&["b,a"], "c", &["b,a, c"]);
        check(&["b", "a"], "a", &["b", "a"]);
        check(&["b", "", "a"], "c", &["b, a, c"]);
        check(&["A"], "a", &["A, a"]);
        check(&["ab"], "a", &["ab, a"]);
        check(&["\"x,a\""], "a", &["\"x,a\", a"]);
        check(&["\"x\\\",a\", b"], "a", &["\"x\\\",a\", b, a"]);
        check(&["\"x"], "a", &["\"x", "a"]);
        check(&["a;q=1"], "a", &["a;q=1, a"]);
    }

    proptest! {
        #[test]
        fn nothing_is_removed_and_nothing_is_there_twice(
            lines in prop::collection::vec("[ab\", \\\\]{0,8}", 0..4),
            added in "[abc, ]{0,8}",
        ) {
            let texts: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
            let made = with(&texts, &added);
            let all = |lines: &[String]| -> Vec<Vec<u8>> {
                lines.iter().flat_map(|line| members(line.as_bytes()).map(<[u8]>::to_vec)).collect()
            };
            let before = all(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
            let after = all(&made);
            prop_assert_eq!(&after[..before.len()], &before[..]);
            for member in members(added.as_bytes()) {
                prop_assert!(after.iter().any(|one| one == member));
            }
            let new = &after[before.len()..];
            prop_assert!(new.iter().enumerate().all(|(at, one)| !before.contains(one) && !new[..at].contains(one)));
        }
    }
}
