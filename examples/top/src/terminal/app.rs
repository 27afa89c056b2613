//! What the terminal page remembers, and what its keys do.

use std::collections::{HashMap, VecDeque};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::action::{Action, ActionError};
use crate::snapshot::{PoolSnapshot, Snapshot};

/// How many values a sparkline has at most: half a minute.
const HISTORY: usize = 120;

/// The state of the page.
#[derive(Debug, Default)]
pub(super) struct App {
    snapshot: Snapshot,
    /// The id of the selected pool, which keeps the selection when pools come and go.
    selected: Option<u64>,
    histories: HashMap<u64, History>,
    /// Why the last action failed.
    error: Option<String>,
}

/// The last values of a pool, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) per_second: VecDeque<u64>,
    pub(super) queued: VecDeque<u64>,
}

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    /// To the pool with this id.
    Act(u64, Action),
}

impl App {
    /// Takes over a new snapshot.
    pub(super) fn update(&mut self, snapshot: Snapshot) {
        self.histories.retain(|id, _| snapshot.pools.iter().any(|pool| pool.id == *id));
        for pool in &snapshot.pools {
            let history = self.histories.entry(pool.id).or_default();
            push(&mut history.per_second, pool.per_second.round() as u64);
            push(&mut history.queued, pool.queued as u64);
        }
        self.snapshot = snapshot;
        if self.selected().is_none() {
            self.selected = self.snapshot.pools.first().map(|pool| pool.id);
        }
    }

    pub(super) fn pools(&self) -> &[PoolSnapshot] {
        &self.snapshot.pools
    }

    /// The place of the selected pool among `pools`.
    pub(super) fn position(&self) -> Option<usize> {
        self.pools().iter().position(|pool| Some(pool.id) == self.selected)
    }

    /// The selected pool.
    pub(super) fn selected(&self) -> Option<&PoolSnapshot> {
        self.position().map(|position| &self.pools()[position])
    }

    pub(super) fn history(&self, pool: &PoolSnapshot) -> Option<&History> {
        self.histories.get(&pool.id)
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Shows why an action failed, or nothing.
    pub(super) fn show_error(&mut self, error: Option<ActionError>) {
        self.error = error.map(|error| error.to_string());
    }

    /// Handles a key: moves the selection, or returns what to do.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Command> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Some(Command::Quit);
        }
        match key.code {
            KeyCode::Char('q') => return Some(Command::Quit),
            KeyCode::Up | KeyCode::Left => self.step(-1),
            KeyCode::Down | KeyCode::Right => self.step(1),
            _ => {}
        }
        let pool = self.selected()?;
        let action = match key.code {
            KeyCode::Char('p') if pool.paused => Action::Resume,
            KeyCode::Char('p') => Action::Pause,
            KeyCode::Char('+' | '=') => Action::Tune(pool.capacity + 1),
            KeyCode::Char('-') if pool.capacity > 1 => Action::Tune(pool.capacity - 1),
            _ => return None,
        };
        let id = pool.id;
        if let Action::Tune(workers) = action {
            // The next key counts from here, and not from a snapshot that is a moment old.
            self.snapshot.pools.iter_mut().filter(|pool| pool.id == id).for_each(|pool| pool.capacity = workers);
        }
        Some(Command::Act(id, action))
    }

    fn step(&mut self, by: isize) {
        let position = self.position().map_or(0, |position| position.saturating_add_signed(by));
        if let Some(pool) = self.pools().get(position) {
            self.selected = Some(pool.id);
        }
    }
}

fn push(values: &mut VecDeque<u64>, value: u64) {
    if values.len() == HISTORY {
        values.pop_front();
    }
    values.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(pools: &[(u64, usize)]) -> App {
        let mut app = App::default();
        app.update(snapshot(pools));
        app
    }

    fn snapshot(pools: &[(u64, usize)]) -> Snapshot {
        let pool = |&(id, capacity)| PoolSnapshot { id, capacity, ..PoolSnapshot::default() };
        Snapshot { pools: pools.iter().map(pool).collect() }
    }

    fn press(app: &mut App, code: KeyCode) -> Option<Command> {
        app.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn arrows_select_and_stop_at_the_ends() {
        let mut app = app(&[(7, 1), (8, 1)]);
        assert_eq!(app.position(), Some(0));
        for (code, position) in [(KeyCode::Up, 0), (KeyCode::Down, 1), (KeyCode::Down, 1), (KeyCode::Up, 0)] {
            assert_eq!(press(&mut app, code), None);
            assert_eq!(app.position(), Some(position));
        }
    }

    #[test]
    fn the_selection_stays_with_its_pool() {
        let mut app = app(&[(7, 1), (8, 1)]);
        press(&mut app, KeyCode::Down);
        app.update(snapshot(&[(8, 1), (9, 1)]));
        assert_eq!(app.position(), Some(0));
        app.update(snapshot(&[(9, 1)]));
        assert_eq!(app.selected().map(|pool| pool.id), Some(9));
        app.update(Snapshot::default());
        assert_eq!(app.position(), None);
        assert_eq!(press(&mut app, KeyCode::Char('p')), None);
        assert!(app.histories.is_empty());
    }

    #[test]
    fn keys_act_on_the_selected_pool() {
        let mut app = app(&[(7, 2), (8, 5)]);
        let tune = |workers| Some(Command::Act(7, Action::Tune(workers)));
        assert_eq!(press(&mut app, KeyCode::Char('+')), tune(3));
        assert_eq!(press(&mut app, KeyCode::Char('+')), tune(4), "it counts from the last key");
        assert_eq!(press(&mut app, KeyCode::Char('-')), tune(3));
        assert_eq!(press(&mut app, KeyCode::Char('p')), Some(Command::Act(7, Action::Pause)));
        app.snapshot.pools[0].paused = true;
        assert_eq!(press(&mut app, KeyCode::Char('p')), Some(Command::Act(7, Action::Resume)));
        app.update(snapshot(&[(7, 1)]));
        assert_eq!(press(&mut app, KeyCode::Char('-')), None, "a pool has at least one worker");
    }

    #[test]
    fn q_and_ctrl_c_quit() {
        let mut app = App::default();
        assert_eq!(press(&mut app, KeyCode::Char('q')), Some(Command::Quit));
        assert_eq!(press(&mut app, KeyCode::Char('c')), None);
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(app.key(ctrl_c), Some(Command::Quit));
    }

    #[test]
    fn a_history_is_bounded() {
        let mut app = App::default();
        for queued in 0..HISTORY + 5 {
            let pool = PoolSnapshot { id: 1, queued, per_second: 1.6, ..PoolSnapshot::default() };
            app.update(Snapshot { pools: vec![pool] });
        }
        let history = app.history(&app.pools()[0]).unwrap();
        assert_eq!((history.queued.len(), history.queued.front()), (HISTORY, Some(&5)));
        assert_eq!(history.per_second.back(), Some(&2));
    }
}
