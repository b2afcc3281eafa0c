//! What follows from a profile: what is idle, where the working time goes, what stands out.
//!
//! Computes every figure that is not in the profile itself, and never puts one into words.

mod budget;
mod cost;
mod cpu;
#[cfg(test)]
pub(crate) mod fixture;
mod frames;
mod groups;
mod headline;
mod idle;
mod top;

pub use budget::Budget;
pub use cost::{Cost, cost};
pub use cpu::{Shortage, shortages};
pub use frames::{culprit, meaningful};
pub use groups::{ProcessRows, Row, groups};
pub use headline::{Activity, Headline, Share, activity, headline};
pub use idle::{Idle, idle, is_lock, is_waiting_for_work};
pub use top::{TopWait, top_waits};
