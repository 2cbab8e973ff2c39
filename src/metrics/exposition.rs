//! The text formats of Prometheus: its own (0.0.4), and `OpenMetrics` 1.0. They differ in a few words, and a client gets the
//! one that it asks for. The library `prometheus-client` writes `OpenMetrics` alone.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>

use std::fmt::{Display, Write as _};

use http::{HeaderMap, header};

use super::{
    histogram::Histogram,
    table::{Kind, Metric},
};

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// That of Prometheus, version 0.0.4.
    Prometheus,
    /// `OpenMetrics`, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that a client prefers: `OpenMetrics` only if it names that, and no other one more.
    pub fn accepted(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
        let (mut open, mut other) = (0, 0);
        for range in lines.flat_map(|line| line.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
            let of = |wanted: &str| {
                parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value)
            };
            let weight = of("q").map_or(1000, thousandths);
            match kind.as_str() {
                "application/openmetrics-text"
                    if of("version").is_none_or(|version| ["1.0.0", "0.0.1"].contains(&version)) =>
                {
                    open = open.max(weight);
                }
                "text/plain" | "text/*" => other = other.max(weight),
                _ => {}
            }
        }
        if open > 0 && open >= other { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A weight as RFC 9110, section 12.4.2 writes it; 0 if it is malformed.
fn thousandths(weight: &str) -> u32 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let good = ["0", "1"].contains(&whole) && fraction.len() <= 3;
    let number = format!("{whole}{fraction:0<3}");
    number.parse().ok().filter(|number| good && *number <= 1000).unwrap_or(0)
}

/// A text in the making.
#[derive(Debug)]
pub(super) struct Exposition {
    text: String,
    format: Format,
}

/// A metric in the making: its samples follow its head.
pub(super) struct Family<'e> {
    exposition: &'e mut Exposition,
    metric: &'static Metric,
}

impl Exposition {
    pub(super) const fn new(format: Format) -> Self {
        Self { text: String::new(), format }
    }

    /// Begins a metric. Its head is there also without samples, so that its name can be seen.
    pub(super) fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let &Metric { name, kind, help, .. } = metric;
        let (name, kind) = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => (name.trim_end_matches("_total"), kind.as_str()),
            (Format::OpenMetrics, Kind::Info) => (name.trim_end_matches("_info"), kind.as_str()),
            (Format::Prometheus, Kind::Info) => (name, Kind::Gauge.as_str()),
            (_, Kind::Counter | Kind::Gauge | Kind::Histogram) => (name, kind.as_str()),
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        Family { exposition: self, metric }
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.text, "{line}").expect("writing to a string cannot fail");
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.line("# EOF");
        }
        self.text
    }
}

impl Family<'_> {
    /// A sample, with the values of the metric's labels in their order.
    pub(super) fn sample(&mut self, values: &[&str], number: impl Display) {
        self.write("", values, None, number);
    }

    /// The samples of a histogram.
    pub(super) fn histogram(&mut self, values: &[&str], histogram: &Histogram) {
        for (bound, number) in histogram.cumulative() {
            self.write("_bucket", values, Some(bound), number);
        }
        self.write("_bucket", values, Some("+Inf"), histogram.count());
        self.write("_sum", values, None, histogram.sum().as_secs_f64());
        self.write("_count", values, None, histogram.count());
    }

    fn write(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, number: impl Display) {
        let Metric { name, labels, .. } = self.metric;
        debug_assert_eq!(labels.len(), values.len(), "{name}");
        let text = &mut self.exposition.text;
        text.push_str(name);
        text.push_str(suffix);
        let all = labels.iter().copied().zip(values.iter().copied()).chain(bound.map(|bound| ("le", bound)));
        let mut open = '{';
        for (label, value) in all {
            text.push(open);
            open = ',';
            text.push_str(label);
            text.push_str("=\"");
            escape(text, value);
            text.push('"');
        }
        if open == ',' {
            text.push('}');
        }
        writeln!(text, " {number}").expect("writing to a string cannot fail");
    }
}

/// Writes the value of a label. Nothing but these three characters has a meaning in it.
fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::metrics::table;

    #[test]
    fn a_client_gets_the_format_that_it_asks_for() {
        let check = |accept: &[&'static str], expected| {
            let mut headers = HeaderMap::new();
            for line in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(line));
            }
            assert_eq!(Format::accepted(&headers), expected, "{accept:?}");
        };
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        check(&[prometheus_2], Format::OpenMetrics);
        check(&["Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8"], Format::OpenMetrics);
        check(&["text/plain;q=0.5", "application/openmetrics-text;q=0.6"], Format::OpenMetrics);
        for other in [
            "",
            "*/*",
            "text/plain",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0.4,text/plain;q=0.5",
            "application/openmetrics-text;q=2,text/plain",
            "application/openmetrics-text;q=x",
        ] {
            check(&[other], Format::Prometheus);
        }
        check(&[], Format::Prometheus);
    }

    fn text(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        exposition.family(&table::DROPPED).sample(&["a\\b\"c\nd{e},f=\u{1f980}"], 7);
        exposition.family(&table::BUILD).sample(&["1.2.3"], 1);
        exposition.family(&table::STORE_UP).sample(&[], 1);
        exposition.family(&table::MISSED);
        exposition.finish()
    }

    #[test]
    fn labels_are_escaped_and_heads_are_those_of_the_format() {
        assert_eq!(
            text(Format::Prometheus),
            "# HELP tollgate_dropped_total Items that were dropped: by a full queue, or by a log that cannot be written.\n\
             # TYPE tollgate_dropped_total counter\n\
             tollgate_dropped_total{queue=\"a\\\\b\\\"c\\nd{e},f=\u{1f980}\"} 7\n\
             # HELP tollgate_build_info The version of tollgate.\n\
             # TYPE tollgate_build_info gauge\n\
             tollgate_build_info{version=\"1.2.3\"} 1\n\
             # HELP tollgate_store_up 1 if the last poll of the store succeeded, else 0.\n\
             # TYPE tollgate_store_up gauge\n\
             tollgate_store_up 1\n\
             # HELP tollgate_config_missed_changes_total Changed files that a sweep found without an event.\n\
             # TYPE tollgate_config_missed_changes_total counter\n"
        );
        let open = text(Format::OpenMetrics);
        for line in [
            "# TYPE tollgate_dropped counter\n",
            "\ntollgate_dropped_total{queue=",
            "# TYPE tollgate_build info\n",
            "\ntollgate_build_info{version=",
        ] {
            assert!(open.contains(line), "{open}");
        }
        assert!(open.ends_with("\n# EOF\n") && open.matches("# EOF").count() == 1, "{open}");
    }

    #[test]
    fn a_histogram_is_cumulative() {
        let mut histogram = Histogram::default();
        for ms in [1, 30, 700_000] {
            histogram.add(std::time::Duration::from_millis(ms));
        }
        let mut exposition = Exposition::new(Format::Prometheus);
        exposition.family(&table::FIRST_BYTE).histogram(&["demo", "chat"], &histogram);
        let text = exposition.finish();
        for line in [
            "_bucket{provider=\"demo\",endpoint=\"chat\",le=\"0.005\"} 1\n",
            "_bucket{provider=\"demo\",endpoint=\"chat\",le=\"0.025\"} 1\n",
            "_bucket{provider=\"demo\",endpoint=\"chat\",le=\"0.05\"} 2\n",
            "_bucket{provider=\"demo\",endpoint=\"chat\",le=\"600.0\"} 2\n",
            "_bucket{provider=\"demo\",endpoint=\"chat\",le=\"+Inf\"} 3\n",
            "_sum{provider=\"demo\",endpoint=\"chat\"} 700.031\n",
            "_count{provider=\"demo\",endpoint=\"chat\"} 3\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
