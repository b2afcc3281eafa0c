//! The part of the document that is about chains of waiting.

use serde::Serialize;

use super::super::graph::{Net, leaf_label};
use crate::analyze::graph;
use crate::model::{Nanos, Profile};

/// `graph`.
#[derive(Debug, Serialize)]
pub struct Chains {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    leaves: Vec<Leaf>,
}

#[derive(Debug, Serialize)]
struct Node {
    id: usize,
    label: String,
}

#[derive(Debug, Serialize)]
struct Edge {
    from: usize,
    to: usize,
    total_ns: Nanos,
}

#[derive(Debug, Serialize)]
struct Leaf {
    label: String,
    waiting_ns: Nanos,
    saves: f64,
}

/// The chains of a profile.
pub fn chains(profile: &Profile) -> Chains {
    let graph = graph(profile);
    let net = Net::of(&graph);
    let mut nodes: Vec<Node> =
        net.nodes.into_iter().map(|(label, id)| Node { id, label: plain(&label) }).collect();
    nodes.sort_by_key(|node| node.id);
    let edges = net.edges.into_iter();
    Chains {
        nodes,
        edges: edges.map(|((from, to), total_ns)| Edge { from, to, total_ns }).collect(),
        leaves: graph
            .leaves
            .iter()
            .map(|leaf| Leaf {
                label: leaf_label(leaf),
                waiting_ns: leaf.waiting,
                saves: leaf.saves,
            })
            .collect(),
    }
}

fn plain(label: &str) -> String {
    label.replace(super::super::layout::TIE, " ")
}
