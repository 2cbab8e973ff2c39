//! Reasons for which a body is not judged. Each has a stable cause, and a message for the client: the problem, its place, and
//! the remedy. No message has text of the body: names are those of the api file.

/// The reason for which a body is refused: it could be read in two ways, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unjudgeable {
    /// The content type has an unknown form, or names a form in an unusual way.
    #[error("The content type is not well formed: send `application/json`, or a form with plain parameters")]
    ContentType,
    /// The content type, or that of a field, names another character set.
    #[error("The content type names a character set other than UTF-8: send UTF-8")]
    Charset,
    /// The content type of a form has no boundary, two, or one with unusual characters.
    #[error("The form has no valid boundary: send one `boundary` of 1 to 70 letters, digits and `-_.+/:=?`")]
    Boundary,
    /// The JSON starts with a byte order mark.
    #[error("The body starts with a byte order mark: send JSON in UTF-8 without one")]
    ByteOrderMark,
    /// The text is not UTF-8, from this byte on.
    #[error("The body is not valid UTF-8 at byte {at}: send UTF-8")]
    NotUtf8 {
        /// Its place.
        at: u64,
    },
    /// The body is not JSON, from this byte on.
    #[error("The body is not valid JSON (RFC 8259) at byte {at}: send strict JSON")]
    NotJson {
        /// Its place.
        at: u64,
    },
    /// Containers are nested too deeply.
    #[error("The body is nested more than {} deep: send it with fewer levels", super::MAX_DEPTH)]
    TooDeep,
    /// The body ends too early.
    #[error("The body ends before it is complete: send all of it")]
    Incomplete,
    /// A key or field occurs twice.
    #[error("The body has `{name}` twice, so that it could be read in two ways: send it once")]
    Twice {
        /// Its pointer, without the first slash.
        name: Box<str>,
    },
    /// Some parsers take another key for this one.
    #[error(
        "The body has a key that could be read as `{name}`: write it exactly so, and leave out other spellings"
    )]
    LookAlike {
        /// The pointer of the right key, without the first slash.
        name: Box<str>,
    },
    /// Another value stands where an object is needed.
    #[error("The body has another value than an object at `{name}`: send an object")]
    NotAnObject {
        /// Its pointer; without the first slash, but for the whole body.
        name: Box<str>,
    },
    /// The model is no string.
    #[error("The body has a model that is no string: send its name as a string")]
    ModelType,
    /// The model is too long.
    #[error("The body has a model of more than {} bytes: send its name", super::MAX_MODEL)]
    LongModel,
    /// The model has a control character, at which some parsers end it.
    #[error("The body has a model with a control character: send its plain name")]
    ModelText,
    /// The cap on the output is no whole number.
    #[error("The body has a `{name}` that is no whole number from 0 on: send digits alone")]
    MaxOutput {
        /// Its pointer, without the first slash.
        name: Box<str>,
    },
    /// Two caps differ.
    #[error(
        "The body has two different limits of its output, so that it could be read in two ways: send one"
    )]
    TwoMaxOutputs,
    /// There are too many models besides the first.
    #[error("The body has more than {} models at `{name}`: send fewer", super::MAX_OTHER_MODELS)]
    TooManyModels {
        /// Their pointer, without the first slash.
        name: Box<str>,
    },
    /// A value lets the request use more tokens than its size and the bounds of its answer say.
    #[error(
        "The body has `{name}`{}, whose tokens are bounded by neither its size nor the cap that it sets",
        other_than(harmless)
    )]
    Unbounded {
        /// Its pointer, without the first slash.
        name: Box<str>,
        /// The strings that may stand there. Empty: none.
        harmless: Box<str>,
    },
    /// A value that some upstreams may take for a list, or for the only element of one.
    #[error("The body has a value of another type at `{name}` than the API says: send it as the API says")]
    Container {
        /// Its pointer, without the first slash.
        name: Box<str>,
    },
    /// The form is broken, or unusual, at this byte.
    #[error(
        "The content type says that the body is a form, and it is no well formed one at byte {at}: send it as browsers do, or JSON with \
         `Content-Type: application/json`"
    )]
    NotAForm {
        /// Its place.
        at: u64,
    },
    /// The head of a part is broken, or unusual.
    #[error(
        "The form has a part whose head could be read in two ways: send `Content-Disposition: form-data; name=\"...\"`"
    )]
    PartHead,
    /// A name of a field is too long.
    #[error("The form has a field whose name has more than {} bytes: shorten it", super::MAX_KEY)]
    LongName,
    /// The field is a file, or has another type than text.
    #[error("The form has `{name}` as a file or with a type of its own: send it as plain text")]
    FilePart {
        /// The name of the field.
        name: Box<str>,
    },
    /// A field sets the character set of the others.
    #[error("The form has a field `_charset_`: leave it out, and send UTF-8")]
    CharsetField,
}

fn other_than(harmless: &str) -> String {
    if harmless.is_empty() { String::new() } else { format!(" other than {harmless}") }
}

impl Unjudgeable {
    /// The stable cause, for logs and metrics.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::ContentType => "content_type",
            Self::Charset => "charset",
            Self::Boundary => "boundary",
            Self::ByteOrderMark => "byte_order_mark",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::NotJson { .. } => "not_json",
            Self::TooDeep => "too_deep",
            Self::Incomplete => "incomplete",
            Self::Twice { .. } => "twice",
            Self::LookAlike { .. } => "look_alike",
            Self::NotAnObject { .. } => "not_an_object",
            Self::ModelType => "model_type",
            Self::LongModel => "long_model",
            Self::ModelText => "model_text",
            Self::MaxOutput { .. } => "max_output",
            Self::TwoMaxOutputs => "two_max_outputs",
            Self::TooManyModels { .. } => "too_many_models",
            Self::Unbounded { .. } => "unbounded",
            Self::Container { .. } => "container",
            Self::NotAForm { .. } => "not_a_form",
            Self::PartHead => "part_head",
            Self::LongName => "long_name",
            Self::FilePart { .. } => "file_part",
            Self::CharsetField => "charset_field",
        }
    }
}
