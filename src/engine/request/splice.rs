//! Replacement of one JSON value in a body: all other bytes stay as they are.
//!
//! It guarantees: the result differs from the body in one place only, and the value is the only one at its pointer. A body in
//! which a key on the way is repeated is refused, since its reader may take either value. Recursion is not used.

use core::ops::Range;

use serde_json::Value;

use crate::language::compile::metering::{Pointer, Step};

/// A replacement of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// The place in the body; empty for an insertion.
    pub at: Range<usize>,
    /// The bytes that stand there afterwards.
    pub with: String,
}

/// The reason for which a value cannot be put into a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpliceProblem {
    /// The body is no JSON.
    #[error("the body is not valid JSON")]
    NotJson,
    /// There is no object where the pointer needs one.
    #[error("the body has another value where an object is needed")]
    NotAnObject,
    /// A key on the way is repeated.
    #[error("the body has a key twice in one object")]
    Repeated,
}

impl Splice {
    /// The body with the replacement.
    pub fn apply(&self, body: &[u8]) -> Vec<u8> {
        let (before, after) = (&body[..self.at.start], &body[self.at.end..]);
        [before, self.with.as_bytes(), after].concat()
    }
}

/// The replacement that puts a value at a pointer. Objects on the way that are missing or null are created.
pub fn splice(body: &[u8], pointer: &Pointer, value: &Value) -> Result<Splice, SpliceProblem> {
    let way = walk(body, pointer)?;
    let rest = &pointer.steps()[way.steps..];
    // The value within the objects that are still missing.
    let nested =
        rest.iter().skip(usize::from(way.is_object)).rev().try_fold(value.to_string(), |inner, step| {
            let Step::Name(name) = step else { return Err(SpliceProblem::NotAnObject) };
            Ok(format!("{{{}:{inner}}}", Value::from(&**name)))
        })?;
    if !way.is_object {
        return Ok(Splice { at: way.value, with: nested });
    }
    let Some(Step::Name(name)) = rest.first() else { return Err(SpliceProblem::NotAnObject) };
    let comma = if way.is_empty { "" } else { "," };
    Ok(Splice { at: way.end..way.end, with: format!("{comma}{}:{nested}", Value::from(&**name)) })
}

/// The value at a pointer.
pub fn find(body: &[u8], pointer: &Pointer) -> Result<Option<Value>, SpliceProblem> {
    let way = walk(body, pointer)?;
    if way.steps < pointer.steps().len() {
        return Ok(None);
    }
    serde_json::from_slice(&body[way.value]).map(Some).map_err(|_| SpliceProblem::NotJson)
}

/// The part of a pointer that a body has.
struct Way {
    /// The number of steps that it has.
    steps: usize,
    /// The value there.
    value: Range<usize>,
    /// There are further steps, and the value is an object without the next.
    is_object: bool,
    /// The object has no members.
    is_empty: bool,
    /// The place for a further member.
    end: usize,
}

fn walk(body: &[u8], pointer: &Pointer) -> Result<Way, SpliceProblem> {
    // All below relies on this.
    serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(|_| SpliceProblem::NotJson)?;
    let start = space_end(body, 0);
    let mut way =
        Way { steps: 0, value: start..value_end(body, start), is_object: false, is_empty: false, end: 0 };
    for step in pointer.steps() {
        let Step::Name(name) = step else { return Err(SpliceProblem::NotAnObject) };
        match &body[way.value.clone()] {
            [b'{', ..] => {}
            b"null" if way.steps > 0 => return Ok(way),
            _ => return Err(SpliceProblem::NotAnObject),
        }
        let members = members(body, way.value.start);
        let mut found = members.iter().filter(|member| is(&body[member.key.clone()], name));
        let Some(first) = found.next() else {
            let end = members.last().map_or(way.value.start + 1, |last| last.value.end);
            return Ok(Way { is_object: true, is_empty: members.is_empty(), end, ..way });
        };
        if found.next().is_some() {
            return Err(SpliceProblem::Repeated);
        }
        way.steps += 1;
        way.value = first.value.clone();
    }
    Ok(way)
}

/// A member of an object; the key with its quotes.
struct Member {
    key: Range<usize>,
    value: Range<usize>,
}

/// The members of the object at a place of valid JSON.
fn members(body: &[u8], object: usize) -> Vec<Member> {
    let mut members = Vec::new();
    let mut at = space_end(body, object + 1);
    while body.get(at) == Some(&b'"') {
        let key = at..string_end(body, at);
        let colon = space_end(body, key.end);
        let start = space_end(body, colon + 1);
        let value = start..value_end(body, start);
        let comma = space_end(body, value.end);
        members.push(Member { key, value });
        if body.get(comma) != Some(&b',') {
            break;
        }
        at = space_end(body, comma + 1);
    }
    members
}

/// True if a key, with its quotes, is that name.
fn is(key: &[u8], name: &str) -> bool {
    if !key.contains(&b'\\') {
        return key.get(1..key.len() - 1) == Some(name.as_bytes());
    }
    serde_json::from_slice::<String>(key).is_ok_and(|key| key == name)
}

fn space_end(body: &[u8], at: usize) -> usize {
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    at + body.iter().skip(at).take_while(is_space).count()
}

/// The place after the string at a place.
fn string_end(body: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = body.get(at) {
        at += match byte {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    body.len()
}

/// The place after the value at a place of valid JSON.
fn value_end(body: &[u8], start: usize) -> usize {
    let mut open = 0_usize;
    let mut at = start;
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => at = string_end(body, at),
            b'{' | b'[' => {
                open += 1;
                at += 1;
                continue;
            }
            b'}' | b']' => {
                open -= 1;
                at += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            _ => {
                let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
                at += body[at..].iter().take_while(is_part).count().max(1);
            }
        }
        if open == 0 {
            return at;
        }
    }
    body.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spliced(body: &str, pointer: &str, value: &Value) -> Result<String, SpliceProblem> {
        let splice = splice(body.as_bytes(), &Pointer::parse(pointer).unwrap(), value)?;
        Ok(String::from_utf8(splice.apply(body.as_bytes())).unwrap())
    }

    #[test]
    fn one_value_is_inserted_or_replaced_and_all_else_stays() {
        let check = |body: &str, pointer: &str, expected: &str| {
            let made = spliced(body, pointer, &json!(true));
            assert_eq!(made.as_deref(), Ok(expected), "{body} {pointer}");
            let value = serde_json::from_str::<Value>(expected).unwrap();
            assert_eq!(value.pointer(pointer), Some(&json!(true)));
        };
        check("{}", "/a", r#"{"a":true}"#);
        check(" { } ", "/a", r#" {"a":true } "#);
        check(r#"{"b": 1 }"#, "/a", r#"{"b": 1,"a":true }"#);
        check(r#"{"a": 1e5, "b":2}"#, "/a", r#"{"a": true, "b":2}"#);
        check(r#"{"a" : {"b":[1,{"a":2}]} }"#, "/a", r#"{"a" : true }"#);
        check(r#"{"m":"x","s":{"k":false}}"#, "/s/k", r#"{"m":"x","s":{"k":true}}"#);
        check(r#"{"m":"x","s":{"j":"}\""}}"#, "/s/k", r#"{"m":"x","s":{"j":"}\"","k":true}}"#);
        check(r#"{"m":"x"}"#, "/s/k/l", r#"{"m":"x","s":{"k":{"l":true}}}"#);
        check(r#"{"s":null,"m":1}"#, "/s/k", r#"{"s":{"k":true},"m":1}"#);
        check(r#"{"s":null}"#, "/s", r#"{"s":true}"#);
        check(r#"{"\u0073":{}}"#, "/s/k", r#"{"\u0073":{"k":true}}"#);
        check(r#"{"b":{"s":1,"s":2}}"#, "/s", r#"{"b":{"s":1,"s":2},"s":true}"#);
        check("{\"t\": \"\u{1F600}\\n\"}\n", "/a~1\"b", "{\"t\": \"\u{1F600}\\n\",\"a/\\\"b\":true}\n");
        check("[]", "", "true");
    }

    #[test]
    fn a_body_that_could_be_read_in_two_ways_is_refused() {
        let check = |body: &str, pointer: &str, problem: SpliceProblem| {
            assert_eq!(spliced(body, pointer, &json!(true)), Err(problem), "{body} {pointer}");
        };
        check(r#"{"s":{},"s":{}}"#, "/s/k", SpliceProblem::Repeated);
        check(r#"{"s":{"k":1,"\u006b":2}}"#, "/s/k", SpliceProblem::Repeated);
        check("", "/a", SpliceProblem::NotJson);
        check("{} x", "/a", SpliceProblem::NotJson);
        check(r#"{"a":}"#, "/a", SpliceProblem::NotJson);
        check("[1]", "/a", SpliceProblem::NotAnObject);
        check("null", "/a", SpliceProblem::NotAnObject);
        check(r#"{"s":"text"}"#, "/s/k", SpliceProblem::NotAnObject);
        check(r#"{"s":[{}]}"#, "/s/0", SpliceProblem::NotAnObject);
        check(r#"{"s":[{}]}"#, "/s/*", SpliceProblem::NotAnObject);
        check("{}", "/*", SpliceProblem::NotAnObject);
        check("{}", "/a/*", SpliceProblem::NotAnObject);
    }

    #[test]
    fn deep_nesting_is_no_recursion() {
        let body = format!("{{\"a\":{}1{}}}", "[".repeat(200_000), "]".repeat(200_000));
        let made = spliced(&body, "/b", &json!(1)).unwrap();
        assert!(made.ends_with(r#"]],"b":1}"#));
        assert_eq!(spliced(&body, "/a", &json!(1)).unwrap(), r#"{"a":1}"#);
    }

    #[test]
    fn values_are_found() {
        let check = |body: &str, pointer: &str, expected: Result<Option<Value>, SpliceProblem>| {
            assert_eq!(find(body.as_bytes(), &Pointer::parse(pointer).unwrap()), expected, "{body}");
        };
        check(r#"{"stream": true}"#, "/stream", Ok(Some(json!(true))));
        check(r#"{"a":{"b":"x"}}"#, "/a/b", Ok(Some(json!("x"))));
        check("{}", "/stream", Ok(None));
        check(r#"{"a":null}"#, "/a/b", Ok(None));
        check(r#"{"stream":true,"stream":false}"#, "/stream", Err(SpliceProblem::Repeated));
        check("x", "/stream", Err(SpliceProblem::NotJson));
    }
}
