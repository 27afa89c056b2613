//! Weighted fair queueing between tenants.

mod flows;
mod lanes;
mod tenant;

use super::ordered::OrderedQueue;
use super::{Dispatch, sealed};

pub(crate) use flows::DEFAULT_WEIGHT;
pub(crate) use lanes::{KeptLane, TenantLanes};
pub use tenant::{Tenant, TenantStats};

/// Tenants share the workers fairly, however many tasks each has queued.
///
/// [`With::tenant`](crate::With::tenant) says whose a task is. While several tenants have tasks, each gets a share of the starts in
/// proportion to its weight ([`Builder::share`](crate::Builder::share); 1 by default); the others share what one does not use. A tenant's
/// own tasks start in the order in which they came. Tasks without a tenant belong to one default tenant, of weight 1.
///
/// **The bound.** The backlog of a tenant does not keep another one waiting. Between the submission of a task and its start, at most one task
/// starts for each other tenant that has tasks, or had some just before, however many are queued and whatever the weights. That is for a
/// tenant that has had no more than its share so far; what workers have taken already runs first in any case.
///
/// - **What counts is starts**, not time: a tenant whose tasks take ten times as long uses ten times the workers' time. Give it a weight.
/// - **An idle tenant costs nothing**: what the pool keeps of it is freed when its tasks are over and the others have caught up, at the
///   latest when nothing is queued. A million tenants in turn leave nothing behind.
/// - **Room**: the bound of the pool counts all tenants' tasks together. While it is reached, blocked submitters of different tenants take
///   turns, without weights, and newcomers come last. [`Builder::tenant_queue`](crate::Builder::tenant_queue) adds a bound for each tenant,
///   so that one does not fill the queue. Under [`Overflow::DropOldest`](crate::Overflow::DropOldest) a new task replaces the oldest one of the
///   tenant with most tasks for its weight, or of its own tenant if that has reached its own bound.
/// - **Every tenant counts**, however short-lived. New tenants with one task each, as many as the workers can run, slow down a tenant with a
///   backlog more and more, but never stop it.
/// - **Nested tasks**: what a task submits to its own pool goes through the same order, beyond both bounds. It belongs to the tenant that it
///   names, or else to the default tenant: it does not inherit the tenant of the task that submits it. A task from outside waits for
///   at most 60 such tasks of its tenant that came before it.
/// - **Cost**: submitters and workers share one short lock. A submission and a start take time in proportion to the logarithm of the number
///   of tenants that have tasks. The end of a task takes the lock too.
///
/// The order is by start tags (P. Goyal, H. Vin, H. Cheng: "Start-time Fair Queueing", SIGCOMM 1996): a tenant's next task may start when the
/// ones before it, each worth one turn divided by the weight, have used up its share, and the earliest goes first. The virtual time is that
/// of WF²Q+ (J. Bennett, H. Zhang: "Hierarchical packet fair queueing algorithms", 1997): it advances with each start by one turn divided by
/// the weights of all tenants that have tasks, so newcomers without end do not starve those who wait.
///
/// ```
/// use std::sync::mpsc::channel;
/// use formicary::{Fair, Pool};
///
/// let pool = Pool::builder().workers(1).queue(2000).dispatch::<Fair>().build()?;
/// let (tell, told) = channel();
/// let pause = pool.pause();
/// for tenant in ["greedy"; 1000].into_iter().chain(["quiet"]) {
///     let tell = tell.clone();
///     pool.with().tenant(tenant).submit(move || tell.send(tenant).unwrap())?;
/// }
/// drop(pause);
/// let before = told.iter().position(|tenant| tenant == "quiet");
/// assert!(before <= Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Fair;

impl sealed::Sealed for Fair {}

impl Dispatch for Fair {
    const NAME: &'static str = "Fair";
    type Queue<T: Send + 'static> = OrderedQueue<flows::Flows<T>>;
}
