//! Sizes that follow the load.
//!
//! | the pool or view | controller |
//! |---|---|
//! | has too few workers at times, and too many at others | [`ByLoad`]: queue wait and utilisation |
//! | gets slower with more workers | [`HillClimb`]: throughput |
//! | calls a downstream that gets slower when it gets too much | [`GradientLimit`]: run times |
//! | something else | a [`Controller`] of the program's own |
//!
//! An [`Autoscaler`] samples the pool in each period, asks the controller, and sets the size between its minimum and its maximum. A
//! controller has neither clock nor thread, so it can be tested with a list of [samples](Sample).
//!
//! ```
//! use formicary::{Pool, autoscale::{Autoscaler, GradientLimit}};
//!
//! let pool = Pool::builder().workers(4).latencies().build()?;
//! let by_load = Autoscaler::between(2, 32).start(&pool)?;
//!
//! let database = pool.limited(4);
//! let by_latency = Autoscaler::between(1, 16).controller(GradientLimit::new()).start_on_view(&database)?;
//! assert_eq!(database.run(|| 7)?, 7);
//! # drop((by_load, by_latency));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod autoscaler;
mod by_load;
mod change;
mod control_thread;
mod controller;
mod driver;
mod gradient;
mod hill_climb;
mod target;
#[cfg(test)]
mod tests;

pub use self::autoscaler::{Autoscaler, Tuner};
pub use self::by_load::ByLoad;
pub use self::change::Change;
pub use self::controller::{Controller, Decision, Reason, Sample};
pub use self::gradient::GradientLimit;
pub use self::hill_climb::HillClimb;
pub use crate::flow::config_error::ConfigError;
