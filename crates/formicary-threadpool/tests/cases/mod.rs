//! What a pool must do to be a `threadpool`. Each test program says which crate is the `subject`.

mod counting;
mod ending;
mod joining;
mod panics;
pub(crate) mod support;
mod surface;
mod threads;
