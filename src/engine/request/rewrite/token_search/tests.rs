use proptest::prelude::*;

use super::*;

/// A token of tollgate's own form.
const OWN: &str = "tg_0123456789abcdef0123456789abcdef0123456789abcdef";
/// A paste token, which may begin with hex digits and contain a dash.
const PASTE: &str = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2EifQ.c2lnbmF0dXJl-c2lnbmF0dXJlc2ln";

fn finds(token: &str, text: &str) -> bool {
    TokenSearch::new(Some(&Secret::new(token))).is_in(text.as_bytes())
}

#[test]
fn the_token_is_found_as_servers_read_it() {
    let digits = &OWN[3..];
    // In base64 at each of the three offsets, padded and unpadded, and of both alphabets.
    let base64 = [
        "dGdfMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm",
        "dTp0Z18wMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "OnRnXzAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjo",
        "Pz8_dGdfMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm",
        "Pz8/dGdfMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm",
    ];
    for text in base64 {
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
        format!("%74%67%5f{digits}"),
        format!("%2574%2567%255F{digits}"),
        format!("%252574g_{digits}"),
        format!("%25252525252574g_{digits}"),
        format!("%%374g_{digits}"),
        format!("x%{OWN}"),
        format!("%25{OWN}%"),
        format!("\"\\t\\g_{digits}\""),
    ] {
        assert!(finds(OWN, &text), "{text}");
    }
    for text in [
        "",
        &OWN[1..],
        &OWN[..50],
        "tg_",
        &base64[0][4..],
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
fn the_part_of_the_token_that_is_good_alone_is_searched_for() {
    let check =
        |token: &str, text: &str, expected: bool| assert_eq!(finds(token, text), expected, "{token} {text}");
    check(&format!("sk-ant-oat-{OWN}"), OWN, true);
    check(PASTE, PASTE, true);
    check(PASTE, &format!("%25{PASTE}"), true);
    check(PASTE, &format!("%25%65{}", &PASTE[1..]), true);
    // The last part may be a word: then the whole counts.
    check("team-token-production", "team-token-production", true);
    check("team-token-production", "production", false);
    check("a%41-b+c/d", "a%41-b+c/d", true);
    // Too short to be searched for.
    check("1234567", "1234567", false);
    check("12345678", "x12345678x", true);
    assert!(!TokenSearch::new(None).is_in(b""));
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
