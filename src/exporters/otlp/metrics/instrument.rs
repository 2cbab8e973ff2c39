//! The instruments of the conventions for generative AI: names, units and the bounds of buckets.

/// Bounds of buckets, in seconds, and in tokens: those of the conventions.
const SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_SECONDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// The histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Distribution {
    InferenceDuration,
    EmbeddingsDuration,
    OtherDuration,
    FirstChunk,
    FirstToken,
    InputTokens,
    OutputTokens,
    EmbeddingsTokens,
}

impl Distribution {
    pub(super) const ALL: [Self; 8] = [
        Self::InferenceDuration,
        Self::EmbeddingsDuration,
        Self::OtherDuration,
        Self::FirstChunk,
        Self::FirstToken,
        Self::InputTokens,
        Self::OutputTokens,
        Self::EmbeddingsTokens,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::InferenceDuration => "gen_ai.client.inference.duration",
            Self::EmbeddingsDuration => "gen_ai.client.embeddings.duration",
            Self::OtherDuration => "gen_ai.client.operation.duration",
            Self::FirstChunk => "gen_ai.client.inference.time_to_first_chunk",
            Self::FirstToken => "gen_ai.server.time_to_first_token",
            Self::InputTokens => "gen_ai.client.inference.operation.input_tokens",
            Self::OutputTokens => "gen_ai.client.inference.operation.output_tokens",
            Self::EmbeddingsTokens => "gen_ai.client.embeddings.operation.input_tokens",
        }
    }

    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::InferenceDuration => "GenAI client inference operation duration.",
            Self::EmbeddingsDuration => "GenAI client embeddings operation duration.",
            Self::OtherDuration => "GenAI operation duration.",
            Self::FirstChunk => "Time to receive the first chunk of a streamed answer.",
            Self::FirstToken => "Time to the first byte of a successful answer.",
            Self::InputTokens => "The number of input (prompt) tokens used per inference operation.",
            Self::OutputTokens => "The number of output (completion) tokens used per inference operation.",
            Self::EmbeddingsTokens => "The number of input tokens used per embeddings operation.",
        }
    }

    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::InferenceDuration
            | Self::EmbeddingsDuration
            | Self::OtherDuration
            | Self::FirstChunk
            | Self::FirstToken => "s",
            Self::InputTokens | Self::OutputTokens | Self::EmbeddingsTokens => TOKEN,
        }
    }

    pub(super) const fn bounds(self) -> &'static [f64] {
        match self {
            Self::InferenceDuration | Self::EmbeddingsDuration | Self::OtherDuration | Self::FirstChunk => {
                SECONDS
            }
            Self::FirstToken => FIRST_SECONDS,
            Self::InputTokens | Self::OutputTokens | Self::EmbeddingsTokens => TOKENS,
        }
    }
}

/// The unit of tokens.
pub(super) const TOKEN: &str = "{token}";

/// The counters: tokens of inferences. The last three are parts of the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spent {
    Input,
    Output,
    CacheRead,
    CacheWrite,
    Reasoning,
}

impl Spent {
    pub(super) const ALL: [Self; 5] =
        [Self::Input, Self::Output, Self::CacheRead, Self::CacheWrite, Self::Reasoning];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Input => "gen_ai.client.inference.usage.input_tokens",
            Self::Output => "gen_ai.client.inference.usage.output_tokens",
            Self::CacheRead => "gen_ai.client.inference.usage.cache_read.input_tokens",
            Self::CacheWrite => "gen_ai.client.inference.usage.cache_write.input_tokens",
            Self::Reasoning => "gen_ai.client.inference.usage.reasoning.output_tokens",
        }
    }

    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::Input => "The number of input (prompt) tokens used, including cached tokens.",
            Self::Output => "The number of output (completion) tokens used, including reasoning tokens.",
            Self::CacheRead => "The number of input tokens served from a provider-managed cache.",
            Self::CacheWrite => "The number of input tokens written to a provider-managed cache.",
            Self::Reasoning => "The number of output tokens used for reasoning.",
        }
    }
}
