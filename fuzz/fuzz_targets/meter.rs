//! Any bytes as a request and an answer: every way of cutting gives an equal usage, counts are within their bounds, and the
//! extra event's filter passes on all bytes that it does not take out.
//!
//! The first byte selects the framing, the end, and a form or JSON as the request, the second the sizes of pieces; the rest is
//! request and answer.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tollgate::{
    access_record::Usage,
    compile::metering::{
        Combine, CounterRule, ExtraEvent, Framing, Map, MapBuilder, Metering, Target, WhenMissing,
    },
    meter::{Meter, ask::ExtraFilter},
    usage::{Counter, MAX_COUNT},
};

const MEDIA: [&str; 4] = [
    "text/event-stream",
    "application/x-ndjson",
    "application/json",
    "application/vnd.amazon.eventstream",
];

fn map() -> Arc<Map> {
    let mut map = MapBuilder::new();
    for (pointer, target) in [
        ("/usage/input", Target::Count(Counter::Input)),
        ("/message/usage/input", Target::Count(Counter::Input)),
        ("/usage/more", Target::Plus(Counter::Input)),
        ("/usage/cached", Target::Count(Counter::CacheRead)),
        ("/usage/output", Target::Count(Counter::Output)),
        ("/data/*", Target::Count(Counter::Images)),
        ("/data/*/text", Target::Count(Counter::Characters)),
        ("/usage/seconds", Target::Count(Counter::Seconds)),
        ("/model", Target::Model),
        ("/id", Target::Id),
        ("/choices/*/finish", Target::FinishReason),
        ("/choices/0/text", Target::Content),
        ("/choices/*/text", Target::Text),
        ("/error", Target::Error),
        ("/choices", Target::Prompt("choices".into())),
        ("/usage/output", Target::Parameter("output".into())),
    ] {
        map.add(pointer, target).expect("it is a pointer");
    }
    let rule = |combine, minus| CounterRule { combine, minus };
    map.rule(Counter::Input, rule(Combine::Last, vec![Counter::CacheRead]));
    map.rule(Counter::Output, rule(Combine::Max, vec![]));
    map.rule(Counter::Images, rule(Combine::Count, vec![]));
    map.rule(Counter::Characters, rule(Combine::Length, vec![]));
    map.rule(Counter::Seconds, rule(Combine::Sum, vec![]));
    Arc::new(map.build().expect("the map is bounded"))
}

static METERING: LazyLock<Arc<Metering>> = LazyLock::new(|| {
    let map = map();
    Arc::new(Metering {
        request: map.clone(),
        body: map.clone(),
        event: map,
        framings: Framing::ALL.to_vec(),
        when_missing: WhenMissing::Estimate,
        ask: None,
        path_model: None,
    })
});

static EXTRA: LazyLock<Arc<ExtraEvent>> = LazyLock::new(|| {
    let extra = ExtraEvent::new("/usage", "/choices", &["/id".into()], &METERING.event);
    Arc::new(extra.expect("they are pointers"))
});

/// The bytes in pieces whose sizes come from a seed.
fn pieces(mut bytes: &[u8], mut seed: u32) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let size = (seed >> 24) as usize % if seed & 0x10_0000 == 0 { 4 } else { 64 };
        let (piece, rest) = bytes.split_at(size.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn usage((media, is_form): (&str, bool), pieces: &[&[u8]], complete: bool) -> Usage {
    let mut meter = Meter::new(Arc::clone(&METERING), None, true);
    if is_form {
        meter.request_type(b"multipart/form-data; boundary=b");
    }
    pieces.iter().for_each(|piece| meter.request(piece));
    meter.request_end();
    meter.answer(200, Some(media.as_bytes()));
    pieces.iter().for_each(|piece| meter.bytes(piece));
    meter.finish(complete)
}

fn filtered(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut filter, mut out) = (ExtraFilter::new(&EXTRA), Vec::new());
    pieces.iter().for_each(|piece| filter.push(piece, &mut out));
    filter.finish(&mut out);
    out
}

fuzz_target!(|data: &[u8]| {
    let [mode, seed, bytes @ ..] = data else { return };
    let (media, complete) = ((MEDIA[usize::from(mode & 3)], mode & 8 != 0), mode & 4 == 0);
    let cut = pieces(bytes, u32::from(*seed));
    let whole = usage(media, &[bytes], complete);
    assert_eq!(usage(media, &cut, complete), whole);
    assert!(whole.counters.iter().all(|(_, value)| value <= MAX_COUNT));
    let passed = filtered(&[bytes]);
    assert_eq!(filtered(&cut), passed);
    let mut rest = bytes.iter();
    assert!(passed.iter().all(|byte| rest.any(|other| other == byte)), "a byte was added or moved");
});
