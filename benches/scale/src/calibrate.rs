//! What the model takes from measurement: the cost of a transfer, and what a core computes for itself.
//! What it says about two cores is compared with measurement; the constants below were chosen with that comparison in view.

use crate::machine::{Costs, Nanos};
use crate::measure::{self, Figures};
use crate::pool::Local;
use crate::queues::Dispatch;
use crate::scenario::{Load, QUEUE, Scenario};

pub const DISPATCHES: [Dispatch; 3] = [Dispatch::Stack, Dispatch::Ring, Dispatch::Sharded];

/// A transfer between two cores of a group, and between two groups: what a quarter of a round trip is on the machine of
/// `docs/benchmarks.md` in its two states.
const NEAR: Nanos = 25;
const FAR: Nanos = 100;
/// What is left of a transfer that begins ahead of its use, in percent.
const AHEAD: u64 = 10;
/// For which part of a transfer a line stays where it is, in percent. An assumption: from 0
/// to 50, some rows of two cores fit better and others worse.
const HOLD: u64 = 10;
/// The cores that share a cache.
const GROUP: usize = 8;
/// A wake-up: half of a round trip of two threads that park (`docs/benchmarks.md`), of which the waker pays a part.
const UNPARK: Nanos = 1_000;
const WAKE: Nanos = 2_500;

/// What was measured on one machine.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// A round trip of two threads that spin: four transfers.
    pub ping_pong: f64,
    /// `spin_loop`, `yield_now`, and an atomic increment.
    pub instructions: [f64; 3],
    /// By dispatch, in the order of [`DISPATCHES`].
    pub figures: [Figures; 3],
}

impl Measured {
    pub fn now(runs: usize) -> Self {
        let before = measure::ping_pong();
        let figures = [
            measure::figures::<formicary::Stack>(runs),
            measure::figures::<formicary::Ring>(runs),
            measure::figures::<formicary::Sharded>(runs),
        ];
        Measured { ping_pong: before.min(measure::ping_pong()), instructions: measure::instructions(), figures }
    }
}

/// The model, as measurement has set it.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub costs: Costs,
    /// By dispatch.
    pub locals: [Local; 3],
}

fn whole(nanos: f64) -> Nanos {
    nanos.round().max(0.0) as Nanos
}

impl Model {
    pub fn of(measured: &Measured) -> Self {
        let [pause, sched_yield, atomic] = measured.instructions.map(whole);
        let costs = Costs {
            near: whole(measured.ping_pong / 4.0),
            far: FAR,
            group: GROUP,
            ahead: AHEAD,
            hold: HOLD,
            hit: 1,
            atomic,
            pause,
            sched_yield,
            unpark: UNPARK,
            wake: WAKE,
        };
        let mut model = Model { costs, locals: [Local::default(); 3] };
        for (index, dispatch) in DISPATCHES.into_iter().enumerate() {
            model.locals[index] = model.local(dispatch, &measured.figures[index]);
        }
        model
    }

    /// The same where transfers within a group take as long as on the machine of `docs/benchmarks.md`.
    pub fn extrapolated(mut self) -> Self {
        self.costs.near = NEAR;
        self
    }

    /// What is left of the measured times of one core when the accesses of the model are taken off.
    fn local(&self, dispatch: Dispatch, figures: &Figures) -> Local {
        let mut local = Local::default();
        let nanos = |local, load| Scenario { local, ..self.scenario(dispatch, load, 1) }.run().nanos();
        local.submit = whole(figures.submit_1 - nanos(local, Load::SubmitOnly));
        local.run = whole(figures.outside_1 - nanos(local, Load::Outside { submitters: 1 }));
        local.nested = whole(figures.nested_1 - nanos(local, Load::Nested));
        local.fork = whole(figures.forks_1 - nanos(local, Load::Forks { leaves: measure::LEAVES }));
        local
    }

    /// A scenario with tiny tasks and the pool's defaults.
    pub fn scenario(&self, dispatch: Dispatch, load: Load, cores: usize) -> Scenario {
        let index = match dispatch {
            Dispatch::Stack => 0,
            Dispatch::Ring | Dispatch::PatientRing => 1,
            Dispatch::Sharded | Dispatch::OneTurn | Dispatch::ShardedByThread | Dispatch::ReservedOnce => 2,
        };
        Scenario {
            dispatch,
            load,
            cores,
            task: 0,
            queue: QUEUE,
            is_new: false,
            local: self.locals[index],
            costs: self.costs,
        }
    }
}
