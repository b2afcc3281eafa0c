//! A server that does for each request what was planned.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use super::super::Stage;
use super::ending::Ending;
use super::models::{self, Model};
use super::plans::Plan;
use super::service::Service;
use super::stream::Place;
use super::{say, write_log};

/// Life of a server that nobody ends, beyond the seconds of the command line.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server. Its first line is its port, or `ready` where it has none; its last one says how many
/// requests it answered.
#[derive(Args)]
pub struct Serve {
    #[command(flatten)]
    place: Place,
    /// Which threads do what.
    #[arg(long, default_value = "threads")]
    model: Model,
    /// Threads that answer, for `pool` and `handoff`.
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// What serving a request takes: spin:US, sleep:US, lock:HOLD_US:EVERY, calls:PORT,…,
    /// calls-parallel:PORT,…, fsync:EVERY, uneven:US:FACTOR, slow:US:EVERY[:sleep]. Several are done
    /// in their order.
    #[arg(long = "plan", value_name = "PLAN")]
    plans: Vec<Plan>,
    /// Wait with poll(2) before each read(2), so that the log tells how long that took.
    #[arg(long)]
    poll: bool,
    /// Where to write, at the end, when each request came and was answered.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

impl Serve {
    /// Serves until stdin ends, or SIGTERM comes.
    pub fn run(self, stage: &Stage) -> Result<()> {
        ensure!((1..=1000).contains(&self.workers), "--workers is 1 to 1000");
        let uneven = self.plans.iter().any(|plan| matches!(plan, Plan::Uneven { .. }));
        ensure!(!uneven || self.model != Model::Loop, "a loop has one thread: nothing is uneven");
        let ending = Ending::prepare()?;
        let service = Arc::new(Service::new(stage, self.plans, self.log.is_some(), self.poll)?);
        let listener = Arc::new(self.place.listen()?);
        models::start(self.model, self.workers, listener.clone(), &service)?;
        match listener.port()? {
            Some(port) => say(port)?,
            None => say("ready")?,
        }
        ending.wait(Duration::from_secs_f64(stage.seconds()) + PATIENCE)?;
        let (answered, rows) = service.end();
        listener.forget()?;
        if let Some(log) = self.log {
            write_log(&log, rows)?;
        }
        Ok(say(serde_json::to_string(&answered)?)?)
    }
}
