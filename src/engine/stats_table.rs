//! A pool's figures as a table for people: a line for each subject, and none for what there is nothing to say of.

use std::fmt;

use super::stats::{Drops, Refusals, Stats};

impl fmt::Display for Stats {
    /// A table of a few lines, without a line break at the end. Its form may change; programs read the fields.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { live, capacity, running, idle, spawned, retired, .. } = self;
        writeln!(f, "pool      {}", self.name)?;
        write!(
            f,
            "workers   {live} of {capacity}: {running} running, {idle} idle; {spawned} started, {retired} ended"
        )?;
        if self.given_up > 0 {
            write!(f, ", {} given up", self.given_up)?;
        }
        writeln!(f)?;
        let Stats { submitted, completed, panicked, cancelled, returned, peak_running, .. } = self;
        writeln!(
            f,
            "tasks     {submitted} submitted: {completed} completed, {panicked} panicked, {cancelled} cancelled, {returned} returned; \
             at most {peak_running} at once"
        )?;
        let Stats { queued, overcommitted, waiting, .. } = self;
        match self.queue_bound {
            Some(bound) => write!(f, "queue     {queued} of {bound}"),
            None => write!(f, "queue     {queued}, unbounded"),
        }?;
        if *overcommitted > 0 {
            write!(f, "; {overcommitted} beyond the bound")?;
        }
        write!(f, "; {waiting} submitters waiting")?;
        if self.scheduled > 0 {
            write!(f, "; {} scheduled", self.scheduled)?;
        }
        if self.rejected > 0 {
            write!(f, "\nrefused   {}", self.refusals)?;
        }
        if self.dropped > 0 {
            let Drops { oldest, newest, late, refused, closed } = self.drops;
            write!(f, "\ndropped   {}: {oldest} oldest, {newest} newest, {late} late", self.dropped)?;
            if refused + closed > 0 {
                write!(f, ", {refused} refused at their time, {closed} at the close")?;
            }
        }
        if self.handler_panics + self.failed_starts > 0 {
            let Stats { handler_panics, failed_starts, .. } = self;
            write!(f, "\nfaults    {handler_panics} panics outside of tasks, {failed_starts} failed starts")?;
        }
        for (index, shard) in self.shards.iter().enumerate() {
            write!(
                f,
                "\nshard {index:<3} {} workers: {} running, {} queued; {} submitted, {} stolen",
                shard.workers, shard.running, shard.queued, shard.submitted, shard.stolen
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Refusals {
    /// The sum, and each kind that there was: `3: 2 full, 1 closed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.full, "full"),
            (self.overloaded, "overloaded"),
            (self.timed_out, "timed out"),
            (self.cancelled, "cancelled"),
            (self.closed, "closed"),
            (self.spawn, "without a thread"),
            (self.would_deadlock, "would deadlock"),
            (self.too_large, "too large"),
        ];
        write!(f, "{}", self.total())?;
        let some = kinds.into_iter().filter(|(count, _)| *count > 0);
        some.enumerate().try_for_each(|(n, (count, kind))| {
            let separator = if n == 0 { ": " } else { ", " };
            write!(f, "{separator}{count} {kind}")
        })
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use super::*;
    use crate::queue::ShardStats;

    #[test]
    fn a_quiet_pool_takes_four_lines() {
        let stats = Stats { name: "mill".into(), capacity: 4, queue_bound: Some(10), ..Stats::default() };
        let text = "pool      mill\n\
            workers   0 of 4: 0 running, 0 idle; 0 started, 0 ended\n\
            tasks     0 submitted: 0 completed, 0 panicked, 0 cancelled, 0 returned; at most 0 at once\n\
            queue     0 of 10; 0 submitters waiting";
        assert_eq!(stats.to_string(), text);
    }

    #[test]
    fn every_figure_is_in_the_table() {
        let refusals = Refusals {
            full: 21,
            overloaded: 22,
            timed_out: 23,
            cancelled: 24,
            closed: 25,
            spawn: 26,
            would_deadlock: 27,
            too_large: 0,
        };
        let shard = ShardStats { workers: 31, submitted: 32, queued: 33, running: 34, stolen: 35 };
        let stats = Stats {
            name: "mill".into(),
            queue_bound: None,
            capacity: 1,
            live: 2,
            idle: 3,
            running: 4,
            queued: 5,
            overcommitted: 6,
            waiting: 7,
            scheduled: 19,
            submitted: 8,
            completed: 9,
            panicked: 10,
            cancelled: 11,
            rejected: refusals.total(),
            refusals,
            returned: 12,
            spawned: 13,
            retired: 14,
            given_up: 18,
            peak_running: 15,
            handler_panics: 16,
            failed_starts: 17,
            shards: vec![ShardStats::default(), shard],
            ..Stats::default()
        };
        let text = "pool      mill\n\
            workers   2 of 1: 4 running, 3 idle; 13 started, 14 ended, 18 given up\n\
            tasks     8 submitted: 9 completed, 10 panicked, 11 cancelled, 12 returned; at most 15 at once\n\
            queue     5, unbounded; 6 beyond the bound; 7 submitters waiting; 19 scheduled\n\
            refused   168: 21 full, 22 overloaded, 23 timed out, 24 cancelled, 25 closed, 26 without a thread, 27 would deadlock\n\
            faults    16 panics outside of tasks, 17 failed starts\n\
            shard 0   0 workers: 0 running, 0 queued; 0 submitted, 0 stolen\n\
            shard 1   31 workers: 34 running, 33 queued; 32 submitted, 35 stolen";
        assert_eq!(stats.to_string(), text);
    }
}
