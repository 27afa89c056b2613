//! A closure of any type as one value of fixed size. Small closures need no allocation.

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop, MaybeUninit};
use std::panic::resume_unwind;

use crate::error::{Cause, SubmitErrorKind};
use crate::task::liveness::Liveness;
use crate::task::state::{Completion, Retracted, RunOutcome};

/// Closures of up to this many bytes are stored inline.
pub(crate) const INLINE_BYTES: usize = 48;

type Slot = [usize; INLINE_BYTES / mem::size_of::<usize>()];
type Data = MaybeUninit<Slot>;

static_assertions::const_assert_eq!(mem::size_of::<Data>(), INLINE_BYTES);
static_assertions::const_assert!(mem::size_of::<Task>() <= 64);
static_assertions::assert_impl_all!(Task: Send);

/// A closure of any type that runs once. A [`Pool`](crate::Pool) queues these, and `shutdown_now` gives them back.
///
/// A closure of up to 48 bytes, with at most the alignment of `usize`, is stored inline; a larger one costs one allocation. Dropping a
/// task drops its closure, and a handle that waits for the task learns that it was cancelled.
///
/// ```
/// use formicary::Task;
/// use std::sync::mpsc::channel;
///
/// let (sender, receiver) = channel();
/// let task = Task::new(move || sender.send(7).unwrap());
/// task.run();
/// assert_eq!(receiver.recv(), Ok(7));
/// ```
pub struct Task {
    data: Data,
    vtable: &'static VTable,
}

struct VTable {
    type_id: fn() -> TypeId,
    /// Moves the closure out of the data and calls it.
    call: unsafe fn(*mut Slot, &mut Completion) -> RunOutcome,
    /// Moves the closure out of the data and takes it back from the queue.
    retract: unsafe fn(*mut Slot, SubmitErrorKind, Cause) -> Retracted<Task>,
    /// Reads the closure in place.
    liveness: unsafe fn(*const Slot) -> Liveness,
    /// Drops the closure in place.
    drop: unsafe fn(*mut Slot),
}

// SAFETY: the only way to make a task is `Task::from_body`, whose closure is `Send`.
unsafe impl Send for Task {}

/// The content of a task. `call` sets the receiver of the result before user code runs.
pub(crate) trait Body: Send + 'static {
    fn call(self, completion: &mut Completion) -> RunOutcome;

    /// Takes the task back, after it has left the queue without running.
    fn retract(self, kind: SubmitErrorKind, cause: Cause) -> Retracted<Task>;

    /// Whether the queued task will run. It is called under the queue's locks.
    fn liveness(&self) -> Liveness {
        Liveness::Runs
    }
}

/// A closure without a receiver for its result.
struct Plain<F, T>(F, PhantomData<fn() -> T>);

impl<F: FnOnce() -> T + Send + 'static, T: 'static> Body for Plain<F, T> {
    fn call(self, _completion: &mut Completion) -> RunOutcome {
        drop((self.0)());
        RunOutcome::Ran
    }

    fn retract(self, _kind: SubmitErrorKind, _cause: Cause) -> Retracted<Task> {
        Retracted::Here(Task::from_body(self))
    }
}

impl Task {
    /// Wraps a closure. Does not allocate up to 48 bytes.
    ///
    /// ```
    /// let task = formicary::Task::new(|| println!("later"));
    /// assert!(std::mem::size_of_val(&task) <= 64);
    /// # drop(task);
    /// ```
    pub fn new(f: impl FnOnce() + Send + 'static) -> Self {
        Self::from_closure(f)
    }

    /// Wraps a closure and discards its result.
    #[inline]
    pub(crate) fn from_closure<F: FnOnce() -> T + Send + 'static, T: 'static>(f: F) -> Self {
        Self::from_body(Plain(f, PhantomData))
    }

    pub(crate) fn from_body<B: Body>(body: B) -> Self {
        let mut data = Data::uninit();
        let place = data.as_mut_ptr();
        if fits::<B>() {
            // SAFETY: `fits` says that a `B` fits size and alignment of `Data`, which holds no value yet.
            unsafe { place.cast::<B>().write(body) };
            Task { data, vtable: Inline::<B>::VTABLE }
        } else {
            // SAFETY: a thin pointer fits `Data`, which holds no value yet.
            unsafe { place.cast::<Box<B>>().write(Box::new(body)) };
            Task { data, vtable: Boxed::<B>::VTABLE }
        }
    }

    /// Unwraps what [`from_closure`](Self::from_closure) wrapped.
    ///
    /// # Panics
    /// If the closure is of another type.
    pub(crate) fn into_closure<F: FnOnce() -> T + Send + 'static, T: 'static>(self) -> F {
        self.into_body::<Plain<F, T>>().0
    }

    /// Unwraps what [`from_body`](Self::from_body) wrapped.
    ///
    /// # Panics
    /// If the body is of another type.
    pub(crate) fn into_body<B: Body>(self) -> B {
        assert_eq!((self.vtable.type_id)(), TypeId::of::<B>(), "a task keeps its type");
        let mut this = ManuallyDrop::new(self);
        let place = this.data.as_mut_ptr();
        if fits::<B>() {
            // SAFETY: the type is the one that `from_body` wrote, inline because `fits` has the same answer as then.
            // `ManuallyDrop` prevents a second drop.
            unsafe { place.cast::<B>().read() }
        } else {
            // SAFETY: as above, in a box.
            *unsafe { place.cast::<Box<B>>().read() }
        }
    }

    /// Calls the closure. `completion` is set before user code runs, so it is right after a panic too.
    pub(crate) fn call(self, completion: &mut Completion) -> RunOutcome {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: the closure is in its place, and `ManuallyDrop` prevents a drop after `call` has moved it out.
        unsafe { (this.vtable.call)(this.data.as_mut_ptr(), completion) }
    }

    /// Takes the task back, after it has left the queue without running.
    pub(crate) fn retract(self, kind: SubmitErrorKind, cause: Cause) -> Retracted<Task> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: as in `call`.
        unsafe { (this.vtable.retract)(this.data.as_mut_ptr(), kind, cause) }
    }

    /// See [`Body::liveness`].
    pub(crate) fn liveness(&self) -> Liveness {
        // SAFETY: calling or unwrapping a task consumes it, so the closure of a borrowed task is in its place, and nothing writes there
        // during the borrow.
        unsafe { (self.vtable.liveness)(self.data.as_ptr()) }
    }

    /// Runs the closure on the calling thread.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// pool.submit(|| println!("on a worker, or here"))?;
    /// for task in pool.shutdown_now() {
    ///     task.run();
    /// }
    /// # drop(pause);
    /// assert_eq!(pool.queued(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If the closure panics; or if the task's token is cancelled, so that the closure is only dropped, and that drop panics.
    pub fn run(self) {
        // The result has no receiver: `Body::retract` told the handle before the task was given out. So a panic may pass uncaught. The
        // completion has no drop, which would be a landing pad: catching the panic and resuming it takes twice the time.
        let mut completion = ManuallyDrop::new(Completion::default());
        self.call(&mut completion);
        if let Some(drop_panic) = ManuallyDrop::into_inner(completion).send(None) {
            resume_unwind(drop_panic);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // SAFETY: calling or unwrapping a task forgets it, so the closure of a dropped task is in its place, which is not accessed
        // afterwards.
        unsafe { (self.vtable.drop)(self.data.as_mut_ptr()) }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

/// Whether a `B` is stored inline.
const fn fits<B>() -> bool {
    mem::size_of::<B>() <= mem::size_of::<Data>() && mem::align_of::<B>() <= mem::align_of::<Data>()
}

/// The operations on a `B` that is stored inline.
struct Inline<B>(PhantomData<B>);

impl<B: Body> Inline<B> {
    const VTABLE: &'static VTable = &VTable {
        type_id: TypeId::of::<B>,
        call: Self::call,
        retract: Self::retract,
        liveness: Self::liveness,
        drop: Self::drop,
    };

    /// # Safety
    /// `place` holds a `B`, which is moved out.
    unsafe fn call(place: *mut Slot, completion: &mut Completion) -> RunOutcome {
        // SAFETY: as the caller promises.
        unsafe { place.cast::<B>().read() }.call(completion)
    }

    /// # Safety
    /// `place` holds a `B`, which is moved out.
    unsafe fn retract(place: *mut Slot, kind: SubmitErrorKind, cause: Cause) -> Retracted<Task> {
        // SAFETY: as the caller promises.
        unsafe { place.cast::<B>().read() }.retract(kind, cause)
    }

    /// # Safety
    /// `place` holds a `B`, which is not written meanwhile.
    unsafe fn liveness(place: *const Slot) -> Liveness {
        // SAFETY: as the caller promises.
        unsafe { &*place.cast::<B>() }.liveness()
    }

    /// # Safety
    /// `place` holds a `B`, which is dropped.
    unsafe fn drop(place: *mut Slot) {
        // SAFETY: as the caller promises.
        unsafe { place.cast::<B>().drop_in_place() }
    }
}

/// The operations on a `B` in a box, whose pointer is stored inline.
struct Boxed<B>(PhantomData<B>);

impl<B: Body> Boxed<B> {
    const VTABLE: &'static VTable = &VTable {
        type_id: TypeId::of::<B>,
        call: Self::call,
        retract: Self::retract,
        liveness: Self::liveness,
        drop: Self::drop,
    };

    /// # Safety
    /// `place` holds a `Box<B>`, which is moved out.
    unsafe fn call(place: *mut Slot, completion: &mut Completion) -> RunOutcome {
        // SAFETY: as the caller promises.
        unsafe { place.cast::<Box<B>>().read() }.call(completion)
    }

    /// # Safety
    /// `place` holds a `Box<B>`, which is moved out.
    unsafe fn retract(place: *mut Slot, kind: SubmitErrorKind, cause: Cause) -> Retracted<Task> {
        // SAFETY: as the caller promises.
        unsafe { place.cast::<Box<B>>().read() }.retract(kind, cause)
    }

    /// # Safety
    /// `place` holds a `Box<B>`, which is not written meanwhile.
    unsafe fn liveness(place: *const Slot) -> Liveness {
        // SAFETY: as the caller promises.
        unsafe { &*place.cast::<Box<B>>() }.liveness()
    }

    /// # Safety
    /// `place` holds a `Box<B>`, which is dropped.
    unsafe fn drop(place: *mut Slot) {
        // SAFETY: as the caller promises.
        unsafe { place.cast::<Box<B>>().drop_in_place() }
    }
}
