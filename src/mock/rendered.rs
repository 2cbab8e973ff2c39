//! A behaviour with a cache of its rendered responses. Each shape is rendered on first use; a request only fills in its
//! model.

use std::sync::{Arc, OnceLock};

use http::request::Parts;

use super::{
    answers::{Script, Shape},
    behaviour::Behaviour,
};

/// Maximum text of one response. Rendered responses stay in memory, some with the text twice.
const TEXT_MAX_BYTES: u64 = 64 << 20;

/// A valid behaviour and its rendered responses. Invariant: the text is at most `TEXT_MAX_BYTES` long.
pub(super) struct Rendered {
    behaviour: Behaviour,
    scripts: [OnceLock<Script>; Shape::ALL.len()],
}

impl Rendered {
    pub(super) fn new(behaviour: Behaviour) -> Result<Self, String> {
        let text = u64::from(behaviour.count.max(1)) * u64::from(behaviour.size);
        if text > TEXT_MAX_BYTES {
            return Err(format!("`count` times `size` is {text} bytes; use at most {TEXT_MAX_BYTES}"));
        }
        Ok(Self { behaviour, scripts: Default::default() })
    }

    pub(super) fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// The response of this shape, rendered at most once.
    pub(super) fn script(&self, shape: Shape) -> &Script {
        self.scripts[shape as usize]
            .get_or_init(|| Script::render(shape, self.behaviour.count, self.behaviour.size))
    }

    /// Applies the overrides of one request.
    pub(super) fn for_request(self: &Arc<Self>, head: &Parts) -> Result<Arc<Self>, String> {
        match self.behaviour.overridden(head)? {
            None => Ok(Arc::clone(self)),
            Some(behaviour) => Self::new(behaviour).map(Arc::new),
        }
    }
}
