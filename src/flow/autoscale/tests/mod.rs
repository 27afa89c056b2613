//! The controllers under scripted loads.

mod model;

use std::time::Duration;

use model::{Model, Period, mean_size, mean_throughput, turns};

use super::{ByLoad, Controller, Decision, GradientLimit, HillClimb, Reason, Sample};

/// A task takes 20 ms on average: 50 per second keep one worker busy.
const ONE_BUSY: f64 = 50.0;

fn sizes(periods: &[Period]) -> Vec<usize> {
    periods.iter().map(|period| period.size).collect()
}

/// The controllers respect the bounds by themselves; the driver would too.
fn assert_bounded(model: &Model, periods: &[Period]) {
    let is_inside = |period: &Period| (model.min..=model.max).contains(&period.decision.size);
    assert!(periods.iter().all(is_inside), "{:?}", sizes(periods));
}

#[test]
fn by_load_follows_a_step() {
    let mut model = Model::new(1, (1, 64));
    let periods = model.run(&mut ByLoad::new(), 600, |n| if n < 100 { ONE_BUSY / 2.0 } else { 20.0 * ONE_BUSY });
    assert_bounded(&model, &periods);
    let (before, after) = periods.split_at(100);
    assert!(before.iter().all(|period| period.size <= 3), "{:?}", sizes(before));
    let reached = after.iter().position(|period| period.size >= 21).unwrap();
    assert!(reached <= 30, "in {reached} periods: {:?}", sizes(after));
    let settled = &after[100..];
    assert!(turns(settled) <= 6, "{:?}", sizes(settled));
    assert!(settled.iter().all(|period| (20..=45).contains(&period.size)), "{:?}", sizes(settled));
}

#[test]
fn by_load_returns_after_a_burst() {
    let mut model = Model::new(2, (2, 32));
    let is_burst = |n| (100..110).contains(&n);
    let periods = model.run(&mut ByLoad::new(), 400, |n| if is_burst(n) { 40.0 * ONE_BUSY } else { ONE_BUSY });
    assert_bounded(&model, &periods);
    let most = periods[100..140].iter().map(|period| period.size).max().unwrap();
    assert!(most >= 16, "{:?}", sizes(&periods[100..140]));
    assert!(periods[250..].iter().all(|period| period.size <= 5), "{:?}", sizes(&periods[110..]));
    assert!(turns(&periods) <= 12, "{:?}", sizes(&periods));
}

#[test]
fn by_load_follows_a_wave_without_swinging() {
    const LENGTH: usize = 400;
    let mut model = Model::new(4, (1, 64));
    let load = |n: usize| {
        let wave = (n as f64 / LENGTH as f64 * std::f64::consts::TAU).sin();
        ONE_BUSY * (12.0 + 10.0 * wave)
    };
    let periods = model.run(&mut ByLoad::new(), 5 * LENGTH, load);
    assert_bounded(&model, &periods);
    let turns = turns(&periods);
    assert!((5..=5 * 6).contains(&turns), "{turns} in 5 waves: {:?}", sizes(&periods));
    for wave in periods.chunks(LENGTH).skip(1) {
        let (crest, trough) = (&wave[80..140], &wave[280..340]);
        assert!(mean_size(crest) > 2.0 * mean_size(trough), "{:?}", sizes(wave));
    }
}

#[test]
fn by_load_falls_to_the_minimum_after_a_cliff() {
    let mut model = Model::new(30, (3, 64));
    let periods = model.run(&mut ByLoad::new(), 300, |n| if n < 100 { 20.0 * ONE_BUSY } else { 0.0 });
    assert_bounded(&model, &periods);
    let after = &periods[100..];
    assert!(after[100..].iter().all(|period| period.size == 3), "{:?}", sizes(after));
    assert!(after.windows(2).all(|pair| pair[1].size <= pair[0].size), "{:?}", sizes(after));
}

/// Whatever the load: one that stays the same is no reason to go up and down. Most of all one at which the smaller size is too small, and the
/// larger one little used.
#[test]
fn by_load_settles_under_every_steady_load() {
    for tenths in 1..100 {
        let mut model = Model::new(4, (1, 16));
        // Long tasks: the waits are long even where utilisation is moderate.
        model.service = 100.0;
        let periods = model.run(&mut ByLoad::new(), 3000, |_| 10.0 * f64::from(tenths) / 10.0);
        assert_bounded(&model, &periods);
        let late = turns(&periods[1000..]);
        assert!(late <= 24, "{late} turns at {tenths}: {:?}", sizes(&periods));
    }
}

#[test]
fn by_load_takes_its_time_between_changes() {
    let mut sample = Sample { size: 4, min: 1, max: 100, queued: 1000, busy: 4.0, ..Sample::default() };
    sample.queue_wait = Duration::from_secs(1);
    let mut by_load = ByLoad::new().cool_down(3).max_step(5);
    let mut decisions = Vec::new();
    for _ in 0..9 {
        let Decision { size, reason } = by_load.next(&sample);
        decisions.push((size, reason == Reason::CoolDown));
        sample.size = size;
        sample.busy = size as f64;
    }
    let cools = |size| (size, true);
    let expected = [
        (6, false),
        cools(6),
        cools(6),
        cools(6),
        (9, false),
        cools(9),
        cools(9),
        cools(9),
        (14, false), // no more than 5 at a time
    ];
    assert_eq!(decisions, expected);
    // One queued task needs one worker, however long it has waited.
    sample.queued = 1;
    assert_eq!(ByLoad::new().next(&sample).size, sample.size + 1);
    // And where nothing waits any more, and little is in use, none.
    (sample.queued, sample.busy) = (0, 1.0);
    assert_eq!(ByLoad::new().next(&sample), Decision::keep(&sample, Reason::Settled));
}

/// Beyond eight workers each takes more from the others than it does.
fn contended(running: usize) -> f64 {
    1.0 + (running as f64 / 8.0).powi(2)
}

#[test]
fn hill_climbing_finds_the_peak_from_both_sides() {
    // The throughput of so many workers, relative to one that is alone.
    let rate = |size: usize| size as f64 / contended(size);
    let best = (1..40).map(rate).fold(0.0, f64::max);
    for start in [1, 8, 40] {
        let mut model = Model::new(start, (1, 40));
        (model.slowdown, model.queue) = (contended, 50);
        let periods = model.run(&mut HillClimb::new(), 3000, |_| 1000.0);
        assert_bounded(&model, &periods);
        let late = &periods[1000..];
        assert!(turns(late) <= 60, "from {start}: {} turns in {} periods", turns(late), late.len());
        let mean = mean_size(late);
        assert!((5.0..=11.0).contains(&mean), "from {start}: {mean}, {:?}", sizes(&periods));
        let got = mean_throughput(late) / ONE_BUSY / best;
        assert!(got > 0.9, "from {start}: {got} of the best throughput");
    }
}

/// Also where the load is just about what would make a larger size worth a trial.
#[test]
fn hill_climbing_rests_under_a_steady_load() {
    for busy in 1..13 {
        let mut model = Model::new(4, (1, 40));
        model.queue = 200;
        let periods = model.run(&mut HillClimb::new(), 3000, |_| f64::from(busy) * ONE_BUSY);
        assert_bounded(&model, &periods);
        let late = &periods[1000..];
        assert!(turns(late) <= 100, "{} turns at {busy}: {:?}", turns(late), sizes(late));
        assert!(mean_throughput(late) > 0.9 * f64::from(busy) * ONE_BUSY, "at {busy}: {:?}", sizes(late));
        assert!(mean_size(late) <= 2.0 * f64::from(busy) + 2.0, "at {busy}: {:?}", sizes(late));
    }
}

/// More workers make it slower, so a longer queue must not make it grow, as it would with `ByLoad`.
#[test]
fn hill_climbing_does_better_than_growing_by_load() {
    let last = |controller: &mut dyn Controller| {
        let mut model = Model::new(4, (1, 100));
        (model.slowdown, model.queue) = (contended, 1000);
        mean_throughput(&model.run(controller, 2000, |_| 1000.0)[1000..])
    };
    let (climbed, grown) = (last(&mut HillClimb::new()), last(&mut ByLoad::new()));
    assert!(climbed > 3.0 * grown, "{climbed} and {grown} per second");
}

#[test]
fn hill_climbing_needs_few_workers_for_little_load_and_follows_steps() {
    let mut model = Model::new(30, (1, 40));
    model.queue = 200;
    let load = |n: usize| match n {
        0..1500 => 4.0 * ONE_BUSY,
        1500..3000 => 16.0 * ONE_BUSY,
        _ => 0.0,
    };
    let periods = model.run(&mut HillClimb::new(), 3500, load);
    assert_bounded(&model, &periods);
    let [little, much] = [mean_size(&periods[1000..1500]), mean_size(&periods[2500..3000])];
    assert!((3.0..10.0).contains(&little), "{little}: {:?}", sizes(&periods[..1500]));
    assert!((14.0..32.0).contains(&much), "{much}: {:?}", sizes(&periods[1500..3000]));
    assert!(mean_throughput(&periods[2500..3000]) > 0.9 * 16.0 * ONE_BUSY);
    assert!(periods[3400..].iter().all(|period| period.size == 1), "{:?}", sizes(&periods[3000..]));
}

/// A downstream that does ten tasks at a time; more share it.
fn ten_at_a_time(running: usize) -> f64 {
    (running as f64 / 10.0).max(1.0)
}

#[test]
fn the_gradient_limit_stays_near_what_the_downstream_can_do() {
    for start in [1, 20] {
        let mut model = Model::new(start, (1, 200));
        (model.slowdown, model.queue) = (ten_at_a_time, 50);
        // For long, so that what it lets wait itself would become the usual.
        let periods = model.run(&mut GradientLimit::new().long_term(100), 3000, |_| 5000.0);
        assert_bounded(&model, &periods);
        let late = mean_size(&periods[2000..]);
        // It does all that it can, and few wait there.
        assert!((10.0..=30.0).contains(&late), "from {start}: {late}, {:?}", sizes(&periods));
        assert!(mean_throughput(&periods[2000..]) > 9.0 * ONE_BUSY);
    }
}

#[test]
fn the_gradient_limit_shrinks_when_the_downstream_gets_slow_and_recovers() {
    fn two_at_a_time(running: usize) -> f64 {
        (running as f64 / 2.0).max(1.0)
    }
    let mut model = Model::new(10, (2, 200));
    (model.slowdown, model.queue) = (ten_at_a_time, 50);
    let mut limit = GradientLimit::new().long_term(100);
    let before = mean_size(&model.run(&mut limit, 500, |_| 5000.0)[300..]);
    model.slowdown = two_at_a_time;
    let periods = model.run(&mut limit, 100, |_| 5000.0);
    assert!(periods.iter().any(|period| period.decision.reason == Reason::Congested));
    let during = mean_size(&model.run(&mut limit, 500, |_| 5000.0)[300..]);
    assert!(during < 0.6 * before, "{before}, then {during}");
    model.slowdown = ten_at_a_time;
    let after = mean_size(&model.run(&mut limit, 500, |_| 5000.0)[300..]);
    assert!((0.75..1.25).contains(&(after / before)), "{before}, then {after}");
}

#[test]
fn the_gradient_limit_learns_nothing_from_little_load() {
    let mut model = Model::new(50, (1, 100));
    let periods = model.run(&mut GradientLimit::new(), 100, |_| 10.0 * ONE_BUSY);
    assert!(periods.iter().all(|period| period.decision == Decision::to(50, Reason::TooLittleLoad)));
}

#[test]
fn bad_settings_are_named() {
    let millis = Duration::from_millis;
    let bad: [(&str, &str, Box<dyn Controller>); 13] = [
        ("grow_wait", "0ns", Box::new(ByLoad::new().grow_wait(Duration::ZERO))),
        ("shrink_wait", "5ms", Box::new(ByLoad::new().grow_wait(millis(5)).shrink_wait(millis(5)))),
        ("shrink_utilisation", "NaN", Box::new(ByLoad::new().shrink_utilisation(f64::NAN))),
        ("shrink_utilisation", "0.9", Box::new(ByLoad::new().shrink_utilisation(0.9))),
        ("high_utilisation", "1.5", Box::new(ByLoad::new().high_utilisation(1.5))),
        ("max_step", "0", Box::new(ByLoad::new().max_step(0))),
        ("patience", "0", Box::new(ByLoad::new().patience(0))),
        ("tolerance", "0.0", Box::new(HillClimb::new().tolerance(0.0))),
        ("measure", "0", Box::new(HillClimb::new().measure(0))),
        ("headroom", "0.0", Box::new(GradientLimit::new().headroom(0))),
        ("smoothing", "-1.0", Box::new(GradientLimit::new().smoothing(-1.0))),
        ("tolerance", "inf", Box::new(GradientLimit::new().tolerance(f64::INFINITY))),
        ("long_term", "0", Box::new(GradientLimit::new().long_term(0))),
    ];
    for (argument, value, controller) in bad {
        let error = controller.check().unwrap_err();
        assert_eq!(error.argument(), argument);
        assert!(error.to_string().starts_with(&format!("{argument} is {value}: ")), "{error}");
    }
    let text = ByLoad::new().grow_wait(millis(5)).shrink_wait(millis(6)).check().unwrap_err().to_string();
    assert_eq!(text, "shrink_wait is 6ms: it must be less than grow_wait, 5ms");
}
