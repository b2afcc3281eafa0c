//! A flame graph of waits. On-CPU time is not measured, so none is shown.

use std::io;

use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{Direction, Options, from_lines};

use super::folded::path;
use super::{Waits, waits};
use crate::analyze::TopWait;
use crate::model::Profile;
use crate::view::palette;
use crate::view::units::{counted, duration};

/// Functions and processes: the kinds of waits stand out beside it.
const NEUTRAL: Color = Color { r: 222, g: 222, b: 214 };
const MILLISECONDS: f64 = 1e-6;

/// As SVG, with its own search and zoom; what was waited for has the colour of its kind. None where nothing waited.
///
/// # Errors
/// Those of inferno.
pub fn flame_graph(profile: &Profile, which: Waits) -> io::Result<Option<Vec<u8>>> {
    let rows = waits(profile, which);
    let paths: Vec<(Vec<String>, &TopWait)> = rows.iter().map(|wait| (path(wait), wait)).collect();
    let mut colors = PaletteMap::default();
    // The whole, which inferno shows as `all`.
    colors.insert("", NEUTRAL);
    for (path, wait) in &paths {
        for name in path {
            colors.insert(name, NEUTRAL);
        }
        if let Some(cause) = path.last() {
            colors.insert(cause, color(wait));
        }
    }
    let stacks: Vec<Stack> =
        paths.iter().map(|(path, wait)| Stack { path: path.join(";"), ns: wait.total.0 }).collect();
    let drawing = Drawing {
        title: format!("Where {} waits", profile.target.description),
        subtitle: format!(
            "{} on {}, {} on {}",
            duration(profile.window.duration()),
            profile.host.name,
            counted(profile.host.cpus as u64, "CPU"),
            profile.host.kernel
        ),
        count_name: "ms".to_owned(),
        factor: MILLISECONDS,
    };
    draw(drawing, &mut colors, &stacks)
}

/// What stands around the boxes.
pub struct Drawing {
    /// Above them.
    pub title: String,
    /// Below that.
    pub subtitle: String,
    /// The unit of their figures.
    pub count_name: String,
    /// How many of it a nanosecond is.
    pub factor: f64,
}

/// A stack as inferno reads it.
pub struct Stack {
    /// From the outermost to the innermost, with `;` between.
    pub path: String,
    /// How wide it is.
    pub ns: u64,
}

/// As SVG; none where the stacks have no width.
///
/// # Errors
/// Those of inferno.
pub fn draw(
    drawing: Drawing,
    colors: &mut PaletteMap,
    stacks: &[Stack],
) -> io::Result<Option<Vec<u8>>> {
    if stacks.iter().all(|stack| stack.ns == 0) {
        return Ok(None);
    }
    let lines: Vec<String> =
        stacks.iter().map(|stack| format!("{} {}", stack.path, stack.ns)).collect();
    let mut options = Options::default();
    options.title = drawing.title;
    options.subtitle = Some(drawing.subtitle);
    options.count_name = drawing.count_name;
    options.factor = drawing.factor;
    options.name_type = "Function:".to_owned();
    options.palette_map = Some(colors);
    options.bgcolors = Some(BackgroundColor::Flat(Color { r: 255, g: 255, b: 255 }));
    options.direction = Direction::Straight;
    let mut svg = Vec::new();
    from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)?;
    Ok(Some(svg))
}

fn color(wait: &TopWait) -> Color {
    let (r, g, b) = if wait.idle.is_some() { palette::IDLE } else { palette::of(wait.kind) };
    Color { r, g, b }
}
