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

/// `inputs`, which makes a stream of an iterator, and `collect`, which collects the values of a stream of results.
#[cfg(feature = "stream")]
macro_rules! stream {
    () => {
        "# use std::{pin::{pin, Pin}, task::{self, Poll, Waker}};
# use futures_core::Stream;
# struct Inputs<I>(I);
# impl<I: Iterator + Unpin> Stream for Inputs<I> {
#     type Item = I::Item;
#     fn poll_next(mut self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<Option<I::Item>> { self.0.next().into() }
# }
# fn inputs(numbers: std::ops::RangeInclusive<u64>) -> impl Stream<Item = u64> { Inputs(numbers) }
# fn collect<T, E: std::fmt::Debug>(stream: impl Stream<Item = Result<T, E>>) -> Vec<T> {
#     let (mut stream, mut values) = (pin!(stream), Vec::new());
#     loop {
#         match stream.as_mut().poll_next(&mut task::Context::from_waker(Waker::noop())) {
#             Poll::Ready(Some(result)) => values.push(result.unwrap()),
#             Poll::Ready(None) => return values,
#             Poll::Pending => std::thread::yield_now(),
#         }
#     }
# }"
    };
}
#[cfg(feature = "stream")]
pub(crate) use stream;
