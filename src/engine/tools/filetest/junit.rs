//! Test results as `JUnit` XML, in the form that CI systems read: `testsuites`, one `testsuite` per file, one `testcase` per
//! test with `failure` or `error`.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use crate::base::escape;

/// The results of one file.
#[derive(Debug, Default)]
pub struct Suite {
    /// The file.
    pub name: String,
    /// Its tests.
    pub cases: Vec<Case>,
}

/// The result of one test.
#[derive(Debug)]
pub struct Case {
    /// The test.
    pub name: String,
    /// Its duration.
    pub took: Duration,
    /// The failure; none if it passed.
    pub problem: Option<Problem>,
}

/// The reason why a test did not pass.
#[derive(Debug)]
pub struct Problem {
    /// True if the test ran and failed; false if its file cannot be tested.
    pub ran: bool,
    /// The diagnostic's code.
    pub code: &'static str,
    /// The message, on one line.
    pub message: String,
    /// The whole text.
    pub text: String,
}

/// The XML document.
pub fn junit(suites: &[Suite]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let all: Vec<&Case> = suites.iter().flat_map(|suite| &suite.cases).collect();
    element(&mut out, "testsuites", "tollgate", &all);
    for suite in suites {
        out.push_str("  ");
        element(&mut out, "testsuite", &suite.name, &suite.cases.iter().collect::<Vec<_>>());
        suite.cases.iter().for_each(|case| one(&mut out, &suite.name, case));
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn element(out: &mut String, tag: &str, name: &str, cases: &[&Case]) {
    let problems = |ran: bool| {
        let problem = |case: &Case| case.problem.as_ref().is_some_and(|problem| problem.ran == ran);
        cases.iter().filter(|case| problem(case)).count()
    };
    let took: Duration = cases.iter().map(|case| case.took).sum();
    let (tests, failures, errors) = (cases.len(), problems(true), problems(false));
    let (name, time) = (value(name), seconds(took));
    write(
        out,
        format_args!(
            "<{tag} name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{time}\">\n"
        ),
    );
}

fn one(out: &mut String, file: &str, case: &Case) {
    let (name, file, time) = (value(&case.name), value(file), seconds(case.took));
    write(out, format_args!("    <testcase name=\"{name}\" classname=\"{file}\" time=\"{time}\""));
    let Some(problem) = &case.problem else {
        out.push_str("/>\n");
        return;
    };
    let tag = if problem.ran { "failure" } else { "error" };
    let (message, text) = (value(&problem.message), escaped(&problem.text));
    let code = problem.code;
    write(
        out,
        format_args!(
            ">\n      <{tag} message=\"{message}\" type=\"{code}\">{text}</{tag}>\n    </testcase>\n"
        ),
    );
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes all that is written to it");
}

fn seconds(took: Duration) -> String {
    format!("{:.6}", took.as_secs_f64())
}

/// A value on one line, without hidden characters.
fn value(text: &str) -> String {
    escaped(&escape::line(text)).into_owned()
}

/// Escapes text and attribute values. XML 1.0 cannot represent most control characters: they become U+FFFD.
fn escaped(text: &str) -> Cow<'_, str> {
    let special =
        |c: char| matches!(c, '&' | '<' | '>' | '"' | '\'' | '\u{fffe}' | '\u{ffff}') || c.is_control();
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if special(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_format() {
        let case =
            |name: &str, problem| Case { name: name.to_owned(), took: Duration::from_millis(1), problem };
        let problem = |ran, message: &str| {
            let text = format!("{message}\n\u{1}");
            Some(Problem { ran, code: "TG050", message: message.to_owned(), text })
        };
        let suites = [
            Suite {
                name: "a.toml".into(),
                cases: vec![case("good", None), case("<bad>", problem(true, "`a&b` is \"c\""))],
            },
            Suite { name: "b.toml".into(), cases: vec![case("b", problem(false, "no TOML"))] },
        ];
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites name=\"tollgate\" tests=\"3\" failures=\"1\" errors=\"1\" time=\"0.003000\">
  <testsuite name=\"a.toml\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"0.002000\">
    <testcase name=\"good\" classname=\"a.toml\" time=\"0.001000\"/>
    <testcase name=\"&lt;bad&gt;\" classname=\"a.toml\" time=\"0.001000\">
      <failure message=\"`a&amp;b` is &quot;c&quot;\" type=\"TG050\">`a&amp;b` is &quot;c&quot;&#10;\u{fffd}</failure>
    </testcase>
  </testsuite>
  <testsuite name=\"b.toml\" tests=\"1\" failures=\"0\" errors=\"1\" time=\"0.001000\">
    <testcase name=\"b\" classname=\"b.toml\" time=\"0.001000\">
      <error message=\"no TOML\" type=\"TG050\">no TOML&#10;\u{fffd}</error>
    </testcase>
  </testsuite>
</testsuites>
";
        assert_eq!(junit(&suites), expected);
    }
}
