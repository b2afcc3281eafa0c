//! Shows a profile: as text for people, as a document for programs. Computes nothing.

mod bars;
mod color;
mod compare;
mod cpu;
mod export;
mod graph;
mod headline;
mod json;
mod layout;
mod locks;
mod page;
mod palette;
mod requests;
#[cfg(test)]
mod tests;
mod text;
mod trust;
mod units;
mod verdict;
mod waits;
mod words;

pub use compare::{Moment, render_comparison, render_spike};
pub use export::{
    Table, Waits, csv, firefox, flame_graph, flame_graph_of_change, folded, parquet, perfetto,
    pprof,
};
pub use graph::dot;
pub use json::{DocumentOptions, comparison, document};
pub use page::page;
pub use text::{TextOptions, render, render_graph, render_locks, render_requests};
pub use units::duration;
