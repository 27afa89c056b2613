//! What we mean to reach in a scenario, and what it is compared with.

use std::fmt;

/// A target of ours.
pub struct Target {
    pub who: Who,
    pub figure: &'static str,
    pub limit: Limit,
    pub of: Of,
}

/// Which of our contestants.
pub enum Who {
    All,
    But(&'static str),
    Only(&'static str),
    /// Those whose name begins so.
    Like(&'static str),
    /// The best in the figure of those whose name begins so.
    BestLike(&'static str),
    /// Those whose name ends so.
    With(&'static str),
    /// Those whose name does not end so.
    Without(&'static str),
}

impl Who {
    pub fn has(&self, name: &str) -> bool {
        match self {
            Who::All => true,
            Who::But(one) => name != *one,
            Who::Only(one) => name == *one,
            Who::Like(start) | Who::BestLike(start) => name.starts_with(start),
            Who::With(end) => name.ends_with(end),
            Who::Without(end) => !name.ends_with(end),
        }
    }
}

#[derive(Clone, Copy)]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// A difference, in the figure's unit.
    AtMostPlus(f64),
    /// No limit: the ratio is reported.
    Reported,
}

/// What the limit is a multiple of.
pub enum Of {
    /// The figure's unit.
    One,
    /// The best of some rivals.
    Best(Rivals),
    /// The same or another figure of one row, a floor for example.
    Line(&'static str, &'static str),
}

/// Which rivals; floors are not counted.
#[derive(Clone, Copy)]
pub enum Rivals {
    All,
    Named(&'static [&'static str]),
    /// Those whose median of a figure is at least so much.
    AtLeast(&'static str, f64),
}

impl fmt::Display for Rivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rivals::All => f.write_str("best rival"),
            Rivals::Named(names) => write!(f, "best of {}", names.join(", ")),
            Rivals::AtLeast(figure, least) => write!(f, "best rival with {figure} of at least {least}"),
        }
    }
}

pub const BEST_RIVAL: Of = Of::Best(Rivals::All);

pub const fn at_most(who: Who, figure: &'static str, factor: f64, of: Of) -> Target {
    Target { who, figure, limit: Limit::AtMost(factor), of }
}

pub const fn at_least(who: Who, figure: &'static str, factor: f64, of: Of) -> Target {
    Target { who, figure, limit: Limit::AtLeast(factor), of }
}
