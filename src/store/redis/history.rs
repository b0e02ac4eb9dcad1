//! What a process knows of the store's histories, and of how much the store has done.
//!
//! A server that was emptied has no mark. One that was set back still has the mark, but has taken fewer
//! steps than somebody has heard of; so every step tells it the most that its caller knows of, and is
//! refused where that is more than there is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;

use crate::clock::UnixTime;
use crate::store::contract::Incarnation;
use crate::store::redis::layout::TAGS;
use crate::store::redis::script::{Answer, Told};

/// The history of one tag, as this process knows it.
#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) mark: [u8; 8],
    /// When it began, in milliseconds.
    pub(crate) since: u64,
    steps: AtomicU64,
    own: AtomicU64,
}

impl Tag {
    /// Of which nothing has been heard: no history bears this mark.
    pub(crate) const fn unknown() -> Self {
        Self { mark: [0; 8], since: 0, steps: AtomicU64::new(0), own: AtomicU64::new(0) }
    }

    fn new(told: &Told) -> Self {
        let (mark, since) = (told.mark, told.since);
        Self { mark, since, steps: told.steps.into(), own: told.own.into() }
    }

    /// The most steps that this process has heard of. What is asked for after this was read meets a
    /// server that has taken at least as many, or has forgotten some.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Acquire)
    }

    /// The most of its own steps that it has heard of.
    pub(crate) fn own(&self) -> u64 {
        self.own.load(Ordering::Acquire)
    }

    /// The same, where nobody knows any more how many of its steps were this process'.
    fn without_own_steps(&self) -> Self {
        let (mark, since) = (self.mark, self.since);
        Self { mark, since, steps: self.steps().into(), own: AtomicU64::new(0) }
    }

    /// Answers come in any order: only the highest numbers count.
    fn hear(&self, steps: u64, own: u64) {
        self.steps.fetch_max(steps, Ordering::AcqRel);
        self.own.fetch_max(own, Ordering::AcqRel);
    }
}

/// One tag, as it was found.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) tag: Arc<Tag>,
    /// The run of the server that it was found on.
    pub(crate) run: Vec<u8>,
    /// From when on the stop watch steps are taken in it.
    pub(crate) usable_from: Duration,
    /// The place of that server among the nodes.
    node: usize,
}

/// A server, and how full it was when it was heard of last.
#[derive(Debug)]
struct Node {
    keys: AtomicU64,
    /// How many of its keys are histories.
    histories: u64,
}

impl Node {
    fn entries(&self) -> u64 {
        self.keys.load(Ordering::Relaxed).saturating_sub(self.histories)
    }
}

/// All histories, read together.
#[derive(Debug)]
pub(crate) struct Known {
    parts: Vec<Part>,
    nodes: Vec<Node>,
    /// One name for all of them.
    pub(crate) incarnation: Incarnation,
    /// Whether any of them follows one that was forgotten.
    pub(crate) follows: bool,
    /// From when on the stop watch steps are taken in them.
    pub(crate) usable_from: Duration,
    /// When on the stop watch they were read.
    pub(crate) read_at: Duration,
    /// The policy by which a server drops what has not ended, where one does.
    pub(crate) evicts: Option<String>,
}

impl Known {
    /// What `told` says, one for each tag, at `now` on the stop watch. What the `former` tags know of
    /// unchanged histories lives on.
    pub(crate) fn new(told: &[Told], former: &[Arc<Tag>], now: Duration) -> Self {
        let mut numbers: HashMap<&[u8], usize> = HashMap::new();
        let mut nodes: Vec<Node> = Vec::new();
        let mut parts = Vec::with_capacity(TAGS);
        for (number, told) in told.iter().enumerate() {
            let node = *numbers.entry(&told.run).or_insert_with(|| {
                nodes.push(Node { keys: told.keys.into(), histories: 0 });
                nodes.len() - 1
            });
            if let Some(node) = nodes.get_mut(node) {
                node.keys = told.keys.into();
                node.histories += 1;
            }
            let tag = match former.get(number).filter(|tag| tag.mark == told.mark) {
                Some(tag) => {
                    tag.hear(told.steps, told.own);
                    Arc::clone(tag)
                }
                None => Arc::new(Tag::new(told)),
            };
            let usable_from = match told.wait {
                0 => Duration::ZERO,
                wait => now.saturating_add(Duration::from_millis(wait)),
            };
            parts.push(Part { tag, run: told.run.clone(), usable_from, node });
        }
        let incarnation = incarnation(told);
        let follows = told.iter().any(|told| told.follows);
        let (usable_from, read_at) = (Duration::ZERO, now);
        Self { parts, nodes, incarnation, follows, usable_from, read_at, evicts: None }
    }

    /// What is known of each tag.
    pub(crate) fn tags(&self) -> Vec<Arc<Tag>> {
        self.parts.iter().map(|part| Arc::clone(&part.tag)).collect()
    }

    /// The same, for a process that was away for so long that the servers do not know it any more: as for
    /// one that has ended, what it did counts only among the steps of all.
    pub(crate) fn tags_without_own_steps(&self) -> Vec<Arc<Tag>> {
        self.parts.iter().map(|part| Arc::new(part.tag.without_own_steps())).collect()
    }

    /// The tag `number`.
    pub(crate) fn part(&self, number: usize) -> Option<&Part> {
        self.parts.get(number)
    }

    /// The part in which steps can be taken first.
    pub(crate) fn first_usable(&self) -> Option<&Part> {
        self.parts.iter().min_by_key(|part| part.usable_from)
    }

    /// Notes what a step on the tag `number` answered.
    pub(crate) fn hear(&self, number: usize, answer: &Answer) {
        let Some(part) = self.parts.get(number) else { return };
        part.tag.hear(answer.steps, answer.own);
        if let Some(node) = self.nodes.get(part.node) {
            node.keys.store(answer.keys, Ordering::Relaxed);
        }
    }

    /// One tag on each server.
    pub(crate) fn one_on_each(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter_map(|node| self.parts.iter().position(|part| part.node == node))
            .collect()
    }

    /// How many entries there are on all servers.
    pub(crate) fn entries(&self) -> u64 {
        self.nodes.iter().map(Node::entries).sum()
    }

    /// How many keys the server of the tag `number` may hold, so that there are `capacity` entries on all.
    pub(crate) fn room(&self, number: usize, capacity: u64) -> u64 {
        let on = self.parts.get(number).map(|part| part.node);
        let Some(own) = on.and_then(|on| self.nodes.get(on)) else { return 0 };
        let elsewhere = self.entries().saturating_sub(own.entries());
        capacity.saturating_sub(elsewhere).saturating_add(own.histories)
    }
}

/// All histories are remembered since the last of them began; another one of any is another of all.
fn incarnation(told: &[Told]) -> Incarnation {
    named(told.iter().map(|told| (told.mark, told.since)))
}

/// One name for all tags' histories, whose marks and beginnings these are.
pub(crate) fn named(histories: impl Iterator<Item = ([u8; 8], u64)>) -> Incarnation {
    let (mut context, mut latest) = (digest::Context::new(&digest::SHA256), 0);
    for (mark, since) in histories {
        context.update(&mark);
        latest = since.max(latest);
    }
    let mut mark = [0; 8];
    for (to, from) in mark.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    Incarnation { mark, since: UnixTime::from_millis(latest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(n: u64, node: u8) -> Told {
        let (mark, since) = (n.to_be_bytes(), 1_000 + n);
        let (run, follows) = (vec![node], false);
        Told { mark, since, follows, steps: 5, own: 2, here: 9_000, keys: 30, run, wait: 0 }
    }

    fn fleet() -> Vec<Told> {
        (0..64).map(|n| told(n, u8::try_from(n % 3).unwrap())).collect()
    }

    #[test]
    fn another_mark_of_one_tag_is_another_incarnation_of_all() {
        let known = Known::new(&fleet(), &[], Duration::ZERO);
        assert_eq!(known.incarnation.since, UnixTime::from_millis(1_063));
        let mut other = fleet();
        other[7] = Told { since: 5_000, follows: true, ..told(700, 1) };
        let other = Known::new(&other, &known.tags(), Duration::ZERO);
        assert_ne!(other.incarnation.mark, known.incarnation.mark);
        assert!(other.follows && !known.follows);
        assert_eq!(other.incarnation.since, UnixTime::from_millis(5_000));
        for n in 0..64 {
            let same = Arc::ptr_eq(&known.part(n).unwrap().tag, &other.part(n).unwrap().tag);
            assert_eq!(same, n != 7);
        }
    }

    #[test]
    fn only_the_highest_numbers_count() {
        let known = Known::new(&fleet(), &[], Duration::ZERO);
        let answer =
            |steps, own| Answer { word: "held".to_owned(), steps, own, keys: 30, value: None };
        let numbers = || (known.part(3).unwrap().tag.steps(), known.part(3).unwrap().tag.own());
        known.hear(3, &answer(9, 4));
        known.hear(3, &answer(8, 3));
        assert_eq!(numbers(), (9, 4));
        let _ = Known::new(&fleet(), &known.tags(), Duration::ZERO);
        assert_eq!(numbers(), (9, 4));
    }

    #[test]
    fn room_is_for_all_servers_together() {
        let known = Known::new(&fleet(), &[], Duration::ZERO);
        assert_eq!(known.one_on_each(), [0, 1, 2]);
        // 22, 21 and 21 of 30 keys each are histories.
        assert_eq!(known.entries(), 8 + 9 + 9);
        assert_eq!(known.room(0, 100), 100 - 18 + 22);
        assert_eq!(known.room(1, 10), 21, "no room for any but what others have left");
        let answer = Answer { word: "first".into(), steps: 6, own: 3, keys: 31, value: None };
        known.hear(0, &answer);
        assert_eq!(known.entries(), 27);
    }
}
