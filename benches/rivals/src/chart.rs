//! A chart for each scenario: a bar for every contestant, best on top, and a line for each floor. There are three colours.

use std::error::Error;
use std::io;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::axis::Axis;
use crate::glance;
use crate::pools::Class;
use crate::report::sorted;
use crate::verdict::{View, short};

const WIDTH: u32 = 1000;
const LEFT: i32 = 260;
const RIGHT: i32 = 900;
const TOP: i32 = 120;
const BAR: i32 = 24;
/// Below the bars.
const FOOT: i32 = 60;
const GRID: RGBColor = RGBColor(225, 225, 225);
const CLASSES: [(Class, &str); 3] = [(Class::Ours, "formicary"), (Class::Rival, "rivals"), (Class::Floor, "floors")];

fn colour(class: Class) -> RGBColor {
    match class {
        Class::Ours => RGBColor(200, 80, 20),
        Class::Rival => RGBColor(130, 150, 175),
        Class::Floor => RGBColor(40, 120, 60),
    }
}

pub fn draw(path: &Path, view: View) -> io::Result<()> {
    let bars = sorted(view).len() as i32;
    if bars == 0 {
        return Ok(());
    }
    let area = SVGBackend::new(path, (WIDTH, (TOP + BAR * bars + FOOT) as u32)).into_drawing_area();
    draw_on(&area, view).and_then(|()| Ok(area.present()?)).map_err(|error| io::Error::other(error.to_string()))
}

/// Text of a size, black, placed in the middle of its height.
fn text<'a>(size: i32, place: HPos) -> TextStyle<'a> {
    ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(place, VPos::Center))
}

fn draw_on<B: DrawingBackend>(area: &DrawingArea<B, Shift>, view: View) -> Result<(), Box<dyn Error>>
where
    B::ErrorType: 'static,
{
    let scenario = view.table.scenario;
    let bars = sorted(view);
    let axis = Axis::over(bars.iter().flat_map(|(_, spread)| [spread.min, spread.max]));
    let x = |value| LEFT + (axis.part(value) * f64::from(RIGHT - LEFT)) as i32;
    let bottom = TOP + BAR * bars.len() as i32;
    area.fill(&WHITE)?;

    let state = if scenario.together { String::new() } else { format!(" (state: {})", view.state.name()) };
    area.draw_text(&format!("{}{state}", scenario.name), &text(20, HPos::Left), (12, 20))?;
    area.draw_text(scenario.about, &text(14, HPos::Left), (12, 44))?;
    area.draw_text(&glance::sentence(view), &text(14, HPos::Left), (12, 64))?;
    let classes: Vec<_> =
        CLASSES.iter().filter(|(class, _)| bars.iter().any(|(line, _)| line.class == *class)).collect();
    for (n, (class, name)) in classes.iter().enumerate() {
        let left = 12 + 120 * n as i32;
        area.draw(&Rectangle::new([(left, 86), (left + 14, 100)], colour(*class).filled()))?;
        area.draw_text(name, &text(14, HPos::Left), (left + 20, 93))?;
    }
    area.draw_text(
        "bar: median; black line: least to greatest",
        &text(14, HPos::Left),
        (12 + 120 * classes.len() as i32, 93),
    )?;

    for tick in axis.ticks() {
        let x = x(tick);
        area.draw(&PathElement::new([(x, TOP), (x, bottom + 5)], GRID))?;
        area.draw_text(&short(tick), &text(13, HPos::Center), (x, bottom + 16))?;
    }
    let figure = scenario.figures[0].replace("us", "µs");
    let kind = if axis.is_log { "logarithmic" } else { "linear" };
    area.draw_text(&format!("{figure}, {kind} scale"), &text(14, HPos::Center), ((LEFT + RIGHT) / 2, bottom + 40))?;

    for (line, spread) in bars.iter().filter(|(line, _)| line.class == Class::Floor) {
        let x = x(spread.median);
        area.draw(&PathElement::new([(x, TOP), (x, bottom)], colour(line.class)))?;
    }
    for (n, (line, spread)) in bars.iter().enumerate() {
        let top = TOP + BAR * n as i32;
        let middle = top + BAR / 2;
        area.draw_text(&line.name, &text(14, HPos::Right), (LEFT - 8, middle))?;
        let bar = [(LEFT, top + 4), (x(spread.median), top + BAR - 4)];
        area.draw(&Rectangle::new(bar, colour(line.class).filled()))?;
        let (from, to) = (x(spread.min), x(spread.max));
        area.draw(&PathElement::new([(from, middle), (to, middle)], BLACK))?;
        area.draw_text(&short(spread.median), &text(14, HPos::Left), (x(spread.median).max(to) + 6, middle))?;
    }
    Ok(())
}
