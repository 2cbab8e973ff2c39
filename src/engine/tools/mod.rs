//! Tools over files and the route table, run by the command line and by the reloader: what a request would do
//! ([`explain`]), the files' own tests ([`filetest`]), what two sets of files differ in ([`mod@diff`]), whether they keep a
//! policy ([`prove`]), and which text of each file serves ([`reconcile`]). They call the functions that requests run.

pub mod explain;
pub mod filetest;
pub mod reconcile;
pub mod upstream_routes;
pub mod diff;
pub mod prove;
