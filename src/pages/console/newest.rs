//! The pages of a list that was read whole, the newest first.

use super::super::client::with_query;
use crate::numbers::grouped;

/// The items of one page.
const LIMIT: usize = 100;

/// One page.
pub(super) struct Newest<T> {
    /// The items of the page, each with its id.
    pub(super) items: Vec<(String, T)>,
    /// The place of the first one in the list, from 1.
    first: usize,
    /// The items of the list.
    all: usize,
    /// The addresses of the page before and after this one, if there are some.
    pub(super) previous: Option<String>,
    pub(super) next: Option<String>,
}

impl<T> Newest<T> {
    /// The page after the item with this id, of a list in the order of creation. The first page if there is none with it: it may
    /// be gone.
    pub(super) fn of(mut list: Vec<(String, T)>, after: &str, path: &str) -> Self {
        list.reverse();
        let all = list.len();
        let start = list.iter().position(|(id, _)| id == after).map_or(0, |at| at + 1);
        let address = |start: usize| {
            let after = start.checked_sub(1).map_or("", |before| list[before].0.as_str());
            with_query(path, &[("after", after)])
        };
        let previous = (start > 0).then(|| address(start.saturating_sub(LIMIT)));
        let next = (all > start + LIMIT).then(|| address(start + LIMIT));
        let items: Vec<_> = list.into_iter().skip(start).take(LIMIT).collect();
        Self { items, first: start + 1, all, previous, next }
    }

    /// The part of the list that the page has, if that is not all.
    pub(super) fn part(&self) -> Option<String> {
        let last = self.first + self.items.len() - 1;
        (self.items.len() < self.all).then(|| {
            format!("{}–{} of {}", grouped(self.first as u64), grouped(last as u64), grouped(self.all as u64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_on_a_page_and_the_pages_lead_to_each_other() {
        let list =
            |length: usize| (0..length).map(|number| (format!("t{number}"), number)).collect::<Vec<_>>();
        let check =
            |length: usize, after: &str, expected: (&[usize], Option<&str>, Option<&str>, Option<&str>)| {
                let page = Newest::of(list(length), after, "/t");
                let ends: Vec<usize> = page.items.iter().map(|(_, number)| *number).collect();
                let ends = [ends.first(), ends.last()].into_iter().flatten().copied().collect::<Vec<_>>();
                let part = page.part();
                let seen = (&*ends, page.previous.as_deref(), page.next.as_deref(), part.as_deref());
                assert_eq!(seen, expected, "{length} after {after}");
            };
        check(0, "", (&[], None, None, None));
        check(100, "", (&[99, 0], None, None, None));
        check(250, "", (&[249, 150], None, Some("/t?after=t150"), Some("1–100 of 250")));
        check(250, "gone", (&[249, 150], None, Some("/t?after=t150"), Some("1–100 of 250")));
        check(250, "t150", (&[149, 50], Some("/t"), Some("/t?after=t50"), Some("101–200 of 250")));
        check(250, "t50", (&[49, 0], Some("/t?after=t150"), None, Some("201–250 of 250")));
        check(250, "t0", (&[], Some("/t?after=t100"), None, Some("251–250 of 250")));
    }
}
