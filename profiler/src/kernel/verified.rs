//! Every program of the object, each in both of its forms: whether this kernel takes it, and how
//! much of it the verifier went through. For developing the probes.

use super::KernelError;
use super::probes::{HOOKS, Probes, Setup};

/// A program, offered to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its name.
    pub program: &'static str,
    /// Its hook.
    pub hook: &'static str,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Taken; with the instructions that the verifier processed, where the kernel tells (5.16).
    Loaded(Option<u32>),
    /// Not taken, with the reason.
    Refused(String),
    /// The kernel has no such hook, and dwell does without.
    NoHook,
}

const SEED: &str = "dwell_seed";

/// Attaches everything on typed tracepoints, then everything on plain ones.
pub fn verify(setup: &Setup) -> Vec<Verified> {
    let mut all = Vec::new();
    for typed in [true, false] {
        let probes = Probes::load_as(setup, typed);
        for hook in &HOOKS {
            let program = if typed { hook.program } else { hook.raw_twin };
            let outcome = match &probes {
                Ok(probes) if is_off(probes, hook.optional) => Outcome::NoHook,
                Ok(probes) => outcome(probes, program),
                Err(error) => Outcome::Refused(error.to_string()),
            };
            all.push(Verified { program, hook: hook.tracepoint, outcome });
        }
        // The iterator has one form only.
        if let (Ok(probes), true) = (&probes, all.iter().all(|other| other.program != SEED)) {
            all.push(Verified { program: SEED, hook: "iter/task", outcome: outcome(probes, SEED) });
        }
    }
    all
}

fn is_off(probes: &Probes, feature: Option<&str>) -> bool {
    feature.is_some_and(|feature| probes.switched_off().contains(&feature))
}

fn outcome(probes: &Probes, program: &str) -> Outcome {
    match probes.program(program).map(aya::programs::Program::info) {
        Some(Ok(info)) => Outcome::Loaded(info.verified_instruction_count()),
        Some(Err(error)) => Outcome::Refused(KernelError::innermost(&error)),
        None => Outcome::Refused("it is not in the committed object".to_owned()),
    }
}
