//! Jobs in a stream of a NATS server.

mod session;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::error::{BoxError, StoreError, StoreErrorKind};
use crate::job::{Push, check_name};
use crate::store::{Counts, Dead, Lease, Pushed, Reserved, Settle, Store};
use session::{Session, Setup};

/// When leases end that are neither extended nor settled by anybody, their times are forgotten after this long.
const FORGET: Duration = Duration::from_secs(3600);

/// Jobs in a stream of a NATS server with JetStream, 2.9 or newer (feature `nats`). Any number of processes and machines share it.
///
/// There are three streams: `{name}` with the jobs, and a durable consumer for each kind; `{name}-dead`; and `{name}-released`, which says how
/// often a job was given back unstarted. What differs from the other stores:
///
/// - The [`lease`](Self::lease) is the consumers', so all processes must have the same; that of a runner should be.
/// - A key is a line of text, without blanks at its ends.
/// - A push of several jobs may store some of them if it fails. Push again, with keys.
/// - The server knows no owner of a lease. This store counts the time itself, from before it asked, and treats a lease that ended as void.
/// - A job that waits for its next attempt counts as `reserved`.
/// - A dead letter is stored before its job is removed. A crash between the two may leave two of it.
/// - A server that is killed may forget acknowledgements of its last moments, and not deliver past them. A call of `reserve` that gets no answer in
///   half the [`time_limit`](Self::time_limit) finds and repeats them; until then these jobs count as `reserved`. `docs/nats.md` has the evidence.
/// - A server that loses power may lose pushes that it acknowledged: those since it last synced its files, every 2 minutes unless it is configured
///   otherwise.
///
/// The connection is made when it is needed, and made anew after an error. The store has a thread for it. Its methods block, and panic in
/// an asynchronous task of `tokio`: use `spawn_blocking` there.
///
/// ```no_run
/// use formicary_jobs::{Nats, Push, Store};
///
/// let store = Nats::new("nats://127.0.0.1", "shop")?;
/// store.push(&[Push::raw("mail", 1, "{}")?])?;
/// # Ok::<(), formicary_jobs::StoreError>(())
/// ```
pub struct Nats {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    setup: Setup,
    session: Mutex<Option<Session>>,
    /// When the leases that were given out here end, by their tokens.
    ends: Mutex<HashMap<String, Instant>>,
}

impl Nats {
    /// The jobs under a name (1 to 64 of `a-z A-Z 0-9 _ -`) of a server. Connects to nothing yet.
    ///
    /// # Errors
    /// [`StoreError`]: the name is wrong, or the system has no thread.
    ///
    /// ```
    /// assert!(formicary_jobs::Nats::new("nats://127.0.0.1", "shop").is_ok());
    /// ```
    pub fn new(url: &str, name: &str) -> Result<Self, StoreError> {
        check_name(name, "store")?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("formicary-nats")
            .enable_all()
            .build();
        Ok(Nats {
            runtime: Some(runtime.map_err(away)?),
            setup: Setup {
                url: url.to_owned(),
                name: name.to_owned(),
                limit: Duration::from_secs(5),
                keep_keys: Duration::from_secs(24 * 60 * 60),
                lease: Duration::from_secs(60),
                replicas: 1,
            },
            session: Mutex::new(None),
            ends: Mutex::default(),
        })
    }

    /// How long a call may take; 5 seconds unless said otherwise. Keep it below a third of the lease.
    ///
    /// # Panics
    /// With 0.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = formicary_jobs::Nats::new("nats://127.0.0.1", "shop")?.time_limit(Duration::from_secs(1));
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    #[track_caller]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        assert!(!limit.is_zero(), "a time limit of 0");
        self.setup.limit = limit;
        self
    }

    /// How long every lease is, whatever a call asks for; 60 s unless said otherwise. Give the runner the same
    /// ([`Runner::lease`](crate::Runner::lease)). The consumers of the server take it over from whoever connects last.
    ///
    /// # Panics
    /// With 0.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = formicary_jobs::Nats::new("nats://127.0.0.1", "shop")?.lease(Duration::from_secs(20));
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    #[track_caller]
    pub fn lease(mut self, time: Duration) -> Self {
        assert!(!time.is_zero(), "a lease of 0");
        self.setup.lease = time;
        self
    }

    /// How long a key is remembered, from the push; a day unless said otherwise. It is a property of the stream: that of an
    /// existing one stays as it is.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = formicary_jobs::Nats::new("nats://127.0.0.1", "shop")?.keep_keys(Duration::from_secs(3600));
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn keep_keys(mut self, time: Duration) -> Self {
        self.setup.keep_keys = time;
        self
    }

    /// On how many servers of a cluster the streams are kept, when this makes them; 1 unless said otherwise, at most 5.
    ///
    /// ```
    /// let store = formicary_jobs::Nats::new("nats://127.0.0.1", "shop")?.replicas(3);
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn replicas(mut self, servers: usize) -> Self {
        self.setup.replicas = servers;
        self
    }

    /// Does something with a connection. One that failed is not kept: what waits in it would be sent when nobody expects it.
    fn call<'a, T, F>(&'a self, f: impl FnOnce(Session) -> F + 'a) -> Result<T, StoreError>
    where
        F: Future<Output = Result<(T, Session), BoxError>>,
    {
        let runtime = self
            .runtime
            .as_ref()
            .ok_or_else(|| StoreError::new(StoreErrorKind::Unavailable, "the store is being dropped"))?;
        let mut kept = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let session = kept.take();
        let limit = self.setup.limit;
        let (answer, session) = runtime
            .block_on(async {
                let session = match session {
                    Some(session) => session,
                    None => timeout(limit, Session::connect(&self.setup)).await??,
                };
                // Each request has the same limit, and says more.
                timeout(limit * 2, f(session)).await?
            })
            .map_err(away)?;
        *kept = Some(session);
        Ok(answer)
    }

    fn with_ends<T>(&self, f: impl FnOnce(&mut HashMap<String, Instant>) -> T) -> T {
        f(&mut self.ends.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn holds(&self, lease: &Lease) -> bool {
        self.with_ends(|ends| ends.get(&lease.token).is_some_and(|end| Instant::now() < *end))
    }
}

impl Store for Nats {
    fn push(&self, jobs: &[Push]) -> Result<Vec<Pushed>, StoreError> {
        // A key is a line of a header, whose ends are trimmed.
        let is_line = |key: &String| !key.is_empty() && key.trim() == key && !key.contains(char::is_control);
        if let Some(key) = jobs.iter().filter_map(|job| job.key.as_ref()).find(|key| !is_line(key)) {
            return Err(StoreError::new(
                StoreErrorKind::Invalid,
                format!("{key:?} is no key: it must be a line without blanks at its ends"),
            ));
        }
        self.call(async |session| Ok((session.push(jobs).await?, session)))
    }

    fn kinds(&self) -> Result<Vec<String>, StoreError> {
        self.call(async |session| Ok((session.kinds().await?, session)))
    }

    fn reserve(&self, kind: &str, n: usize, _lease: Duration) -> Result<Vec<Reserved>, StoreError> {
        if n == 0 {
            return Ok(Vec::new());
        }
        let now = Instant::now();
        let jobs = self.call(async |mut session| Ok((session.reserve(kind, n).await?, session)))?;
        self.with_ends(|ends| {
            ends.retain(|_, end| now.saturating_duration_since(*end) < FORGET);
            ends.extend(jobs.iter().map(|job| (job.lease.token.clone(), now + self.setup.lease)));
        });
        Ok(jobs)
    }

    fn extend(&self, leases: &[Lease], _lease: Duration) -> Result<Vec<bool>, StoreError> {
        let now = Instant::now();
        let held: Vec<bool> = leases.iter().map(|lease| self.holds(lease)).collect();
        let tokens: Vec<&str> =
            leases.iter().zip(&held).filter(|(_, held)| **held).map(|(lease, _)| lease.token.as_str()).collect();
        self.call(async |session| Ok((session.extend(&tokens).await?, session)))?;
        self.with_ends(|ends| {
            for token in tokens {
                ends.insert(token.to_owned(), now + self.setup.lease);
            }
        });
        Ok(held)
    }

    fn settle(&self, ends: &[(Lease, Settle)]) -> Result<Vec<bool>, StoreError> {
        // The work is done, whoever has the lease.
        let known = |lease: &Lease| self.with_ends(|ends| ends.contains_key(&lease.token));
        let valid =
            |(lease, end): &(Lease, Settle)| if matches!(end, Settle::Done) { known(lease) } else { self.holds(lease) };
        let valid: Vec<bool> = ends.iter().map(valid).collect();
        let settled: Vec<_> = ends.iter().zip(&valid).filter(|(_, valid)| **valid).map(|(end, _)| end).collect();
        self.call(async |session| Ok((session.settle(&settled).await?, session)))?;
        self.with_ends(|known| {
            for (lease, _) in settled {
                known.remove(&lease.token);
            }
        });
        Ok(valid)
    }

    fn dead(&self, at_most: usize) -> Result<Vec<Dead>, StoreError> {
        self.call(async |session| Ok((session.dead(at_most).await?, session)))
    }

    fn replay(&self, ids: &[String]) -> Result<usize, StoreError> {
        self.call(async |session| Ok((session.end_dead(ids, true).await?, session)))
    }

    fn discard(&self, ids: &[String]) -> Result<usize, StoreError> {
        self.call(async |session| Ok((session.end_dead(ids, false).await?, session)))
    }

    fn counts(&self) -> Result<Counts, StoreError> {
        self.call(async |session| Ok((session.counts().await?, session)))
    }
}

fn away(error: impl Into<BoxError>) -> StoreError {
    StoreError::of(StoreErrorKind::Unavailable, "the NATS server did not do it", error)
}

impl Drop for Nats {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped in an asynchronous task, which must not block.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").field("name", &self.setup.name).finish_non_exhaustive()
    }
}
