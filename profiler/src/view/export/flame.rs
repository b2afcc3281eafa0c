//! A flame graph of waits. On-CPU time is not measured, so none is shown.

use std::io;

use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{Direction, Options, from_lines};

use super::folded::path;
use super::{Waits, waits};
use crate::analyze::TopWait;
use crate::model::{Profile, State};
use crate::view::units::{counted, duration};

/// Functions and processes: the kinds of waits stand out beside it.
const NEUTRAL: Color = Color { r: 222, g: 222, b: 214 };
const MILLISECONDS: f64 = 1e-6;

/// As SVG, with its own search and zoom; what was waited for has the colour of its kind.
///
/// # Errors
/// When nothing waited: there is nothing to draw.
pub fn flame_graph(profile: &Profile, which: Waits) -> io::Result<Vec<u8>> {
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
    let lines: Vec<String> =
        paths.iter().map(|(path, wait)| format!("{} {}", path.join(";"), wait.total.0)).collect();
    let mut options = Options::default();
    options.title = format!("Where {} waits", profile.target.description);
    options.subtitle = Some(format!(
        "{} on {}, {} on {}",
        duration(profile.window.duration()),
        profile.host.name,
        counted(profile.host.cpus as u64, "CPU"),
        profile.host.kernel
    ));
    options.count_name = "ms".to_owned();
    options.factor = MILLISECONDS;
    options.name_type = "Function:".to_owned();
    options.palette_map = Some(&mut colors);
    options.bgcolors = Some(BackgroundColor::Flat(Color { r: 255, g: 255, b: 255 }));
    options.direction = Direction::Straight;
    let mut svg = Vec::new();
    from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)?;
    Ok(svg)
}

fn color(wait: &TopWait) -> Color {
    let (r, g, b) = match wait.kind {
        _ if wait.idle.is_some() => (190, 205, 190),
        State::Futex | State::FileLock => (226, 96, 84),
        State::Socket => (92, 145, 214),
        State::Poll => (92, 190, 190),
        State::Disk => (230, 150, 60),
        State::PageFault => (214, 120, 170),
        State::Pipe => (150, 125, 205),
        State::Sleep => (165, 175, 185),
        State::Child => (150, 180, 110),
        State::IoUring => (215, 180, 70),
        _ => (180, 165, 145),
    };
    Color { r, g, b }
}
