#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod error;
mod job;
#[cfg(feature = "nats")]
mod nats;
mod place;
#[cfg(feature = "redis")]
mod redis;
mod runner;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;

pub use error::{BoxError, StoreError, StoreErrorKind};
pub use job::{Job, Push};
#[cfg(feature = "nats")]
pub use nats::Nats;
pub use place::{JobPool, PoolFigures};
#[cfg(feature = "redis")]
pub use redis::Redis;
pub use runner::{JobContext, Runner, Running, Stats};
#[cfg(feature = "sqlite")]
pub use sqlite::Sqlite;
pub use store::{Counts, Dead, Lease, Pushed, Reserved, Settle, Store};
