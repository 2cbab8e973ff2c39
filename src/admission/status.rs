//! The load of the process, as `tollgate status` shows it. Types keep their names in `schema/openapi.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Admission, Cause, LocalErrors};

/// Work at this moment, and its limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// Open connections of clients.
    pub connections: Gauge,
    /// Requests to providers.
    pub requests: Gauge,
    /// Limit of requests of one token; none if there is no limit.
    pub max_requests_per_token: Option<usize>,
    /// Limit of requests of one user.
    pub max_requests_per_user: Option<usize>,
    /// Limit of connections of one address.
    pub max_connections_per_address: Option<usize>,
    /// Limit of open files, which the other limits are derived from.
    pub max_open_files: usize,
    /// Refusals since the process started.
    pub refused: Refused,
    /// Errors of this machine since the process started, which no upstream is to blame for.
    pub local_errors: LocalErrors,
}

/// A number and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gauge {
    /// The number at this moment.
    pub now: usize,
    /// The limit.
    pub max: usize,
}

/// Refusals by the limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// Requests per token.
    pub requests_per_token: u64,
    /// Requests per user.
    pub requests_per_user: u64,
    /// Requests of all.
    pub requests: u64,
    /// Connections per address.
    pub connections_per_address: u64,
    /// Connections of all.
    pub connections: u64,
}

impl Refused {
    /// Each number that is not 0, with the setting of its limit.
    pub fn by_setting(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.all_by_setting().into_iter().filter(|(_, number)| *number > 0)
    }

    /// Each number, with the setting of its limit.
    pub fn all_by_setting(&self) -> [(&'static str, u64); Cause::ALL.len()] {
        Cause::ALL.map(|cause| {
            let number = match cause {
                Cause::Token => self.requests_per_token,
                Cause::User => self.requests_per_user,
                Cause::Requests => self.requests,
                Cause::Address => self.connections_per_address,
                Cause::Connections => self.connections,
            };
            (cause.setting(), number)
        })
    }
}

impl Load {
    pub(super) fn of(admission: &Admission) -> Self {
        let limits = admission.limits();
        let refused = |cause| admission.shedding.total(cause);
        Self {
            connections: Gauge { now: admission.clients.count(), max: limits.connections },
            requests: Gauge { now: admission.requests.running(), max: limits.requests },
            max_requests_per_token: limits.requests_per_token,
            max_requests_per_user: limits.requests_per_user,
            max_connections_per_address: limits.connections_per_address,
            max_open_files: limits.open_files,
            refused: Refused {
                requests_per_token: refused(Cause::Token),
                requests_per_user: refused(Cause::User),
                requests: refused(Cause::Requests),
                connections_per_address: refused(Cause::Address),
                connections: refused(Cause::Connections),
            },
            local_errors: admission.local_errors.numbers(),
        }
    }
}
