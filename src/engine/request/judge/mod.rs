//! The judge of a request's body: the model that it names, and the cap on the output that it sets, for rules about models and
//! limits.
//!
//! It guarantees: no parser of the upstream finds another model, or another cap, than the judge, or the body is refused. Each
//! value comes once; what some parsers take for its key is refused; JSON and forms are read strictly. Linear time; bounded
//! memory; equal results for every way of cutting the bytes; no panic, whatever the client sends. It never changes or keeps
//! bodies, and knows no rule: it says what a body asks for.
//!
//! The rules:
//!
//! - The content type decides: a form, or else JSON (RFC 8259, in UTF-8). The caller refuses two content types, and removes a
//!   content coding first.
//! - Only places that are needed are judged; all of the body is validated. Without any, nothing is read.
//! - A model is a string without control characters, of at most [`MAX_MODEL`] bytes; null is none. It is compared by rules as
//!   it was sent: space at its ends, and its case, stay.
//! - A cap is a whole number from 0 on, in digits; null is none. Of several places, those that have a value agree, since
//!   upstreams differ in which one they prefer.
//! - Of several answers or prompts, each may have the cap: it is multiplied by their numbers.
//! - Models besides the first are strings at their places. A value of another type is refused.
//! - Where the cap has to hold, a value that it does not bound is refused: whatever is at its place, but for strings that the api
//!   file says are harmless.
//! - A model that was found stays, and so does a cap: what would change it is refused, however late it comes.
//!
//! Read next: [`Places`] for what is judged; `findings` for the rules of keys and values; `json`, `multipart`, `urlencoded`;
//! [`query_names_model`] for the query.

mod findings;
mod json;
mod media;
mod multipart;
mod name;
mod parameters;
mod unjudgeable;
mod urlencoded;
mod utf8;

use std::sync::Arc;

use crate::language::compile::metering::places::{Places, purposes};
use findings::Findings;
use json::Json;
use media::Media;
use multipart::Multipart;
use urlencoded::UrlEncoded;
use utf8::Utf8;

pub use name::query_names_model;
pub use unjudgeable::Unjudgeable;

/// The greatest depth of nesting of JSON.
pub const MAX_DEPTH: usize = 512;
/// The most bytes of a model's name.
pub const MAX_MODEL: usize = 512;
/// The most bytes of a key that are compared, and of a field's name.
pub const MAX_KEY: usize = 1 << 10;

/// The most models besides the first that a body may name.
pub const MAX_OTHER_MODELS: usize = 64;

/// What has to be known of a body.
#[expect(clippy::struct_excessive_bools, reason = "each is a need of its own")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// The model.
    pub model: bool,
    /// The models besides it.
    pub other_models: bool,
    /// The cap on the output.
    pub max_output: bool,
    /// The cap and the size have to hold: all of the body is needed, and nothing may stand there that they do not bound.
    pub bound: bool,
    /// The cap makes an estimate better: one that cannot be read is none, and refuses nothing.
    pub is_estimate: bool,
    /// All of the body is needed.
    pub to_the_end: bool,
}

impl Needs {
    /// True if something is needed.
    pub fn any(self) -> bool {
        let Self { model, other_models, max_output, bound, is_estimate: _, to_the_end: _ } = self;
        model || other_models || max_output || bound
    }

    fn purposes(self) -> u8 {
        let Self { model, other_models, max_output, bound, is_estimate: _, to_the_end: _ } = self;
        [
            (model, purposes::MODEL),
            (other_models, purposes::OTHER_MODELS),
            (max_output, purposes::MAX_OUTPUT),
            (bound, purposes::UNBOUNDED),
        ]
        .into_iter()
        .filter(|(is_needed, _)| *is_needed)
        .fold(0, |all, (_, purpose)| all | purpose)
    }
}

/// The state of what is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Something has not come so far. It may be absent.
    More,
    /// All has come, and stays as it is. The rest has to be fed all the same: it may have it a second time.
    Found,
}

/// The judge of one body.
#[derive(Debug)]
pub struct Judge {
    findings: Findings,
    reader: Reader,
    /// Nothing was fed.
    is_empty: bool,
    /// The reason for which the body was refused.
    refused: Option<Unjudgeable>,
}

/// The way in which a body is read.
#[derive(Debug)]
enum Reader {
    /// Nothing is needed.
    Idle,
    Json(Box<(Utf8, Json)>),
    Multipart(Box<Multipart>),
    UrlEncoded(Box<UrlEncoded>),
}

impl Judge {
    /// The judge of a body with this content type.
    pub fn new(places: Arc<Places>, content_type: Option<&[u8]>, needs: Needs) -> Result<Self, Unjudgeable> {
        let findings = Findings::new(places, needs);
        let reader = if findings.needs_nothing() {
            Reader::Idle
        } else {
            match media::of(content_type)? {
                Media::Json => Reader::Json(Box::new((Utf8::default(), Json::new()))),
                Media::Multipart(boundary) => Reader::Multipart(Box::new(Multipart::new(&boundary))),
                Media::UrlEncoded => Reader::UrlEncoded(Box::default()),
            }
        };
        Ok(Self { findings, reader, is_empty: true, refused: None })
    }

    /// Reads on. After an error, it returns the same one.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Progress, Unjudgeable> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        self.is_empty &= bytes.is_empty();
        let findings = &mut self.findings;
        let read = match &mut self.reader {
            Reader::Idle => Ok(()),
            Reader::Json(reader) => {
                let (utf8, json) = &mut **reader;
                utf8.feed(bytes, |text, before| json.feed(text, before, findings))
            }
            Reader::Multipart(multipart) => multipart.feed(bytes, findings),
            Reader::UrlEncoded(form) => form.feed(bytes, findings),
        };
        self.noted(read)?;
        Ok(if self.findings.are_found() { Progress::Found } else { Progress::More })
    }

    /// The end of the body. What has not come is absent. Call it once.
    pub fn end(&mut self) -> Result<(), Unjudgeable> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        let read = match &mut self.reader {
            // A body without bytes names nothing, whatever its type.
            _ if self.is_empty => Ok(()),
            Reader::Idle => Ok(()),
            Reader::Json(reader) if reader.0.is_cut() => Err(Unjudgeable::Incomplete),
            Reader::Json(reader) => reader.1.end(),
            Reader::Multipart(multipart) => multipart.end(),
            Reader::UrlEncoded(form) => form.end(&mut self.findings),
        };
        self.noted(read)
    }

    /// The model. None so long as it has not come, if it is absent or null, and of a body that was refused.
    pub fn model(&self) -> Option<&str> {
        self.findings.model().filter(|_| self.refused.is_none())
    }

    /// The models besides it that have come.
    pub fn other_models(&self) -> &[Box<str>] {
        self.findings.other_models()
    }

    /// The cap on all output. None so long as it has not come, if it is absent or null, and of a body that was refused.
    pub fn max_output(&self) -> Option<u64> {
        self.findings.max_output().filter(|_| self.refused.is_none())
    }

    fn noted(&mut self, read: Result<(), Unjudgeable>) -> Result<(), Unjudgeable> {
        self.refused = read.clone().err();
        read
    }
}

#[cfg(test)]
mod tests;
