//! The places of an endpoint.

use super::*;
use crate::{
    language::compile::{
        self,
        metering::places::{Kind, PlacesProblem},
    },
    shipped,
};

#[test]
fn places_lie_in_objects_alone() {
    let check = |model: &[&str], max_output: &[&str], expected: Result<(), PlacesProblem>| {
        let models = model.iter().map(|pointer| (*pointer, Target::Model));
        let map = map(models.chain(max_output.iter().map(|pointer| (*pointer, Target::MaxOutput))));
        let found = map.places().map(drop).map_err(Clone::clone);
        assert_eq!(found, expected, "{model:?} {max_output:?}");
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

/// What a request may have besides a model and its caps.
#[test]
fn other_places_may_lie_in_arrays() {
    let unbounded = |except: &[&str]| Target::Unbounded(except.iter().map(|text| (*text).into()).collect());
    let check = |pointers: &[(&str, Target)], expected: Result<(), PlacesProblem>| {
        let found = map(pointers.iter().cloned()).places().map(drop).map_err(Clone::clone);
        assert_eq!(found, expected, "{pointers:?}");
    };
    let array = |pointer: &str| Err(PlacesProblem::Array(pointer.into()));
    let nested = |pointer: &str| Err(PlacesProblem::Nested(pointer.into()));
    check(&[("/models/*", Target::OtherModel), ("/models", Target::OtherModel)], Ok(()));
    check(&[("/models/*", Target::OtherModel), ("/models/*/model", Target::OtherModel)], Ok(()));
    check(&[("/prompt/*", Target::Prompts), ("/n", Target::Answers)], Ok(()));
    check(&[("/a/*/b", Target::Other), ("/a/b", Target::Other)], Ok(()));
    // Both lists of an api file may name it. What is within an unbounded value needs no place.
    check(&[("/a", Target::Other), ("/a", unbounded(&[])), ("/a/*/b", unbounded(&["x"]))], Ok(()));
    check(&[("/a/b", unbounded(&["x"])), ("/a", Target::Other)], Ok(()));
    check(&[("/a", unbounded(&["x"])), ("/a", unbounded(&["y"]))], nested("/a"));
    check(&[("/a", Target::OtherModel), ("/a", Target::Other)], nested("/a"));
    check(&[("/a", Target::Model), ("/a", Target::OtherModel)], nested("/a"));
    check(&[("/a", Target::Other), ("/a/b", Target::MaxOutput)], nested("/a/b"));
    check(&[("/n/*", Target::Answers)], array("/n/*"));
    check(&[("/*/a", Target::Other)], array("/*/a"));
    check(&[("/a/0", Target::Other)], array("/a/0"));
    check(&[("/a/b", Target::MaxOutput), ("/a/*", Target::Other)], array("/a/*"));
    check(&[("/a/*", Target::Other), ("/a/b", Target::MaxOutput)], array("/a/b"));
}

/// Rules about models and limits hold at every shipped endpoint.
#[test]
fn every_shipped_endpoint_can_be_judged() {
    let compiled = compile::compile(&shipped::load().files);
    let (mut models, mut caps) = (0, 0);
    for provider in &compiled.providers {
        for metering in provider.endpoints.iter().filter_map(|endpoint| endpoint.metering.as_ref()) {
            let places = metering.request.places().unwrap();
            models += places.each(Kind::Model).count();
            caps += places.each(Kind::MaxOutput).count().min(1);
        }
    }
    assert!(models > 100 && caps > 100, "{models} {caps}");
}
