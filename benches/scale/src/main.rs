//! Extrapolates the pools to more cores than the machine has. `docs/scale.md` states the assumptions and discusses the figures.
//!
//! `cargo run --release` measures real pools on one and two processors, compares them with the model, and prints the model's tables.
//! `--check` leaves the tables out. With `--recorded` nothing is measured: the figures are those of a recorded measurement, on any machine.

mod calibrate;
mod high_water;
mod lock;
mod machine;
mod measure;
mod nested;
mod parking;
mod pool;
mod queues;
mod recorded;
mod room;
mod scenario;
mod tables;
#[cfg(test)]
mod tests;

use calibrate::{Measured, Model};

fn check(measured: &Measured) -> Model {
    let model = Model::of(measured);
    println!("{measured:#?}\n{model:#?}");
    tables::check(&model, measured);
    model
}

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let model = if has("--recorded") {
        check(&recorded::FAR);
        check(&recorded::CLOSE)
    } else {
        check(&Measured::now(25))
    };
    if !has("--check") {
        let model = model.extrapolated();
        tables::scale(&model);
        tables::bottlenecks(&model);
        tables::costs(&model);
        tables::changes(&model);
    }
}
