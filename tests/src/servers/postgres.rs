//! PostgreSQL.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{Load, Session, free_port, installed, said_by};
use crate::process::{Bounded, run};

/// The database user and the database.
const USER: &str = "postgres";

/// By which way clients come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// 127.0.0.1.
    Tcp,
    /// The Unix socket.
    Unix,
}

/// A PostgreSQL server with a fresh cluster of its own.
#[derive(Debug)]
pub struct Postgres {
    server: Bounded,
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
    folder: TempDir,
}

impl Postgres {
    /// The database that pgbench's tables are in.
    pub const DATABASE: &str = USER;

    /// Makes a cluster with the tables of pgbench in it, and starts it.
    pub fn start() -> Result<Self> {
        let owner = Owner::choose()?;
        let folder = tempfile::Builder::new().prefix("dwell-pg-").tempdir()?;
        owner.take(&folder)?;
        make_cluster(&owner, &folder)?;
        let port = free_port()?;
        let server = start_server(&owner, &folder, port)?;
        let postgres = Self { server, port, folder };
        postgres.wait_until_ready()?;
        postgres.fill()?;
        Ok(postgres)
    }

    /// Process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Process ids of the backends: one for each connection of a client.
    pub fn backends(&self) -> Vec<u32> {
        let is_backend =
            |pid: &u32| crate::proc::command_line(*pid).contains(": postgres postgres ");
        crate::proc::children_of(self.pid()).into_iter().filter(is_backend).collect()
    }

    /// The postmaster and all its children.
    pub fn processes(&self) -> Vec<u32> {
        let mut pids = crate::proc::children_of(self.pid());
        pids.insert(0, self.pid());
        pids
    }

    /// `pgbench` with some clients, for no longer than `seconds`; returns when all are connected.
    pub fn pgbench(&self, door: Door, clients: usize, seconds: u32) -> Result<Load> {
        let mut command = self.client("pgbench", door)?;
        command.args(["-n", "-c", &clients.to_string(), "-j", "2", "-T", &seconds.to_string()]);
        let load = Load::start(command.arg(USER))?;
        crate::proc::wait_until("pgbench is connected", Duration::from_secs(15), || {
            self.backends().len() >= clients
        })?;
        Ok(load)
    }

    /// `pgbench` with some clients that repeat a script, and settings of theirs, for no longer than
    /// `seconds`; returns when all are connected.
    pub fn repeat(
        &self,
        script: &str,
        clients: usize,
        seconds: u32,
        settings: &str,
    ) -> Result<Load> {
        let before = self.backends().len();
        let path = self.folder.path().join("script.sql");
        std::fs::write(&path, script).context("cannot write a script")?;
        let mut command = self.client("pgbench", Door::Unix)?;
        command.args(["-n", "-c", &clients.to_string(), "-T", &seconds.to_string()]);
        let load = Load::start(command.arg("-f").arg(&path).arg(USER).env("PGOPTIONS", settings))?;
        crate::proc::wait_until("pgbench is connected", Duration::from_secs(15), || {
            self.backends().len() >= before + clients
        })?;
        Ok(load)
    }

    /// `pgbench` to its end: each of the clients makes so many transactions by one of the protocols
    /// (`simple`, `extended`, `prepared`), of a script or of those that it brings along.
    pub fn transactions(
        &self,
        protocol: &str,
        (clients, each): (u64, u64),
        script: Option<&str>,
    ) -> Result<()> {
        let mut command = self.client("pgbench", Door::Tcp)?;
        command.args(["-n", "-c", &clients.to_string(), "-t", &each.to_string(), "-M", protocol]);
        if let Some(script) = script {
            let path = self.folder.path().join("script.sql");
            std::fs::write(&path, script).context("cannot write a script")?;
            command.arg("-f").arg(path);
        }
        said_by(command.arg(USER), Duration::from_secs(60)).map(drop)
    }

    /// A client that does what it is told.
    pub fn session(&self) -> Result<Session> {
        let mut psql = self.client("psql", Door::Unix)?;
        Session::start(psql.args(["-X", "-q", "-A", "-t", USER]))
    }

    /// Two clients that update one row: the first holds its lock for some seconds, the second waits
    /// for it. Returns when it does, with the process id of the backend that waits.
    pub fn row_lock(&self, seconds: u32) -> Result<(Vec<Bounded>, u32)> {
        let update = "UPDATE pgbench_accounts SET abalance = 1 WHERE aid = 1";
        let holder = self.sql(&format!("BEGIN; {update}; SELECT pg_sleep({seconds}); COMMIT"))?;
        std::thread::sleep(Duration::from_millis(500));
        let waiter = self.sql(update)?;
        let waiting = |pid: &u32| crate::proc::command_line(*pid).contains("UPDATE waiting");
        let mut backend = None;
        crate::proc::wait_until("a backend waits for the row", Duration::from_secs(10), || {
            backend = self.backends().into_iter().find(waiting);
            backend.is_some()
        })?;
        Ok((vec![holder, waiter], backend.context("nobody waits for the row")?))
    }

    fn sql(&self, text: &str) -> Result<Bounded> {
        let mut psql = self.client("psql", Door::Unix)?;
        psql.args(["-q", "-c", text, USER]);
        Bounded::spawn(psql.stdin(Stdio::null()).stdout(Stdio::null()))
    }

    /// A client program, with where to connect.
    pub fn client(&self, program: &str, door: Door) -> Result<Command> {
        let mut command = Command::new(installed(program)?);
        let host = match door {
            Door::Tcp => OsStr::new("127.0.0.1"),
            Door::Unix => self.folder.path().as_os_str(),
        };
        command.arg("-h").arg(host).args(["-p", &self.port.to_string(), "-U", USER]);
        Ok(command)
    }

    fn wait_until_ready(&self) -> Result<()> {
        crate::proc::wait_until("PostgreSQL is ready", Duration::from_secs(30), || {
            let probe = self
                .client("pg_isready", Door::Tcp)
                .and_then(|mut command| run(command.arg("-q"), Duration::from_secs(5)));
            probe.is_ok()
        })
    }

    fn fill(&self) -> Result<()> {
        let mut command = self.client("pgbench", Door::Unix)?;
        command.args(["-i", "-q", "-s", "1", USER]).stdout(Stdio::null()).stderr(Stdio::null());
        run(&mut command, Duration::from_secs(60)).context("cannot fill the tables of pgbench")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A fast shutdown: clients are sent away.
        self.server.end(libc::SIGINT, Duration::from_secs(10));
    }
}

fn make_cluster(owner: &Owner, folder: &TempDir) -> Result<()> {
    let mut command = Command::new(installed("initdb")?);
    command.args(["-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
    command.arg(folder.path().join("data"));
    command.stdout(Stdio::null()).stderr(log(folder)?).current_dir(folder);
    run(owner.runs(&mut command), Duration::from_secs(60)).context("cannot make a cluster")
}

fn start_server(owner: &Owner, folder: &TempDir, port: u16) -> Result<Bounded> {
    let mut command = Command::new(installed("postgres")?);
    command.arg("-D").arg(folder.path().join("data")).arg("-k").arg(folder.path());
    command.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    command.stdin(Stdio::null()).stdout(log(folder)?).stderr(log(folder)?).current_dir(folder);
    Bounded::spawn_with(owner.runs(&mut command), libc::SIGINT)
}

fn log(folder: &TempDir) -> Result<File> {
    Ok(File::options().create(true).append(true).open(folder.path().join("log"))?)
}

/// PostgreSQL refuses to run as root: then somebody else has to.
struct Owner(Option<(u32, u32)>);

impl Owner {
    fn choose() -> Result<Self> {
        if !crate::need::is_root() {
            return Ok(Self(None));
        }
        let found = ["postgres", "nobody"].into_iter().find_map(user);
        Ok(Self(Some(found.context("there is neither a user postgres nor nobody")?)))
    }

    fn take(&self, folder: &TempDir) -> Result<()> {
        if let Some((user, group)) = self.0 {
            chown(folder.path(), Some(user), Some(group))?;
        }
        Ok(())
    }

    fn runs<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Ids of a user and its group.
fn user(name: &str) -> Option<(u32, u32)> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name ends with NUL; the answer is read before anybody asks again, as tests
    // that start servers hold the machine.
    let entry = unsafe { libc::getpwnam(name.as_ptr()).as_ref()? };
    Some((entry.pw_uid, entry.pw_gid))
}
