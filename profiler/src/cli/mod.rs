//! The command line.

mod arguments;
mod attach;
mod command;
mod compare;
mod demo;
mod doctor;
mod duration;
mod export;
mod file;
mod graph;
mod locks;
mod output;
mod page;
mod progress;
mod record;
mod recordings;
mod report;
mod requests;
mod shell;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Arguments, Command};

/// Something failed: the message on stderr says what, and what to do.
const FAILURE: u8 = 1;
/// The command line makes no sense.
const USAGE: u8 = 2;

/// Runs dwell.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse().and_then(Arguments::checked) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let result = match arguments.command {
        Command::Attach(attach) => attach::run(attach),
        Command::Locks(locks) => locks::run(locks),
        Command::Requests(requests) => requests::run(requests),
        Command::Graph(graph) => graph::run(graph),
        Command::Record(record) => record::run(&record),
        Command::Report(report) => report::run(&report),
        Command::Compare(options) => compare::run(&options),
        Command::Export(export) => export::run(export),
        Command::Demo(demo) => demo::run(demo),
        Command::DemoRole(role) => demo::play(role),
        Command::Doctor(doctor) => doctor::run(doctor),
        Command::Completions(options) => shell::completions(&options),
        Command::Man(options) => shell::man(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::from(FAILURE)
        }
    }
}

/// Prints what clap has to say: help and version as they are, an error as one line.
fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed pipe is no failure of ours.
            let _closed = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            say("no command is given; see `dwell --help`");
            ExitCode::from(USAGE)
        }
        _ => {
            let text = error.to_string();
            let message = text.strip_prefix("error: ").unwrap_or(&text);
            // Not `args`, which panics on what is no UTF-8.
            let first = std::env::args_os().nth(1).unwrap_or_default();
            let command = of_command(&first.to_string_lossy());
            say(&format!("{}; see `dwell {command}--help`", one_line(message)));
            ExitCode::from(USAGE)
        }
    }
}

/// The first argument and a space, where it is a command.
fn of_command(first: &str) -> String {
    use clap::CommandFactory as _;
    let is_command = Arguments::command().find_subcommand(first).is_some();
    if is_command { format!("{first} ") } else { String::new() }
}

/// The message without clap's usage and tips, in one line.
fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let relevant = lines.take_while(|line| {
        !["Usage:", "tip:", "For more information"].iter().any(|start| line.starts_with(start))
    });
    relevant.collect::<Vec<_>>().join(" ")
}

/// One line on stderr, whatever the message holds.
fn say(message: &str) {
    use std::io::Write as _;
    let line = message.replace('\n', " ");
    // Errors quote files that others have made. Nothing to be done about a closed stderr.
    let _closed = writeln!(std::io::stderr(), "dwell: {}", crate::symbol::clean(line.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_that_is_named_is_that_of_the_command() {
        assert_eq!(of_command("compare"), "compare ");
        assert_eq!(of_command("nothing"), "");
        assert_eq!(of_command("-a"), "");
    }

    #[test]
    fn errors_are_one_line() {
        for line in [
            "dwell",
            "dwell nothing",
            "dwell attach -d",
            "dwell attach -p x",
            "dwell compare a b c --flamegraph d",
        ] {
            let arguments = Arguments::try_parse_from(line.split(' '));
            let Err(error) = arguments.and_then(Arguments::checked) else {
                panic!("{line} is accepted");
            };
            let text = error.to_string();
            let message = one_line(text.strip_prefix("error: ").unwrap_or(&text));
            assert!(!message.is_empty() && !message.contains('\n'), "{line}: {message}");
        }
    }
}
