//! Summarises a run in one table: the best of our contestants, of the rivals and of the floors in each scenario.

use std::fmt::Write as _;

use crate::pools::Class;
use crate::report::sorted;
use crate::run::Table;
use crate::scenarios::Direction;
use crate::state::State;
use crate::verdict::{View, short};

/// What a table shows, in one sentence.
pub fn sentence(view: View) -> String {
    let scenario = view.table.scenario;
    let best = |class| view.best(scenario.figures[0], scenario.better, |line| line.class == class);
    let which = match scenario.better {
        Direction::Lower => "Less is better",
        Direction::Higher => "More is better",
    };
    let Some((ours, value)) = best(Class::Ours) else { return format!("{which}.") };
    let mut text = format!("{which}: the best of ours, {}, has {}", ours.name, short(value));
    let mut mark = ":";
    for (class, name) in [(Class::Rival, "the best rival"), (Class::Floor, "the best floor")] {
        if let Some((line, base)) = best(class) {
            let _ = write!(text, "{mark} {} × {name}, {}", short(value / base), line.name);
            mark = ";";
        }
    }
    text + "."
}

pub fn markdown(tables: &[Table]) -> String {
    let mut text = "| scenario | figure | state | ours, best | best rival | best floor | targets met |\n".to_owned();
    text.push_str("|---|---|---|---|---|---|---|\n");
    let (mut met, mut asked) = (0, 0);
    for table in tables {
        let view = View::for_verdicts(table);
        let best = |class| match sorted(view).into_iter().find(|(line, _)| line.class == class) {
            Some((line, figure)) => {
                format!("{} {} ({}–{})", line.name, short(figure.median), short(figure.min), short(figure.max))
            }
            None => "–".into(),
        };
        let state = match view.state {
            _ if table.scenario.together => "any",
            State::Mixed => "mixed",
            state => state.name(),
        };
        let verdicts: Vec<bool> = view.verdicts().iter().filter_map(|verdict| verdict.met).collect();
        let met_here = verdicts.iter().filter(|met| **met).count();
        met += met_here;
        asked += verdicts.len();
        let targets = if verdicts.is_empty() { "–".into() } else { format!("{met_here} of {}", verdicts.len()) };
        let (name, figure) = (table.scenario.name, table.scenario.figures[0]);
        let (ours, rival, floor) = (best(Class::Ours), best(Class::Rival), best(Class::Floor));
        let _ = writeln!(text, "| `{name}` | {figure} (min–max) | {state} | {ours} | {rival} | {floor} | {targets} |");
    }
    let _ = writeln!(text, "\n{met} of {asked} targets are met.\n");
    text
}
