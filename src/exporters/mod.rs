//! Exporters: hand finished exchanges to receivers of other systems, over HTTP. A kind of exporter is one file here, with
//! its own settings; `KINDS` is the list, and no other module names one.
//!
//! An exporter fills bounded queues on the recorder's thread, where it encodes what is short, and never reads content; a task
//! for each queue delivers. It guarantees: nothing here makes a request wait; what does not fit is dropped, counted, and shown in `tollgate status`. Receivers
//! are the operator's: never a URL or a header from a client or a provider file.
//!
//! Read next: `delivery` for batches and retries, `queue` for bounds.

mod delivery;
mod given;
mod ids;
mod llemtry;
mod otlp;
mod queue;
mod receiver;

use std::sync::Arc;

use tokio::task::JoinHandle;

pub use queue::ExporterStatus;

use self::{
    delivery::{BatchSize, Delivery, Ending, Protocol},
    given::Given,
    queue::{Counts, Queue},
    receiver::Receiver,
};
use crate::{
    recorder::{Drops, NamedSink, Sink},
    settings::{ExporterTable, MetricLabels, SettingsError},
    suggest::{backticked, nearest},
    upstream,
};

/// All kinds of exporters.
const KINDS: [Kind; 2] = [llemtry::KIND, otlp::KIND];

/// A kind of exporter.
struct Kind {
    /// The value of `kind` in the settings file. The exporter with this name also reads the variables of its kind.
    name: &'static str,
    /// An exporter with these settings.
    open: fn(&Given<'_>, &mut Outlets) -> Opened,
}

/// Fills queues on the recorder's thread. None if it is off.
type Opened = Result<Option<Box<dyn Sink>>, SettingsError>;

/// The deliveries of all exporters, as exporters open them.
struct Outlets {
    drops: Drops,
    labels: MetricLabels,
    deliveries: Vec<Delivery>,
    counts: Vec<Arc<Counts>>,
}

/// One outlet of an exporter: a signal and its receiver.
struct Outlet {
    /// The data in it, such as `spans`.
    signal: &'static str,
    receiver: Receiver,
    protocol: Box<dyn Protocol>,
    size: BatchSize,
}

/// The exporters of the settings, before anything is delivered.
pub struct Exporters {
    sinks: Vec<NamedSink>,
    outlets: Outlets,
}

/// The state of all exporters, for the status document.
#[derive(Debug, Clone, Default)]
pub struct ExporterStates(Arc<[Arc<Counts>]>);

/// The running delivery tasks.
pub struct Deliveries {
    tasks: Vec<JoinHandle<()>>,
    ending: Ending,
}

/// Opens the exporters of the settings file, and those that environment variables alone describe. An error in the file
/// is returned. An exporter that variables alone describe, and whose settings cannot be used, is off, and an error is
/// logged: other programs set such variables for all of their children.
pub fn open(
    tables: &[ExporterTable],
    labels: &MetricLabels,
    drops: &Drops,
) -> Result<Exporters, SettingsError> {
    open_with(tables, &given::variable, labels, drops)
}

fn open_with(
    tables: &[ExporterTable],
    variables: given::Lookup<'_>,
    labels: &MetricLabels,
    drops: &Drops,
) -> Result<Exporters, SettingsError> {
    let outlets =
        Outlets { drops: drops.clone(), labels: labels.clone(), deliveries: Vec::new(), counts: Vec::new() };
    let mut exporters = Exporters { sinks: Vec::new(), outlets };
    for table in tables {
        let kind = kind_of(table)?;
        let variables = (table.name == kind.name).then_some(variables);
        let given = Given { name: &table.name, table: Some(table), variables };
        exporters.add(&given, kind)?;
    }
    for kind in KINDS.iter().filter(|kind| tables.iter().all(|table| table.name != kind.name)) {
        let given = Given { name: kind.name, table: None, variables: Some(variables) };
        if let Err(error) = exporters.add(&given, kind) {
            tracing::error!(exporter = kind.name, %error, "an exporter is off: its settings cannot be used");
        }
    }
    Ok(exporters)
}

fn kind_of(table: &ExporterTable) -> Result<&'static Kind, SettingsError> {
    let refused = |problem| SettingsError::Text { origin: table.origin.clone(), problem };
    let names = || KINDS.iter().map(|kind| kind.name);
    let Some(given) = table.keys.get("kind").and_then(serde_json::Value::as_str) else {
        return Err(refused(format!("has no `kind`: write one of {}", backticked(names()))));
    };
    let other = KINDS.iter().find(|kind| kind.name == table.name && kind.name != given);
    match (KINDS.iter().find(|kind| kind.name == given), other) {
        (Some(_), Some(other)) => Err(refused(format!(
            "has the name of another kind, `{}`, whose variables it would read: rename it",
            other.name
        ))),
        (Some(kind), None) => Ok(kind),
        (None, _) => {
            let near =
                nearest(given, names()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            let known = backticked(names());
            Err(refused(format!(
                "has the unknown `kind` `{}`: the kinds are {known}{near}",
                given.escape_debug()
            )))
        }
    }
}

impl Outlets {
    /// Adds an outlet. Returns the queue to it.
    fn add(&mut self, given: &Given<'_>, outlet: Outlet) -> Queue {
        let Outlet { signal, receiver, protocol, size } = outlet;
        let (queue, queued, counts) = queue::queue(given.name, signal, &self.drops);
        tracing::info!(exporter = given.name, signal, %receiver, "an exporter is on");
        self.counts.push(counts.clone());
        self.deliveries.push(Delivery { receiver, protocol, size, queued, counts });
        queue
    }
}

impl Exporters {
    fn add(&mut self, given: &Given<'_>, kind: &Kind) -> Result<(), SettingsError> {
        let sink = (kind.open)(given, &mut self.outlets)?;
        self.sinks.extend(sink.map(|sink| (format!("exporter.{}", given.name), sink)));
        Ok(())
    }

    /// The URLs that are posted to.
    #[cfg(test)]
    fn urls(&self) -> Vec<String> {
        self.outlets.deliveries.iter().map(|delivery| delivery.receiver.to_string()).collect()
    }

    /// The state of all queues.
    pub fn states(&self) -> ExporterStates {
        ExporterStates(self.outlets.counts.as_slice().into())
    }

    /// Starts the delivery tasks on this runtime. Returns them, and the sinks for the recorder.
    #[expect(clippy::disallowed_methods, reason = "`Deliveries` waits for all")]
    pub fn start(self, upstream: &Arc<upstream::Shared>) -> (Vec<NamedSink>, Deliveries) {
        let ending = Ending::default();
        let run = |delivery: Delivery| tokio::spawn(delivery.run(upstream.clone(), ending.clone()));
        let tasks = self.outlets.deliveries.into_iter().map(run).collect();
        (self.sinks, Deliveries { tasks, ending })
    }
}

impl ExporterStates {
    /// The state of each queue, by exporter as the settings have them.
    pub fn status(&self) -> Vec<ExporterStatus> {
        self.0.iter().map(|counts| counts.status()).collect()
    }
}

impl Deliveries {
    /// Waits until all queues are empty, or until the deadline. Each request is attempted once more; the log reports what is
    /// given up. Call it after the recorder's thread has closed the sinks.
    pub async fn end(self, deadline: tokio::time::Instant) {
        let Self { tasks, ending: Ending { last_attempts, give_up } } = self;
        last_attempts.cancel();
        let _expire = give_up.clone().drop_guard();
        for task in tasks {
            let mut task = task;
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                give_up.cancel();
                // Nothing in it waits any more.
                let _ = task.await;
            }
        }
    }
}
