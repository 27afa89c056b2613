//! What is to be fetched, and when each host allows it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use formicary::{Limited, Pool, Quota};
use parking_lot::Mutex;

use crate::fetch::{Url, fetch, links};

/// A page that was fetched, or not.
pub(crate) struct Page {
    pub(crate) url: Url,
    /// How many links it has.
    pub(crate) links: io::Result<usize>,
}

pub(crate) struct Crawler {
    /// All workers. A view does not keep its pool open, as a pool in one of its own tasks would.
    all: Limited<Pool>,
    per_host: usize,
    quota: Quota,
    hosts: Mutex<HashMap<String, Arc<Limited<Pool>>>>,
    seen: Mutex<HashSet<Url>>,
}

impl Crawler {
    pub(crate) fn new(pool: &Pool, per_host: usize, quota: Quota) -> Arc<Self> {
        let all = pool.limited(pool.capacity());
        Arc::new(Crawler { all, per_host, quota, hosts: Mutex::default(), seen: Mutex::default() })
    }

    /// Fetches a page and all that it leads to, unless it was seen before. What becomes of it goes to `pages`, unless the pool is closed.
    pub(crate) fn visit(self: &Arc<Self>, url: Url, pages: &Sender<Page>) {
        if !self.seen.lock().insert(url.clone()) {
            return;
        }
        let host = self.host(&url.host);
        let (crawler, pages) = (Arc::clone(self), pages.clone());
        // A refusal is the end of the pool, which leaves the page unfetched. It drops the sender.
        let _ = host.submit(move || {
            let found = fetch(&url).map(|text| links(&url, &text));
            let links = found.map(|found| {
                let count = found.len();
                found.into_iter().for_each(|link| crawler.visit(link, &pages));
                count
            });
            // An error is that nobody reads them any more.
            let _ = pages.send(Page { url, links });
        });
    }

    /// How many pages are known.
    pub(crate) fn seen(&self) -> usize {
        self.seen.lock().len()
    }

    /// The view of a host.
    fn host(&self, name: &str) -> Arc<Limited<Pool>> {
        let mut hosts = self.hosts.lock();
        let view =
            hosts.entry(name.to_owned()).or_insert_with(|| Arc::new(self.all.limited(self.per_host).rate(self.quota)));
        Arc::clone(view)
    }
}
