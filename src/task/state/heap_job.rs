//! A closure on the heap: a task of a scope in a worker's local deque.

use std::ptr::NonNull;

use super::job_ref::{Header, JobRef, VTable};
use super::task_ref::{Complete, Completion};
use crate::sync::Arc;

/// What a job belongs to.
pub(crate) trait JobOwner: Complete + 'static {
    /// The worker `thief` has stolen a job and is about to run it.
    fn note_thief(&self, thief: usize);
    /// Whether the thread that waits is a worker of the pool.
    fn is_inside(&self) -> bool;
    /// Keeps a job that no other worker will run, for the thread that waits.
    fn keep(&self, job: JobRef);
}

#[repr(C)] // the header first: a `JobRef` points to it
struct HeapJob<F, S> {
    header: Header,
    owner: Arc<S>,
    f: F,
}

/// A reference to a new job. When the job has run, `owner` is told how it ended.
///
/// # Safety
/// What `f` borrows lives until `owner` was told.
pub(crate) unsafe fn heap_job<F: FnOnce() + Send, S: JobOwner>(owner: Arc<S>, f: F) -> JobRef {
    let header = Header::new(HeapJob::<F, S>::VTABLE, owner.is_inside());
    let job = Box::leak(Box::new(HeapJob { header, owner, f }));
    JobRef::new(NonNull::from(job).cast())
}

impl<F: FnOnce() + Send, S: JobOwner> HeapJob<F, S> {
    const VTABLE: &'static VTable = &VTable { run: Self::run, abandon: Self::abandon };

    /// # Safety
    /// `header` is that of a job of this type, and the caller has the right to run it.
    unsafe fn run(header: NonNull<Header>, completion: &mut Completion) {
        // SAFETY: the job was made by `heap_job` as such a box. It is freed only here, and the right to run it comes once.
        let job = unsafe { Box::from_raw(header.cast::<Self>().as_ptr()) };
        let HeapJob { header, owner, f } = *job;
        if let Some(thief) = header.thief() {
            owner.note_thief(thief);
        }
        completion.set(owner);
        f();
    }

    /// # Safety
    /// As for `run`.
    unsafe fn abandon(header: NonNull<Header>) {
        // SAFETY: the job is in place. Another thread may run and free it once it was kept, so this owns a reference of its own.
        let owner = unsafe { Arc::clone(&header.cast::<Self>().as_ref().owner) };
        owner.keep(JobRef::new(header));
    }
}
