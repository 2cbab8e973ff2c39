//! Stored keys that upstreams refuse: the last answer to each of them was 401 or 403. Bounded.

use std::collections::HashMap;

use http::StatusCode;

use crate::{
    access_record::{AccessRecord, End},
    name::{FileName, Owner},
};

/// The keys that are remembered. Beyond that, the one whose refusal is the oldest is forgotten.
const MAX_KEYS: usize = 256;

/// A stored key that an upstream refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedKey {
    /// The provider that it is sent to.
    pub provider: FileName,
    /// Its owner.
    pub owner: Owner,
    /// The status of the last refusal: 401 or 403.
    pub status: StatusCode,
    /// The refusals since the last call that was not refused.
    pub calls: u64,
    /// The end of the last of them, in milliseconds since 1970.
    pub last_ms: u64,
}

/// Those of all providers.
#[derive(Debug, Default)]
pub(super) struct RefusedKeys(HashMap<(FileName, Owner), RefusedKey>);

impl RefusedKeys {
    /// Notes the answer of a finished call. One of tollgate itself says nothing about a key.
    pub(super) fn note(&mut self, record: &AccessRecord) {
        let (Some(provider), Some(owner), Some(status), None) =
            (&record.provider, &record.key_owner, record.status, record.fault)
        else {
            return;
        };
        let key = (provider.clone(), owner.clone());
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let is_accepted = status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS;
            if record.end == End::Complete && is_accepted {
                self.0.remove(&key);
            }
            return;
        }
        if self.0.len() >= MAX_KEYS && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, one)| one.last_ms).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.0.remove(&oldest));
        }
        let (provider, owner) = key.clone();
        let new = RefusedKey { provider, owner, status, calls: 0, last_ms: 0 };
        let one = self.0.entry(key).or_insert(new);
        (one.status, one.calls, one.last_ms) = (status, one.calls + 1, record.ended_at_ms());
    }

    /// Those that were refused since this time, the latest first.
    pub(super) fn since(&self, since_ms: u64) -> Vec<RefusedKey> {
        let mut all: Vec<_> = self.0.values().filter(|one| one.last_ms >= since_ms).cloned().collect();
        all.sort_by(|one, other| {
            other.last_ms.cmp(&one.last_ms).then_with(|| one.provider.cmp(&other.provider))
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::Method;

    use super::*;
    use crate::fault::FaultKind;

    fn call(provider: &str, status: u16, at_ms: u64) -> AccessRecord {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        AccessRecord {
            provider: FileName::new(provider),
            key_owner: Some(Owner::Everybody),
            status: StatusCode::from_u16(status).ok(),
            end: End::Complete,
            ..AccessRecord::begun(peer, Method::GET, "/".to_owned(), at_ms)
        }
    }

    #[test]
    fn a_key_is_refused_until_a_call_succeeds() {
        let mut keys = RefusedKeys::default();
        let mut check = |record: AccessRecord, expected: &[(&str, u16, u64)]| {
            keys.note(&record);
            let found = keys.since(10);
            let found: Vec<_> =
                found.iter().map(|one| (one.provider.as_str(), one.status.as_u16(), one.calls)).collect();
            assert_eq!(found, expected, "after {:?} at {}", record.status, record.started_at_ms);
        };
        check(call("old", 401, 9), &[]);
        check(call("t", 401, 10), &[("t", 401, 1)]);
        check(call("t", 403, 11), &[("t", 403, 2)]);
        check(call("u", 401, 12), &[("u", 401, 1), ("t", 403, 2)]);
        // Neither another error nor an answer of tollgate itself shows that the key is good.
        check(call("t", 429, 13), &[("u", 401, 1), ("t", 403, 2)]);
        let own = AccessRecord { fault: Some(FaultKind::CredentialMissing), ..call("t", 403, 13) };
        check(own, &[("u", 401, 1), ("t", 403, 2)]);
        check(AccessRecord { key_owner: None, ..call("v", 401, 14) }, &[("u", 401, 1), ("t", 403, 2)]);
        check(call("t", 200, 15), &[("u", 401, 1)]);
    }

    #[test]
    fn the_keys_are_bounded() {
        let mut keys = RefusedKeys::default();
        for number in 0..2 * MAX_KEYS as u64 {
            keys.note(&call(&format!("p{number}"), 401, number));
        }
        let found = keys.since(0);
        assert_eq!((found.len(), found[MAX_KEYS - 1].last_ms), (MAX_KEYS, MAX_KEYS as u64));
    }
}
