//! A page for the browser: one file that needs no other, and asks no host for anything.
//!
//! What the target and its clients chose (names, paths, labels) is text to maud, which escapes it. The one script is
//! ours: the page's own policy allows no other, and nothing to be fetched.

mod budgets;
mod chains;
mod flames;
mod heat;
mod locks;
mod threads;
mod waits;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::color::Line;
use super::units::{counted, duration};
use super::{cpu, headline, palette, requests, trust, verdict};
use crate::analyze::{self, By, Heat};
use crate::model::{Profile, State, state_name};

/// Lines are paragraphs here: the browser breaks them.
const WIDTH: usize = 1 << 20;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page of a profile.
pub fn page(profile: &Profile, heat: &Heat) -> String {
    let title = format!("Where does {} wait?", profile.target.description);
    let sections = sections(profile, heat);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) (colors()) }
            }
            body {
                header {
                    h1 { (title) }
                    p { (facts(profile)) }
                    nav aria-label="Sections" {
                        @for section in &sections { a href={ "#" (section.id) } { (section.title) } }
                    }
                }
                main { @for section in &sections { (section.whole()) } }
                footer { "Written by dwell " (env!("CARGO_PKG_VERSION")) ". Times are wall-clock times." }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// A part of the page that can be linked to.
struct Section {
    id: &'static str,
    title: &'static str,
    body: Markup,
}

impl Section {
    fn whole(&self) -> Markup {
        html! {
            section id=(self.id) aria-labelledby={ (self.id) "-title" } {
                h2 id={ (self.id) "-title" } { (self.title) }
                (self.body)
            }
        }
    }
}

fn sections(profile: &Profile, heat: &Heat) -> Vec<Section> {
    let services = analyze::services(profile);
    let rows = analyze::locks(profile, By::Lock);
    let all = [
        ("answer", "Answer", Some(answer(profile))),
        ("time", "Latency over time", heat::body(heat)),
        ("requests", "Requests", budgets::body(profile, &services)),
        ("threads", "Threads", threads::body(&analyze::groups(profile, true))),
        ("locks", "Locks", locks::body(profile, &rows)),
        ("chains", "Chains of waiting", chains::body(&analyze::graph(profile))),
        ("flames", "Flame graph of waits", flames::body(profile)),
        ("waits", "Longest waits", waits::body(&analyze::top_waits(profile))),
        ("trust", "How far to trust this", Some(trust_body(profile))),
    ];
    let full = all.into_iter().filter_map(|(id, title, body)| Some((id, title, body?)));
    full.map(|(id, title, body)| Section { id, title, body }).collect()
}

/// `5.00 s on web-1 (Linux 6.12, 8 CPUs)`.
fn facts(profile: &Profile) -> String {
    let host = &profile.host;
    format!(
        "{} on {} (Linux {}, {})",
        duration(profile.window.duration()),
        host.name,
        host.kernel,
        counted(host.cpus as u64, "CPU")
    )
}

fn answer(profile: &Profile) -> Markup {
    let is_asked = profile.requests.services.iter().any(|service| !service.groups.is_empty());
    let found = analyze::verdict(profile).filter(|_| is_asked);
    let verdict = found.map(|found| verdict::lines(&found, WIDTH)).unwrap_or_default();
    let headline = headline::lines(profile, &analyze::headline(profile), WIDTH);
    let waiting = analyze::waiting_for_cpu(profile);
    let cpu = cpu::lines(waiting.as_ref(), &analyze::shortages(profile), WIDTH);
    html! {
        div.verdict { (paragraphs(&verdict)) }
        (paragraphs(&headline))
        (paragraphs(&cpu))
    }
}

fn trust_body(profile: &Profile) -> Markup {
    let lost = requests::losses(&profile.requests, WIDTH);
    let lines = trust::lines(&profile.trust, &analyze::cost(profile), WIDTH);
    html! { (paragraphs(&lost)) (paragraphs(&lines)) }
}

fn paragraphs(lines: &[Line]) -> Markup {
    html! { @for line in lines { p { (line.text()) } } }
}

/// Functions of a stack, the innermost first, below the one that tells most; nothing without one.
fn stack(frames: &[crate::model::Frame]) -> Markup {
    html! {
        @if let [innermost, ..] = frames {
            details {
                summary { "in " (analyze::taken_in(frames).unwrap_or(&innermost.name)) }
                ol.stack { @for frame in frames { li { (frame.name) } } }
            }
        }
    }
}

/// Nothing may be fetched, and no script may run but ours. Bars have their lengths in style attributes.
fn policy() -> String {
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'",
        env!("DWELL_PAGE_SCRIPT")
    )
}

/// A class for each state: `.k-futex`.
fn colors() -> Markup {
    let rule = |name: &str, (r, g, b): palette::Rgb| format!(".k-{name}{{--c:rgb({r},{g},{b})}}");
    let states = State::ALL.into_iter().map(|state| rule(state_name(state), palette::of(state)));
    let all: String = states.chain([rule("idle", palette::IDLE)]).collect();
    html! { (PreEscaped(all)) }
}

/// A part of a bar: how long, in which colour, and what it is.
struct Segment {
    share: f64,
    class: &'static str,
    title: String,
}

/// Parts side by side; what is too small to be seen is left out.
fn bar(segments: &[Segment]) -> Markup {
    html! {
        span.bar aria-hidden="true" {
            @for part in segments.iter().filter(|part| part.share >= 0.001) {
                span class={ "k-" (part.class) } style={ "width:" (format!("{:.2}", part.share * 100.0)) "%" } title=(part.title) {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
