//! Content types, and the query.

use super::super::media::{Media, of};
use super::*;

#[test]
fn the_content_type_selects_the_reader() {
    let check = |value: &str, expected: &str| {
        let found = match of(Some(value.as_bytes())) {
            Ok(Media::Json) => "json".to_owned(),
            Ok(Media::UrlEncoded) => "urlencoded".to_owned(),
            Ok(Media::Multipart(boundary)) => format!("multipart {}", String::from_utf8_lossy(&boundary)),
            Err(refused) => format!("!{}", refused.cause()),
        };
        assert_eq!(found, expected, "{value}");
    };
    assert_eq!(of(None), Ok(Media::Json));
    for json in [
        "",
        " ",
        "application/json",
        "Application/JSON",
        "application/json;",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/json; charset=us-ascii",
        "application/vnd.a+json",
        "application/json; odata=verbose; a=\"b;c\"",
        "text/plain",
        "application/octet-stream",
        "json",
        "*/*",
        "application/json, application/json",
        // JSON is never a valid form of these.
        "multipart/mixed; boundary=a",
    ] {
        check(json, "json");
    }
    for wrong in [
        "application/json; charset=utf-7",
        "application/json; charset=utf-16",
        "application/json; charset=\"\"",
        "application/json; charset=utf-8; charset=utf-8",
        "application/json; charset*=utf-8''utf-7",
        "application/json; xcharset=utf-7",
        "application/json; a=\"charset=utf-7\"",
        "text/html,charset=utf-7",
        "application/x-www-form-urlencoded; charset=utf-7",
        "multipart/form-data; boundary=a; charset=utf-16",
    ] {
        check(wrong, "!charset");
    }
    for wrong in [
        "application/json; a",
        "application/json; a=",
        "application/json; a =b",
        "application/json; =b",
        "application/json; a=\"b",
        "application/json; a=\"b\\\"c\"",
        "application/json; a=b c",
        "application/json\u{e9}",
        "application/json\u{1}",
        "application/x-www-form-urlencoded; a=b",
        "application/x-www-form-urlencoded, application/json",
        "application/x-www-form-urlencoded a",
        "application/json, application/x-www-form-urlencoded",
        "application/json; a=multipart/form-data",
        "application/json; a=\"multipart/form-data\"",
        "x-www-form-urlencoded",
        "multipart/form-data2; boundary=a",
        "multipart/form-data; boundary=a; b=c",
    ] {
        check(wrong, "!content_type");
    }
    check("application/x-www-form-urlencoded", "urlencoded");
    check(" Application/X-WWW-Form-URLEncoded ; charset=UTF-8", "urlencoded");
    check("multipart/form-data; boundary=abc", "multipart abc");
    check("Multipart/Form-Data; charset=utf-8; Boundary=\"a/b=c\"", "multipart a/b=c");
    check("multipart/form-data; boundary=----WebKitFormBoundary0aB", "multipart ----WebKitFormBoundary0aB");
    check(
        &format!("multipart/form-data; boundary={}", "b".repeat(70)),
        &format!("multipart {}", "b".repeat(70)),
    );
    check(&format!("multipart/form-data; boundary={}", "b".repeat(71)), "!boundary");
    for wrong in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a; boundary=a",
        "multipart/form-data; boundary=a; BOUNDARY=b",
        "multipart/form-data; boundary*=a",
        "multipart/form-data; boundary*0=a",
        "multipart/form-data; xboundary=a; boundary=b",
        "multipart/form-data; boundary=\"a b\"",
        "multipart/form-data; boundary=\"a;b\"",
        "multipart/form-data; boundary=\"a,b\"",
        "multipart/form-data; boundary=a'b",
        "multipart/form-data, boundary=a, boundary=b",
    ] {
        check(wrong, "!boundary");
    }
}

#[test]
fn a_query_with_the_name_of_the_model_is_found() {
    let check = |query: &str, expected: bool| {
        let places = places("/a/model", &["/max"]);
        assert_eq!(query_names_model(Some(query), &places), expected, "{query}");
    };
    for query in [
        "model=x",
        "model",
        "model=",
        "a=1&model=x",
        "a=1;model=x",
        "&model",
        "Model=x",
        "MODEL",
        "%6dodel=x",
        "%6Dodel",
        "mod%65l=x",
        "model%00=x",
        "model[]=x",
        "model%5B0%5D=x",
        "model.a=x",
        "+model=x",
        "model%20=x",
        "a=1?model=x",
        "mode%6C%00x=y",
        "%4dODEL",
    ] {
        check(query, true);
    }
    for query in [
        "",
        "a",
        "a=model",
        "models=x",
        "a.model=x",
        "m%6",
        "%",
        "model%",
        "%256dodel=x",
        "max=1",
        "mod+el",
        "a/model",
    ] {
        check(query, false);
    }
    assert!(!query_names_model(None, &places("/model", &[])));
    let without = map([("/max", Target::MaxOutput)]);
    let without = without.places().unwrap();
    assert!(!query_names_model(Some("model=x"), without));
}
