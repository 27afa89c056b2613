//! Batches: several tasks that are accepted in one step.

use std::ops::Range;

use loom::thread;

use super::{queue, run};
use crate::queue::{DEFAULT_LANE, LazyBatch, LazyItem, Queue};
use crate::sync::explore::explore;
use crate::sync::{Arc, AtomicBool, Ordering};

/// The numbers of a range as a batch.
struct Numbers(Range<usize>);

impl LazyItem<usize> for Numbers {
    fn build(&mut self) -> usize {
        self.0.next().expect("there are more")
    }
}

impl LazyBatch<usize> for Numbers {
    fn remaining(&self) -> usize {
        self.0.len()
    }
}

/// Three tasks in batches, as there is room, pass a queue for two, in order.
pub(super) fn go_round<Q: Queue<usize>>() {
    explore(3, || {
        let queue = queue::<Q>(2);
        let submitter = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let mut batch = Numbers(1..4);
                while batch.remaining() > 0 {
                    if queue.push_batch(&mut batch, DEFAULT_LANE, 0) == 0 {
                        thread::yield_now();
                    }
                }
            })
        };
        let cx = queue.cx(0);
        let all: Vec<_> = (0..3).map(|_| run(&*queue, &cx)).collect();
        submitter.join().expect("no panic");
        let is_in_order = queue.shards().len() > 1 || all == [1, 2, 3];
        assert!(is_in_order && all.iter().sum::<usize>() == 6, "{all:?}");
        assert_eq!((queue.load().queued, queue.load().running), (0, 0));
        assert!(!queue.has_work());
    });
}

/// A batch of three for a queue with room for two, beside another submitter and a close: what is accepted fits, comes before the close, and
/// is there.
pub(super) fn are_accepted_as_far_as_there_is_room<Q: Queue<usize>>() {
    explore(3, || {
        let (queue, closed) = (queue::<Q>(2), Arc::new(AtomicBool::new(false)));
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || usize::from(queue.push(&mut Some(4), DEFAULT_LANE, 0, None).is_ok()))
        };
        let batches = {
            let (queue, closed) = (Arc::clone(&queue), Arc::clone(&closed));
            thread::spawn(move || {
                let mut batch = Numbers(1..4);
                let late = closed.load(Ordering::SeqCst);
                let accepted = queue.push_batch(&mut batch, DEFAULT_LANE, 0);
                assert!(!late || accepted == 0, "accepted after the close");
                assert_eq!(batch.remaining(), 3 - accepted);
                accepted
            })
        };
        queue.close();
        closed.store(true, Ordering::SeqCst);
        let (accepted, other) = (batches.join().expect("no panic"), other.join().expect("no panic"));
        assert!(accepted + other <= 2);
        let mut all = queue.drain();
        all.sort_unstable();
        assert!(all.into_iter().eq((1..=accepted).chain((0..other).map(|_| 4))));
    });
}
