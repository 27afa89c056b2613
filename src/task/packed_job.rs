//! A job in one word more than its payload.

use std::mem::ManuallyDrop;
use std::ptr::{NonNull, without_provenance_mut};

use crate::task::deferred::Deferred;
use crate::task::state::{ReplySender, TaskRef};

/// What a job is, and what it holds.
pub enum JobKind<I, O> {
    /// The payload. Its output is dropped.
    Plain(I),
    /// The payload is in the task's state.
    Answered(TaskRef<I, O>),
    /// The payload of a synchronous call, and the sender of its answer.
    Called(I, ReplySender<I, O>),
    /// A limited view keeps the job until it starts.
    Deferred(Box<Deferred<Job<I, O>, I>>),
}

/// A payload, with or without a receiver for the output.
///
/// An enum would have a word for the kind beside the sender of a call. Here one word is either: a queued `u64` takes 16 bytes and not 24.
pub struct Job<I, O> {
    /// One of the addresses below, or else the pointer of a [`ReplySender`]: a call.
    tag: NonNull<()>,
    data: Data<I, O>,
}

/// The tag says which one it is.
union Data<I, O> {
    /// Of a plain job, and of a call.
    input: ManuallyDrop<I>,
    task_ref: ManuallyDrop<TaskRef<I, O>>,
    deferred: ManuallyDrop<Box<Deferred<Job<I, O>, I>>>,
}

// No sender has such an address, because those are multiples of 4 (`ReplySender::into_pointer`).
const PLAIN: usize = 1;
const ANSWERED: usize = 2;
const DEFERRED: usize = 3;

/// The tag of this address.
#[inline]
const fn tag<const ADDRESS: usize>() -> NonNull<()> {
    const { NonNull::new(without_provenance_mut(ADDRESS)).expect("no tag is null") }
}

static_assertions::const_assert!(size_of::<Job<u64, u64>>() <= 16);
static_assertions::const_assert!(size_of::<Option<Job<u64, u64>>>() <= 16);

// SAFETY: a job owns what a `JobKind` owns.
unsafe impl<I, O> Send for Job<I, O> where JobKind<I, O>: Send {}

impl<I, O> Job<I, O> {
    #[inline]
    pub(super) fn pack(kind: JobKind<I, O>) -> Self {
        match kind {
            JobKind::Plain(input) => Job { tag: tag::<PLAIN>(), data: Data { input: ManuallyDrop::new(input) } },
            JobKind::Called(input, sender) => {
                Job { tag: sender.into_pointer(), data: Data { input: ManuallyDrop::new(input) } }
            }
            JobKind::Answered(task_ref) => {
                Job { tag: tag::<ANSWERED>(), data: Data { task_ref: ManuallyDrop::new(task_ref) } }
            }
            JobKind::Deferred(deferred) => {
                Job { tag: tag::<DEFERRED>(), data: Data { deferred: ManuallyDrop::new(deferred) } }
            }
        }
    }

    #[inline]
    pub(super) fn unpack(self) -> JobKind<I, O> {
        let mut job = ManuallyDrop::new(self);
        // SAFETY: the tag says that `pack` stored this field, or, for any other tag, that it stored an input and the pointer of a sender,
        // of the same types. Each is taken once, since `job` is neither dropped nor used afterwards.
        unsafe {
            match job.tag.addr().get() {
                PLAIN => JobKind::Plain(ManuallyDrop::take(&mut job.data.input)),
                ANSWERED => JobKind::Answered(ManuallyDrop::take(&mut job.data.task_ref)),
                DEFERRED => JobKind::Deferred(ManuallyDrop::take(&mut job.data.deferred)),
                _ => JobKind::Called(ManuallyDrop::take(&mut job.data.input), ReplySender::from_pointer(job.tag)),
            }
        }
    }

    /// The reference to the task's state, if the payload is there.
    pub(super) fn task_ref(&self) -> Option<&TaskRef<I, O>> {
        // SAFETY: the tag says that `pack` stored this field.
        (self.tag.addr().get() == ANSWERED).then(|| unsafe { &*self.data.task_ref })
    }

    /// The entry of a limited view's task.
    pub(super) fn deferred_entry(&self) -> Option<&Deferred<Self, I>> {
        // SAFETY: the tag says that `pack` stored this field.
        (self.tag.addr().get() == DEFERRED).then(|| unsafe { &**self.data.deferred })
    }
}

impl<I, O> Drop for Job<I, O> {
    fn drop(&mut self) {
        // SAFETY: the job is not used after its drop, and its fields have no drop of their own.
        drop(unsafe { std::ptr::read(self) }.unpack());
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::task::state::{Outcome, StackOneshot, TaskMeta, TaskState};

    type Counted = Arc<[u64; 3]>;

    /// Packed, unpacked and dropped in each state: the payload is there, and is dropped once.
    #[test]
    fn each_kind_keeps_its_payload() {
        let payload: Counted = Arc::new([7; 3]);
        let pack = |kind: JobKind<Counted, ()>| Job::pack(kind);
        drop(pack(JobKind::Plain(Arc::clone(&payload))));
        let JobKind::Plain(again) = pack(JobKind::Plain(Arc::clone(&payload))).unpack() else {
            panic!("it is another kind")
        };
        assert!(Arc::ptr_eq(&payload, &again) && Arc::strong_count(&payload) == 2);
        drop(again);

        let task_state = TaskState::new(Arc::clone(&payload), TaskMeta::of_no_pool());
        let job = pack(JobKind::Answered(TaskRef::new(&task_state)));
        assert!(job.task_ref().is_some() && job.deferred_entry().is_none());
        assert!(matches!(job.unpack(), JobKind::Answered(_)));
        drop(pack(JobKind::Answered(TaskRef::new(&task_state))));
        drop(task_state);

        let lost = StackOneshot::call(|sender| {
            drop(pack(JobKind::Called(Arc::clone(&payload), sender)));
            Ok::<(), ()>(())
        });
        assert!(matches!(lost, Ok(Outcome::Done(Err(error))) if error.is_cancelled()));
        let found = StackOneshot::call(|sender| match pack(JobKind::Called(Arc::clone(&payload), sender)).unpack() {
            JobKind::Called(input, _) if Arc::ptr_eq(&payload, &input) => Ok(()),
            _ => Err(()),
        });
        assert!(found.is_ok());
        assert_eq!(Arc::strong_count(&payload), 1);
    }
}
