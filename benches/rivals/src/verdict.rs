//! Computes figures from rows: which rows may be compared, their medians, and whether a target is met.

use crate::measure::Row;
use crate::pools::Class;
use crate::run::{Measured, Table};
use crate::scenarios::Direction;
use crate::scenarios::target::{Limit, Of, Rivals, Target, Who};
use crate::state::State;

/// Median, least and greatest of some runs.
#[derive(Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub runs: usize,
}

impl Spread {
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (first, last, half) = (*values.first()?, *values.last()?, values.len() / 2);
        let median = if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Spread { median, min: first, max: last, runs: values.len() })
    }
}

/// The rows of a table that were measured in one state; or all of them, which is `Mixed`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub table: &'a Table,
    pub state: State,
}

impl<'a> View<'a> {
    /// The rows from which verdicts are drawn: of the state with at least three rows of every contestant (or all, if fewer were
    /// asked for), the one with the most rows; without such a state, everything.
    pub fn for_verdicts(table: &'a Table) -> Self {
        let states = [State::Close, State::Between, State::Far].map(|state| View { table, state });
        let asked = table.lines.iter().map(|line| line.rows.len()).max().unwrap_or(0);
        let least =
            |view: &View| table.lines.iter().filter(|line| !line.rows.is_empty()).map(|line| view.count(line)).min();
        let enough = states.into_iter().filter(|view| least(view) >= Some(asked.clamp(1, 3)));
        enough.max_by_key(least).unwrap_or(View { table, state: State::Mixed })
    }

    /// The other states that have rows.
    pub fn others(self) -> impl Iterator<Item = View<'a>> {
        let table = self.table;
        let views = [State::Close, State::Between, State::Far].map(|state| View { table, state });
        views.into_iter().filter(move |view| {
            // If all rows are pooled, no state is left.
            self.state != State::Mixed
                && view.state != self.state
                && table.lines.iter().any(|line| view.count(line) > 0)
        })
    }

    fn count(&self, line: &Measured) -> usize {
        self.rows(line).count()
    }

    pub fn rows(self, line: &Measured) -> impl Iterator<Item = &Row> {
        line.rows.iter().filter(move |row| self.state == State::Mixed || State::of_row(row) == self.state)
    }

    pub fn figure(self, line: &Measured, figure: &str) -> Option<Spread> {
        Spread::of(self.rows(line).filter_map(|row| row.figures.get(figure).copied()))
    }

    /// The best of some lines in a figure, with its median there.
    pub fn best(
        self,
        figure: &str,
        better: Direction,
        among: impl Fn(&Measured) -> bool,
    ) -> Option<(&'a Measured, f64)> {
        let lines = self.table.lines.iter().filter(|line| among(line));
        let medians = lines.filter_map(|line| Some((line, self.figure(line, figure)?.median)));
        medians.min_by(|(_, a), (_, b)| match better {
            Direction::Lower => a.total_cmp(b),
            Direction::Higher => b.total_cmp(a),
        })
    }

    fn is_one_of(self, line: &Measured, rivals: Rivals) -> bool {
        line.class == Class::Rival
            && match rivals {
                Rivals::All => true,
                Rivals::Named(names) => names.contains(&&*line.name),
                Rivals::AtLeast(figure, least) => {
                    self.figure(line, figure).is_some_and(|spread| spread.median >= least)
                }
            }
    }

    /// One sentence for each of our contestants that has a target.
    pub fn verdicts(self) -> Vec<Verdict> {
        let targets = self.table.scenario.targets.iter();
        targets
            .flat_map(|target| self.held_to(target).into_iter().map(move |line| self.verdict(target, line)))
            .collect()
    }

    fn held_to(self, target: &Target) -> Vec<&'a Measured> {
        let is_held =
            |line: &Measured| line.class == Class::Ours && line.cannot.is_none() && target.who.has(&line.name);
        match target.who {
            Who::BestLike(_) => {
                let best = self.best(target.figure, self.better(target), is_held);
                best.into_iter().map(|(line, _)| line).collect()
            }
            _ => self.table.lines.iter().filter(|line| is_held(line)).collect(),
        }
    }

    /// The direction of the target's figure, which need not be that of the first one.
    fn better(self, target: &Target) -> Direction {
        match target.limit {
            Limit::AtMost(_) | Limit::AtMostPlus(_) => Direction::Lower,
            Limit::AtLeast(_) => Direction::Higher,
            Limit::Reported => self.table.scenario.better,
        }
    }

    fn verdict(self, target: &Target, line: &'a Measured) -> Verdict {
        let none =
            |why: &str| Verdict { name: line.name.clone(), met: None, text: format!("{}: {why}", target.figure) };
        let Some(value) = self.figure(line, target.figure).map(|spread| spread.median) else {
            return none("no rows");
        };
        let (of, base) = match target.of {
            Of::One => (String::new(), 1.0),
            Of::Best(rivals) => {
                match self.best(target.figure, self.better(target), |line| self.is_one_of(line, rivals)) {
                    Some((line, best)) => (format!(" × {rivals} ({}, {})", line.name, short(best)), best),
                    None => return none(&format!("no {rivals} was measured")),
                }
            }
            Of::Line(name, figure) => {
                let found = self.table.lines.iter().find(|line| line.name == name);
                match found.and_then(|line| self.figure(line, figure)) {
                    Some(spread) => (format!(" × {name} ({})", short(spread.median)), spread.median),
                    None => return none(&format!("{name} was not measured")),
                }
            }
        };
        let ratio = value / base;
        let (met, limit) = match target.limit {
            Limit::AtMost(factor) => (Some(ratio <= factor), format!("at most {factor}")),
            Limit::AtLeast(factor) => (Some(ratio >= factor), format!("at least {factor}")),
            Limit::AtMostPlus(more) => (Some(value <= base + more), format!("at most {} in all", short(base + more))),
            Limit::Reported => (None, "none".into()),
        };
        let ratio = if matches!(target.of, Of::One) { String::new() } else { format!(" = {}{of}", short(ratio)) };
        let mixed = if self.state == State::Mixed { " (mixed)" } else { "" };
        let best = if matches!(target.who, Who::BestLike(_)) { " for the best" } else { "" };
        let text = format!("{} {}{ratio}; target{best}: {limit}{mixed}", target.figure, short(value));
        Verdict { name: line.name.clone(), met, text }
    }
}

pub struct Verdict {
    pub name: String,
    /// `None` where there is no limit, or nothing to compare.
    pub met: Option<bool>,
    pub text: String,
}

impl Verdict {
    pub fn word(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "–",
        }
    }
}

/// A number with three significant digits, or all before the point.
pub fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let digits = (2 - value.abs().log10().floor() as i32).max(0);
    let text = format!("{value:.*}", digits as usize);
    if digits > 0 {
        return text;
    }
    // Thousands are set apart.
    let mut apart = String::new();
    for (n, digit) in text.chars().enumerate() {
        if n > 0 && (text.len() - n).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}
