//! D01: pools used at the very end of a thread, in the destructor of a pthread key that runs when the thread's locals are gone and
//! `std::thread::current` panics. Every wait for a worker must work there, too.
//!
//! Each test runs in a process of its own: a mistake here ends the process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use formicary::{CancelToken, Context, Dispatch, Pool, PoolWithFunc, StatefulPool, Worker, WorkerThread};
use parking_lot::Mutex;
use support::{Gate, LIMIT, each_dispatch, eventually, within};

const IN_CHILD: &str = "FORMICARY_TEST_IS_A_CHILD";

/// Runs `body` in a process of its own, which is this program once more; `name` is that of the calling test.
fn in_a_process(name: &str, body: impl FnOnce()) {
    if std::env::var_os(IN_CHILD).is_some() {
        return body();
    }
    // Not captured: the standard library cannot start a thread at the end of one whose output is captured.
    let mut child = Command::new(std::env::current_exe().unwrap());
    let child = child.args(["--exact", name, "--nocapture"]).env(IN_CHILD, "").stdout(Stdio::null());
    let status = child.status().unwrap();
    assert!(status.success(), "{name}: {status}");
}

/// What a thread does at its very end.
struct AtTheEnd {
    body: Box<dyn FnOnce() + Send>,
    /// Rounds of destructors that have passed.
    rounds: Cell<u32>,
    done: std::sync::mpsc::Sender<Result<(), String>>,
}

/// A key whose destructor runs `AtTheEnd`.
fn key() -> libc::pthread_key_t {
    static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();
    *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: `key` lives, and the destructor is a function.
        assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(at_the_end)) }, 0);
        key
    })
}

unsafe extern "C" fn at_the_end(value: *mut c_void) {
    // SAFETY: the key's value was made of a box, and is given to one destructor at a time.
    let end = unsafe { Box::from_raw(value.cast::<AtTheEnd>()) };
    end.rounds.set(end.rounds.get() + 1);
    // The standard library's own key gives up the thread's handle in the second round; after the fourth there is none.
    if end.rounds.get() < 3 {
        // SAFETY: the key is there for ever, and the box is the value's again.
        assert_eq!(unsafe { libc::pthread_setspecific(key(), Box::into_raw(end).cast()) }, 0);
        return;
    }
    let AtTheEnd { body, done, .. } = *end;
    let result = catch_unwind(AssertUnwindSafe(body)).map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().map_or_else(|| "a panic".to_owned(), |text| (*text).to_owned()),
    });
    drop(done.send(result));
}

/// Runs `body` at the very end of a thread, which has used the standard library's locals before.
fn at_the_end_of_a_thread(what: &str, body: impl FnOnce() + Send + 'static) {
    let (done, result) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        assert!(thread::current().name().is_none());
        let end = AtTheEnd { body: Box::new(body), rounds: Cell::new(0), done };
        // SAFETY: the key is there for ever, and its value is a box of the type that its destructor expects.
        assert_eq!(unsafe { libc::pthread_setspecific(key(), Box::into_raw(Box::new(end)).cast()) }, 0);
    });
    match result.recv_timeout(LIMIT) {
        Ok(result) => assert_eq!(result, Ok(()), "{what}"),
        Err(error) => panic!("{what}: {error}"),
    }
    thread.join().unwrap();
}

/// Control: it is as late as this file says.
#[test]
fn d01_no_handle_of_the_thread_is_available_there() {
    in_a_process("d01_no_handle_of_the_thread_is_available_there", || {
        std::panic::set_hook(Box::new(|_| {}));
        let is_gone = Arc::new(AtomicUsize::new(0));
        let found = Arc::clone(&is_gone);
        at_the_end_of_a_thread("control", move || found.store(catch_unwind(thread::current).is_err().into(), SeqCst));
        assert_eq!(is_gone.load(SeqCst), 1);
    });
}

/// Lets its task through when the thread that waits for it sleeps.
#[derive(Clone)]
struct Hold {
    gate: Gate,
    waiting: Arc<AtomicI32>,
}

impl Hold {
    fn new() -> Self {
        Hold { gate: Gate::new(), waiting: Arc::new(AtomicI32::new(0)) }
    }

    /// The calling thread is about to wait.
    fn waits(&self) {
        // SAFETY: there is nothing to go wrong.
        self.waiting.store(unsafe { libc::gettid() }, SeqCst);
    }

    /// Opens the gate when that thread sleeps: a call spins for some microseconds first.
    fn open_when_it_sleeps(&self) {
        let Hold { gate, waiting } = self.clone();
        thread::spawn(move || {
            gate.await_arrivals(1);
            eventually("the waiting thread sleeps", || {
                let stat = format!("/proc/self/task/{}/stat", waiting.load(SeqCst));
                std::fs::read_to_string(stat).is_ok_and(|stat| stat.rsplit(')').next().unwrap().starts_with(" S"))
            });
            gate.open();
        });
    }
}

struct Holds(Hold);

impl Worker for Holds {
    type Input = u64;
    type Output = u64;

    fn process(&mut self, n: u64, _: &Context<'_>) -> u64 {
        self.0.gate.wait();
        n
    }
}

/// One pool of each kind, each with one worker.
struct Pools<D: Dispatch> {
    hold: Hold,
    closures: Pool<D>,
    function: PoolWithFunc<u64, D, u64>,
    states: StatefulPool<Holds, D>,
}

impl<D: Dispatch> Pools<D> {
    fn new() -> Self {
        let hold = Hold::new();
        let (of_function, of_state) = (hold.clone(), hold.clone());
        let function = move |n: u64| {
            of_function.gate.wait();
            n
        };
        Pools {
            closures: Pool::builder().workers(1).queue(1).dispatch().build().unwrap(),
            function: PoolWithFunc::builder(function).workers(1).queue(1).dispatch().build().unwrap(),
            states: StatefulPool::builder(move |_| Ok(Holds(of_state.clone()))).workers(1).dispatch().build().unwrap(),
            hold,
        }
    }

    /// A task that waits at the gate.
    fn task(&self) -> impl Fn() -> u64 + Clone + Send + Sync + 'static {
        let gate = self.hold.gate.clone();
        move || {
            gate.wait();
            7
        }
    }
}

/// A use of the pools that blocks until the gate is open.
type Use<D> = (&'static str, fn(&Pools<D>));

fn uses<D: Dispatch>() -> Vec<Use<D>> {
    vec![
        ("run", |pools| assert_eq!(pools.closures.run(pools.task()).unwrap(), 7)),
        ("call", |pools| assert_eq!(pools.function.run(7).unwrap(), 7)),
        ("process", |pools| assert_eq!(pools.states.run(7).unwrap(), 7)),
        ("process in time", |pools| assert_eq!(pools.states.with().timeout(LIMIT).run(7).unwrap(), 7)),
        ("process with a token", |pools| {
            assert_eq!(pools.states.with().token(&CancelToken::new()).run(7).unwrap(), 7);
        }),
        ("join", |pools| assert_eq!(pools.closures.spawn(pools.task()).unwrap().join().unwrap(), 7)),
        ("join in time", |pools| {
            let mut handle = pools.closures.spawn(pools.task()).unwrap();
            assert_eq!(handle.join_timeout(LIMIT).unwrap().unwrap(), 7);
        }),
        ("a shared join", |pools| {
            let shared = pools.closures.spawn(pools.task()).unwrap().shared();
            assert_eq!(shared.join().unwrap(), &7);
        }),
        ("submit to a full pool", |pools| {
            for _ in 0..3 {
                let task = pools.task();
                pools.closures.submit(move || assert_eq!(task(), 7)).unwrap();
            }
            assert!(pools.closures.wait_idle());
        }),
        ("submit with a token to a full pool", |pools| {
            for _ in 0..3 {
                let task = pools.task();
                pools.closures.with().token(&CancelToken::new()).submit(move || assert_eq!(task(), 7)).unwrap();
            }
            assert!(pools.closures.wait_idle_timeout(LIMIT));
        }),
        ("a group", |pools| {
            let group = pools.closures.group::<_, ()>().limit(1);
            for _ in 0..2 {
                let task = pools.task();
                group.spawn(move |_| Ok(task())).unwrap();
            }
            assert_eq!(group.wait().unwrap(), [7, 7]);
        }),
        ("a scope", |pools| {
            let (mut sum, task) = (0, pools.task());
            pools.closures.scope(|s| s.spawn(|| sum += task()));
            assert_eq!(sum, 7);
        }),
        ("a map", |pools| {
            let task = pools.task();
            let results = pools.closures.map(0..4, move |n| n + task()).results();
            assert!(results.map(Result::unwrap).eq(7..11));
        }),
        ("a view", |pools| {
            let view = pools.closures.limited(1);
            assert_eq!(view.run(pools.task()).unwrap(), 7);
        }),
        ("a broadcast", |pools| {
            let handle = pools.states.spawn(1).unwrap();
            pools.hold.gate.await_arrivals(1);
            assert_eq!(pools.states.broadcast(|_| ()).unwrap().len(), 1);
            assert_eq!(handle.join().unwrap(), 1);
        }),
        ("a token", |pools| {
            let token = CancelToken::new();
            let (task, later) = (pools.task(), token.clone());
            pools
                .closures
                .submit(move || {
                    task();
                    later.cancel();
                })
                .unwrap();
            token.wait();
        }),
        ("shutdown", |pools| {
            let handle = pools.closures.spawn(pools.task()).unwrap();
            assert!(pools.closures.shutdown().is_complete());
            assert!(handle.is_finished());
        }),
    ]
}

fn every_use<D: Dispatch>() {
    for (what, run) in uses::<D>() {
        let pools = Pools::<D>::new();
        let hold = pools.hold.clone();
        hold.open_when_it_sleeps();
        at_the_end_of_a_thread(what, move || {
            pools.hold.waits();
            run(&pools);
            // And the pools are dropped here.
        });
    }
}

/// D01: every wait for a worker works there as anywhere else.
#[test]
fn d01_every_use_of_a_pool_at_the_very_end_of_a_thread() {
    in_a_process("d01_every_use_of_a_pool_at_the_very_end_of_a_thread", || {
        macro_rules! run {
            ($dispatch:ty, $name:literal) => {
                within(4 * LIMIT, $name, every_use::<$dispatch>)
            };
        }
        each_dispatch!(run);
    });
}

/// The whole life of a pool.
fn a_life<D: Dispatch>() {
    at_the_end_of_a_thread("a life", || {
        let pool = Pool::builder().workers(2).min_workers(0).dispatch::<D>().build().unwrap();
        let tree = pool.run(|| (0..10).sum::<u64>()).unwrap();
        pool.tune(1).unwrap();
        drop(pool.pause_timeout(Duration::from_millis(1)));
        let handles: Vec<_> = (0..10).map(|n| pool.spawn(move || n).unwrap()).collect();
        assert_eq!(handles.into_iter().map(|handle| handle.join().unwrap()).sum::<u64>(), tree);
        assert!(pool.wait_idle());
    });
}

/// D01: a pool is built, used and dropped there.
#[test]
fn d01_a_pool_lives_at_the_very_end_of_a_thread() {
    in_a_process("d01_a_pool_lives_at_the_very_end_of_a_thread", || {
        macro_rules! run {
            ($dispatch:ty, $name:literal) => {
                within(LIMIT, $name, a_life::<$dispatch>)
            };
        }
        each_dispatch!(run);
    });
}

/// A promised thread never comes: the thread that drops the promise there runs the tasks.
fn an_inline_worker<D: Dispatch>() {
    let (promised, asked) = (Arc::new(Mutex::new(None)), AtomicUsize::new(0));
    let hold_back = Arc::clone(&promised);
    let handler = move |thread: WorkerThread| {
        if asked.fetch_add(1, SeqCst) > 0 {
            return Err(std::io::Error::other("a test's refusal"));
        }
        *hold_back.lock() = Some(thread);
        Ok(())
    };
    let pool = Pool::builder().workers(1).min_workers(0).dispatch::<D>().spawn_handler(handler).build().unwrap();
    let pool = Arc::new(pool);
    let (group, view, own) = (pool.group::<_, ()>(), pool.limited(1), Arc::clone(&pool));
    // Meanwhile the thread counts as a worker: it does not wait for itself.
    group.spawn(move |_| Ok(own.spawn(|| 1).unwrap().join().unwrap())).unwrap();
    let handle = view.spawn(|| 2).unwrap();
    let thread = promised.lock().take();
    at_the_end_of_a_thread("an inline worker", move || drop(thread));
    assert_eq!(group.wait().unwrap(), [1]);
    assert_eq!(handle.join().unwrap(), 2);
}

/// D01: a thread whose locals are gone runs the tasks as an inline worker.
#[test]
fn d01_an_inline_worker_at_the_very_end_of_a_thread() {
    in_a_process("d01_an_inline_worker_at_the_very_end_of_a_thread", || {
        macro_rules! run {
            ($dispatch:ty, $name:literal) => {
                within(LIMIT, $name, an_inline_worker::<$dispatch>)
            };
        }
        each_dispatch!(run);
    });
}
