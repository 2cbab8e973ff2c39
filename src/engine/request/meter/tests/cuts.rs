//! Properties: every way of cutting gives an equal result, and documents are read as the reference reads them.

use proptest::prelude::*;

use super::{
    reference::{Tree, Values},
    *,
};

/// Pointers of every kind into the documents of [`tree`].
const POINTERS: &str = "
    input /a /b/a minus cache_read
    cache_read /b/* combine sum
    output /*/a /0 plus /a/0 combine max
    reasoning /a/b/c combine first
    images /a/* combine count
    characters /b /b/* combine length
    seconds /c/0/a /c/*/b
    units  combine sum
    model /c /a/0
    id /b/0/c
    finish /a/*/b
    error /b/b
    max_output /a/b /c
    stream /a/c
    text /a /b/* /c/*/a /c/0/c
    content /a /a/a";

fn number() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "0",
        "1",
        "17",
        "2.0",
        "3.25",
        "-1",
        "-0",
        "1e3",
        "1E+2",
        "1e300",
        "1000000000",
        "1000000001",
    ])
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            "a",
            "stop",
            "m-1",
            "\"\\/",
            "é€😀",
            "\n\t\u{0}\u{7f}",
            "]}",
            "data: {\r\n\r\n"
        ])
        .prop_map(str::to_owned),
        "[a-z]{1,40}",
        "[ -~é€😀]{180,230}",
    ]
}

/// A document as text: with space, escapes and repeated keys.
fn document() -> impl Strategy<Value = String> {
    let space = || prop::sample::select(vec!["", "", "", " ", "\n", " \t\r\n "]);
    let string = |text: BoxedStrategy<String>| {
        (text, any::<u64>()).prop_map(|(text, escapes)| quoted(&text, escapes)).boxed()
    };
    let key =
        || prop::sample::select(vec!["a", "b", "c", "0", "1", "aa", "é", ""]).prop_map(str::to_owned).boxed();
    let leaf = prop_oneof![
        number().prop_map(str::to_owned),
        prop::sample::select(vec!["null", "true", "false"]).prop_map(str::to_owned),
        string(text().boxed()),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let element =
            (space(), inner, space()).prop_map(|(before, value, after)| format!("{before}{value}{after}"));
        let member = (space(), string(key()), space(), element.clone())
            .prop_map(|(before, key, after, value)| format!("{before}{key}{after}:{value}"));
        prop_oneof![
            1 => prop::collection::vec(element, 0..5).prop_map(|all| format!("[{}]", all.join(","))),
            3 => prop::collection::vec(member, 0..6).prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    })
}

/// A string of JSON; the bits say which characters are escaped that need not be.
fn quoted(text: &str, escapes: u64) -> String {
    let mut quoted = String::from("\"");
    for (index, one) in text.chars().enumerate() {
        if one < ' ' || matches!(one, '"' | '\\') || (escapes >> (index % 64)).trailing_zeros() >= 3 {
            let mut units = [0; 2];
            for unit in one.encode_utf16(&mut units) {
                let _ = write!(quoted, "\\u{unit:04x}");
            }
        } else {
            quoted.push(one);
        }
    }
    quoted.push('"');
    quoted
}

/// The bytes in pieces that end at such places.
pub(super) fn pieces<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for place in places.into_iter().chain([bytes.len()]) {
        pieces.push(&bytes[start..place]);
        start = place;
    }
    pieces
}

fn read(map: &Map, documents: &[Vec<&[u8]>]) -> Reader {
    let mut reader = Reader::new(map, true);
    for document in documents {
        for piece in document {
            reader.feed(map, piece);
        }
        reader.end(map, NotJson::Broken);
    }
    reader
}

fn values(map: &Map, documents: &[Vec<&[u8]>]) -> Values {
    let reader = read(map, documents);
    assert!(!reader.is_broken, "{documents:?}");
    Values::of(&reader.tally)
}

/// A document with some bytes changed.
pub(super) fn damaged(document: &[u8], damage: Vec<(prop::sample::Index, u8)>) -> Vec<u8> {
    let mut document = document.to_vec();
    for (place, byte) in damage {
        if !document.is_empty() {
            let place = place.index(document.len());
            document[place] = byte;
        }
    }
    document
}

/// A stream in one of the framings: its content type and bytes.
fn stream() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let documents = || prop::collection::vec(document(), 0..4);
    let end = || prop::sample::select(vec!["\n", "\r\n", "\r"]);
    prop_oneof![
        documents().prop_map(|all| ("application/json", all.concat().into_bytes())),
        documents().prop_map(|all| ("application/json", format!("[{}]", all.join(", ")).into_bytes())),
        documents().prop_map(|all| ("application/x-ndjson", all.join("\n").into_bytes())),
        (documents(), end()).prop_map(|(all, end)| {
            let event = |one: &String| {
                format!("data: {}{end}{end}", one.replace("\r\n", "\n").replace('\n', &format!("{end}data:")))
            };
            ("text/event-stream", all.iter().map(event).collect::<String>().into_bytes())
        }),
        documents().prop_map(|all| {
            let message = |one: &String| transcripts::message(&[(":message-type", "event")], one);
            ("application/vnd.amazon.eventstream", all.iter().flat_map(message).collect())
        }),
    ]
}

/// Changes of a byte, as errors of a peer.
pub(super) fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\ \n\r0dn".to_vec())];
    prop::collection::vec((any::<prop::sample::Index>(), byte), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn documents_are_read_as_the_reference_reads_them(
        documents in prop::collection::vec(document(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let map = map(POINTERS);
        let trees: Vec<Tree> = documents.iter().map(|one| serde_json::from_str(one).unwrap()).collect();
        let expected = Values::reference(&map, &trees);
        let whole: Vec<Vec<&[u8]>> = documents.iter().map(|one| vec![one.as_bytes()]).collect();
        prop_assert_eq!(&values(&map, &whole), &expected);
        let cut: Vec<Vec<&[u8]>> = documents.iter().map(|one| pieces(one.as_bytes(), &cuts)).collect();
        prop_assert_eq!(&values(&map, &cut), &expected);
        let single: Vec<Vec<&[u8]>> = documents.iter().map(|one| one.as_bytes().chunks(1).collect()).collect();
        prop_assert_eq!(&values(&map, &single), &expected);
    }

    #[test]
    fn every_way_of_cutting_gives_an_equal_result(
        (media, answer) in stream(),
        damage in damage(),
        complete in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let answer = damaged(&answer, damage);
        let request = "prompt:a /a\nparameter:b /b\ntext /a/*";
        let metering = Arc::new(metering(&Framing::ALL, request, POINTERS, POINTERS));
        let exchange = Exchange { request: &answer, request_type: None, status: 200, content_type: Some(media), answer: &answer, complete };
        let whole = exchange.run(&metering, [&answer[..]], [&answer[..]]);
        let cut = pieces(&answer, &cuts);
        prop_assert_eq!(&exchange.run(&metering, cut.iter().copied(), cut.iter().copied()), &whole);
        prop_assert_eq!(&exchange.run(&metering, answer.chunks(1), answer.chunks(1)), &whole);
    }

    /// Events that are like the ones before them are read as those that are not.
    #[test]
    fn documents_that_repeat_are_read_as_others(
        document in document(),
        damages in prop::collection::vec(damage(), 2..8),
    ) {
        let map = map(POINTERS);
        let documents: Vec<Vec<u8>> =
            damages.into_iter().map(|damage| damaged(document.as_bytes(), damage)).collect();
        // The reference compares text.
        let documents: Vec<_> = documents.iter().map(|one| String::from_utf8_lossy(one)).collect();
        let whole: Vec<Vec<&[u8]>> = documents.iter().map(|one| vec![one.as_bytes()]).collect();
        let single: Vec<Vec<&[u8]>> = documents.iter().map(|one| one.as_bytes().chunks(1).collect()).collect();
        let (whole, single) = (read(&map, &whole), read(&map, &single));
        prop_assert_eq!(Values::of(&whole.tally), Values::of(&single.tally));
        prop_assert_eq!((whole.documents, whole.is_broken), (single.documents, single.is_broken));
        let stream = sse(&documents.iter().map(|one| &**one).collect::<Vec<_>>());
        let metering = Arc::new(metering(&[Framing::Sse], "", "", "text /a /b /c/*\nid /0"));
        let exchange =
            Exchange { request: b"", request_type: None, status: 200, content_type: SSE, answer: &stream, complete: true };
        let whole = exchange.run(&metering, [], [&stream[..]]);
        prop_assert_eq!(exchange.run(&metering, [], stream.chunks(1)), whole);
    }
}

/// A broken object after a part of a byte order mark is one, wherever the mark was cut off.
#[test]
fn a_mark_before_a_broken_object_may_be_cut_off() {
    let metering = Arc::new(metering(&Framing::ALL, "", POINTERS, POINTERS));
    for answer in ["data:\u{FEFF}{\u{0}\ndata: \"a\"}\n\n", "data:\u{FEFF} {\"a\"}\n\n"] {
        let (answer, content_type) = (answer.as_bytes(), Some("text/event-stream"));
        let exchange =
            Exchange { request: b"", request_type: None, status: 200, content_type, answer, complete: false };
        let whole = exchange.run(&metering, [], [answer]);
        assert_eq!(exchange.run(&metering, [], answer.chunks(1)), whole, "{answer:?}");
        assert_eq!(whole.not_counted, Some(NotCounted::Format), "{answer:?}");
    }
}
