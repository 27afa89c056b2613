//! The tables of `docs/scale.md`.

use crate::calibrate::{DISPATCHES, Measured, Model};
use crate::machine::{Costs, Nanos};
use crate::measure;
use crate::queues::Dispatch;
use crate::scenario::{Load, Outcome, QUEUE, Scenario};

const CORES: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
const TASKS: [(&str, Nanos); 3] = [("tiny", 0), ("1 µs", 1_000), ("10 µs", 10_000)];
const FORKS: Load = Load::Forks { leaves: measure::LEAVES };
/// Waits that are no contention: for work, or for room.
const IDLE: [&str; 4] = ["search", "sleep", "room", "next tree"];

fn row(name: &str, figures: impl IntoIterator<Item = String>) {
    println!("| {name} | {} |", figures.into_iter().collect::<Vec<_>>().join(" | "));
}

fn header(title: &str, first: &str, columns: &[String]) {
    println!("\n## {title}\n");
    row(first, columns.iter().cloned());
    println!("|---|{}", "---|".repeat(columns.len()));
}

/// Millions of tasks per second.
fn millions(outcome: &Outcome) -> String {
    let millions = outcome.per_second / 1e6;
    if millions < 9.95 { format!("{millions:.2}") } else { format!("{millions:.1}") }
}

type LoadOf = fn(usize) -> Load;

/// One submitter, or as many as workers.
fn one(_cores: usize) -> Load {
    Load::Outside { submitters: 1 }
}

fn as_many(cores: usize) -> Load {
    Load::Outside { submitters: (cores / 2).max(1) }
}

/// The model against measurement, in nanoseconds per task.
pub fn check(model: &Model, measured: &Measured) {
    let columns = ["measured", "model", "what the model's cores wait for"].map(str::to_owned);
    header("Check, ns per task", "two cores", &columns);
    for (index, dispatch) in DISPATCHES.into_iter().enumerate() {
        let figures = &measured.figures[index];
        let rows = [
            ("one submitter, one worker", Load::Outside { submitters: 1 }, figures.outside_2),
            ("two submitters, workers held up", Load::SubmitOnly, figures.submit_2),
            ("two workers, full queue", Load::DrainOnly, figures.drain_2),
            ("tasks that submit one", Load::Nested, figures.nested_2),
            ("forks", FORKS, figures.forks_2),
        ];
        for (name, load, measured) in rows {
            let outcome = model.scenario(dispatch, load, 2).run();
            let waits = format!("{}; idle {}", longest_waits(&outcome), idle(&outcome));
            row(&format!("{dispatch:?}, {name}"), [format!("{measured:.0}"), format!("{:.0}", outcome.nanos()), waits]);
        }
    }
}

fn each_core(name: &str, scenario: impl Fn(usize) -> Scenario) {
    row(name, CORES.map(|cores| millions(&scenario(cores).run())));
}

/// Tasks per second by cores, for every load.
pub fn scale(model: &Model) {
    let columns = CORES.map(|cores| cores.to_string());
    let loads: [(&str, LoadOf, &[Dispatch]); 4] = [
        ("One submitter, millions of tasks per second", one, &DISPATCHES),
        ("As many submitters as workers", as_many, &DISPATCHES),
        ("Tasks that submit one each", |_| Load::Nested, &DISPATCHES[..1]),
        ("Forks, millions of leaves per second", |_| FORKS, &DISPATCHES),
    ];
    for (title, load, dispatches) in loads {
        header(title, "task, dispatch", &columns);
        for (name, task) in TASKS {
            for dispatch in dispatches {
                let scenario = |cores| Scenario { task, ..model.scenario(*dispatch, load(cores), cores) };
                each_core(&format!("{name}, {dispatch:?}"), scenario);
            }
        }
    }
}

fn longest_waits(outcome: &Outcome) -> String {
    let waits = outcome.waits.iter().filter(|(name, _)| !IDLE.contains(name)).take(4);
    waits.map(|(name, part)| format!("{name} {:.0} %", part * 100.0)).collect::<Vec<_>>().join(", ")
}

fn idle(outcome: &Outcome) -> String {
    let idle = outcome.waits.iter().filter(|(name, _)| IDLE.contains(name)).fold(0.0, |sum, (_, part)| sum + part);
    format!("{:.0} %", idle * 100.0)
}

/// What 64 cores wait for.
pub fn bottlenecks(model: &Model) {
    let columns = ["what the cores wait for", "searching, asleep, or without room"].map(str::to_owned);
    header("64 cores", "load, dispatch", &columns);
    let loads: [(&str, Load); 4] =
        [("one submitter", one(64)), ("as many", as_many(64)), ("nested", Load::Nested), ("forks", FORKS)];
    for (name, load) in loads {
        for (size, task) in &TASKS[..2] {
            let dispatches = if load == Load::Nested { &DISPATCHES[..1] } else { &DISPATCHES[..] };
            for dispatch in dispatches {
                let outcome = Scenario { task: *task, ..model.scenario(*dispatch, load, 64) }.run();
                row(&format!("{name}, {size}, {dispatch:?}"), [longest_waits(&outcome), idle(&outcome)]);
            }
        }
    }
}

/// 64 cores, if a transfer between groups takes longer or shorter, and if lines stay longer or shorter.
pub fn costs(model: &Model) {
    let all = [25, 50, 100, 200, 400].map(|far| (far, model.costs.hold));
    let all = all.into_iter().chain([0, 10, 25, 50].map(|hold| (model.costs.far, hold)));
    let all: Vec<_> = all.map(|(far, hold)| Costs { far, hold, ..model.costs }).collect();
    let columns: Vec<_> = all.iter().map(|costs| format!("{} ns, {} %", costs.far, costs.hold)).collect();
    header("64 cores, tiny tasks, by the costs", "load, dispatch", &columns);
    let loads = [("one submitter", one(64)), ("as many", as_many(64)), ("nested", Load::Nested), ("forks", FORKS)];
    for (name, load) in loads {
        let dispatches = if load == Load::Nested { &DISPATCHES[..1] } else { &DISPATCHES[..] };
        for dispatch in dispatches {
            let scenario = model.scenario(*dispatch, load, 64);
            let figures = all.iter().map(|costs| millions(&Scenario { costs: *costs, ..scenario }.run()));
            row(&format!("{name}, {dispatch:?}"), figures);
        }
    }
}

/// Options that exist, and changes of the code that the model can make.
pub fn changes(model: &Model) {
    header("Changes, millions of tasks per second", "load, dispatch", &CORES.map(|cores| cores.to_string()));
    use Dispatch::{OneTurn, PatientRing, ReservedOnce, Ring, Sharded, ShardedByThread, Stack};
    for dispatch in [Ring, PatientRing] {
        each_core(&format!("one submitter, {dispatch:?}"), |cores| model.scenario(dispatch, one(cores), cores));
    }
    for (name, task) in TASKS {
        for dispatch in [Stack, Ring, PatientRing, OneTurn, Sharded, ShardedByThread, ReservedOnce] {
            let scenario = |cores| Scenario { task, ..model.scenario(dispatch, as_many(cores), cores) };
            each_core(&format!("as many submitters, {name}, {dispatch:?}"), scenario);
            if task == 0 {
                let longer = |cores| Scenario { queue: 16 * QUEUE, ..scenario(cores) };
                each_core(&format!("as many submitters, queue of {}, {dispatch:?}", 16 * QUEUE), longer);
            }
        }
    }
    for dispatch in [Stack, Ring, Sharded, ShardedByThread, ReservedOnce] {
        each_core(&format!("three submitters for each worker, 10 µs, {dispatch:?}"), |cores| Scenario {
            task: 10_000,
            ..model.scenario(dispatch, Load::Outside { submitters: (cores * 3 / 4).max(1) }, cores)
        });
    }
    for (load, name) in [(Load::Nested, "nested"), (FORKS, "forks")] {
        for (size, task) in TASKS {
            for (is_new, how) in [(true, ", new pool"), (false, "")] {
                each_core(&format!("{name}, {size}{how}"), |cores| Scenario {
                    task,
                    is_new,
                    ..model.scenario(Dispatch::Stack, load, cores)
                });
            }
        }
    }
}
