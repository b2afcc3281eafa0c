//! What holds of the requests of every document, and of every line of `--each`.

use anyhow::{Context, Result, ensure};

use crate::document::Document;
use crate::document::requests::{Each, Quantiles, Service, Set, Sets};
use crate::tolerance::BUDGET;

/// Rounding of a mean: each part is cut to whole nanoseconds.
const ROUNDING_NS: i64 = 32;

/// Fails unless no request is lost, all counts add up, and so does what requests consist of.
pub fn check(document: &Document) -> Result<()> {
    let requests = &document.body.requests;
    ensure!(requests.followed, "requests were not followed");
    let lost = (requests.lost, requests.lost_connections, requests.lost_labels);
    ensure!(lost == (0, 0, 0), "requests, connections, labels that are lost: {lost:?}");
    for service in &requests.services {
        check_service(service).with_context(|| format!("at {}", service.address))?;
    }
    Ok(())
}

/// Fails unless the lines are of the requests that the document counts, and the parts of each add up.
pub fn check_each(document: &Document, each: &[Each]) -> Result<()> {
    let services = &document.body.requests.services;
    let counted: u64 = services.iter().map(|service| service.count).sum();
    ensure!(each.len() as u64 == counted, "{} lines of {counted} requests", each.len());
    for row in each {
        let times = [row.arrival_ns, row.received_ns, row.first_sent_ns, row.last_sent_ns];
        ensure!(times.is_sorted(), "not in this order: {row:?}");
        let latency_ns = row.last_sent_ns - row.arrival_ns;
        ensure!(row.latency_ns == latency_ns, "it took {latency_ns} ns: {row:?}");
        BUDGET.check("parts", row.parts_ns(), latency_ns).with_context(|| format!("{row:?}"))?;
    }
    Ok(())
}

fn check_service(service: &Service) -> Result<()> {
    let groups = service.sum(|group| group.count);
    ensure!(groups == service.count, "{groups} in groups of {} requests", service.count);
    let answered: u64 = service.servers.iter().map(|server| server.count).sum();
    ensure!(answered == service.count, "{answered} by threads of {} requests", service.count);
    check_sets(&service.sets, service.count, &service.latency)?;
    for group in &service.groups {
        check_sets(&group.sets, group.count, &group.latency)
            .with_context(|| format!("{:?}", group.label))?;
    }
    Ok(())
}

fn check_sets(sets: &Sets, count: u64, latency: &Quantiles) -> Result<()> {
    let Quantiles { p50_ns, p90_ns, p95_ns, p99_ns, p999_ns, max_ns } = *latency;
    let quantiles = [p50_ns, p90_ns, p95_ns, p99_ns, p999_ns, max_ns];
    ensure!(quantiles.is_sorted(), "quantiles: {quantiles:?}");
    ensure!(sets.all.count == count, "all are {}, not {count}", sets.all.count);
    ensure!(sets.median.count <= count && sets.tail.count <= count, "more than all");
    for (name, set) in [("median", &sets.median), ("tail", &sets.tail), ("all", &sets.all)] {
        check_set(set).with_context(|| format!("{name}: {set:?}"))?;
    }
    Ok(())
}

fn check_set(set: &Set) -> Result<()> {
    let parts: u64 = set.parts_ns.values().sum();
    let difference = parts as i64 + set.residual_ns - set.mean_ns as i64;
    ensure!(difference.abs() <= ROUNDING_NS, "parts and residual are {difference} ns off");
    BUDGET.check("parts", parts, set.mean_ns)
}
