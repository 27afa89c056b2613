//! D02: a pool is ended, or its last owner dropped, on one of its own threads: wherever user code runs there, also when the thread
//! is no worker any more; and threads of several pools end each other's pools. None waits for itself, and everything ends.

use std::cell::RefCell;
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use formicary::{Context, Dispatch, Pool, StatefulPool, Task, Worker};
use parking_lot::Mutex;

use crate::support::races::quiet_panic;
use crate::support::{AnyPool, LIMIT, Setup, Variant, eventually, threads_named, variants};

/// Something that is done when this is dropped.
struct AtEnd(Option<Box<dyn FnOnce() + Send>>);

impl AtEnd {
    fn new(f: impl FnOnce() + Send + 'static) -> Self {
        AtEnd(Some(Box::new(f)))
    }
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

thread_local! {
    static AT_THREAD_END: RefCell<Vec<AtEnd>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` in a destructor of the calling thread's locals.
fn at_thread_end(f: impl FnOnce() + Send + 'static) {
    AT_THREAD_END.with(|all| all.borrow_mut().push(AtEnd::new(f)));
}

/// Runs `f` when the calling thread's locals are gone.
#[cfg(target_os = "linux")]
fn after_thread_locals(f: impl FnOnce() + Send + 'static) {
    unsafe extern "C" fn destroy(end: *mut libc::c_void) {
        // SAFETY: it is the box of the call below, and each is destroyed once.
        drop(unsafe { Box::from_raw(end.cast::<AtEnd>()) });
    }
    let mut key = 0;
    // SAFETY: `key` lives; the destructor takes what is set for that key.
    unsafe {
        assert_eq!(libc::pthread_key_create(&mut key, Some(destroy)), 0);
        assert_eq!(libc::pthread_setspecific(key, Box::into_raw(Box::new(AtEnd::new(f))).cast()), 0);
    }
}

#[cfg(not(target_os = "linux"))]
use at_thread_end as after_thread_locals;

/// What is done with the pool. It is dropped after that, and has no other owner.
type Act = fn(&AnyPool);
const ACTS: [Act; 10] = [
    |_| (),
    |pool| _ = pool.shutdown(),
    |pool| _ = pool.shutdown_timeout(LIMIT),
    |pool| drop(pool.shutdown_now()),
    |pool| drop(pool.shutdown_graceful(LIMIT)),
    |pool| _ = pool.wait_idle(),
    |pool| pool.tune(3).unwrap(),
    |pool| drop(pool.submit(Task::new(|| ()))),
    // Another thread starts, and ends at once.
    |pool| {
        drop(pool.submit(Task::new(|| ())));
        pool.tune(1).unwrap();
        pool.shutdown();
    },
    |pool| {
        pool.shutdown();
        drop(pool.restart());
    },
];

/// Where that is done on a worker's thread.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    ThreadLocal,
    AfterThreadLocals,
    Task,
    Capture,
    Payload,
    Handler,
    ThreadStop,
}
use Place::*;

/// Hands the pool over, to be used up once.
type Hands = Arc<Mutex<Option<(AnyPool, Act, mpsc::Sender<()>)>>>;

fn use_up(hands: &Hands) {
    let Some((pool, act, done)) = hands.lock().take() else { return };
    act(&pool);
    drop(pool);
    _ = done.send(());
}

fn used_up_at(place: Place, variant: &Variant, act: Act) {
    let hands = Hands::default();
    let mut setup = Setup::fleeting(2, 8, Duration::from_millis(1));
    let at = Arc::clone(&hands);
    match place {
        Handler => setup.panic_handler = Some(Arc::new(move |_| use_up(&at))),
        ThreadStop => setup.on_thread_stop = Some(Arc::new(move |_| use_up(&at))),
        _ => {}
    }
    let (pool, (done, is_done)) = (variant.build(setup), mpsc::channel());
    let (owned, (go, gate)) = (Arc::clone(&pool), mpsc::channel::<()>());
    let at = Arc::clone(&hands);
    let task = move || {
        // Until the other owner is gone.
        _ = gate.recv();
        *at.lock() = Some((owned, act, done));
        let mut end = AtEnd::new({
            let at = Arc::clone(&at);
            move || use_up(&at)
        });
        match place {
            ThreadLocal => at_thread_end(move || use_up(&at)),
            AfterThreadLocals => after_thread_locals(move || use_up(&at)),
            Task => use_up(&at),
            Payload => std::panic::resume_unwind(Box::new(Mutex::new(end))),
            Handler => quiet_panic(),
            Capture | ThreadStop => {}
        }
        if place != Capture {
            end.0 = None;
        }
    };
    pool.submit(Task::new(task)).unwrap();
    drop(pool);
    drop(go);
    is_done.recv_timeout(LIMIT).expect("it hangs");
}

/// Every place in which user code runs, with every call that it can make, on each kind of pool of a dispatch.
pub(crate) fn d02_ended_on_its_own_threads<D: Dispatch>() {
    for variant in variants().iter().filter(|variant| variant.name.starts_with(D::NAME)) {
        for place in [ThreadLocal, AfterThreadLocals, Task, Capture, Payload, Handler, ThreadStop] {
            ACTS.iter().for_each(|act| used_up_at(place, variant, *act));
        }
    }
    eventually("no thread is left", || threads_named(formicary::DEFAULT_NAME) == 0);
}

/// A state that ends its own pool, when it is dropped or told to terminate.
struct Owner {
    terminates: bool,
    at: Hands,
}

impl Worker for Owner {
    type Input = Task;
    type Output = ();

    fn process(&mut self, task: Task, _: &Context<'_>) {
        task.run();
    }

    fn terminate(self) {
        if self.terminates {
            use_up(&self.at);
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        use_up(&self.at);
    }
}

/// The state is dropped after a panic, or when the worker expires.
pub(crate) fn d02_ended_by_a_state<D: Dispatch>() {
    for (act, terminates, panics) in
        ACTS.iter().flat_map(|act| [(act, true, false), (act, false, false), (act, false, true)])
    {
        let (hands, (done, is_done)) = (Hands::default(), mpsc::channel());
        let at = Arc::clone(&hands);
        let builder = StatefulPool::builder(move |_| Ok(Owner { terminates, at: Arc::clone(&at) }));
        let setup = Setup::fleeting(1, 8, Duration::from_millis(1));
        let pool: AnyPool = Arc::new(setup.on(builder).dispatch::<D>().build().unwrap());
        let (owned, (go, gate)) = (Arc::clone(&pool), mpsc::channel::<()>());
        let task = move || {
            _ = gate.recv();
            *hands.lock() = Some((owned, *act, done));
            if panics {
                quiet_panic();
            }
        };
        pool.submit(Task::new(task)).unwrap();
        drop(pool);
        drop(go);
        is_done.recv_timeout(LIMIT).expect("it hangs");
    }
    eventually("no thread is left", || threads_named(formicary::DEFAULT_NAME) == 0);
}

/// Pools in a circle, of two or three: a thread of each ends the next one, all at the same time; in tasks, or in destructors of
/// thread-locals.
pub(crate) fn d02_ended_in_a_circle<D: Dispatch>() {
    for (count, local) in [(2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 3)] {
        let pools: Vec<Arc<Pool<D>>> = (0..count)
            .map(|_| Pool::builder().workers(1).min_workers(0).expiry(Duration::from_millis(1)).dispatch().build())
            .map(|pool| Arc::new(pool.unwrap()))
            .collect();
        let (together, (done, all_done)) = (Arc::new(Barrier::new(count)), mpsc::channel());
        for n in 0..count {
            let (next, together, done) = (Arc::clone(&pools[(n + 1) % count]), Arc::clone(&together), done.clone());
            let end = move || {
                together.wait();
                next.shutdown();
                drop(next);
                _ = done.send(());
            };
            pools[n].submit(move || if n < local { at_thread_end(end) } else { end() }).unwrap();
        }
        drop(pools);
        for _ in 0..count {
            all_done.recv_timeout(LIMIT).expect("it hangs");
        }
    }
    eventually("no thread is left", || threads_named(formicary::DEFAULT_NAME) == 0);
}

/// A worker ends while another worker of the pool still runs the destructors of its thread-locals, which wait for that pool: to run
/// a task, and to end threads that start and exit meanwhile.
pub(crate) fn d02_used_by_a_thread_that_ends<D: Dispatch>() {
    let pool: Arc<Pool<D>> = Arc::new(
        Pool::builder().workers(2).min_workers(0).expiry(Duration::from_millis(1)).dispatch().build().unwrap(),
    );
    let (owned, (done, is_done)) = (Arc::clone(&pool), mpsc::channel());
    let at_end = move || {
        for _ in 0..20 {
            assert_eq!(owned.run(|| 7).unwrap(), 7);
            assert!(owned.wait_idle());
            eventually("all have left", || owned.stats().live == 0);
        }
        _ = done.send(());
    };
    pool.submit(move || at_thread_end(at_end)).unwrap();
    is_done.recv_timeout(LIMIT).expect("it hangs");
    assert!(pool.shutdown().is_complete());
    eventually("the threads are gone", || threads_named(formicary::DEFAULT_NAME) == 0);
}
