//! Checks that go through all verbs.

use std::time::{Duration, Instant};

use formicary::{Accepts, CallError, CancelToken, Context, SubmitErrorKind, Task, With};

use super::Count;
use super::waking::block_on;

/// Each waiting verb refuses with these options, for this reason. Runs one of the tasks that come back, which counts.
pub fn assert_each_verb_refuses<P>(options: &With<'_, P>, kind: SubmitErrorKind, never: &Count)
where
    P: Accepts<Task, Output = ()>,
{
    assert_eq!(options.submit(never.task()).unwrap_err().kind(), kind);
    assert_eq!(options.spawn(never.task()).unwrap_err().kind(), kind);
    let Err(CallError::Refused(refusal)) = options.run(never.task()) else { panic!("it is refused") };
    assert_eq!(refusal.kind(), kind);
    assert_eq!(block_on(options.submit_async(never.task())).unwrap_err().kind(), kind);
    assert_eq!(block_on(options.spawn_async(never.task())).unwrap_err().kind(), kind);
    let Err(CallError::Refused(refusal)) = block_on(options.run_async(never.task())) else { panic!("it is refused") };
    assert_eq!(refusal.kind(), kind);
    refusal.into_task().run();
}

/// Submits a task by each verb, eleven in all, to something that has room for two and is not closed.
pub fn each_verb<P>(with: &With<'_, P>, task: impl Fn() -> Task, wait_idle: impl Fn() -> bool)
where
    P: Accepts<Task, Output = ()>,
{
    with.submit(task()).unwrap();
    block_on(with.submit_async(task())).unwrap();
    assert_eq!(with.submit_all([task(), task()]).unwrap(), 2);
    with.spawn(task()).unwrap().join().unwrap();
    block_on(block_on(with.spawn_async(task())).unwrap()).unwrap();
    with.run(task()).unwrap();
    block_on(with.run_async(task())).unwrap();
    assert!(wait_idle());
    with.try_submit(task()).unwrap();
    with.try_spawn(task()).unwrap().join().unwrap();
    assert!(wait_idle());
    with.try_run(task()).unwrap();
    assert!(wait_idle());
}

/// Submits a task by each verb with each combination of options, to something that has room for two and is not closed. Each task checks
/// what it learns of its options. Returns the number of tasks.
pub fn each_verb_with_each_option<P>(without: &With<'_, P>, wait_idle: impl Fn() -> bool) -> u64
where
    P: Accepts<Task, Output = ()>,
{
    const LONG: Duration = Duration::from_secs(30);
    let token = CancelToken::new();
    for bits in 0..32_u32 {
        let mut with = without.clone();
        if bits & 1 != 0 {
            with = with.token(&token);
        }
        if bits & 2 != 0 {
            with = with.deadline(Instant::now() + LONG);
        }
        if bits & 4 != 0 {
            with = with.timeout(LONG);
        }
        if bits & 8 != 0 {
            with = with.room_timeout(LONG);
        }
        if bits & 16 != 0 {
            with = with.name("resize");
        }
        let ran = Count::new();
        let check = || {
            let ran = ran.clone();
            Task::new(move || {
                let (name, deadline) = Context::with(|cx| (cx.name().map(str::to_owned), cx.deadline())).unwrap();
                assert_eq!((name.is_some(), deadline.is_some()), (bits & 16 != 0, bits & 6 != 0), "{bits}");
                ran.up();
            })
        };
        each_verb(&with, check, &wait_idle);
        assert_eq!(ran.get(), 11, "{bits}");
    }
    32 * 11
}
