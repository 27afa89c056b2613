//! What observers are told agrees with the figures, whatever becomes of the tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::support::random::Random;
use crate::support::{Gate, Setup, Variant, for_each, on_every_dispatch, quiet_panics};
use parking_lot::Mutex;

use formicary::observe::{Observer, PoolInfo, TaskEnd, TaskInfo};
use formicary::{Builder, CancelToken, Closures, Dispatch, Pool, PoolControl, SubmitErrorKind, Task};

/// Counts what it is told.
#[derive(Default)]
struct Recorder {
    accepted: AtomicU64,
    started: AtomicU64,
    /// By [`TaskEnd`].
    ended: [AtomicU64; 5],
    refused: AtomicU64,
    workers: [AtomicU64; 2],
    pauses: [AtomicU64; 2],
    tuned: Mutex<Vec<usize>>,
    names: Mutex<Vec<(String, TaskEnd)>>,
}

fn index(end: TaskEnd) -> usize {
    match end {
        TaskEnd::Completed => 0,
        TaskEnd::Panicked => 1,
        TaskEnd::Cancelled => 2,
        TaskEnd::Returned => 3,
        TaskEnd::TakenBack => 4,
        _ => unreachable!("the test knows all ends"),
    }
}

impl Observer for Recorder {
    fn accepted(&self) {
        self.accepted.fetch_add(1, SeqCst);
    }

    fn started(&self, task: &TaskInfo<'_>) {
        assert!(task.worker.is_some() && task.run_time.is_none());
        self.started.fetch_add(1, SeqCst);
    }

    fn ended(&self, task: &TaskInfo<'_>, end: TaskEnd) {
        let has_run = matches!(end, TaskEnd::Completed | TaskEnd::Panicked);
        assert_eq!((task.run_time.is_some(), task.worker.is_some()), (has_run, has_run), "{end:?}");
        if let Some(name) = task.name {
            self.names.lock().push((name.to_owned(), end));
        }
        self.ended[index(end)].fetch_add(1, SeqCst);
    }

    fn refused(&self, _kind: SubmitErrorKind) {
        self.refused.fetch_add(1, SeqCst);
    }

    fn worker_started(&self, _worker: usize) {
        self.workers[0].fetch_add(1, SeqCst);
    }

    fn worker_stopped(&self, _worker: usize) {
        self.workers[1].fetch_add(1, SeqCst);
    }

    fn tuned(&self, workers: usize) {
        self.tuned.lock().push(workers);
    }

    fn paused(&self) {
        self.pauses[0].fetch_add(1, SeqCst);
    }

    fn resumed(&self) {
        self.pauses[1].fetch_add(1, SeqCst);
    }
}

impl Recorder {
    fn ends(&self) -> [u64; 5] {
        self.ended.each_ref().map(|count| count.load(SeqCst))
    }

    /// Compares with the figures of a pool at rest.
    fn check<X>(&self, pool: &PoolControl<X>) {
        let (stats, [completed, panicked, cancelled, returned, taken_back]) = (pool.stats(), self.ends());
        let told = (self.accepted.load(SeqCst) - taken_back, completed, panicked, cancelled, returned);
        let figures = (stats.submitted, stats.completed, stats.panicked, stats.cancelled, stats.returned);
        assert_eq!(told, figures, "taken back: {taken_back}\n{stats}");
        assert_eq!(self.started.load(SeqCst), completed + panicked, "{stats}");
        assert_eq!(self.refused.load(SeqCst), stats.rejected, "{stats}");
        // None of the test's own checks has failed on another thread.
        assert_eq!(stats.handler_panics, 0, "{stats}");
    }

    /// The same after a shutdown, when all threads have ended.
    fn check_end<X>(&self, pool: &PoolControl<X>) {
        self.check(pool);
        let stats = pool.stats();
        assert_eq!(self.workers.each_ref().map(|count| count.load(SeqCst)), [stats.spawned, stats.retired], "{stats}");
        assert_eq!(stats.live, 0);
    }
}

fn observed<D: Dispatch>(recorder: &Arc<Recorder>) -> Builder<Closures, D> {
    Pool::builder().observer(Arc::clone(recorder)).dispatch::<D>()
}

/// Tasks that complete, panic, and are refused, on every kind of pool.
#[test]
fn every_kind_of_pool_tells_its_observers() {
    quiet_panics();
    for_each(|variant: Variant| {
        let recorder = Arc::new(Recorder::default());
        let setup = Setup { observer: Some(Arc::clone(&recorder) as _), ..Setup::new(2, 1) };
        let pool = variant.build(setup);
        let gate = Gate::new();
        pool.submit(gate.task()).unwrap();
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(2);
        pool.submit(Task::new(|| panic!("broken"))).unwrap();
        assert!(pool.try_submit(Task::new(|| ())).is_err());
        gate.open();
        assert!(pool.wait_idle());
        (0..100).for_each(|_| pool.submit(Task::new(|| ())).unwrap());
        assert!(pool.wait_idle());
        assert_eq!((recorder.ends(), recorder.refused.load(SeqCst)), ([102, 1, 0, 0, 0], 1));
        assert_eq!((recorder.accepted.load(SeqCst), recorder.started.load(SeqCst)), (103, 103));
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.completed, stats.panicked), (103, 102, 1));
    });
}

fn names_and_times<D: Dispatch>() {
    quiet_panics();
    #[derive(Default)]
    struct Times(Mutex<Vec<(bool, Duration)>>);
    impl Observer for Times {
        fn ended(&self, task: &TaskInfo<'_>, _end: TaskEnd) {
            self.0.lock().push((task.queue_wait.is_some(), task.run_time.unwrap()));
        }
    }
    let (recorder, times) = (Arc::new(Recorder::default()), Arc::new(Times::default()));
    let pool = observed::<D>(&recorder).workers(1).observer(Arc::clone(&times)).build().unwrap();
    pool.with().name("good").run(|| ()).unwrap();
    assert!(pool.with().name("bad").run(|| panic!("broken")).is_err());
    pool.submit(|| thread::sleep(Duration::from_millis(3))).unwrap();
    assert!(pool.wait_idle());
    let named = recorder.names.lock().clone();
    assert_eq!(named, [("good".to_owned(), TaskEnd::Completed), ("bad".to_owned(), TaskEnd::Panicked)]);
    let times = times.0.lock().clone();
    assert_eq!(times.len(), 3);
    assert!(times.iter().all(|(has_waited, _)| *has_waited), "{times:?}");
    assert!(times[2].1 >= Duration::from_millis(3), "{times:?}");
    recorder.check(&pool);
}

#[test]
fn observers_learn_names_and_times() {
    on_every_dispatch!(names_and_times);
}

fn control<D: Dispatch>() {
    let recorder = Arc::new(Recorder::default());
    let pool = observed::<D>(&recorder).workers(2).build().unwrap();
    pool.tune(3).unwrap();
    pool.tune(1).unwrap();
    assert!(pool.tune(0).is_err());
    let (one, two) = (pool.pause(), pool.pause());
    drop(one);
    drop(two);
    assert_eq!(*recorder.tuned.lock(), [3, 1]);
    assert_eq!(recorder.pauses.each_ref().map(|count| count.load(SeqCst)), [2, 2]);
    pool.shutdown();
    assert!(pool.try_submit(|| ()).is_err());
    recorder.check_end(&pool);
}

#[test]
fn observers_learn_of_changes_and_workers() {
    on_every_dispatch!(control);
}

/// Before anything else, and what the pool has when it is built.
#[test]
fn observers_learn_first_what_their_pool_is() {
    #[derive(Default)]
    struct First(Mutex<Vec<String>>);
    impl Observer for First {
        fn built(&self, pool: &PoolInfo<'_>) {
            self.0.lock().push(format!("{} with {}", pool.name, pool.workers));
        }

        fn worker_started(&self, _worker: usize) {
            self.0.lock().push("a worker".to_owned());
        }
    }
    let first = Arc::new(First::default());
    let pool = Pool::builder().observer(Arc::clone(&first)).workers(3).min_workers(2).name("mill").build().unwrap();
    pool.shutdown();
    assert_eq!(*first.0.lock(), ["mill with 3", "a worker", "a worker"]);
}

fn panicking<D: Dispatch>() {
    quiet_panics();
    struct Broken;
    impl Observer for Broken {
        fn accepted(&self) {
            panic!("broken observer");
        }

        fn started(&self, _task: &TaskInfo<'_>) {
            panic!("broken observer");
        }

        fn ended(&self, _task: &TaskInfo<'_>, _end: TaskEnd) {
            panic!("broken observer");
        }
    }
    let recorder = Arc::new(Recorder::default());
    let pool =
        Pool::builder().workers(1).observer(Broken).observer(Arc::clone(&recorder)).dispatch::<D>().build().unwrap();
    let answers: Vec<_> = (0..10).map(|n| pool.run(move || n).unwrap()).collect();
    assert_eq!(answers, (0..10).collect::<Vec<_>>());
    assert!(pool.wait_idle());
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.handler_panics), (10, 30), "{stats}");
    assert_eq!((recorder.accepted.load(SeqCst), recorder.ends()[0]), (10, 10));
}

#[test]
fn a_panic_of_an_observer_costs_nothing_but_itself() {
    on_every_dispatch!(panicking);
}

/// One submission of some sort. What it starts may be refused or cancelled.
fn act<D: Dispatch>(pool: &Arc<Pool<D>>, view: &formicary::Limited<Pool<D>>, random: &mut Random) {
    let inner = Arc::clone(pool);
    match random.below(19) {
        0 => drop(pool.submit(|| ())),
        1 => drop(pool.try_submit(|| ())),
        2 => drop(pool.spawn(|| 1).map(|handle| handle.join())),
        3 => drop(pool.spawn(|| ()).map(|handle| handle.cancel())),
        4 => drop(pool.run(|| 2)),
        5 => drop(pool.submit(|| panic!("on purpose"))),
        6 => drop(pool.with().timeout(random.micros(200)).run(|| ())),
        7 => {
            let token = CancelToken::new();
            let handle = pool.with().token(&token).spawn(|| ());
            token.cancel();
            drop(handle.map(|handle| handle.join()));
        }
        8 => drop(pool.submit(move || drop(inner.submit(|| ())))),
        9 => drop(pool.submit(move || drop(inner.spawn(|| 3).map(|handle| handle.join())))),
        10 => drop(pool.submit(move || _ = inner.join(thread::yield_now, thread::yield_now))),
        11 => pool.scope(|scope| (0..3).for_each(|_| scope.spawn(thread::yield_now))),
        12 => {
            let body = move || inner.scope(|scope| (0..3).for_each(|_| scope.spawn(thread::yield_now)));
            drop(pool.submit(body));
        }
        13 => drop(pool.submit_all((0..5).map(|_| || ()).collect::<Vec<_>>())),
        14 => {
            let group = pool.group::<(), ()>();
            (0..3).for_each(|n| drop(group.spawn(move |_| if n == 1 { Err(()) } else { Ok(()) })));
            drop(group.wait());
        }
        15 => drop(view.submit(|| ())),
        16 => drop(
            view.spawn(|| 4).map(|handle| if random.once_in(2) { drop(handle.join()) } else { _ = handle.cancel() }),
        ),
        // More than a task runs for a scope of another thread.
        17 => pool.scope(|scope| scope.spawn(|| (0..70).for_each(|_| scope.spawn(|| ())))),
        _ => view.set_limit(1 + random.below(3)),
    }
}

fn all_sorts<D: Dispatch>() {
    quiet_panics();
    for round in 0..12_u64 {
        let recorder = Arc::new(Recorder::default());
        let pool = Arc::new(observed::<D>(&recorder).workers(2).queue(8).build().unwrap());
        let view = pool.limited(2);
        thread::scope(|scope| {
            let (pool, view) = (&pool, &view);
            let acts = |number| {
                scope.spawn(move || {
                    let mut random = Random(100 * round + number);
                    (0..150).for_each(|_| act(pool, view, &mut random));
                })
            };
            let mut threads: Vec<_> = (0..3).map(acts).collect();
            if round % 2 == 1 {
                let changes =
                    move || (0..20).for_each(|n| drop((pool.tune(1 + n % 3), pool.pause(), thread::yield_now())));
                threads.push(scope.spawn(changes));
            }
            // ThreadSanitizer sees these joins, and not that of the scope.
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        if round % 3 == 0 {
            assert!(view.wait_idle() && pool.wait_idle());
            recorder.check(&pool);
        }
        match round % 4 {
            0 => drop(pool.shutdown()),
            1 => {
                let pause = pool.pause();
                (0..5).for_each(|_| drop(pool.try_submit(|| ())));
                drop(pool.try_spawn(|| ()).map(|handle| handle.cancel()));
                drop(view.try_submit(|| ()));
                drop(pool.shutdown_now());
                drop(pause);
            }
            2 => drop(pool.shutdown_graceful(Duration::from_millis(1))),
            _ => drop((view.close(), pool.shutdown())),
        }
        pool.shutdown();
        recorder.check_end(&pool);
    }
}

#[test]
fn what_observers_are_told_adds_up() {
    on_every_dispatch!(all_sorts);
}

fn from_callbacks<D: Dispatch>() {
    /// Asks its pool, and submits to it, wherever it is told something: it is called under no lock.
    #[derive(Default)]
    struct Curious {
        pool: Mutex<Option<std::sync::Weak<dyn Fn() + Send + Sync>>>,
        is_asking: AtomicBool,
        asked: AtomicU64,
    }
    impl Curious {
        fn ask(&self) {
            let ask = self.pool.lock().as_ref().and_then(std::sync::Weak::upgrade);
            if let (Some(ask), false) = (ask, self.is_asking.swap(true, SeqCst)) {
                ask();
                self.asked.fetch_add(1, SeqCst);
                self.is_asking.store(false, SeqCst);
            }
        }
    }
    impl Observer for Curious {
        fn accepted(&self) {
            self.ask();
        }

        fn started(&self, _task: &TaskInfo<'_>) {
            self.ask();
        }

        fn ended(&self, _task: &TaskInfo<'_>, _end: TaskEnd) {
            self.ask();
        }

        fn refused(&self, _kind: SubmitErrorKind) {
            self.ask();
        }
    }
    let curious = Arc::new(Curious::default());
    let pool = Pool::builder().workers(1).queue(4).observer(Arc::clone(&curious)).dispatch::<D>().build().unwrap();
    let pool = Arc::new(pool);
    let weak = Arc::downgrade(&pool);
    let ask: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        if let Some(pool) = weak.upgrade() {
            let stats = pool.stats();
            assert!(stats.submitted >= stats.completed && pool.capacity() == 1);
            // What a worker submits goes beyond the bound, and each of these tasks would be followed by two.
            if stats.queued < 8 {
                drop(pool.try_submit(|| ()));
            }
        }
    });
    *curious.pool.lock() = Some(Arc::downgrade(&ask));
    for n in 0..50 {
        assert_eq!(pool.run(move || n).unwrap(), n);
        _ = pool.spawn(|| ()).unwrap().cancel();
    }
    drop(ask);
    pool.shutdown();
    assert!(curious.asked.load(SeqCst) > 100);
}

#[test]
fn observers_may_use_the_pool() {
    on_every_dispatch!(from_callbacks);
}
