//! The pages below `/config`, for what is a user's own.

pub(super) mod connect;
pub(super) mod keys;
pub(super) mod tokens;
pub(super) mod usage;
