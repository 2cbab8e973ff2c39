//! tollgate's own paths: reserved first segments that no provider file can use, and the listener that serves each.
//!
//! The only list of them. `compile` rejects files that use one, `gateway` serves them, and a test in `admin` holds that
//! every call of its API lies below one.

/// The listeners that serve a path, where the admin API has a listener of its own (`admin_listen`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The public listener.
    Public,
    /// The admin listener.
    Admin,
    /// Health checks: both.
    Both,
}

/// Each reserved first segment, and its listener.
pub const SEGMENTS: &[(&str, Served)] = &[
    ("admin", Served::Admin),
    ("auth", Served::Public),
    ("config", Served::Public),
    ("console", Served::Admin),
    ("health", Served::Both),
    ("livez", Served::Both),
    ("readyz", Served::Both),
    ("metrics", Served::Admin),
];

/// Segments below `/auth` that calls of the API use to change something. A paste token's path is none of them.
pub const SELF_SERVICE: &[&str] = &["creds", "providers", "rotate", "session", "tokens"];

/// The reserved first segment of a path, and its listener, if there is one.
pub fn find(path: &str) -> Option<(&'static str, Served)> {
    let first = path.strip_prefix('/')?.split('/').next()?;
    SEGMENTS.iter().find(|(segment, _)| *segment == first).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_first_segment_counts() {
        let check = |path, expected| assert_eq!(find(path).map(|(segment, _)| segment), expected, "{path}");
        check("/admin", Some("admin"));
        check("/auth/creds", Some("auth"));
        check("/health/", Some("health"));
        for other in ["", "/", "admin", "//admin", "/administrator", "/demo/admin", "/Admin"] {
            check(other, None);
        }
    }
}
