//! What a program can name, and the texts that it can see.
#![allow(deprecated)]

use std::panic::{RefUnwindSafe, UnwindSafe, catch_unwind};

use super::support::{Gate, within_limit};
use crate::subject::{Builder, ThreadPool};

type Execute = fn(&ThreadPool, fn());

/// The signatures, so that no use of one breaks.
#[test]
fn every_function_has_its_signature() {
    let _: fn(usize) -> ThreadPool = ThreadPool::new;
    let _: [fn(String, usize) -> ThreadPool; 2] = [ThreadPool::with_name, ThreadPool::new_with_name];
    let _: Execute = ThreadPool::execute::<fn()>;
    let _: [fn(&ThreadPool) -> usize; 4] =
        [ThreadPool::queued_count, ThreadPool::active_count, ThreadPool::max_count, ThreadPool::panic_count];
    let _: [fn(&mut ThreadPool, usize); 2] = [ThreadPool::set_num_threads, ThreadPool::set_threads];
    let _: fn(&ThreadPool) = ThreadPool::join;
    let _: [fn() -> Builder; 2] = [Builder::new, Builder::default];
    let _: [fn(Builder, usize) -> Builder; 2] = [Builder::num_threads, Builder::thread_stack_size];
    let _: fn(Builder, String) -> Builder = Builder::thread_name;
    let _: fn(Builder) -> ThreadPool = Builder::build;
}

#[test]
fn every_type_has_its_traits() {
    fn pool<T: Clone + Default + Eq + std::fmt::Debug + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + 'static>() {}
    fn builder<T: Clone + Default + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + 'static>() {}
    pool::<ThreadPool>();
    builder::<Builder>();
}

#[test]
fn its_types_have_their_path() {
    assert_eq!(std::any::type_name::<ThreadPool>(), "threadpool::ThreadPool");
    assert_eq!(std::any::type_name::<Builder>(), "threadpool::Builder");
}

/// Ported: `test_debug`.
#[test]
fn debug_shows_name_and_counts() {
    within_limit(|| {
        let unnamed = "ThreadPool { name: None, queued_count: 0, active_count: 0, max_count: 4 }";
        let mut pool = ThreadPool::new(4);
        assert_eq!(format!("{pool:?}"), unnamed);
        let named = ThreadPool::with_name("hello".into(), 4);
        let text = "ThreadPool { name: Some(\"hello\"), queued_count: 0, active_count: 0, max_count: 4 }";
        assert_eq!(format!("{named:?}"), text);

        pool.set_num_threads(1);
        pool.join();
        let gate = Gate::new();
        pool.execute(gate.job());
        gate.await_arrivals(1);
        let text = "ThreadPool {\n    name: None,\n    queued_count: 0,\n    active_count: 1,\n    max_count: 1,\n}";
        assert_eq!(format!("{pool:#?}"), text);
        gate.open();
    });
}

/// Ported: `test_cloned_eq`.
#[test]
fn handles_are_equal_if_the_pool_is_the_same() {
    let (a, b) = (ThreadPool::new(2), ThreadPool::new(2));
    assert_eq!(a, a.clone());
    assert_ne!(a, b);
}

#[test]
fn a_builder_can_be_used_again() {
    let builder = Builder::new().num_threads(3).thread_name("twice".into());
    let (a, b) = (builder.clone().build(), builder.build());
    assert_ne!(a, b);
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

#[test]
fn the_default_is_a_thread_for_each_processor() {
    let processors = num_cpus::get();
    assert_eq!(ThreadPool::default().max_count(), processors);
    assert_eq!(Builder::new().build().max_count(), processors);
    assert_eq!(Builder::default().build().max_count(), processors);
}

#[test]
fn deprecated_names_do_the_same() {
    let mut pool = ThreadPool::new_with_name("old".into(), 2);
    pool.set_threads(3);
    assert_eq!(
        format!("{pool:?}"),
        "ThreadPool { name: Some(\"old\"), queued_count: 0, active_count: 0, max_count: 3 }"
    );
}

/// The text of the panic in `f`.
fn panic_text(f: impl FnOnce() + UnwindSafe) -> String {
    let panic = catch_unwind(f).unwrap_err();
    panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref().cloned()).unwrap()
}

/// Ported: `test_zero_tasks_panic`.
#[test]
fn no_threads_is_a_panic() {
    let text = "assertion failed: num_threads > 0";
    assert_eq!(panic_text(|| drop(ThreadPool::new(0))), text);
    assert_eq!(panic_text(|| drop(ThreadPool::with_name("none".into(), 0))), text);
    assert_eq!(panic_text(|| drop(ThreadPool::new_with_name("none".into(), 0))), text);
    assert_eq!(panic_text(|| drop(Builder::new().num_threads(0))), text);

    let pool = ThreadPool::new(2);
    let mut same = pool.clone();
    assert_eq!(panic_text(move || same.set_num_threads(0)), "assertion failed: num_threads >= 1");
    let mut same = pool.clone();
    assert_eq!(panic_text(move || same.set_threads(0)), "assertion failed: num_threads >= 1");
    assert_eq!(pool.max_count(), 2);
}

#[test]
fn a_name_with_a_nul_byte_is_a_panic() {
    assert!(catch_unwind(|| ThreadPool::with_name("a\0b".into(), 1)).is_err());
}
