//! D23, D24: errors convert with `?`, give the task back, and say each thing once.

use std::cell::Cell;
use std::error::Error;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::support::{LIMIT, chain, on_every_dispatch, quiet_panics, within};
use formicary::{
    BuildError, CallError, CancelToken, Closures, Context, Dispatch, GroupError, JoinError, Pool, PoolWithFunc,
    Sharded, StatefulPool, SubmitAllError, SubmitError, SubmitErrorKind, TaskFailure, Worker, WorkerPool,
};

/// The error type of users for whom the kind does not matter.
type AnyError = Box<dyn Error + Send + Sync>;

/// `Send`, and not `Sync`.
type Unshared = (Receiver<u8>, Cell<u8>);

fn unshared() -> Unshared {
    (channel().1, Cell::new(7))
}

/// A worker, and a function, that take what is not `Sync`.
struct Takes;

impl Worker for Takes {
    type Input = Unshared;
    type Output = u8;

    fn process(&mut self, input: Unshared, _: &Context<'_>) -> u8 {
        input.1.get()
    }
}

/// Each way to submit to each kind of pool, refused, with `?` into an error of the type `$error`.
macro_rules! every_way {
    ($name:ident, $error:ty) => {
        fn $name<D: Dispatch>(way: usize) -> Result<(), $error> {
            let pool = Pool::builder().workers(1).dispatch::<D>().build()?;
            let func = PoolWithFunc::builder(|input: Unshared| input.1.get()).workers(1).dispatch::<D>().build()?;
            let states = StatefulPool::builder(|_| Ok(Takes)).workers(1).dispatch::<D>().build()?;
            let (token, group) = (CancelToken::new(), pool.group::<u8, BuildError>());
            let view = pool.limited(1);
            assert!(pool.shutdown().is_complete() && func.shutdown().is_complete() && states.shutdown().is_complete());
            let (rx, cell) = unshared();
            let moment = Duration::from_millis(1);
            match way {
                0 => pool.submit(move || for _ in rx {})?,
                1 => pool.try_submit(move || for _ in rx {})?,
                2 => pool.with().room_timeout(moment).submit(move || for _ in rx {})?,
                3 => pool.with().token(&token).submit(move || for _ in rx {})?,
                4 => drop(pool.spawn(move || for _ in rx {})?),
                5 => drop(pool.with().token(&token).spawn(move || cell.get())?),
                6 => drop(pool.run(move || for _ in rx {})?),
                7 => drop(pool.submit_all([move || for _ in rx {}])?),
                8 => drop(group.spawn(move |_| Ok(cell.get()))?),
                9 => view.submit(move || for _ in rx {})?,
                10 => drop(view.spawn(move || cell.get())?),
                11 => drop(view.run(move || cell.get())?),
                12 => func.submit((rx, cell))?,
                13 => drop(func.run((rx, cell))?),
                14 => drop(states.with().timeout(moment).run((rx, cell))?),
                15 => drop(func.submit_all(vec![(rx, cell)])?),
                16 => drop(states.spawn((rx, cell))?),
                17 => drop(states.run((rx, cell))?),
                18 => drop(states.with().token(&token).run((rx, cell))?),
                19 => drop(states.broadcast(|_| 7)?),
                20 => drop(crate::support::waking::block_on(pool.spawn_async(move || cell.get()))?),
                21 => crate::support::waking::block_on(func.submit_async((rx, cell)))?,
                22 => (&states as &dyn WorkerPool<Unshared>).submit((rx, cell))?,
                // The reason alone.
                23 => pool.submit(move || for _ in rx {}).map_err(|refusal| refusal.kind())?,
                24 => drop(pool.submit_all([move || for _ in rx {}]).map_err(|stopped| stopped.kind())?),
                _ => return Err(SubmitErrorKind::Full)?,
            }
            Ok(())
        }
    };
}
every_way!(into_boxed, AnyError);
every_way!(into_anyhow, anyhow::Error);

fn converts<D: Dispatch>() {
    for way in 0..25 {
        let texts = chain(&*into_boxed::<D>(way).unwrap_err());
        assert!(texts[0].starts_with("the pool has been shut down"), "{way}: {texts:?}");
        let error = into_anyhow::<D>(way).unwrap_err();
        assert_eq!(error.chain().map(ToString::to_string).collect::<Vec<_>>(), texts, "{way}");
    }
    assert_eq!(into_anyhow::<D>(25).unwrap_err().downcast::<SubmitErrorKind>().unwrap(), SubmitErrorKind::Full);
}

/// D24: whatever the closure captured, a refusal is an error of the usual kinds.
#[test]
fn d24_every_refusal_converts_with_a_question_mark() {
    on_every_dispatch!(converts);
}

/// D24: the refused task can be taken out of it again, whole.
#[test]
fn d24_a_downcast_gives_the_task_back() {
    let pool = PoolWithFunc::new(1, |input: Unshared| input.1.get()).unwrap();
    assert!(pool.shutdown().is_complete());
    let error = anyhow::Error::from(pool.submit(unshared()).unwrap_err());
    let refusal = error.downcast::<SubmitError<Unshared>>().unwrap();
    let (kind, (_, cell)) = refusal.into_parts();
    assert_eq!((kind, cell.get()), (SubmitErrorKind::Closed, 7));

    let error: AnyError = pool.run(unshared()).unwrap_err().into();
    let refusal = error.downcast::<CallError<Unshared>>().unwrap();
    assert_eq!(refusal.into_input().unwrap().1.get(), 7);

    type Stopped = SubmitAllError<Unshared, std::vec::IntoIter<Unshared>>;
    let error = anyhow::Error::from(pool.submit_all(vec![unshared(), unshared()]).unwrap_err());
    let stopped = error.downcast::<Stopped>().unwrap();
    assert_eq!((stopped.accepted(), stopped.kind()), (0, SubmitErrorKind::Closed));
    let (error, rest) = stopped.into_parts();
    assert_eq!((error.into_task().1.get(), rest.count()), (7, 1));
}

/// D24: a refusal may be dropped on another thread than the one that was refused.
#[test]
fn d24_a_refusal_goes_to_another_thread_and_is_read_by_two() {
    let pool = Pool::new(1).unwrap();
    assert!(pool.shutdown().is_complete());
    let refusal = pool.submit(move || for _ in unshared().0 {}).unwrap_err();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                assert_eq!((refusal.kind(), format!("{refusal}").is_empty()), (SubmitErrorKind::Closed, false))
            });
        }
    });
    std::thread::spawn(move || drop(refusal)).join().unwrap();
}

/// D24: each kind has its predicate, on a refusal and on a call's error alike.
#[test]
fn d24_every_kind_has_its_question() {
    within(LIMIT, "questions", || {
        /// Which of the predicates hold.
        macro_rules! yes {
            ($error:expr) => {{
                let error = &$error;
                [
                    error.is_full(),
                    error.is_overloaded(),
                    error.is_timed_out(),
                    error.is_cancelled(),
                    error.is_closed(),
                    error.is_spawn(),
                    error.is_would_deadlock(),
                ]
            }};
        }
        let only = |number: usize| -> [bool; 7] { std::array::from_fn(|n| n == number) };
        let build = |builder: formicary::Builder<Closures>| -> Pool { builder.workers(1).build().unwrap() };

        let full = build(Pool::builder().queue(0).nonblocking(true));
        let crowded = build(Pool::builder().queue(0).max_blocking(0));
        let waits = build(Pool::builder().queue(0));
        let pauses = [&full, &crowded, &waits].map(|pool| {
            // Its end is counted before the pause: a task that still runs would make room later.
            pool.run(|| ()).unwrap();
            pool.pause()
        });
        for pool in [&full, &crowded, &waits] {
            while pool.try_submit(|| ()).is_ok() {}
        }
        assert_eq!(yes!(full.submit(|| ()).unwrap_err()), only(0));
        assert_eq!(yes!(full.run(|| ()).unwrap_err()), only(0));
        assert_eq!(yes!(crowded.submit(|| ()).unwrap_err()), only(1));
        assert_eq!(yes!(crowded.run(|| ()).unwrap_err()), only(1));

        let moment = Duration::from_millis(1);
        assert_eq!(yes!(waits.with().room_timeout(moment).submit(|| ()).unwrap_err()), only(2));
        let states = StatefulPool::new(1, |_| Ok(Takes)).unwrap();
        let pause = states.pause();
        assert_eq!(yes!(states.with().timeout(moment).run(unshared()).unwrap_err()), only(2));
        drop(pause);
        let cancelled = CancelToken::new();
        cancelled.cancel();
        assert_eq!(yes!(waits.with().token(&cancelled).submit(|| ()).unwrap_err()), only(3));
        assert_eq!(yes!(states.with().token(&cancelled).run(unshared()).unwrap_err()), only(3));
        drop(pauses);

        assert!(waits.shutdown().is_complete());
        assert_eq!(yes!(waits.submit(|| ()).unwrap_err()), only(4));
        assert_eq!(yes!(waits.run(|| ()).unwrap_err()), only(4));
        let refusing = |_| Err(std::io::Error::other("no more threads"));
        let empty = build(Pool::builder().min_workers(0).spawn_handler(refusing));
        assert_eq!(yes!(empty.submit(|| ()).unwrap_err()), only(5));
        assert_eq!(yes!(empty.run(|| ()).unwrap_err()), only(5));

        let pool = Arc::new_cyclic(|pool: &Weak<StatefulPool<Nests>>| {
            let pool = pool.clone();
            StatefulPool::builder(move |_| Ok(Nests(pool.clone()))).workers(1).min_workers(0).build().unwrap()
        });
        let (refused, failed) = pool.run(true).unwrap();
        assert_eq!(yes!(refused.unwrap()), only(6));
        assert_eq!(yes!(failed.unwrap()), only(6));
    });
}

/// Asks its own pool for a broadcast to all workers and for a call: it would wait for itself.
struct Nests(Weak<StatefulPool<Nests>>);

type Refusals = (Option<SubmitError<fn(&mut Nests)>>, Option<CallError<bool>>);

impl Worker for Nests {
    type Input = bool;
    type Output = Refusals;

    fn process(&mut self, asks: bool, _: &Context<'_>) -> Refusals {
        let pool = self.0.upgrade().unwrap();
        let order: fn(&mut Nests) = |_| ();
        if asks { (pool.broadcast(order).err(), pool.run(false).err()) } else { (None, None) }
    }
}

#[derive(Debug)]
struct Outer(std::io::Error);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("could not open it")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn outer() -> Outer {
    Outer(std::io::Error::other("no such file"))
}

/// A factory that fails once the first worker has its state, and a state that does not outlive a panic.
struct Fragile;

impl Worker for Fragile {
    type Input = bool;
    type Output = ();

    fn process(&mut self, breaks: bool, _: &Context<'_>) {
        assert!(!breaks, "a test's panic");
    }
}

fn fragile<D: Dispatch>() -> StatefulPool<Fragile, D> {
    let made = crate::support::Count::new();
    let factory = move |_| if made.up() == 1 { Ok(Fragile) } else { Err(outer().into()) };
    let pool = StatefulPool::builder(factory).workers(1).dispatch::<D>().build().unwrap();
    assert!(pool.run(true).unwrap_err().is_panic());
    pool
}

/// The texts of the chain, none of which repeats another.
fn texts(error: &dyn Error) -> Vec<String> {
    let texts = chain(error);
    for (n, text) in texts.iter().enumerate() {
        assert!(texts.iter().skip(n + 1).all(|cause| !text.contains(cause)), "twice: {texts:?}");
    }
    texts
}

fn say_once<D: Dispatch>() {
    quiet_panics();
    let cause = ["could not open it", "no such file"];
    let pool = Pool::builder().workers(1).dispatch::<D>().build().unwrap();

    let refusing = |_| Err(std::io::Error::other("no more threads"));
    let error = Pool::builder().spawn_handler(refusing).dispatch::<D>().build().unwrap_err();
    assert_eq!(texts(&error), ["no thread could be started", "no more threads"]);
    let error = StatefulPool::<Fragile>::builder(|_| Err(outer().into())).dispatch::<D>().build().unwrap_err();
    assert_eq!(texts(&error)[0], "the factory failed to create the state of worker 0");
    assert_eq!(texts(&error)[1..], cause);

    // The error answers the same on every thread.
    let no_state = "the task was cancelled: its worker's state could not be created";
    let error: JoinError = fragile::<D>().spawn(false).unwrap().join().unwrap_err();
    assert_eq!((&*texts(&error)[0], &texts(&error)[1..]), (no_state, &cause.map(String::from)[..]));
    assert!(error.source().unwrap().is::<Outer>(), "the factory's own");
    assert!(format!("{error:?}").contains("no such file"), "{error:?}");
    let refused = fragile::<D>().run(false).unwrap_err();
    assert_eq!(texts(&refused)[1..], cause);
    assert!(format!("{refused:?}").contains("no such file"), "{refused:?}");
    let CallError::Refused(refused) = refused else { panic!("the input is back: {refused:?}") };
    assert_eq!(texts(&refused)[1..], cause);
    assert!(refused.source().unwrap().is::<Outer>());

    let group = pool.group::<u8, Outer>();
    group.spawn(|_| Err(outer())).unwrap();
    let error = group.wait().unwrap_err();
    assert_eq!(texts(&error)[0], "task 0 of the group: the task failed");
    assert_eq!(texts(&error)[1..], cause);
    assert!(error.source().unwrap().is::<Outer>());
    assert_eq!(texts(&error.failure)[0], "the task failed");
    assert_eq!(texts(&error.failure)[1..], cause);
    let error = error.into_dyn();
    assert_eq!((error.index, &texts(&error)[1..]), (0, &cause.map(String::from)[..]));
    let error = anyhow::Error::from(error).downcast::<GroupError<Arc<dyn Error + Send + Sync>>>().unwrap();
    assert_eq!(texts(&error.failure)[1..], cause);
    // An error whose type does not implement `Error`.
    let group = pool.group::<u8, anyhow::Error>();
    group.spawn(|_| Err(anyhow::Error::from(outer()).context("page 7"))).unwrap();
    let all = || -> anyhow::Result<Vec<u8>> { Ok(group.wait().map_err(GroupError::into_dyn)?) };
    let error = all().unwrap_err();
    let chain: Vec<_> = error.chain().map(ToString::to_string).collect();
    assert_eq!(chain, ["task 0 of the group: the task failed", "page 7", "could not open it", "no such file"]);
    let group = pool.group::<(), Outer>();
    group.spawn(|_| panic!("a test's panic")).unwrap();
    let error = group.wait().unwrap_err();
    assert_eq!(texts(&error), ["task 0 of the group: the task panicked: a test's panic"]);
    assert!(matches!(error.into_dyn().failure, TaskFailure::Panicked(_)));

    assert!(pool.shutdown().is_complete());
    assert_eq!(texts(&pool.submit_all([|| ()]).unwrap_err()), ["the pool has been shut down after 0 accepted tasks"]);
    assert_eq!(texts(&pool.run(|| ()).unwrap_err()), ["the pool has been shut down"]);
}

/// D23: an error's text leaves its cause to `source`, so that a printed chain says each thing once; and no cause is lost.
#[test]
fn d23_a_chain_says_each_thing_once() {
    on_every_dispatch!(say_once);
}

/// D23: where an error becomes a panic's text, that text has the causes.
#[test]
fn d23_a_maps_panic_names_the_cause() {
    quiet_panics();
    let text = within(LIMIT, "a map", || {
        let pool = fragile::<Sharded>();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.map([false]).next()));
        *caught.unwrap_err().downcast::<String>().unwrap()
    });
    assert!(text.ends_with("state could not be created: could not open it: no such file"), "{text}");
}
