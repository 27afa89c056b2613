//! Crawls the pages of some hosts: each page once, and each host with no more requests at once, and no more per second, than it allows.
//!
//! `cargo run -p crawl` serves three hosts itself, with 40 pages each that link to one another, and crawls them. At the end it compares
//! what it has fetched with what the hosts were asked for.
//!
//! - A host has a view of the pool (`limited`) with a rate. A page that waits for its host occupies no worker, so a slow host holds up no
//!   other.
//! - A page submits those that it links to. Tasks that the pool's own tasks submit never wait for room, so the crawl cannot block itself.
//!   What is not fetched yet is in memory; a crawl without an end would keep it elsewhere.
//! - `SIGTERM` or Ctrl-C fetches no page that has not gone to a worker, and says how many are left.
//!
//! Options: `--hosts N`, `--pages N`, `--per-host N` requests at once, `--rate N` requests per second and host, `--workers N`.

mod crawler;
mod fetch;
mod site;

use std::error::Error;
use std::process::ExitCode;
use std::sync::mpsc::channel;

use crawler::Crawler;
use fetch::Url;
use formicary::{Pool, Quota};
use lexopt::{Arg, Parser, ValueExt};
use site::Site;

struct Args {
    hosts: usize,
    pages: usize,
    per_host: usize,
    rate: u32,
    workers: usize,
}

fn arguments() -> Result<Args, lexopt::Error> {
    let mut args = Args { hosts: 3, pages: 40, per_host: 2, rate: 100, workers: 8 };
    let mut parser = Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("hosts") => args.hosts = parser.value()?.parse()?,
            Arg::Long("pages") => args.pages = parser.value()?.parse()?,
            Arg::Long("per-host") => args.per_host = parser.value()?.parse()?,
            Arg::Long("rate") => args.rate = parser.value()?.parse()?,
            Arg::Long("workers") => args.workers = parser.value()?.parse()?,
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(args)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = arguments()?;
    let site = Site::start(args.hosts, args.pages, false)?;
    let pool = Pool::builder().workers(args.workers).name("crawl").build()?;
    let ending = formicary::shutdown_on_signal()?;
    ending.add(&pool);

    let quota = Quota::per_second(args.rate).burst(5);
    let crawler = Crawler::new(&pool, args.per_host, quota);
    let (sender, pages) = channel();
    crawler.visit(Url { host: site.hosts()[0].clone(), path: "/0".to_owned() }, &sender);
    drop(sender);
    // Each task that is not done holds a sender, so this ends with the last of them: it was fetched, or refused, or dropped.
    let mut fetched = 0;
    for page in pages {
        match page.links {
            Ok(links) => println!("{}: {links} links", page.url),
            Err(error) => println!("{}: {error}", page.url),
        }
        fetched += 1;
    }
    pool.shutdown();
    let left = crawler.seen() - fetched;
    println!("{fetched} fetched, {left} left");
    if ending.drain_token().is_cancelled() {
        return Ok(ExitCode::from(130));
    }
    site.check(args.per_host)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The site answers two of the pages of each host only together: a crawler that is too polite would not get them.
    #[test]
    fn each_page_is_fetched_once_and_each_host_has_as_many_requests_as_it_allows() -> Result<(), Box<dyn Error>> {
        let (hosts, pages, per_host) = (3, 50, 2);
        let site = Site::start(hosts, pages, true)?;
        let pool = Pool::builder().workers(hosts * per_host).build()?;
        let crawler = Crawler::new(&pool, per_host, Quota::per_second(10_000));
        let (sender, results) = channel();
        crawler.visit(Url { host: site.hosts()[0].clone(), path: "/0".to_owned() }, &sender);
        drop(sender);
        assert_eq!(results.iter().filter(|page| page.links.is_ok()).count(), hosts * pages);
        assert_eq!(crawler.seen(), hosts * pages);
        site.check(per_host)?;
        assert_eq!(site.peaks(), vec![per_host; hosts]);
        Ok(())
    }

    #[test]
    fn a_page_that_cannot_be_fetched_is_reported() -> Result<(), Box<dyn Error>> {
        let site = Site::start(1, 3, false)?;
        let pool = Pool::new(2)?;
        let crawler = Crawler::new(&pool, 1, Quota::per_second(10_000));
        let (sender, results) = channel();
        for (host, path) in [(site.hosts()[0].clone(), "/nothing"), ("127.0.0.1:0".to_owned(), "/0")] {
            crawler.visit(Url { host, path: path.to_owned() }, &sender);
        }
        drop(sender);
        assert_eq!(results.iter().filter(|page| page.links.is_err()).count(), 2);
        Ok(())
    }
}
