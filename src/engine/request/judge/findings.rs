//! What is known of a body: the one set of rules for keys and values, for JSON and for forms.
//!
//! It guarantees: a place has one value or the body is refused; what is known never changes.

use std::sync::Arc;

use super::{
    MAX_KEY, MAX_MODEL, Needs, Unjudgeable,
    name::{is_field_like, is_like},
    places::{Kind, Node, Places, ROOT},
};

/// The findings so far.
#[derive(Debug)]
pub(super) struct Findings {
    places: Arc<Places>,
    needs: Needs,
    /// The nodes that have occurred.
    seen: Vec<bool>,
    model: Model,
    max_output: Option<u64>,
}

/// The model so far.
#[derive(Debug, PartialEq, Eq)]
enum Model {
    Unseen,
    Null,
    Name(Box<str>),
}

impl Findings {
    pub(super) fn new(places: Arc<Places>, needs: Needs) -> Self {
        let seen = vec![false; places.nodes().len()];
        Self { places, needs, seen, model: Model::Unseen, max_output: None }
    }

    /// True if no place is needed.
    pub(super) fn needs_nothing(&self) -> bool {
        !self.is_needed(self.node(ROOT))
    }

    /// True if all that is needed has come.
    pub(super) fn are_found(&self) -> bool {
        let root = self.node(ROOT);
        let has_model = !(self.needs.model && root.has_model) || self.model != Model::Unseen;
        let has_max_output = !(self.needs.max_output && root.has_max_output) || self.max_output.is_some();
        has_model && has_max_output
    }

    pub(super) fn model(&self) -> Option<&str> {
        match &self.model {
            Model::Name(name) => Some(name),
            Model::Unseen | Model::Null => None,
        }
    }

    pub(super) fn max_output(&self) -> Option<u64> {
        self.max_output
    }

    pub(super) fn kind(&self, node: u16) -> Kind {
        self.node(node).kind
    }

    /// The node of a key of an object. Without `is_whole`, it goes on.
    pub(super) fn key(&mut self, parent: u16, key: &str, is_whole: bool) -> Result<Option<u16>, Unjudgeable> {
        if is_whole && let Some(node) = self.child(parent, |name| name == key) {
            return self.see(node);
        }
        if !is_whole && !key.contains('\0') {
            return Ok(None);
        }
        self.refuse_like(self.child(parent, |name| is_like(key, name)))
    }

    /// The node of a field of a form.
    pub(super) fn field(&mut self, field: &str) -> Result<Option<u16>, Unjudgeable> {
        if field.len() > MAX_KEY {
            return Err(Unjudgeable::LongName);
        }
        if is_field_like(field, "_charset_") || field == "_charset_" {
            return Err(Unjudgeable::CharsetField);
        }
        if let Some(node) = self.child(ROOT, |name| name == field) {
            if self.kind(node) == Kind::Object {
                return Err(self.not_an_object(node));
            }
            return self.see(node);
        }
        self.refuse_like(self.child(ROOT, |name| is_field_like(field, name)))
    }

    /// The value of a place is null.
    pub(super) fn null(&mut self, node: u16) {
        if self.kind(node) == Kind::Model {
            self.model = Model::Null;
        }
    }

    /// The text of a place, in a form.
    pub(super) fn set_text(&mut self, node: u16, text: &str) -> Result<(), Unjudgeable> {
        match self.kind(node) {
            Kind::Model => self.set_model(text),
            Kind::MaxOutput => self.set_max_output(node, text),
            Kind::Object => Err(self.not_an_object(node)),
        }
    }

    /// The value of the model.
    pub(super) fn set_model(&mut self, name: &str) -> Result<(), Unjudgeable> {
        if name.len() > MAX_MODEL {
            return Err(Unjudgeable::LongModel);
        }
        if name.contains(char::is_control) {
            return Err(Unjudgeable::ModelText);
        }
        self.model = Model::Name(name.into());
        Ok(())
    }

    /// The text of a cap.
    pub(super) fn set_max_output(&mut self, node: u16, text: &str) -> Result<(), Unjudgeable> {
        let is_canonical = text == "0" || !text.starts_with('0');
        let is_good = is_canonical && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = is_good.then(|| text.parse().ok()).flatten();
        let value = value.ok_or_else(|| self.wrong_type(node))?;
        if self.max_output.is_some_and(|known| known != value) {
            return Err(Unjudgeable::TwoMaxOutputs);
        }
        self.max_output = Some(value);
        Ok(())
    }

    /// The error of a place whose value has another type.
    pub(super) fn wrong_type(&self, node: u16) -> Unjudgeable {
        match self.kind(node) {
            Kind::Object => self.not_an_object(node),
            Kind::Model => Unjudgeable::ModelType,
            Kind::MaxOutput => Unjudgeable::MaxOutput { name: self.shown(node) },
        }
    }

    /// The error of a text with more than [`MAX_MODEL`] bytes.
    pub(super) fn too_long(&self, node: u16) -> Unjudgeable {
        if self.kind(node) == Kind::Model { Unjudgeable::LongModel } else { self.wrong_type(node) }
    }

    /// The error of a field that is no plain text.
    pub(super) fn no_text(&self, node: u16) -> Unjudgeable {
        Unjudgeable::FilePart { name: self.shown(node) }
    }

    fn not_an_object(&self, node: u16) -> Unjudgeable {
        Unjudgeable::NotAnObject { name: self.shown(node) }
    }

    fn shown(&self, node: u16) -> Box<str> {
        self.node(node).shown.clone()
    }

    fn node(&self, node: u16) -> &Node {
        &self.places.nodes()[usize::from(node)]
    }

    fn is_needed(&self, node: &Node) -> bool {
        (self.needs.model && node.has_model) || (self.needs.max_output && node.has_max_output)
    }

    fn child(&self, parent: u16, is_it: impl Fn(&str) -> bool) -> Option<u16> {
        let mut children = self.node(parent).children.iter().copied();
        children.find(|child| {
            let node = self.node(*child);
            self.is_needed(node) && is_it(&node.name)
        })
    }

    fn see(&mut self, node: u16) -> Result<Option<u16>, Unjudgeable> {
        if std::mem::replace(&mut self.seen[usize::from(node)], true) {
            return Err(Unjudgeable::Twice { name: self.shown(node) });
        }
        Ok(Some(node))
    }

    fn refuse_like(&self, like: Option<u16>) -> Result<Option<u16>, Unjudgeable> {
        like.map_or(Ok(None), |node| Err(Unjudgeable::LookAlike { name: self.shown(node) }))
    }
}
