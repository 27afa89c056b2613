//! Draws the terminal page.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Sparkline, Table, TableState};

use super::app::App;
use crate::snapshot::{Cell, CellState, Percentiles, PoolSnapshot};
use crate::text::{rate, time};

const KEYS: &str = "arrows select   p pause/resume   + - capacity   q quit";
/// The width of a worker's cell, with the space behind it.
const CELL: u16 = 20;

pub(super) fn draw(frame: &mut Frame<'_>, app: &App) {
    let list = (app.pools().len() as u16).clamp(1, 8) + 3;
    let [pools, workers, graphs, times, footer] = Layout::vertical([
        Constraint::Length(list),
        Constraint::Fill(1),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_pools(frame, app, pools);
    if let Some(pool) = app.selected() {
        draw_workers(frame, pool, workers);
        draw_graphs(frame, app, pool, graphs);
        draw_times(frame, pool, times);
    }
    let line = match app.error() {
        Some(error) => Line::from(error.to_owned()).fg(Color::Red),
        None => Line::from(KEYS).dim(),
    };
    frame.render_widget(line, footer);
}

fn draw_pools(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let block = Block::bordered().title(" formicary-top ");
    if app.pools().is_empty() {
        frame.render_widget(Paragraph::new("no pool has joined the registry").dim().block(block), area);
        return;
    }
    let all = |pool: &PoolSnapshot| pool.times.first().cloned().unwrap_or_default();
    let rows = app.pools().iter().map(|pool| {
        let refused: u64 = pool.refusals.iter().map(|refused| refused.count).sum();
        let row = Row::new([
            if pool.paused { format!("{} (paused)", pool.name) } else { pool.name.clone() },
            format!("{}/{}", pool.live, pool.capacity),
            queue(pool),
            pool.waiting.to_string(),
            rate(pool.per_second),
            p99(all(pool).queue_wait),
            p99(all(pool).run_time),
            refused.to_string(),
        ]);
        if pool.paused { row.fg(Color::Yellow) } else { row }
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(9),
        Constraint::Length(11),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(7),
    ];
    let header = Row::new(["pool", "workers", "queue", "waiting", "tasks/s", "wait p99", "run p99", "refused"]).dim();
    let table = Table::new(rows, widths)
        .header(header)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(block);
    let mut state = TableState::new().with_selected(app.position());
    frame.render_stateful_widget(table, area, &mut state);
}

fn queue(pool: &PoolSnapshot) -> String {
    match pool.queue_bound {
        Some(bound) => format!("{}/{bound}", pool.queued),
        None => pool.queued.to_string(),
    }
}

fn p99(times: Percentiles) -> String {
    if times.count == 0 { "-".into() } else { time(times.p99_us) }
}

/// The workers as cells, as many as there is room for.
fn draw_workers(frame: &mut Frame<'_>, pool: &PoolSnapshot, area: Rect) {
    let block = Block::bordered().title(format!(" {}: workers ", pool.name));
    let inner = block.inner(area);
    let columns = usize::from((inner.width + 1) / CELL).max(1);
    let room = columns * usize::from(inner.height);
    let hidden = pool.without_cell + pool.cells.len().saturating_sub(room);
    let block = if hidden > 0 {
        block.title_bottom(Line::from(format!(" {hidden} more ")).alignment(Alignment::Right))
    } else {
        block
    };
    let lines: Vec<Line<'_>> = pool.cells[..pool.cells.len().min(room)]
        .chunks(columns)
        .map(|cells| Line::from_iter(cells.iter().flat_map(|cell| [draw_cell(cell), Span::raw(" ")])))
        .collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_cell(cell: &Cell) -> Span<'static> {
    let style = match cell.state {
        CellState::NotStarted => Style::new().dim(),
        CellState::Idle => Style::new().fg(Color::Green),
        CellState::Running => Style::new().fg(Color::White).bg(Color::Blue),
        CellState::Long => Style::new().fg(Color::Black).bg(Color::Yellow),
        CellState::GivenUp => Style::new().fg(Color::White).bg(Color::Red),
    };
    let width = usize::from(CELL) - 1;
    let text = match (cell.tasks.first(), cell.state) {
        (Some(task), _) => {
            let mark = if task.cancelled || task.overdue { "!" } else { "" };
            let time = format!("{}{mark}", time(task.for_us));
            let name = task.name.as_deref().unwrap_or("task");
            let room = width.saturating_sub(5 + time.chars().count());
            let name: String = name.chars().take(room).collect();
            format!("{:>3} {name:<room$} {time}", cell.worker)
        }
        (None, CellState::NotStarted) => format!("{:>3} not started", cell.worker),
        (None, CellState::Idle) => format!("{:>3} idle", cell.worker),
        (None, _) => format!("{:>3} task", cell.worker),
    };
    Span::styled(format!("{text:<width$}"), style)
}

fn draw_graphs(frame: &mut Frame<'_>, app: &App, pool: &PoolSnapshot, area: Rect) {
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(area);
    let busy = pool.utilisation.unwrap_or_else(|| pool.running as f64 / pool.live.max(1) as f64);
    let full = pool.queue_bound.map_or(0.0, |bound| pool.queued as f64 / bound.max(1) as f64);
    let history = app.history(pool);
    let rates = history.map(|history| &history.per_second);
    let queued = history.map(|history| &history.queued);
    let sides = [
        (
            left,
            "busy",
            busy,
            format!("{:.0} %", busy * 100.0),
            format!("{} tasks/s", rate(pool.per_second)),
            rates,
            Color::Blue,
        ),
        (right, "queue", full, queue(pool), format!("{} submitters wait", pool.waiting), queued, Color::Magenta),
    ];
    for (area, title, ratio, label, bottom, values, colour) in sides {
        let block = Block::bordered().title(format!(" {title} ")).title_bottom(format!(" {bottom} "));
        let [gauge, line] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(block.inner(area));
        frame.render_widget(block, area);
        frame.render_widget(Gauge::default().ratio(ratio.clamp(0.0, 1.0)).label(label).gauge_style(colour), gauge);
        let values: Vec<u64> = values.into_iter().flatten().copied().collect();
        // The newest values, if there is no room for all.
        let values = &values[values.len().saturating_sub(usize::from(line.width))..];
        frame.render_widget(Sparkline::default().data(values).style(colour), line);
    }
}

fn draw_times(frame: &mut Frame<'_>, pool: &PoolSnapshot, area: Rect) {
    let cells = |times: Percentiles| {
        let text = |us| if times.count == 0 { "-".into() } else { time(us) };
        [text(times.p50_us), text(times.p90_us), text(times.p99_us)]
    };
    let rows = pool.times.iter().map(|times| {
        let name = times.name.clone().unwrap_or_else(|| "all".into());
        let count = times.queue_wait.count.max(times.run_time.count).to_string();
        Row::new([vec![name, count], cells(times.queue_wait).into(), cells(times.run_time).into()].concat())
    });
    let header = Row::new(["last 5 s", "tasks", "wait p50", "p90", "p99", "run p50", "p90", "p99"]).dim();
    let widths = [Constraint::Fill(1), Constraint::Length(8)].into_iter().chain([Constraint::Length(8); 6]);
    let refusals: Vec<_> = pool.refusals.iter().map(|refused| format!("{} {}", refused.count, refused.kind)).collect();
    let refused = if refusals.is_empty() { "none".into() } else { refusals.join(", ") };
    let bottom = format!(" {} completed, {} panicked, refused: {refused} ", pool.completed, pool.panicked);
    let block = Block::bordered().title(" times ").title_bottom(bottom);
    frame.render_widget(Table::new(rows, widths).header(header).block(block), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::*;
    use crate::snapshot::{MAX_CELLS, Refused, Snapshot, TaskCell, Times};

    fn pool(id: u64, name: &str) -> PoolSnapshot {
        let times = |name: Option<&str>| Times {
            name: name.map(str::to_owned),
            queue_wait: Percentiles { count: 40, p50_us: 120, p90_us: 1_500, p99_us: 22_000 },
            run_time: Percentiles { count: 41, p50_us: 3_000, p90_us: 4_000, p99_us: 1_600_000 },
        };
        let running = |worker, state, name: &str, for_us| {
            let task = TaskCell { name: Some(name.into()), for_us, ..TaskCell::default() };
            Cell { worker, state, tasks: vec![task] }
        };
        PoolSnapshot {
            id,
            name: name.into(),
            capacity: 5,
            live: 4,
            running: 2,
            queued: 7,
            queue_bound: Some(16),
            waiting: 3,
            completed: 1234,
            per_second: 321.4,
            utilisation: Some(0.5),
            refusals: vec![Refused { kind: "full", count: 9 }],
            times: vec![times(None), times(Some("resize"))],
            cells: vec![
                running(0, CellState::Running, "resize", 12_000),
                running(1, CellState::Long, "a name that is too long for a cell", 3_200_000),
                Cell { worker: 2, state: CellState::Idle, tasks: Vec::new() },
                Cell { worker: 3, ..Cell::default() },
                running(4, CellState::GivenUp, "hangs", 61_000_000),
            ],
            without_cell: 1,
            ..PoolSnapshot::default()
        }
    }

    fn drawn(app: &App, width: u16, height: u16) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, app)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn text(buffer: &Buffer) -> String {
        let lines = buffer.content.chunks(usize::from(buffer.area.width));
        lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
    }

    fn line_with<'a>(text: &'a str, part: &str) -> &'a str {
        text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part:?} in\n{text}"))
    }

    #[test]
    fn the_page_shows_the_figures() {
        let mut app = App::default();
        let mut paused = pool(2, "index");
        paused.paused = true;
        app.update(Snapshot { pools: vec![pool(1, "thumbnails"), paused] });
        let text = text(&drawn(&app, 100, 30));
        let row = line_with(&text, "4/5");
        for part in ["thumbnails", "7/16", "3", "321", "22 ms", "1.6 s", "9"] {
            assert!(row.contains(part), "{part} in\n{text}");
        }
        line_with(&text, "index (paused)");
        line_with(&text, "thumbnails: workers");
        let cells = line_with(&text, "0 resize");
        for part in ["12 ms", "1 a name", "3.2 s", "2 idle", "3 not started"] {
            assert!(cells.contains(part), "{part} in\n{text}");
        }
        line_with(&text, "1 more");
        line_with(&text, "50 %");
        line_with(&text, "3 submitters wait");
        let named = text.lines().rfind(|line| line.contains("resize")).unwrap();
        for part in ["41", "120 µs", "1.5 ms", "22 ms", "3.0 ms", "4.0 ms", "1.6 s"] {
            assert!(named.contains(part), "{part} in\n{text}");
        }
        line_with(&text, "1234 completed, 0 panicked, refused: 9 full");
        line_with(&text, KEYS);
    }

    #[test]
    fn states_have_colours_of_their_own() {
        let mut app = App::default();
        app.update(Snapshot { pools: vec![pool(1, "thumbnails")] });
        let buffer = drawn(&app, 100, 30);
        let text = text(&buffer);
        let y = text.lines().position(|line| line.contains("0 resize")).unwrap() as u16;
        let backgrounds = [0, 1, 2, 3].map(|n| buffer[(1 + n * CELL, y)].bg);
        assert_eq!(backgrounds, [Color::Blue, Color::Yellow, Color::Reset, Color::Reset]);
        assert_eq!(buffer[(1, y + 1)].bg, Color::Red);
    }

    #[test]
    fn every_size_can_be_drawn() {
        let mut app = App::default();
        let mut many = pool(3, "many");
        many.cells = (0..MAX_CELLS).map(|worker| Cell { worker, ..Cell::default() }).collect();
        many.cells[0].tasks = vec![TaskCell { for_us: u64::MAX, ..TaskCell::default() }];
        many.utilisation = Some(1.5);
        many.queue_bound = Some(0);
        let pools: Vec<_> = (0..20).map(|id| PoolSnapshot { id, ..many.clone() }).collect();
        for snapshot in [Snapshot::default(), Snapshot { pools }] {
            app.update(snapshot);
            for (width, height) in [(1, 1), (2, 40), (19, 9), (80, 24), (300, 3), (300, 100)] {
                drawn(&app, width, height);
            }
        }
    }

    #[test]
    fn an_error_takes_the_place_of_the_keys() {
        let mut app = App::default();
        app.show_error(Some(crate::action::ActionError::Gone));
        let text = text(&drawn(&app, 100, 30));
        line_with(&text, "the pool has ended");
        line_with(&text, "no pool has joined the registry");
        assert!(!text.contains(KEYS));
    }
}
