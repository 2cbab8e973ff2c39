//! Responses of a mock: selects the shape for a request and renders it. Pure: a shape and sizes in, bytes out. The texts
//! are wire formats and name no provider.
//!
//! In a text, `$model` (the model as JSON) and `$seq` (the number of an event) are filled in per request. Every other
//! `$word` is filled in when a shape is rendered.

mod chat;
mod chat_v2;
mod generate;
mod made;
mod messages;
mod plain;
mod responses;
mod served;
mod tools;

use bytes::{Bytes, BytesMut};

pub(super) use self::{
    made::{Asked, Made, made, model_of},
    served::{SERVED, Served, list},
    tools::Call,
};

/// A response format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Chat,
    ChatStream,
    ChatStreamUsage,
    Messages,
    MessagesStream,
    CountTokens,
    Responses,
    ResponsesStream,
    Models,
    Generate,
    GenerateStream,
    GenerateArray,
    CountContent,
    ChatV2,
    ChatV2Stream,
}

/// The text of a shape. A unary response has only a `head`.
struct ScriptSource {
    head: &'static str,
    delta: &'static str,
    tail: &'static str,
    /// The number of the first numbered event.
    first_seq: u32,
}

/// The part of a request body that selects the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ResponseOptions {
    /// True for a stream of events.
    pub(super) stream: bool,
    pub(super) usage: bool,
    /// True if the request has tools.
    pub(super) tools: bool,
}

/// The model in responses to requests without one.
pub(super) const MODEL: &str = "mock-model";

/// The second at which all was created.
const CREATED: u64 = 1_750_000_000;
const INPUT_TOKENS: u32 = 25;
const CACHED_TOKENS: u32 = 8;
const FILLER: &str = "The mock says the same each time, and says it fast. ";

impl Shape {
    pub(super) const ALL: [Self; 15] = [
        Self::Chat,
        Self::ChatStream,
        Self::ChatStreamUsage,
        Self::Messages,
        Self::MessagesStream,
        Self::CountTokens,
        Self::Responses,
        Self::ResponsesStream,
        Self::Models,
        Self::Generate,
        Self::GenerateStream,
        Self::GenerateArray,
        Self::CountContent,
        Self::ChatV2,
        Self::ChatV2Stream,
    ];

    /// True for a stream of events, and false for a JSON text, also for one that grows.
    pub(super) fn has_events(self) -> bool {
        self.is_stream() && self != Self::GenerateArray
    }

    /// True for a response that is sent in parts.
    pub(super) fn is_stream(self) -> bool {
        !self.text().delta.is_empty()
    }

    fn text(self) -> &'static ScriptSource {
        match self {
            Self::Chat => &chat::UNARY,
            Self::ChatStream => &chat::STREAM,
            Self::ChatStreamUsage => &chat::STREAM_USAGE,
            Self::Messages => &messages::UNARY,
            Self::MessagesStream => &messages::STREAM,
            Self::CountTokens => &plain::COUNT_TOKENS,
            Self::Responses => &responses::UNARY,
            Self::ResponsesStream => &responses::STREAM,
            Self::Models => &plain::MODELS,
            Self::Generate => &generate::UNARY,
            Self::GenerateStream => &generate::STREAM,
            Self::GenerateArray => &generate::ARRAY,
            Self::CountContent => &generate::COUNT,
            Self::ChatV2 => &chat_v2::UNARY,
            Self::ChatV2Stream => &chat_v2::STREAM,
        }
    }
}

/// A shape rendered for a behaviour. Only the model and the event numbers vary.
#[derive(Debug)]
pub(super) struct Script {
    head: Template,
    delta: Template,
    tail: Template,
    count: u32,
}

/// The events of one response.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) head: Bytes,
    pub(super) delta: Delta,
    pub(super) count: u32,
    pub(super) tail: Bytes,
}

/// A text event: constant, or with a sequence number.
#[derive(Debug)]
pub(super) enum Delta {
    Same(Bytes),
    Numbered(Template),
}

impl Script {
    pub(super) fn render(shape: Shape, count: u32, size: u32) -> Self {
        let text = shape.text();
        let render =
            |source: &str| Template::split(&render(source, count, size, text.first_seq), text.first_seq);
        Self { head: render(text.head), delta: render(text.delta), tail: render(text.tail), count }
    }

    /// The complete unary response. `model` is JSON.
    pub(super) fn unary(&self, model: &str) -> Bytes {
        self.head.fill(model, 0)
    }

    /// The events of a stream. `model` is JSON.
    pub(super) fn events(&self, model: &str) -> Events {
        let delta = if self.delta.is_numbered() {
            Delta::Numbered(self.delta.clone())
        } else {
            Delta::Same(self.delta.fill(model, 0))
        };
        Events { head: self.head.fill(model, 0), delta, count: self.count, tail: self.tail.fill(model, 0) }
    }
}

impl Events {
    /// A stream of one part.
    pub(super) fn whole(text: String) -> Self {
        Self { head: text.into(), delta: Delta::Same(Bytes::new()), count: 0, tail: Bytes::new() }
    }
}

impl Delta {
    /// The text event with this index, from 0.
    pub(super) fn number(&self, number: u32) -> Bytes {
        match self {
            Self::Same(bytes) => bytes.clone(),
            Self::Numbered(template) => template.fill("", number),
        }
    }
}

/// A text with placeholders.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pieces: Vec<Piece>,
    first_seq: u32,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(Bytes),
    Model,
    Seq,
}

impl Template {
    fn split(source: &str, first_seq: u32) -> Self {
        let mut pieces = Vec::new();
        let mut rest = source;
        while let Some(at) = rest.find('$') {
            pieces.push(Piece::Text(Bytes::copy_from_slice(&rest.as_bytes()[..at])));
            let is_model = rest[at..].starts_with("$model");
            let (piece, word) = if is_model { (Piece::Model, "$model") } else { (Piece::Seq, "$seq") };
            pieces.push(piece);
            rest = rest[at..]
                .strip_prefix(word)
                .expect("a test renders every text: no other placeholder remains");
        }
        pieces.push(Piece::Text(Bytes::copy_from_slice(rest.as_bytes())));
        Self { pieces, first_seq }
    }

    fn is_numbered(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Seq))
    }

    /// Fills the placeholders. A text without placeholders is shared, not copied.
    pub(super) fn fill(&self, model: &str, number: u32) -> Bytes {
        if let [Piece::Text(bytes)] = self.pieces.as_slice() {
            return bytes.clone();
        }
        let mut filled = BytesMut::with_capacity(self.capacity(model));
        for piece in &self.pieces {
            match piece {
                Piece::Text(bytes) => filled.extend_from_slice(bytes),
                Piece::Model => filled.extend_from_slice(model.as_bytes()),
                Piece::Seq => filled.extend_from_slice((self.first_seq + number).to_string().as_bytes()),
            }
        }
        filled.freeze()
    }

    fn capacity(&self, model: &str) -> usize {
        let size = |piece: &Piece| match piece {
            Piece::Text(bytes) => bytes.len(),
            Piece::Model => model.len(),
            Piece::Seq => 10,
        };
        self.pieces.iter().map(size).sum()
    }
}

/// Fills in the placeholders that a behaviour determines.
fn render(source: &str, count: u32, size: u32, first_seq: u32) -> String {
    let text: String = FILLER.chars().cycle().take(size as usize).collect();
    let after = |offset: u32| (first_seq + count + offset).to_string();
    let all = if source.contains("$all") { text.repeat(count as usize) } else { String::new() };
    source
        .replace("$input", &INPUT_TOKENS.to_string())
        .replace("$cached", &CACHED_TOKENS.to_string())
        .replace("$uncached", &(INPUT_TOKENS - CACHED_TOKENS).to_string())
        .replace("$output", &count.to_string())
        .replace("$total", &(INPUT_TOKENS + count).to_string())
        .replace("$after0", &after(0))
        .replace("$after1", &after(1))
        .replace("$after2", &after(2))
        .replace("$after3", &after(3))
        .replace("$all", &all)
        .replace("$text", &text)
}

#[cfg(test)]
mod tests;
