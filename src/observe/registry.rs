//! The pools of a process that have joined a list, for what shows or controls all of them.

use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::latencies::{Latencies, latencies_of};
use super::running_list::{RunningList, RunningTask};
use crate::engine::stats::Stats;
use crate::engine::{PauseId, Visited};
use crate::error::BuildError;
use crate::pool::PoolControl;
use crate::sync::user_code::catch_user_panic;

/// The registry of the process. It is empty until the program [adds](Registry::add) a pool.
///
/// ```
/// use formicary::{Pool, observe::registry};
///
/// let pool = Pool::builder().workers(2).name("thumbnails").build()?;
/// registry().add(&pool);
/// let names: Vec<_> = registry().pools().iter().map(|pool| pool.name().to_owned()).collect();
/// assert_eq!(names, ["thumbnails"]);
/// drop(pool);
/// assert!(registry().pools().is_empty());
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[must_use]
pub fn registry() -> &'static Registry {
    static REGISTRY: Registry = Registry { pools: Mutex::new(Vec::new()) };
    &REGISTRY
}

/// A list of pools ([`registry`]). A pool joins only when it is [added](Self::add), and leaves when its drop begins. The list keeps no pool
/// alive.
///
/// ```
/// use formicary::{Pool, PoolWithFunc, observe::registry};
///
/// let (closures, lengths) = (Pool::new(1)?, PoolWithFunc::new(1, str::len)?);
/// registry().add(&closures);
/// registry().add(&lengths);
/// for pool in registry().pools() {
///     println!("{}: {:?}", pool.name(), pool.stats());
/// }
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub struct Registry {
    // With a real lock in models too: loom's cannot be in a static.
    pools: Mutex<Vec<RegisteredPool>>,
}

impl Registry {
    /// Adds a pool of any kind. A pool that was added before stays as it is.
    ///
    /// ```
    /// use formicary::{Pool, observe::registry};
    ///
    /// let pool = Pool::new(1)?;
    /// registry().add(&pool);
    /// registry().add(&pool);
    /// assert_eq!(registry().pools().len(), 1);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn add<X>(&self, pool: &PoolControl<X>) {
        let engine = Arc::clone(&pool.engine).visited();
        let added = RegisteredPool {
            id: engine.id().number(),
            name: Arc::clone(engine.name()),
            engine: Arc::downgrade(&engine),
            pause: Arc::default(),
        };
        let mut pools = self.pools.lock();
        pools.retain(|pool| pool.engine.strong_count() > 0);
        if !pools.iter().any(|pool| pool.id == added.id) {
            pools.push(added);
        }
    }

    /// The pools that were added and are still there, in the order in which they were added.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert!(formicary::observe::registry().pools().is_empty());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use]
    pub fn pools(&self) -> Vec<RegisteredPool> {
        let all = self.pools.lock().clone();
        // Without the lock: the last reference to a pool's engine may be dropped here.
        let (there, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|pool| pool.visit(|_| ()).is_some());
        if !gone.is_empty() {
            self.pools.lock().retain(|pool| !gone.iter().any(|gone| gone.id == pool.id));
        }
        there
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pools()).finish()
    }
}

/// A pool of the [`Registry`]. It does not keep the pool alive: on a pool whose drop has begun, figures are `None`, and changes do nothing.
///
/// ```
/// use formicary::{Pool, observe::registry};
///
/// let pool = Pool::builder().workers(1).latencies().build()?;
/// registry().add(&pool);
/// let seen = registry().pools().remove(0);
/// seen.tune(3)?;
/// assert_eq!((pool.capacity(), seen.stats().unwrap().capacity), (3, 3));
/// assert!(seen.latencies().is_some() && seen.running_tasks().is_none());
/// drop(pool);
/// assert!(seen.stats().is_none());
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone)]
pub struct RegisteredPool {
    id: u64,
    name: Arc<str>,
    engine: Weak<dyn Visited>,
    /// The pause that the registry has begun.
    pause: Arc<Mutex<Option<PauseId>>>,
}

impl RegisteredPool {
    /// Calls `f` with the engine, unless its pool was dropped. This may then hold the last reference to it, and drop the pool's hooks.
    fn visit<O>(&self, f: impl FnOnce(&dyn Visited) -> O) -> Option<O> {
        let engine = self.engine.upgrade()?;
        let output = (!engine.is_dropped()).then(|| f(&*engine));
        catch_user_panic(|| drop(engine));
        output
    }

    /// A number that no other pool of the process has.
    ///
    /// ```
    /// # use formicary::{Pool, observe::registry};
    /// let (one, two) = (Pool::new(1)?, Pool::new(1)?);
    /// registry().add(&one);
    /// registry().add(&two);
    /// let pools = registry().pools();
    /// assert_ne!(pools[0].id(), pools[1].id());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The pool's name ([`Builder::name`](crate::Builder::name)). Pools may have the same.
    ///
    /// ```
    /// # use formicary::{Pool, observe::registry};
    /// let pool = Pool::builder().workers(1).name("mill").build()?;
    /// registry().add(&pool);
    /// assert_eq!(registry().pools()[0].name(), "mill");
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As [`PoolControl::stats`].
    ///
    /// ```
    /// # use formicary::{Pool, observe::registry};
    /// let pool = Pool::new(3)?;
    /// registry().add(&pool);
    /// assert_eq!(registry().pools()[0].stats(), Some(pool.stats()));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Option<Stats> {
        self.visit(|engine| engine.stats())
    }

    /// As [`PoolControl::latencies`].
    ///
    /// ```
    /// # use formicary::{Pool, observe::registry};
    /// let pool = Pool::builder().workers(1).latencies().build()?;
    /// registry().add(&pool);
    /// pool.run(|| ())?;
    /// assert_eq!(registry().pools()[0].latencies().unwrap().run_time.count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn latencies(&self) -> Option<Latencies> {
        self.visit(|engine| latencies_of(engine.extensions()))?
    }

    /// As [`PoolControl::running_tasks`].
    ///
    /// ```
    /// # use formicary::{Pool, observe::registry};
    /// let pool = Pool::builder().workers(1).running_tasks().build()?;
    /// registry().add(&pool);
    /// assert_eq!(registry().pools()[0].running_tasks().unwrap().len(), 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use]
    pub fn running_tasks(&self) -> Option<Vec<RunningTask>> {
        let list = self.visit(|engine| engine.extensions().get::<RunningList>())?;
        list.map(|list| list.tasks())
    }

    /// As [`PoolControl::tune`].
    ///
    /// ```
    /// # use formicary::{Pool, observe::registry};
    /// let pool = Pool::new(1)?;
    /// registry().add(&pool);
    /// registry().pools()[0].tune(2)?;
    /// assert_eq!(pool.capacity(), 2);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] if `workers` is 0 or too large. Then nothing changes.
    pub fn tune(&self, workers: usize) -> Result<(), BuildError> {
        self.visit(|engine| engine.tune(workers)).unwrap_or(Ok(()))
    }

    /// Starts no more tasks until [`resume`](Self::resume), which any thread may call on any copy of this. A second call changes nothing.
    /// A drop of the pool overrides it, as any pause. Never blocks.
    ///
    /// ```
    /// # use formicary::{Pool, observe::registry};
    /// let pool = Pool::new(1)?;
    /// registry().add(&pool);
    /// registry().pools()[0].pause();
    /// assert!(pool.is_paused());
    /// registry().pools()[0].resume();
    /// assert!(!pool.is_paused());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn pause(&self) {
        self.visit(|engine| {
            // Without the lock, because it tells the observers.
            let pause = engine.pause(None);
            let before = self.pause.lock().replace(pause);
            // One pause is enough. An earlier one may have ended with a shutdown.
            if let Some(before) = before {
                engine.resume(before);
            }
        });
    }

    /// Ends the pause that [`pause`](Self::pause) has begun. The pool stays paused while the program has a
    /// [guard](crate::PauseGuard) of its own.
    ///
    /// ```
    /// # use formicary::{Pool, observe::registry};
    /// let pool = Pool::new(1)?;
    /// registry().add(&pool);
    /// let (seen, guard) = (registry().pools().remove(0), pool.pause());
    /// seen.resume();
    /// assert!(seen.is_paused());
    /// drop(guard);
    /// assert!(!seen.is_paused());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn resume(&self) {
        let pause = self.pause.lock().take();
        if let Some(pause) = pause {
            self.visit(|engine| engine.resume(pause));
        }
    }

    /// Whether a pause is in force, whoever began it.
    ///
    /// ```
    /// # use formicary::{Pool, observe::registry};
    /// let pool = Pool::new(1)?;
    /// registry().add(&pool);
    /// let guard = pool.pause();
    /// assert!(registry().pools()[0].is_paused());
    /// # drop(guard);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.visit(|engine| engine.is_paused()).unwrap_or(false)
    }
}

impl fmt::Debug for RegisteredPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredPool").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_was_dropped_leaves_nothing_behind() {
        let registry = Registry { pools: Mutex::new(Vec::new()) };
        let [one, two] = [(); 2].map(|()| crate::Pool::new(1).unwrap());
        registry.add(&one);
        registry.add(&two);
        drop(one);
        let kept = || registry.pools.lock().len();
        assert_eq!(kept(), 2);
        assert_eq!((registry.pools().len(), kept()), (1, 1));
    }
}
