//! Compiles the places of an api file to a [`Metering`]: pointers, counters, text and content.
//!
//! Reports places that cannot be read, counts that overlap in a circle, and keys without effect.

use std::sync::Arc;

use crate::{
    base::{
        diag::{Code, Diagnostic, Location},
        usage::Counter,
    },
    language::{
        compile::Glob,
        compile::metering::{
            Ask, Combine, CounterRule, ExtraEvent, Framing, Map, MapBuilder, Metering, PathModel, Pointer,
            PointerProblem, Target, WhenMissing,
        },
        syntax::{self, Count, Parsed, Pointers, UsageMap, pointer_step},
    },
};

/// The metering of a format; none if it has no `usage`, or if there is an error.
pub(super) fn compile(parsed: &Parsed<syntax::Api>, found: &mut Vec<Diagnostic>) -> Option<Metering> {
    let mut reader = Reader { parsed, found };
    let Some(usage) = &parsed.document.usage else {
        reader.report_unmetered();
        return None;
    };
    reader.report_without_effect(usage);
    let (path_model, request) = reader.request(usage);
    let (body, event) = reader.answers(usage);
    let when_missing = usage.when_missing.map(when_missing).unwrap_or_default();
    let ask = usage.ask.as_ref().and_then(|ask| reader.ask(ask, event.as_ref())).map(Arc::new);
    if when_missing == WhenMissing::Ask && usage.ask.is_none() {
        let help = "add `ask`, the key of the request that makes the upstream send usage";
        let message = "`ask` needs the key to ask with";
        reader.report(Code::Condition, reader.value("/usage/when_missing"), message, help);
    }
    reader.report_framings(usage);
    let framings = usage.stream.iter().flat_map(syntax::Framings::all).copied().map(framing).collect();
    let (request, body, event) = (Arc::new(request?), Arc::new(body?), Arc::new(event?));
    Some(Metering { request, body, event, framings, when_missing, ask, path_model })
}

/// The case of an endpoint's or a format's `when_missing`.
pub(crate) fn when_missing(written: syntax::WhenMissing) -> WhenMissing {
    match written {
        syntax::WhenMissing::Estimate => WhenMissing::Estimate,
        syntax::WhenMissing::None => WhenMissing::None,
        syntax::WhenMissing::Ask => WhenMissing::Ask,
    }
}

fn framing(written: syntax::Framing) -> Framing {
    match written {
        syntax::Framing::Sse => Framing::Sse,
        syntax::Framing::Ndjson => Framing::Ndjson,
        syntax::Framing::JsonArray => Framing::JsonArray,
        syntax::Framing::AwsEventStream => Framing::AwsEventStream,
    }
}

fn combine(written: syntax::Combine) -> Combine {
    match written {
        syntax::Combine::Last => Combine::Last,
        syntax::Combine::First => Combine::First,
        syntax::Combine::Sum => Combine::Sum,
        syntax::Combine::Max => Combine::Max,
        syntax::Combine::Count => Combine::Count,
        syntax::Combine::Length => Combine::Length,
    }
}

/// There is a finding about it.
struct Reported;

struct Reader<'a> {
    parsed: &'a Parsed<syntax::Api>,
    found: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn value(&self, place: &str) -> Location {
        self.parsed.spans.value(&self.parsed.file, place)
    }

    fn key(&self, place: &str) -> Location {
        self.parsed.spans.key(&self.parsed.file, place)
    }

    fn report(&mut self, code: Code, at: Location, message: impl Into<String>, help: &str) {
        self.found.push(Diagnostic::new(code, at, message).help(help));
    }

    fn problem(&mut self, place: &str, text: &str, problem: PointerProblem) {
        let message = format!("`{}` cannot be read: {problem}", text.escape_debug());
        self.found.push(Diagnostic::new(Code::BadValue, self.value(place), message));
    }

    // === keys without effect ===

    fn report_unmetered(&mut self) {
        let document = &self.parsed.document;
        let written = [
            ("request", document.request.is_some()),
            ("text", document.text.is_some()),
            ("content", document.content.is_some()),
        ];
        for (name, _) in written.into_iter().filter(|(_, is_written)| *is_written) {
            let message = format!("`{name}` has no effect: without `usage`, the format is not metered");
            let at = self.key(&format!("/{name}"));
            self.report(Code::Condition, at, message, "add `[usage]` with the places of counts, or drop it");
        }
    }

    fn report_without_effect(&mut self, usage: &syntax::ApiUsage) {
        let document = &self.parsed.document;
        let text = document.text.as_ref().is_some_and(|text| text.event.is_some());
        let content = document.content.as_ref().is_some_and(|content| content.event.is_some());
        let events =
            [("/usage/event", usage.event.is_some()), ("/text/event", text), ("/content/event", content)];
        let is_stream = usage.stream.as_ref().is_some_and(|stream| !stream.all().is_empty());
        for (place, _) in events.into_iter().filter(|(_, is_written)| *is_written && !is_stream) {
            let message = "`event` has no effect: the format has no streams";
            let help = "add `stream` to `[usage]`, the framing of streamed answers";
            self.report(Code::Condition, self.key(place), message, help);
        }
        if usage.body.is_none() && usage.event.is_none() && usage.request.is_none() {
            let help = "add `[usage.body]`, the places of counts in an answer";
            self.report(Code::MissingKey, self.key("/usage"), "`usage` has no place of a count", help);
        }
    }

    /// Framings that stand there twice, and an event to take out of a stream that is not one of server-sent events.
    fn report_framings(&mut self, usage: &syntax::ApiUsage) {
        let framings = usage.stream.as_ref().map(syntax::Framings::all).unwrap_or_default();
        for (index, written) in framings.iter().enumerate() {
            if framings[..index].contains(written) {
                let message = format!("`{}` stands there twice", framing(*written).name());
                let at = self.value(&format!("/usage/stream/{index}"));
                self.report(Code::Condition, at, message, "drop one of them");
            }
        }
        let is_sse = framings.iter().any(|written| framing(*written) == Framing::Sse);
        if usage.ask.as_ref().is_some_and(|ask| ask.extra.is_some()) && !is_sse {
            let message = "`extra` has no effect: only an event of `sse` can be taken out";
            let help = "add `sse` to `stream`, or drop `extra`";
            self.report(Code::Condition, self.key("/usage/ask/extra"), message, help);
        }
    }

    // === documents ===

    /// The model in the path, and the pointers into the request.
    fn request(&mut self, usage: &syntax::ApiUsage) -> (Option<PathModel>, Option<Map>) {
        let document = &self.parsed.document;
        let mut builder = MapBuilder::new();
        let request = document.request.clone().unwrap_or_default();
        let model = request.model.as_deref();
        let path_model = model.filter(|text| text.starts_with('{')).and_then(PathModel::parse);
        for text in model.iter().filter(|_| path_model.is_none()) {
            self.add(&mut builder, "/request/model", text, Target::Model);
        }
        if let Some(pointers) = &request.max_output {
            self.pointers(&mut builder, "/request/max_output", pointers, || Target::MaxOutput);
        }
        self.bounds(&mut builder, &request);
        if let Some(text) = &request.stream {
            self.add(&mut builder, "/request/stream", text, Target::Stream);
        }
        let counts: Vec<_> = usage.request.iter().flat_map(syntax::RequestCounts::counts).collect();
        self.counts(&mut builder, "/usage/request", &counts);
        if let Some(text) = &document.text {
            self.list(&mut builder, "/text/prompt", text.prompt.as_deref(), &Target::Text);
            self.list(&mut builder, "/text/other", text.other.as_deref(), &Target::Other);
        }
        if let Some(content) = &document.content {
            self.named(&mut builder, "/content/prompt", content.prompt.as_ref(), Target::Prompt);
            self.named(&mut builder, "/content/parameters", content.parameters.as_ref(), Target::Parameter);
        }
        let map = self.build("/request", builder);
        self.check_judged(map.as_ref());
        (path_model, map)
    }

    /// What limits and rules read besides the model and its cap.
    fn bounds(&mut self, builder: &mut MapBuilder, request: &syntax::ApiRequest) {
        let lists = [
            ("other_models", &request.other_models, Target::OtherModel),
            ("answers", &request.answers, Target::Answers),
            ("prompts", &request.prompts, Target::Prompts),
        ];
        for (key, pointers, target) in lists {
            if let Some(pointers) = pointers {
                self.pointers(builder, &format!("/request/{key}"), pointers, || target.clone());
            }
        }
        for (index, unbounded) in request.unbounded.iter().flatten().enumerate() {
            let place = format!("/request/unbounded/{index}");
            match unbounded {
                syntax::Unbounded::At(text) => {
                    self.add(builder, &place, text, Target::Unbounded(Box::default()));
                }
                syntax::Unbounded::Except(syntax::UnboundedExcept { at, except }) => {
                    self.globs(&format!("{place}/except"), except);
                    let except = except.iter().map(|text| text.as_str().into()).collect();
                    self.add(builder, &format!("{place}/at"), at, Target::Unbounded(except));
                }
            }
        }
    }

    fn globs(&mut self, place: &str, globs: &[String]) {
        for (index, text) in globs.iter().enumerate() {
            if let Err(problem) = Glob::check(text) {
                let at = self.value(&format!("{place}/{index}"));
                self.report(Code::BadValue, at, format!("`{}` {problem}", text.escape_debug()), "shorten it");
            }
        }
    }

    /// Reports places of the request of which some cannot be judged, so that limits and rules would refuse all requests.
    fn check_judged(&mut self, request: Option<&Map>) {
        let Some(Err(problem)) = request.map(Map::places) else { return };
        let message = format!("limits and rules cannot judge the request: {problem}");
        let at = self.key("/request");
        self.report(Code::BadValue, at, message, "name other places, or leave the key out");
    }

    /// The pointers into an answer that is no stream, and into an event.
    fn answers(&mut self, usage: &syntax::ApiUsage) -> (Option<Map>, Option<Map>) {
        let document = &self.parsed.document;
        let text = document.text.clone().unwrap_or_default();
        let content = document.content.clone().unwrap_or_default();
        let of_body = Answer {
            usage: usage.body.as_ref().map(|map| ("/usage/body", map)),
            text: text.body.as_deref().map(|list| ("/text/body", list)),
            content: content.body.as_deref().map(|list| ("/content/body", list)),
        };
        let body = self.answer(of_body);
        if usage.stream.is_none() {
            return (body, Some(Map::default()));
        }
        let of_event = Answer {
            usage: usage.event.as_ref().map(|map| ("/usage/event", map)),
            text: text.event.as_deref().map(|list| ("/text/event", list)),
            content: content.event.as_deref().map(|list| ("/content/event", list)),
        };
        (body, self.answer(of_event.or(of_body)))
    }

    fn answer(&mut self, answer: Answer<'_>) -> Option<Map> {
        let mut builder = MapBuilder::new();
        let Answer { usage, text, content } = answer;
        let place = usage.map_or("/usage", |(place, _)| place);
        if let Some((place, map)) = usage {
            self.usage(&mut builder, place, map);
        }
        let lists = [(text, Target::Text), (content, Target::Content)];
        for ((place, list), target) in lists.into_iter().filter_map(|(list, target)| Some((list?, target))) {
            self.list(&mut builder, place, Some(list), &target);
        }
        self.build(place, builder)
    }

    fn usage(&mut self, builder: &mut MapBuilder, place: &str, map: &UsageMap) {
        let counts: Vec<_> = map.counts().collect();
        self.counts(builder, place, &counts);
        for (key, pointers, target) in [
            ("model", &map.model, Target::Model),
            ("id", &map.id, Target::Id),
            ("finish_reason", &map.finish_reason, Target::FinishReason),
            ("error", &map.error, Target::Error),
        ] {
            if let Some(pointers) = pointers {
                self.pointers(builder, &format!("{place}/{key}"), pointers, || target.clone());
            }
        }
    }

    // === counts ===

    fn counts(&mut self, builder: &mut MapBuilder, place: &str, counts: &[(Counter, &Count)]) {
        for (counter, count) in counts {
            let key = format!("{place}/{counter}");
            match count {
                Count::At(pointers) => self.pointers(builder, &key, pointers, || Target::Count(*counter)),
                Count::Table(table) => {
                    self.pointers(builder, &format!("{key}/at"), &table.at, || Target::Count(*counter));
                    if let Some(plus) = &table.plus {
                        self.pointers(builder, &format!("{key}/plus"), plus, || Target::Plus(*counter));
                    }
                    let combine = self.combine(&key, *counter, table);
                    let minus = self.minus(&format!("{key}/minus"), *counter, table, counts);
                    builder.rule(*counter, CounterRule { combine, minus });
                }
            }
        }
    }

    fn combine(&mut self, place: &str, counter: Counter, table: &syntax::CountTable) -> Combine {
        let combine = table.combine.map(combine).unwrap_or_default();
        let fits = match combine {
            Combine::Last | Combine::First | Combine::Sum | Combine::Max => true,
            Combine::Count => matches!(counter, Counter::Images | Counter::Units),
            Combine::Length => matches!(counter, Counter::Characters | Counter::Units),
        };
        if !fits {
            let message = format!("`{}` counts no {counter}", combine.name());
            let help = match combine {
                Combine::Length => "`length` is for `characters` and `units`",
                _ => "`count` is for `images` and `units`",
            };
            self.report(Code::BadValue, self.value(&format!("{place}/combine")), message, help);
        }
        combine
    }

    /// The counters that a count includes.
    fn minus(
        &mut self,
        place: &str,
        counter: Counter,
        table: &syntax::CountTable,
        counts: &[(Counter, &Count)],
    ) -> Vec<Counter> {
        let mut minus = Vec::new();
        for (index, name) in table.minus.iter().flatten().enumerate() {
            let at = self.value(&format!("{place}/{index}"));
            // The schema lists the names.
            let Some(part) = Counter::parse(name) else { continue };
            let count = counts.iter().find(|(known, _)| *known == part).map(|(_, count)| *count);
            let problem = match count {
                _ if part == counter => Some("a count cannot include itself".to_owned()),
                _ if minus.contains(&part) => Some(format!("`{part}` is named twice")),
                None => Some(format!("nothing counts `{part}` here")),
                Some(_) if includes(part, counter, counts, counts.len()) => {
                    Some(format!("`{part}` includes `{counter}` in its turn"))
                }
                Some(_) => None,
            };
            match problem {
                None => minus.push(part),
                Some(message) => {
                    let help =
                        "`minus` names other counters of the same table, whose tokens this count includes";
                    self.report(Code::Condition, at, message, help);
                }
            }
        }
        minus
    }

    /// `event`: the places of an event, if they have no error.
    fn ask(&mut self, ask: &syntax::Ask, event: Option<&Map>) -> Option<Ask> {
        let at = self.single("/usage/ask/at", &ask.at);
        let when = ask.when.as_deref().map(|text| self.single("/usage/ask/when", text));
        let extra = ask.extra.as_ref().map(|extra| self.extra(extra, event).ok_or(Reported));
        if matches!(ask.value, serde_json::Value::Array(_) | serde_json::Value::Object(_)) {
            let help = "the value is a string, a number or a boolean";
            let message = "one value is inserted into the request, no table or list";
            self.report(Code::BadValue, self.value("/usage/ask/value"), message, help);
        }
        if at.as_ref().is_ok_and(|at| at.steps().is_empty()) {
            let message = "the whole request cannot be replaced";
            self.report(Code::BadValue, self.value("/usage/ask/at"), message, "name a key of the request");
        }
        let (when, extra) = (when.transpose().ok()?, extra.transpose().ok()?);
        Some(Ask { at: at.ok()?, value: ask.value.clone(), when, extra })
    }

    fn extra(&mut self, extra: &syntax::ExtraEvent, event: Option<&Map>) -> Option<Arc<ExtraEvent>> {
        let own = [("at".to_owned(), &extra.at), ("empty".to_owned(), &extra.empty)];
        let with = extra.with.iter().enumerate().map(|(index, text)| (format!("with/{index}"), text));
        let mut known: Vec<Pointer> = Vec::new();
        let mut is_good = true;
        for (key, text) in own.into_iter().chain(with) {
            let place = format!("/usage/ask/extra/{key}");
            let Ok(pointer) = self.single(&place, text) else {
                is_good = false;
                continue;
            };
            if let Some(other) = known.iter().find(|one| one.contains(&pointer) || pointer.contains(one)) {
                let message = format!("`{pointer}` and `{other}` are not two places: one contains the other");
                self.report(Code::BadValue, self.value(&place), message, "name each place once");
                is_good = false;
            }
            known.push(pointer);
        }
        let made = ExtraEvent::new(&extra.at, &extra.empty, &extra.with, event.filter(|_| is_good)?);
        made.map_err(|problem| self.problem("/usage/ask/extra/empty", &extra.empty, problem))
            .ok()
            .map(Arc::new)
    }

    // === pointers ===

    fn single(&mut self, place: &str, text: &str) -> Result<Pointer, Reported> {
        Pointer::parse_single(text).map_err(|problem| {
            self.problem(place, text, problem);
            Reported
        })
    }

    fn add(&mut self, builder: &mut MapBuilder, place: &str, text: &str, target: Target) {
        if let Err(problem) = builder.add(text, target) {
            self.problem(place, text, problem);
        }
    }

    fn pointers(
        &mut self,
        builder: &mut MapBuilder,
        place: &str,
        pointers: &Pointers,
        target: impl Fn() -> Target,
    ) {
        if pointers.each().next().is_none() {
            let help = "name at least one JSON pointer, or drop the key";
            self.report(Code::Condition, self.value(place), "an empty list has no place", help);
        }
        for (below, text) in pointers.each() {
            self.add(builder, &format!("{place}{below}"), text, target());
        }
    }

    fn list(&mut self, builder: &mut MapBuilder, place: &str, list: Option<&[String]>, target: &Target) {
        for (index, text) in list.into_iter().flatten().enumerate() {
            self.add(builder, &format!("{place}/{index}"), text, target.clone());
        }
    }

    fn named(
        &mut self,
        builder: &mut MapBuilder,
        place: &str,
        map: Option<&syntax::StringMap>,
        target: impl Fn(Box<str>) -> Target,
    ) {
        for (name, text) in map.into_iter().flatten() {
            let place = format!("{place}/{}", pointer_step(name));
            self.add(builder, &place, text, target(name.as_str().into()));
        }
    }

    fn build(&mut self, place: &str, builder: MapBuilder) -> Option<Map> {
        match builder.build() {
            Ok(map) => Some(map),
            Err(problem) => {
                let finding = Diagnostic::new(Code::BadValue, self.key(place), problem.to_string());
                self.found.push(finding);
                None
            }
        }
    }
}

/// The pointers into an answer, each kind with its place in the file.
#[derive(Clone, Copy)]
struct Answer<'a> {
    usage: Option<(&'static str, &'a UsageMap)>,
    text: Option<(&'static str, &'a [String])>,
    content: Option<(&'static str, &'a [String])>,
}

impl Answer<'_> {
    fn or(self, other: Self) -> Self {
        let Self { usage, text, content } = self;
        Self { usage: usage.or(other.usage), text: text.or(other.text), content: content.or(other.content) }
    }
}

/// True if a count includes a counter, by itself or through others. No way is longer than the number of counts.
fn includes(whole: Counter, part: Counter, counts: &[(Counter, &Count)], steps: usize) -> bool {
    let table = counts.iter().find_map(|(counter, count)| match count {
        Count::Table(table) if *counter == whole => Some(table),
        Count::Table(_) | Count::At(_) => None,
    });
    let parts = table.into_iter().flat_map(|table| table.minus.iter().flatten());
    let mut parts = parts.filter_map(|name| Counter::parse(name));
    steps > 0 && parts.any(|one| one == part || includes(one, part, counts, steps - 1))
}
