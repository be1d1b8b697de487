//! `sidestep man`: manual pages.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::arguments::CommandLine;
use super::error::Error;
use super::streams::Streams;

/// Print a manual page, or write all of them into a directory
///
/// To read one: sidestep man run | man -l -. To install them: sidestep man --out /usr/local/share/man/man1
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The command whose page is printed; without it, the page of sidestep itself
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Option<String>,
    /// Write the page of every command into this directory, which is created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: &Args, streams: Streams<'_>) -> Result<ExitCode, Error> {
    let pages = pages();
    if let Some(directory) = &args.out {
        let failed = |error| Error::Failed(format!("cannot write manual pages into {}: {error}", directory.display()));
        std::fs::create_dir_all(directory).map_err(failed)?;
        for page in &pages {
            let path = directory.join(format!("{}.1", name(page)));
            std::fs::write(path, render(page)?).map_err(failed)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let name = args.command.as_ref().map_or_else(|| "sidestep".to_owned(), |command| format!("sidestep-{command}"));
    let page = pages.iter().find(|page| self::name(page) == name);
    let page = page.ok_or_else(|| {
        Error::Usage(format!(
            "there is no command {:?}; `sidestep help` lists them",
            args.command.as_deref().unwrap_or("")
        ))
    })?;
    streams.out.write_all(&render(page)?)?;
    Ok(ExitCode::SUCCESS)
}

/// One command for each page: `sidestep`, `sidestep-run` and so on.
fn pages() -> Vec<Command> {
    let mut top = CommandLine::command().disable_help_subcommand(true);
    top.build();
    let version = env!("CARGO_PKG_VERSION");
    let mut pages = vec![top];
    let mut at = 0;
    // Commands of commands come behind all others.
    while let Some(page) = pages.get(at) {
        let below = page.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
        let below: Vec<_> = below.map(|page| page.clone().version(version)).collect();
        pages.extend(below);
        at += 1;
    }
    pages
}

/// The name of a page: "sidestep-run" for `sidestep run`.
fn name(page: &Command) -> &str {
    page.get_display_name().unwrap_or_else(|| page.get_name())
}

fn render(page: &Command) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    Man::new(page.clone()).render(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages();
        assert!(pages.len() > 10);
        for page in &pages {
            let text = String::from_utf8(render(page).unwrap()).unwrap();
            assert!(text.contains(".TH") && text.contains("NAME") && text.contains("SYNOPSIS"), "{}", name(page));
        }
        assert!(pages.iter().any(|page| name(page) == "sidestep-config-check"));
        let run = pages.iter().find(|page| name(page) == "sidestep-run").unwrap();
        let text = String::from_utf8(render(run).unwrap()).unwrap();
        assert!(text.contains("exclude") && text.contains("sidestep run"), "{text}");
    }
}
