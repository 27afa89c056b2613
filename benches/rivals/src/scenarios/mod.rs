//! The scenarios: one file per kind of question.

pub mod burst;
pub mod fork_join;
pub mod function;
pub mod kernels;
pub mod lifecycle;
pub mod list;
pub mod memory;
pub mod one_long;
pub mod open_loop;
pub mod roundtrip;
pub mod server;
pub mod target;
pub mod tenants;
pub mod tiny;
pub mod tree;
pub mod waiting;
pub mod walk;
pub mod warm;
pub mod work10us;

pub use crate::measure::Row;
pub use list::{Direction, SCENARIOS, Scenario};

use crate::floors::Floor;
use crate::pools::{Class, Closures, Entry, Forks, Function};

/// A scenario to be measured at a scale.
#[derive(Clone, Copy)]
pub struct Ask {
    pub scenario: &'static str,
    pub scale: f64,
}

impl Ask {
    /// A count at this scale, and at least `least`.
    pub fn count(self, full: u64, least: u64) -> u64 {
        ((full as f64 * self.scale).round() as u64).max(least)
    }
}

/// Which interface a scenario uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Closures,
    /// A call that is waited for: of the bound function or the state of our pools that have one, of a closure otherwise.
    Call,
    Bound,
    /// Submitting many at once, which only our pools can: payloads, or closures if there is no bound function.
    Batches,
    /// Forking and joining.
    Forks,
}

/// Measures a scenario of closures.
pub fn of_closures<C: Closures>(ask: Ask) -> Row {
    match ask.scenario {
        "tiny_1p" => tiny::tiny::<C>(ask, 1),
        "tiny_4p" => tiny::tiny::<C>(ask, 4),
        "producers" => tiny::producers::<C>(ask),
        "batch" => function::batch_of_closures::<C>(ask),
        "tree" => tree::tree::<C>(ask),
        "walk" => walk::walk::<C>(ask),
        "server" => server::server::<C>(ask),
        "roundtrip" => roundtrip::of_closures::<C>(ask, false),
        "roundtrip_idle" => roundtrip::of_closures::<C>(ask, true),
        "work10us" => work10us::work::<C>(ask, work10us::WORKERS as usize),
        "work10us_1024" => work10us::work::<C>(ask, 1024),
        "burst" => burst::burst::<C>(ask),
        "open_loop" => open_loop::open_loop::<C>(ask),
        "tenants" => tenants::tenants::<C>(ask),
        "one_long" => one_long::one_long::<C>(ask),
        "sleep" => waiting::sleep::<C>(ask),
        "pending_memory" => memory::pending::<C>(ask),
        "idle_memory" => memory::idle::<C>(ask),
        "idle_cpu" => waiting::idle_cpu::<C>(ask),
        "construct" => lifecycle::construct::<C>(ask),
        "panic" => lifecycle::panic::<C>(ask),
        other => unreachable!("{other} is no scenario of closures"),
    }
}

/// Measures a scenario of a bound function.
pub fn of_function<F: Function>(ask: Ask) -> Row {
    match ask.scenario {
        "tiny_func_1p" => function::one_by_one::<F::Of<function::Count>>(ask),
        "batch" => function::batch::<F::Of<function::Count>>(ask),
        "roundtrip" => roundtrip::of_function::<F::Of<roundtrip::Next>>(ask, false),
        "roundtrip_idle" => roundtrip::of_function::<F::Of<roundtrip::Next>>(ask, true),
        "pending_payload" => memory::pending_payload::<F::Of<memory::Gated>>(ask),
        "warm_state" => warm::warm::<F::Of<warm::Matcher>>(ask),
        other => unreachable!("{other} is no scenario of a bound function"),
    }
}

/// Measures a scenario of forks.
pub fn of_forks<F: Forks>(ask: Ask) -> Row {
    match ask.scenario {
        "join" => fork_join::fib::<F>(ask, 27, 12),
        "join_uncut" => fork_join::fib::<F>(ask, 20, 2),
        "scope" => fork_join::fib_by_scopes::<F>(ask, 18),
        "quicksort" => kernels::quicksort::<F>(ask),
        "matmul" => kernels::matmul::<F>(ask),
        other => unreachable!("{other} is no scenario of forks"),
    }
}

/// A future row of a scenario's table: a contestant or a floor.
pub struct Line {
    pub name: String,
    pub class: Class,
    /// How to measure it, or why it cannot be.
    pub run: Result<fn(Ask) -> Row, &'static str>,
}

/// Every contestant of a scenario, or why it is not measured.
pub fn lines(scenario: &Scenario, contestants: &[Entry]) -> Vec<Line> {
    let mut lines = Vec::new();
    let here = |entry: &&Entry| entry.only.is_none_or(|only| only == scenario.name);
    for entry in contestants.iter().filter(here) {
        let ours = entry.class == Class::Ours;
        let run = match (scenario.needs, entry.bound) {
            (Needs::Closures, _) | (Needs::Call, None) => Ok(entry.closures),
            (Needs::Call, Some(bound)) => Ok(if ours { bound } else { entry.closures }),
            (Needs::Bound, Some(bound)) => Ok(bound),
            (Needs::Batches, bound) if ours => Ok(bound.unwrap_or(entry.closures)),
            (Needs::Forks, _) => entry.forks.ok_or("does not fork"),
            (Needs::Bound, None) => Err("no bound function"),
            (Needs::Batches, _) => Err("takes no batches"),
        };
        let run = (entry.cannot)(scenario.name).map_or(run, Err);
        lines.push(Line { name: entry.name.clone(), class: entry.class, run });
    }
    let floors: &[Floor] = scenario.floors;
    lines.extend(floors.iter().map(|&(name, run)| Line { name: name.into(), class: Class::Floor, run: Ok(run) }));
    lines
}
