//! JSON pointers: RFC 6901, with `*` for every element of an array.

use core::fmt;

/// The greatest number of steps of a pointer.
pub const MAX_STEPS: usize = 16;
/// The greatest length of a step, in bytes.
pub const MAX_STEP: usize = 64;

/// A JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: Box<str>,
    steps: Vec<Step>,
}

/// A step of a pointer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Every element of an array.
    Every,
    /// A member of an object; a number is an element of an array, too.
    Name(Box<str>),
}

impl Step {
    /// The index of an array's element: digits without leading zeros.
    pub fn index(&self) -> Option<u32> {
        let Self::Name(name) = self else { return None };
        let canonical = **name == *"0" || !name.starts_with('0');
        (canonical && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok()).flatten()
    }
}

/// The reason for which a text is no pointer of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerProblem {
    /// It does not start with `/`.
    #[error("a JSON pointer starts with `/`")]
    NoSlash,
    /// `~` stands for itself.
    #[error("in a JSON pointer, `~` is written as `~0`, and `/` within a key as `~1`")]
    Escape,
    /// A step is written as in `JSONPath`.
    #[error("a JSON pointer has no brackets: an element is written `/0`, and every element `/*`")]
    Brackets,
    /// It has too many steps.
    #[error("a JSON pointer has at most {MAX_STEPS} steps")]
    TooDeep,
    /// A step is too long.
    #[error("a step of a JSON pointer has at most {MAX_STEP} bytes")]
    LongStep,
    /// The map has too many.
    #[error("at most {} JSON pointers can be read from one kind of document", super::MAX_POINTERS)]
    TooMany,
    /// Indexes and `*` are mixed too much.
    #[error("the JSON pointers mix `*` and indexes in too many ways")]
    TooMixed,
    /// `*` selects several values, where one is needed.
    #[error("this JSON pointer stands for one value, so it has no `*`")]
    Several,
}

impl Pointer {
    /// Parses a pointer.
    pub fn parse(text: &str) -> Result<Self, PointerProblem> {
        let mut steps = Vec::new();
        if !text.is_empty() {
            for written in text.strip_prefix('/').ok_or(PointerProblem::NoSlash)?.split('/') {
                if steps.len() == MAX_STEPS {
                    return Err(PointerProblem::TooDeep);
                }
                steps.push(step(written)?);
            }
        }
        Ok(Self { text: text.into(), steps })
    }

    /// Parses a pointer without `*`.
    pub fn parse_single(text: &str) -> Result<Self, PointerProblem> {
        let pointer = Self::parse(text)?;
        if pointer.steps.contains(&Step::Every) { Err(PointerProblem::Several) } else { Ok(pointer) }
    }

    /// The pointer as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if the value there has that of the other pointer within it, or is it.
    pub fn contains(&self, other: &Self) -> bool {
        other.steps.starts_with(&self.steps)
    }

    /// Its steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// True for a step that ends in an index of `JSONPath`: `[*]`, `[0]`, `[]`.
fn is_bracketed(written: &str) -> bool {
    let inner = written.strip_suffix(']').and_then(|front| front.rsplit_once('[')).map(|(_, inner)| inner);
    inner.is_some_and(|inner| inner == "*" || inner.bytes().all(|byte| byte.is_ascii_digit()))
}

fn step(written: &str) -> Result<Step, PointerProblem> {
    if written == "*" {
        return Ok(Step::Every);
    }
    if written.len() > MAX_STEP {
        return Err(PointerProblem::LongStep);
    }
    if is_bracketed(written) {
        return Err(PointerProblem::Brackets);
    }
    let escapes = written.split('~').skip(1);
    if !escapes.into_iter().all(|rest| rest.starts_with(['0', '1'])) {
        return Err(PointerProblem::Escape);
    }
    Ok(Step::Name(written.replace("~1", "/").replace("~0", "~").into()))
}
