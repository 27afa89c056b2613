//! The tasks of one level or one tenant.

use super::list::List;

/// A queued task.
#[doc(hidden)]
pub struct Queued<T> {
    pub(super) item: T,
    /// It was submitted by a task of the pool, beyond the bound.
    pub(super) is_nested: bool,
}

/// So many nested tasks start before one from outside that came after them: those that submit themselves again, or more than themselves,
/// must not hold it up without end.
const MOST_NESTED_FIRST: u32 = 60;

/// First in, first out, but that a task from outside waits for at most [`MOST_NESTED_FIRST`] nested ones.
pub(super) struct TaskList<T> {
    outside: List<Numbered<T>>,
    nested: List<Numbered<T>>,
    pushed: u64,
    /// Nested tasks started since the last one from outside, while one waited.
    passed: u32,
}

struct Numbered<T> {
    number: u64,
    item: T,
}

impl<T> TaskList<T> {
    pub(super) fn new() -> Self {
        TaskList { outside: List::new(), nested: List::new(), pushed: 0, passed: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outside.is_empty() && self.nested.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.outside.len() + self.nested.len()
    }

    /// How many tasks are within the bound.
    pub(super) fn bounded(&self) -> usize {
        self.outside.len()
    }

    pub(super) fn push(&mut self, Queued { item, is_nested }: Queued<T>) {
        self.pushed += 1;
        let list = if is_nested { &mut self.nested } else { &mut self.outside };
        list.push(Numbered { number: self.pushed, item });
    }

    pub(super) fn pop(&mut self) -> Option<Queued<T>> {
        let (first, nested) = (self.outside.first(), self.nested.first());
        let is_nested = match (first, nested) {
            (Some(first), Some(nested)) => nested.number < first.number && self.passed < MOST_NESTED_FIRST,
            (_, nested) => nested.is_some(),
        };
        if !is_nested {
            return self.pop_outside();
        }
        self.passed = if first.is_some() { self.passed + 1 } else { 0 };
        self.nested.pop().map(|task| Queued { item: task.item, is_nested })
    }

    /// Removes the oldest task within the bound.
    pub(super) fn pop_outside(&mut self) -> Option<Queued<T>> {
        self.passed = 0;
        self.outside.pop().map(|task| Queued { item: task.item, is_nested: false })
    }

    /// Moves the dead tasks to the end of `swept`, oldest first.
    pub(super) fn sweep_into(&mut self, is_dead: &mut dyn FnMut(&T) -> bool, swept: &mut Vec<Queued<T>>) {
        let mut dead = [Vec::new(), Vec::new()];
        let lists = [&mut self.outside, &mut self.nested];
        for (list, dead) in lists.into_iter().zip(&mut dead) {
            list.sweep_into(&mut |task| is_dead(&task.item), dead);
        }
        let [outside, nested] = dead.map(Vec::into_iter);
        let mut all: Vec<_> = outside.map(|task| (task, false)).chain(nested.map(|task| (task, true))).collect();
        all.sort_by_key(|(task, _)| task.number);
        swept.extend(all.into_iter().map(|(task, is_nested)| Queued { item: task.item, is_nested }));
    }

    /// Calls `visit` for each task and with whether it is nested.
    pub(super) fn for_each(&self, visit: &mut dyn FnMut(&T, bool)) {
        self.outside.iter().for_each(|task| visit(&task.item, false));
        self.nested.iter().for_each(|task| visit(&task.item, true));
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use super::*;

    fn push(list: &mut TaskList<u32>, item: u32, is_nested: bool) {
        list.push(Queued { item, is_nested });
    }

    #[test]
    fn tasks_start_in_the_order_of_their_coming() {
        let mut list = TaskList::new();
        (0..100).for_each(|n| push(&mut list, n, n % 3 == 0));
        let mut swept = Vec::new();
        list.sweep_into(&mut |n| *n < 50, &mut swept);
        assert!(
            swept.iter().map(|task| task.item).eq(0..50)
                && swept.iter().all(|task| task.is_nested == (task.item % 3 == 0))
        );
        assert_eq!((list.len(), list.bounded()), (50, 33));
        assert!((50..100).all(|n| list.pop().is_some_and(|task| task.item == n)) && list.is_empty());
    }

    /// Each nested task submits two more, for ever: each task from outside starts after 60 of them at most.
    #[test]
    fn nested_tasks_that_multiply_hold_up_none_from_outside() {
        let mut list = TaskList::new();
        (0..10).for_each(|n| push(&mut list, n, true));
        for outsider in 100..200 {
            push(&mut list, outsider, false);
            let mut before = 0;
            while list.pop().unwrap().is_nested {
                (0..2).for_each(|n| push(&mut list, n, true));
                before += 1;
            }
            assert!(before <= MOST_NESTED_FIRST);
        }
    }
}
