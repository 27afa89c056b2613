//! What a builder sets about threads: names, stacks, hooks, and how they are made.

use std::io;
use std::sync::Arc;

use super::builder::Builder;
use crate::engine::options::WorkerThread;
use crate::queue::Dispatch;

/// Threads.
impl<K, D: Dispatch> Builder<K, D> {
    /// The pool's name, in its [`Stats`](crate::Stats) and in reports of panics; any text. Default: the prefix of its threads' names
    /// ([`thread_name`](Self::thread_name)).
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).name("thumbnails of the shop").thread_name("thumbs").build()?;
    /// assert_eq!(&*pool.stats().name, "thumbnails of the shop");
    /// let thread = pool.run(|| std::thread::current().name().map(str::to_owned))?;
    /// assert_eq!(thread.as_deref(), Some("thumbs-0"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into().into());
        self
    }

    /// The prefix of the threads' names: a thread is named by the prefix and its worker's number. It is also the pool's name, unless the
    /// pool has [another](Self::name). Linux shows 15 bytes of a thread's name, so a longer prefix is cut and the number stays. `build`
    /// fails if the prefix is empty or contains a NUL byte. Default: `formicary`.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).thread_name("mill").build()?;
    /// let name = pool.run(|| std::thread::current().name().map(str::to_owned))?;
    /// assert_eq!(name.as_deref(), Some("mill-0"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("thread_name_prefix"))]
    pub fn thread_name(mut self, prefix: impl Into<String>) -> Self {
        self.options.thread_name = prefix.into().into();
        self
    }

    /// The whole name of each thread, by its worker's number. [`thread_name`](Self::thread_name) then names only the pool. A number is
    /// below the highest capacity that the pool has had, and is used again when its worker has ended. The names are not changed; Linux
    /// shows the first 15 bytes.
    ///
    /// The function is called on the thread that starts a worker, often a submitter, while other submitters may wait for it: it must not
    /// wait for anything. A name that is empty or contains a NUL byte, and a panic in the function, count as a
    /// [refused](crate::Stats::failed_starts) thread. `build` fails if that is a thread of the minimum and there is no other.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).thread_names(|worker| format!("mill {worker}")).build()?;
    /// let name = pool.run(|| std::thread::current().name().map(str::to_owned))?;
    /// assert_eq!(name.as_deref(), Some("mill 0"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("thread_name_fn", "ThreadFactory"))]
    pub fn thread_names(mut self, names: impl Fn(usize) -> String + Send + Sync + 'static) -> Self {
        self.options.thread_names = Some(Arc::new(names));
        self
    }

    /// The size of each thread's stack, in bytes: at least 1. The system may round it up, to its minimum or to whole pages. Default: the
    /// standard library's, 2 MiB.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).stack_size(256 * 1024).build()?;
    /// assert_eq!(pool.run(|| 1)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("thread_stack_size"))]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.options.stack_size = Some(bytes);
        self
    }

    /// Binds each worker's thread to one processor: worker `n` to the `n`-th of those that the calling thread may use now, counted round
    /// and round. Needs the feature `pin`. Default: threads are not bound.
    ///
    /// A thread stays unbound where the system does not list its processors or refuses the binding. Threads that a
    /// [`spawn_handler`](Self::spawn_handler) starts, and inline workers, are never bound. Where more workers than processors are busy, or
    /// other programs run, bound threads wait for their own processor while others idle: measure before you use this.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(2).pin().build()?;
    /// assert_eq!(pool.run(|| 6 * 7)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "pin")]
    #[doc(alias("affinity", "core_affinity", "thread_per_core"))]
    pub fn pin(mut self) -> Self {
        self.options.processors = Some(crate::engine::options::pinning::Processors::of_thread());
        self
    }

    /// Called on each worker's thread before its first task, with the worker's number. A panic in it is caught and counted. Default: none.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    /// use std::sync::Arc;
    ///
    /// let alive = Arc::new(AtomicUsize::new(0));
    /// let (up, down) = (alive.clone(), alive.clone());
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .on_thread_start(move |_worker| { up.fetch_add(1, Relaxed); })
    ///     .on_thread_stop(move |_worker| { down.fetch_sub(1, Relaxed); })
    ///     .build()?;
    /// assert_eq!(alive.load(Relaxed), 1);
    /// pool.shutdown();
    /// assert_eq!(alive.load(Relaxed), 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[doc(alias("start_handler", "initializer"))]
    pub fn on_thread_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.options.on_thread_start = Some(Arc::new(hook));
        self
    }

    /// Called on each worker's thread after its last task, when its state has been dropped, with the worker's number. A panic in it is
    /// caught and counted. Default: none.
    ///
    /// ```
    /// let (stopped, workers) = std::sync::mpsc::channel();
    /// let pool = formicary::Pool::builder().workers(1).on_thread_stop(move |worker| stopped.send(worker).unwrap()).build()?;
    /// pool.shutdown();
    /// assert_eq!(workers.recv()?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("exit_handler"))]
    pub fn on_thread_stop(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.options.on_thread_stop = Some(Arc::new(hook));
        self
    }

    /// Makes the threads: pinned, with other priorities, from another pool. The handler is given a [`WorkerThread`] for each. It must have
    /// its [`run`](WorkerThread::run) called on a new thread, or return an error, which counts as a refused thread. The pool does not join
    /// such a thread; it waits until `run` has returned. Default: a thread of the standard library.
    ///
    /// The handler is called on the thread that needs a worker, which may itself be a worker. It may submit to the pool, and wait for
    /// other threads that do. Such a submit may call the handler again, for another worker, before it has returned: a handler that submits
    /// in every call nests as deep as the pool may have workers. It should not wait for a task of the pool, which may need the worker that
    /// is being started.
    ///
    /// A thread that drops a `WorkerThread` after the handler has returned may have to run tasks that were queued because of it.
    ///
    /// ```
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .spawn_handler(|worker| {
    ///         std::thread::Builder::new().name("mine".into()).spawn(|| worker.run()).map(drop)
    ///     })
    ///     .build()?;
    /// let name = pool.run(|| std::thread::current().name().map(str::to_owned))?;
    /// assert_eq!(name.as_deref(), Some("mine"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("ThreadFactory"))]
    pub fn spawn_handler(mut self, handler: impl Fn(WorkerThread) -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.options.spawn_handler = Some(Arc::new(handler));
        self
    }
}
