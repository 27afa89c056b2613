//! What the examples of the documentation have in common, as hidden lines that each of them begins with.

/// `Square`, the worker of the examples of [`StatefulPool`](crate::StatefulPool): `#[doc = square!()]` after the opening fence. For an
/// example that awaits, `square!(async)`, and `square!(end)` before the closing fence.
macro_rules! square {
    () => {
        "# use formicary::{Context, StatefulPool, Worker};
# struct Square;
# impl Worker for Square {
#     type Input = u64;
#     type Output = u64;
#     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { n * n }
# }"
    };
    (async) => {
        concat!(square!(), "\n# tokio::runtime::Builder::new_current_thread().build()?.block_on(async {")
    };
    (end) => {
        "# Ok::<(), Box<dyn std::error::Error>>(())
# })?;
# Ok::<(), Box<dyn std::error::Error>>(())"
    };
}
pub(crate) use square;
