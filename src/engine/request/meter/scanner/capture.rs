//! Captured JSON values, for exporters: prompts and parameters of a request. Bounded.

use crate::language::compile::metering::{Map, Node, Target, reads};

/// The most bytes of a captured value and of all prompts.
const MAX_PROMPT: usize = 512 * 1024;
/// The most bytes of a parameter; a longer one is left out.
const MAX_PARAMETER: usize = 256;

/// A captured value.
#[derive(Debug)]
pub(in crate::request::meter) struct Captured {
    /// The number of its entry in the map.
    pub(in crate::request::meter) entry: u16,
    /// Its bytes, as they came.
    pub(in crate::request::meter) bytes: Vec<u8>,
    /// True if it was too long.
    pub(in crate::request::meter) is_cut: bool,
    /// True if it is a part of the prompt, and no parameter.
    pub(in crate::request::meter) is_prompt: bool,
}

/// A value whose end has not come.
#[derive(Debug)]
struct Open {
    value: Captured,
    /// The number of containers around it.
    depth: usize,
    /// Its start in the piece at hand.
    from: usize,
    /// The most bytes.
    most: usize,
}

#[derive(Debug)]
pub(super) struct Captures {
    prompts: bool,
    /// Bytes that prompts may still take.
    left: usize,
    open: Vec<Open>,
    done: Vec<Captured>,
}

impl Captures {
    pub(super) fn new(prompts: bool) -> Self {
        Self { prompts, left: MAX_PROMPT, open: Vec::new(), done: Vec::new() }
    }

    /// The start of a value.
    #[inline]
    pub(super) fn open(&mut self, map: &Map, node: &Node, depth: usize, at: usize) {
        if node.reads & reads::JSON != 0 {
            self.open_entries(map, node, depth, at);
        }
    }

    #[cold]
    fn open_entries(&mut self, map: &Map, node: &Node, depth: usize, from: usize) {
        for entry in &node.entries {
            let (most, is_prompt) = match &map.entries()[usize::from(*entry)].target {
                // A prompt within another would take its bytes twice.
                Target::Prompt(_) if self.prompts && !self.open.iter().any(|open| open.value.is_prompt) => {
                    (self.left, true)
                }
                Target::Parameter(_) => (MAX_PARAMETER, false),
                _ => continue,
            };
            let value = Captured { entry: *entry, bytes: Vec::new(), is_cut: false, is_prompt };
            self.open.push(Open { value, depth, from, most });
        }
    }

    /// The end of a value.
    #[inline]
    pub(super) fn close(&mut self, depth: usize, bytes: &[u8], end: usize) {
        if !self.open.is_empty() {
            self.close_entries(depth, bytes, end);
        }
    }

    #[cold]
    fn close_entries(&mut self, depth: usize, bytes: &[u8], end: usize) {
        while let Some(mut open) = self.open.pop_if(|open| open.depth == depth) {
            open.take(bytes, end);
            if open.value.is_prompt {
                self.left -= open.value.bytes.len();
            }
            // Of a repeated key, the last value counts.
            self.done.retain(|done| done.entry != open.value.entry);
            self.done.push(open.value);
        }
    }

    /// Keeps what the piece at hand has of open values.
    #[inline]
    pub(super) fn carry(&mut self, bytes: &[u8], end: usize) {
        for open in &mut self.open {
            open.take(bytes, end);
            open.from = 0;
        }
    }

    pub(super) fn abandon(&mut self) {
        self.open.clear();
    }

    /// Bytes of prompts.
    pub(super) fn prompt_bytes(&self) -> usize {
        let open = self.open.iter().map(|open| &open.value);
        open.chain(&self.done).filter(|value| value.is_prompt).map(|value| value.bytes.len()).sum()
    }

    /// Drops prompts, and captures no further ones.
    pub(super) fn drop_prompts(&mut self) {
        self.prompts = false;
        self.open.retain(|open| !open.value.is_prompt);
        self.done.retain(|value| !value.is_prompt);
    }

    pub(super) fn into_done(self) -> Vec<Captured> {
        self.done
    }
}

impl Open {
    fn take(&mut self, bytes: &[u8], end: usize) {
        let part = bytes.get(self.from..end).unwrap_or_default();
        let room = self.most - self.value.bytes.len();
        self.value.is_cut |= part.len() > room;
        self.value.bytes.extend_from_slice(&part[..part.len().min(room)]);
    }
}
