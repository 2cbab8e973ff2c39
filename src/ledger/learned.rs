//! Ratios of text to tokens out of the ledger, so that estimates after a restart are those from before it.

use super::DAY_MS;
use crate::{
    clock::now_ms,
    meter::ratios::{MAX_MODELS, Ratios, TextSum},
    store::Store,
};

/// Age of the usage that is read, in days.
const DAYS: u64 = 7;

/// The ratios of the last days. Without a readable store, those of nothing.
pub async fn learned_ratios(store: &Store) -> Ratios {
    let mut ratios = Ratios::default();
    let since = (now_ms() / DAY_MS).saturating_sub(DAYS);
    match store.learned_bytes(since, MAX_MODELS as u64).await {
        Ok(all) => {
            for one in all {
                let prompt = TextSum { bytes: one.prompt_bytes, tokens: one.prompt_tokens };
                let answer = TextSum { bytes: one.answer_bytes, tokens: one.answer_tokens };
                ratios.seed(&one.provider, &one.model, prompt, answer);
            }
        }
        Err(error) => tracing::warn!(%error, "estimates begin with the default ratio of text to tokens"),
    }
    ratios
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{
        access_record::{Sides, Usage},
        store::{UsageBatch, UsageKey, UsageSums},
        usage::{Counter, Counters},
    };

    #[tokio::test]
    async fn a_restart_keeps_what_was_learned() {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let (answer_bytes, answer_text_tokens) = (250_000, 100_000);
        let mut counters = Counters::ZERO;
        // Most tokens are those of other things than text.
        counters.set(Counter::Output, 900_000);
        let sums =
            UsageSums { requests: 9, counters, answer_bytes, answer_text_tokens, ..UsageSums::default() };
        let key = UsageKey { provider: "demo".into(), model: "m".into(), ..UsageKey::default() };
        let hours = vec![(now_ms() / 3_600_000, key, sums)];
        let batch = UsageBatch { number: 1, hours, exchanges: Vec::new() };
        assert!(store.add_usage("writer", &batch, now_ms()).await.unwrap());
        let mut usage = Usage {
            model: Some("m".into()),
            answer_bytes: 1000,
            to_estimate: Sides { prompt: false, answer: true },
            ..Usage::default()
        };
        learned_ratios(&store).await.estimate("demo", &mut usage);
        assert_eq!(usage.counters.get(Counter::Output), 400);
    }
}
