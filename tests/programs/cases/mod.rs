//! The cases, by the kind of program.

mod databases;
mod languages;
mod proxies;
mod pypi;
mod web;

pub(crate) use databases::{DSN, POSTGRES, SUMS, postgres};
pub(crate) use languages::go;
pub(crate) use web::nginx;

use crate::case::Case;
use crate::content::CONTENT;
use crate::fixture::Fixture;
use crate::tools;

/// All cases, in the order of the page.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    [languages::CASES, web::CASES, proxies::CASES, databases::CASES, pypi::CASES]
        .into_iter()
        .flat_map(|cases| cases.iter().map(|case| Case { ..*case }))
}

/// The script of Python's standard library with its first word.
fn python<'a>(script: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [&["python3", script], words].concat()
}

/// A server of [`tools::source`]`("programs.py")`.
pub(crate) fn python_server(fixture: &Fixture, words: &[&str], port: u16) -> Result<(), String> {
    fixture.serve(&python(&tools::source("programs.py"), words), port)
}

/// A client of the same file.
pub(crate) fn python_client(fixture: &Fixture, words: &[&str]) -> Result<String, String> {
    fixture.run(&python(&tools::source("programs.py"), words))
}

/// curl against a server that answers `/bytes/N` with N bytes of the content and a POST to `/sum` with the length and the
/// SHA-256 of the body: 100 small requests on one connection, then a large answer and a large body.
fn curl(fixture: &Fixture, port: u16, options: &[&str]) -> Result<String, String> {
    let base = format!("http://127.0.0.1:{port}");
    let small = format!("{base}/bytes/1024?[1-100]");
    let all = [&["curl", "-sS", "--fail", &small], options].concat();
    fixture.run(&[all.as_slice(), &["-o", &fixture.path("small_#1")]].concat())?;
    let content = std::fs::read(fixture.path("content")).map_err(|error| error.to_string())?;
    for number in 1..=100 {
        same(fixture, &format!("small_{number}"), &content[..1024])?;
    }
    let large = format!("{base}/bytes/{CONTENT}");
    fixture.run(&[&["curl", "-sS", "--fail", &large, "-o", &fixture.path("large")], options].concat())?;
    same(fixture, "large", &content)?;
    let (sum, body) = (format!("{base}/sum"), format!("@{}", fixture.path("content")));
    let summary = fixture.run(&[&["curl", "-sS", "--fail", "--data-binary", &body, &sum], options].concat())?;
    let own = fixture.run(&["sha256sum", &fixture.path("content")])?;
    let own = format!("{CONTENT} {}", own.split(' ').next().unwrap_or_default());
    if summary == own { Ok("equal".into()) } else { Err(format!("the server received {summary}, not {own}")) }
}

/// Does the file hold these bytes?
fn same(fixture: &Fixture, name: &str, expected: &[u8]) -> Result<(), String> {
    let found = std::fs::read(fixture.path(name)).map_err(|error| format!("{name}: {error}"))?;
    if found == expected {
        return Ok(());
    }
    let equal = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
    Err(format!("{name} has {} bytes, {} were expected, and the first {equal} are equal", found.len(), expected.len()))
}
