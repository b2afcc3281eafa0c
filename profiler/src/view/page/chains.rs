//! Chains of waiting as a graph from left to right: what waits, behind whom, what those were doing.

use maud::{Markup, html};

use crate::analyze::{Behind, Graph, Part, Source};
use crate::model::Nanos;
use crate::view::graph::{LEAST, begin, end};
use crate::view::locks;
use crate::view::units::{duration, percent};
use crate::view::words;

/// Beginnings and ends shown.
const SOURCES: usize = 20;
const LEAVES: usize = 10;

/// The chains, and what they come down to; nothing where nothing waited inside work.
pub fn body(graph: &Graph) -> Option<Markup> {
    let all: Nanos = graph.sources.iter().map(|source| source.total).sum();
    let matters = |time: Nanos| time.share_of(all) >= LEAST;
    (all > Nanos(0)).then(|| {
        html! {
            p { "From what waits, to whom it waits behind, to what those were doing meanwhile. The bars show the part of all " (duration(all)) " of waiting inside work." }
            ul.chains {
                @for source in graph.sources.iter().take(SOURCES).filter(|source| matters(source.total)) {
                    (chain(source, all))
                }
            }
            h3 { "What it all comes down to" }
            table {
                thead { tr { th { "end of a chain" } th.n { "waiting" } th.n { "share" } th.n { "one second less saves at most" } } }
                tbody { @for leaf in graph.leaves.iter().take(LEAVES).filter(|leaf| matters(leaf.waiting)) {
                    tr {
                        th scope="row" { (end(&leaf.end)) }
                        td.n { (duration(leaf.waiting)) }
                        td.n { (percent(leaf.waiting.share_of(all))) }
                        td.n { (format!("{:.1} s", leaf.saves)) }
                    }
                } }
            }
        }
    })
}

fn chain(source: &Source, all: Nanos) -> Markup {
    let whole = Whole { all, source: source.total };
    html! { li { (whole.node(&begin(&source.what), source.total)) (whole.holders(&source.behind)) } }
}

/// What times are beside.
struct Whole {
    all: Nanos,
    source: Nanos,
}

impl Whole {
    fn node(&self, text: &str, time: Nanos) -> Markup {
        let share = format!("width:{:.2}%", time.share_of(self.all) * 100.0);
        html! {
            div.node { (text) " " b { (duration(time)) } span.share style=(share) {} }
        }
    }

    fn matters(&self, time: Nanos) -> bool {
        time.share_of(self.source) >= LEAST
    }

    fn holders(&self, behind: &[Behind]) -> Markup {
        let shown: Vec<_> = behind.iter().filter(|next| self.matters(next.total)).collect();
        html! {
            @if !shown.is_empty() {
                ul { @for next in shown {
                    li {
                        (self.node(&format!("behind {}{}", words::name_or_none(&next.group), locks::pids(next)), next.total))
                        (self.doings(&next.doing))
                    }
                } }
            }
        }
    }

    fn doings(&self, parts: &[Part]) -> Markup {
        let shown: Vec<_> = parts.iter().filter(|part| self.matters(part.total)).collect();
        html! {
            @if !shown.is_empty() {
                ul { @for part in shown {
                    li { (self.node(&locks::short(&part.doing), part.total)) (self.holders(&part.behind)) }
                } }
            }
        }
    }
}
