//! Tests of pointers and of the tree that they form.

use super::*;

#[test]
fn pointers_are_parsed_or_refused_with_a_reason() {
    let name = |text: &str| Step::Name(text.into());
    let good: [(&str, Vec<Step>); 5] = [
        ("", vec![]),
        ("/", vec![name("")]),
        ("/usage/prompt_tokens", vec![name("usage"), name("prompt_tokens")]),
        ("/a~1b/m~0n/~01", vec![name("a/b"), name("m~n"), name("~1")]),
        ("/choices/*/0", vec![name("choices"), Step::Every, name("0")]),
    ];
    for (text, steps) in good {
        let pointer = Pointer::parse(text).unwrap();
        assert_eq!((pointer.steps(), pointer.as_str()), (steps.as_slice(), text));
    }
    let long = format!("/{}", "x".repeat(MAX_STEP + 1));
    let deep = "/a".repeat(MAX_STEPS + 1);
    for (text, problem) in [
        ("usage", PointerProblem::NoSlash),
        ("/a~2", PointerProblem::Escape),
        ("/a~", PointerProblem::Escape),
        (&long, PointerProblem::LongStep),
        (&deep, PointerProblem::TooDeep),
    ] {
        assert_eq!(Pointer::parse(text), Err(problem), "{text}");
    }
    assert_eq!(Pointer::parse_single("/a/*"), Err(PointerProblem::Several));
}

#[test]
fn a_map_is_bounded() {
    let mut builder = MapBuilder::new();
    for index in 0..MAX_POINTERS {
        builder.add(&format!("/k{index}"), Target::Text).unwrap();
    }
    assert_eq!(builder.add("/more", Target::Text), Err(PointerProblem::TooMany));
    assert_eq!(builder.build().unwrap().nodes().len(), MAX_POINTERS + 2);
    let mut mixed = MapBuilder::new();
    for index in 0..MAX_STEPS {
        let steps = (0..MAX_STEPS).map(|step| if step == index { "/0" } else { "/*" });
        mixed.add(&steps.collect::<String>(), Target::Text).unwrap();
        mixed.add(&"/*".repeat(index + 1), Target::Text).unwrap();
    }
    assert_eq!(mixed.build().unwrap_err(), PointerProblem::TooMixed);
}

/// The entries at a place, which is written as a pointer into a document; `i` before a number is an array's index.
fn entries_at(map: &Map, place: &str) -> Vec<u16> {
    let mut node = &map.nodes()[usize::from(ROOT)];
    for step in place.split('/').skip(1) {
        let next = match step.strip_prefix('i') {
            Some(index) => node.element(index.parse().unwrap()),
            None => node.member(step.as_bytes()),
        };
        if next == NO_NODE {
            return Vec::new();
        }
        node = &map.nodes()[usize::from(next)];
    }
    node.entries.to_vec()
}

#[test]
fn each_place_has_one_node_with_all_its_entries() {
    let mut builder = MapBuilder::new();
    let pointers = ["/c/*/finish", "/c/0/text", "/c/*", "/c/0", "/c/*/text", "/u", "/u", ""];
    for pointer in pointers {
        builder.add(pointer, Target::Text).unwrap();
    }
    let map = builder.build().unwrap();
    let check = |place: &str, expected: &[u16]| assert_eq!(entries_at(&map, place), expected, "{place}");
    check("", &[7]);
    check("/u", &[5, 6]);
    check("/c", &[]);
    check("/c/i0", &[2, 3]);
    check("/c/i1", &[2]);
    check("/c/i0/finish", &[0]);
    check("/c/i0/text", &[1, 4]);
    check("/c/i7/text", &[4]);
    // A key is no element: only the pointer with the name matches.
    check("/c/0/text", &[1]);
    check("/c/0", &[3]);
    check("/c/0/finish", &[]);
    check("/x", &[]);
}

#[test]
fn equal_maps_have_equal_shapes() {
    let map = |pointer: &str, combine: Combine| {
        let mut builder = MapBuilder::new();
        builder.add(pointer, Target::Count(Counter::Input)).unwrap();
        builder.rule(Counter::Input, CounterRule { combine, minus: vec![Counter::CacheRead] });
        Arc::new(builder.build().unwrap())
    };
    let metering = |map: Arc<Map>| Metering {
        request: Arc::default(),
        body: map,
        event: Arc::default(),
        framings: vec![Framing::Sse],
        when_missing: WhenMissing::None,
        ask: None,
        path_model: None,
    };
    let shape = |pointer: &str, combine: Combine| metering(map(pointer, combine)).shape();
    assert_eq!(shape("/a", Combine::Last), shape("/a", Combine::Last));
    assert_ne!(shape("/a", Combine::Last), shape("/b", Combine::Last));
    assert_ne!(shape("/a", Combine::Last), shape("/a", Combine::Sum));
}

#[test]
fn names_are_parsed_as_they_are_written() {
    for one in Combine::ALL {
        assert_eq!(Combine::parse(one.name()), Some(one));
    }
    for one in Framing::ALL {
        assert_eq!(Framing::parse(one.name()), Some(one));
    }
    for one in WhenMissing::ALL {
        assert_eq!(WhenMissing::parse(one.name()), Some(one));
    }
    assert_eq!(Combine::parse("average"), None);
}
