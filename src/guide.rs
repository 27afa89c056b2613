//! The examples of the guide (`docs/guide.md`), tested with the rest.

#[cfg(doctest)]
#[doc = include_str!("../docs/guide.md")]
mod entry {}

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/choosing.md")]
mod choosing {}

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/sizing.md")]
mod sizing {}

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/back-pressure.md")]
mod back_pressure {}

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/results.md")]
mod results {}

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/cancelling.md")]
mod cancelling {}

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/state.md")]
mod state {}

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/shutdown.md")]
mod shutdown {}

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/observing.md")]
mod observing {}

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/flow-control.md")]
mod flow_control {}

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/testing.md")]
mod testing {}

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/past-one-process.md")]
mod past_one_process {}

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/operations.md")]
mod operations {}
