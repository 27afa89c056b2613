//! Delivers events of ten tenants to servers that fail now and then: with status 500, by closing the connection, by never answering.
//! `deliver.rs` is the program; `server.rs` starts the servers, on free ports of this machine; this file is the load and the checks.
//!
//! `cargo run -p webhooks`. It fails if an event is lost, if a host gets more than its rate, or if a tenant starves.

// Each file reads as it would in a program of its own.
#![allow(unreachable_pub)]

mod deliver;
mod server;

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use deliver::{Event, Webhooks};
use formicary::Quota;
use server::Servers;
use ureq::Agent;

const HOSTS: usize = 4;
const PER_SECOND: u32 = 100;
const BURST: u32 = 5;
const WORKERS: usize = 8;
/// How many events of one tenant may wait.
const WAITING: usize = 16;
/// The first tenant has many events, the others few.
const GREEDY: usize = 400;
const QUIET: usize = 8;
const TENANTS: usize = 10;

type Failure = Box<dyn Error + Send + Sync>;

/// The numbers of a tenant's events.
fn events_of(tenant: usize) -> std::ops::Range<usize> {
    match tenant {
        0 => 0..GREEDY,
        _ => GREEDY + (tenant - 1) * QUIET..GREEDY + tenant * QUIET,
    }
}

/// Sends the events of a tenant. Returns how many of the greedy one's requests came between an event and its first request, at most.
fn feed(tenant: usize, webhooks: &Webhooks, servers: &Servers) -> Result<usize, Failure> {
    let (own, mut sent) = (webhooks.tenant(WAITING), Vec::new());
    for number in events_of(tenant) {
        let (host, body) = (servers.hosts[number % HOSTS].clone(), format!("{number} {tenant}"));
        let greedy_before = servers.greedy();
        sent.push((number, greedy_before, own.send(Event { host, body })?));
    }
    let mut longest = 0;
    for (number, greedy_before, delivery) in sent {
        // Whether it was given up is checked by what came, and what did not.
        drop(delivery.join()?);
        longest = longest.max(servers.arrivals(number).greedy_before.saturating_sub(greedy_before));
    }
    Ok(longest)
}

/// The most requests beyond its rate that a host got in any time. Those that had started and not arrived when that time began are no excess.
fn most_beyond_rate(times: &[Instant]) -> f64 {
    let allowed = |begin: Instant, end: Instant| f64::from(PER_SECOND) * (end - begin).as_secs_f64();
    let started = (f64::from(BURST), WORKERS as f64);
    let excess = |i: usize, j: usize| (j - i + 1) as f64 - allowed(times[i], times[j]) - started.0 - started.1;
    let pairs = (0..times.len()).flat_map(|i| (i..times.len()).map(move |j| (i, j)));
    pairs.map(|(i, j)| excess(i, j)).fold(f64::MIN, f64::max)
}

fn main() -> Result<(), Failure> {
    let servers = Servers::start(HOSTS)?;
    let agent: Agent =
        Agent::config_builder().timeout_global(Some(Duration::from_millis(500))).proxy(None).build().into();
    let rate = Quota::per_second(PER_SECOND).burst(BURST);
    let webhooks = Webhooks::new(agent, WORKERS, rate)?;

    let begun = Instant::now();
    let delays = thread::scope(|scope| -> Result<Vec<usize>, Failure> {
        let (webhooks, servers) = (&webhooks, &*servers);
        let greedy = scope.spawn(|| feed(0, webhooks, servers));
        servers.await_greedy(2 * WAITING); // it has begun, and the rest of its events waits
        let quiet: Vec<_> = (1..TENANTS).map(|tenant| scope.spawn(move || feed(tenant, webhooks, servers))).collect();
        let quiet = quiet.into_iter().map(|feed| feed.join().map_err(|_| "a feed panicked")?).collect();
        greedy.join().map_err(|_| "the greedy feed panicked")??;
        quiet
    })?;
    let all = 0..events_of(TENANTS - 1).end;
    let [failed, lost, hung] = servers.failures();
    println!(
        "{} events to {HOSTS} hosts in {:.1?}: {failed} times status 500, {lost} lost answers, {hung} timeouts",
        all.end,
        begun.elapsed()
    );

    assert!(failed > 0 && lost > 0 && hung > 0, "the servers failed in each way");

    // What was not delivered is in the letters: the servers get it when these are sent again.
    let undelivered = || all.clone().filter(|event| servers.arrivals(*event).delivered == 0).collect::<Vec<_>>();
    println!("{} events undelivered, {} dead letters", undelivered().len(), webhooks.letters.len());
    assert!(!undelivered().is_empty(), "some servers never answered");
    servers.repair();
    for _ in 0..10 {
        for delivery in webhooks.replay() {
            drop(delivery.join()?);
        }
    }
    assert_eq!(undelivered(), [0; 0], "lost");
    assert!(webhooks.letters.is_empty());
    let twice = all.clone().filter(|event| servers.arrivals(*event).delivered > 1).count();
    println!("sent again: each event was delivered at least once, {twice} more than once");

    for (host, times) in servers.hosts.iter().zip(servers.times()) {
        let excess = most_beyond_rate(&times);
        println!("{host}: {} requests, {PER_SECOND} per second at most", times.len());
        assert!(excess < 1e-6, "{host} got {excess:.2} requests too many");
    }

    println!(
        "requests of the greedy tenant before the first of a quiet one's event, at most: {delays:?} of {GREEDY} events"
    );
    assert!(delays.iter().all(|delay| *delay < GREEDY / 2), "a quiet tenant starved");
    Ok(())
}
