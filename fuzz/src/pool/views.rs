//! Views of a pool of closures.

use std::sync::Arc;

use formicary::{CallError, SubmitErrorKind};

use super::super::closures::View;
use super::super::job::{Of, What};
use super::super::subjects::{MOMENT, Subject, Way};
use super::Driver;
use super::submits::{SubmitMode, not_held};

choices! {
    #[derive(Debug)]
    pub(super) enum ViewStep {
        /// With this limit, in the place of the one before, which is dropped.
        Make(u8),
        Submit(What),
        Try(What),
        Spawn(What),
        Call(What),
        /// A thread of its own submits and blocks.
        Block(What),
        /// A thread of its own calls.
        BlockCall(What),
        Close,
        WaitIdle,
        Drop,
    }
}

impl ViewStep {
    pub(super) fn what(&self) -> Option<What> {
        match self {
            Self::Submit(what)
            | Self::Try(what)
            | Self::Spawn(what)
            | Self::Call(what)
            | Self::Block(what)
            | Self::BlockCall(what) => Some(*what),
            _ => None,
        }
    }
}

impl<S: Subject> Driver<'_, S> {
    pub(super) fn view(&mut self, which: u8, step: &ViewStep) {
        let Some(closures) = self.pool.closures() else { return };
        let which = usize::from(which) % self.views.len();
        if let ViewStep::Make(limit) = step {
            let view = closures.view(usize::from(1 + limit % 4));
            self.drop_view(which);
            self.views[which] = Some(view);
            return;
        }
        let Some(view) = self.views[which].clone() else { return };
        match step {
            ViewStep::Make(_) => {}
            ViewStep::Submit(what) => {
                self.submit_to_view(&view, *what, Way::Block);
            }
            ViewStep::Try(what) => {
                self.submit_to_view(&view, *what, Way::Try);
            }
            ViewStep::Spawn(what) => {
                self.submit_to_view(&view, *what, Way::Handle);
            }
            ViewStep::Call(what) => self.call_view(&view, *what),
            ViewStep::Block(what) => {
                let ledger = Arc::clone(&self.ledger);
                self.on_thread(Of::View(Arc::clone(view.account())), *what, move |job| {
                    let id = job.id;
                    match view.enter(job, Way::Block) {
                        Ok(_) => ledger.accepted(id),
                        Err(_) => ledger.refused(id),
                    }
                });
            }
            ViewStep::BlockCall(what) => {
                let ledger = Arc::clone(&self.ledger);
                self.on_thread(Of::View(Arc::clone(view.account())), *what, move |job| {
                    let id = job.id;
                    match view.run(job) {
                        Ok(_) | Err(CallError::Failed(_)) => ledger.accepted(id),
                        Err(CallError::Refused(_)) => ledger.unsure(id),
                    }
                });
            }
            ViewStep::Close => view.close(),
            ViewStep::WaitIdle => {
                let is_alone = self.is_alone();
                let is_idle = if self.is_stuck() { view.wait_idle_timeout(MOMENT) } else { view.wait_idle() };
                assert!(is_idle || self.is_stuck());
                if is_idle && is_alone {
                    view.account().check(&view.stats());
                }
            }
            ViewStep::Drop => {
                drop(view);
                self.drop_view(which);
            }
        }
    }

    /// Fills a paused pool and its views: they have no more room than the pool.
    pub(super) fn crowd(&mut self, order: u8) {
        self.resume();
        let views: Vec<_> = self.views.iter().flatten().filter(|view| !view.account().is_over()).cloned().collect();
        let (Some(room), false) = (self.room(), views.is_empty() || self.is_trailing || self.is_faulty) else { return };
        self.await_quiet();
        if self.pool.is_closed() {
            return;
        }
        self.pauses.push(self.pool.pause());
        let beside = room.end() - self.pool.capacity();
        // The last one means the pool itself.
        let mut open: Vec<usize> = (0..=views.len()).collect();
        open.rotate_left(usize::from(order / 2) % (views.len() + 1));
        let (mut turn, mut own, mut waiting) = (0, 0, 0);
        while !open.is_empty() {
            let at = if order % 2 == 0 { turn % open.len() } else { 0 };
            turn += 1;
            let is_in = match views.get(open[at]) {
                Some(view) => self.submit_to_view(view, What::Return, Way::Try),
                None => self.submit(&SubmitMode::Try, What::Return),
            };
            if !is_in {
                open.remove(at);
                continue;
            }
            own += usize::from(open[at] == views.len());
            let in_views: Vec<usize> = views.iter().map(|view| view.stats().queued).collect();
            let (before, queued) = (waiting, self.pool.stats().queued);
            // A job with a permit is in the pool's queue.
            waiting = own + in_views.iter().sum::<usize>() - queued;
            let context = format!("{in_views:?} in views, {waiting} of them waiting, {queued} in a pool with {room:?}");
            assert!(waiting == before || waiting + queued <= *room.end(), "{context}");
            let is_right = |(view, held): (&Arc<dyn View>, &usize)| {
                *held <= view.account().limit().min(self.pool.capacity()) + beside
            };
            assert!(views.iter().zip(&in_views).all(is_right), "a view: {context}");
        }
        let queued = self.pool.stats().queued;
        assert!(room.contains(&queued), "{queued} instead of {room:?} in a pool with views");
    }

    fn drop_view(&mut self, which: usize) {
        let Some(view) = self.views[which].take() else { return };
        let figures = view.stats();
        self.is_trailing |= figures.queued > 0 || figures.running > 0;
        drop(view);
    }

    /// Submits a job; returns whether the view took it.
    fn submit_to_view(&mut self, view: &Arc<dyn View>, what: What, way: Way<'_>) -> bool {
        // Only this thread might make room in it.
        let way = if self.is_stuck() { Way::Try } else { way };
        let job = self.ledger.job_of(Of::View(Arc::clone(view.account())), what);
        let id = job.id;
        self.holds |= what.holds();
        match view.enter(job, way) {
            Ok(handle) => {
                self.ledger.accepted(id);
                self.handles.extend(handle.map(|handle| (id, handle)));
                true
            }
            Err(kind) => {
                self.ledger.refused(id);
                assert!(self.may_view_refuse(&**view, kind, matches!(way, Way::Try)), "refused as {kind:?}");
                false
            }
        }
    }

    fn may_view_refuse(&self, view: &dyn View, kind: SubmitErrorKind, is_try: bool) -> bool {
        match kind {
            SubmitErrorKind::Full if is_try => true,
            SubmitErrorKind::Closed => self.may_be_closed() || view.account().is_over(),
            _ => self.may_refuse(kind),
        }
    }

    fn call_view(&mut self, view: &Arc<dyn View>, what: What) {
        self.resume();
        let what = not_held(what);
        let job = self.ledger.job_of(Of::View(Arc::clone(view.account())), what);
        let id = job.id;
        match view.run(job) {
            Ok(output) => {
                self.ledger.accepted(id);
                assert_eq!((output.id, self.ledger.ran(id)), (id, 1), "an answer to the call");
            }
            Err(CallError::Refused(refusal)) => {
                self.ledger.unsure(id);
                assert!(self.may_view_refuse(&**view, refusal.kind(), false), "refused as {:?}", refusal.kind());
            }
            Err(CallError::Failed(error)) => {
                self.ledger.accepted(id);
                let is_dropped = error.is_cancelled() && (self.may_be_closed() || view.account().is_over());
                assert!(is_dropped || self.is_failure_of(id, what, &error), "{error}");
            }
        }
    }
}
