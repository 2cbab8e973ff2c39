//! The places of a request's body that limits and rules depend on: the models, the bounds of the answer, and what no bound holds.
//!
//! It guarantees of the model and the bounds of the answer: they lie in objects alone, none lies within another, and no place has
//! two uses. All names are printable ASCII, so that they can be compared safely. Places that cannot be so make the endpoint one
//! that cannot be judged, rather than one that is judged in part.
//!
//! `request::judge` walks the tree. Read next: [`Kind`] for the uses, [`Places::of`].

use super::{Map, Pointer, Step, Target};
use crate::language::compile::glob::Glob;

/// The node of the whole body.
pub const WHOLE: u16 = 0;

/// What places are for, as bits.
pub mod purposes {
    /// The model.
    pub const MODEL: u8 = 1;
    /// Models besides it.
    pub const OTHER_MODELS: u8 = 2;
    /// The bounds of the answer.
    pub const MAX_OUTPUT: u8 = 4;
    /// What no bound holds.
    pub const UNBOUNDED: u8 = 8;
}

/// The places of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The whole body first. A child comes after its parent.
    nodes: Vec<Place>,
    /// The strings that a place of [`Kind::Unbounded`] may have.
    harmless: Vec<Box<[Glob]>>,
}

/// The reason for which an endpoint cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacesProblem {
    /// A pointer has `*`, or a step that may be an index.
    #[error("`{0}` may point into an array: only members of objects can be judged")]
    Array(Box<str>),
    /// A pointer is that of the whole body.
    #[error("the empty pointer stands for the whole body: point to a member of an object")]
    Whole,
    /// A step has other characters than printable ASCII.
    #[error("`{0}` has other characters than printable ASCII: other names cannot be compared safely")]
    Name(Box<str>),
    /// A place is also another one, or lies within it.
    #[error("`{0}` is also another place, or lies within one: each place needs a value of its own")]
    Nested(Box<str>),
    /// There are several pointers of the model.
    #[error("`{0}` is a second place of the model: only one can be judged")]
    SeveralModels(Box<str>),
}

/// A place, or a container on the way to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The last step of its pointer; `*` for the elements of an array.
    pub name: Box<str>,
    /// Its pointer, without the first slash.
    pub shown: Box<str>,
    /// Its use.
    pub kind: Kind,
    /// The [`purposes`] for which nothing but an object, or the value of the place, may stand here.
    pub strict: u8,
    /// All [`purposes`] of what is here or below.
    pub purposes: u8,
    /// The members that lead on.
    pub members: Vec<u16>,
    /// The elements, if they lead on.
    pub elements: Option<u16>,
}

/// The use of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A container on the way.
    Container,
    /// The model: a string.
    Model,
    /// A model that the upstream may call besides the first, or in its place: a string. Other values are none.
    OtherModel,
    /// The greatest number of tokens of an answer: a whole number.
    MaxOutput,
    /// The number of answers to a prompt: a whole number.
    Answers,
    /// A prompt, which is answered by itself. A number is a part of one.
    Prompt,
    /// A value that lets the request use more tokens than its size and the bounds of the answer say. The number of the list of
    /// strings that do not.
    Unbounded(u16),
}

impl Kind {
    fn purpose(self) -> u8 {
        match self {
            Self::Container => 0,
            Self::Model => purposes::MODEL,
            Self::OtherModel => purposes::OTHER_MODELS,
            Self::MaxOutput | Self::Answers | Self::Prompt => purposes::MAX_OUTPUT,
            Self::Unbounded(_) => purposes::UNBOUNDED,
        }
    }

    fn is_strict(self) -> bool {
        matches!(self, Self::Model | Self::MaxOutput | Self::Answers)
    }
}

impl Places {
    /// No place.
    pub fn none() -> Self {
        Self { nodes: vec![Place::new("", "/")], harmless: Vec::new() }
    }

    /// The places of requests with such pointers.
    pub fn of(request: &Map) -> Result<Self, PlacesProblem> {
        let mut places = Self::none();
        let mut known: Vec<(&Pointer, Kind)> = Vec::new();
        for entry in request.entries() {
            let kind = match &entry.target {
                Target::Model => Kind::Model,
                Target::OtherModel => Kind::OtherModel,
                Target::MaxOutput => Kind::MaxOutput,
                Target::Answers => Kind::Answers,
                Target::Prompts => Kind::Prompt,
                Target::Other => Kind::Unbounded(places.list(&[])),
                Target::Unbounded(harmless) => Kind::Unbounded(places.list(harmless)),
                Target::Count(_)
                | Target::Plus(_)
                | Target::Id
                | Target::FinishReason
                | Target::Error
                | Target::Stream
                | Target::Text
                | Target::Content
                | Target::Prompt(_)
                | Target::Parameter(_)
                | Target::Mark(_) => continue,
            };
            if known.contains(&(&entry.pointer, kind)) {
                continue;
            }
            if kind == Kind::Model && known.iter().any(|(_, known)| *known == Kind::Model) {
                return Err(PlacesProblem::SeveralModels(entry.pointer.as_str().into()));
            }
            places.add(&entry.pointer, kind)?;
            known.push((&entry.pointer, kind));
        }
        Ok(places)
    }

    /// The pointer of each place of this kind, without its first slash.
    pub fn each(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter(move |node| node.kind == kind).map(|node| &*node.shown)
    }

    /// The names that models would have in a query: the key of the model, and those of the whole body that lead to others.
    pub fn model_keys(&self) -> impl Iterator<Item = &str> {
        let model = self.nodes.iter().filter(|node| node.kind == Kind::Model);
        let members = self.nodes[usize::from(WHOLE)].members.iter();
        let others = members.map(|member| &self.nodes[usize::from(*member)]);
        let others = others.filter(|node| node.purposes & purposes::OTHER_MODELS != 0);
        model.chain(others).map(|node| &*node.name)
    }

    /// The whole body first. A child comes after its parent.
    pub fn nodes(&self) -> &[Place] {
        &self.nodes
    }

    /// The strings that a place of [`Kind::Unbounded`] may have.
    pub fn harmless(&self, list: u16) -> &[Glob] {
        &self.harmless[usize::from(list)]
    }

    /// The number of a list of strings.
    fn list(&mut self, harmless: &[Box<str>]) -> u16 {
        let list: Box<[Glob]> = harmless.iter().map(|text| Glob::new(text)).collect();
        let known = self.harmless.iter().position(|known| *known == list);
        let number = known.unwrap_or_else(|| {
            self.harmless.push(list);
            self.harmless.len() - 1
        });
        u16::try_from(number).expect("pointers are bounded")
    }

    fn add(&mut self, pointer: &Pointer, kind: Kind) -> Result<(), PlacesProblem> {
        let text = pointer.as_str();
        if pointer.steps().is_empty() {
            return Err(PlacesProblem::Whole);
        }
        let mut at = WHOLE;
        // No purpose reads a body that is no object.
        self.mark(at, kind, true);
        for step in pointer.steps() {
            let name = name(step, text)?;
            if name.is_none() && kind.is_strict() {
                return Err(PlacesProblem::Array(text.into()));
            }
            let node = &self.nodes[usize::from(at)];
            // An unbounded value is one whatever it has within it.
            if matches!(node.kind, Kind::Unbounded(_)) && !kind.is_strict() {
                return Ok(());
            }
            if node.kind.is_strict() || node.kind != Kind::Container && kind.is_strict() {
                return Err(PlacesProblem::Nested(text.into()));
            }
            // What is an object for one place is no array for another.
            if node.strict != 0 && name.is_none() || node.elements.is_some() && kind.is_strict() {
                return Err(PlacesProblem::Array(text.into()));
            }
            at = self.child(at, name);
            self.mark(at, kind, kind.is_strict());
        }
        let node = &mut self.nodes[usize::from(at)];
        let is_leaf = node.members.is_empty() && node.elements.is_none();
        if node.kind != Kind::Container || kind.is_strict() && !is_leaf {
            return Err(PlacesProblem::Nested(text.into()));
        }
        node.kind = kind;
        Ok(())
    }

    fn mark(&mut self, at: u16, kind: Kind, is_strict: bool) {
        let node = &mut self.nodes[usize::from(at)];
        node.purposes |= kind.purpose();
        if is_strict {
            node.strict |= kind.purpose();
        }
    }

    /// The member of that name, or the elements.
    fn child(&mut self, parent: u16, name: Option<&str>) -> u16 {
        let of = &self.nodes[usize::from(parent)];
        let known = match name {
            Some(name) => {
                of.members.iter().copied().find(|child| *self.nodes[usize::from(*child)].name == *name)
            }
            None => of.elements,
        };
        known.unwrap_or_else(|| {
            let number = u16::try_from(self.nodes.len()).expect("pointers and their steps are bounded");
            let of = &mut self.nodes[usize::from(parent)];
            match name {
                Some(_) => of.members.push(number),
                None => of.elements = Some(number),
            }
            let name = name.unwrap_or("*");
            let shown = if parent == WHOLE { name.to_owned() } else { format!("{}/{name}", of.shown) };
            self.nodes.push(Place::new(name, &shown));
            number
        })
    }
}

impl Place {
    fn new(name: &str, shown: &str) -> Self {
        Self {
            name: name.into(),
            shown: shown.into(),
            kind: Kind::Container,
            strict: 0,
            purposes: 0,
            members: Vec::new(),
            elements: None,
        }
    }
}

/// The name of a step, if it can be judged. None for elements.
fn name<'s>(step: &'s Step, pointer: &str) -> Result<Option<&'s str>, PlacesProblem> {
    let Step::Name(name) = step else { return Ok(None) };
    if step.index().is_some() {
        return Err(PlacesProblem::Array(pointer.into()));
    }
    if name.is_empty() || !name.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(PlacesProblem::Name(pointer.into()));
    }
    Ok(Some(name))
}
