//! What is shown at an address: with an admin address of its own, admin work is there and nowhere else. Looks
//! at a path alone; who may see what is shown is decided after it.

use crate::own_paths::{self, Served};

/// What a worker's listener shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// Everything.
    All,
    /// Everything but what the admin address shows.
    Public,
    /// Admin work, and whether the process is well.
    Admin,
}

impl Face {
    /// Whether there is anything at a path.
    pub(super) fn shows(self, path: &str) -> bool {
        let served = own_paths::find(path);
        match self {
            Self::All => true,
            Self::Public => !matches!(served, Some((_, Served::Admin))),
            Self::Admin => match served {
                Some((_, Served::Admin)) => true,
                // Health checks have no paths below their segment.
                Some((segment, Served::Both)) => path[1..] == *segment,
                Some((_, Served::Public)) | None => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_work_is_at_one_address() {
        let check = |path, expected| {
            let seen = [Face::All, Face::Public, Face::Admin].map(|face| face.shows(path));
            assert_eq!(seen, expected, "{path}");
        };
        for admin in ["/admin", "/admin/providers", "/console/", "/metrics"] {
            check(admin, [true, false, true]);
        }
        for well in ["/health", "/livez", "/readyz"] {
            check(well, [true, true, true]);
        }
        for public in ["/", "/config", "/auth/token", "/administrator", "/healthz", "/t/admin"] {
            check(public, [true, true, false]);
        }
    }
}
