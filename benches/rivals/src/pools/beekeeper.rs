//! `beekeeper`: a hive on its channel queues; closures are `Thunk`s for a `PunkWorker`, which catches panics. Every
//! task has an outcome, which must be sent or stored: here they pile up in a channel without a reader. An idle
//! worker polls its queue ten times a second (`recv_timeout`). `close` waits for the tasks.

use std::fmt;
use std::sync::Mutex;

use beekeeper::bee::prelude::*;
use beekeeper::bee::stock::{PunkWorker, Thunk};
use beekeeper::bee::{Context, DefaultQueen};
use beekeeper::hive::{
    Builder, ChannelBuilder, ChannelTaskQueues, Hive, OutcomeReceiver, OutcomeSender, TaskQueuesBuilder,
    outcome_channel,
};

use super::{Bound, Closures, Function, Machine, Plan};

type HiveOf<W> = Hive<DefaultQueen<W>, ChannelTaskQueues<W>>;

pub struct Sending<W: Worker + Default + Send + Sync> {
    hive: HiveOf<W>,
    outcomes: OutcomeSender<W>,
    piled_up: Mutex<OutcomeReceiver<W>>,
}

impl<W: Worker + Default + Send + Sync> Sending<W> {
    fn start(plan: &Plan) -> Self {
        let hive = ChannelBuilder::empty().num_threads(plan.workers).with_worker_default::<W>().build();
        let (outcomes, receiver) = outcome_channel();
        Sending { hive, outcomes, piled_up: Mutex::new(receiver) }
    }

    fn send(&self, input: W::Input) {
        self.hive.apply_send(input, &self.outcomes);
    }

    fn close(self) {
        self.hive.close(false);
        drop(self.piled_up);
    }
}

pub struct Beekeeper(Sending<PunkWorker<()>>);

impl Closures for Beekeeper {
    fn name() -> String {
        "beekeeper".into()
    }

    fn build(plan: &Plan) -> Self {
        Beekeeper(Sending::start(plan))
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.0.send(Thunk::from(task));
    }

    fn end(self) {
        self.0.close();
    }
}

#[derive(Default)]
pub struct State<M>(M);

impl<M> fmt::Debug for State<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

impl<M: Machine + Send + Sync> Worker for State<M> {
    type Input = u64;
    type Output = u64;
    type Error = ();

    fn apply(&mut self, n: u64, _cx: &Context<u64>) -> WorkerResult<Self> {
        Ok(self.0.step(n))
    }
}

impl Function for Beekeeper {
    type Of<M: Machine> = Sending<State<M>>;
}

impl<M: Machine> Bound<M> for Sending<State<M>> {
    fn build(plan: &Plan) -> Self {
        Sending::start(plan)
    }

    fn invoke(&self, n: u64) {
        self.send(n);
    }

    fn end(self) {
        self.close();
    }
}
