//! Levels and tenants: the settings and options that only pools of these dispatches have.

use super::accepts::AnyPool;
use super::builder::Builder;
use super::closures::Pool;
use super::function::PoolWithFunc;
use super::stateful::StatefulPool;
use super::with::With;
use crate::queue::{Fair, Is, Level, Priority, Tenant, TenantStats};
use crate::sync::Arc;
use crate::task::worker::Worker;

impl<K> Builder<K, Priority> {
    /// How many levels of priority there are, 1 to 64. `build` fails otherwise, and if another [`dispatch`](Self::dispatch) is chosen after
    /// this. Default: 3, which are [`LOW`](Level::LOW), [`NORMAL`](Level::NORMAL) and [`HIGH`](Level::HIGH).
    ///
    /// ```
    /// use formicary::{Level, Pool, Priority};
    ///
    /// let pool = Pool::builder().workers(1).dispatch::<Priority>().levels(10).build()?;
    /// assert_eq!(pool.with().priority(Level::new(9)).run(|| 7)?, 7);
    /// assert!(Pool::builder().dispatch::<Priority>().levels(65).build().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn levels(mut self, levels: usize) -> Self {
        self.options.levels = Some(levels);
        self
    }
}

impl<K> Builder<K, Fair> {
    /// The weight of each tenant, 1 or more: a tenant of weight 2 gets twice as many starts as one of weight 1 while both have tasks. As with
    /// [`tenant_queue`](Self::tenant_queue), `build` fails if another [`dispatch`](Self::dispatch) is chosen after this. Default: all have
    /// weight 1.
    ///
    /// The function is called on a submitter's thread, once each time a tenant becomes active, before the task is queued; submitters that make a
    /// tenant active at the same moment may each call it. So it may be a look-up, and a new weight applies when the tenant has been idle. It is
    /// not called for tasks without a tenant. A panic in it is caught and counted
    /// ([`Stats::handler_panics`](crate::Stats::handler_panics)); the weight is 1 then.
    ///
    /// # Panics
    /// The verb panics if the function returns 0.
    ///
    /// ```
    /// use formicary::{Fair, Pool};
    ///
    /// let pool = Pool::builder()
    ///     .workers(1)
    ///     .dispatch::<Fair>()
    ///     .share(|tenant| if tenant.name() == Some("gold") { 10 } else { 1 })
    ///     .build()?;
    /// let pause = pool.pause();
    /// pool.with().tenant("gold").submit(|| ())?;
    /// assert_eq!(pool.tenants()[0].weight, 10);
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn share(mut self, weight: impl Fn(&Tenant) -> u32 + Send + Sync + 'static) -> Self {
        self.options.share = Some(Arc::new(weight));
        self
    }

    /// How many tasks of one tenant may wait, 1 or more, beside the bound of the pool. A tenant whose tasks fill it waits or is refused, even
    /// if the pool has room. The tasks without a tenant have such a bound too; nested tasks go beyond it. Default: no bound but that of the
    /// pool.
    ///
    /// Tasks that wait in a [`Limited`](crate::Limited) view for a permit or a start are in no such bound, and first come first served. There, give
    /// each tenant a view of that view, with a [`queue`](crate::Limited::queue) of its own.
    ///
    /// While submitters are blocked, the start and the end of a task may look at each tenant that has one blocked.
    ///
    /// ```
    /// use formicary::{Fair, Pool};
    ///
    /// let pool = Pool::builder().workers(1).dispatch::<Fair>().tenant_queue(2).build()?;
    /// let pause = pool.pause();
    /// let greedy = pool.with().tenant("greedy");
    /// (0..2).for_each(|_| greedy.submit(|| ()).unwrap());
    /// assert!(greedy.try_submit(|| ()).unwrap_err().is_full());
    /// assert!(pool.with().tenant("quiet").try_submit(|| ()).is_ok());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tenant_queue(mut self, tasks: usize) -> Self {
        self.options.tenant_queue = Some(tasks);
        self
    }
}

impl<P: AnyPool> With<'_, P> {
    /// The level of the task ([`Priority`]). Default: [`Level::NORMAL`], also for a task that is submitted by a task of another level.
    ///
    /// In a [`Limited`](crate::Limited) view tasks get their permits in the order in which they came; the level counts from then on.
    ///
    /// # Panics
    /// If the pool does not have the level.
    ///
    /// ```
    /// use formicary::{Level, Pool, Priority};
    ///
    /// let pool = Pool::builder().workers(2).dispatch::<Priority>().build()?;
    /// let urgent = pool.with().priority(Level::HIGH);
    /// urgent.submit(|| ())?;
    /// assert_eq!(urgent.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn priority(mut self, level: Level) -> Self
    where
        P::Dispatch: Is<Priority>,
    {
        let levels = self.pool.engine().levels();
        let Some(number) = level.number(levels) else {
            panic!("{level}: the pool has the levels 0 to {}", levels - 1);
        };
        self.key = Some(number as u64);
        self
    }
}

impl<P: AnyPool> With<'_, P> {
    /// The tenant that the task belongs to ([`Fair`]). Default: the one default tenant of all tasks without one, also for a task that is
    /// submitted by a task of another tenant.
    ///
    /// In a [`Limited`](crate::Limited) view tasks get their permits in the order in which they came; the tenant counts from then on.
    ///
    /// ```
    /// use formicary::{Fair, Pool};
    ///
    /// let pool = Pool::builder().workers(2).dispatch::<Fair>().build()?;
    /// let acme = pool.with().tenant("acme");
    /// acme.submit(|| ())?;
    /// assert_eq!(acme.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Other pools have no tenants:
    ///
    /// ```compile_fail,E0277
    /// formicary::Pool::new(2)?.with().tenant("acme").submit(|| ())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tenant(mut self, tenant: impl Into<Tenant>) -> Self
    where
        P::Dispatch: Is<Fair>,
    {
        self.tenant = Some(tenant.into());
        self
    }
}

impl Pool<Fair> {
    /// The figures of each tenant that has tasks queued or running: the default tenant, then the others, those that became active first in
    /// front. Takes time in proportion to their number, under the lock of the queue.
    ///
    /// ```
    /// use formicary::{Fair, Pool};
    ///
    /// let pool = Pool::builder().workers(1).dispatch::<Fair>().build()?;
    /// let pause = pool.pause();
    /// pool.with().tenant("acme").submit(|| ())?;
    /// assert_eq!(pool.tenants()[0].queued, 1);
    /// drop(pause);
    /// pool.wait_idle();
    /// assert!(pool.tenants().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantStats> {
        self.engine.tenants()
    }
}

impl<T: Send + 'static, R: Send + 'static> PoolWithFunc<T, Fair, R> {
    /// As [`Pool::tenants`].
    ///
    /// ```
    /// use formicary::{Fair, PoolWithFunc};
    ///
    /// let pool = PoolWithFunc::builder(|n: u32| n + 1).workers(1).dispatch::<Fair>().build()?;
    /// let pause = pool.pause();
    /// pool.with().tenant("acme").submit(7)?;
    /// assert_eq!(pool.tenants()[0].queued, 1);
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantStats> {
        self.engine.tenants()
    }
}

impl<W: Worker> StatefulPool<W, Fair> {
    /// As [`Pool::tenants`].
    ///
    /// ```
    /// use formicary::{Context, Fair, StatefulPool, Worker};
    ///
    /// struct Lengths;
    /// impl Worker for Lengths {
    ///     type Input = String;
    ///     type Output = usize;
    ///     fn process(&mut self, input: String, _: &Context<'_>) -> usize {
    ///         input.len()
    ///     }
    /// }
    ///
    /// let pool = StatefulPool::builder(|_| Ok(Lengths)).workers(1).dispatch::<Fair>().build()?;
    /// let pause = pool.pause();
    /// pool.with().tenant("acme").submit("word".to_owned())?;
    /// assert_eq!(pool.tenants()[0].queued, 1);
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantStats> {
        self.engine.tenants()
    }
}
