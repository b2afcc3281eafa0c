//! Colours of kinds of waits, in every picture the same.

use crate::model::State;

/// Red, green and blue.
pub type Rgb = (u8, u8, u8);

/// What was waited for. Dark text can be read on each.
pub const fn of(kind: State) -> Rgb {
    match kind {
        State::Futex | State::FileLock => (226, 96, 84),
        State::Socket => (92, 145, 214),
        State::Poll => (92, 190, 190),
        State::Disk => (230, 150, 60),
        State::PageFault => (214, 120, 170),
        State::Pipe => (150, 125, 205),
        State::Sleep => (165, 175, 185),
        State::Child => (150, 180, 110),
        State::IoUring => (215, 180, 70),
        State::Running => (96, 178, 104),
        State::Runnable => (226, 198, 72),
        _ => (180, 165, 145),
    }
}

/// Waits for work.
pub const IDLE: Rgb = (190, 205, 190);
