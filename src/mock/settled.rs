//! `Settled`: a behaviour, and the answers rendered for it. Each shape of answer is rendered when it is
//! first asked for and kept, so that a request only fills in its model.

use std::sync::{Arc, OnceLock};

use http::request::Parts;

use super::{
    answers::{Script, Shape},
    behaviour::Behaviour,
};

/// The most text that one answer may hold. Answers are kept whole in memory, some texts twice.
const TEXT_MAX_BYTES: u64 = 64 << 20;

/// A behaviour that answers can be made of: its text is at most `TEXT_MAX_BYTES` long.
pub(super) struct Settled {
    behaviour: Behaviour,
    scripts: [OnceLock<Script>; Shape::ALL.len()],
}

impl Settled {
    pub(super) fn new(behaviour: Behaviour) -> Result<Self, String> {
        let text = u64::from(behaviour.count.max(1)) * u64::from(behaviour.size);
        if text > TEXT_MAX_BYTES {
            return Err(format!("`count` times `size` is {text} bytes; ask for at most {TEXT_MAX_BYTES}"));
        }
        Ok(Self { behaviour, scripts: Default::default() })
    }

    pub(super) fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// The answer of this shape, rendered at most once.
    pub(super) fn script(&self, shape: Shape) -> &Script {
        self.scripts[shape as usize]
            .get_or_init(|| Script::render(shape, self.behaviour.count, self.behaviour.size))
    }

    /// What applies to one request.
    pub(super) fn for_request(self: &Arc<Self>, head: &Parts) -> Result<Arc<Self>, String> {
        match self.behaviour.overridden(head)? {
            None => Ok(Arc::clone(self)),
            Some(behaviour) => Self::new(behaviour).map(Arc::new),
        }
    }
}
