//! Jobs in a Redis server.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::redis::{Client, Connection, FromRedisValue, RedisError, Script, ScriptInvocation};

use crate::error::{StoreError, StoreErrorKind};
use crate::job::{Push, check_name};
use crate::store::{Counts, Dead, Lease, Pushed, Reserved, Settle, Store};

/// More jobs than a server should look at in one call.
const MANY: usize = 1_000_000;

/// Jobs in a Redis server, 6.2 or newer (feature `redis`). Any number of processes and machines share it.
///
/// Each call is one script, so it happens whole or not at all, and times are the server's. The connection is made when it is needed, and
/// made anew after an error. What a job survives is what the server does: with `appendonly yes` and `appendfsync always` a pushed job is there
/// after a crash of the server's machine, with `everysec` those of the last second may be lost. The server must not evict
/// (`maxmemory-policy noeviction`, the default): a push that finds no memory is then refused as [`Full`](StoreErrorKind::Full). Replicas
/// are asynchronous: a failover may lose the latest pushes, and repeat jobs.
///
/// ```no_run
/// use formicary_jobs::{Push, Redis, Store};
///
/// let store = Redis::new("redis://127.0.0.1/", "shop")?;
/// store.push(&[Push::raw("mail", 1, "{}")?])?;
/// # Ok::<(), formicary_jobs::StoreError>(())
/// ```
pub struct Redis {
    client: Client,
    connection: Mutex<Option<Connection>>,
    script: Script,
    prefix: String,
    limit: Duration,
    keep_keys: Duration,
}

impl Redis {
    /// The jobs under a name (1 to 64 of `a-z A-Z 0-9 _ -`) of a server. All keys begin with `{name}:`. Connects to nothing yet.
    ///
    /// # Errors
    /// [`Invalid`](StoreErrorKind::Invalid): the URL is none, or the name is wrong.
    ///
    /// ```
    /// use formicary_jobs::Redis;
    ///
    /// assert!(Redis::new("redis://127.0.0.1/", "shop").is_ok());
    /// assert!(Redis::new("127.0.0.1", "shop").is_err());
    /// ```
    pub fn new(url: &str, name: &str) -> Result<Self, StoreError> {
        check_name(name, "store")?;
        let client = Client::open(url)
            .map_err(|error| StoreError::of(StoreErrorKind::Invalid, "this is no URL of a Redis server", error))?;
        Ok(Redis {
            client,
            connection: Mutex::new(None),
            script: Script::new(include_str!("jobs.lua")),
            prefix: format!("{{{name}}}:"),
            limit: Duration::from_secs(5),
            keep_keys: Duration::from_secs(24 * 60 * 60),
        })
    }

    /// How long a connection, a write or an answer may take; 5 seconds unless said otherwise. Keep it below a third of the leases.
    ///
    /// # Panics
    /// With 0.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = formicary_jobs::Redis::new("redis://127.0.0.1/", "shop")?.time_limit(Duration::from_secs(1));
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    #[track_caller]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        assert!(!limit.is_zero(), "a time limit of 0");
        self.limit = limit;
        self
    }

    /// How long a key is remembered, from the push; a day unless said otherwise, and at least a millisecond.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = formicary_jobs::Redis::new("redis://127.0.0.1/", "shop")?.keep_keys(Duration::from_secs(3600));
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn keep_keys(mut self, time: Duration) -> Self {
        self.keep_keys = time;
        self
    }

    fn call<T: FromRedisValue>(
        &self,
        operation: &str,
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<T, StoreError> {
        let mut invocation = self.script.key(&self.prefix);
        invocation.arg(operation);
        arguments(&mut invocation);
        let mut kept = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // One that failed is not kept: an answer that came too late would be taken for the next one's.
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let answer = invocation.invoke(&mut connection)?;
        *kept = Some(connection);
        Ok(answer)
    }

    fn connect(&self) -> Result<Connection, RedisError> {
        let connection = self.client.get_connection_with_timeout(self.limit)?;
        connection.set_read_timeout(Some(self.limit))?;
        connection.set_write_timeout(Some(self.limit))?;
        Ok(connection)
    }
}

impl Store for Redis {
    fn push(&self, jobs: &[Push]) -> Result<Vec<Pushed>, StoreError> {
        let ids: Vec<String> = self.call("push", |call| {
            call.arg(milliseconds(self.keep_keys).max(1));
            for Push { kind, version, payload, key, attempts } in jobs {
                let key = key.as_ref().map(|key| format!("={key}")).unwrap_or_default();
                call.arg(kind).arg(*version).arg(payload.as_slice()).arg(key).arg(*attempts);
            }
        })?;
        Ok(ids.into_iter().map(|id| if id.is_empty() { Pushed::Duplicate } else { Pushed::New(id) }).collect())
    }

    fn kinds(&self) -> Result<Vec<String>, StoreError> {
        self.call("kinds", |_| ())
    }

    fn reserve(&self, kind: &str, n: usize, lease: Duration) -> Result<Vec<Reserved>, StoreError> {
        type Row = (String, String, u32, Vec<u8>, Option<String>, u32, u32);
        let jobs: Vec<Row> = self.call("reserve", |call| {
            call.arg(kind).arg(n.min(MANY)).arg(milliseconds(lease));
        })?;
        let reserved = |(id, token, version, payload, key, attempt, attempts): Row| Reserved {
            lease: Lease { id, token },
            version,
            payload,
            key,
            attempt,
            attempts,
        };
        Ok(jobs.into_iter().map(reserved).collect())
    }

    fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<bool>, StoreError> {
        self.call("extend", |call| {
            call.arg(milliseconds(lease));
            for Lease { id, token } in leases {
                call.arg(id).arg(token);
            }
        })
    }

    fn settle(&self, ends: &[(Lease, Settle)]) -> Result<Vec<bool>, StoreError> {
        self.call("settle", |call| {
            for (Lease { id, token }, end) in ends {
                let (how, after, error) = match end {
                    Settle::Done => ("done", 0, ""),
                    Settle::Release => ("release", 0, ""),
                    Settle::Retry { after, error } => ("retry", milliseconds(*after), error.as_str()),
                    Settle::Bury { error } => ("bury", 0, error.as_str()),
                };
                call.arg(id).arg(token).arg(how).arg(after).arg(error);
            }
        })
    }

    fn dead(&self, at_most: usize) -> Result<Vec<Dead>, StoreError> {
        type Row = (String, String, u32, Vec<u8>, Option<String>, u32, String);
        let rows: Vec<Row> = self.call("dead", |call| {
            call.arg(at_most.min(MANY));
        })?;
        let dead = |(id, kind, version, payload, key, attempt, error): Row| Dead {
            id,
            kind,
            version,
            payload,
            key,
            attempt,
            error,
        };
        Ok(rows.into_iter().map(dead).collect())
    }

    fn replay(&self, ids: &[String]) -> Result<usize, StoreError> {
        let replayed: Vec<u8> = self.call("replay", |call| {
            call.arg(ids);
        })?;
        Ok(replayed.len())
    }

    fn discard(&self, ids: &[String]) -> Result<usize, StoreError> {
        let discarded: Vec<u8> = self.call("discard", |call| {
            call.arg(ids);
        })?;
        Ok(discarded.len())
    }

    fn counts(&self) -> Result<Counts, StoreError> {
        let (ready, reserved, dead) = self.call("counts", |_| ())?;
        Ok(Counts { ready, reserved, dead })
    }
}

/// At most what Lua counts exactly, added to the time of day.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(1 << 50)
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        match error.code() {
            Some("OOM") => StoreError::of(StoreErrorKind::Full, "the Redis server has no memory left", error),
            _ => StoreError::of(StoreErrorKind::Unavailable, "the Redis server did not do it", error),
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
