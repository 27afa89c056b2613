//! The state of workers, and what goes wrong with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use formicary::{Context, Worker};

use super::job::{Job, Output, panics};
use super::ledger::Ledger;

/// The state of a worker.
pub(crate) struct Adept {
    pub(crate) worker: usize,
    faults: Arc<Faults>,
    _ledger: Arc<Ledger>,
}

impl Adept {
    pub(crate) fn make(
        ledger: &Arc<Ledger>,
        faults: &Arc<Faults>,
    ) -> impl Fn(usize) -> Result<Adept, formicary::BoxError> + Send + Sync + 'static {
        let (ledger, faults) = (Arc::clone(ledger), Arc::clone(faults));
        move |worker| {
            if faults.take(Fault::Factory) {
                return Err("planned".into());
            }
            faults.strike(Fault::FactoryPanics);
            Ok(Adept { worker, faults: Arc::clone(&faults), _ledger: Arc::clone(&ledger) })
        }
    }
}

impl Worker for Adept {
    type Input = Job;
    type Output = Output;

    fn process(&mut self, job: Job, cx: &Context<'_>) -> Output {
        assert_eq!(cx.worker(), self.worker, "a state stays where it was made");
        job.run()
    }

    fn ready(&mut self) {
        self.faults.strike(Fault::Ready);
    }

    fn terminate(self) {
        self.faults.strike(Fault::Terminate);
    }
}

impl Drop for Adept {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.faults.strike(Fault::Drop);
        }
    }
}

choices! {
    /// What can go wrong with a state.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Fault {
        Factory,
        FactoryPanics,
        Ready,
        Terminate,
        Drop,
    }
}

/// How many times more each goes wrong.
#[derive(Default)]
pub(crate) struct Faults([AtomicUsize; 5]);

impl Faults {
    pub(crate) fn plan(&self, fault: Fault, times: usize) {
        self.0[fault as usize].store(times, SeqCst);
    }

    fn take(&self, fault: Fault) -> bool {
        self.0[fault as usize].fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    fn strike(&self, fault: Fault) {
        if self.take(fault) {
            panics();
        }
    }
}
