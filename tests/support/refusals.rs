//! What every verb does with a task that is not accepted.

use formicary::{Accepts, CallError, SubmitErrorKind, Task, With};

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
