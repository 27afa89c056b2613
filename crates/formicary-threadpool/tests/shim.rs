//! The cases, on this crate. `original.rs` runs the same cases on the crate that this one stands in for.

mod cases;

use threadpool as subject;
