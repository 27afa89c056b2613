//! Compares formicary's pools with other worker pools, and with programs that do the same without a pool. See README.md.
//!
//! The parent process schedules the measurements and reports. Each row has a child process of its own, so that no contestant shares
//! threads, memory or settings with another, and a contestant that hangs or crashes loses only its own row.

mod axis;
mod chart;
mod epoll;
mod floors;
mod glance;
mod measure;
mod pools;
mod report;
mod run;
mod scenarios;
mod state;
mod verdict;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use scenarios::{Ask, SCENARIOS, Scenario};

const USAGE: &str = "\
usage: formicary-rivals [SCENARIO] [CONTESTANT] [OPTIONS]

  SCENARIO       a part of the name of the scenarios to be measured; without it, all
  CONTESTANT     a part of the name of the contestants and floors to be measured; without it, all
  --repeat N     rows for each contestant in each scenario (5)
  --scale F      multiplies the numbers of tasks (1.0)
  --out DIR      where report.md, report.json and the charts go (target/rivals)
  --list         say what there is";

struct Args {
    scenario: String,
    contestant: String,
    repeat: usize,
    scale: f64,
    out: PathBuf,
    list: bool,
    /// The exact names of a scenario and a contestant: this process is a child that measures one row.
    child: Option<[String; 2]>,
}

impl Args {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Args {
            scenario: String::new(),
            contestant: String::new(),
            repeat: 5,
            scale: 1.0,
            out: PathBuf::from("target/rivals"),
            list: false,
            child: None,
        };
        let mut names = Vec::new();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match &*arg {
                "--repeat" => {
                    parsed.repeat = value()?.parse().ok().filter(|n| *n > 0).ok_or("--repeat: not a count")?
                }
                "--scale" => {
                    parsed.scale = value()?.parse().ok().filter(|f| *f > 0.0).ok_or("--scale: not a factor")?;
                }
                "--out" => parsed.out = value()?.into(),
                "--list" => parsed.list = true,
                "--child" => parsed.child = Some([value()?, value()?]),
                option if option.starts_with('-') => return Err(format!("there is no option {option}")),
                _ => names.push(arg),
            }
        }
        if names.len() > 2 {
            return Err("there are more than two names".into());
        }
        let mut names = names.into_iter();
        parsed.scenario = names.next().unwrap_or_default();
        parsed.contestant = names.next().unwrap_or_default();
        Ok(parsed)
    }
}

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match &args.child {
        Some([scenario, line]) => child(scenario, line, args.scale),
        None if args.list => list(),
        None => return parent(&args),
    }
    ExitCode::SUCCESS
}

/// Measures one row and prints it.
fn child(scenario: &str, line: &str, scale: f64) {
    run::limit_own_time();
    let scenario = SCENARIOS.iter().find(|it| it.name == scenario).expect("the parent knows the scenarios");
    let lines = scenarios::lines(scenario, &pools::contestants());
    let line = lines.iter().find(|it| it.name == line).expect("the parent knows the lines");
    let run = line.run.expect("the parent asks only who can");
    // A row that is not timed has no state. The rows of its round run at once, so ping-pongs would disturb them.
    let ask = Ask { scenario: scenario.name, scale };
    let ping_pong = || if scenario.together { 0.0 } else { state::ping_pong(ask) };
    let before_ns = ping_pong();
    let mut row = run(ask);
    (row.before_ns, row.after_ns) = (before_ns, ping_pong());
    println!("{}", serde_json::to_string(&row).expect("a row is plain"));
}

fn list() {
    let contestants = pools::contestants();
    println!("scenarios:");
    for scenario in SCENARIOS {
        println!("  {:16} {}", scenario.name, scenario.about);
    }
    println!("contestants:");
    for entry in &contestants {
        println!("  {:34} {}", entry.name, entry.class.name());
    }
    println!("floors:");
    for scenario in SCENARIOS {
        for (floor, _) in scenario.floors {
            println!("  {floor:34} {}", scenario.name);
        }
    }
}

fn parent(args: &Args) -> ExitCode {
    let chosen: Vec<&Scenario> = SCENARIOS.iter().filter(|scenario| scenario.name.contains(&args.scenario)).collect();
    if chosen.is_empty() {
        eprintln!("no scenario is called like {}; --list says which there are", args.scenario);
        return ExitCode::from(2);
    }
    let contestants = pools::contestants();
    let mut results = Vec::new();
    for scenario in chosen {
        let mut lines = scenarios::lines(scenario, &contestants);
        lines.retain(|line| line.name.contains(&args.contestant));
        if !lines.is_empty() {
            let table = run::measure(scenario, &lines, args.repeat, args.scale);
            println!("{}", report::markdown(&table));
            results.push(table);
        }
    }
    if results.is_empty() {
        eprintln!("no contestant is called like {}; --list says which there are", args.contestant);
        return ExitCode::from(2);
    }
    if let Err(error) = report::write(&args.out, &results, args.repeat, args.scale) {
        eprintln!("{}: {error}", args.out.display());
        return ExitCode::FAILURE;
    }
    println!("written to {}", args.out.display());
    let failed = results.iter().flat_map(|table| &table.lines).filter(|line| line.failure.is_some()).count();
    if failed > 0 {
        eprintln!("{failed} lines failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
