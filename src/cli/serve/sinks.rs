//! The consumers of finished exchanges, in one list.
//!
//! A sink that needs a task of its own starts it in `serve`, among those that the shutdown waits for, and gets its end of a
//! bounded queue here.

use anyhow::Context as _;

use crate::{
    recorder::{self, Drops, Recorder, Records, Sink},
    settings::Settings,
    telemetry::AccessLog,
};

/// Starts the recorder's thread with all sinks. Returns a recorder for each worker.
pub(super) fn start(
    settings: &Settings,
    workers: usize,
    drops: &Drops,
) -> anyhow::Result<(Vec<Recorder>, Records)> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if settings.access_log {
        sinks.push(Box::new(AccessLog));
    }
    recorder::start(workers, sinks, drops).context("failed to start the recorder's thread")
}
