//! The results: as text, as JSON, as plots, and every single round.

mod svg;
mod text;

use std::path::Path;

use serde::Serialize;

use super::error::{Error, Result};
use super::facts::{AgentFacts, PlaneFacts};
use super::goals::{self, Goal};
use super::run::{Conditions, Row};

pub use svg::chart;
pub use text::write_text;

/// All results of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where and how.
    pub conditions: Conditions,
    /// Both data planes, apart from traffic.
    pub planes: Vec<PlaneFacts>,
    /// A process that holds a data plane.
    pub agent: AgentFacts,
    /// All cells.
    pub rows: Vec<Row>,
}

impl Report {
    /// The goals that this run has figures for.
    pub fn goals(&self) -> Vec<Goal> {
        goals::all(self)
    }
}

/// Writes `report.txt`, `report.json` (with every round), `goals.json` and one SVG file for each group of cells.
pub fn write_folder(report: &Report, folder: &Path) -> Result<()> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Output { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(failed(&path))
    };
    let mut text = Vec::new();
    write_text(report, &mut text).map_err(failed(folder))?;
    write("report.txt", &text)?;
    let json = |result: serde_json::Result<Vec<u8>>| result.map_err(|error| failed(folder)(error.into()));
    write("report.json", &json(serde_json::to_vec(report))?)?;
    write("goals.json", &json(serde_json::to_vec(&report.goals()))?)?;
    for (name, plot) in svg::plots(report) {
        write(&name, plot.as_bytes())?;
    }
    Ok(())
}
