//! The parts of the process whose numbers are read at a scrape. Reading takes no lock that a warm request waits for, but those of
//! limits, one after another: each is held while a sixteenth of a limit's amounts is summed.

use std::sync::Arc;

use crate::{
    accounts::{CacheCounts, StoreHealth},
    admission::Admission,
    exporters::ExporterStates,
    files::Live,
    ledger::Ledger,
    limits::LimitStates,
    listener_tls::ListenerTls,
    recorder::Drops,
    upstream::ConnectionCounts,
};

/// The parts of the process.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The provider files.
    pub live: Arc<Live>,
    /// Admission control.
    pub admission: Arc<Admission>,
    /// The state of the store.
    pub store: StoreHealth,
    /// The drop counters of all queues.
    pub drops: Drops,
    /// The usage that waits.
    pub ledger: Ledger,
    /// The state of all exporters.
    pub exporters: ExporterStates,
    /// The certificate of the listeners, if they take TLS.
    pub tls: Option<ListenerTls>,
    /// The counters of limits.
    pub limits: LimitStates,
    /// The start of the process, in milliseconds since 1970.
    pub started_at_ms: u64,
}

/// The numbers of one worker. It alone writes them.
#[derive(Debug, Clone)]
pub struct WorkerCounts {
    /// Its connections to upstreams.
    pub upstream: Arc<ConnectionCounts>,
    /// Its cache of callers.
    pub callers: Arc<CacheCounts>,
}
