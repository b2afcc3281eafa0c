//! One window from beginning to end: attach, follow, close the books.

mod cost;
mod names;
mod run;
mod seeds;
mod walks;

pub use run::{Ended, Options, Progress, Session};
