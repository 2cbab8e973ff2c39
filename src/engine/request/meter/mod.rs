//! The meter: reads usage out of an exchange while its bytes pass, as the api file's [`Metering`] says.
//!
//! It guarantees: linear time; bounded memory (under 4 KiB, 5 KiB more for a form, and text where an exporter asks for it);
//! equal results for every way of cutting the bytes; no panic, whatever the peers send. It never changes, holds back or keeps bytes.
//!
//! The rules:
//!
//! - Only answers with a status from 200 to 299 use anything. Their content type selects the framing. Without any answer to a
//!   request that was sent, the prompt needs an estimate.
//! - Of repeated keys in a request, the last counts, as for most parsers: a client cannot name another model than the upstream
//!   reads. The fields of a form are read as members of one object.
//! - A count is good if it is a whole number from 0 to [`MAX_COUNT`](crate::base::usage::MAX_COUNT). One bad or contradictory count of a side, prompt or answer,
//!   invalidates all counts of that side; [`Usage::not_counted`] has the reason.
//! - A side needs an estimate if its format counts it and the answer did not: [`Usage::to_estimate`]. A side is counted if
//!   its main counter, input or output, has a value: its parts alone, such as reasoning, do not say its size. The counts of an
//!   answer are final if no text came after the event that has them; else the answer needs an estimate, too, and the
//!   greater of both is used. This is the case for a stream that broke off after a preliminary count.
//! - Nothing unknown looks like a counted zero. A count of zero beside text of its side is none; a side that lacks counts and
//!   has no text is reported as [`NotCounted::Missing`].
//! - Without any count of tokens, none are estimated where another unit was counted, such as images, nor for an answer
//!   that has nothing but an error.
//! - An answer that is not wholly in its format keeps the counts that it has, and is reported as [`NotCounted::Format`]; a
//!   stream only if it lacks counts, since streams have signs of their own between events.
//!
//! Read next: `reader` and `scanner`, which read documents; `form`, which makes one of a form; `framing`, which finds them in a
//! stream; `outcome`, which makes the usage; [`ratios`] for estimates; [`ask`] for requests that ask for usage.

pub mod ask;
mod counters;
mod form;
mod framing;
mod media;
mod number;
mod outcome;
mod prompt;
pub mod ratios;
mod reader;
mod request;
mod scanner;
mod tally;

use std::sync::Arc;

use super::access_record::Usage;
use crate::{
    base::usage::NotCounted,
    language::compile::metering::{Framing, Map, Metering},
};

use framing::Frames;
use media::Media;
use reader::{NotJson, Reader};
use request::Request;
use scanner::{is_mark, is_space};

pub use ratios::Ratios;
pub use request::RequestApart;

/// The meter of one exchange.
#[derive(Debug)]
pub struct Meter {
    metering: Arc<Metering>,
    captured_model: Option<Box<str>>,
    text: Text,
    /// None while it is read apart.
    request: Option<Box<Request>>,
    answer: Answer,
    /// The content coding of the answer cannot be read.
    is_undecodable: bool,
}

/// The text of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// Nobody asks for it.
    Unwanted,
    Kept,
    /// There was no room for it.
    Dropped,
}

/// The state of an answer.
#[derive(Debug)]
enum Answer {
    /// No answer, or none that uses anything.
    Nothing,
    /// None came, although the upstream received the request or a part of it.
    Lost,
    /// One that is not read, for that reason; without one, it has nothing to count.
    Unread(Option<NotCounted>),
    /// JSON whose first character decides: one value, or an array of events.
    Undecided,
    /// One JSON value.
    Body(Box<Reader>),
    /// A stream of events.
    Stream(Box<(Frames, Reader)>),
}

impl Answer {
    fn reader(&self) -> Option<&Reader> {
        match self {
            Self::Body(reader) => Some(reader),
            Self::Stream(stream) => Some(&stream.1),
            Self::Nothing | Self::Lost | Self::Unread(_) | Self::Undecided => None,
        }
    }

    fn reader_mut(&mut self) -> Option<&mut Reader> {
        match self {
            Self::Body(reader) => Some(reader),
            Self::Stream(stream) => Some(&mut stream.1),
            Self::Nothing | Self::Lost | Self::Unread(_) | Self::Undecided => None,
        }
    }
}

impl Meter {
    /// The meter of an exchange. Text is kept only with `keep_content`.
    pub fn new(metering: Arc<Metering>, captured_model: Option<&str>, keep_content: bool) -> Self {
        Self {
            request: Some(Box::new(Request::new(&metering.request, keep_content))),
            captured_model: captured_model.map(Into::into),
            text: if keep_content { Text::Kept } else { Text::Unwanted },
            answer: Answer::Nothing,
            is_undecodable: false,
            metering,
        }
    }

    /// Bytes of text that are kept so far.
    pub fn text_bytes(&self) -> usize {
        let of_answer =
            self.answer.reader().and_then(|reader| reader.tally.content.as_ref()).map_or(0, Vec::len);
        self.request.as_ref().map_or(0, |request| request.prompt_bytes()) + of_answer
    }

    /// Drops the text, and keeps no more of it: there is no room. The usage says so.
    pub fn drop_text(&mut self) {
        self.text = Text::Dropped;
        if let Some(request) = &mut self.request {
            request.drop_prompts();
        }
        if let Some(reader) = self.answer.reader_mut() {
            reader.tally.content = None;
        }
    }

    /// The content type of the request. Without one, the body is read as JSON.
    pub fn request_type(&mut self, content_type: &[u8]) {
        if let Some(request) = &mut self.request {
            request.set_content_type(content_type);
        }
    }

    /// Reads on in the request's body.
    pub fn request(&mut self, bytes: &[u8]) {
        if let Some(request) = &mut self.request {
            request.feed(&self.metering.request, bytes);
        }
    }

    /// The end of the request's body.
    pub fn request_end(&mut self) {
        if let Some(request) = &mut self.request {
            request.end(&self.metering.request);
        }
    }

    /// The reader of a request's body that has a content coding, until [`join_request`](Self::join_request).
    pub fn part_request(&mut self) -> Option<RequestApart> {
        Some(RequestApart::new(&self.metering.request, self.request.take()?))
    }

    /// Takes the reader of the request's body back. `complete`: the body has ended.
    pub fn join_request(&mut self, apart: RequestApart, complete: bool) {
        let is_ended = complete && !apart.is_undecodable();
        let request = self.request.insert(apart.into_request());
        if is_ended {
            request.end(&self.metering.request);
        }
    }

    /// The head of the answer.
    pub fn answer(&mut self, status: u16, content_type: Option<&[u8]>) {
        self.answer = if (200..300).contains(&status) { self.opened(content_type) } else { Answer::Nothing };
    }

    /// No answer is passed on: nothing is used.
    pub fn no_answer(&mut self) {
        self.answer = Answer::Nothing;
    }

    /// The exchange broke off before an answer, after the request or a part of it was sent: the upstream may bill the prompt.
    pub fn lost(&mut self) {
        self.answer = Answer::Lost;
    }

    /// Reads on in the answer's body, without its content coding.
    pub fn bytes(&mut self, decoded: &[u8]) {
        if self.is_undecodable {
            return;
        }
        if let Answer::Undecided = self.answer {
            self.decide(decoded);
        }
        match &mut self.answer {
            Answer::Body(reader) => reader.feed(&self.metering.body, decoded),
            Answer::Stream(stream) => {
                let (frames, reader) = &mut **stream;
                frames.feed(&self.metering.event, decoded, reader);
            }
            Answer::Nothing | Answer::Lost | Answer::Unread(_) | Answer::Undecided => {}
        }
    }

    /// The answer's content coding is unknown or damaged, or expands too far: what follows is not read.
    pub fn undecodable(&mut self) {
        self.is_undecodable = true;
    }

    /// The usage. A broken-off exchange is not `complete`.
    pub fn finish(mut self, complete: bool) -> Usage {
        if let Some(request) = &mut self.request {
            request.finish(&self.metering.request);
        }
        let is_complete = complete && !self.is_undecodable;
        match &mut self.answer {
            Answer::Body(reader) if is_complete => reader.end(&self.metering.body, NotJson::Broken),
            Answer::Body(reader) => reader.end_cut(&self.metering.body, NotJson::Broken),
            Answer::Stream(stream) => {
                let (frames, reader) = &mut **stream;
                frames.end(&self.metering.event, reader, is_complete);
            }
            Answer::Nothing | Answer::Lost | Answer::Unread(_) | Answer::Undecided => {}
        }
        outcome::usage(self, is_complete)
    }

    fn opened(&self, content_type: Option<&[u8]>) -> Answer {
        let framings = &self.metering.framings;
        match media::of(content_type) {
            Media::Json if framings.contains(&Framing::JsonArray) => Answer::Undecided,
            Media::Json => self.body(),
            Media::Framed(framing) if framings.contains(&framing) => self.stream(framing),
            Media::Framed(_) | Media::Other => {
                Answer::Unread((!self.metering.body.counted().is_empty()).then_some(NotCounted::ContentType))
            }
            Media::Missing => match framings.first() {
                Some(framing) if self.asks_for_stream() => self.stream(*framing),
                Some(_) | None => self.body(),
            },
        }
    }

    fn asks_for_stream(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.stream() == Some(true))
    }

    /// Decides by the first character that is no space.
    fn decide(&mut self, bytes: &[u8]) {
        match bytes.iter().find(|byte| !is_space(**byte) && !is_mark(**byte)) {
            Some(b'[') => self.answer = self.stream(Framing::JsonArray),
            Some(_) => self.answer = self.body(),
            None => {}
        }
    }

    fn body(&self) -> Answer {
        let reader = self.reader(&self.metering.body);
        reader.map_or(Answer::Unread(None), |reader| Answer::Body(Box::new(reader)))
    }

    fn stream(&self, framing: Framing) -> Answer {
        let reader = self.reader(&self.metering.event);
        reader.map_or(Answer::Unread(None), |reader| Answer::Stream(Box::new((Frames::new(framing), reader))))
    }

    /// A reader, unless there is nothing to read.
    fn reader(&self, map: &Map) -> Option<Reader> {
        (!map.is_empty()).then(|| Reader::new(map, self.text == Text::Kept))
    }
}

#[cfg(test)]
mod tests;
