//! The places of an endpoint.

use super::*;
use crate::{
    language::compile::{self, metering::Pointer},
    shipped,
};

#[test]
fn places_lie_in_objects_alone() {
    let check = |model: &[&str], max_output: &[&str], expected: Result<(), PlacesProblem>| {
        assert_eq!(Places::of(&metering(model, max_output)).map(drop), expected, "{model:?} {max_output:?}");
    };
    check(&[], &[], Ok(()));
    check(&["/model"], &[], Ok(()));
    check(&["/a/b/model"], &["/a/b/max", "/a/max", "/max"], Ok(()));
    check(&["/model", "/model"], &["/max", "/max"], Ok(()));
    check(&["/00/a"], &["/-1"], Ok(()));
    check(&["/a~1b"], &[], Ok(()));
    check(&["/a/*/model"], &[], Err(PlacesProblem::Array("/a/*/model".into())));
    check(&["/a/0/model"], &[], Err(PlacesProblem::Array("/a/0/model".into())));
    check(&["/model"], &["/max/*"], Err(PlacesProblem::Array("/max/*".into())));
    check(&[""], &[], Err(PlacesProblem::Whole));
    check(&["/mod\u{e9}l"], &[], Err(PlacesProblem::Name("/mod\u{e9}l".into())));
    check(&["/a\0"], &[], Err(PlacesProblem::Name("/a\0".into())));
    check(&["/"], &[], Err(PlacesProblem::Name("/".into())));
    check(&["/a", "/b"], &[], Err(PlacesProblem::SeveralModels("/b".into())));
    check(&["/a"], &["/a"], Err(PlacesProblem::Nested("/a".into())));
    check(&["/a"], &["/a/b"], Err(PlacesProblem::Nested("/a/b".into())));
    check(&[], &["/a/b", "/a"], Err(PlacesProblem::Nested("/a".into())));
}

#[test]
fn places_can_be_listed() {
    let found = Places::of(&metering(&["/model"], &["/b/max", "/max"])).unwrap();
    assert_eq!(found.model().map(Pointer::as_str), Some("/model"));
    assert_eq!(found.max_output().iter().map(Pointer::as_str).collect::<Vec<_>>(), ["/b/max", "/max"]);
}

/// Rules about models and limits hold at every shipped endpoint.
#[test]
fn every_shipped_endpoint_can_be_judged() {
    let compiled = compile::compile(&shipped::load().files);
    let (mut models, mut caps) = (0, 0);
    for provider in &compiled.providers {
        for metering in provider.endpoints.iter().filter_map(|endpoint| endpoint.metering.as_ref()) {
            let places = Places::of(metering).unwrap();
            models += usize::from(places.model().is_some());
            caps += usize::from(!places.max_output().is_empty());
        }
    }
    assert!(models > 100 && caps > 100, "{models} {caps}");
}
