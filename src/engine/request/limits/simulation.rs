//! Limits under a virtual clock, against a model that knows all calls: `model`.
//!
//! Users call, calls end, are cut or given back; the clock passes the ends of windows, is set back and on; the process restarts
//! cleanly, or from what was stored up to a second ago; and the limits change while calls run, as a reload changes them: amounts
//! grow and shrink, a limit only warns for some time, reserves or does not, and has another kind of window, and the first one again.
//! A call that began before such a change is admitted by what the limit said then, in the windows of now. After each step, counters
//! and model agree.

use super::{
    admit::{Asked, admit},
    counter::{Counter, Row, Slot},
    terms::{Admits, Over, Terms},
};
use crate::base::window::{Every, Window, Zone};

mod model;

use model::{Key, needed};

const SEEDS: u64 = 10_000;
const STEPS: u64 = 28;
const USERS: u64 = 2;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()].clone()
    }
}

/// One limit, with a counter and a model for each user. A shared one uses the first.
#[derive(Clone)]
struct Limit {
    terms: Terms,
    /// What it said before the last change.
    before: Terms,
    is_shared: bool,
    counters: Vec<Counter>,
    keys: Vec<Key>,
}

struct Running {
    id: usize,
    user: usize,
    asked: i128,
    slots: Vec<Slot>,
}

/// What was written to the store at a time.
struct Stored {
    at_ms: u64,
    rows: Vec<Vec<Vec<Row>>>,
    keys: Vec<Vec<Key>>,
}

struct World {
    random: Random,
    zones: Vec<Zone>,
    now_ms: u64,
    goes_back: bool,
    limits: Vec<Limit>,
    running: Vec<Running>,
    stored: Option<Stored>,
    calls: usize,
}

const OVERS: [Over; 4] = [Over::Reject, Over::Reject, Over::Reject, Over::Warn];
const ADMITS: [Admits; 3] = [Admits::Fits, Admits::Fits, Admits::WhilePositive];

fn amount(random: &mut Random) -> i128 {
    i128::from(1 + random.below(100))
}

fn window(random: &mut Random, zones: &[Zone]) -> Window {
    let every = random.one(&[Every::Hour, Every::Day, Every::Week, Every::Month]);
    let calendar = Window::Calendar { every, zone: random.one(zones) };
    let length = random.one(&[1, 63, 1_000, 60_000, 3_600_000, 86_400_000]);
    random.one(&[calendar.clone(), calendar, Window::Sliding(length), Window::Total])
}

fn limit(random: &mut Random, zones: &[Zone]) -> Limit {
    let terms = Terms {
        window: window(random, zones),
        amount: amount(random),
        over: random.one(&OVERS),
        admits: random.one(&ADMITS),
    };
    let users = usize::try_from(USERS).unwrap();
    let (counters, keys) = (vec![Counter::default(); users], vec![Key::default(); users]);
    Limit { before: terms.clone(), terms, is_shared: random.below(2) == 0, counters, keys }
}

impl Limit {
    fn key(&self, user: usize) -> usize {
        if self.is_shared { 0 } else { user }
    }

    /// What it says to a call that began before the last change: only the window is that of now.
    fn old_terms(&self) -> Terms {
        Terms { window: self.terms.window.clone(), ..self.before.clone() }
    }
}

impl World {
    fn new(seed: u64, zones: &[Zone]) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // Before changes of clocks: Berlin, Lord Howe (twice), São Paulo, Apia; the first hour of 1970.
        let starts = [
            1_774_740_000_000,
            1_775_314_800_000,
            1_791_036_000_000,
            1_541_293_200_000,
            1_325_235_600_000,
            0,
        ];
        let limits = (0..=random.below(3)).map(|_| limit(&mut random, zones)).collect();
        Self {
            now_ms: random.one(&starts) + random.below(7_200_000),
            goes_back: random.below(2) == 0,
            limits,
            zones: zones.to_vec(),
            running: Vec::new(),
            stored: None,
            calls: 0,
            random,
        }
    }

    fn step(&mut self) {
        self.pass();
        match self.random.below(18) {
            0..8 => self.call(),
            8..13 => self.end(),
            13..15 => self.store(),
            15 => self.restart(),
            _ => self.change(),
        }
        self.agrees();
    }

    /// Time passes, or the clock is set.
    fn pass(&mut self) {
        const UNITS: [u64; 6] = [1, 100, 1_000, 60_000, 3_600_000, 86_400_000];
        let by = self.random.one(&UNITS) * self.random.below(5);
        self.now_ms = match self.random.below(8) {
            0 | 1 if self.goes_back => self.now_ms.saturating_sub(by),
            2 => {
                let terms = self.random.one(&self.limits).terms;
                let end = terms.window.span(self.now_ms).end_ms.unwrap_or(self.now_ms + 1);
                (end - 1 + self.random.below(2)).max(self.now_ms)
            }
            3 | 4 => self.now_ms + by,
            _ => self.now_ms + self.random.below(50),
        };
    }

    /// A reload changes a limit, or takes its last change back.
    fn change(&mut self) {
        let place = usize::try_from(self.random.below(self.limits.len() as u64)).unwrap();
        let (limit, random) = (&mut self.limits[place], &mut self.random);
        let terms = limit.terms.clone();
        match random.below(8) {
            0 | 1 => limit.terms.amount = amount(random),
            2 => limit.terms.over = random.one(&OVERS),
            3 => limit.terms.admits = random.one(&ADMITS),
            4 | 5 => limit.terms.window = window(random, &self.zones),
            _ => limit.terms = limit.before.clone(),
        }
        limit.before = terms;
    }

    fn call(&mut self) {
        let user = usize::try_from(self.random.below(USERS)).unwrap();
        let asked = i128::from(self.random.one(&[0, 1, 5, 20, 40, 110]));
        let (now_ms, is_late) = (self.now_ms, self.random.below(8) == 0);
        let terms_of = |limit: &Limit| if is_late { limit.old_terms() } else { limit.terms.clone() };
        let terms: Vec<Terms> = self.limits.iter().map(terms_of).collect();
        for limit in &mut self.limits {
            let key = limit.key(user);
            limit.keys[key].asked(&limit.terms.window, now_ms);
        }
        let before = self.limits.clone();
        let keys: Vec<usize> = self.limits.iter().map(|limit| limit.key(user)).collect();
        let limits = self.limits.iter_mut().zip(&keys).zip(&terms);
        let mut all: Vec<Asked<'_>> = limits
            .map(|((limit, key), terms)| Asked { counter: &mut limit.counters[*key], terms, asked })
            .collect();
        let admitted = admit(&mut all, now_ms);
        let passes = |at: usize| before[at].keys[keys[at]].passes(&terms[at], now_ms, asked);
        assert_eq!(admitted.is_ok(), (0..keys.len()).all(passes));
        match admitted {
            Ok(slots) => {
                self.calls += 1;
                for ((limit, key), terms) in self.limits.iter_mut().zip(keys).zip(&terms) {
                    limit.keys[key].take(terms, now_ms, self.calls, asked);
                }
                self.running.push(Running { id: self.calls, user, asked, slots });
            }
            Err(refusal) => {
                let waits: Vec<Option<u64>> = (0..keys.len())
                    .filter(|at| !passes(*at))
                    .map(|at| self.wait((at, keys[at]), &terms[at], asked))
                    .collect();
                let longest = if waits.contains(&None) { None } else { waits.into_iter().max().unwrap() };
                assert!(!passes(refusal.index));
                assert_eq!(refusal.refused.retry_after_ms, longest);
                for (limit, before) in self.limits.iter().zip(&before) {
                    for (one, other) in limit.counters.iter().zip(&before.counters) {
                        let terms = &limit.terms;
                        assert_eq!(one.balance(terms, now_ms), other.balance(terms, now_ms));
                    }
                }
            }
        }
    }

    /// The wait that a limit reports, which the model agrees with.
    fn wait(&self, (at, key): (usize, usize), terms: &Terms, asked: i128) -> Option<u64> {
        let Limit { counters, keys, .. } = &self.limits[at];
        let refused = counters[key].clone().check(terms, self.now_ms, asked).unwrap_err();
        let (used, reserved) = keys[key].sums(&terms.window, self.now_ms);
        assert_eq!(refused.left, terms.amount - used - reserved);
        let Some(wait_ms) = refused.retry_after_ms else {
            assert!(needed(terms, asked) > terms.amount || terms.window == Window::Total);
            return None;
        };
        let then = self.now_ms + wait_ms;
        for (time, passes) in [(then, true), (then - 1, false)] {
            assert_eq!(counters[key].clone().check(terms, time, asked).is_ok(), passes);
            assert_eq!(keys[key].passes(terms, time, asked), passes);
        }
        Some(wait_ms)
    }

    /// A call ends with all or less than it reserved, with more, or is given back.
    fn end(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let place = usize::try_from(self.random.below(self.running.len() as u64)).unwrap();
        let Running { id, user, asked, slots } = self.running.swap_remove(place);
        let used = asked * self.random.one(&[0, 1, 2, 2, 2, 3]) / 2;
        for (limit, slot) in self.limits.iter_mut().zip(slots) {
            let key = limit.key(user);
            limit.counters[key].settle(slot, used);
            limit.keys[key].settle(id, used);
        }
    }

    fn store(&mut self) {
        let rows = |limit: &Limit| limit.counters.iter().map(|counter| counter.rows().collect()).collect();
        self.stored = Some(Stored {
            at_ms: self.now_ms,
            rows: self.limits.iter().map(rows).collect(),
            keys: self.limits.iter().map(|limit| limit.keys.clone()).collect(),
        });
    }

    /// What was stored up to a second ago is restored. The calls of before never end.
    fn restart(&mut self) {
        let now_ms = self.now_ms;
        if self.stored.as_ref().is_none_or(|stored| now_ms.abs_diff(stored.at_ms) > 1_000) {
            self.store();
        }
        let Some(stored) = self.stored.take() else { return };
        for (limit, (rows, keys)) in self.limits.iter_mut().zip(stored.rows.into_iter().zip(stored.keys)) {
            limit.counters = rows.into_iter().map(Counter::restored).collect();
            limit.keys = keys;
            limit.keys.iter_mut().for_each(Key::restart);
        }
        self.running.clear();
    }

    /// Counters and model agree, now and in the windows of some calls.
    fn agrees(&self) {
        for limit in &self.limits {
            for (counter, key) in limit.counters.iter().zip(&limit.keys) {
                let Limit { terms, .. } = limit;
                let calls = key.calls.iter().rev().take(2).map(|call| call.at_ms);
                for time in calls.chain([self.now_ms]) {
                    let balance = counter.balance(terms, time);
                    let mut key = key.clone();
                    key.asked(&terms.window, time);
                    let expected = key.sums(&terms.window, time);
                    assert_eq!((balance.used, balance.reserved), expected, "{terms:?} {time}");
                    assert_eq!(balance.left, terms.amount - expected.0 - expected.1);
                }
                // A clock that is set back meets windows of the past, whose calls may be counted elsewhere.
                let is_exact = |window: &Window| {
                    !self.goes_back || !key.has_changed && !matches!(window, Window::Sliding(_))
                };
                assert!(key.is_within(is_exact), "{terms:?}");
            }
        }
    }
}

#[test]
fn counters_and_model_agree() {
    let zones = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"];
    let zones: Vec<Zone> = zones.iter().map(|name| Zone::parse(name).unwrap()).collect();
    for seed in 0..SEEDS {
        let mut world = World::new(seed, &zones);
        for step in 0..STEPS {
            let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.step()));
            assert!(found.is_ok(), "seed {seed}, step {step}");
        }
    }
}
