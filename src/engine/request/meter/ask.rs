//! Requests that ask for usage: the key to insert, and the filter that takes the event out that the upstream sends for it.
//!
//! The filter guarantees: all other bytes of the answer pass unchanged and in order; at most the current event is held back,
//! up to [`MAX_HELD`], and only while it may be the one to take out.

use std::sync::Arc;

use serde_json::Value;

use super::{
    framing::Sse,
    reader::{NotJson, Reader},
};
use crate::{
    language::compile::metering::{Ask, ExtraEvent, Map},
    request::splice::{Document, Splice, SpliceProblem},
};

/// The longest event that may be taken out, in bytes.
pub const MAX_HELD: usize = 64 * 1024;

/// The replacement that makes a request ask for usage; none if it asks already, or is not to ask.
pub fn ask(ask: &Ask, body: &[u8]) -> Result<Option<Splice>, SpliceProblem> {
    let document = Document::parse(body)?;
    if let Some(when) = &ask.when
        && document.find(when)? != Some(b"true")
    {
        return Ok(None);
    }
    match document.find(&ask.at)? {
        Some(text) if is(text, &ask.value) => Ok(None),
        Some(_) | None => document.splice(&ask.at, &ask.value).map(Some),
    }
}

/// True if a client's text is that string, number or boolean. A text that is too long for it is not parsed.
fn is(text: &[u8], value: &Value) -> bool {
    /// Each byte can be written as an escape of this length.
    const ESCAPE: usize = 6;
    text.len() <= ESCAPE * value.to_string().len()
        && !text.starts_with(b"{")
        && !text.starts_with(b"[")
        && serde_json::from_slice::<Value>(text).is_ok_and(|text| text == *value)
}

/// The filter of an answer of server-sent events.
#[derive(Debug)]
pub struct ExtraFilter {
    map: Arc<Map>,
    sse: Sse,
    reader: Reader,
    /// The bytes of the current event so far.
    held: Vec<u8>,
    /// The current event is not the one to take out.
    passes: bool,
    /// The event before ended with CR: an LF belongs to it. True if the event was passed on.
    lf: Option<bool>,
}

impl ExtraFilter {
    /// The filter that takes out such events.
    pub fn new(extra: &ExtraEvent) -> Self {
        let map = Arc::clone(&extra.map);
        let reader = Reader::new(&map, false);
        Self { map, sse: Sse::default(), reader, held: Vec::new(), passes: false, lf: None }
    }

    /// Reads on, and appends what is to be passed on.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        while let Some(end) = self.sse.feed_event(&self.map, bytes, at, &mut self.reader) {
            let last = self.own(&bytes[at..end], out);
            self.event_ends(last, out);
            at = end;
        }
        let rest = self.own(&bytes[at..], out);
        self.passes |= self.has(ExtraEvent::ELEMENT) || self.held.len() + rest.len() > MAX_HELD;
        if self.passes {
            out.append(&mut self.held);
            out.extend_from_slice(rest);
        } else {
            self.held.extend_from_slice(rest);
        }
    }

    /// The end of the answer: appends what is held back. An event without a blank line at its end is one, too.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.reader.end(&self.map, NotJson::Ignored);
        self.event_ends(b"", out);
    }

    fn event_ends(&mut self, last: &[u8], out: &mut Vec<u8>) {
        let is_extra = !self.passes
            && self.held.len() + last.len() <= MAX_HELD
            && self.reader.documents == 1
            && self.has(ExtraEvent::VALUE)
            && self.has(ExtraEvent::ARRAY)
            && !self.has(ExtraEvent::ELEMENT);
        if is_extra {
            self.held.clear();
        } else {
            out.append(&mut self.held);
            out.extend_from_slice(last);
        }
        self.lf = last.ends_with(b"\r").then_some(!is_extra);
        self.passes = false;
        self.reader.documents = 0;
        self.reader.tally.marks = 0;
    }

    /// The bytes of the current event, without an LF that belongs to the one before.
    fn own<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>) -> &'b [u8] {
        if bytes.is_empty() {
            return bytes;
        }
        let is_passed = self.lf.take();
        match (is_passed, bytes.strip_prefix(b"\n")) {
            (Some(is_passed), Some(rest)) => {
                out.extend(is_passed.then_some(b'\n'));
                rest
            }
            _ => bytes,
        }
    }

    fn has(&self, mark: u8) -> bool {
        self.reader.tally.marks >> mark & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::language::compile::metering::Pointer;

    fn asks() -> Ask {
        Ask {
            at: Pointer::parse("/stream_options/include_usage").unwrap(),
            value: json!(true),
            when: Some(Pointer::parse("/stream").unwrap()),
            extra: Some(ExtraEvent::new("/usage", "/choices").unwrap()),
        }
    }

    #[test]
    fn a_request_asks_once() {
        let check = |body: &str, expected: Result<Option<&str>, SpliceProblem>| {
            let made =
                ask(&asks(), body.as_bytes()).map(|splice| splice.map(|one| one.apply(body.as_bytes())));
            let made = made.map(|body| body.map(|body| String::from_utf8(body).unwrap()));
            assert_eq!(made.as_ref().map(Option::as_deref), expected.as_ref().copied(), "{body}");
        };
        check(r#"{"stream": true}"#, Ok(Some(r#"{"stream": true,"stream_options":{"include_usage":true}}"#)));
        check(
            r#"{"stream":true,"stream_options":{"include_usage":false}}"#,
            Ok(Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#)),
        );
        check(r#"{"stream":true,"stream_options":{"include_usage":true}}"#, Ok(None));
        check(r#"{"stream":false}"#, Ok(None));
        check(r#"{"stream":[{"":0},{"":0}]}"#, Ok(None));
        let list = r#"{"stream":true,"stream_options":{"include_usage":[{"":0},{"":0}]}}"#;
        check(list, Ok(Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#)));
        check("{}", Ok(None));
        check(r#"{"stream":true,"stream":true}"#, Err(SpliceProblem::Repeated));
        check(r#"{"stream":true,"stream_options":7}"#, Err(SpliceProblem::NotAnObject));
        check("no JSON", Err(SpliceProblem::NotJson));
    }

    const KEPT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}";
    const EXTRA: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3}}";

    /// The answer after the filter; the same for every way of cutting it into two, and into single bytes.
    fn filtered(answer: &str) -> String {
        let run = |pieces: &[&[u8]]| {
            let mut filter = ExtraFilter::new(asks().extra.as_ref().unwrap());
            let mut out = Vec::new();
            for piece in pieces {
                filter.push(piece, &mut out);
            }
            filter.finish(&mut out);
            String::from_utf8(out).unwrap()
        };
        let bytes = answer.as_bytes();
        let whole = run(&[bytes]);
        for at in 0..bytes.len() {
            assert_eq!(run(&[&bytes[..at], &bytes[at..]]), whole, "{answer:?} cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(run(&single), whole, "{answer:?} in single bytes");
        whole
    }

    #[test]
    fn only_the_extra_event_is_taken_out() {
        for end in ["\n\n", "\r\n\r\n", "\r\r"] {
            let (kept, extra) = (format!("{KEPT}{end}"), format!("id: 7\n{EXTRA}{end}"));
            let done = format!("data: [DONE]{end}");
            assert_eq!(filtered(&format!("{kept}{extra}{done}")), format!("{kept}{done}"));
            assert_eq!(filtered(&format!("{kept}{kept}{done}")), format!("{kept}{kept}{done}"));
        }
        assert_eq!(filtered(&format!("{KEPT}\n\n{EXTRA}")), format!("{KEPT}\n\n"));
        for kept in [
            ": comment\n\n",
            "\n\n\n",
            "data: {\"choices\":[{}],\"usage\":{}}\n\n",
            "data: {\"choices\":[],\"usage\":null}\n\n",
            "data: {\"usage\":{}}\n\n",
            "data: {\"choices\":[],\"usage\":{}\n\n",
            "data: {\"usage\":{},\"choices\":[",
            "event: x\ndata: {\"error\":{}}\n\n",
            "<html>\n\n</html>",
            "",
        ] {
            assert_eq!(filtered(kept), kept);
        }
    }

    #[test]
    fn an_event_is_held_back_only_while_it_may_be_the_extra_one() {
        let mut filter = ExtraFilter::new(asks().extra.as_ref().unwrap());
        let mut out = Vec::new();
        filter.push(b"data: {\"choices\":[", &mut out);
        assert_eq!(out, b"");
        filter.push(b"{\"delta\"", &mut out);
        assert_eq!(out, b"data: {\"choices\":[{\"delta\"");
        let mut filter = ExtraFilter::new(asks().extra.as_ref().unwrap());
        let long = format!("data: {{\"x\":\"{}\"", "x".repeat(MAX_HELD));
        let mut out = Vec::new();
        filter.push(long.as_bytes(), &mut out);
        assert_eq!(out, long.as_bytes());
    }
}
