//! The entry of `auth` that names no secret, such as the one with `none`. Where other entries count, it is for requests of people
//! who have stored no secret of the section. Its values are those of the first owner who has stored any, or defaults.

use super::credential::{Bound, Candidate, Gathered, StoredBy, gather};
use crate::{
    base::fault::Fault,
    language::{auth::FieldValues, bind},
    request::{rewrite::Chosen, table::Hit},
};

/// The entry without a secret, as far as the owners allow it. Values that are no secrets do not count as a credential.
pub(super) struct Optional<'c> {
    auth: &'c bind::Auth,
    /// True if another entry counts for the endpoint: then nobody may have stored a secret.
    has_others: bool,
    /// True if an owner has stored a secret of the section.
    has_secret: bool,
    /// What the request is made of.
    values: Option<OptionalValues<'c>>,
    /// A value that is needed and absent.
    lacking: Option<&'c str>,
    /// A value that cannot be used.
    fault: Option<Fault>,
}

/// The reason why a request cannot go without a credential.
pub(super) enum NotChosen<'c> {
    /// This value is absent, or nothing else.
    Lacks(Option<&'c str>),
    /// A stored value cannot be used.
    Unusable(Fault),
}

/// The values of a request without a credential, all of one owner.
struct OptionalValues<'c> {
    /// The index of the owner. Of values that nobody has stored, the first.
    owner: usize,
    values: FieldValues<'c>,
    /// The stored secrets among them.
    secrets: Vec<Bound<'c>>,
}

impl<'c> Optional<'c> {
    pub(super) fn of(hit: &'c Hit) -> Option<Self> {
        let index = hit.index();
        let mut counting = hit.provider.auth.iter().filter(|auth| auth.counts_for(index));
        let auth = counting.clone().find(|auth| !auth.names_secret)?;
        let has_others = counting.any(|auth| auth.names_secret);
        Some(Self { auth, has_others, has_secret: false, values: None, lacking: None, fault: None })
    }

    /// Looks at what an owner has stored. One who has stored nothing that the request needs is as good as absent.
    pub(super) fn look_at(&mut self, hit: &'c Hit, owner: usize, stored: &impl StoredBy<'c>) {
        let fields = hit.provider.section.iter().flat_map(|section| &section.fields);
        let mut secrets = fields.map(|field| &field.value).filter(|field| field.is_secret());
        self.has_secret |= secrets.any(|field| stored.value(&field.name).is_some());
        if self.values.is_none() && self.fault.is_none() {
            match gather(hit, self.auth, stored) {
                Ok(gathered) if gathered.has_stored => self.take(owner, gathered),
                Ok(_) => {}
                // It counts only if no other owner has a credential.
                Err(fault) => self.fault = Some(fault),
            }
        }
    }

    fn take(&mut self, owner: usize, Gathered { values, secrets, missing, .. }: Gathered<'c>) {
        match missing {
            None => self.values = Some(OptionalValues { owner, values, secrets }),
            Some(missing) => self.lacking = self.lacking.or(Some(missing)),
        }
    }

    /// The choice, or a value that is needed and absent. If nobody has stored a value, the defaults of the file have to do.
    pub(super) fn chosen(
        mut self,
        hit: &'c Hit,
        now_ms: u64,
    ) -> Result<(Chosen<'c>, Vec<Bound<'c>>), NotChosen<'c>> {
        if self.has_others && self.has_secret {
            return Err(NotChosen::Lacks(self.lacking));
        }
        if let Some(fault) = self.fault {
            return Err(NotChosen::Unusable(fault));
        }
        if self.values.is_none() && self.lacking.is_none() {
            let nothing = |_: &str| None::<Candidate<'c>>;
            if let Ok(gathered) = gather(hit, self.auth, &nothing) {
                self.take(0, gathered);
            }
        }
        let OptionalValues { owner, values, secrets } = self.values.ok_or(NotChosen::Lacks(self.lacking))?;
        let chosen = Chosen { owner, auth: self.auth, secret: None, reply: &[], values, now_ms, body: None };
        Ok((chosen, secrets))
    }
}
