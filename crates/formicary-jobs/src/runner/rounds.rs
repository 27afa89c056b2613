//! The runner's thread: settles, extends, reserves, and listens, in rounds.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use formicary::Task;

use super::Runner;
use super::handler::{End, Event, Run, Shared};
use super::stats::Stats;
use crate::error::{StoreError, StoreErrorKind, chain};
use crate::store::{Lease, Reserved, Settle};

/// The pauses after a call of the store that failed: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How often jobs of unknown kinds are looked for, and how many of them are reserved at once.
const UNKNOWN_EVERY: Duration = Duration::from_secs(1);
const UNKNOWN_BATCH: usize = 100;

/// A job that is reserved.
struct InFlight {
    lease: Lease,
    kind: usize,
    attempt: u32,
    attempts: u32,
    shared: Arc<Shared>,
    /// How it ended, until the store knows.
    end: Option<Settle>,
}

pub(super) struct Rounds {
    runner: Runner,
    sender: Sender<Event>,
    inbox: Receiver<Event>,
    stats: Arc<Mutex<Stats>>,
    /// By the jobs' ids, so that a job is never here twice.
    jobs: HashMap<String, InFlight>,
    /// When each kind is asked for again, if it had no jobs or its pool refused one.
    ask_at: Vec<Instant>,
    /// The kind that is asked for first: each in turn.
    first: usize,
    extend_at: Instant,
    unknown_at: Instant,
    /// After a call that failed: when the store is called again, and the pause after that.
    away: Option<(Instant, Duration)>,
    stopping: bool,
    give_up: Option<Instant>,
}

impl Rounds {
    pub(super) fn new(runner: Runner, sender: Sender<Event>, inbox: Receiver<Event>, stats: Arc<Mutex<Stats>>) -> Self {
        let now = Instant::now();
        Rounds {
            ask_at: vec![now; runner.kinds.len()],
            extend_at: now + runner.lease / 3,
            runner,
            sender,
            inbox,
            stats,
            jobs: HashMap::new(),
            first: 0,
            unknown_at: now,
            away: None,
            stopping: false,
            give_up: None,
        }
    }

    pub(super) fn run(mut self) {
        while !(self.stopping && self.jobs.is_empty()) && self.give_up.is_none_or(|time| Instant::now() < time) {
            if self.away.is_none_or(|(until, _)| until <= Instant::now()) {
                // A panic of a store, or of a decoder of its own, must not end the runner either.
                match catch_unwind(AssertUnwindSafe(|| self.round())) {
                    Ok(Ok(())) => self.away = None,
                    Ok(Err(error)) => self.store_failed(&error),
                    Err(_) => self.store_failed(&StoreError::new(StoreErrorKind::Unavailable, "the store panicked")),
                }
            }
            self.publish();
            self.listen();
        }
        self.publish();
    }

    fn round(&mut self) -> Result<(), StoreError> {
        self.settle()?;
        self.extend()?;
        if !self.stopping {
            self.reserve()?;
            self.bury_unknown()?;
        }
        Ok(())
    }

    fn store_failed(&mut self, error: &StoreError) {
        let pause = self.away.map_or(PAUSES.0, |(_, pause)| pause);
        self.away = Some((Instant::now() + pause, (pause * 2).min(PAUSES.1)));
        self.count(|stats| {
            stats.store_errors += 1;
            stats.last_error = Some(chain(error));
        });
    }

    /// Tells the store what has ended.
    fn settle(&mut self) -> Result<(), StoreError> {
        let of = |job: &InFlight| Some((job.lease.clone(), job.end.clone()?));
        let ends: Vec<_> = self.jobs.values().filter_map(of).collect();
        if ends.is_empty() {
            return Ok(());
        }
        let settled = self.runner.store.settle(&ends)?;
        for ((lease, end), settled) in ends.into_iter().zip(settled) {
            self.jobs.remove(&lease.id);
            self.count(|stats| {
                let figure = match end {
                    _ if !settled => &mut stats.lost,
                    Settle::Done => &mut stats.completed,
                    Settle::Release => &mut stats.released,
                    Settle::Retry { .. } => &mut stats.retried,
                    Settle::Bury { .. } => &mut stats.buried,
                };
                *figure += 1;
            });
        }
        Ok(())
    }

    /// Extends the leases, when a third of their time is over.
    fn extend(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        if now < self.extend_at {
            return Ok(());
        }
        if !self.jobs.is_empty() {
            let leases: Vec<_> = self.jobs.values().map(|job| job.lease.clone()).collect();
            let extended = self.runner.store.extend(&leases, self.runner.lease)?;
            for (lease, extended) in leases.iter().zip(extended) {
                if let Some(job) = self.jobs.get(&lease.id) {
                    job.shared.set_lost(!extended);
                }
            }
        }
        self.extend_at = now + self.runner.lease / 3;
        Ok(())
    }

    /// Reserves what there is room for, each kind in turn.
    fn reserve(&mut self) -> Result<(), StoreError> {
        let kinds = self.runner.kinds.len();
        self.first = (self.first + 1) % kinds.max(1);
        for i in 0..kinds {
            let kind = (self.first + i) % kinds;
            let room = self.room(kind);
            if room == 0 || Instant::now() < self.ask_at[kind] {
                continue;
            }
            let jobs = self.runner.store.reserve(self.runner.kinds[kind].name, room, self.runner.lease)?;
            if jobs.len() < room {
                self.ask_at[kind] = Instant::now() + self.runner.poll;
            }
            for job in jobs {
                self.begin(kind, job);
            }
        }
        Ok(())
    }

    /// How many jobs of a kind may be reserved: what the pool could start now, less what has ended and the store does not know yet.
    fn room(&self, kind: usize) -> usize {
        let pool = &self.runner.kinds[kind].pool;
        let figures = pool.figures();
        let shares_pool =
            |other: usize| std::ptr::addr_eq(Arc::as_ptr(pool), Arc::as_ptr(&self.runner.kinds[other].pool));
        let ours = self.jobs.values().filter(|job| shares_pool(job.kind)).count();
        (figures.capacity + self.runner.prefetch).saturating_sub(ours.max(figures.running + figures.queued))
    }

    fn begin(&mut self, kind: usize, job: Reserved) {
        let Reserved { ref lease, attempt, attempts, .. } = job;
        if let Some(running) = self.jobs.get_mut(&lease.id) {
            // Its lease ended in a stall of the store, and it runs here.
            running.shared.set_lost(false);
            (running.lease, running.attempt) = (lease.clone(), attempt);
            return self.count(|stats| stats.adopted += 1);
        }
        self.count(|stats| stats.reserved += 1);
        let shared = Arc::new(Shared::default());
        let in_flight =
            InFlight { lease: lease.clone(), kind, attempt, attempts, shared: Arc::clone(&shared), end: None };
        self.jobs.insert(lease.id.clone(), in_flight);
        let run = Run::new(job, shared, self.sender.clone());
        let handler = Arc::clone(&self.runner.kinds[kind].handler);
        // A task that is refused is dropped, and its `Run` says that it has not begun.
        let _ = self.runner.kinds[kind].pool.try_run(Task::new(move || run.run(&handler)));
    }

    fn bury_unknown(&mut self) -> Result<(), StoreError> {
        if !self.runner.buries_unknown || Instant::now() < self.unknown_at {
            return Ok(());
        }
        for kind in self.runner.store.kinds()? {
            if self.runner.kinds.iter().any(|known| known.name == kind) {
                continue;
            }
            let error = format!("no handler for jobs of kind `{kind}`");
            loop {
                let jobs = self.runner.store.reserve(&kind, UNKNOWN_BATCH, self.runner.lease)?;
                let count = jobs.len();
                let ends: Vec<_> =
                    jobs.into_iter().map(|job| (job.lease, Settle::Bury { error: error.clone() })).collect();
                let buried = if ends.is_empty() {
                    0
                } else {
                    self.runner.store.settle(&ends)?.into_iter().filter(|buried| *buried).count()
                };
                self.count(|stats| {
                    stats.reserved += count as u64;
                    stats.buried += buried as u64;
                    stats.lost += (count - buried) as u64;
                });
                if count < UNKNOWN_BATCH {
                    break;
                }
            }
        }
        self.unknown_at = Instant::now() + UNKNOWN_EVERY;
        Ok(())
    }

    /// Waits for the next event, or for the next thing to do.
    fn listen(&mut self) {
        let now = Instant::now();
        let next = match self.away {
            Some((until, _)) => until,
            None => self.extend_at.min(now + self.runner.poll),
        };
        let next = self.give_up.map_or(next, |time| next.min(time));
        if let Ok(event) = self.inbox.recv_timeout(next.saturating_duration_since(now)) {
            self.note(event);
        }
        while let Ok(event) = self.inbox.try_recv() {
            self.note(event);
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Ended { id, end } => self.ended(&id, end),
            Event::Stop { give_up } => {
                (self.stopping, self.give_up) = (true, give_up);
                for job in self.jobs.values_mut().filter(|job| job.end.is_none()) {
                    if job.shared.claim() {
                        job.end = Some(Settle::Release);
                    }
                }
            }
        }
    }

    fn ended(&mut self, id: &str, end: End) {
        // What the runner took back has an end already, or is gone.
        let Some(job) = self.jobs.get_mut(id).filter(|job| job.end.is_none()) else { return };
        job.end = Some(match end {
            End::Done => Settle::Done,
            End::Failed(error) if job.attempt < job.attempts => {
                Settle::Retry { after: self.runner.pause_after(job.attempt), error }
            }
            End::Failed(error) | End::Hopeless(error) => Settle::Bury { error },
            End::NotBegun => {
                // The pool is full of other tasks, or closed.
                self.ask_at[job.kind] = Instant::now() + self.runner.poll;
                Settle::Release
            }
        });
    }

    fn count(&self, f: impl FnOnce(&mut Stats)) {
        f(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn publish(&self) {
        let in_flight = self.jobs.len();
        let running = self.jobs.values().filter(|job| job.end.is_none() && job.shared.is_begun()).count();
        self.count(|stats| (stats.in_flight, stats.running) = (in_flight, running));
    }
}
