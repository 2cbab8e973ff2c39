//! Transcripts of the recorded shapes of wire formats, each for every cut into two and in single bytes.

use super::*;

#[test]
fn chat_unary() {
    let check = |answer: &str, expected: &str| {
        Exchange::new(ASKED, JSON, answer.as_bytes()).check(chat(), expected);
    };
    check(
        r#"{"id":"c1","object":"chat.completion","model":"m-1","choices":[{"index":0,"message":{"role":"assistant",
            "content":"Hi \u00e9!","refusal":null},"logprobs":null,"finish_reason":"stop"}],
            "usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,
            "prompt_tokens_details":{"cached_tokens":8,"audio_tokens":1},
            "completion_tokens_details":{"reasoning_tokens":4,"audio_tokens":0}}}"#,
        "input=10 output=6 cache_read=8 reasoning=4 audio_input=1 model=m-1 id=c1 finish=stop prompt=5 answer=6 max=9",
    );
    // The second pointer of the list, tool calls, several choices, and usage before the text.
    check(
        r#"{"usage":{"prompt_tokens":5,"prompt_cache_hit_tokens":2,"completion_tokens":7},"choices":[
            {"message":{"content":null,"tool_calls":[{"function":{"arguments":"{}"}}]},"finish_reason":"tool_calls"},
            {"message":{"content":"abc"},"finish_reason":"length"}]}"#,
        "input=3 output=7 cache_read=2 model=asked finish=length prompt=5 answer=3 max=9",
    );
    check(
        r#"{"choices":[{"message":{"content":"abc"}}]}"#,
        "model=asked prompt=5 answer=3 max=9 estimate-prompt estimate-answer",
    );
    check(r#"{"error":{"message":"no"}}"#, "model=asked prompt=5 max=9 failed");
}

#[test]
fn events_that_differ_in_their_text_alone() {
    let event = |text: &str| {
        format!(
            r#"{{"id":"c1","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#
        )
    };
    let check = |texts: &[&str], end: &str, expected: &str| {
        let events: Vec<_> = texts.iter().map(|text| format!("data: {}{end}{end}", event(text))).collect();
        Exchange::new(ASKED, SSE, events.concat().as_bytes()).check(chat(), expected);
    };
    let usage = |answer: u64, more: &str| {
        let usage = format!(
            "model=asked id=c1 prompt=5 answer={answer} max=9 streamed estimate-prompt estimate-answer {more}"
        );
        usage.trim_end().to_owned()
    };
    for end in ["\n", "\r\n", "\r"] {
        check(&["a", "b", "cd", "", "e"], end, &usage(5, ""));
        check(&["a", "b", r"\u00e9", r"\n", r"\ud83d", "c", "x".repeat(600).as_str()], end, &usage(609, ""));
        // A raw line break ends the line of data, and the event is broken.
        check(&["a", "b", "c\nd", "e", "f\rg", "h", "i\r\nj"], end, &usage(7, "wrong_format"));
        check(&["a", "b", r"\x", "c"], end, &usage(3, "wrong_format"));
    }
    let whole = format!("data: {}\n\n", event("a"));
    let other = whole.replace("]}", r#"],"usage":{"prompt_tokens":4,"completion_tokens":2}}"#);
    let joined = format!("data:\ndata: {}\n\n", event("a"));
    let check = |events: &[&str], expected: &str| {
        Exchange::new(ASKED, SSE, events.concat().as_bytes()).check(chat(), expected);
    };
    check(&[&whole, &whole, &whole, &joined, &whole, "data: [DONE]\n\n"], &usage(5, ""));
    check(&[&whole, &whole, &whole.replace("\n\n", "\n"), &whole, &whole], &usage(4, "wrong_format"));
    check(
        &[&whole, &whole, &whole, &other, &whole.replace("\n\n", "")],
        "input=4 output=2 model=asked id=c1 prompt=5 answer=5 max=9 streamed estimate-answer",
    );
}

#[test]
fn chat_streams() {
    let check = |events: &[&str], expected: &str| {
        Exchange::new(ASKED, SSE, &sse(events)).check(chat(), expected);
    };
    let text = r#"{"id":"c1","model":"m-1","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null}"#;
    let stop =
        r#"{"id":"c1","model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#;
    let usage = r#"{"id":"c1","model":"m-1","choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}"#;
    let head = "model=m-1 id=c1 finish=stop prompt=5";
    check(&[text, text, stop, usage, "[DONE]"], &format!("input=4 output=2 {head} answer=4 max=9 streamed"));
    check(
        &[text, stop, "[DONE]"],
        &format!("{head} answer=2 max=9 streamed estimate-prompt estimate-answer"),
    );
    // Cumulative usage in each event: the last one counts.
    let cumulative = |output: u64| {
        format!(
            r#"{{"choices":[{{"delta":{{"content":"ab"}}}}],"usage":{{"prompt_tokens":4,"completion_tokens":{output}}}}}"#
        )
    };
    check(
        &[&cumulative(1), &cumulative(2), &cumulative(3)],
        "input=4 output=3 model=asked prompt=5 answer=6 max=9 streamed",
    );
    // Tool calls, empty deltas, unknown events, a refusal without text.
    check(
        &[
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{\"a\""}}]}}]}"#,
            r#"{"surprise":[1,{"usage":{"prompt_tokens":99}}]}"#,
            "17",
            "ping",
            usage,
        ],
        "input=4 output=2 model=m-1 id=c1 prompt=5 answer=4 max=9 streamed",
    );
    check(
        &[text, r#"{"error":{"message":"overloaded"}}"#],
        "model=m-1 id=c1 prompt=5 answer=2 max=9 streamed failed estimate-prompt estimate-answer",
    );
    check(&[r#"{"error":{"message":"overloaded"}}"#], "model=asked prompt=5 max=9 streamed failed");
}

#[test]
fn a_stream_that_broke_off_keeps_what_it_has() {
    let text = r#"data: {"model":"m-1","choices":[{"delta":{"content":"Hi"}}]}"#;
    let check = |answer: &str, expected: &str| {
        Exchange::new(ASKED, SSE, answer.as_bytes()).cut().check(chat(), expected);
    };
    let rest = "max=9 streamed estimate-prompt estimate-answer";
    check(&format!("{text}\n\n"), &format!("model=m-1 prompt=5 answer=2 {rest}"));
    check(&format!("{text}\n\n{}", &text[..text.len() - 6]), &format!("model=m-1 prompt=5 answer=3 {rest}"));
    check("", &format!("model=asked prompt=5 {rest} usage_missing"));
    // A number that was cut is no count.
    check("data: {\"usage\":{\"prompt_tokens\":12", &format!("model=asked prompt=5 {rest} usage_missing"));
    // Usage came, only the end is missing.
    check(
        &format!("{text}\n\ndata: {{\"usage\":{{\"prompt_tokens\":4,\"completion_tokens\":2}}}}\n\nda"),
        "input=4 output=2 model=m-1 prompt=5 answer=2 max=9 streamed",
    );
}

#[test]
fn messages_streams() {
    let start = r#"{"type":"message_start","message":{"id":"msg_1","model":"m-1","content":[],"stop_reason":null,
        "usage":{"input_tokens":25,"cache_creation_input_tokens":3,"cache_read_input_tokens":7,"output_tokens":1}}}"#
        .replace('\n', "\ndata: ");
    let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}"#;
    let tool = r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#;
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}"#;
    let ping = r#"{"type":"ping"}"#;
    let check = |events: &[&str], complete: bool, expected: &str| {
        let answer = sse(events);
        let exchange = Exchange::new(ASKED, SSE, &answer);
        Exchange { complete, ..exchange }.check(messages(), expected);
    };
    let input = "input=25";
    let rest = "cache_read=7 cache_write=3 model=m-1 id=msg_1";
    check(
        &[&start, ping, text, tool, end, r#"{"type":"message_stop"}"#],
        true,
        &format!("{input} output=15 {rest} finish=end_turn prompt=5 answer=10 max=9 streamed"),
    );
    // A preliminary count before the text: the answer needs an estimate, the prompt does not.
    check(
        &[&start, text],
        false,
        &format!("{input} output=1 {rest} prompt=5 answer=5 max=9 streamed estimate-answer"),
    );
    check(
        &[&start, text, r#"{"type":"error","error":{"type":"overloaded_error"}}"#],
        true,
        &format!("{input} output=1 {rest} prompt=5 answer=5 max=9 streamed failed estimate-answer"),
    );
    check(&[&start], false, &format!("{input} output=1 {rest} prompt=5 max=9 streamed"));
}

#[test]
fn messages_unary() {
    Exchange::new(
        r#"{"system":"Be brief","messages":[{"content":[{"type":"text","text":"Hello"},{"type":"image","source":{"data":"AAAA"}}]}]}"#,
        JSON,
        br#"{"id":"msg_1","type":"message","model":"m-1","content":[{"type":"thinking","thinking":"hm"},
            {"type":"text","text":"Hi"},{"type":"tool_use","input":{"text":"no"}}],"stop_reason":"tool_use",
            "usage":{"input_tokens":12,"cache_read_input_tokens":null,"output_tokens":6}}"#,
    )
    .check(messages(), "input=12 output=6 model=m-1 id=msg_1 finish=tool_use prompt=13 answer=2");
}

#[test]
fn responses_streams() {
    let usage = |at: &str| {
        format!(
            "input {at}/usage/input_tokens minus cache_read
             cache_read {at}/usage/input_tokens_details/cached_tokens
             output {at}/usage/output_tokens minus reasoning
             reasoning {at}/usage/output_tokens_details/reasoning_tokens
             model {at}/model
             id {at}/id
             finish {at}/status
             error {at}/error /error"
        )
    };
    let metering = metering(
        &[Framing::Sse],
        "model /model\ntext /input /instructions",
        &usage(""),
        &format!("{}\ntext /delta", usage("/response")),
    );
    let answer = "event: response.created\n\
        data: {\"type\":\"response.created\",\"response\":{\"id\":\"r1\",\"model\":\"m-1\",\"status\":\"in_progress\",\"error\":null,\"usage\":null}}\n\n\
        event: response.output_text.delta\n\
        data: {\"type\":\"response.output_text.delta\",\"delta\":\"Hi there\"}\n\n\
        event: response.completed\n\
        data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r1\",\"model\":\"m-1\",\"status\":\"completed\",\"error\":null,\
        \"output\":[{\"content\":[{\"text\":\"Hi there\"}]}],\
        \"usage\":{\"input_tokens\":30,\"input_tokens_details\":{\"cached_tokens\":20},\"output_tokens\":9,\"output_tokens_details\":{\"reasoning_tokens\":5}}}}\n\n";
    Exchange::new(r#"{"model":"m","input":"Hello"}"#, SSE, answer.as_bytes()).check(
        metering,
        "input=10 output=4 cache_read=20 reasoning=5 model=m-1 id=r1 finish=completed prompt=5 answer=8 streamed",
    );
}

/// Content generation: one endpoint answers with one value, an array of events, or server-sent events.
#[test]
fn an_array_of_events() {
    let metering = || {
        let usage = "
            input /usageMetadata/promptTokenCount minus cache_read plus /usageMetadata/toolUsePromptTokenCount
            cache_read /usageMetadata/cachedContentTokenCount
            output /usageMetadata/candidatesTokenCount
            reasoning /usageMetadata/thoughtsTokenCount
            model /modelVersion
            id /responseId
            finish /candidates/*/finishReason
            error /error
            text /candidates/*/content/parts/*/text
            content /candidates/0/content/parts/*/text";
        metering(&[Framing::Sse, Framing::JsonArray], "text /contents/*/parts/*/text", usage, usage)
    };
    let request = r#"{"contents":[{"parts":[{"text":"Hello"}]}]}"#;
    let first = r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}],"usageMetadata":{"promptTokenCount":8},"modelVersion":"m-1"}"#;
    let last = r#"{"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":8,
        "candidatesTokenCount":3,"thoughtsTokenCount":2,"cachedContentTokenCount":6,"toolUsePromptTokenCount":1},"modelVersion":"m-1","responseId":"r"}"#;
    let counted = "input=3 output=3 cache_read=6 reasoning=2 model=m-1 id=r finish=STOP prompt=5 answer=";
    let check = |media: Option<&str>, answer: &str, complete: bool, expected: &str| {
        let exchange = Exchange::new(request, media, answer.as_bytes());
        Exchange { complete, ..exchange }.check(metering(), expected);
    };
    check(JSON, &format!(" [{first}\n,\r\n{last}\n]\n"), true, &format!("{counted}3 streamed"));
    check(JSON, &format!("\u{feff}\n{last}"), true, &format!("{counted}1"));
    check(
        SSE,
        &format!("data: {first}\r\n\r\ndata: {}\r\n\r\n", last.replace('\n', "")),
        true,
        &format!("{counted}3 streamed"),
    );
    check(JSON, &format!("[{first},"), false, "input=8 model=m-1 prompt=5 answer=2 streamed estimate-answer");
    // Without its end, an array that arrived wholly is broken. What was counted stays.
    check(
        JSON,
        &format!("[{first}"),
        true,
        "input=8 model=m-1 prompt=5 answer=2 streamed estimate-answer wrong_format",
    );
    check(JSON, r#"[{"error":{"code":400}}]"#, true, "prompt=5 streamed failed");
    check(JSON, "[]", true, "prompt=5 streamed estimate-prompt estimate-answer wrong_format");
}

#[test]
fn a_value_a_line() {
    let usage = "input /prompt_eval_count\noutput /eval_count\nmodel /model\nfinish /done_reason\nerror /error\ntext /message/content /response";
    let metering = || metering(&[Framing::Ndjson], "text /prompt", usage, usage);
    let lines = "{\"model\":\"m\",\"message\":{\"content\":\"Hi\"},\"done\":false}\n\
        {\"model\":\"m\",\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":26,\"eval_count\":9}";
    let check = |media: &str, answer: &str, expected: &str| {
        Exchange::new(r#"{"prompt":"Hello"}"#, Some(media), answer.as_bytes()).check(metering(), expected);
    };
    let ndjson = "application/x-ndjson";
    let counted = "input=26 output=9 model=m finish=stop prompt=5 answer=2 streamed";
    check(ndjson, lines, counted);
    check(ndjson, &format!("{}\r\n\r\n", lines.replace('\n', "\r\n\r\n")), counted);
    check(
        "application/json",
        "{\"model\":\"m\",\"prompt_eval_count\":1,\"eval_count\":2}",
        "input=1 output=2 model=m prompt=5",
    );
    check(
        ndjson,
        "{\"message\":{\"content\":\"Hi\"}}\n{\"error\":\"gone\"}\n",
        "prompt=5 answer=2 streamed failed estimate-prompt estimate-answer",
    );
    check(
        ndjson,
        "{\"message\":{\"content\":\"Hi\"}}\n<html>\n",
        "prompt=5 answer=2 streamed estimate-prompt estimate-answer wrong_format",
    );
}

/// A message of the binary event stream.
pub(super) fn message(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend(name.bytes());
        head.push(7);
        head.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend(value.bytes());
    }
    let total = u32::try_from(16 + head.len() + payload.len()).unwrap();
    let headers = u32::try_from(head.len()).unwrap();
    [&total.to_be_bytes()[..], &headers.to_be_bytes(), b"crc1", &head, payload.as_bytes(), b"crc2"].concat()
}

pub(super) fn converse() -> Metering {
    let usage = "
        input /usage/inputTokens
        output /usage/outputTokens
        cache_read /usage/cacheReadInputTokens
        finish /stopReason";
    metering(
        &[Framing::AwsEventStream],
        "text /messages/*/content/*/text",
        usage,
        &format!("{usage}\ntext /delta/text /delta/toolUse/input"),
    )
}

#[test]
fn a_binary_event_stream() {
    let event = |kind: &str, payload: &str| {
        message(
            &[(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")],
            payload,
        )
    };
    let start = event("messageStart", r#"{"p":"abc","role":"assistant"}"#);
    let delta =
        event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hello"},"p":"abcdef"}"#);
    let stop = event("messageStop", r#"{"stopReason":"end_turn"}"#);
    let usage = event(
        "metadata",
        r#"{"metrics":{"latencyMs":1},"usage":{"inputTokens":7,"outputTokens":3,"totalTokens":10}}"#,
    );
    let check = |messages: &[&[u8]], complete: bool, expected: &str| {
        let answer = messages.concat();
        let request = r#"{"messages":[{"content":[{"text":"Hello"}]}]}"#;
        let media = Some("application/vnd.amazon.eventstream");
        let exchange = Exchange::new(request, media, &answer);
        Exchange { complete, ..exchange }.check(converse(), expected);
    };
    check(
        &[&start, &delta, &delta, &stop, &usage],
        true,
        "input=7 output=3 finish=end_turn prompt=5 answer=10 streamed",
    );
    let estimates = "streamed estimate-prompt estimate-answer";
    check(&[&start, &delta, &stop[..30]], false, &format!("prompt=5 answer=5 {estimates}"));
    check(&[&start, &delta, &stop[..30]], true, &format!("prompt=5 answer=5 {estimates} wrong_format"));
    let error = message(
        &[(":exception-type", "throttlingException"), (":message-type", "exception")],
        r#"{"message":"slow down"}"#,
    );
    check(
        &[&start, &delta, &error],
        true,
        "prompt=5 answer=5 streamed failed estimate-prompt estimate-answer",
    );
    check(&[&start, &error], true, "prompt=5 streamed failed");
    // Impossible lengths end the walk; an empty message is none.
    let mut bad = start.clone();
    bad[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    check(&[&delta, &bad, &usage], true, &format!("prompt=5 answer=5 {estimates} wrong_format"));
    check(&[&[0; 12], &usage], true, &format!("prompt=5 {estimates} wrong_format"));
    check(&[&message(&[], ""), &usage], true, "input=7 output=3 prompt=5 streamed");
}
