//! Measures rows, each in a child process: in rounds, every round with all contestants in another order.

use std::io::{IsTerminal, Write, stderr};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::measure::Row;
use crate::pools::Class;
use crate::scenarios::{Line, Scenario};
use crate::state::State;

/// The most seconds that a row may take, so that a hang is a failure. At full scale the slowest takes a few.
const LIMIT: u32 = 90;
/// How often a row is measured at most, if the machine's state changes meanwhile.
const TRIES: usize = 3;

/// All that was measured in a scenario.
pub struct Table {
    pub scenario: &'static Scenario,
    pub lines: Vec<Measured>,
    /// The time that the measurements took.
    pub seconds: f64,
}

/// All that was measured of one contestant.
pub struct Measured {
    pub name: String,
    pub class: Class,
    /// Why it cannot take part.
    pub cannot: Option<&'static str>,
    /// The first error, if there was one.
    pub failure: Option<String>,
    pub rows: Vec<Row>,
}

/// Ends this process after the limit, which the parent reports as a hang.
pub fn limit_own_time() {
    let seconds = std::env::var(LIMIT_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(LIMIT);
    // SAFETY: it only sets a timer of this process, whose signal ends it.
    unsafe { libc::alarm(seconds) };
}

/// Overrides `LIMIT`, for checks that want to end soon.
const LIMIT_VARIABLE: &str = "RIVALS_ROW_SECONDS";

pub fn measure(scenario: &'static Scenario, lines: &[Line], repeat: usize, scale: f64) -> Table {
    let begun = Instant::now();
    let mut measured: Vec<Measured> = lines
        .iter()
        .map(|line| Measured {
            name: line.name.clone(),
            class: line.class,
            cannot: line.run.err(),
            failure: None,
            rows: Vec::new(),
        })
        .collect();
    for round in 0..repeat {
        let count = measured.len();
        let order = (0..count).map(|n| (n + round * count / repeat) % count);
        let able: Vec<usize> =
            order.filter(|&n| measured[n].cannot.is_none() && measured[n].failure.is_none()).collect();
        let mut store = |n: usize, row: Result<Row, String>| match row {
            Ok(row) => measured[n].rows.push(row),
            Err(failure) => measured[n].failure = Some(failure),
        };
        if scenario.together {
            let children: Vec<_> = able.iter().map(|&n| (n, start(scenario, &lines[n].name, scale))).collect();
            children.into_iter().for_each(|(n, child)| store(n, child.and_then(finish)));
        } else {
            for n in able {
                progress(&format!("{} {}/{repeat} {}", scenario.name, round + 1, lines[n].name));
                store(n, row(scenario, &lines[n].name, scale));
            }
        }
    }
    progress("");
    Table { scenario, lines: measured, seconds: begun.elapsed().as_secs_f64() }
}

/// One row, measured again if the state changed meanwhile.
fn row(scenario: &Scenario, line: &str, scale: f64) -> Result<Row, String> {
    let mut row = Err(String::new());
    // At a scale that only checks that everything runs, no row is measured again.
    let tries = if scale < 0.1 { 1 } else { TRIES };
    for _ in 0..tries {
        row = start(scenario, line, scale).and_then(finish);
        if !matches!(&row, Ok(row) if State::of_row(row) == State::Mixed) {
            break;
        }
    }
    row
}

fn start(scenario: &Scenario, line: &str, scale: f64) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    Command::new(program)
        .args(["--child", scenario.name, line, "--scale", &scale.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())
}

fn finish(child: Child) -> Result<Row, String> {
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    match output.status.signal() {
        Some(libc::SIGALRM) => return Err("had not ended when its time was up".into()),
        Some(signal) => return Err(format!("was ended by signal {signal}")),
        None if !output.status.success() => return Err(format!("failed: {}", output.status)),
        None => {}
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("printed no row: {error}"))
}

fn progress(what: &str) {
    if stderr().is_terminal() {
        // Nothing depends on it.
        let _ = write!(stderr(), "\r\x1b[K{what}");
    }
}
