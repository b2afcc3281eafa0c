//! A comparison as a document (docs/json.md).

use serde::Serialize;

use super::locks::sort_name;

use crate::analyze::{Compared, Comparison, Difference, Metric, Outcome, Pair, Series, Unfair};
use crate::model::{part_name, state_name};

/// The document.
#[derive(Serialize)]
pub struct Document<'a> {
    schema: &'static str,
    of_requests: bool,
    recordings: Vec<Recording<'a>>,
    outlier: Option<usize>,
    pairs: Vec<Beside>,
    unfair: Vec<Warning>,
}

#[derive(Serialize)]
struct Recording<'a> {
    name: &'a str,
    dwell: &'a str,
    host: &'a str,
    kernel: &'a str,
    cpus: usize,
    duration_ns: u64,
    slices: usize,
    service: Option<&'a str>,
}

#[derive(Serialize)]
struct Beside {
    before: usize,
    after: usize,
    outcome: &'static str,
    /// What changed most, where the whole did; else a part that changed all the same.
    causes: Vec<Named>,
    load: Figures,
    p50_ns: Option<Figures>,
    p99_ns: Option<Figures>,
    whole: Row,
    parts: Vec<Row>,
    details: Vec<Row>,
    threads: [u64; 2],
}

#[derive(Serialize)]
struct Named {
    part: Row,
    share: Option<f64>,
    detail: Option<Row>,
}

#[derive(Serialize)]
struct Row {
    kind: &'static str,
    name: String,
    /// The sort of lock, if the wait is for one.
    lock: Option<&'static str>,
    function: Option<String>,
    object: Option<String>,
    process: Option<String>,
    before_ns: f64,
    after_ns: f64,
    noise_ns: Option<f64>,
    beyond_noise: bool,
}

#[derive(Serialize)]
struct Figures {
    before: f64,
    after: f64,
    noise: Option<f64>,
}

#[derive(Serialize)]
struct Warning {
    reason: &'static str,
    values: Vec<String>,
}

/// The document of a comparison.
pub fn comparison<'a>(all: &'a [Series], compared: &Compared) -> Document<'a> {
    Document {
        schema: "dwell-compare/1",
        of_requests: compared.of_requests,
        recordings: all.iter().map(recording).collect(),
        outlier: compared.outlier,
        pairs: compared.pairs.iter().map(|(a, b, pair)| beside(*a, *b, pair)).collect(),
        unfair: compared.unfair.iter().map(warning).collect(),
    }
}

fn recording(series: &Series) -> Recording<'_> {
    let host = &series.whole.host;
    Recording {
        name: &series.name,
        dwell: &series.version,
        host: &host.name,
        kernel: &host.kernel,
        cpus: host.cpus,
        duration_ns: series.whole.window.duration().0,
        slices: series.len(),
        service: series.service().map(|service| service.address.as_str()),
    }
}

fn beside(before: usize, after: usize, pair: &Comparison) -> Beside {
    let (outcome, causes) = match pair.outcome() {
        Outcome::Same => ("same", Vec::new()),
        Outcome::Shifted { part } => {
            ("shifted", vec![Named { part: row(&part), share: None, detail: None }])
        }
        Outcome::Changed { causes } => {
            let outcome = if pair.whole.by() > 0.0 { "worse" } else { "better" };
            let named = causes.iter().map(|one| Named {
                part: row(&one.part),
                share: Some(one.share),
                detail: one.detail.as_ref().map(row),
            });
            (outcome, named.collect())
        }
    };
    Beside {
        before,
        after,
        outcome,
        causes,
        load: figures(pair.load),
        p50_ns: pair.quantiles.map(|[p50, _]| figures(p50)),
        p99_ns: pair.quantiles.map(|[_, p99]| figures(p99)),
        whole: row(&pair.whole),
        parts: pair.parts.iter().map(row).collect(),
        details: pair.details.iter().map(row).collect(),
        threads: pair.threads,
    }
}

fn known(noise: f64) -> Option<f64> {
    noise.is_finite().then_some(noise)
}

fn figures(pair: Pair) -> Figures {
    Figures { before: pair.before, after: pair.after, noise: known(pair.noise) }
}

fn row(change: &Difference) -> Row {
    let (kind, name) = match &change.metric {
        Metric::Whole => ("whole", String::new()),
        Metric::Part(part) => ("part", part_name(*part).to_owned()),
        Metric::Wait(wait) => ("wait", state_name(wait.kind).to_owned()),
        Metric::Peer(address) => ("peer", address.clone()),
        Metric::Label(label) => ("label", label.text.clone()),
    };
    let wait = match &change.metric {
        Metric::Wait(wait) => Some(wait.clone()),
        _ => None,
    };
    let lock = wait.as_ref().and_then(|wait| wait.lock).map(|(sort, _)| sort_name(sort));
    let (function, object, process) =
        wait.map_or((None, None, None), |wait| (wait.function, wait.object, wait.process));
    Row {
        kind,
        name,
        lock,
        function,
        object,
        process,
        before_ns: change.before,
        after_ns: change.after,
        noise_ns: known(change.noise),
        beyond_noise: change.is_real(),
    }
}

fn warning(unfair: &Unfair) -> Warning {
    let text = |all: &[f64]| all.iter().map(ToString::to_string).collect();
    let (reason, values) = match unfair {
        Unfair::Kernels(kernels) => ("kernels", kernels.clone()),
        Unfair::Cpus(cpus) => ("cpus", cpus.iter().map(ToString::to_string).collect()),
        Unfair::Targets(targets) => ("targets", targets.clone()),
        Unfair::Lengths(lengths) => ("lengths", text(lengths)),
        Unfair::Loads(loads) => ("loads", text(loads)),
        Unfair::Losses(names) => ("losses", names.clone()),
        Unfair::Versions(versions) => ("versions", versions.clone()),
        Unfair::Requests => ("requests", Vec::new()),
        Unfair::FewSlices(slices) => ("few_slices", vec![slices.to_string()]),
    };
    Warning { reason, values }
}
