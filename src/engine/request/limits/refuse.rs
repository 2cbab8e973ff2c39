//! The fault of a call that a limit has no room for. Read next: [`admit`](super::admit), which refuses.

use super::terms::Refused;
use crate::{
    base::fault::{Fault, LimitRefusal},
    language::compile::{Limit, Measure},
};

/// The fault of a call that would have taken `asked` of a limit with this amount for the caller.
pub fn exceeded(limit: &Limit, refused: &Refused, asked: i128, amount: i128) -> Fault {
    let retry_after_s = refused.retry_after_ms.map(|ms| ms.div_ceil(1000).max(1));
    let measure = limit.measure;
    let window = limit.window_text();
    let mut message = format!("The limit `{}` has no room: {}", limit.id, measure.shown(amount));
    for part in [window, limit.owner_text()].iter().filter(|part| !part.is_empty()) {
        message = format!("{message} {part}");
    }
    if measure.is_settled() && asked > 0 {
        let (left, asked) = (measure.shown(refused.left), measure.shown(asked));
        message = format!("{message}; {left} left, and this request may need {asked}");
    }
    let advice = match (retry_after_s, measure) {
        (_, Measure::Concurrent) => "try again when one has ended".to_owned(),
        (Some(seconds), _) => format!("try again in {}", shown_time(seconds)),
        (None, _) if asked > amount => "send a smaller one, or one with a lower `max_tokens`".to_owned(),
        (None, _) => "ask the operator of this tollgate for more".to_owned(),
    };
    Fault::limit_exceeded(
        LimitRefusal { id: limit.id.clone(), retry_after_s },
        format!("{message}. {}", capital(&advice)),
    )
}

fn capital(text: &str) -> String {
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    first.to_uppercase() + rest
}

fn shown_time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds.div_ceil(60)),
        7_200..172_800 => format!("{} h", seconds.div_ceil(3_600)),
        _ => format!("{} days", seconds.div_ceil(86_400)),
    }
}
