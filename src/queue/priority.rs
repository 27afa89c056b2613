//! Levels of priority in front of one queue.

use super::level::{LevelTurns, lane_of};
use super::order::Order;
use super::ordered::OrderedQueue;
use super::room_order::RoomOrder;
use super::task_list::{Queued, TaskList};
use super::{Dispatch, Shape, sealed};

/// Tasks of a higher [`Level`](crate::Level) start first, and no level starves.
///
/// [`With::priority`](crate::With::priority) sets the level of a task; one without is [`NORMAL`](crate::Level::NORMAL). Within a level
/// tasks start in the order in which they came. A running task is never interrupted, so a pool whose workers are all held up by long tasks
/// makes a task of the highest level wait as well.
///
/// **The bound.** The oldest task of a level with `h` levels above it starts after at most [`MOST_BEFORE`](Self::MOST_BEFORE)` * h` starts
/// of those levels: with the three default levels, `NORMAL` after at most 8 of `HIGH`, and `LOW` after at most 16 of the two together. The
/// other way round, the oldest task of the highest level waits for at most one start of each level below it. So while all three have tasks,
/// about 14 of 17 starts are `HIGH`, two `NORMAL` and one `LOW`.
///
/// The bound of the pool counts the tasks of all levels together. While it is reached, room goes to the blocked submitters of the highest
/// level first, by the same rule, and to newcomers last.
///
/// What a task submits to its own pool goes through the same order, beyond the bound. It has the level that it names, or else `NORMAL`: it
/// does not inherit the level of the task that submits it. A task from outside waits for at most 60 such tasks of its level that came before
/// it.
///
/// Submitters and workers share one short lock. A push and a pop take time in proportion to the number of levels at most. Memory grows with
/// the waiting tasks and is freed when none is left.
///
/// ```
/// use std::sync::mpsc::channel;
/// use formicary::{Level, Pool, Priority};
///
/// let pool = Pool::builder().workers(1).dispatch::<Priority>().build()?;
/// let (tell, told) = channel();
/// let pause = pool.pause();
/// for (level, name) in [(Level::LOW, "low"), (Level::NORMAL, "normal"), (Level::HIGH, "high")] {
///     let tell = tell.clone();
///     pool.with().priority(level).submit(move || tell.send(name).unwrap())?;
/// }
/// drop((pause, tell));
/// assert_eq!(told.iter().collect::<Vec<_>>(), ["high", "normal", "low"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Priority;

impl Priority {
    /// For each level above it, how many tasks of higher levels may start before the oldest task of a level.
    ///
    /// ```
    /// assert_eq!(formicary::Priority::MOST_BEFORE, 8);
    /// ```
    pub const MOST_BEFORE: usize = 8;
}

/// The default number of levels.
const LEVELS: usize = 3;
/// The greatest number of levels.
const MOST_LEVELS: usize = 64;

impl sealed::Sealed for Priority {}

impl Dispatch for Priority {
    const NAME: &'static str = "Priority";
    type Queue<T: Send + 'static> = OrderedQueue<Levels<T>>;
}

/// A list for each level. The rule is that of [`LevelTurns`].
#[doc(hidden)]
pub struct Levels<T> {
    /// From the highest level to the lowest.
    lists: Box<[TaskList<T>]>,
    turns: LevelTurns,
}

impl<T: Send + 'static> Order for Levels<T> {
    type Item = T;

    const HAS_LEVELS: bool = true;

    fn new(shape: &Shape) -> Result<Self, String> {
        match Self::levels(shape) {
            levels @ 1..=MOST_LEVELS => Ok(Levels {
                lists: (0..levels).map(|_| TaskList::new()).collect(),
                turns: LevelTurns::new(levels, Priority::MOST_BEFORE),
            }),
            levels => Err(format!("`levels` is {levels}: a pool has 1 to {MOST_LEVELS}")),
        }
    }

    fn levels(shape: &Shape) -> usize {
        shape.levels.unwrap_or(LEVELS)
    }

    fn lane(levels: usize, number: u64) -> usize {
        // Checked by `With::priority`.
        let number = usize::try_from(number).unwrap_or(usize::MAX).min(levels - 1);
        lane_of(levels, number)
    }

    fn room_order(&self) -> RoomOrder {
        RoomOrder::Levels(LevelTurns::new(self.lists.len(), Priority::MOST_BEFORE))
    }

    fn push(&mut self, lane: usize, task: Queued<T>) {
        self.lists[self.turns.rank(lane)].push(task);
    }

    fn pop(&mut self, _runs: bool) -> Option<(usize, Queued<T>)> {
        let lists = &mut self.lists;
        let rank = self.turns.next(|rank| !lists[rank].is_empty())?;
        let task = lists[rank].pop()?;
        self.turns.went(rank, |below| !lists[below].is_empty());
        Some((self.turns.lane(rank), task))
    }

    fn take_oldest(&mut self, lane: usize) -> Option<Queued<T>> {
        let own = self.turns.rank(lane);
        self.lists[own..].iter_mut().rev().find_map(TaskList::pop_outside)
    }

    fn sweep_into(&mut self, is_dead: &mut dyn FnMut(&T) -> bool, swept: &mut Vec<Queued<T>>) {
        self.lists.iter_mut().for_each(|list| list.sweep_into(is_dead, swept));
    }

    fn for_each(&self, visit: &mut dyn FnMut(&T, bool)) {
        self.lists.iter().for_each(|list| list.for_each(visit));
    }
}
