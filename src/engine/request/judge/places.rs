//! The places of a body that are judged: the model, and the caps on the output.
//!
//! It guarantees: they lie in objects alone, none lies within another, and their names are printable ASCII. A place of any
//! other kind makes the endpoint one that cannot be judged, rather than one that is judged in part.

use crate::language::compile::metering::{Metering, Pointer, Step, Target};

/// The node of the whole body.
pub(super) const ROOT: u16 = 0;

/// The places of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    model: Option<Pointer>,
    max_output: Vec<Pointer>,
    /// The root first. A child comes after its parent.
    nodes: Vec<Node>,
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

/// A place, or an object on the way to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// The last step of its pointer.
    pub(super) name: Box<str>,
    /// Its pointer, without the first slash.
    pub(super) shown: Box<str>,
    pub(super) kind: Kind,
    /// The model is here or below.
    pub(super) has_model: bool,
    /// A cap on the output is here or below.
    pub(super) has_max_output: bool,
    pub(super) children: Vec<u16>,
}

/// The use of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An object on the way.
    Object,
    Model,
    MaxOutput,
}

impl Places {
    /// No place.
    pub fn none() -> Self {
        Self { model: None, max_output: Vec::new(), nodes: vec![Node::new("", "/", Kind::Object)] }
    }

    /// The places of an endpoint's request.
    pub fn of(metering: &Metering) -> Result<Self, PlacesProblem> {
        let mut places = Self::none();
        for entry in metering.request.entries() {
            match entry.target {
                Target::Model if places.model.as_ref() == Some(&entry.pointer) => {}
                Target::Model => places.add_model(&entry.pointer)?,
                Target::MaxOutput if places.max_output.contains(&entry.pointer) => {}
                Target::MaxOutput => {
                    places.add(&entry.pointer, Kind::MaxOutput)?;
                    places.max_output.push(entry.pointer.clone());
                }
                Target::Count(_)
                | Target::Plus(_)
                | Target::Id
                | Target::FinishReason
                | Target::Error
                | Target::Stream
                | Target::Text
                | Target::Other
                | Target::Content
                | Target::Prompt(_)
                | Target::Parameter(_)
                | Target::Mark(_) => {}
            }
        }
        Ok(places)
    }

    /// The place of the model. None: it stands in the path, or the api file has none.
    pub fn model(&self) -> Option<&Pointer> {
        self.model.as_ref()
    }

    /// The places of caps on the output.
    pub fn max_output(&self) -> &[Pointer] {
        &self.max_output
    }

    /// The key of the model.
    pub(super) fn model_name(&self) -> Option<&str> {
        self.nodes.iter().find(|node| node.kind == Kind::Model).map(|node| &*node.name)
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn add_model(&mut self, pointer: &Pointer) -> Result<(), PlacesProblem> {
        if self.model.is_some() {
            return Err(PlacesProblem::SeveralModels(pointer.as_str().into()));
        }
        self.add(pointer, Kind::Model)?;
        self.model = Some(pointer.clone());
        Ok(())
    }

    fn add(&mut self, pointer: &Pointer, kind: Kind) -> Result<(), PlacesProblem> {
        let text = pointer.as_str();
        let mut at = ROOT;
        let mut is_new = false;
        let mut shown = String::new();
        self.mark(at, kind);
        for (place, step) in pointer.steps().iter().enumerate() {
            let name = name(step, text)?;
            if self.nodes[usize::from(at)].kind != Kind::Object {
                return Err(PlacesProblem::Nested(text.into()));
            }
            if place > 0 {
                shown.push('/');
            }
            shown.push_str(name);
            let mut children = self.nodes[usize::from(at)].children.iter().copied();
            let known = children.find(|child| *self.nodes[usize::from(*child)].name == *name);
            is_new = known.is_none();
            at = known.unwrap_or_else(|| self.child(at, name, &shown));
            self.mark(at, kind);
        }
        if at == ROOT {
            return Err(PlacesProblem::Whole);
        }
        if !is_new {
            return Err(PlacesProblem::Nested(text.into()));
        }
        self.nodes[usize::from(at)].kind = kind;
        Ok(())
    }

    fn mark(&mut self, at: u16, kind: Kind) {
        let node = &mut self.nodes[usize::from(at)];
        node.has_model |= kind == Kind::Model;
        node.has_max_output |= kind == Kind::MaxOutput;
    }

    fn child(&mut self, parent: u16, name: &str, shown: &str) -> u16 {
        let number = u16::try_from(self.nodes.len()).expect("pointers and their steps are bounded");
        self.nodes[usize::from(parent)].children.push(number);
        self.nodes.push(Node::new(name, shown, Kind::Object));
        number
    }
}

impl Node {
    fn new(name: &str, shown: &str, kind: Kind) -> Self {
        let (name, shown) = (name.into(), shown.into());
        Self { name, shown, kind, has_model: false, has_max_output: false, children: Vec::new() }
    }
}

/// The name of a step, if it can be judged.
fn name<'s>(step: &'s Step, pointer: &str) -> Result<&'s str, PlacesProblem> {
    let Step::Name(name) = step else { return Err(PlacesProblem::Array(pointer.into())) };
    if step.index().is_some() {
        return Err(PlacesProblem::Array(pointer.into()));
    }
    if name.is_empty() || !name.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(PlacesProblem::Name(pointer.into()));
    }
    Ok(name)
}
