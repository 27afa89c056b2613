//! Tables for people, JSON for programs.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::chart;
use crate::glance;
use crate::measure::Row;
use crate::pools::Class;
use crate::run::{Measured, Table};
use crate::scenarios::Direction;
use crate::state::State;
use crate::verdict::{Spread, View, short};

/// Writes `report.md`, `report.json` and a chart for each scenario.
pub fn write(out: &Path, tables: &[Table], repeat: usize, scale: f64) -> io::Result<()> {
    fs::create_dir_all(out)?;
    let mut text = format!("# Rivals\n\n{repeat} rows each, scale {scale}.\n\n{}", glance::markdown(tables));
    tables.iter().for_each(|table| text.push_str(&markdown(table)));
    fs::write(out.join("report.md"), text)?;
    let scenarios: Vec<Value> = tables.iter().map(to_json).collect();
    let all = json!({ "repeat": repeat, "scale": scale, "scenarios": scenarios });
    fs::write(out.join("report.json"), serde_json::to_string_pretty(&all)?)?;
    for table in tables {
        chart::draw(&out.join(format!("{}.svg", table.scenario.name)), View::for_verdicts(table))?;
    }
    Ok(())
}

pub fn markdown(table: &Table) -> String {
    let view = View::for_verdicts(table);
    let mut text =
        format!("## {}\n\n{}; measured in {:.0} s\n\n", table.scenario.name, table.scenario.about, table.seconds);
    let _ = writeln!(text, "{}\n", glance::sentence(view));
    rows(&mut text, view);
    for other in view.others() {
        text.push_str("Also measured:\n\n");
        rows(&mut text, other);
    }
    for line in &table.lines {
        if let Some(failure) = &line.failure {
            let _ = writeln!(text, "- **{} {failure}**", line.name);
        }
    }
    for (reason, names) in absent(table) {
        let _ = writeln!(text, "- {reason}: {names}");
    }
    for verdict in view.verdicts() {
        let _ = writeln!(text, "- {} {}: {}", verdict.word(), verdict.name, verdict.text);
    }
    text.push('\n');
    text
}

/// The contestants that are not in the table, each with the reason.
fn absent(table: &Table) -> Vec<(&'static str, String)> {
    let mut absent: Vec<(&str, String)> = Vec::new();
    for line in &table.lines {
        let Some(reason) = line.cannot else { continue };
        match absent.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push_str(&format!(", {}", line.name)),
            None => absent.push((reason, line.name.clone())),
        }
    }
    absent
}

/// The table of one state, best first.
fn rows(text: &mut String, view: View) {
    let figures = view.table.scenario.figures;
    let states = match view.state {
        _ if view.table.scenario.together => "measured together, whatever the state".into(),
        State::Mixed => "mixed: rows of all states are pooled".into(),
        state => format!("state: {}", state.name()),
    };
    let _ = writeln!(text, "{states}\n");
    let _ = write!(text, "| | whose | runs | {} (min–max) |", figures[0]);
    for figure in &figures[1..] {
        let _ = write!(text, " {figure} |");
    }
    text.push_str(" CPU ms | switches: waited, interrupted | peak MiB | ping-pong ns |\n|");
    (0..figures.len() + 7).for_each(|_| text.push_str("---|"));
    text.push('\n');
    for (line, first) in sorted(view) {
        let bold = if line.class == Class::Ours { "**" } else { "" };
        let _ = write!(text, "| {bold}{}{bold} | {} | {} |", line.name, line.class.name(), first.runs);
        let _ = write!(text, " {} ({}–{}) |", short(first.median), short(first.min), short(first.max));
        for figure in &figures[1..] {
            let spread = view.figure(line, figure);
            let _ = write!(text, " {} |", spread.map_or("–".into(), |spread| short(spread.median)));
        }
        let of = |value: fn(&Row) -> f64| Spread::of(view.rows(line).map(value)).map_or(0.0, |spread| spread.median);
        let _ = writeln!(
            text,
            " {:.1} | {:.0}, {:.0} | {:.1} | {:.0} |",
            of(|row| row.cpu_ms),
            of(|row| row.voluntary as f64),
            of(|row| row.involuntary as f64),
            of(|row| row.peak_kib as f64 / 1024.0),
            of(|row| f64::midpoint(row.before_ns, row.after_ns)),
        );
    }
    text.push('\n');
}

/// The contestants with rows, best first, with the spread of the first figure.
pub fn sorted<'a>(view: View<'a>) -> Vec<(&'a Measured, Spread)> {
    let scenario = view.table.scenario;
    let spread = |line| Some((line, view.figure(line, scenario.figures[0])?));
    let mut lines: Vec<_> = view.table.lines.iter().filter_map(spread).collect();
    lines.sort_by(|(_, a), (_, b)| match scenario.better {
        Direction::Lower => a.median.total_cmp(&b.median),
        Direction::Higher => b.median.total_cmp(&a.median),
    });
    lines
}

fn to_json(table: &Table) -> Value {
    let view = View::for_verdicts(table);
    let lines: Vec<Value> = table
        .lines
        .iter()
        .map(|line| {
            let figures = table.scenario.figures.iter().filter_map(|&figure| {
                let spread = view.figure(line, figure)?;
                let value =
                    json!({ "median": spread.median, "min": spread.min, "max": spread.max, "runs": spread.runs });
                Some((figure.to_owned(), value))
            });
            json!({
                "name": line.name,
                "class": line.class.name(),
                "cannot": line.cannot,
                "failure": line.failure,
                "figures": figures.collect::<serde_json::Map<_, _>>(),
                "states": line.rows.iter().map(|row| State::of_row(row).name()).collect::<Vec<_>>(),
                "rows": line.rows,
            })
        })
        .collect();
    let verdicts: Vec<Value> = view
        .verdicts()
        .iter()
        .map(|verdict| json!({ "name": verdict.name, "met": verdict.met, "text": verdict.text }))
        .collect();
    json!({
        "name": table.scenario.name,
        "about": table.scenario.about,
        "seconds": table.seconds,
        "state": view.state.name(),
        "lines": lines,
        "verdicts": verdicts,
    })
}
