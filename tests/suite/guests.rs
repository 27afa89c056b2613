//! B20: a thread that is refused a worker while tasks are queued and no worker is left runs them itself, as an inline worker: what
//! it may hold up meanwhile, and when it may leave.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use crate::support::waking::{Bell, poll_with};
use crate::support::{
    AnyPool, Count, Gate, Setup, Variant, assert_conserved, await_waiting, eventually, for_each, on_every_dispatch,
    start_thread, threads_named,
};
use formicary::{BuildError, Builder, Dispatch, PauseGuard, Pool, Task, WorkerThread};

/// Long beyond any limit of a test.
const LONG: Duration = Duration::from_secs(600);

/// Whether the system gives threads.
#[derive(Clone, Default)]
struct System(Arc<AtomicBool>);

impl System {
    fn give(&self, given: bool) {
        self.0.store(given, SeqCst);
    }

    fn start(&self, thread: WorkerThread) -> io::Result<()> {
        start_thread(self.0.load(SeqCst), thread)
    }
}

/// Workers are started on demand only, and exit as soon as they are idle.
fn fleeting(workers: usize, queue: usize) -> Setup {
    Setup::fleeting(workers, queue, Duration::from_millis(30))
}

/// A pool of two workers whose next submitter becomes an inline worker.
struct Refusing {
    system: System,
    /// Holds the next request for a thread, before it is refused.
    asking: Gate,
    /// Holds the last worker while it exits.
    leaving: Gate,
}

impl Refusing {
    fn new() -> (Self, Setup) {
        let (system, asking, leaving, asked) = (System::default(), Gate::new(), Gate::new(), AtomicUsize::new(0));
        let (of_handler, gate, hook) = (system.clone(), asking.clone(), leaving.clone());
        let handler = move |thread: WorkerThread| {
            if asked.fetch_add(1, SeqCst) == 1 {
                gate.wait();
            }
            of_handler.start(thread)
        };
        let mut setup = fleeting(2, 8);
        setup.spawn_handler = Some(Arc::new(handler));
        setup.on_thread_stop = Some(Arc::new(move |_| hook.wait()));
        (Refusing { system, asking, leaving }, setup)
    }

    /// `submit` runs on a thread of its own and submits a first task. When it has asked for a thread, the only worker exits, and
    /// `tasks` are submitted that count on that thread. Then the thread is refused.
    fn make_inline_worker(
        &self,
        submit_here: &dyn Fn(Task),
        submit: impl FnOnce() + Send + 'static,
        tasks: Vec<Task>,
    ) -> thread::JoinHandle<()> {
        let busy = Gate::new();
        self.system.give(true);
        submit_here(busy.task());
        busy.await_arrivals(1);
        self.system.give(false);
        let submitter = thread::spawn(submit);
        self.asking.await_arrivals(1);
        busy.open();
        self.leaving.await_arrivals(1);
        tasks.into_iter().for_each(submit_here);
        self.asking.open();
        submitter
    }
}

/// B20: when threads can be had again, an inline worker in the middle of a long queue may leave, and a new worker takes its place.
#[test]
fn b20_an_inline_worker_leaves_when_threads_can_be_had_again() {
    for_each(|variant| {
        let (refusing, setup) = Refusing::new();
        let pool = variant.build(setup);
        let (first, others, ran) = (Gate::new(), Gate::new(), Count::new());
        let begun = Count::new();
        let task = || {
            let (begun, first, others) = (begun.clone(), first.clone(), others.clone());
            Task::new(move || if begun.up() == 1 { first.wait() } else { others.wait() })
        };
        let tasks = std::iter::repeat_with(task).take(7).collect();
        let (own, count) = (Arc::clone(&pool), ran.clone());
        let submit_here = |task| pool.submit(task).unwrap();
        let submitter = refusing.make_inline_worker(&submit_here, move || own.submit(count.task()).unwrap(), tasks);
        first.await_arrivals(1);
        refusing.leaving.pass(1);
        eventually("the last worker has left", || pool.stats().live == 1);
        assert_eq!((pool.queued(), ran.get()), (6, 1));
        refusing.system.give(true);
        first.open();
        // The next worker starts before the inline worker has left, and there is no room for one more.
        others.await_arrivals(1);
        refusing.leaving.open();
        // The other tasks are held, so the submitter runs none of them.
        submitter.join().unwrap();
        others.await_arrivals(2);
        others.open();
        assert!(pool.wait_idle());
        assert_eq!(others.arrived(), 6);
        assert!(pool.stats().peak_running <= 2);
        assert_conserved(&*pool);
    });
}

/// D09: an inline worker is inside the pool as well: what its tasks submit goes in beyond the bound, and the inline worker runs it.
#[test]
fn d09_what_an_inline_workers_tasks_submit_is_never_refused() {
    for_each(|variant| {
        let (refusing, mut setup) = Refusing::new();
        setup.queue = Some(Some(0));
        let pool = variant.build(setup);
        let (ran, inline_worker) = (Count::new(), Arc::new(OnceLock::new()));
        let (inner, count, here) = (Arc::downgrade(&pool), ran.clone(), Arc::clone(&inline_worker));
        let parent = Task::new(move || {
            here.set(thread::current().id()).unwrap();
            let pool = inner.upgrade().unwrap();
            (0..20).for_each(|_| pool.submit(count.task()).unwrap());
        });
        let own = Arc::clone(&pool);
        let submit_here = |task| pool.submit(task).unwrap();
        let submitter =
            refusing.make_inline_worker(&submit_here, move || own.submit(Task::new(|| ())).unwrap(), vec![parent]);
        let id = submitter.thread().id();
        eventually("all have run", || ran.get() == 20);
        refusing.leaving.open();
        submitter.join().unwrap();
        assert!(pool.wait_idle());
        assert_eq!((inline_worker.get(), ran.get(), pool.stats().overcommitted), (Some(&id), 20, 0));
        assert_conserved(&*pool);
    });
}

/// B20 and B05: a worker of one pool that is another pool's inline worker still is a worker of its own pool: it runs what the other
/// pool's task waits for.
#[test]
fn b05_b20_a_worker_that_is_another_pools_inline_worker_does_not_wait_for_itself() {
    fn test<D: Dispatch>() {
        let (refusing, setup) = Refusing::new();
        let other: Builder<_, D> = setup.on(Pool::builder()).dispatch();
        let (other, own) = (Arc::new(other.build().unwrap()), Arc::new(Pool::<D>::with_workers(1).unwrap()));
        let (asks, answer) = (Arc::clone(&own), Count::new());
        let (answered, by) = (answer.clone(), Arc::clone(&other));
        let nested = Task::new(move || {
            if asks.run(|| 7).is_ok_and(|seven| seven == 7) {
                answered.up();
            }
        });
        let submits = Arc::clone(&own);
        let submit_here = |task: Task| other.submit(|| task.run()).unwrap();
        let submit = move || submits.run(move || by.submit(|| ()).unwrap()).unwrap();
        let submitter = refusing.make_inline_worker(&submit_here, submit, vec![nested]);
        refusing.leaving.open();
        submitter.join().unwrap();
        // The exiting worker may have run the task, as an inline worker.
        assert!(other.wait_idle() && own.wait_idle());
        assert_eq!(answer.get(), 1);
    }
    on_every_dispatch!(test);
}

/// The name of a thread.
const LATE: &str = "late submitter";

/// Whether a thread with that name sleeps (on Linux).
fn sleeps(name: &str) -> bool {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return true };
    let stats = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    stats.into_iter().any(|stat| stat.contains(&format!("({name}) S")))
}

/// A submitter that waits for room when the last worker expires.
struct Late<D: Dispatch> {
    pool: Arc<Pool<D>>,
    system: System,
    /// Holds the submitter, with room in the pool, no worker alive, and no thread to be had. Then it submits its task.
    goes: Gate,
    submitter: thread::JoinHandle<()>,
}

/// It submits `task`; `behind` makes other submitters wait behind it.
fn late<D: Dispatch>(workers: usize, task: Task, behind: impl FnOnce(&Arc<Pool<D>>)) -> Late<D> {
    let (system, busy, is_waiting, goes) = (System::default(), Gate::new(), Gate::new(), Gate::new());
    let of_handler = system.clone();
    let builder: Builder<_, D> = fleeting(workers, 1).on(Pool::builder()).dispatch();
    let pool = Arc::new(builder.spawn_handler(move |thread| of_handler.start(thread)).build().unwrap());
    system.give(true);
    for at_work in 1..=workers {
        let busy = busy.clone();
        pool.submit(move || busy.wait()).unwrap();
        eventually("it is at work", || pool.running() == at_work);
    }
    pool.submit(|| ()).unwrap();
    let submitter = thread::Builder::new().name(LATE.to_owned());
    let submitter = submitter.spawn({
        let (pool, is_waiting, goes) = (Arc::clone(&pool), is_waiting.clone(), goes.clone());
        move || {
            let bell = Bell::new();
            let mut entering = pin!(pool.submit_async(|| task.run()));
            assert!(poll_with(entering.as_mut(), &bell).is_pending());
            is_waiting.open();
            goes.wait();
            assert!(poll_with(entering.as_mut(), &bell).is_ready());
        }
    });
    let submitter = submitter.unwrap();
    is_waiting.wait();
    behind(&pool);
    busy.open();
    goes.await_arrivals(1);
    eventually("the last worker has expired", || pool.stats().live == 0);
    system.give(false);
    Late { pool, system, goes, submitter }
}

/// B20: where there is room for one worker only, an inline worker leaves for it.
#[test]
fn b20_an_inline_worker_leaves_for_the_only_worker() {
    fn test<D: Dispatch>() {
        let (first, other) = (Gate::new(), Gate::new());
        let Late { pool, system, goes, submitter } = late::<D>(1, first.task(), |_| ());
        goes.open();
        first.await_arrivals(1);
        let held = other.clone();
        pool.submit(move || held.wait()).unwrap();
        system.give(true);
        first.open();
        // The other task is held, so the submitter does not run it.
        submitter.join().unwrap();
        other.await_arrivals(1);
        other.open();
        assert!(pool.wait_idle());
        assert_eq!(pool.stats().peak_running, 1);
        assert_conserved(&*pool);
    }
    on_every_dispatch!(test);
}

/// B08 and B20: an inline worker has left the wait queue: those behind it enter while it works. (One of them may do the work
/// instead.)
#[test]
fn b08_b20_an_inline_worker_has_left_the_wait_queue() {
    fn test<D: Dispatch>() {
        let (own, others) = (Arc::new(OnceLock::new()), Count::new());
        let known: Arc<OnceLock<Weak<Pool<D>>>> = Arc::clone(&own);
        let waits = Task::new(move || {
            let pool = known.get().and_then(Weak::upgrade).unwrap();
            await_waiting(&*pool, 0);
        });
        let Late { pool, goes, submitter, .. } = late::<D>(1, waits, |pool| {
            own.set(Arc::downgrade(pool)).unwrap();
            let (pool, count) = (Arc::clone(pool), others.clone());
            thread::spawn({
                let pool = Arc::clone(&pool);
                move || pool.submit(move || _ = count.up()).unwrap()
            });
            await_waiting(&*pool, 2);
        });
        goes.open();
        submitter.join().unwrap();
        eventually("the other is in as well", || pool.stats().submitted == 4);
        assert!(pool.wait_idle());
        assert_eq!((others.get(), pool.waiting()), (1, 0));
        assert_conserved(&*pool);
    }
    on_every_dispatch!(test);
}

/// B20 and A25: an inline worker that waits for the end of a pause may leave when a worker can take its place: it checks when its
/// expiry is over.
#[test]
fn b20_a_parked_inline_worker_leaves_for_a_worker() {
    fn test<D: Dispatch>() {
        let ran = Count::new();
        let Late { pool, system, goes, submitter } = late::<D>(2, ran.task(), |_| ());
        let pause = pool.pause_timeout(LONG);
        goes.open();
        eventually("it waits for the end of the pause", || pool.stats().live == 1 && sleeps(LATE));
        system.give(true);
        let count = ran.clone();
        pool.submit(move || _ = count.up()).unwrap();
        submitter.join().unwrap();
        assert_eq!((ran.get(), pool.queued()), (0, 2));
        drop(pause);
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), 2);
        assert_conserved(&*pool);
    }
    on_every_dispatch!(test);
}

/// In a pause, a task is accepted while the last worker exits, and no other can be had. Only the task is left then.
fn left_in_a_pause(name: &str, variant: Variant, task: Task) -> (AnyPool, PauseGuard) {
    let (system, leaving) = (System::default(), Gate::new());
    let (of_handler, hook) = (system.clone(), leaving.clone());
    let mut setup = fleeting(1, 4);
    setup.thread_name = Some(name.to_owned());
    setup.spawn_handler = Some(Arc::new(move |thread| of_handler.start(thread)));
    setup.on_thread_stop = Some(Arc::new(move |_| hook.wait()));
    let pool = variant.build(setup);
    system.give(true);
    pool.submit(Task::new(|| ())).unwrap();
    leaving.await_arrivals(1);
    let pause = pool.pause();
    pool.submit(task).unwrap();
    system.give(false);
    leaving.open();
    eventually("no thread is left", || threads_named(name) == 0);
    assert_eq!((pool.stats().live, pool.queued()), (0, 1));
    (pool, pause)
}

/// B20 and A25: with no worker left, and none to be had, the end of a pause runs what was accepted.
#[test]
fn b20_the_end_of_a_pause_needs_no_thread() {
    for_each(|variant| {
        let ran = Count::new();
        let (pool, pause) = left_in_a_pause("b20pause", variant, ran.task());
        drop(pause);
        assert_eq!(ran.get(), 1);
        assert!(pool.wait_idle());
        assert_conserved(&*pool);
    });
}

/// B20 and A29: a shutdown with a time limit starts no task itself. It reports what is left, and the next shutdown runs it.
#[test]
fn b20_a_shutdown_with_a_limit_begins_no_task_itself() {
    for_each(|variant| {
        let gate = Gate::new();
        let (pool, pause) = left_in_a_pause("b20limit", variant, gate.task());
        let report = pool.shutdown_timeout(Duration::from_millis(1));
        assert_eq!((report.is_complete(), report.workers, report.queued), (false, 0, 1), "{report:?}");
        assert!(matches!(pool.restart(), Err(BuildError::StillRunning)));
        gate.open();
        assert!(pool.shutdown().is_complete());
        assert_eq!(gate.arrived(), 1);
        assert_conserved(&*pool);
        drop(pause);
    });
}

/// B20 and A30: a graceful shutdown starts no task itself, either: it gives the task back.
#[test]
fn b20_a_graceful_shutdown_gives_back_what_has_no_worker() {
    for_each(|variant| {
        let ran = Count::new();
        let (pool, _pause) = left_in_a_pause("b20grace", variant, ran.task());
        let (returned, report) = pool.shutdown_graceful(Duration::from_millis(1));
        assert_eq!((returned.len(), ran.get(), report.is_complete()), (1, 0, true), "{report:?}");
        assert_conserved(&*pool);
    });
}
