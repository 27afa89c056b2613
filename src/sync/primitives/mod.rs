//! The synchronisation primitives, and the one place that names them.
//!
//! A normal build has the real ones. A checker that schedules the threads itself brings its own: loom (cfg `formicary_loom`) tries
//! every order of events in a small model, shuttle (cfg `formicary_shuttle`) runs whole pools in orders drawn at random. So
//! what is checked is the code that ships and not a copy of it.

#[cfg(not(formicary_loom))]
mod cell;
#[cfg(any(formicary_loom, formicary_shuttle))]
mod checked;
#[cfg(formicary_loom)]
mod loom;
#[cfg(not(any(formicary_loom, formicary_shuttle)))]
mod real;
#[cfg(formicary_shuttle)]
mod shuttle;

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

/// Whether a checker schedules the threads. It counts each look at a value as a step, so few are made, and no time passes.
pub(crate) const IS_CHECKED: bool = cfg!(any(formicary_loom, formicary_shuttle));
