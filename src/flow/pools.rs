//! `retrying` and `guarded` of each kind of pool and of views.

use crate::combinators::limited::Limited;
use crate::flow::breaker::{Breaker, Guarded};
use crate::flow::retry::{Retry, Retrying};
use crate::pool::{AnyPool, Linked, Pool, PoolWithFunc, StatefulPool, With};
use crate::queue::Dispatch;
use crate::task::worker::Worker;

/// The two methods of a kind of pool, with code that makes `pool`, and a task for it whose result is `Ok(7)`.
macro_rules! flow {
    ([$($generics:tt)*] $type:ty, $setup:literal, $task:literal) => {
        /// Flow control.
        impl<$($generics)*> $type {
            /// Attempts failed tasks again, as a policy says. See [`Retrying`] for the tasks that it accepts, and what it promises.
            ///
            /// ```
            #[doc = $setup]
            /// let policy = formicary::Retry::exponential(std::time::Duration::from_millis(10)).jitter().attempts(3);
            #[doc = concat!("assert_eq!(pool.retrying(policy).run(", $task, ")?.unwrap(), 7);")]
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            #[doc(alias("backoff", "dead_letter"))]
            pub fn retrying<E>(&self, policy: Retry<E>) -> Retrying<Linked<Self>, E> {
                self.with().retrying(policy)
            }

            /// Keeps tasks from a downstream that fails. See [`Breaker`] for when, and [`Guarded`] for what it promises.
            ///
            /// ```
            #[doc = $setup]
            /// let calls = pool.guarded(formicary::Breaker::ratio(0.5).window(20));
            #[doc = concat!("assert_eq!(calls.run(", $task, ")?, Ok(7));")]
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            #[doc(alias("circuit_breaker", "bulkhead"))]
            pub fn guarded<J: Clone + Send + Sync + 'static>(&self, breaker: Breaker<J>) -> Guarded<Self, J> {
                self.with().guarded(breaker)
            }
        }
    };
}

flow! { [D: Dispatch] Pool<D>, "let pool = formicary::Pool::new(1)?;", "|| Ok::<_, String>(7)" }
flow! {
    [T: Send + 'static, D: Dispatch, R: Send + 'static] PoolWithFunc<T, D, R>,
    "let pool = formicary::PoolWithFunc::new(1, |n: u8| Ok::<_, String>(n))?;",
    "7"
}
flow! {
    [W: Worker, D: Dispatch] StatefulPool<W, D>,
    "# struct Echo;\n# impl formicary::Worker for Echo {\n#     type Input = u8;\n#     type Output = Result<u8, String>;\n\
    #     fn process(&mut self, n: u8, _: &formicary::Context<'_>) -> Result<u8, String> { Ok(n) }\n# }\n\
    let pool = formicary::StatefulPool::new(1, |_worker| Ok(Echo))?;",
    "7"
}
flow! {
    [P: AnyPool] Limited<P>,
    "# let closures = formicary::Pool::new(4)?;\nlet pool = closures.limited(2);",
    "|| Ok::<_, String>(7)"
}

/// Flow control with the options.
impl<P: AnyPool> With<'_, P> {
    /// As [`retrying`](crate::Pool::retrying) of the pool. Each attempt is submitted with the options: `room_timeout` and `timeout` count for
    /// each, and an attempt that is late is a failed one; `deadline` and `token` count for the task as a whole.
    ///
    /// ```
    /// use formicary::{Pool, Retry, Sharded};
    ///
    /// let pool = Pool::builder().workers(2).dispatch::<Sharded>().build()?;
    /// let acme = pool.with().key("acme").name("deliver").retrying(Retry::<String>::none());
    /// assert_eq!(acme.run(|| Ok(7))?.unwrap(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retrying<E>(&self, policy: Retry<E>) -> Retrying<Linked<P>, E> {
        Retrying::new(Linked::to(self.pool), self.unbound(), policy)
    }

    /// As [`guarded`](crate::Pool::guarded) of the pool. Each task is submitted with the options.
    ///
    /// ```
    /// use formicary::{Breaker, Pool};
    ///
    /// let pool = Pool::new(1)?;
    /// let calls = pool.with().name("call").guarded(Breaker::ratio(0.5));
    /// assert_eq!(calls.run(|| Ok::<_, String>(7))?, Ok(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn guarded<J: Clone + Send + Sync + 'static>(&self, breaker: Breaker<J>) -> Guarded<P, J> {
        Guarded::new(Linked::to(self.pool), self.unbound(), breaker)
    }
}
