use proptest::prelude::*;

use super::*;

#[test]
fn tokens_are_reserved() {
    let check = |kind, cap: Option<u64>, expected: [Option<i128>; 3]| {
        let sides = [Side::Input, Side::Output, Side::Both];
        let found = sides.map(|side| reserve_tokens(kind, 100, cap, 50, side).ok());
        assert_eq!(found, expected, "{kind:?} {cap:?}");
    };
    check(Reserve::None, None, [Some(0); 3]);
    check(Reserve::None, Some(70), [Some(0); 3]);
    check(Reserve::Learned, None, [Some(100), Some(50), Some(150)]);
    check(Reserve::Learned, Some(70), [Some(100), Some(50), Some(150)]);
    check(Reserve::Learned, Some(7), [Some(100), Some(7), Some(107)]);
    check(Reserve::Max, Some(70), [Some(100), Some(70), Some(170)]);
    check(Reserve::Max, Some(7), [Some(100), Some(7), Some(107)]);
    check(Reserve::Max, None, [Some(100), None, None]);
    let most = reserve_tokens(Reserve::Max, u64::MAX, Some(u64::MAX), 0, Side::Both);
    assert_eq!(most, Ok(2 * i128::from(u64::MAX)));
}

#[test]
fn intervals_follow_each_other() {
    let mut value = 0;
    for expected in 0..=976 {
        assert_eq!(interval(value), expected, "{value}");
        let upper = upper_bound(expected);
        assert_eq!(interval(upper), expected, "{value}");
        assert!(upper >= value && (upper - value) <= value / 16, "{value} {upper}");
        if upper == u64::MAX {
            assert_eq!(expected, 975);
            return;
        }
        value = upper + 1;
    }
    panic!("the last interval ends with the greatest number");
}

#[test]
fn models_are_learned_apart() {
    let mut outputs = Outputs::default();
    assert_eq!(outputs.p90("demo", "small"), DEFAULT_OUTPUT_TOKENS);
    outputs.learn("demo", "small", 10);
    outputs.learn("demo", "large", 0);
    outputs.learn("other", "small", u64::MAX);
    assert_eq!(outputs.p90("demo", "small"), 10);
    assert_eq!(outputs.p90("demo", "large"), 0);
    assert_eq!(outputs.p90("other", "small"), u64::MAX);
    assert_eq!(outputs.p90("other", "large"), DEFAULT_OUTPUT_TOKENS);
}

#[test]
fn the_model_that_was_learned_longest_ago_is_forgotten() {
    let mut outputs = Outputs::default();
    for model in 0..MAX_MODELS {
        outputs.learn(if model % 2 == 0 { "demo" } else { "other" }, &model.to_string(), 7);
    }
    outputs.learn("demo", "0", 7);
    outputs.learn("third", "new", 7);
    let known = |provider: &str, model: &str| outputs.p90(provider, model) == 7;
    assert!(known("demo", "0") && !known("other", "1") && known("demo", "2") && known("third", "new"));
    assert_eq!(outputs.models, MAX_MODELS);
    assert_eq!(outputs.providers.values().map(BTreeMap::len).sum::<usize>(), MAX_MODELS);
}

#[test]
fn old_answers_are_forgotten() {
    let mut outputs = Outputs::default();
    let mut learn = |tokens: u64, times: u64| {
        for _ in 0..times {
            outputs.learn("demo", "small", tokens);
        }
        outputs.p90("demo", "small")
    };
    assert_eq!(learn(15, WINDOW), 15);
    assert_eq!(learn(5, 3 * WINDOW), 5);
    assert_eq!(learn(15, 20), 5);
    assert_eq!(learn(15, 150), 15);
    let weights = |outputs: &Outputs| outputs.providers["demo"]["small"].weights.len();
    assert_eq!(weights(&outputs), 2);
    for _ in 0..10 * WINDOW {
        outputs.learn("demo", "small", 5);
    }
    assert_eq!(weights(&outputs), 1);
}

proptest! {
    #[test]
    fn the_percentile_is_never_too_low_and_little_too_high(
        answers in prop::collection::vec(prop_oneof![0..50_u64, 0..100_000_u64, any::<u64>()], 1..200),
    ) {
        let mut outputs = Outputs::default();
        for answer in &answers {
            outputs.learn("demo", "small", *answer);
        }
        let mut sorted = answers;
        sorted.sort_unstable();
        let exact = sorted[(sorted.len() * 9).div_ceil(10) - 1];
        let found = outputs.p90("demo", "small");
        prop_assert!(exact <= found && found - exact <= exact / 16, "{} {}", exact, found);
    }
}
