//! The pages below `/console`, for operators.

pub(super) mod files;
pub(super) mod overview;
pub(super) mod usage;
pub(super) mod users;
