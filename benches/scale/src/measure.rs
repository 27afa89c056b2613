//! The same loads on real pools, on one processor and on two.

use std::cell::Cell;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use formicary::{Dispatch, Pool};

/// Nanoseconds per task, or per fork.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// One thread submits while the worker is held up.
    pub submit_1: f64,
    /// One submitter and one worker, on one processor and on two.
    pub outside_1: f64,
    pub outside_2: f64,
    /// Two threads submit while the workers are held up.
    pub submit_2: f64,
    /// Two workers empty a queue.
    pub drain_2: f64,
    /// Chains of tasks that submit the next one, on one worker and on two.
    pub nested_1: f64,
    pub nested_2: f64,
    /// Trees of forks, on one worker and on two.
    pub forks_1: f64,
    pub forks_2: f64,
}

/// Few, so that other programs disturb only some of the runs.
const TASKS: u64 = 10_000;
const CHAINS: u64 = 4;
pub const LEAVES: u64 = 512;
const TREES: u64 = 20;

thread_local! {
    /// What a tiny task writes: memory that no other thread uses.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn tiny() {
    COUNT.with(|count| count.set(black_box(count.get() + 1)));
}

/// Binds the calling thread to processor `cpu`, or to the first two with `None`. Elsewhere than on Linux it does nothing.
fn bind(cpu: Option<usize>) {
    #[cfg(target_os = "linux")]
    {
        // The standard library links the C library, whose function this is.
        unsafe extern "C" {
            fn sched_setaffinity(pid: i32, size: usize, mask: *const u64) -> i32;
        }
        let mask: u64 = cpu.map_or(0b11, |cpu| 1 << cpu);
        // SAFETY: the call reads `size` bytes from the mask, which is that large, and keeps no pointer.
        let result = unsafe { sched_setaffinity(0, size_of::<u64>(), &mask) };
        assert_eq!(result, 0, "there are two processors");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = cpu;
}

/// A pool whose workers are bound to the processors in turn, from the last of `cpus` on.
fn pool<D: Dispatch>(workers: usize, queue: usize, cpus: usize) -> Pool<D> {
    // The default number of shards is that of the processors that the calling thread may use.
    bind(None);
    let on_start = move |worker: usize| bind(Some((cpus - 1 + worker) % cpus));
    let builder = Pool::builder().workers(workers).min_workers(workers).queue(queue).expiry(None);
    builder.on_thread_start(on_start).dispatch::<D>().build().expect("the options are good")
}

fn nanos(time: Duration, tasks: u64) -> f64 {
    time.as_secs_f64() * 1e9 / tasks as f64
}

fn submit<D: Dispatch>(pool: &Pool<D>, tasks: u64) {
    (0..tasks).for_each(|_| pool.submit(tiny).expect("the pool is open"));
}

/// Submits a last task and waits for it, and then for those that still run. A thread that waits for the pool's rest from the beginning would
/// make workers look at the queue after each task.
struct Last(Arc<AtomicBool>);

impl Last {
    fn submit<D: Dispatch>(pool: &Pool<D>) -> Self {
        let (done, waiter) = (Arc::new(AtomicBool::new(false)), std::thread::current());
        let seen = Arc::clone(&done);
        let last = move || {
            done.store(true, Release);
            waiter.unpark();
        };
        pool.submit(last).expect("the pool is open");
        Last(seen)
    }

    fn wait<D: Dispatch>(self, pool: &Pool<D>) {
        while !self.0.load(Acquire) {
            std::thread::park();
        }
        pool.wait_idle();
    }
}

fn outside<D: Dispatch>(cpus: usize) -> f64 {
    let pool = pool::<D>(1, 1024, cpus);
    bind(Some(0));
    submit(&pool, TASKS / 4);
    pool.wait_idle();
    let start = Instant::now();
    submit(&pool, TASKS);
    Last::submit(&pool).wait(&pool);
    nanos(start.elapsed(), TASKS)
}

/// The time of the submissions from `cpus` threads while as many workers are held up, and of the run by these workers.
fn apart<D: Dispatch>(cpus: usize) -> [f64; 2] {
    let pool = pool::<D>(cpus, TASKS as usize + cpus, cpus);
    let mut times = [0.0; 2];
    // The first round touches the memory.
    for _ in 0..2 {
        let gates = Arc::new([(); 2].map(|()| Barrier::new(cpus + 1)));
        for _ in 0..cpus {
            let gates = Arc::clone(&gates);
            let hold = move || gates.iter().for_each(|gate| _ = gate.wait());
            pool.submit(hold).expect("the pool is open");
        }
        gates[0].wait();
        let go = Barrier::new(cpus);
        let submitter = |cpu| {
            bind(Some(cpu));
            go.wait();
            let start = Instant::now();
            submit(&pool, TASKS / cpus as u64);
            start.elapsed()
        };
        let longest = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..cpus).map(|cpu| scope.spawn(move || submitter(cpu))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).max().unwrap_or_default()
        });
        times[0] = nanos(longest, TASKS);
        let last = Last::submit(&pool);
        let start = Instant::now();
        gates[1].wait();
        last.wait(&pool);
        times[1] = nanos(start.elapsed(), TASKS);
    }
    times
}

fn chain<D: Dispatch>(pool: &'static Pool<D>, left: u64, done: Arc<AtomicU64>) {
    tiny();
    if left > 0 {
        pool.submit(move || chain(pool, left - 1, done)).expect("the pool is open");
    } else {
        done.fetch_add(1, Release);
    }
}

fn nested<D: Dispatch>(workers: usize) -> f64 {
    // Its tasks refer to it. It is closed below, and its memory is left.
    let pool: &'static Pool<D> = Box::leak(Box::new(pool::<D>(workers, 1024, workers)));
    let chains = CHAINS * workers as u64;
    let run = |tasks: u64| {
        let done = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        for _ in 0..chains {
            let done = Arc::clone(&done);
            pool.submit(move || chain(pool, tasks / chains - 1, done)).expect("the pool is open");
        }
        while done.load(Acquire) < chains {
            std::thread::sleep(Duration::from_micros(50));
        }
        nanos(start.elapsed(), tasks)
    };
    run(TASKS / 4);
    let result = run(TASKS);
    pool.shutdown();
    result
}

fn tree<D: Dispatch>(pool: &Pool<D>, leaves: u64) {
    if leaves == 1 {
        return tiny();
    }
    pool.join(|| tree(pool, leaves - leaves / 2), || tree(pool, leaves / 2));
}

fn forks<D: Dispatch>(workers: usize) -> f64 {
    let pool = pool::<D>(workers, 1024, workers);
    let leaves = LEAVES * workers as u64;
    let run = || pool.install(|| tree(&pool, leaves));
    (0..TREES / 4).for_each(|_| run());
    let start = Instant::now();
    (0..TREES).for_each(|_| run());
    nanos(start.elapsed(), TREES * leaves)
}

/// For one processor the least of `runs` runs, which others have disturbed least. For two the median: in the shortest runs the two threads did
/// not run at the same time.
pub fn figures<D: Dispatch>(runs: usize) -> Figures {
    let sorted = |measure: &dyn Fn() -> f64| {
        let mut times: Vec<_> = (0..runs).map(|_| measure()).collect();
        times.sort_by(f64::total_cmp);
        times
    };
    let least = |measure: &dyn Fn() -> f64| sorted(measure)[0];
    let middle = |measure: &dyn Fn() -> f64| median(&mut sorted(measure));
    let both: Vec<_> = (0..runs).map(|_| apart::<D>(2)).collect();
    let part = |part: usize| median(&mut both.iter().map(|times| times[part]).collect::<Vec<_>>());
    Figures {
        submit_1: least(&|| apart::<D>(1)[0]),
        outside_1: least(&|| outside::<D>(1)),
        outside_2: middle(&|| outside::<D>(2)),
        submit_2: part(0),
        drain_2: part(1),
        nested_1: least(&|| nested::<D>(1)),
        nested_2: middle(&|| nested::<D>(2)),
        forks_1: least(&|| forks::<D>(1)),
        forks_2: middle(&|| forks::<D>(2)),
    }
}

#[repr(align(128))]
struct Word(AtomicU64);

/// A round trip of two threads that spin on a word each, in nanoseconds: the median of many.
pub fn ping_pong() -> f64 {
    const TRIPS: u64 = 200;
    const ROUNDS: u64 = 200;
    let (there, back) = (Word(AtomicU64::new(0)), Word(AtomicU64::new(0)));
    let until = |word: &Word, value| {
        while word.0.load(Acquire) < value {
            spin_loop();
        }
    };
    let mut times: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            bind(Some(1));
            for trip in 1..=TRIPS * ROUNDS {
                until(&there, trip);
                back.0.store(trip, Release);
            }
        });
        bind(Some(0));
        let mut trip = 0;
        (0..ROUNDS)
            .map(|_| {
                let start = Instant::now();
                for _ in 0..TRIPS {
                    trip += 1;
                    there.0.store(trip, Release);
                    until(&back, trip);
                }
                nanos(start.elapsed(), TRIPS)
            })
            .collect()
    });
    bind(None);
    median(&mut times)
}

/// What `spin_loop`, `yield_now` where no other thread is ready, and an atomic increment take, in nanoseconds.
pub fn instructions() -> [f64; 3] {
    const TIMES: u64 = 100;
    const RUNS: usize = 1_000;
    let word = AtomicU64::new(0);
    let time = |f: &dyn Fn()| {
        let start = Instant::now();
        (0..TIMES).for_each(|_| f());
        nanos(start.elapsed(), TIMES)
    };
    let least = |f: &dyn Fn()| (0..RUNS).map(|_| time(f)).fold(f64::MAX, f64::min);
    [least(&|| spin_loop()), least(&|| std::thread::yield_now()), least(&|| _ = word.fetch_add(1, Relaxed))]
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
