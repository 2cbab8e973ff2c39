//! Tools over provider files and the route table, for the command line and the reloader: the decisions about one
//! request ([`explain`]), the files' own tests ([`filetest`]), a comparison of two sets of files ([`mod@diff`]), checks
//! against a policy ([`prove`]), an overview of providers ([`catalogue`]), the steps to set a client up ([`client_setup`]), files of
//! other projects ([`import`]), and the choice of each provider's version ([`reconcile`]).
//!
//! They call the functions that requests run.

pub mod catalogue;
pub mod client_setup;
pub mod import;
pub mod explain;
pub mod filetest;
pub mod reconcile;
pub mod upstream_routes;
pub mod diff;
pub mod prove;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod limit_tests;
