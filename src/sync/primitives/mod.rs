//! The synchronisation primitives. No other file names their crates.
//!
//! A normal build uses the real ones. A checker that schedules threads itself brings its own: loom (cfg `formicary_loom`) tries
//! every interleaving of a small model, shuttle (cfg `formicary_shuttle`) runs whole pools under random schedules. So they check
//! the code that ships, not a copy of it.

#[cfg(not(formicary_loom))]
mod cell;
#[cfg(any(formicary_loom, formicary_shuttle))]
mod checked;
#[cfg(formicary_loom)]
pub(crate) mod deque;
#[cfg(formicary_loom)]
mod loom;
#[cfg(not(any(formicary_loom, formicary_shuttle)))]
mod real;
#[cfg(formicary_shuttle)]
mod shuttle;
#[cfg(not(formicary_loom))]
mod timer;

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::Ordering;

#[cfg(formicary_loom)]
pub(crate) use self::loom::*;
#[cfg(formicary_shuttle)]
pub(crate) use self::shuttle::*;
#[cfg(not(formicary_loom))]
pub(crate) use cell::UnsafeCell;
#[cfg(any(formicary_loom, formicary_shuttle))]
pub(crate) use checked::*;
#[cfg(not(any(formicary_loom, formicary_shuttle)))]
pub(crate) use real::*;
#[cfg(not(formicary_loom))]
pub(crate) use timer::*;

/// Whether a checker schedules the threads. Every poll of a value is a step for it, so spin loops are short, and no time passes.
pub(crate) const IS_CHECKED: bool = cfg!(any(formicary_loom, formicary_shuttle));
