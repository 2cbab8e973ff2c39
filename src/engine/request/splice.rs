//! Replacement of one JSON value in a body: all other bytes stay as they are.
//!
//! It guarantees: the result differs from the body in one place only, and the value is the only one at its pointer. A body in
//! which a key on the way is repeated is refused, since its reader may take either value. Neither recursion nor memory is
//! used for it, whatever the body holds.

use core::ops::Range;

use memchr::memchr2;
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

/// A body that is valid JSON. It is validated once; its values are neither copied nor parsed.
#[derive(Debug, Clone)]
pub struct Document<'b> {
    body: &'b [u8],
    root: Range<usize>,
}

impl<'b> Document<'b> {
    /// The document of a body.
    pub fn parse(body: &'b [u8]) -> Result<Self, SpliceProblem> {
        serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(|_| SpliceProblem::NotJson)?;
        let start = space_end(body, 0);
        Ok(Self { body, root: start..value_end(body, start) })
    }

    /// The text of the value at a pointer.
    pub fn find(&self, pointer: &Pointer) -> Result<Option<&'b [u8]>, SpliceProblem> {
        let way = self.walk(pointer)?;
        Ok((way.steps == pointer.steps().len()).then(|| &self.body[way.value]))
    }

    /// The replacement that puts a value at a pointer. Objects on the way that are missing or null are created.
    pub fn splice(&self, pointer: &Pointer, value: &Value) -> Result<Splice, SpliceProblem> {
        let way = self.walk(pointer)?;
        let rest = &pointer.steps()[way.steps..];
        // The value within the objects that are still missing.
        let nested = rest.iter().skip(usize::from(way.is_object)).rev().try_fold(
            value.to_string(),
            |inner, step| {
                let Step::Name(name) = step else { return Err(SpliceProblem::NotAnObject) };
                Ok(format!("{{{}:{inner}}}", Value::from(&**name)))
            },
        )?;
        if !way.is_object {
            return Ok(Splice { at: way.value, with: nested });
        }
        let Some(Step::Name(name)) = rest.first() else { return Err(SpliceProblem::NotAnObject) };
        let comma = if way.is_empty { "" } else { "," };
        Ok(Splice { at: way.end..way.end, with: format!("{comma}{}:{nested}", Value::from(&**name)) })
    }

    fn walk(&self, pointer: &Pointer) -> Result<Way, SpliceProblem> {
        let body = self.body;
        let mut way = Way { steps: 0, value: self.root.clone(), is_object: false, is_empty: false, end: 0 };
        for step in pointer.steps() {
            let Step::Name(name) = step else { return Err(SpliceProblem::NotAnObject) };
            match &body[way.value.clone()] {
                [b'{', ..] => {}
                b"null" if way.steps > 0 => return Ok(way),
                _ => return Err(SpliceProblem::NotAnObject),
            }
            let object = way.value.start;
            let (mut found, mut last) = (None, None);
            for member in (Members { body, at: Some(space_end(body, object + 1)) }) {
                last = Some(member.value.end);
                if is(&body[member.key], name) && found.replace(member.value).is_some() {
                    return Err(SpliceProblem::Repeated);
                }
            }
            let Some(value) = found else {
                let end = last.unwrap_or(object + 1);
                return Ok(Way { is_object: true, is_empty: last.is_none(), end, ..way });
            };
            way.steps += 1;
            way.value = value;
        }
        Ok(way)
    }
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

/// A member of an object; the key with its quotes.
struct Member {
    key: Range<usize>,
    value: Range<usize>,
}

/// The members of an object of valid JSON.
struct Members<'b> {
    body: &'b [u8],
    /// The place of the next key; none after the last.
    at: Option<usize>,
}

impl Iterator for Members<'_> {
    type Item = Member;

    fn next(&mut self) -> Option<Member> {
        let Self { body, at } = self;
        let start = at.take().filter(|at| body.get(*at) == Some(&b'"'))?;
        let key = start..string_end(body, start);
        let colon = space_end(body, key.end);
        let value = space_end(body, colon + 1);
        let value = value..value_end(body, value);
        let comma = space_end(body, value.end);
        *at = (body.get(comma) == Some(&b',')).then(|| space_end(body, comma + 1));
        Some(Member { key, value })
    }
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
    while let Some(found) = body.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        if body[at + found] == b'"' {
            return at + found + 1;
        }
        at += found + 2;
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
        let splice = Document::parse(body.as_bytes())?.splice(&Pointer::parse(pointer).unwrap(), value)?;
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
    fn values_are_found_as_they_are_written() {
        let check = |body: &str, pointer: &str, expected: Result<Option<&str>, SpliceProblem>| {
            let pointer = Pointer::parse(pointer).unwrap();
            let found = Document::parse(body.as_bytes()).and_then(|document| document.find(&pointer));
            let expected = expected.map(|value| value.map(str::as_bytes));
            assert_eq!(found, expected, "{body}");
        };
        check(r#"{"stream": true}"#, "/stream", Ok(Some("true")));
        check(r#"{"a":{"b": "x\"" }}"#, "/a/b", Ok(Some(r#""x\"""#)));
        check(r#"{"a":[ {"b":1e999}] ,"c":2}"#, "/a", Ok(Some(r#"[ {"b":1e999}]"#)));
        check("{}", "/stream", Ok(None));
        check(r#"{"a":null}"#, "/a/b", Ok(None));
        check(r#"{"stream":true,"stream":false}"#, "/stream", Err(SpliceProblem::Repeated));
        check("x", "/stream", Err(SpliceProblem::NotJson));
    }
}
