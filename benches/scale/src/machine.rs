//! The simulated machine: cores, cache lines, and the time that an access takes.
//!
//! A line is held by the core that wrote it last, or by all that have read it since. An access by a core that holds the line as it needs it
//! costs no transfer. Any other access is a transfer. Those for writes take place one after the other, in the order of the requests; those for
//! reads wait for the writes before them. The core that held the line keeps it for the first part of the transfer to the next
//! ([`Costs::hold`]), so a short sequence of accesses is rarely interrupted.
//!
//! A core runs one program, an `async` function whose awaits are the accesses. What a program does between two awaits happens at one
//! moment.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Nanoseconds.
pub type Nanos = u64;

/// The most cores: the holders of a line are bits of a word.
pub const MAX_CORES: usize = u128::BITS as usize;

/// How many transfers of one core overlap.
pub const OUTSTANDING: usize = 12;

/// What the machine's operations cost, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// A transfer between two cores of a group, which share a cache.
    pub near: Nanos,
    /// A transfer between two groups.
    pub far: Nanos,
    /// The cores of a group.
    pub group: usize,
    /// What a transfer of memory that is used in order costs, in percent of a transfer: the core begins it ahead of the use.
    pub ahead: u64,
    /// For which part of a transfer the line stays where it is, in percent.
    pub hold: u64,
    /// An access to a line that the core holds.
    pub hit: Nanos,
    /// What an atomic read-modify-write, or a fence, costs beyond that.
    pub atomic: Nanos,
    /// `spin_loop`.
    pub pause: Nanos,
    /// `sched_yield` where no other thread is ready.
    pub sched_yield: Nanos,
    /// What a thread pays to wake another.
    pub unpark: Nanos,
    /// From then on until the other thread runs.
    pub wake: Nanos,
}

impl Costs {
    /// The transfer takes as long between any two cores.
    #[cfg(test)]
    pub fn uniform(self, transfer: Nanos) -> Self {
        Costs { near: transfer, far: transfer, ..self }
    }

    fn transfer(&self, holders: u128, to: usize) -> Nanos {
        let group = (to / self.group * self.group) as u32;
        let near = u128::MAX.checked_shr(u128::BITS - self.group as u32).unwrap_or(u128::MAX) << group;
        if holders & !near == 0 { self.near } else { self.far }
    }
}

/// A cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line(usize);

struct LineState {
    /// What it is called in the report.
    name: &'static str,
    /// The cores that have a copy. One that is alone may write.
    holders: u128,
    /// When the last transfer for a write ends.
    free_at: Nanos,
    /// Cores that will lose the line, or the right to write it, and when.
    leaving: Vec<(usize, Nanos)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

type Program<'m> = Pin<Box<dyn Future<Output = ()> + 'm>>;

/// The lines, the clock, and the cores that wait.
pub struct Machine {
    pub costs: Costs,
    now: Cell<Nanos>,
    lines: RefCell<Vec<LineState>>,
    /// When which core goes on. The number in the middle keeps the order of equal times.
    events: RefCell<BinaryHeap<Reverse<(Nanos, u64, usize)>>>,
    serial: Cell<u64>,
    random: Cell<u64>,
    /// The time that cores have spent waiting, by the name of what they waited for.
    waits: RefCell<BTreeMap<&'static str, Nanos>>,
    /// By core: what it is parked for, and since when.
    parked: RefCell<BTreeMap<usize, (&'static str, Nanos)>>,
    end: Cell<Nanos>,
    /// From when on tasks and waits are counted.
    from: Cell<Nanos>,
    done: Cell<u64>,
}

impl Machine {
    pub fn new(costs: Costs) -> Self {
        Machine {
            costs,
            now: Cell::new(0),
            lines: RefCell::new(Vec::new()),
            events: RefCell::new(BinaryHeap::new()),
            serial: Cell::new(0),
            random: Cell::new(1),
            waits: RefCell::new(BTreeMap::new()),
            parked: RefCell::new(BTreeMap::new()),
            end: Cell::new(0),
            from: Cell::new(0),
            done: Cell::new(0),
        }
    }

    /// A line that no core has.
    pub fn line(&self, name: &'static str) -> Line {
        let mut lines = self.lines.borrow_mut();
        lines.push(LineState { name, holders: 0, free_at: 0, leaving: Vec::new() });
        Line(lines.len() - 1)
    }

    /// Gives the line to a core, as if that core had written it.
    #[cfg(test)]
    pub fn give(&self, line: Line, core: usize) {
        self.lines.borrow_mut()[line.0].holders = 1 << core;
    }

    pub fn now(&self) -> Nanos {
        self.now.get()
    }

    /// Between 7/8 and 9/8 of that, so that cores do not run in step. The sequence is the same in each run.
    pub fn about(&self, time: Nanos) -> Nanos {
        let next = self.random.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random.set(next);
        time - time / 8 + (next >> 33) % (time / 4 + 1)
    }

    /// A number below `limit`.
    pub fn below(&self, limit: usize) -> usize {
        self.about(0);
        (self.random.get() >> 33) as usize % limit
    }

    /// Runs program `n` on core `n`, until all have ended or `end` is reached. Returns the time at the end.
    pub fn run<'m>(&'m self, programs: Vec<Program<'m>>, end: Nanos) -> Nanos {
        assert!(programs.len() <= MAX_CORES, "{MAX_CORES} cores at most");
        self.end.set(end);
        let mut programs: Vec<Option<Program<'m>>> = programs.into_iter().map(Some).collect();
        (0..programs.len()).for_each(|core| self.resume_at(core, self.now()));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let next = self.events.borrow_mut().pop();
            let Some(Reverse((time, _, core))) = next else { return self.now() };
            if time >= end {
                self.now.set(end);
                return end;
            }
            self.now.set(time);
            if let Some(program) = &mut programs[core]
                && program.as_mut().poll(&mut context).is_ready()
            {
                programs[core] = None;
            }
        }
    }

    /// Counts tasks and waits from that time on.
    pub fn count_from(&self, from: Nanos) {
        self.from.set(from);
    }

    /// Counts a task that has ended.
    pub fn count(&self) {
        if self.now() >= self.from.get() {
            self.done.set(self.done.get() + 1);
        }
    }

    /// How many tasks have ended.
    pub fn done(&self) -> u64 {
        self.done.get()
    }

    /// What cores have waited for, and for how long in all, the longest first.
    pub fn waits(&self) -> Vec<(&'static str, Nanos)> {
        let mut waits = self.waits.borrow().clone();
        for (name, since) in self.parked.borrow().values() {
            *waits.entry(name).or_default() += self.now().saturating_sub(self.from.get().max(*since));
        }
        let mut waits: Vec<_> = waits.into_iter().collect();
        waits.sort_by_key(|(_, time)| Reverse(*time));
        waits
    }

    fn note_wait(&self, name: &'static str, time: Nanos) {
        if time > 0 && self.now() >= self.from.get() {
            *self.waits.borrow_mut().entry(name).or_default() += time;
        }
    }

    /// Lets a parked core go on at that time.
    pub fn resume_at(&self, core: usize, time: Nanos) {
        self.serial.set(self.serial.get() + 1);
        self.events.borrow_mut().push(Reverse((time, self.serial.get(), core)));
    }

    /// When the access ends, and how long the core waits until then for which line. Later accesses find the line where this one leaves it.
    fn access(&self, core: usize, line: Line, access: Access, percent: u64) -> (Nanos, &'static str, Nanos) {
        let mut lines = self.lines.borrow_mut();
        let line = &mut lines[line.0];
        let (now, me) = (self.now(), 1_u128 << core);
        let is_hit = match access {
            _ if line.holders == 0 => true,
            Access::Read => line.holders & me != 0,
            Access::Write => line.holders == me,
        };
        if is_hit {
            line.holders |= me;
            return (now + self.costs.hit, line.name, 0);
        }
        if line.leaving.iter().any(|(holder, until)| *holder == core && *until > now) {
            return (now + self.costs.hit, line.name, 0);
        }
        let transfer = self.costs.transfer(line.holders, core) * percent / 100;
        let begin = now.max(line.free_at);
        let done = begin + transfer;
        line.leaving.retain(|(_, until)| *until > now);
        if line.holders.count_ones() == 1 {
            line.leaving.push((line.holders.trailing_zeros() as usize, begin + transfer * self.costs.hold / 100));
        }
        match access {
            Access::Read => line.holders |= me,
            Access::Write => {
                line.holders = me;
                line.free_at = done;
            }
        }
        (done + self.costs.hit, line.name, done - now)
    }
}

/// A core as its program sees it.
#[derive(Clone, Copy)]
pub struct Core<'m> {
    pub machine: &'m Machine,
    pub id: usize,
}

impl Core<'_> {
    async fn until(self, time: Nanos) {
        let machine = self.machine;
        let next = machine.events.borrow().peek().map(|Reverse((next, ..))| *next);
        if next.is_none_or(|next| time < next) && time < machine.end.get() {
            // Nothing else happens before.
            machine.now.set(time);
            return;
        }
        machine.resume_at(self.id, time);
        pending_once().await;
    }

    /// Computes for so long.
    pub async fn work(self, time: Nanos) {
        if time > 0 {
            self.until(self.machine.now() + time).await;
        }
    }

    async fn access(self, line: Line, access: Access, percent: u64, more: Nanos) {
        let (done, name, wait) = self.machine.access(self.id, line, access, percent);
        self.machine.note_wait(name, wait);
        self.until(done + more).await;
    }

    pub async fn read(self, line: Line) {
        self.access(line, Access::Read, 100, 0).await;
    }

    /// Reads several lines whose addresses do not depend on each other, so that the transfers overlap: at most [`OUTSTANDING`] of them.
    pub async fn read_together(self, lines: impl IntoIterator<Item = Line>) {
        let read = |line| self.machine.access(self.id, line, Access::Read, 100);
        if let Some((done, name, wait)) = lines.into_iter().map(read).max() {
            self.machine.note_wait(name, wait);
            self.until(done).await;
        }
    }

    pub async fn write(self, line: Line) {
        self.access(line, Access::Write, 100, 0).await;
    }

    /// An atomic read-modify-write. What the caller does when it returns is its effect.
    pub async fn modify(self, line: Line) {
        self.access(line, Access::Write, 100, self.machine.costs.atomic).await;
    }

    /// Reads a line whose transfer begins ahead of the use ([`Costs::ahead`]).
    pub async fn read_ahead(self, line: Line) {
        self.access(line, Access::Read, self.machine.costs.ahead, 0).await;
    }

    /// Writes such a line.
    pub async fn write_ahead(self, line: Line) {
        self.access(line, Access::Write, self.machine.costs.ahead, 0).await;
    }

    pub async fn fence(self) {
        self.work(self.machine.costs.atomic).await;
    }

    /// Waits until another core calls [`wake`](Self::wake), or `resume_at`. `name` is what it waits for.
    pub async fn park(self, name: &'static str) {
        let machine = self.machine;
        machine.parked.borrow_mut().insert(self.id, (name, machine.now()));
        pending_once().await;
        let since = machine.parked.borrow_mut().remove(&self.id).map_or(machine.now(), |(_, since)| since);
        machine.note_wait(name, machine.now() - since.max(machine.from.get().min(machine.now())));
    }

    /// Waits for something that is not a line.
    pub async fn wait(self, name: &'static str, time: Nanos) {
        self.machine.note_wait(name, time);
        self.work(time).await;
    }

    /// Wakes a core that has parked.
    pub async fn wake(self, core: usize) {
        self.machine.resume_at(core, self.machine.now() + self.machine.costs.wake);
        self.wait("unpark", self.machine.costs.unpark).await;
    }
}

async fn pending_once() {
    let mut is_first = true;
    poll_fn(|_| if std::mem::replace(&mut is_first, false) { Poll::Pending } else { Poll::Ready(()) }).await;
}
