//! Units besides tokens, each in the shapes that answers have, and the ways to combine several matches.

use super::*;

/// An exchange: the request, the media type of the answer, the answer, and its usage.
type Row<'t> = (&'t str, Option<&'t str>, &'t str, &'t str);

fn check(metering: &Metering, exchanges: &[Row<'_>]) {
    for (request, media, answer, expected) in exchanges {
        Exchange::new(request, *media, answer.as_bytes()).check(metering.clone(), expected);
    }
}

#[test]
fn embeddings() {
    let metering =
        metering(&[], "model /model\ntext /input /input/*", "input /usage/prompt_tokens\nmodel /model", "");
    check(
        &metering,
        &[
            (
                r#"{"model":"e","input":["one","two"]}"#,
                JSON,
                r#"{"data":[{"embedding":[0.1,-2e-3]}],"usage":{"prompt_tokens":2}}"#,
                "input=2 model=e prompt=6",
            ),
            (r#"{"input":"one"}"#, JSON, r#"{"data":[]}"#, "prompt=3 estimate-prompt"),
        ],
    );
}

#[test]
fn images() {
    let metering = metering(
        &[],
        "text /prompt",
        "images /data/* combine count\ninput /usage/input_tokens\noutput /usage/output_tokens",
        "",
    );
    check(
        &metering,
        &[
            (
                r#"{"prompt":"a cat"}"#,
                JSON,
                r#"{"data":[{"b64_json":"AAAA"},{"url":"x"}]}"#,
                "images=2 prompt=5",
            ),
            (
                "{}",
                JSON,
                r#"{"data":[{}],"usage":{"input_tokens":5,"output_tokens":100}}"#,
                "input=5 output=100 images=1",
            ),
        ],
    );
}

/// Units besides tokens: the answer may still need an estimate.
#[test]
fn searches() {
    let event = "units /usage/searches\ninput /usage/in\noutput /usage/out\ntext /text";
    let metering = metering(&[Framing::Sse], "", "", event);
    let usage = r#"data: {"usage":{"searches":2,"in":4,"out":1}}"#;
    let more = r#"data: {"text":"more"}"#;
    check(
        &metering,
        &[
            ("", SSE, &format!("{usage}\n\ndata: {{}}\n\n"), "input=4 output=1 units=2 streamed"),
            (
                "",
                SSE,
                &format!("{usage}\n\n{more}\n\n"),
                "input=4 output=1 units=2 answer=4 streamed estimate-answer",
            ),
        ],
    );
}

/// A binary answer: usage is in the request.
#[test]
fn speech() {
    let request = "model /model\ncharacters /input combine length";
    let metering = metering(&[Framing::Sse], request, "", "input /usage/input_tokens");
    check(
        &metering,
        &[
            (
                r#"{"model":"s","input":"Gr\u00fc\u00dfe \ud83d\ude00!"}"#,
                Some("audio/mpeg"),
                "\u{0}\u{1}{\"usage\"",
                "characters=8 model=s",
            ),
            ("{}", SSE, "data: {\"usage\":{\"input_tokens\":4}}\n\n", "input=4 streamed"),
        ],
    );
}

#[test]
fn transcription() {
    let metering = metering(
        &[Framing::Sse],
        "model /model",
        "seconds /usage/seconds /duration\ninput /usage/input_tokens minus audio_input
         audio_input /usage/input_token_details/audio_tokens\noutput /usage/output_tokens\ntext /text",
        "input /usage/input_tokens\noutput /usage/output_tokens\ntext /delta",
    );
    let request = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nw-1\r\n--b--";
    let check = |media, answer: &str, expected: &str| {
        let exchange = Exchange::new(request, media, answer.as_bytes());
        Exchange { request_type: Some("multipart/form-data; boundary=b"), ..exchange }
            .check(metering.clone(), expected);
    };
    check(JSON, r#"{"text":"Hi","usage":{"type":"duration","seconds":3.2}}"#, "seconds=4 model=w-1 answer=2");
    check(
        JSON,
        r#"{"text":"Hi","usage":{"input_tokens":14,"input_token_details":{"audio_tokens":10},"output_tokens":3}}"#,
        "input=4 output=3 audio_input=10 model=w-1 answer=2",
    );
    check(Some("text/plain"), "Hi", "model=w-1 estimate-prompt estimate-answer content_type");
}

#[test]
fn rerank() {
    let metering =
        metering(&[], "text /query /documents/*", "units /meta/billed_units/search_units\nid /id", "");
    check(
        &metering,
        &[(
            r#"{"query":"q","documents":["a","b"]}"#,
            JSON,
            r#"{"id":"x","results":[],"meta":{"billed_units":{"search_units":1}}}"#,
            "units=1 id=x prompt=3",
        )],
    );
}

#[test]
fn matches_are_combined() {
    let check = |combine: &str, expected: &str| {
        let map = format!("units /u/* combine {combine}");
        let metering = metering(&[Framing::Sse], "", "", &map);
        let answer = sse(&[r#"{"u":[3,null,9]}"#, r#"{"u":[]}"#, r#"{"u":[4,"ab",null]}"#]);
        let answer = String::from_utf8(answer).unwrap();
        let answer =
            if matches!(combine, "count" | "length") { answer } else { answer.replace("\"ab\"", "5") };
        Exchange::new("", SSE, answer.as_bytes()).check(metering, expected);
    };
    check("last", "units=5 streamed");
    check("first", "units=3 streamed");
    check("sum", "units=21 streamed");
    check("max", "units=9 streamed");
    check("count", "units=4 streamed");
    check("length", "units=2 streamed");
}

#[test]
fn of_repeated_keys_in_a_request_the_last_counts() {
    let request = "model /model
        characters /input combine length
        images /parts/*/image combine count
        max_output /max
        stream /stream";
    let metering = metering(&[Framing::Sse], request, "id /id", "units /units");
    let check = |request: &str, expected: &str| {
        Exchange::new(request, JSON, b"{\"id\":\"r\"}").check(metering.clone(), expected);
    };
    check(r#"{"model":"a","model":"b","input":"abc","input":"abcdef"}"#, "characters=6 model=b id=r");
    check(r#"{"model":"a" , "mod\u0065l" : "b","max":1,"input":"abc","input":7}"#, "model=b id=r max=1");
    check(r#"{"model":"a","model":null,"max":1,"max":"2"}"#, "id=r");
    check(r#"{"parts":[{"image":1},{"image":1}],"parts":[{"image":1}]}"#, "images=1 id=r");
    check(r#"{"parts":[{"image":1},{"image":1,"image":2}]}"#, "images=3 id=r");
    check(r#"{"parts":[{"image":1}],"parts":[]}"#, "id=r");
    // Of an answer, all are matches.
    let event = "data: {\"units\":1,\"units\":2}\n\n";
    Exchange::new("{}", SSE, event.as_bytes()).check(metering.clone(), "units=2 streamed");
    // Text of both is counted, and so is known to be more than the upstream reads: nothing is learned from it.
    let text = super::metering(&[Framing::Sse], "text /messages/*/content", "id /id", "");
    let twice = r#"{"messages":[{"content":"junk"}],"messages":[{"content":"ab"}]}"#;
    Exchange::new(twice, JSON, b"{\"id\":\"r\"}").check(text, "id=r prompt=6 other");
    let other = r#"{"stream":true,"stream":false}"#;
    Exchange::new(other, None, b"{\"id\":\"r\"}").check(metering, "id=r");
}
