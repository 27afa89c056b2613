//! What the tests share: the list of all pools, limits that turn a hang into a failure, and gates to
//! hold tasks with.
// Every test file uses its own part, and a helper may fail as a test may.
#![allow(dead_code, unused_macros, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod allocator;
pub mod closures;
pub mod log;
pub mod maps;
pub mod notes;
pub mod races;
pub mod random;
pub mod sharded;
pub mod tokens;
pub mod tries;
pub mod verbs;
pub mod waking;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use formicary::observe::Observer;
use formicary::{
    BuildError, Builder, Context, Dispatch, Fair, Nested, OnDrop, Pool, PoolWithFunc, Priority, Ring, StatefulPool,
    Task, TaskPanic, Worker, WorkerPool, WorkerThread,
};
// Not the standard library's, which is precompiled: ThreadSanitizer does not see its synchronisation.
use parking_lot::{Condvar, Mutex};

/// How long a test may take before it counts as hanging. Miri is a hundred times slower.
pub const LIMIT: Duration = Duration::from_secs(if cfg!(miri) { 600 } else { 60 });

/// A pool of any kind and dispatch, for tasks.
pub type AnyPool = Arc<dyn WorkerPool<Task>>;

/// A kind of pool on a dispatch.
#[derive(Clone, Copy)]
pub struct Variant {
    pub name: &'static str,
    /// Whether a waiting worker can run other tasks.
    pub helps: bool,
    /// Whether the memory for all queued tasks is taken at build, so that the queue needs a bound.
    pub preallocates: bool,
    /// See [`orders_nested`].
    pub orders_nested: bool,
    build: fn(Setup) -> Result<AnyPool, BuildError>,
}

impl Variant {
    pub fn try_build(&self, setup: Setup) -> Result<AnyPool, BuildError> {
        (self.build)(setup)
    }

    pub fn build(&self, setup: Setup) -> AnyPool {
        self.try_build(setup).expect("the setup is good")
    }
}

/// The dispatches that every test runs on: a new one is added here. Calls `$with!(Type, "name")` for each. Only [`Variant`] knows the limits of
/// a dispatch. `Priority` has the queue of `Fair` with another order: what is generic runs on `Fair`, and [`variants`] has both. Each dispatch
/// takes a minute to build; with `--cfg formicary_few_dispatches` there are three.
macro_rules! each_dispatch {
    ($with:ident) => {
        $with!(formicary::Stack, "Stack");
        $with!(formicary::Ring, "Ring");
        $with!(formicary::Sharded, "Sharded");
        #[cfg(not(formicary_few_dispatches))]
        $with!(formicary::Fair, "Fair");
    };
}

/// Every kind of pool on every dispatch.
pub fn variants() -> Vec<Variant> {
    let mut all = Vec::new();
    macro_rules! add {
        ($dispatch:ty, $name:literal) => {
            all.extend(kinds::<$dispatch>([
                concat!($name, "/Pool"),
                concat!($name, "/PoolWithFunc"),
                concat!($name, "/StatefulPool"),
            ]));
        };
    }
    each_dispatch!(add);
    #[cfg(not(formicary_few_dispatches))]
    add!(formicary::Priority, "Priority");
    all
}

/// Runs a test that is generic over the dispatch on each of them, within [`LIMIT`].
macro_rules! on_every_dispatch {
    ($test:ident) => {{
        macro_rules! run {
            ($dispatch:ty, $name:literal) => {
                $crate::support::within($crate::support::LIMIT, $name, $test::<$dispatch>)
            };
        }
        $crate::support::each_dispatch!(run);
    }};
}
pub(crate) use {each_dispatch, on_every_dispatch};

/// Whether nested tasks keep to the order of the queue, instead of coming first.
pub fn orders_nested<D: Dispatch>() -> bool {
    [Priority::NAME, Fair::NAME].contains(&D::NAME)
}

/// The three kinds of pool on one dispatch, all made to run tasks.
fn kinds<D: Dispatch>(names: [&'static str; 3]) -> [Variant; 3] {
    let preallocates = D::NAME == Ring::NAME;
    let orders_nested = orders_nested::<D>();
    [
        Variant {
            name: names[0],
            helps: true,
            preallocates,
            orders_nested,
            build: |setup| Ok(Arc::new(setup.on(Pool::builder()).dispatch::<D>().build()?)),
        },
        Variant {
            name: names[1],
            helps: true,
            preallocates,
            orders_nested,
            build: |setup| {
                let builder = setup.on(PoolWithFunc::builder(Task::run));
                Ok(Arc::new(builder.dispatch::<D>().build()?))
            },
        },
        Variant {
            name: names[2],
            helps: false,
            preallocates,
            orders_nested,
            build: |setup| {
                let factory = setup.factory.clone();
                let made = move |worker| factory.as_ref().map_or(Ok(()), |factory| factory(worker)).map(|()| RunTask);
                let builder = setup.on(StatefulPool::builder(made));
                Ok(Arc::new(builder.dispatch::<D>().build()?))
            },
        },
    ]
}

/// A worker whose tasks need no state.
pub struct RunTask;

impl Worker for RunTask {
    type Input = Task;
    type Output = ();

    fn process(&mut self, task: Task, _cx: &Context<'_>) {
        task.run();
    }
}

type SpawnHandler = Arc<dyn Fn(WorkerThread) -> io::Result<()> + Send + Sync>;
type PanicHandler = Arc<dyn Fn(&TaskPanic<'_>) + Send + Sync>;
type Factory = Arc<dyn Fn(usize) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;
type ThreadNames = Arc<dyn Fn(usize) -> String + Send + Sync>;
type Hook = Arc<dyn Fn(usize) + Send + Sync>;

/// Options for any builder. What is `None` stays the default.
#[derive(Clone, Default)]
pub struct Setup {
    pub workers: Option<usize>,
    pub min_workers: Option<usize>,
    /// `Some(None)` is unbounded.
    pub queue: Option<Option<usize>>,
    pub nested: Option<Nested>,
    pub grow_when: usize,
    pub nonblocking: bool,
    pub max_blocking: Option<usize>,
    /// `Some(None)` is never.
    pub expiry: Option<Option<Duration>>,
    pub spin: Option<Duration>,
    pub name: Option<String>,
    pub thread_name: Option<String>,
    pub thread_names: Option<ThreadNames>,
    pub stack_size: Option<usize>,
    pub panic_handler: Option<PanicHandler>,
    pub spawn_handler: Option<SpawnHandler>,
    /// Whether a state can be made. For the kinds of pool that have states.
    pub factory: Option<Factory>,
    pub on_thread_start: Option<Hook>,
    pub on_thread_stop: Option<Hook>,
    pub on_drop: OnDrop,
    pub observer: Option<Arc<dyn Observer>>,
}

impl Setup {
    /// So many workers, that many queued tasks beyond them.
    pub fn new(workers: usize, queue: usize) -> Self {
        Setup { workers: Some(workers), queue: Some(Some(queue)), ..Setup::default() }
    }

    /// The pool's own tasks have to keep to the bound.
    pub fn bounded(self) -> Self {
        Setup { nested: Some(Nested::Bounded), ..self }
    }

    /// Room for more tasks than the test submits.
    pub fn roomy(workers: usize) -> Self {
        Setup::new(workers, 20_000)
    }

    /// Workers are started on demand only, and each exits after so long without a task.
    pub fn fleeting(workers: usize, queue: usize, idle: Duration) -> Self {
        Setup { min_workers: Some(0), expiry: Some(Some(idle)), ..Setup::new(workers, queue) }
    }

    pub fn unbounded(workers: usize) -> Self {
        Setup { workers: Some(workers), queue: Some(None), ..Setup::default() }
    }

    pub fn on<K, D: Dispatch>(self, mut builder: Builder<K, D>) -> Builder<K, D> {
        if let Some(workers) = self.workers {
            builder = builder.workers(workers);
        }
        if let Some(workers) = self.min_workers {
            builder = builder.min_workers(workers);
        }
        match self.queue {
            None => {}
            Some(None) => builder = builder.unbounded_queue(),
            Some(Some(tasks)) => builder = builder.queue(tasks),
        }
        if let Some(nested) = self.nested {
            builder = builder.nested(nested);
        }
        builder = builder.nonblocking(self.nonblocking).grow_when(self.grow_when);
        if let Some(most) = self.max_blocking {
            builder = builder.max_blocking(most);
        }
        if let Some(expiry) = self.expiry {
            builder = builder.expiry(expiry);
        }
        if let Some(limit) = self.spin {
            builder = builder.spin(limit);
        }
        if let Some(name) = self.name {
            builder = builder.name(name);
        }
        if let Some(names) = self.thread_names {
            builder = builder.thread_names(move |worker| names(worker));
        }
        if let Some(name) = self.thread_name {
            builder = builder.thread_name(name);
        }
        if let Some(bytes) = self.stack_size {
            builder = builder.stack_size(bytes);
        }
        if let Some(handler) = self.panic_handler {
            builder = builder.panic_handler(move |panic| handler(panic));
        }
        if let Some(handler) = self.spawn_handler {
            builder = builder.spawn_handler(move |thread| handler(thread));
        }
        if let Some(hook) = self.on_thread_start {
            builder = builder.on_thread_start(move |worker| hook(worker));
        }
        if let Some(hook) = self.on_thread_stop {
            builder = builder.on_thread_stop(move |worker| hook(worker));
        }
        if let Some(observer) = self.observer {
            builder = builder.observer(observer);
        }
        builder.on_drop(self.on_drop)
    }
}

/// Runs `test` for every variant, each within [`LIMIT`], and says which one failed.
pub fn for_each(test: impl Fn(Variant) + Send + Clone + 'static) {
    for variant in variants() {
        let test = test.clone();
        within(LIMIT, variant.name, move || test(variant));
    }
}

/// Runs `body` on a thread of its own; a panic in it is passed on, and taking longer than `limit` is one.
pub fn within<T: Send + 'static>(limit: Duration, what: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || drop(sender.send(catch_unwind(AssertUnwindSafe(body)))));
    match receiver.recv_timeout(limit) {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => {
            eprintln!("failed: {what}");
            resume_unwind(panic)
        }
        Err(_) => panic!("{what}: hangs (nothing for {limit:?})"),
    }
}

/// The texts of an error and of its causes.
pub fn chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}

/// Waits until `condition` holds; fails after [`LIMIT`]. For states that a pool reaches without a notification, such as a thread
/// that is gone.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A value whose life is counted.
pub struct Living(Count);

impl Living {
    pub fn new(count: &Count) -> Self {
        count.up();
        Living(count.clone())
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.0.down();
    }
}

/// A gate that tasks wait at until it is opened; counts the tasks that have come to it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Default)]
struct GateState {
    open: bool,
    /// Permits for tasks that may pass one at a time.
    passes: usize,
    arrived: usize,
}

impl Gate {
    pub fn new() -> Self {
        Gate::default()
    }

    /// Arrives and waits for the gate.
    pub fn wait(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock();
        state.arrived += 1;
        changed.notify_all();
        while !state.open && state.passes == 0 {
            changed.wait(&mut state);
        }
        if !state.open {
            state.passes -= 1;
        }
    }

    /// Lets all tasks pass, now and later.
    pub fn open(&self) {
        self.0.0.lock().open = true;
        self.0.1.notify_all();
    }

    /// Lets `count` tasks pass.
    pub fn pass(&self, count: usize) {
        self.0.0.lock().passes += count;
        self.0.1.notify_all();
    }

    /// How many have ever arrived.
    pub fn arrived(&self) -> usize {
        self.0.0.lock().arrived
    }

    /// Waits until `count` have arrived; fails after [`LIMIT`].
    pub fn await_arrivals(&self, count: usize) {
        let (state, changed) = &*self.0;
        let end = Instant::now() + LIMIT;
        let mut state = state.lock();
        while state.arrived < count {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {count} arrived at the gate", state.arrived);
            changed.wait_for(&mut state, left);
        }
    }

    /// A task that waits here.
    pub fn task(&self) -> Task {
        let gate = self.clone();
        Task::new(move || gate.wait())
    }

    /// The same as a closure.
    pub fn closure(&self) -> impl Fn() + Send + 'static + use<> {
        let gate = self.clone();
        move || gate.wait()
    }
}

/// Counts, and remembers the most that were counted at a time.
#[derive(Clone, Default)]
pub struct Count(Arc<(AtomicUsize, AtomicUsize)>);

impl Count {
    pub fn new() -> Self {
        Count::default()
    }

    pub fn up(&self) -> usize {
        let now = self.0.0.fetch_add(1, SeqCst) + 1;
        self.0.1.fetch_max(now, SeqCst);
        now
    }

    pub fn down(&self) {
        self.0.0.fetch_sub(1, SeqCst);
    }

    pub fn get(&self) -> usize {
        self.0.0.load(SeqCst)
    }

    pub fn peak(&self) -> usize {
        self.0.1.load(SeqCst)
    }

    /// A task that counts one up.
    pub fn task(&self) -> Task {
        let count = self.clone();
        Task::new(move || {
            count.up();
        })
    }
}

/// Starts a worker's thread, with its name, as a pool does by default; or refuses it.
pub fn start_thread(is_given: bool, thread: WorkerThread) -> io::Result<()> {
    if !is_given {
        return Err(io::Error::other("a test's refusal"));
    }
    std::thread::Builder::new().name(thread.name().to_owned()).spawn(|| thread.run()).map(drop)
}

/// Threads of this process whose name begins with `prefix` (Linux).
pub fn threads_named(prefix: &str) -> usize {
    use std::fs::{read_dir, read_to_string};

    loop {
        let Ok(tasks) = read_dir("/proc/self/task") else { return 0 };
        let names: Vec<_> = tasks.map(|task| task.and_then(|task| read_to_string(task.path().join("comm")))).collect();
        let status = read_to_string("/proc/self/status").unwrap_or_default();
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
        // The list breaks off at a thread that ends meanwhile.
        if names.len() >= threads.unwrap_or(0) {
            return names.iter().flatten().filter(|name| name.starts_with(prefix)).count();
        }
    }
}

/// Asserts the conservation law on a quiet pool.
pub fn assert_conserved(pool: &dyn WorkerPool<Task>) {
    let stats = pool.stats();
    let ended = stats.completed + stats.panicked + stats.cancelled + stats.returned + stats.dropped;
    assert_eq!(stats.submitted, ended, "{stats:?}");
    assert_eq!((stats.queued, stats.running), (0, 0), "{stats:?}");
}

/// Keeps the panics of pool threads with the default name out of the tests' output.
pub fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            if !thread.name().is_some_and(|name| name.starts_with(formicary::DEFAULT_NAME)) {
                before(panic);
            }
        }));
    });
}

/// Waits until `count` submitters wait for room.
pub fn await_waiting<T>(pool: &dyn WorkerPool<T>, count: usize) {
    eventually("so many submitters wait", || pool.waiting() == count);
}
