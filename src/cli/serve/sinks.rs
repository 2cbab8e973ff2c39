//! The consumers of finished exchanges, in one list.
//!
//! A sink that needs a task of its own starts it in `serve`, among those that the shutdown waits for, and gets its end of a
//! bounded queue here.

use anyhow::Context as _;

use crate::{
    recorder::{self, Recorder, Records, Sink},
    settings::Settings,
    telemetry::Log,
};

/// Starts the recorder's thread with these sinks and the access log. Returns a recorder for each worker.
pub(super) fn start(
    settings: &Settings,
    log: &Log,
    mut sinks: Vec<Box<dyn Sink>>,
    workers: usize,
) -> anyhow::Result<(Vec<Recorder>, Records)> {
    // Its lines are of the level `info`.
    if let Some(access_log) = settings.access_log.filter(|_| settings.log >= tracing::Level::INFO) {
        sinks.push(Box::new(log.access_log(access_log)));
    }
    recorder::start(workers, sinks, &log.drops).context("failed to start the recorder's thread")
}
