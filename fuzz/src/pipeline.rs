//! The target `pipeline`: items through stages against the same stages without a pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use formicary::{OnError, Pipeline, PipelineError, Pool, Ring, Sharded, Stack};

use super::Sequence;
use super::job::panics;
use super::keys::Keyed;

#[derive(Arbitrary, Debug)]
pub(crate) struct Plan {
    /// Beside the dispatch, how many results the last stage collects; 0 is no such stage.
    dispatch: u8,
    workers: u8,
    queue: u8,
    items: u8,
    /// At which item the source panics, if there is one of that number.
    source_panics: u8,
    /// After how many results the rest is dropped.
    take: u8,
    cancels_at_once: bool,
    stages: Sequence<StagePlan>,
}

#[derive(Arbitrary, Debug)]
struct StagePlan {
    buffer: u8,
    /// The limit of a view in its low bits; 0 is the pool itself. Where the highest is set, the stage is unordered.
    view: u8,
    /// Which items fail: the one of this number. In its lowest bit, whether it panics.
    fails: u8,
}

impl StagePlan {
    fn is_ordered(&self) -> bool {
        self.view >> 7 == 0
    }

    /// What the stage makes of an item: the next number, or a failure.
    fn process(&self, n: u32) -> Result<u32, String> {
        if n % 256 != u32::from(self.fails) {
            return Ok(n + 256);
        }
        if self.fails % 2 == 1 {
            panics();
        }
        Err("it fails".into())
    }
}

type Results = Box<dyn Iterator<Item = Result<Vec<u32>, PipelineError>>>;

/// The most stages of a plan.
const STAGES: usize = 5;

pub(crate) fn drive(plan: &Plan) {
    match plan.dispatch % 3 {
        0 => drive_on::<Stack>(plan),
        1 => drive_on::<Ring>(plan),
        _ => drive_on::<Sharded>(plan),
    }
}

fn drive_on<D: Keyed>(plan: &Plan) {
    let (workers, queue) = (1 + usize::from(plan.workers % 4), usize::from(plan.queue % 5));
    let pool = Pool::builder().workers(workers).queue(queue).dispatch::<D>().build().expect("a good shape");
    let views: Vec<_> = (1..4).map(|limit| pool.limited(limit)).collect();
    let living = Arc::new(());
    let (count, source_panics) = (u32::from(plan.items), u32::from(plan.source_panics));
    let held = Arc::clone(&living);
    let items = (0..count).inspect(move |n| {
        let _ = &held;
        if *n == source_panics {
            panics();
        }
    });
    let on_error = if plan.cancels_at_once { OnError::Cancel } else { OnError::Drain };
    let mut pipeline = Pipeline::from(items).on_error(on_error);
    let stages: Vec<_> = plan.stages.0.iter().take(STAGES).collect();
    for stage in &stages {
        let copy = StagePlan { ..**stage };
        let held = Arc::clone(&living);
        let f = move |n| {
            let _ = &held;
            copy.process(n)
        };
        pipeline = match usize::from(stage.view % 4) {
            0 => pipeline.try_stage(&pool, f),
            limit => pipeline.try_stage(&views[limit - 1], f),
        };
        pipeline = pipeline.buffer(1 + usize::from(stage.buffer % 8));
        pipeline = if stage.is_ordered() { pipeline.ordered() } else { pipeline.unordered() };
    }
    // The same without a pool: the results before the first failure.
    let result = |n: u32| {
        let all = || stages.iter().try_fold(n, |n, stage| stage.process(n));
        if n == source_panics { None } else { catch_unwind(AssertUnwindSafe(all)).ok()?.ok() }
    };
    let model: Vec<_> = (0..count).map(result).collect();
    let good: Vec<_> = model.iter().map_while(|result| *result).collect();
    let is_ordered = stages.iter().all(|stage| stage.is_ordered());
    let mut results: Results = match usize::from(plan.dispatch / 3 % 8) {
        0 => Box::new(pipeline.into_iter().map(|result| result.map(|n| vec![n]))),
        max => {
            Box::new(pipeline.batch(max, [Duration::ZERO, Duration::MAX][max % 2]).into_iter().inspect(move |batch| {
                assert!(batch.as_ref().is_ok_and(|batch| (1..=max).contains(&batch.len())) || batch.is_err());
            }))
        }
    };
    let mut taken = Vec::new();
    let mut failure = None;
    for _ in 0..=u32::from(plan.take) {
        match results.next() {
            Some(Ok(batch)) => taken.extend(batch),
            Some(Err(error)) => {
                assert!(failure.replace(error).is_none(), "two failures");
                assert!(results.next().is_none(), "a result after the failure");
            }
            None => break,
        }
    }
    let was_all_taken = results.next().is_none();
    drop(results);
    if is_ordered {
        assert!(good.starts_with(&taken), "{taken:?} of {good:?}");
        assert!(plan.cancels_at_once || failure.is_none() || taken == good, "{taken:?} before the failure of {good:?}");
    } else {
        let mut left: Vec<_> = model.iter().flatten().copied().collect();
        for n in &taken {
            let at = left.iter().position(|other| other == n).expect("a result of the model, once");
            left.remove(at);
        }
    }
    if was_all_taken {
        assert_eq!(failure.is_some(), model.contains(&None), "a failure if there is one in the model");
        assert!(failure.is_some() || taken.len() == good.len(), "results are missing");
    }
    assert!(pool.wait_idle());
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled + stats.returned, "{stats:?}");
    drop(views);
    drop(pool);
    super::eventually(|| Arc::strong_count(&living) == 1);
}
