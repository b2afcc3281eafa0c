//! One window from beginning to end: attach, follow, close the books.

mod cost;
mod cpu;
mod each;
mod names;
mod run;
mod seeds;
mod walks;

pub use run::{Ended, Options, Progress, RequestOptions, Session, Tap};
