//! What is known of a body: the one set of rules for keys and values, for JSON and for forms.
//!
//! It guarantees: a place has one value or the body is refused; what is known never changes.

use std::sync::Arc;

use super::{
    MAX_KEY, MAX_MODEL, MAX_OTHER_MODELS, Needs, Unjudgeable,
    name::{is_field_like, is_like},
};
use crate::{
    base::suggest::backticked,
    language::compile::{
        Glob,
        metering::places::{Kind, Place, Places, WHOLE, purposes},
    },
};

/// The findings so far.
#[derive(Debug)]
pub(super) struct Findings {
    places: Arc<Places>,
    /// What is needed: bits of [`purposes`].
    needed: u8,
    is_estimate: bool,
    to_the_end: bool,
    /// The members that have occurred in the object that is read.
    seen: Vec<bool>,
    model: Model,
    other_models: Vec<Box<str>>,
    /// The cap on one answer.
    max_output: Option<u64>,
    /// The number of answers to each prompt, and of prompts.
    answers: u64,
    prompts: u64,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Boolean,
    Number,
    Text,
    Array,
    Object,
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
        Self {
            places,
            needed: needs.purposes(),
            is_estimate: needs.is_estimate,
            to_the_end: needs.to_the_end || needs.bound,
            seen,
            model: Model::Unseen,
            other_models: Vec::new(),
            max_output: None,
            answers: 0,
            prompts: 0,
        }
    }

    /// True if no place is needed.
    pub(super) fn needs_nothing(&self) -> bool {
        self.purposes(WHOLE) == 0
    }

    /// True if all that is needed has come: what follows could add other models alone, and those are judged as they come.
    pub(super) fn are_found(&self) -> bool {
        let purposes = self.purposes(WHOLE);
        let has_model = purposes & purposes::MODEL == 0 || self.model != Model::Unseen;
        let has_max_output = purposes & purposes::MAX_OUTPUT == 0 || self.max_output.is_some();
        has_model && has_max_output && !self.to_the_end
    }

    pub(super) fn model(&self) -> Option<&str> {
        match &self.model {
            Model::Name(name) => Some(name),
            Model::Unseen | Model::Null => None,
        }
    }

    pub(super) fn other_models(&self) -> &[Box<str>] {
        &self.other_models
    }

    /// The cap on all answers.
    pub(super) fn max_output(&self) -> Option<u64> {
        let answers = self.answers.max(1).saturating_mul(self.prompts.max(1));
        self.max_output.map(|cap| cap.saturating_mul(answers))
    }

    /// True if the value of a node has to be read: a string or a number. False if what is within it is read, or nothing.
    pub(super) fn reads(&mut self, node: u16, found: Type) -> Result<bool, Unjudgeable> {
        let kind = self.node(node).kind;
        let is_read = match (kind, found) {
            (Kind::Model, Type::Null) => {
                self.model = Model::Null;
                false
            }
            (_, Type::Null) => false,
            (Kind::Model | Kind::OtherModel, Type::Text)
            | (Kind::MaxOutput | Kind::Answers, Type::Number) => true,
            (Kind::Container, Type::Object) if self.is_object(node) => false,
            (Kind::MaxOutput | Kind::Answers, _) if self.is_estimate => false,
            (Kind::Model | Kind::MaxOutput | Kind::Answers, _) => return Err(self.wrong_type(node)),
            (Kind::Container, _) if self.is_object(node) => return Err(self.wrong_type(node)),
            (Kind::Prompt, Type::Text | Type::Array | Type::Object) => {
                self.prompts = self.prompts.saturating_add(1);
                false
            }
            (Kind::Unbounded(list), Type::Text) if !self.places.harmless(list).is_empty() => true,
            (Kind::Unbounded(_), _) => return Err(self.unbounded(node)),
            (Kind::Container | Kind::OtherModel, found) => {
                self.check_container(node, found)?;
                false
            }
            (Kind::Prompt, _) => false,
        };
        Ok(is_read)
    }

    /// True if nothing but an object may stand at a node.
    fn is_object(&self, node: u16) -> bool {
        let strict = self.node(node).strict & self.needed;
        strict & !purposes::MAX_OUTPUT != 0 || strict != 0 && !self.is_estimate
    }

    /// Refuses a value that some upstreams may take for a list of itself, or for the only element of a list. A text where a list may
    /// stand is none, but for models.
    fn check_container(&self, node: u16, found: Type) -> Result<(), Unjudgeable> {
        let place = self.node(node);
        let leads_on = match found {
            Type::Object => !place.members.is_empty(),
            Type::Array => place.elements.is_some(),
            Type::Null => true,
            Type::Boolean | Type::Number | Type::Text => self.purposes(node) & purposes::OTHER_MODELS == 0,
        };
        if leads_on { Ok(()) } else { Err(Unjudgeable::Container { name: place.shown.clone() }) }
    }

    /// Enters a container that is the value of a node. True if it leads on to a place.
    pub(super) fn enter(&mut self, node: u16, is_array: bool) -> bool {
        if is_array {
            return self.element(node).is_some();
        }
        let Self { places, seen, needed, .. } = self;
        let mut leads_on = false;
        for member in &places.nodes()[usize::from(node)].members {
            seen[usize::from(*member)] = false;
            leads_on |= places.nodes()[usize::from(*member)].purposes & *needed != 0;
        }
        leads_on
    }

    /// The node of the elements of an array.
    pub(super) fn element(&self, array: u16) -> Option<u16> {
        self.node(array).elements.filter(|elements| self.purposes(*elements) != 0)
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
        if let Some(node) = self.child(WHOLE, |name| name == field) {
            let Place { kind, strict, .. } = self.node(node);
            if *kind == Kind::Container {
                let refused = (strict | purposes::OTHER_MODELS) & self.purposes(node) != 0;
                return if refused { Err(self.not_an_object(node)) } else { Ok(None) };
            }
            return self.see(node);
        }
        self.refuse_like(self.child(WHOLE, |name| is_field_like(field, name)))
    }

    /// The text of a place: a string, the digits of a number, or the value of a field.
    pub(super) fn set(&mut self, node: u16, text: &str) -> Result<(), Unjudgeable> {
        match self.node(node).kind {
            Kind::Model => {
                self.model = Model::Name(model_name(text)?.into());
                Ok(())
            }
            Kind::OtherModel if self.other_models.len() == MAX_OTHER_MODELS => {
                Err(Unjudgeable::TooManyModels { name: self.shown(node) })
            }
            Kind::OtherModel => {
                self.other_models.push(model_name(text)?.into());
                Ok(())
            }
            Kind::MaxOutput => {
                let value = match self.whole_number(node, text) {
                    Err(_) if self.is_estimate => return Ok(()),
                    value => value?,
                };
                if self.max_output.is_some_and(|known| known != value) && !self.is_estimate {
                    return Err(Unjudgeable::TwoMaxOutputs);
                }
                self.max_output = self.max_output.max(Some(value));
                Ok(())
            }
            Kind::Answers => {
                let answers = match self.whole_number(node, text) {
                    Err(_) if self.is_estimate => return Ok(()),
                    answers => answers?,
                };
                self.answers = self.answers.max(answers);
                Ok(())
            }
            Kind::Prompt => {
                self.prompts = self.prompts.saturating_add(1);
                Ok(())
            }
            Kind::Unbounded(list) if self.places.harmless(list).iter().any(|glob| glob.matches(text)) => {
                Ok(())
            }
            Kind::Unbounded(_) => Err(self.unbounded(node)),
            Kind::Container => Err(self.not_an_object(node)),
        }
    }

    fn whole_number(&self, node: u16, text: &str) -> Result<u64, Unjudgeable> {
        let is_canonical = text == "0" || !text.starts_with('0');
        let is_good = is_canonical && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = is_good.then(|| text.parse().ok()).flatten();
        value.ok_or_else(|| self.wrong_type(node))
    }

    /// The error of a place whose value has another type.
    pub(super) fn wrong_type(&self, node: u16) -> Unjudgeable {
        match self.node(node).kind {
            Kind::Container | Kind::Prompt => self.not_an_object(node),
            Kind::Model | Kind::OtherModel => Unjudgeable::ModelType,
            Kind::MaxOutput | Kind::Answers => Unjudgeable::MaxOutput { name: self.shown(node) },
            Kind::Unbounded(_) => self.unbounded(node),
        }
    }

    /// The error of a text with more than [`MAX_MODEL`] bytes.
    pub(super) fn too_long(&self, node: u16) -> Unjudgeable {
        match self.node(node).kind {
            Kind::Model | Kind::OtherModel => Unjudgeable::LongModel,
            _ => self.wrong_type(node),
        }
    }

    fn unbounded(&self, node: u16) -> Unjudgeable {
        let harmless = match self.node(node).kind {
            Kind::Unbounded(list) => self.places.harmless(list),
            _ => &[],
        };
        let harmless = backticked(harmless.iter().map(Glob::as_str));
        Unjudgeable::Unbounded { name: self.shown(node), harmless: harmless.into() }
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

    fn node(&self, node: u16) -> &Place {
        &self.places.nodes()[usize::from(node)]
    }

    /// The needs for which a node is read.
    fn purposes(&self, node: u16) -> u8 {
        self.node(node).purposes & self.needed
    }

    fn child(&self, parent: u16, is_it: impl Fn(&str) -> bool) -> Option<u16> {
        let mut members = self.node(parent).members.iter().copied();
        members.find(|member| self.purposes(*member) != 0 && is_it(&self.node(*member).name))
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

/// A name of a model, if no parser takes it for another.
fn model_name(text: &str) -> Result<&str, Unjudgeable> {
    if text.len() > MAX_MODEL {
        return Err(Unjudgeable::LongModel);
    }
    if text.contains(char::is_control) {
        return Err(Unjudgeable::ModelText);
    }
    Ok(text)
}
