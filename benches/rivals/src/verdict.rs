//! Computes figures from rows: which rows may be compared, their medians, and whether a target is met.

use crate::measure::Row;
use crate::pools::Class;
use crate::run::{Measured, Table};
use crate::scenarios::{Direction, Limit, Of, Scenario, Target};
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

    pub fn rows(self, line: &'a Measured) -> impl Iterator<Item = &'a Row> {
        line.rows.iter().filter(move |row| self.state == State::Mixed || State::of_row(row) == self.state)
    }

    pub fn figure(self, line: &'a Measured, figure: &str) -> Option<Spread> {
        Spread::of(self.rows(line).filter_map(|row| row.figures.get(figure).copied()))
    }

    fn best_rival(self, figure: &str, better: Direction) -> Option<(&'a str, f64)> {
        let rivals = self.table.lines.iter().filter(|line| line.class == Class::Rival);
        let medians = rivals.filter_map(|line| Some((&*line.name, self.figure(line, figure)?.median)));
        medians.min_by(|(_, a), (_, b)| match better {
            Direction::Lower => a.total_cmp(b),
            Direction::Higher => b.total_cmp(a),
        })
    }

    /// One sentence for each of our contestants that has a target.
    pub fn verdicts(self) -> Vec<Verdict> {
        let scenario: &Scenario = self.table.scenario;
        let ours = || self.table.lines.iter().filter(|line| line.class == Class::Ours && line.cannot.is_none());
        let pairs = scenario.targets.iter().flat_map(|target| ours().map(move |line| (target, line)));
        let pairs = pairs.filter(|(target, line)| target.who.has(&line.name));
        pairs.map(|(target, line)| self.verdict(target, line)).collect()
    }

    fn verdict(self, target: &Target, line: &'a Measured) -> Verdict {
        let none =
            |why: &str| Verdict { name: line.name.clone(), met: None, text: format!("{}: {why}", target.figure) };
        let Some(value) = self.figure(line, target.figure).map(|spread| spread.median) else {
            return none("no rows");
        };
        let (of, base) = match target.of {
            Of::One => (String::new(), 1.0),
            Of::BestRival | Of::BestRivalOr(_) => match self.best_rival(target.figure, self.table.scenario.better) {
                Some((name, best)) => (format!(" × best rival ({name}, {})", short(best)), best),
                None => return none("no rival was measured"),
            },
            Of::Line(name, figure) => {
                let found = self.table.lines.iter().find(|line| line.name == name);
                match found.and_then(|line| self.figure(line, figure)) {
                    Some(spread) => (format!(" × {name} ({})", short(spread.median)), spread.median),
                    None => return none(&format!("{name} was not measured")),
                }
            }
        };
        let ratio = value / base;
        let (met, limit) = match (target.limit, &target.of) {
            (Limit::AtMost(factor), Of::BestRivalOr(enough)) => {
                (Some(ratio <= factor || value <= *enough), format!("at most {factor}, or {enough} in all"))
            }
            (Limit::AtMost(factor), _) => (Some(ratio <= factor), format!("at most {factor}")),
            (Limit::AtLeast(factor), _) => (Some(ratio >= factor), format!("at least {factor}")),
            (Limit::AtMostPlus(more), _) => {
                (Some(value <= base + more), format!("at most {} in all", short(base + more)))
            }
            (Limit::Reported, _) => (None, "none".into()),
        };
        let ratio = if matches!(target.of, Of::One) { String::new() } else { format!(" = {}{of}", short(ratio)) };
        let mixed = if self.state == State::Mixed { " (mixed)" } else { "" };
        let text = format!("{} {}{ratio}; target: {limit}{mixed}", target.figure, short(value));
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

/// A number with about three significant digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        v if v == 0.0 || v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.2e}"),
    }
}
