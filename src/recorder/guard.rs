//! A guard around each sink: a panic in one costs that sink some records, and nothing else. It is counted, and reported in
//! the status; a sink that panics again and again is turned off.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{DropCount, Drops, NamedSink, Sink};
use crate::numbers::counted;

/// Panics after which a sink is off until the process restarts.
const MAX_PANICS: usize = 10;

/// Panics of sinks since the process started.
#[derive(Debug, Clone, Default)]
pub struct SinkProblems(Arc<Mutex<BTreeMap<String, usize>>>);

impl SinkProblems {
    /// The problem of each sink that has one.
    pub fn get(&self) -> BTreeMap<String, String> {
        self.lock().iter().map(|(name, panics)| (name.clone(), problem(*panics))).collect()
    }

    fn add(&self, name: &str) -> usize {
        let mut panics = self.lock();
        let panics = panics.entry(name.to_owned()).or_default();
        *panics += 1;
        *panics
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn problem(panics: usize) -> String {
    let state = if panics < MAX_PANICS { "on" } else { "off until a restart" };
    format!("panicked {} since the start, see the log; it is {state}", counted(panics, "time"))
}

/// A sink with its guard.
pub(super) struct Guarded {
    name: String,
    sink: Box<dyn Sink>,
    problems: SinkProblems,
    /// Records that the sink did not take, or not wholly.
    lost: DropCount,
    is_off: bool,
}

impl Guarded {
    pub(super) fn new((name, sink): NamedSink, drops: &Drops) -> Self {
        let (problems, lost) = (drops.sinks.clone(), drops.queue(&format!("sink.{name}")));
        Self { name, sink, problems, lost, is_off: false }
    }

    pub(super) fn wants_content(&self) -> bool {
        self.sink.wants_content()
    }

    /// Runs the sink for so many records.
    pub(super) fn run(&mut self, records: usize, work: impl FnOnce(&mut dyn Sink)) {
        if !self.is_off && self.catch(work) {
            return;
        }
        self.lost.add(records as u64);
    }

    /// Runs the end of the sink, also if it is off: its task waits for that.
    pub(super) fn close(&mut self) {
        self.catch(|sink| sink.close());
    }

    /// False after a panic.
    fn catch(&mut self, work: impl FnOnce(&mut dyn Sink)) -> bool {
        let sink = &mut *self.sink;
        if catch_unwind(AssertUnwindSafe(|| work(sink))).is_ok() {
            return true;
        }
        let panics = self.problems.add(&self.name);
        self.is_off = panics >= MAX_PANICS;
        let (sink, is_off) = (&self.name, self.is_off);
        tracing::error!(sink, panics, is_off, "a consumer of finished exchanges panicked: it lost records");
        false
    }
}
