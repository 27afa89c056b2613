//! Records the same tasks on each dispatch, as files for <https://ui.perfetto.dev> or `chrome://tracing`, and draws a chart of them.
//!
//! ```sh
//! timeline [FOLDER]   # writes timeline-stack.json, timeline-ring.json, timeline-sharded.json and one-burst.svg
//! ```
//!
//! Twenty tasks come at once, then one at a time. Each waits for one to three milliseconds, as for a disk, so that the chart does not depend on
//! the number of processors.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use formicary::observe::Timeline;
use formicary::{Dispatch, Pool, Ring, Sharded, Stack};
use serde_json::Value;

const WORKERS: usize = 4;
const BURST: usize = 20;
const SINGLE: usize = 8;

/// Runs the tasks and records them.
fn record<D: Dispatch>(path: &Path) -> Result<(), Box<dyn Error>> {
    let timeline = Timeline::to_file(path)?;
    let builder = Pool::builder().workers(WORKERS).min_workers(WORKERS).observer(timeline.pool(D::NAME));
    let pool = builder.dispatch::<D>().build()?;
    // All workers park.
    sleep(Duration::from_millis(10));
    let task = |n: usize| move || sleep(Duration::from_millis(1 + n as u64 % 3));
    for n in 0..BURST {
        pool.with().name(n.to_string()).submit(task(n))?;
    }
    pool.wait_idle();
    for n in BURST..BURST + SINGLE {
        sleep(Duration::from_millis(1));
        pool.with().name(n.to_string()).run(task(n))?;
    }
    timeline.finish()?;
    Ok(())
}

/// A task of a file: its number, its worker, and its time in milliseconds.
struct Bar {
    name: usize,
    worker: usize,
    from: f64,
    to: f64,
}

fn bars(path: &Path) -> Result<Vec<Bar>, Box<dyn Error>> {
    let events: Vec<Value> = serde_json::from_slice(&std::fs::read(path)?)?;
    let workers: Vec<_> = events.iter().filter(|event| event["name"] == "thread_sort_index").collect();
    let mut bars = Vec::new();
    for task in events.iter().filter(|event| event["ph"] == "X") {
        let worker = workers.iter().find(|worker| worker["tid"] == task["tid"]).ok_or("a task without a worker")?;
        let from = task["ts"].as_f64().ok_or("no time")? / 1000.0;
        bars.push(Bar {
            name: task["name"].as_str().ok_or("no name")?.parse()?,
            worker: worker["args"]["sort_index"].as_u64().ok_or("no number")? as usize,
            from,
            to: from + task["dur"].as_f64().ok_or("no duration")? / 1000.0,
        });
    }
    let first = bars.iter().map(|bar| bar.from).fold(f64::INFINITY, f64::min);
    bars.iter_mut().for_each(|bar| (bar.from, bar.to) = (bar.from - first, bar.to - first));
    Ok(bars)
}

/// Rows of workers for each dispatch, in the style of the charts of the benchmarks.
fn draw(panels: &[(&str, Vec<Bar>)]) -> String {
    const LEFT: f64 = 100.0;
    const RIGHT: f64 = 980.0;
    const TOP: f64 = 80.0;
    const ROW: f64 = 22.0;
    const PANEL: f64 = ROW * (WORKERS as f64 + 1.5);
    let end = panels.iter().flat_map(|(_, bars)| bars).map(|bar| bar.to).fold(0.0, f64::max);
    let x = |time: f64| LEFT + time / end * (RIGHT - LEFT);
    let bottom = TOP + PANEL * panels.len() as f64;
    let mut svg = format!("<svg width=\"1000\" height=\"{0}\" viewBox=\"0 0 1000 {0}\" ", bottom + 40.0);
    svg.push_str("font-family=\"sans-serif\" font-size=\"12\" xmlns=\"http://www.w3.org/2000/svg\">\n");
    let mut line = |text: std::fmt::Arguments<'_>| _ = writeln!(svg, "{text}");
    line(format_args!("<rect width=\"1000\" height=\"{}\" fill=\"#FFFFFF\"/>", bottom + 40.0));
    line(format_args!("<text x=\"12\" y=\"24\" font-size=\"16\">One burst, three dispatches</text>"));
    line(format_args!(
        "<text x=\"12\" y=\"44\">{BURST} tasks of 1 to 3 ms at once (orange), then {SINGLE} one by one (grey), for {WORKERS} parked workers; \
         numbers in the order of submission</text>"
    ));
    for tick in (0..=end as u32).step_by(5) {
        let at = x(tick.into());
        line(format_args!("<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#E1E1E1\"/>"));
        line(format_args!("<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>", bottom + 16.0));
    }
    line(format_args!("<text x=\"540\" y=\"{}\" text-anchor=\"middle\">ms</text>", bottom + 32.0));
    for (panel, (name, bars)) in panels.iter().enumerate() {
        let top = TOP + PANEL * panel as f64;
        line(format_args!("<text x=\"12\" y=\"{}\" font-size=\"14\">{name}</text>", top + 4.0));
        for worker in 0..WORKERS {
            let y = top + ROW * (worker as f64 + 0.5) + 15.0;
            line(format_args!("<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">worker {worker}</text>", LEFT - 8.0));
        }
        for bar in bars {
            let (from, to, y) = (x(bar.from), x(bar.to), top + ROW * (bar.worker as f64 + 0.5));
            let colour = if bar.name < BURST { "#C85014" } else { "#8296AF" };
            line(format_args!(
                "<rect x=\"{from:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\" stroke=\"#FFFFFF\"/>",
                y + 2.0,
                to - from,
                ROW - 4.0
            ));
            line(format_args!(
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#FFFFFF\">{}</text>",
                (from + to) / 2.0,
                y + 15.0,
                bar.name
            ));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let folder = Path::new(&folder);
    let path = |name: &str| folder.join(format!("timeline-{}.json", name.to_lowercase()));
    record::<Stack>(&path(Stack::NAME))?;
    record::<Ring>(&path(Ring::NAME))?;
    record::<Sharded>(&path(Sharded::NAME))?;
    let mut panels = Vec::new();
    for name in [Stack::NAME, Ring::NAME, Sharded::NAME] {
        let bars = bars(&path(name))?;
        if bars.len() != BURST + SINGLE {
            return Err(format!("{}: {} tasks", path(name).display(), bars.len()).into());
        }
        println!("{}", path(name).display());
        panels.push((name, bars));
    }
    std::fs::write(folder.join("one-burst.svg"), draw(&panels))?;
    println!("{}", folder.join("one-burst.svg").display());
    Ok(())
}
