//! The requests that a mock answers: one table, which the help, the message of a 404 and the documentation show.
//!
//! A path is the end of a request's path, whatever its prefix. A `*` in it is one segment, or the start of one.

use http::Method;

use super::{ResponseOptions, Shape};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Served {
    Chat,
    Messages,
    Responses,
    CountTokens,
    Embeddings,
    Models,
    Model,
    Generate,
    GenerateStream,
    CountContent,
    EmbedContent,
    EmbedContents,
    ChatV2,
    EmbedV2,
    Rerank,
    Speech,
    Transcription,
    Images,
    Upload,
    Files,
    FileContent,
    File,
    DeletedFile,
    NewBatch,
    CancelledBatch,
    Batches,
    Batch,
}

/// The table. A path comes before those that it is an example of.
pub(in super::super) const SERVED: &[(Method, &str, Served)] = &[
    (Method::POST, "/chat/completions", Served::Chat),
    (Method::POST, "/messages", Served::Messages),
    (Method::POST, "/responses", Served::Responses),
    (Method::POST, "/messages/count_tokens", Served::CountTokens),
    (Method::POST, "/embeddings", Served::Embeddings),
    (Method::GET, "/models", Served::Models),
    (Method::GET, "/models/*", Served::Model),
    (Method::POST, "/models/*:generateContent", Served::Generate),
    (Method::POST, "/models/*:streamGenerateContent", Served::GenerateStream),
    (Method::POST, "/models/*:countTokens", Served::CountContent),
    (Method::POST, "/models/*:embedContent", Served::EmbedContent),
    (Method::POST, "/models/*:batchEmbedContents", Served::EmbedContents),
    (Method::POST, "/v2/chat", Served::ChatV2),
    (Method::POST, "/v2/embed", Served::EmbedV2),
    (Method::POST, "/rerank", Served::Rerank),
    (Method::POST, "/audio/speech", Served::Speech),
    (Method::POST, "/audio/transcriptions", Served::Transcription),
    (Method::POST, "/audio/translations", Served::Transcription),
    (Method::POST, "/images/generations", Served::Images),
    (Method::POST, "/files", Served::Upload),
    (Method::GET, "/files", Served::Files),
    (Method::GET, "/files/*", Served::File),
    (Method::GET, "/files/*/content", Served::FileContent),
    (Method::DELETE, "/files/*", Served::DeletedFile),
    (Method::POST, "/batches", Served::NewBatch),
    (Method::GET, "/batches", Served::Batches),
    (Method::GET, "/batches/*", Served::Batch),
    (Method::POST, "/batches/*/cancel", Served::CancelledBatch),
];

impl Served {
    /// Finds what a request asks; `None` is a 404.
    pub(in super::super) fn find(method: &Method, path: &str) -> Option<Self> {
        let found = SERVED.iter().find(|(served, end, _)| served == method && ends_with(path, end))?;
        Some(found.2)
    }

    /// The shape of a rendered response; none if the response is made for each request.
    pub(in super::super) fn shape(self, options: ResponseOptions) -> Option<Shape> {
        let of = |unary: Shape, stream: Shape| Some(if options.stream { stream } else { unary });
        match self {
            Self::Chat if options.usage => of(Shape::Chat, Shape::ChatStreamUsage),
            Self::Chat => of(Shape::Chat, Shape::ChatStream),
            Self::Messages => of(Shape::Messages, Shape::MessagesStream),
            Self::Responses => of(Shape::Responses, Shape::ResponsesStream),
            Self::CountTokens => Some(Shape::CountTokens),
            Self::Models => Some(Shape::Models),
            Self::Generate => Some(Shape::Generate),
            Self::GenerateStream => of(Shape::GenerateArray, Shape::GenerateStream),
            Self::CountContent => Some(Shape::CountContent),
            Self::ChatV2 => of(Shape::ChatV2, Shape::ChatV2Stream),
            Self::Embeddings
            | Self::Model
            | Self::EmbedContent
            | Self::EmbedContents
            | Self::EmbedV2
            | Self::Rerank
            | Self::Speech
            | Self::Transcription
            | Self::Images
            | Self::Upload
            | Self::Files
            | Self::FileContent
            | Self::File
            | Self::DeletedFile
            | Self::NewBatch
            | Self::CancelledBatch
            | Self::Batches
            | Self::Batch => None,
        }
    }

    /// True if the request's path has the model.
    pub(in super::super) fn has_model_in_path(self) -> bool {
        matches!(self, Self::Generate | Self::GenerateStream | Self::EmbedContent | Self::EmbedContents)
    }
}

/// The list of all requests.
pub(in super::super) fn list() -> String {
    let all: Vec<String> = SERVED.iter().map(|(method, path, _)| format!("{method} *{path}")).collect();
    all.join(", ")
}

/// True if a path ends with the segments of `end`.
fn ends_with(path: &str, end: &str) -> bool {
    let mut segments = path.rsplit('/');
    let mut wanted = end.strip_prefix('/').unwrap_or(end).rsplit('/');
    let all = wanted.all(|wanted| {
        segments.next().is_some_and(|segment| match wanted.strip_prefix('*') {
            Some(rest) => segment.len() > rest.len() && segment.ends_with(rest),
            None => segment == wanted,
        })
    });
    // A slash stands before them.
    all && segments.next().is_some()
}
