//! The consumers of finished exchanges, in one list: access log, metrics, usage ledger, exporters.
//!
//! A sink that needs a task or thread of its own starts it here; `lifecycle` waits for all of them.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinHandle;

use crate::{
    compile::price_boundary,
    day::Day,
    exporters::{Deliveries, Exporters},
    files::Live,
    ledger::{self, IsListed, PriceTier, Retention},
    metrics::{self, Metrics, Sources},
    recorder::{self, NamedSink, Recorder, Records},
    settings::Settings,
    store::Store,
    telemetry::Log,
    traffic::Traffic,
    upstream,
};

/// The parts of the server that sinks use.
pub(super) struct Inputs<'s> {
    pub(super) settings: &'s Settings,
    pub(super) log: &'s Log,
    pub(super) store: &'s Store,
    /// The sources of gauges.
    pub(super) sources: Sources,
    /// The figures that the overview shows.
    pub(super) traffic: &'s Traffic,
    pub(super) exporters: Exporters,
    pub(super) upstream: &'s Arc<upstream::Shared>,
    /// The number of workers.
    pub(super) workers: usize,
}

/// The running sinks.
pub(super) struct Sinks {
    /// One for each worker.
    pub(super) recorders: Vec<Recorder>,
    /// The thread that hands records to the sinks.
    pub(super) records: Records,
    /// Answers scrapes.
    pub(super) metrics: Metrics,
    /// Ends with the thread that makes metrics.
    pub(super) scrapes: JoinHandle<()>,
    /// The tasks of exporters.
    pub(super) deliveries: Deliveries,
    /// The task that writes the usage ledger.
    pub(super) usage: JoinHandle<()>,
}

/// Starts all sinks.
#[expect(clippy::disallowed_methods, reason = "`lifecycle` waits for the tasks")]
pub(super) async fn start(inputs: Inputs<'_>) -> anyhow::Result<Sinks> {
    let Inputs { settings, log, store, sources, traffic, exporters, upstream, workers } = inputs;
    let tier = price_tier(sources.live.clone());
    let is_listed = is_listed(sources.live.clone());
    let (ledger, usage) =
        ledger::start(store.clone(), retention(settings), tier, is_listed, &sources.ledger).await;
    let adding = traffic.sink(sources.live.clone());
    let (metrics, counting, scrapes) = metrics::start(settings.metrics.clone(), sources)
        .context("failed to start the thread for metrics")?;
    // The ledger comes first: what delays another sink delays no sum.
    let mut sinks: Vec<NamedSink> = vec![
        ("ledger".to_owned(), Box::new(ledger)),
        ("metrics".to_owned(), counting),
        ("traffic".to_owned(), adding),
    ];
    // Its lines are of the level `info`.
    if let Some(access_log) = settings.access_log.filter(|_| settings.log >= tracing::Level::INFO) {
        sinks.push(("access_log".to_owned(), Box::new(log.access_log(access_log))));
    }
    let (exporting, deliveries) = exporters.start(upstream);
    sinks.extend(exporting);
    let ratios = ledger::learned_ratios(store).await;
    let (recorders, records) = recorder::start(workers, sinks, ratios, &log.drops)
        .context("failed to start the recorder's thread")?;
    let (scrapes, usage) = (tokio::spawn(scrapes), tokio::spawn(usage));
    Ok(Sinks { recorders, records, metrics, scrapes, deliveries, usage })
}

fn retention(settings: &Settings) -> Retention {
    Retention { roll_ups: settings.usage_retention, exchanges: settings.usage_detail_retention }
}

/// The models that price files list by name, by those that serve at that moment.
fn is_listed(live: Arc<Live>) -> IsListed {
    Box::new(move |provider, model| live.snapshot().prices.is_listed(provider, model))
}

/// The boundaries of prompts, with those of the prices that serve at that moment.
fn price_tier(live: Arc<Live>) -> PriceTier {
    Box::new(move |provider, model, day, tokens| {
        let (table, day) = (live.snapshot(), Day(u32::try_from(day).unwrap_or(u32::MAX)));
        price_boundary(table.prices.find(provider, model, day), tokens)
    })
}
