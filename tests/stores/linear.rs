//! Whether what callers were told about one key can have come about in some order, one step after the
//! other, each taken at a moment between its beginning and its answer.
//!
//! A step without an answer may have been taken at any moment after its beginning, or never. The search is
//! the one of Wing and Gong, with the memory of Lowe: no state is looked into twice.

use std::collections::HashSet;

/// What somebody asked for. Numbers name attempts: who asks again with the same nonce is the same attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Spend(u64),
    Look,
    Claim(u64),
    Settle(u64),
    Release(u64),
    /// All leases end: their time has come, or the process has that held them in its memory.
    EndLeases,
}

/// What was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    First,
    Held(u64),
    Found(Option<u64>),
    Mine,
    Busy,
    Settled(u64),
    Done,
    Lost,
}

/// A step, as its caller saw it. Moments are numbers that only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) call: Call,
    pub(crate) from: u64,
    /// When the answer came, and which; nothing where none came.
    pub(crate) told: Option<(u64, Told)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Held {
    Free,
    Claimed(u64),
    Kept(u64),
}

/// What a step does, and what it answers.
fn take(held: Held, call: Call) -> (Held, Told) {
    match (call, held) {
        (Call::Spend(by), Held::Free | Held::Claimed(_)) => (Held::Kept(by), Told::First),
        (Call::Spend(by), Held::Kept(winner)) if by == winner => (held, Told::First),
        (Call::Spend(_), Held::Kept(winner)) => (held, Told::Held(winner)),
        (Call::Look, Held::Kept(winner)) => (held, Told::Found(Some(winner))),
        (Call::Look, Held::Free | Held::Claimed(_)) => (held, Told::Found(None)),
        (Call::Claim(by), Held::Free) => (Held::Claimed(by), Told::Mine),
        (Call::Claim(by), Held::Claimed(holder)) if by == holder => (held, Told::Mine),
        (Call::Claim(_), Held::Claimed(_)) => (held, Told::Busy),
        (Call::Claim(_), Held::Kept(winner)) => (held, Told::Settled(winner)),
        (Call::Settle(by), Held::Claimed(holder)) if by == holder => (Held::Kept(by), Told::Done),
        (Call::Settle(by), Held::Kept(winner)) if by == winner => (held, Told::Done),
        (Call::Settle(_), Held::Free | Held::Claimed(_) | Held::Kept(_)) => (held, Told::Lost),
        (Call::Release(by), Held::Claimed(holder)) if by == holder => (Held::Free, Told::Done),
        (Call::Release(_), Held::Free | Held::Claimed(_) | Held::Kept(_)) => (held, Told::Done),
        (Call::EndLeases, Held::Claimed(_)) => (Held::Free, Told::Done),
        (Call::EndLeases, Held::Free | Held::Kept(_)) => (held, Told::Done),
    }
}

/// Whether there is such an order.
pub(crate) fn is_linear(steps: &[Step]) -> bool {
    assert!(steps.len() <= 128, "{} steps", steps.len());
    extends(steps, 0, Held::Free, &mut HashSet::new())
}

/// Whether those that are not in `taken` can follow.
fn extends(steps: &[Step], taken: u128, held: Held, seen: &mut HashSet<(u128, Held)>) -> bool {
    let left = || {
        let all = steps.iter().enumerate().map(|(number, step)| (1_u128 << number, step));
        all.filter(|(bit, _)| taken & bit == 0)
    };
    // Whatever began after an answer was there comes after the step that was so answered.
    let Some(limit) = left().filter_map(|(_, step)| Some(step.told?.0)).min() else { return true };
    if !seen.insert((taken, held)) {
        return false;
    }
    let next = || {
        left().filter(|(_, step)| step.from < limit).filter_map(|(bit, step)| {
            let (after, answer) = take(held, step.call);
            // One without an answer is never needed where it changes nothing.
            let fits = step.told.map_or(after != held, |(_, told)| told == answer);
            fits.then_some((bit, after))
        })
    };
    // What fits now and changes nothing may as well come now.
    if let Some((bit, _)) = next().find(|(_, after)| *after == held) {
        return extends(steps, taken | bit, held, seen);
    }
    next().any(|(bit, after)| extends(steps, taken | bit, after, seen))
}

#[cfg(test)]
mod tests {
    use super::{Call, Step, Told, is_linear};

    fn told(from: u64, call: Call, until: u64, answer: Told) -> Step {
        Step { call, from, told: Some((until, answer)) }
    }

    fn open(from: u64, call: Call) -> Step {
        Step { call, from, told: None }
    }

    #[test]
    fn good_histories_are_good() {
        use Call::{Claim, EndLeases, Look, Release, Settle, Spend};
        use Told::{Busy, Done, First, Found, Held, Lost, Mine, Settled};
        let good: &[(&str, &[Step])] = &[
            ("nothing", &[]),
            ("one", &[told(0, Spend(1), 1, First)]),
            ("again", &[told(0, Spend(1), 1, First), told(2, Spend(1), 3, First)]),
            ("two", &[told(0, Spend(1), 1, First), told(2, Spend(2), 3, Held(1))]),
            ("at once", &[told(0, Spend(1), 9, First), told(1, Spend(2), 2, Held(1))]),
            ("open won", &[open(0, Spend(1)), told(2, Spend(2), 3, Held(1))]),
            ("open lost", &[open(0, Spend(1)), told(2, Spend(2), 3, First)]),
            (
                "open won late",
                &[open(0, Spend(1)), told(2, Look, 3, Found(None)), told(4, Spend(2), 5, Held(1))],
            ),
            ("open found out", &[open(0, Spend(1)), told(2, Spend(1), 3, First)]),
            (
                "open found out that it lost",
                &[open(0, Spend(1)), told(2, Spend(2), 3, First), told(4, Spend(1), 5, Held(2))],
            ),
            (
                "a life",
                &[
                    told(0, Claim(1), 1, Mine),
                    told(2, Claim(2), 3, Busy),
                    told(4, Release(1), 5, Done),
                    told(6, Claim(2), 7, Mine),
                    told(8, Settle(1), 9, Lost),
                    told(10, Settle(2), 11, Done),
                    told(12, Settle(2), 13, Done),
                    told(14, Claim(1), 15, Settled(2)),
                    told(16, Look, 17, Found(Some(2))),
                ],
            ),
            (
                "a lease ends",
                &[
                    told(0, Claim(1), 1, Mine),
                    told(2, EndLeases, 5, Done),
                    told(3, Claim(2), 4, Mine),
                    told(6, Settle(1), 7, Lost),
                ],
            ),
            (
                "maybe a lease ends",
                &[told(0, Claim(1), 1, Mine), open(2, EndLeases), told(3, Claim(2), 4, Mine)],
            ),
            (
                "open release",
                &[
                    told(0, Claim(1), 1, Mine),
                    open(2, Release(1)),
                    told(4, Claim(2), 5, Busy),
                    told(6, Claim(2), 7, Mine),
                ],
            ),
            (
                "open settle",
                &[told(0, Claim(1), 1, Mine), open(2, Settle(1)), told(4, Claim(2), 5, Settled(1))],
            ),
        ];
        for (name, steps) in good {
            assert!(is_linear(steps), "{name}");
        }
    }

    #[test]
    fn bad_histories_are_bad() {
        use Call::{Claim, EndLeases, Look, Release, Settle, Spend};
        use Told::{Busy, Done, First, Found, Held, Lost, Mine, Settled};
        let bad: &[(&str, &[Step])] = &[
            ("two first", &[told(0, Spend(1), 9, First), told(1, Spend(2), 8, First)]),
            ("nobody was first", &[told(0, Spend(1), 1, Held(2))]),
            (
                "the winner came later",
                &[told(0, Spend(1), 1, Held(2)), told(2, Spend(2), 3, First)],
            ),
            ("the open winner came later", &[told(0, Spend(1), 1, Held(2)), open(2, Spend(2))]),
            (
                "two winners",
                &[
                    open(0, Spend(1)),
                    open(0, Spend(2)),
                    told(1, Spend(3), 2, Held(1)),
                    told(3, Spend(4), 4, Held(2)),
                ],
            ),
            (
                "a winner is told that it lost",
                &[told(0, Spend(1), 1, First), told(2, Spend(1), 3, Held(1))],
            ),
            ("forgotten", &[told(0, Spend(1), 1, First), told(2, Look, 3, Found(None))]),
            (
                "forgotten after an open one had won",
                &[open(0, Spend(1)), told(1, Spend(2), 2, Held(1)), told(3, Spend(3), 4, First)],
            ),
            ("both have it", &[told(0, Claim(1), 9, Mine), told(1, Claim(2), 8, Mine)]),
            (
                "the holder loses it to nobody",
                &[told(0, Claim(1), 1, Mine), told(2, Settle(1), 3, Lost)],
            ),
            ("busy without anybody", &[told(0, Claim(1), 1, Busy)]),
            (
                "settled twice",
                &[
                    told(0, Claim(1), 1, Mine),
                    told(2, EndLeases, 3, Done),
                    told(4, Claim(2), 5, Mine),
                    told(6, Settle(1), 7, Done),
                    told(8, Settle(2), 9, Done),
                ],
            ),
            (
                "busy after the release",
                &[
                    told(0, Claim(1), 1, Mine),
                    told(2, Release(1), 3, Done),
                    told(4, Claim(2), 5, Busy),
                ],
            ),
            (
                "released by somebody else",
                &[
                    told(0, Claim(1), 1, Mine),
                    told(2, Release(2), 3, Done),
                    told(4, Claim(2), 5, Mine),
                ],
            ),
            (
                "done, and free again",
                &[
                    told(0, Claim(1), 1, Mine),
                    told(2, Settle(1), 3, Done),
                    told(4, Claim(2), 5, Mine),
                ],
            ),
            (
                "settled by nobody who had it",
                &[told(0, Claim(1), 1, Mine), told(2, Claim(2), 3, Settled(2))],
            ),
        ];
        for (name, steps) in bad {
            assert!(!is_linear(steps), "{name}");
        }
    }
}
