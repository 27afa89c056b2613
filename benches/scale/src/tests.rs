//! The machine and the lock do what the model's statements rest on.

use std::cell::Cell;

use crate::lock::Lock;
use crate::machine::{Core, Costs, Machine, Nanos};
use crate::nested::Own;
use crate::pool::{Local, Pool};
use crate::queues::{Dispatch, Queue};
use crate::scenario::{Load, QUEUE, Scenario};

const COSTS: Costs = Costs {
    near: 25,
    far: 100,
    group: 8,
    ahead: 50,
    hold: 0,
    hit: 1,
    atomic: 5,
    pause: 10,
    sched_yield: 300,
    unpark: 1_000,
    wake: 2_500,
};

const END: Nanos = 1_000_000;

/// Runs the same program on each core to the end. Returns how often they have counted.
fn count<'m, F: Future<Output = ()> + 'm>(machine: &'m Machine, cores: usize, program: impl Fn(Core<'m>) -> F) -> u64 {
    let programs = (0..cores).map(|id| Box::pin(program(Core { machine, id })) as _);
    machine.run(programs.collect(), END);
    machine.done()
}

#[test]
fn a_line_that_no_other_core_uses_costs_no_transfer() {
    let machine = Machine::new(COSTS.uniform(1_000));
    let lines: Vec<_> = (0..4).map(|_| machine.line("own")).collect();
    let done = count(&machine, 4, |core| {
        let line = lines[core.id];
        async move {
            loop {
                core.modify(line).await;
                core.machine.count();
            }
        }
    });
    assert!(machine.waits().is_empty(), "{:?}", machine.waits());
    // Four cores, each as fast as alone.
    assert_eq!(done, 4 * (END / (COSTS.hit + COSTS.atomic)));
}

#[test]
fn a_line_that_all_cores_write_serves_one_after_the_other() {
    const TRANSFER: Nanos = 100;
    for cores in [2, 16, 64] {
        let machine = Machine::new(COSTS.uniform(TRANSFER));
        let line = machine.line("shared");
        let done = count(&machine, cores, |core| async move {
            loop {
                core.modify(line).await;
                core.machine.count();
            }
        });
        let expected = END / TRANSFER;
        assert!(done.abs_diff(expected) <= expected / 50 + 2, "{cores} cores: {done}, not {expected}");
    }
}

#[test]
fn a_core_uses_a_line_again_before_it_loses_it() {
    let costs = Costs { hold: 30, ..COSTS.uniform(100) };
    let machine = Machine::new(costs);
    let line = machine.line("shared");
    let done = count(&machine, 16, |core| async move {
        loop {
            core.modify(line).await;
            core.machine.count();
        }
    });
    // It arrives, is used, and is used again after 6, 12, 18 and 24 of 30 ns.
    let expected = 5 * END / 100;
    assert!(done.abs_diff(expected) <= expected / 50, "{done}, not {expected}");
}

#[test]
fn a_line_that_all_cores_only_read_is_transferred_once() {
    let machine = Machine::new(COSTS.uniform(100));
    let line = machine.line("read");
    machine.give(line, 0);
    count(&machine, 8, |core| async move {
        for _ in 0..1_000 {
            core.read(line).await;
        }
    });
    assert_eq!(machine.waits(), [("read", 7 * 100)]);
}

#[test]
fn a_transfer_costs_more_between_groups() {
    for (core, expected) in [(7, COSTS.near), (8, COSTS.far), (127, COSTS.far)] {
        let machine = Machine::new(COSTS);
        let line = machine.line("line");
        machine.give(line, 0);
        let machine = &machine;
        count(machine, 128, |this| async move {
            if this.id == core {
                this.write(line).await;
            }
        });
        assert_eq!(machine.waits(), [("line", expected)], "core {core}");
    }
}

/// The rate of a lock that `cores` cores take for 100 ns, as often as they can.
fn lock_rate(cores: usize, transfer: Nanos) -> f64 {
    let machine = Machine::new(COSTS.uniform(transfer));
    let (lock, inside) = (Lock::new(&machine, "lock"), Cell::new(0));
    let done = count(&machine, cores, |core| {
        let (lock, inside) = (&lock, &inside);
        async move {
            loop {
                lock.lock(core).await;
                assert_eq!(inside.replace(1), 0, "one at a time");
                core.work(100).await;
                inside.set(0);
                lock.unlock(core).await;
                core.machine.count();
                core.work(core.machine.about(400)).await;
            }
        }
    });
    done as f64 / END as f64
}

#[test]
fn a_lock_saturates() {
    let (alone, transfer) = (lock_rate(1, 50), 50);
    let most = 1.0 / (transfer + 100) as f64;
    for cores in [2, 4, 16, 64] {
        let rate = lock_rate(cores, transfer);
        assert!(rate <= most * 1.02, "{cores} cores: {rate}, at most {most}");
        assert!(rate > alone.min(most / 3.0), "{cores} cores: {rate}");
    }
    assert!(lock_rate(2, transfer) > 1.5 * alone, "two cores do not get in each other's way");
}

/// Two threads that spin on a word each, as `measure::ping_pong`.
#[test]
fn a_round_trip_of_two_spinning_cores_is_four_transfers() {
    const TRANSFER: Nanos = 1_000;
    let machine = Machine::new(COSTS.uniform(TRANSFER));
    let lines = [machine.line("there"), machine.line("back")];
    let words = [Cell::new(0), Cell::new(0)];
    let trips = count(&machine, 2, |core| {
        let (words, lines) = (&words, &lines);
        async move {
            let (mine, other) = (core.id, 1 - core.id);
            let answered = |trip| async move {
                while words[other].get() < trip {
                    core.read(lines[other]).await;
                    core.work(1).await;
                }
            };
            for trip in 1_u64.. {
                if mine == 1 {
                    answered(trip).await;
                }
                core.write(lines[mine]).await;
                words[mine].set(trip);
                if mine == 0 {
                    answered(trip).await;
                    core.machine.count();
                }
            }
        }
    });
    let trip = END as f64 / trips as f64;
    assert!((trip / TRANSFER as f64 - 4.0).abs() < 0.2, "{trip} ns");
}

fn scenario(dispatch: Dispatch, load: Load, cores: usize) -> Scenario {
    let local = Local { submit: 20, run: 20, nested: 40, fork: 20 };
    Scenario { dispatch, load, cores, task: 1_000, queue: QUEUE, is_new: false, local, costs: COSTS }
}

const ALL: [Dispatch; 4] = [Dispatch::Stack, Dispatch::Ring, Dispatch::Sharded, Dispatch::ReservedOnce];

#[test]
fn no_load_is_faster_than_its_workers_and_few_cores_are_nearly_as_fast() {
    for dispatch in ALL {
        for (load, workers) in [
            (Load::Outside { submitters: 1 }, 3),
            (Load::Outside { submitters: 2 }, 2),
            (Load::Nested, 4),
            (Load::Forks { leaves: 512 }, 4),
        ] {
            let per_second = scenario(dispatch, load, 4).run().per_second;
            let most = workers as f64 * 1e6;
            assert!(per_second < most * 1.01, "{dispatch:?}, {load:?}: {per_second}");
            assert!(per_second > most * 0.7, "{dispatch:?}, {load:?}: {per_second}");
        }
    }
}

#[test]
fn where_transfers_cost_nothing_tasks_that_end_need_no_longer_on_two_cores() {
    for dispatch in ALL {
        for load in [Load::SubmitOnly, Load::DrainOnly] {
            let run = |cores| Scenario { task: 0, costs: COSTS.uniform(0), ..scenario(dispatch, load, cores) }.run();
            let ratio = run(2).per_second / run(1).per_second;
            assert!(ratio > 0.4, "{dispatch:?}, {load:?}: {ratio}");
        }
    }
}

#[test]
fn tasks_that_submit_one_use_lines_of_their_own_workers() {
    let run =
        |cores, is_new| Scenario { task: 0, is_new, ..scenario(Dispatch::Stack, Load::Nested, cores) }.run().per_second;
    let alone = run(1, false);
    for cores in [2, 8, 64] {
        let times = run(cores, false) / alone;
        assert!(times < cores as f64 * 1.05, "{cores} cores: {times} times as fast as one");
        assert!(times > cores as f64 * 0.4, "{cores} cores: {times} times as fast as one");
    }
    assert!(run(64, true) < run(64, false) / 3.0, "to count what runs takes the locks of all lists");
}

/// From the first push of a burst, which has a task for each worker, until the last task begins. The workers were asleep.
fn burst(dispatch: Dispatch, workers: usize) -> Nanos {
    let machine = Machine::new(COSTS);
    let queue = Queue::new(&machine, dispatch, workers + 1, workers, QUEUE);
    let own = Own::new(&machine, workers, false);
    let pool = Pool::new(&machine, queue, own, workers + 1, 1, (Local::default(), END, false));
    let time = Cell::new(END);
    count(&machine, workers + 1, |core| {
        let (pool, time) = (&pool, &time);
        async move {
            if core.id < workers {
                return pool.work(core).await;
            }
            core.work(END / 4).await;
            let start = core.machine.now();
            for _ in 0..workers {
                pool.submit(core).await;
            }
            while pool.queue.has_work(core).await {
                core.work(100).await;
            }
            time.set(core.machine.now() - start);
        }
    });
    time.into_inner()
}

#[test]
fn each_push_of_a_burst_wakes_a_worker() {
    const WORKERS: usize = 63;
    for dispatch in ALL {
        let time = burst(dispatch, WORKERS);
        // If each worker woke the next.
        let one_by_one = WORKERS as Nanos * (COSTS.unpark + COSTS.wake);
        assert!(time < one_by_one * 2 / 3, "{dispatch:?}: {time} ns, one by one {one_by_one}");
    }
}

#[test]
fn a_list_is_shared_out_by_thefts() {
    const TASKS: u64 = 400;
    let machine = Machine::new(COSTS);
    let own = Own::new(&machine, 4, false);
    let runs = [const { Cell::new(0) }; 4];
    let done = count(&machine, 4, |core| {
        let (own, runs) = (&own, &runs);
        async move {
            for _ in 0..if core.id == 0 { TASKS } else { 0 } {
                own.push_nested(core).await;
            }
            core.work(100_000 - core.machine.now()).await;
            while own.pop_own(core).await || own.steal_nested(core).await.is_some() {
                core.work(1_000).await;
                own.finished(core).await;
                runs[core.id].set(runs[core.id].get() + 1);
                core.machine.count();
            }
        }
    });
    assert_eq!(done, TASKS, "no task is lost, and none runs twice");
    let runs = runs.map(Cell::into_inner);
    assert!(runs.iter().all(|runs| *runs >= TASKS / 8), "{runs:?}");
}
