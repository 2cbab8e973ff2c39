//! The table of all metrics. Nothing else is exposed; `docs/operating.md` lists it, and a test compares the two.

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// A number at this moment.
    Gauge,
    /// Counts by upper bound.
    Histogram,
    /// Always 1: its labels are the information.
    Info,
}

impl Kind {
    /// The word for it in documents, and in the format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name, as queries have it.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($metric:ident $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(pub(super) static $metric: Metric =
            Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*

        /// All metrics, in the order in which they are exposed.
        pub static ALL: &[&Metric] = &[$(&$metric),*];
    };
}

metrics! {
    REQUESTS Counter "tollgate_requests_total" ["provider" "endpoint" "status" "outcome"]
        "Finished requests, by class of the response's status and by outcome.";
    FAULTS Counter "tollgate_faults_total" ["provider" "code" "blame"]
        "Error responses of tollgate's own, by code and by the party that has to act.";
    UPSTREAM_FAILURES Counter "tollgate_upstream_failures_total" ["provider" "reason"]
        "Requests that failed because of their upstream, by reason.";
    DURATION Histogram "tollgate_request_duration_seconds" ["provider" "endpoint"]
        "Time from a request's head to the end of its response, without requests that tollgate refused.";
    FIRST_BYTE Histogram "tollgate_time_to_first_byte_seconds" ["provider" "endpoint"]
        "Time from a request's head to the first byte of the body of an upstream's response.";
    REQUEST_BYTES Counter "tollgate_request_body_bytes_total" ["provider" "endpoint"]
        "Bytes of bodies that were read from clients.";
    WEBSOCKETS Counter "tollgate_websockets_total" ["provider" "code"]
        "WebSockets that have ended, by the code of the first close frame: 1005 for none in it, 1006 for no such frame.";
    RESPONSE_BYTES Counter "tollgate_response_body_bytes_total" ["provider" "endpoint"]
        "Bytes of bodies that were passed to clients.";
    TOKENS Counter "tollgate_tokens_total" ["provider" "model" "kind" "estimated"]
        "Tokens, each in one kind only.";
    UNITS Counter "tollgate_usage_units_total" ["provider" "model" "unit" "estimated"]
        "Other units that vendors bill.";
    COST Counter "tollgate_cost_total" ["provider" "model" "currency"]
        "Cost of counted and estimated usage, in units of the currency, at the prices of the time.";
    UNPRICED Counter "tollgate_tokens_without_price_total" ["provider" "model"]
        "Tokens of models that no price file has a price for.";
    NOT_COUNTED Counter "tollgate_usage_not_counted_total" ["provider" "reason"]
        "Exchanges whose usage was not counted, or not wholly, by reason.";
    USER_REQUESTS Counter "tollgate_user_requests_total" ["user" "outcome"]
        "Finished requests to providers by user, with the setting metrics_users.";
    USER_TOKENS Counter "tollgate_user_tokens_total" ["user" "kind" "estimated"]
        "Tokens by user, with the setting metrics_users.";
    IN_FLIGHT Gauge "tollgate_requests_in_flight" []
        "Requests to providers at this moment.";
    IN_FLIGHT_LIMIT Gauge "tollgate_requests_in_flight_limit" []
        "Limit of requests to providers at once.";
    STREAMS Gauge "tollgate_response_streams" []
        "Responses of upstreams that are being passed on at this moment.";
    CONNECTIONS Gauge "tollgate_client_connections" []
        "Connections of clients at this moment.";
    CONNECTIONS_LIMIT Gauge "tollgate_client_connections_limit" []
        "Limit of connections of clients.";
    CERTIFICATE_END Gauge "tollgate_certificate_expiry_timestamp_seconds" []
        "End of the certificate of the listeners, if they take TLS.";
    CERTIFICATE_OK Gauge "tollgate_certificate_last_reload_successful" []
        "1 if the newest files of that certificate are in use, else 0.";
    REFUSED Counter "tollgate_admission_refused_total" ["limit"]
        "Requests and connections that were refused, by the setting of the limit.";
    LOCAL_ERRORS Counter "tollgate_local_errors_total" ["cause"]
        "Errors of this machine, such as a lack of file descriptors.";
    UPSTREAM_CONNECTIONS Counter "tollgate_upstream_connections_total" ["state"]
        "Connections to upstreams that requests took, new or reused.";
    UPSTREAM_IDLE Gauge "tollgate_upstream_connections_idle" []
        "Idle connections to upstreams at this moment.";
    CACHE Counter "tollgate_caller_cache_lookups_total" ["result"]
        "Lookups of users' tokens in the caches of the workers.";
    RELOAD_OK Gauge "tollgate_config_last_reload_successful" []
        "1 if every provider file is live and there is no other problem with the files, else 0.";
    RELOAD_TIME Gauge "tollgate_config_last_reload_timestamp_seconds" []
        "Time at which the current route table began to serve.";
    SCAN_TIME Gauge "tollgate_config_last_scan_timestamp_seconds" []
        "Time of the last scan of the provider files.";
    GENERATION Gauge "tollgate_config_generation" []
        "Number of route tables that have served since the start.";
    FILES Gauge "tollgate_config_files" ["state"]
        "Provider files, by state.";
    PROVIDERS Gauge "tollgate_config_providers" []
        "Providers that serve.";
    ENDPOINTS Gauge "tollgate_config_endpoints" []
        "Endpoints that serve.";
    WATCHING Gauge "tollgate_config_watching" ["mode"]
        "1 for the way in which changes of files are noticed, 0 for the others.";
    MISSED Counter "tollgate_config_missed_changes_total" []
        "Changed files that a sweep found without an event.";
    STORE_UP Gauge "tollgate_store_up" []
        "1 if the last poll of the store succeeded, else 0.";
    STORE_TIME Gauge "tollgate_store_last_success_timestamp_seconds" []
        "Time of the last poll of the store that succeeded.";
    USAGE_PENDING Gauge "tollgate_usage_pending_requests" []
        "Requests whose usage waits in memory because the store cannot be written, 0 while it can.";
    LIMIT_REQUESTS Counter "tollgate_limit_requests_total" ["limit" "outcome"]
        "Requests that a limit admitted or refused, by the limit's id; a request counts in each of its limits, a refused one in the one that refused it.";
    LIMIT_USED Gauge "tollgate_limit_used_ratio" ["limit"]
        "Share of the amount that is used or reserved, of limits with one amount for everybody.";
    LIMIT_KEYS_NEAR Gauge "tollgate_limit_keys_near" ["limit"]
        "Amounts of a limit of which more than 80 % are used or reserved. Other amounts of single users (`except`) are not known here.";
    LIMIT_RESERVED Gauge "tollgate_limit_reserved" ["limit"]
        "What running requests reserved, in units of what the limit counts; of a cost in units of its currency.";
    DROPPED Counter "tollgate_dropped_total" ["queue"]
        "Items that were dropped: by a full queue, or by a log that cannot be written.";
    EXPORTER_ENTRIES Counter "tollgate_exporter_entries_total" ["exporter" "signal" "result"]
        "Entries that exporters sent, dropped for lack of room, or gave up.";
    BUILD Info "tollgate_build_info" ["version"]
        "The version of tollgate.";
    START Gauge "process_start_time_seconds" []
        "Start time of the process.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut seen = BTreeSet::new();
        for Metric { name, kind, labels, help } in ALL {
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.starts_with("tollgate_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_info"), *kind == Kind::Info, "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(help.ends_with('.') && !help.contains(['\\', '\n', '"']), "{name}: {help}");
            let good = |label: &&str| label.bytes().all(|byte| byte.is_ascii_lowercase());
            assert!(labels.iter().all(|label| good(label) && *label != "le"), "{name}");
        }
    }
}
