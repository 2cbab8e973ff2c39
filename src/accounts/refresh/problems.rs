//! Logins whose last refresh failed, for the overview of operators. Kept in memory: after a restart, the next refresh of such
//! a login fails again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{CredentialId, RefreshError};

/// The most logins that are kept. Further ones are in the log alone.
const MAX_LOGINS: usize = 1000;
/// A failure that did not occur again for so long is forgotten: its login is not used, or was removed.
const MAX_AGE: Duration = Duration::from_hours(1);

/// Logins whose last refresh failed. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct RefreshProblems(Arc<Mutex<HashMap<CredentialId, Failure>>>);

#[derive(Debug, Clone, Copy)]
struct Failure {
    at: Instant,
    error: RefreshError,
}

impl RefreshProblems {
    /// Notes the outcome of a refresh.
    pub(super) fn note(&self, login: &CredentialId, error: Option<RefreshError>, now: Instant) {
        let mut failures = self.lock();
        match error {
            // No login, no problem.
            None | Some(RefreshError::NotFound) => drop(failures.remove(login)),
            Some(error) => {
                if failures.len() >= MAX_LOGINS {
                    failures.retain(|_, failure| now.duration_since(failure.at) < MAX_AGE);
                }
                if failures.len() < MAX_LOGINS || failures.contains_key(login) {
                    failures.insert(login.clone(), Failure { at: now, error });
                }
            }
        }
    }

    /// The logins, those that nothing but a new login mends first, then by name.
    pub fn get(&self) -> Vec<(CredentialId, RefreshError)> {
        self.get_at(Instant::now())
    }

    fn get_at(&self, now: Instant) -> Vec<(CredentialId, RefreshError)> {
        let failures = self.lock();
        let recent = failures.iter().filter(|(_, failure)| now.duration_since(failure.at) < MAX_AGE);
        let mut all: Vec<_> = recent.map(|(login, failure)| (login.clone(), failure.error)).collect();
        drop(failures);
        let name =
            |login: &CredentialId| (login.owner.to_string(), login.section.clone(), login.field.clone());
        all.sort_by_cached_key(|(login, error)| (error.is_retryable(), name(login)));
        all
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CredentialId, Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Owner;

    fn login(field: &str) -> CredentialId {
        CredentialId { owner: Owner::Everybody, section: "providers.t".to_owned(), field: field.to_owned() }
    }

    #[test]
    fn a_failure_stays_until_a_success_or_for_an_hour() {
        let (problems, now) = (RefreshProblems::default(), Instant::now());
        let check = |field: &str, error, after: Duration, expected: &[&str]| {
            problems.note(&login(field), error, now + after);
            let fields: Vec<String> =
                problems.get_at(now + after).into_iter().map(|(login, _)| login.field).collect();
            assert_eq!(fields, expected);
        };
        let minutes = |number| Duration::from_mins(number);
        check("b", Some(RefreshError::Store), minutes(0), &["b"]);
        check("c", Some(RefreshError::NoRefreshToken), minutes(1), &["c", "b"]);
        check("a", Some(RefreshError::Timeout), minutes(2), &["c", "a", "b"]);
        check("a", Some(RefreshError::NotFound), minutes(3), &["c", "b"]);
        check("b", Some(RefreshError::Store), minutes(50), &["c", "b"]);
        check("x", None, minutes(61), &["b"]);
        check("b", None, minutes(62), &[]);
    }

    #[test]
    fn failures_are_bounded() {
        let (problems, now) = (RefreshProblems::default(), Instant::now());
        for number in 0..MAX_LOGINS + 5 {
            problems.note(&login(&number.to_string()), Some(RefreshError::Store), now);
        }
        assert_eq!(problems.get_at(now).len(), MAX_LOGINS);
        let later = now + MAX_AGE;
        problems.note(&login("new"), Some(RefreshError::Store), later);
        assert_eq!((problems.get_at(later).len(), problems.lock().len()), (1, 1));
    }
}
