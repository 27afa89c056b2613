//! Delivers events to the servers of tenants: each at least once, or it is in the dead letters.

use formicary::{BuildError, DeadLetters, Handle, Limited, PoolWithFunc, Quota, Retry, RetryError, Stack, SubmitError};
use std::{sync::Arc, time::Duration};

#[derive(Clone)]
pub struct Event {
    pub host: String,
    pub body: String,
}

type Pool = PoolWithFunc<Event, Stack, Result<(), ureq::Error>>;
pub type Delivery = Handle<Result<(), RetryError<ureq::Error>>>;
pub struct Webhooks {
    view: Limited<Pool>,
    pool: Arc<Pool>,
    pub letters: DeadLetters<Event>,
}

impl Webhooks {
    pub fn new(agent: ureq::Agent, workers: usize, rate: Quota) -> Result<Self, BuildError> {
        let post = move |event: Event| agent.post(format!("http://{}/", event.host)).send(&event.body).map(drop);
        let pool = Arc::new(PoolWithFunc::new(workers, post)?);
        Ok(Webhooks { view: pool.limited(workers).rate_per_key(rate), pool, letters: DeadLetters::queue(10_000) })
    }

    /// For one tenant: half of the workers, and so many waiting events. Keep it until its deliveries have ended.
    pub fn tenant(&self, waiting: usize) -> Webhooks {
        let view = self.view.limited(self.pool.capacity().div_ceil(2)).queue(waiting);
        Webhooks { view, pool: Arc::clone(&self.pool), letters: self.letters.clone() }
    }

    /// Blocks while the tenant has too many events waiting.
    pub fn send(&self, event: Event) -> Result<Delivery, SubmitError<Event>> {
        let retry = Retry::exponential(Duration::from_millis(20)).max(Duration::from_secs(1)).jitter().attempts(6);
        self.view.with().rate_key(&event.host).retrying(retry).dead_letters(&self.letters).spawn(event)
    }

    /// Sends the dead letters again.
    pub fn replay(&self) -> Vec<Delivery> {
        let mut sent = Vec::new();
        self.letters.replay(|event| self.send(event).map(|delivery| sent.push(delivery)));
        sent
    }
}
