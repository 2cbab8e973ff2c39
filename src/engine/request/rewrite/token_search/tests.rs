use proptest::prelude::*;

use super::*;
use crate::base::hex;

/// A token of tollgate's own form.
const OWN: &str = "tg_0123456789abcdef0123456789abcdef0123456789abcdef";
/// A paste token, which may begin with hex digits and contain a dash.
const PASTE: &str = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2EifQ.c2lnbmF0dXJl-c2lnbmF0dXJlc2ln";

fn finds(token: &str, text: &str) -> bool {
    TokenSearch::new(Some(&Secret::new(token))).is_in(text.as_bytes())
}

/// In base64 at each of the three offsets, padded and unpadded, and of both alphabets.
const BASE64: [&str; 5] = [
    "dGdfMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm",
    "dTp0Z18wMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "OnRnXzAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjo",
    "Pz8_dGdfMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm",
    "Pz8/dGdfMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm",
];

#[test]
fn the_token_is_found_as_servers_read_it() {
    let digits = &OWN[3..];
    for text in BASE64 {
        assert!(finds(OWN, text), "{text}");
        for text in [format!("Basic {text}"), format!("/v1/x/{text}/y"), format!("xyz{text}")] {
            assert!(finds(OWN, &text), "{text}");
        }
        assert!(finds(OWN, &text.replace('d', "%64").replace('=', "%3D")), "{text}");
    }
    for text in [
        OWN.to_owned(),
        format!("Bearer {OWN}"),
        format!("sk-ant-oat-{OWN}"),
        format!("a=b; c={OWN}; d"),
        format!("{{\"k\":\"{OWN}\"}}"),
        OWN.to_uppercase(),
        format!("x-{}", OWN.replace('_', "-")),
        format!("%74%67%5f{digits}"),
        format!("%2574%2567%255F{digits}"),
        format!("%252574g_{digits}"),
        format!("%25252525252574g_{digits}"),
        format!("%%374g_{digits}"),
        format!("x%{OWN}"),
        format!("%25{OWN}%"),
        format!("\"\\t\\g_{digits}\""),
        format!("\"\\t\\g_{digits}"),
    ] {
        assert!(finds(OWN, &text), "{text}");
    }
    for text in [
        "",
        &OWN[1..],
        &OWN[..50],
        "tg_",
        &BASE64[0][4..],
        &format!("tg_ {digits}"),
        "%",
        "%%%",
        "\\",
        "%7",
        &"A".repeat(400),
    ] {
        assert!(!finds(OWN, text), "{text}");
    }
}

#[test]
fn the_lines_of_base64_are_one_word() {
    for text in BASE64 {
        for end in [" ", "\t", "\r\n", "\n", "\r\n ", "%0A", "%0d%0a", "\\n", "\\r\\n"] {
            for at in [1, 24, 60] {
                let text = format!("Basic {}{end}{}", &text[..at], &text[at..]);
                assert!(finds(OWN, &text), "{text:?}");
            }
        }
    }
    let query = |text: &str| TokenSearch::new(Some(&Secret::new(OWN))).is_in_query(text.as_bytes());
    let lines = format!("auth={}+{}", &BASE64[0][..33], &BASE64[0][33..]);
    assert!(query(&lines) && !finds(OWN, &lines));
    // UTF-16 in either byte order.
    for text in [
        "dABnAF8AMAAxADIAMwA0ADUANgA3ADgAOQBhAGIAYwBkAGUAZgAwADEAMgAzADQANQA2ADcAOAA5AGEAYgBjAGQAZQBmADAAMQAyADMANAA1ADYANwA4ADkAYQBiAGMAZABlAGYA",
        "AHQAZwBfADAAMQAyADMANAA1ADYANwA4ADkAYQBiAGMAZABlAGYAMAAxADIAMwA0ADUANgA3ADgAOQBhAGIAYwBkAGUAZgAwADEAMgAzADQANQA2ADcAOAA5AGEAYgBjAGQAZQBm",
    ] {
        assert!(finds(OWN, text), "{text}");
    }
}

#[test]
fn the_escapes_of_json_are_undone() {
    let token = "ab+cd/ef==gh<ij>kl&mn";
    for text in [
        r#"{"t":"ab\u002Bcd/ef==gh\u003Cij\u003Ekl\u0026mn"}"#,
        r#"{"t":"ab+cd\/ef==gh<ij>kl&mn"}"#,
        r#"{"t":"\u0061\u0062+cd\/ef==gh<ij>kl&mn"#,
        r#"{"t":"\ud83d\ude00ab+cd/ef==gh\x3cij>kl&mn\ud83d"}"#,
        r#"{"s":"{\"t\":\"ab\\u002bcd\\/ef==gh<ij>kl&mn\"}"}"#,
        "%7B%22t%22:%22ab+cd%5C/ef==gh%3Cij%3Ekl%26mn%22%7D",
        // `{"t":"ab+cd\/ef==gh<ij>kl&mn"}` in base64.
        "eyJ0IjoiYWIrY2RcL2VmPT1naDxpaj5rbCZtbiJ9",
    ] {
        assert!(finds(token, text), "{text}");
    }
    for text in [r"ab\u00+cd/ef==gh<ij>kl&mn", r"ab\n+cd/ef==gh<ij>kl&mn\u", r"ab\u4e2d+cd/ef==gh<ij>kl&mn\"]
    {
        assert!(!finds(token, text), "{text}");
    }
}

/// Listed in `docs/provider-files.md`.
#[test]
fn other_encodings_are_not_undone() {
    for text in [
        hex::encode(OWN.as_bytes()),
        OWN.replace('_', "&#95;"),
        OWN.replace('t', "%u0074"),
        OWN.replace('t', "%c1%b4"),
        // In base64 three times.
        "WkVka1prMUVSWGxOZWxFeFRtcGpORTlYUm1sWk1sSnNXbXBCZUUxcVRUQk9WRmt6VDBSc2FGbHRUbXRhVjFsM1RWUkpl\
         azVFVlRKT2VtYzFXVmRLYWxwSFZtMD0="
            .to_owned(),
    ] {
        assert!(!finds(OWN, &text), "{text}");
    }
}

#[test]
fn tokens_from_eight_bytes_are_searched_for() {
    let check =
        |token: &str, text: &str, expected: bool| assert_eq!(finds(token, text), expected, "{token} {text}");
    check(PASTE, PASTE, true);
    check(PASTE, &format!("%25{PASTE}"), true);
    check(PASTE, &format!("%25%65{}", &PASTE[1..]), true);
    check("team-token-production", "team-token-production", true);
    check("team-token-production", "production", false);
    check("a%41-b+c/d", "a%41-b+c/d", true);
    check("1234567", "1234567", false);
    check("12345678", "x12345678x", true);
    assert!(!TokenSearch::new(None).is_in(b""));
}

#[test]
fn any_generated_token_is_found() {
    let found = |text: &str| TokenSearch::generated().is_in(text.as_bytes());
    for text in [OWN, &format!("/t/item/{OWN}0/x"), &OWN.to_uppercase(), &OWN.replace('_', "%5f"), BASE64[1]]
    {
        assert!(found(text), "{text}");
    }
    for text in ["", "tg_", &OWN[..50], &OWN.replace('f', "g"), &format!("/demo/v1/{}", "a".repeat(80))] {
        assert!(!found(text), "{text}");
    }
}

/// The search of a text: its result, and the bytes that it decoded for each byte of the text.
fn searched(token: &str, text: &str) -> (bool, usize) {
    let search = Search::new(Needle::Token(token.as_bytes()), text.as_bytes());
    let found = search.is_in_field(text.as_bytes());
    (found, MAX_DECODED - search.left.get() / text.len())
}

/// Base64 of text without the token, as long as the largest heads.
fn long_base64(text: &str) -> String {
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain("+/".chars()).collect();
    let three = |three: &[u8]| {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        (0..4).map(move |at| bits >> (18 - 6 * at) & 63)
    };
    text.as_bytes().chunks_exact(3).flat_map(three).map(|index| alphabet[index]).collect()
}

#[test]
fn the_work_for_a_large_value_is_bounded() {
    let json = r#"{"id":42,"path":"a\/b","text":"caf\u00e9","list":["x y",null,{"k":"v%20w"}]},"#.repeat(400);
    let plain = [
        json.clone(),
        long_base64(&json),
        long_base64(&long_base64(&json)),
        long_base64(&format!("{{\"a\":\"{}\"}}", long_base64(&json))).replace('/', "%2F"),
        format!("{{\"a\":\"x\\/y\\n\",\"b\":\"{}\"}}", long_base64(&json)),
        "word ".repeat(10_000),
        "%25".repeat(15_000),
        "\\".repeat(50_000),
        "A".repeat(50_000),
    ];
    for text in &plain {
        for token in [OWN, "12345678"] {
            let (found, work) = searched(token, text);
            assert!(!found, "{work} {}", &text[..60]);
        }
    }
    // Each encoding leaves work for the others.
    let word = long_base64(&format!("\\\\n%2541%41{}", long_base64("\\\\n%2541%41 abcdefghijklm")));
    let mixed = format!("\\\\\\n%2541%41{word} ").repeat(400);
    let (found, decoded) = searched("12345678", &mixed);
    assert!(found && decoded == MAX_DECODED, "{found} {decoded}");
}

proptest! {
    #[test]
    fn any_text_is_searched(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let secret = Secret::new(OWN);
        let search = TokenSearch::new(Some(&secret));
        prop_assert!(!search.is_in(&text));
        let with_token = [&text, OWN.as_bytes(), &text].concat();
        prop_assert!(search.is_in(&with_token));
    }
}
