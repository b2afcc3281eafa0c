//! `dwell completions` and `dwell man`: from the same definition as `--help`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use clap::CommandFactory as _;
use clap_mangen::roff::{Roff, roman};

use super::arguments::{Arguments, Completions, Man};
use super::output;

/// Runs `dwell completions`.
///
/// # Errors
/// When stdout cannot be written.
pub fn completions(options: &Completions) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "dwell", &mut text);
    output::to_stdout(|out| out.write_all(&text))
}

/// Runs `dwell man`.
///
/// # Errors
/// One that says what to do.
pub fn man(options: &Man) -> Result<()> {
    let all = pages();
    if let Some(folder) = &options.write {
        return all.into_iter().try_for_each(|command| write(command, folder));
    }
    let name = match &options.command {
        Some(command) => format!("dwell-{command}"),
        None => "dwell".to_owned(),
    };
    let page = all.into_iter().find(|page| page.get_name() == name);
    let page = page.ok_or_else(|| anyhow!("there is no such command; see `dwell --help`"))?;
    let text = render(page)?;
    output::to_stdout(|out| out.write_all(&text))
}

/// dwell, and each of its commands by the name of its page.
fn pages() -> Vec<clap::Command> {
    let mut whole = Arguments::command().disable_help_subcommand(true);
    whole.build();
    let commands = whole.get_subcommands().filter(|command| !command.is_hide_set());
    let commands = commands.map(|command| {
        let name = format!("dwell-{}", command.get_name());
        let words = format!("dwell {}", command.get_name());
        command
            .clone()
            .name(name.clone())
            .display_name(name)
            .bin_name(words)
            .version(env!("CARGO_PKG_VERSION"))
    });
    let commands: Vec<_> = commands.collect();
    [whole].into_iter().chain(commands).collect()
}

fn render(command: clap::Command) -> Result<Vec<u8>> {
    // Examples are set line by line, where clap_mangen would fill paragraphs with them.
    let examples = command.get_after_help().map(ToString::to_string);
    let has_commands = command.has_subcommands();
    let page = clap_mangen::Man::new(command);
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if has_commands {
        page.render_subcommands_section(&mut text)?;
    }
    if let Some(examples) = examples {
        let mut section = Roff::new();
        section.control("SH", ["EXAMPLES AND EXIT CODES"]).control("nf", []);
        for line in examples.lines() {
            section.text([roman(line)]);
        }
        section.control("fi", []);
        section.to_writer(&mut text)?;
    }
    page.render_version_section(&mut text)?;
    Ok(text)
}

fn write(command: clap::Command, folder: &Path) -> Result<()> {
    let path = folder.join(format!("{}.1", command.get_name()));
    fs::write(&path, render(command)?).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let all = pages();
        let names: Vec<&str> = all.iter().map(|page| page.get_name()).collect();
        for name in ["dwell", "dwell-attach", "dwell-locks", "dwell-requests", "dwell-man"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("role")), "{names:?}");
        let attach = all.into_iter().find(|page| page.get_name() == "dwell-attach");
        let text = render(attach.expect("the page")).expect("a page");
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains("no\\-children") && text.contains("Examples"), "{text}");
    }
}
