//! The results: as text, as JSON, as plots, and every single round.

mod overview;
mod summary;
mod svg;
mod text;

use std::path::Path;

use super::error::{Error, Result};
use super::goals;
use super::results::Report;

pub use svg::chart;
pub use text::write_text;

/// Writes `report.txt`, `report.json` (with every round), `goals.json`, and pictures: `overview.svg`, and one for each group of
/// cells.
pub fn write_directory(report: &Report, directory: &Path) -> Result<()> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Output { path, source }
    };
    std::fs::create_dir_all(directory).map_err(failed(directory))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        std::fs::write(&path, bytes).map_err(failed(&path))
    };
    let mut text = Vec::new();
    write_text(report, &mut text).map_err(failed(directory))?;
    write("report.txt", &text)?;
    let json = |result: serde_json::Result<Vec<u8>>| result.map_err(|error| failed(directory)(error.into()));
    write("report.json", &json(serde_json::to_vec(report))?)?;
    write("goals.json", &json(serde_json::to_vec(&goals::all(report)))?)?;
    if let Some(picture) = overview::overview(report) {
        write("overview.svg", picture.as_bytes())?;
    }
    for (name, plot) in svg::plots(report) {
        write(&name, plot.as_bytes())?;
    }
    Ok(())
}
