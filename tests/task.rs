//! A task is a closure: stored inline when it is small, dropped exactly once, and handed back as what it was.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use formicary::{Pool, Task};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

fn task_of<const BYTES: usize>() -> Task {
    let captured = [1u8; BYTES];
    Task::new(move || assert_eq!(captured.iter().map(|byte| usize::from(*byte)).sum::<usize>(), BYTES))
}

#[test]
fn closures_of_up_to_48_bytes_are_stored_inline() {
    assert_eq!(allocations(|| task_of::<0>().run()), 0);
    assert_eq!(allocations(|| task_of::<1>().run()), 0);
    assert_eq!(allocations(|| task_of::<48>().run()), 0);
    assert_eq!(allocations(|| task_of::<49>().run()), 1);
    assert_eq!(allocations(|| task_of::<5000>().run()), 1);
    assert_eq!(allocations(|| drop(task_of::<48>())), 0);
}

#[test]
fn closures_that_need_more_alignment_are_boxed() {
    #[repr(align(64))]
    struct Aligned(u8);
    let value = Aligned(7);
    let count = allocations(|| {
        Task::new(move || {
            let value = &value;
            assert_eq!(std::ptr::from_ref(value) as usize % 64, 0);
            assert_eq!(value.0, 7);
        })
        .run();
    });
    assert_eq!(count, 1);
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A closure of about `BYTES` bytes that holds a [`Counted`].
fn counted<const BYTES: usize>(drops: &Arc<AtomicUsize>, panics: bool) -> impl FnOnce() + Send + use<BYTES> {
    let (counted, filler) = (Counted(Arc::clone(drops)), [0u8; BYTES]);
    move || {
        let _captured = (&counted, &filler);
        assert!(!panics, "a test's panic");
    }
}

#[test]
fn captures_are_dropped_exactly_once() {
    fn check<const BYTES: usize>() {
        let drops = Arc::new(AtomicUsize::new(0));
        Task::new(counted::<BYTES>(&drops, false)).run();
        assert_eq!(drops.load(SeqCst), 1, "run");
        drop(Task::new(counted::<BYTES>(&drops, false)));
        assert_eq!(drops.load(SeqCst), 2, "dropped unrun");
        let task = Task::new(counted::<BYTES>(&drops, true));
        assert!(catch_unwind(AssertUnwindSafe(|| task.run())).is_err());
        assert_eq!(drops.load(SeqCst), 3, "panicked");
        let pool = Pool::new(1).unwrap();
        pool.shutdown();
        let refused = pool.submit(counted::<BYTES>(&drops, false)).unwrap_err();
        assert_eq!(drops.load(SeqCst), 3, "handed back, not dropped");
        refused.into_task()();
        assert_eq!(drops.load(SeqCst), 4, "run after it was handed back");
    }
    check::<0>();
    check::<100>();
}

/// A drop that panics affects neither the worker nor the count.
#[test]
fn a_capture_whose_drop_panics_is_a_panic_of_the_task() {
    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("a test's panic, in a drop");
        }
    }
    let pool = Pool::new(1).unwrap();
    let captured = PanicsOnDrop;
    pool.submit(move || drop(captured)).unwrap();
    // The result of a handle that is gone is dropped on the worker, too.
    drop(pool.spawn(|| PanicsOnDrop).unwrap());
    assert_eq!(pool.run(|| 7).unwrap(), 7);
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.live, stats.spawned), (3, 1, 1), "{stats:?}");
    assert_eq!(stats.completed + stats.panicked, 3, "{stats:?}");
    assert!(stats.panicked >= 1, "{stats:?}");
}
