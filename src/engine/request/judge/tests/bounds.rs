//! What a request may have besides its model and its cap: other models, several answers, and values that nothing bounds.

use super::*;

fn chat() -> Arc<Places> {
    let except = |globs: &[&str]| Target::Unbounded(globs.iter().map(|glob| (*glob).into()).collect());
    let map = map([
        ("/model", Target::Model),
        ("/max", Target::MaxOutput),
        ("/models", Target::OtherModel),
        ("/models/*", Target::OtherModel),
        ("/fallbacks/*/model", Target::OtherModel),
        ("/n", Target::Answers),
        ("/best_of", Target::Answers),
        ("/prompt/*", Target::Prompts),
        ("/tools/*/type", except(&["function", "bash_*"])),
        ("/messages/*/content/*/image", Target::Other),
        ("/earlier", except(&[])),
    ]);
    Arc::clone(map.places().unwrap())
}

const MODELS: Needs = Needs { model: true, other_models: true, ..NOTHING };
const BOUND: Needs = Needs { max_output: true, bound: true, ..NOTHING };

fn case(needs: Needs) -> Case<'static> {
    Case { places: chat(), content_type: None, needs }
}

#[test]
fn other_models_are_found() {
    let check = |body: &str, expected: &str| case(MODELS).check(body.as_bytes(), expected);
    check(r#"{"model":"a"}"#, "a -");
    check(r#"{"model":"a","models":["b","c"]}"#, "a +b +c -");
    check(r#"{"models":["b","b"],"model":"a"}"#, "a +b +b -");
    check(r#"{"models":["\u0062"],"model":"a"}"#, "a +b -");
    check(r#"{"models":["b"]}"#, "+b -");
    check(r#"{"models":"b","model":"a"}"#, "a +b -");
    check(r#"{"model":"a","fallbacks":[{"model":"b"},{"x":1,"model":"c"},{}]}"#, "a +b +c -");
    check(r#"{"model":"a","fallbacks":[{"model":null},null],"models":[null]}"#, "a -");
    check(r#"{"model":"a","models":null,"fallbacks":null}"#, "a -");
    // Some upstreams take one value for a list of it.
    for other in [
        r#""fallbacks":{"model":"x"}"#,
        r#""fallbacks":"x""#,
        r#""fallbacks":["x"]"#,
        r#""fallbacks":[[{"model":"x"}]]"#,
        r#""fallbacks":[{"model":["x"]}]"#,
        r#""fallbacks":[{"model":7}]"#,
        r#""models":[1]"#,
        r#""models":[["x"]]"#,
        r#""models":[{"model":"x"}]"#,
        r#""models":{"a":"x"}"#,
        r#""models":true"#,
    ] {
        check(&format!(r#"{{"model":"a",{other}}}"#), "!container");
    }
    check(r#"{"model":"a","x":{"models":["b"]},"y":[{"fallbacks":[{"model":"c"}]}]}"#, "a -");
    // In each object, a key comes once.
    check(r#"{"model":"a","fallbacks":[{"model":"b","model":"c"}]}"#, "!twice");
    check(r#"{"model":"a","fallbacks":[{"Model":"b"}]}"#, "!look_alike");
    check(r#"{"model":"a","models":["b"],"models":["c"]}"#, "!twice");
    check(r#"{"model":"a","MODELS":["b"]}"#, "!look_alike");
    check(r#"{"model":"a","models":["b\u0000"]}"#, "!model_text");
    check(&format!(r#"{{"model":"a","models":["{}"]}}"#, "b".repeat(513)), "!long_model");
    let many = |count| vec![r#""b""#; count].join(",");
    case(MODELS).pieces([format!(r#"{{"models":[{}]}}"#, many(64)).as_bytes()], None).unwrap();
    let refused = case(MODELS).pieces([format!(r#"{{"models":[{}]}}"#, many(65)).as_bytes()], None);
    assert_eq!(refused, Err(Unjudgeable::TooManyModels { name: "models/*".into() }));
    // They are not asked for.
    case(MODEL).check(br#"{"model":"a","models":["b"],"Models":1}"#, "a -");
    case(Needs { other_models: true, ..NOTHING }).check(br#"{"model":1,"models":["b"]}"#, "+b -");
}

#[test]
fn a_cap_is_that_of_all_answers() {
    let check = |body: &str, expected: &str| case(MAX_OUTPUT).check(body.as_bytes(), expected);
    check(r#"{"max":10,"n":3}"#, "- 30");
    check(r#"{"n":3,"max":10}"#, "- 30");
    check(r#"{"n":3,"max":10,"best_of":5}"#, "- 50");
    check(r#"{"n":0,"max":10,"best_of":null}"#, "- 10");
    check(r#"{"n":3}"#, "- -");
    check(r#"{"max":10,"prompt":"x"}"#, "- 10");
    check(r#"{"max":10,"prompt":["x","y"]}"#, "- 20");
    check(r#"{"max":10,"prompt":["x","y"],"n":2}"#, "- 40");
    check(r#"{"max":10,"prompt":[1,2,3]}"#, "- 10");
    check(r#"{"max":10,"prompt":[[1,2],[3],[]]}"#, "- 30");
    check(r#"{"max":10,"prompt":[]}"#, "- 10");
    check(r#"{"max":18446744073709551615,"n":2}"#, "- 18446744073709551615");
    check(r#"{"max":10,"n":1.5}"#, "!max_output");
    check(r#"{"max":10,"n":"3"}"#, "!max_output");
    check(r#"{"max":10,"n":-3}"#, "!max_output");
    check(r#"{"max":10,"n":2,"n":3}"#, "!twice");
    check(r#"{"max":10,"N":3}"#, "!look_alike");
}

/// Without a limit that has to hold, a cap that cannot be read is none.
#[test]
fn a_cap_for_an_estimate_refuses_nothing() {
    let needs = Needs { is_estimate: true, ..MAX_OUTPUT };
    let check = |body: &str, expected: &str| case(needs).check(body.as_bytes(), expected);
    for value in ["-1", "5.0", "\"5\"", "true", "[]", "{}", "null"] {
        check(&format!(r#"{{"max":{value},"n":2}}"#), "- -");
        check(&format!(r#"{{"max":9,"n":{value}}}"#), "- 9");
    }
    check(r#"{"max":9,"n":2}"#, "- 18");
    check(r#"{"max":9,"max":9}"#, "!twice");
}

#[test]
fn what_nothing_bounds_is_refused() {
    let check = |body: &str, expected: &str| case(BOUND).check(body.as_bytes(), expected);
    check(r#"{"max":10,"tools":[{"type":"function"},{"type":"bash_1"},{"name":"x"}]}"#, "- 10");
    check(r#"{"max":10,"tools":[{"type":"function"},{"type":"search"}]}"#, "!unbounded");
    check(r#"{"max":10,"tools":[{"type":"\u0066unction"}]}"#, "- 10");
    check(r#"{"max":10,"tools":[{"type":null}]}"#, "- 10");
    check(r#"{"max":10,"tools":[{"type":{}}]}"#, "!unbounded");
    check(&format!(r#"{{"max":1,"tools":[{{"type":"{}"}}]}}"#, "f".repeat(600)), "!unbounded");
    check(r#"{"max":10,"tools":[{"type":"function","type":"search"}]}"#, "!twice");
    check(r#"{"max":10,"tools":[{"Type":"search"}]}"#, "!look_alike");
    check(r#"{"max":10,"messages":[{"content":"text"}]}"#, "- 10");
    check(r#"{"max":10,"messages":[{"content":[{"text":"x"}]},{"content":[]}]}"#, "- 10");
    check(r#"{"max":10,"messages":[{"content":[{"text":"x"},{"image":{"url":"x"}}]}]}"#, "!unbounded");
    check(r#"{"max":10,"messages":[{"content":[{"image":null}]}]}"#, "- 10");
    for value in ["1", "true", "false", "\"\"", "[]", "{}"] {
        check(&format!(r#"{{"max":10,"earlier":{value}}}"#), "!unbounded");
    }
    check(r#"{"max":10,"earlier":null}"#, "- 10");
    for other in [
        r#""tools":{"type":"x"}"#,
        r#""messages":{}"#,
        r#""messages":[{"content":{"image":1}}]"#,
        r#""tools":[[]]"#,
    ] {
        check(&format!(r#"{{"max":10,{other}}}"#), "!container");
    }
    // The size of the rest may not be bounded: the body is read to its end.
    let mut judge = case(BOUND).judge().unwrap();
    assert_eq!(judge.feed(br#"{"max":10}"#), Ok(Progress::More));
    // Without such a limit, they pass.
    case(ALL).check(br#"{"model":"a","max":10,"earlier":1,"tools":[{"type":"search"}]}"#, "a 10");
}

#[test]
fn forms_have_no_containers() {
    let form = |needs, body: &str, expected: &str| {
        let case = Case { places: chat(), content_type: Some("application/x-www-form-urlencoded"), needs };
        case.check(body.as_bytes(), expected);
    };
    form(MODELS, "model=a&n=2", "a -");
    form(MODELS, "model=a&models=b", "a +b -");
    form(MODELS, "model=a&models[]=b", "!look_alike");
    form(MODELS, "model=a&fallbacks=b", "!not_an_object");
    form(MAX_OUTPUT, "max=10&n=2&prompt=x", "- 20");
    form(BOUND, "max=10&messages=x", "- 10");
    form(BOUND, "max=10&earlier=x", "!unbounded");
}
