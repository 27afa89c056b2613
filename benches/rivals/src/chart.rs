//! A chart for each scenario: a bar for every contestant, best on top, and a line for each floor.

use std::error::Error;
use std::io;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::pools::Class;
use crate::report::sorted;
use crate::verdict::{View, short};

const WIDTH: u32 = 1000;
const LEFT: i32 = 230;
const RIGHT: i32 = 880;
const TOP: i32 = 70;
const BAR: i32 = 24;
const OURS: RGBColor = RGBColor(200, 80, 20);
const THEIRS: RGBColor = RGBColor(130, 150, 175);
const FLOOR: RGBColor = RGBColor(40, 120, 60);

pub fn draw(path: &Path, view: View) -> io::Result<()> {
    let bars = sorted(view);
    if bars.is_empty() {
        return Ok(());
    }
    let height = (TOP + BAR * bars.len() as i32 + 60) as u32;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    draw_on(&area, view).and_then(|()| Ok(area.present()?)).map_err(|error| io::Error::other(error.to_string()))
}

/// Places values on the horizontal axis: logarithmic if they are more than 30 times apart.
struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Axis {
    fn over(values: &[f64]) -> Self {
        let high = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let low = values.iter().copied().filter(|value| *value > 0.0).fold(high, f64::min);
        let is_log = high / low > 30.0;
        Axis { low: if is_log { low / 2.0 } else { 0.0 }, high, is_log }
    }

    fn x(&self, value: f64) -> i32 {
        let part = match self.is_log {
            true => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            false => value / self.high,
        };
        LEFT + (part * f64::from(RIGHT - LEFT)) as i32
    }
}

fn draw_on<B: DrawingBackend>(area: &DrawingArea<B, Shift>, view: View) -> Result<(), Box<dyn Error>>
where
    B::ErrorType: 'static,
{
    let scenario = view.table.scenario;
    let bars = sorted(view);
    let axis = Axis::over(&bars.iter().flat_map(|(_, spread)| [spread.min, spread.max]).collect::<Vec<_>>());
    area.fill(&WHITE)?;
    let font = |size: i32| ("sans-serif", size).into_font();
    let left = |size| font(size).color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    let right = |size| font(size).color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
    let scale = if axis.is_log { ", logarithmic" } else { "" };
    let state = if scenario.together { String::new() } else { format!(", state: {}", view.state.name()) };
    area.draw_text(&format!("{}: {}{scale}{state}", scenario.name, scenario.figures[0]), &left(20), (12, 20))?;
    area.draw_text(scenario.about, &left(14), (12, 44))?;
    let bottom = TOP + BAR * bars.len() as i32;
    for (n, (line, spread)) in bars.iter().filter(|(line, _)| line.class == Class::Floor).enumerate() {
        let (x, y) = (axis.x(spread.median), bottom + 10 + 16 * n as i32);
        area.draw(&PathElement::new([(x, TOP - 6), (x, y)], FLOOR))?;
        let (place, beside) = if x > (LEFT + RIGHT) / 2 { (right(12), x - 4) } else { (left(12), x + 4) };
        area.draw_text(&format!("floor: {}", line.name), &place.color(&FLOOR), (beside, y))?;
    }
    for (n, (line, spread)) in bars.iter().enumerate() {
        let (top, middle) = (TOP + BAR * n as i32, TOP + BAR * n as i32 + BAR / 2);
        let colour = match line.class {
            Class::Ours => OURS,
            Class::Rival => THEIRS,
            Class::Floor => FLOOR,
        };
        area.draw_text(&line.name, &right(14), (LEFT - 8, middle))?;
        area.draw(&Rectangle::new([(LEFT, top + 4), (axis.x(spread.median), top + BAR - 4)], colour.filled()))?;
        // From the least to the greatest.
        let (from, to) = (axis.x(spread.min), axis.x(spread.max));
        area.draw(&PathElement::new([(from, middle), (to, middle)], BLACK))?;
        area.draw_text(&short(spread.median), &left(14), (axis.x(spread.median).max(to) + 6, middle))?;
    }
    area.draw_text("ours in orange; black: least to greatest", &right(12), (WIDTH as i32 - 12, bottom + 48))?;
    Ok(())
}
