//! Tests of the judge: the harness here. Each table is judged whole and in every way of cutting the bytes in two.

mod bounds;
mod corpus;
mod forms;
mod hostile;
mod json;
mod media;
mod multipart;
mod places;
mod properties;

use super::*;
use crate::language::compile::metering::{Map, MapBuilder, Target};

/// The pointers of requests.
fn map<'p>(pointers: impl IntoIterator<Item = (&'p str, Target)>) -> Map {
    let mut builder = MapBuilder::new();
    for (pointer, target) in pointers {
        builder.add(pointer, target).unwrap();
    }
    builder.build().unwrap()
}

fn places(model: &str, max_output: &[&str]) -> Arc<Places> {
    let caps = max_output.iter().map(|pointer| (*pointer, Target::MaxOutput));
    Arc::clone(map([(model, Target::Model)].into_iter().chain(caps)).places().unwrap())
}

const NOTHING: Needs = Needs {
    model: false,
    other_models: false,
    max_output: false,
    bound: false,
    is_estimate: false,
    to_the_end: false,
};
const MODEL: Needs = Needs { model: true, ..NOTHING };
const MAX_OUTPUT: Needs = Needs { max_output: true, ..NOTHING };
const ALL: Needs = Needs { model: true, max_output: true, ..NOTHING };

/// A judgement: the model with those besides it, and the cap, or the cause of the refusal.
type Judged = Result<(Option<String>, Option<u64>), Unjudgeable>;

/// One way of judging: places, content type, needs.
#[derive(Clone)]
struct Case<'c> {
    places: Arc<Places>,
    content_type: Option<&'c str>,
    needs: Needs,
}

impl Case<'_> {
    fn judge(&self) -> Result<Judge, Unjudgeable> {
        Judge::new(Arc::clone(&self.places), self.content_type.map(str::as_bytes), self.needs)
    }

    /// The judgement of a body in pieces. Each progress has to be the one that is expected after so many bytes.
    fn pieces<'b>(
        &self,
        pieces: impl IntoIterator<Item = &'b [u8]>,
        expected: Option<&[Progress]>,
    ) -> Judged {
        let mut judge = self.judge()?;
        let mut length = 0;
        for piece in pieces {
            length += piece.len();
            let progress = judge.feed(piece)?;
            if let Some(expected) = expected.filter(|_| length > 0) {
                assert_eq!(progress, expected[length - 1], "after {length} bytes");
            }
        }
        judge.end()?;
        let others = judge.other_models().iter().map(|model| format!("+{model}"));
        let models: Vec<_> = judge.model().map(str::to_owned).into_iter().chain(others).collect();
        Ok(((!models.is_empty()).then(|| models.join(" ")), judge.max_output()))
    }

    /// The progress after each byte, up to an error.
    fn progress(&self, body: &[u8]) -> Vec<Progress> {
        let Ok(mut judge) = self.judge() else { return Vec::new() };
        body.chunks(1).map_while(|byte| judge.feed(byte).ok()).collect()
    }

    /// The judgement of a body, which has to be equal for every cut.
    fn every_cut(&self, body: &[u8]) -> Judged {
        let whole = self.pieces([body], None);
        let progress = self.progress(body);
        for length in [1, 2, 3, 7] {
            assert_eq!(self.pieces(body.chunks(length), Some(&progress)), whole, "in pieces of {length}");
        }
        for cut in 0..=body.len() {
            let (front, rest) = body.split_at(cut);
            let cut_once = self.pieces([front, rest], Some(&progress));
            assert_eq!(cut_once, whole, "cut at {cut}: {}", String::from_utf8_lossy(body));
        }
        whole
    }

    /// Judges a body in every way. What is expected: `model max`, with `-` for none; or `!` and a cause.
    fn check(&self, body: &[u8], expected: &str) {
        let judged = match self.every_cut(body) {
            Ok((model, max_output)) => {
                let max_output = max_output.map_or("-".to_owned(), |value| value.to_string());
                format!("{} {max_output}", model.as_deref().unwrap_or("-"))
            }
            Err(refused) => format!("!{}", refused.cause()),
        };
        assert_eq!(judged, expected, "{}", String::from_utf8_lossy(body));
    }
}
