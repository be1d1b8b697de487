//! The screen of `top`: drawn over what was there, line by line, so that it does not flicker over a slow line.

use std::io::{self, Write};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};

use super::View;
use super::activity::{Activity, Row};
use crate::observe::State;

/// The narrowest terminal for which the columns are made. On a wider one the last column is wider.
const WIDTH: usize = 80;

/// The terminal in raw mode, with a screen of our own. Dropping it gives the old one back.
#[derive(Debug)]
pub(super) struct Screen(());

impl Screen {
    /// Takes the terminal.
    pub(super) fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        let screen = Self(());
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone cannot be given back.
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

/// Draws what was seen.
pub(super) fn draw(out: &mut dyn Write, activity: &Activity, view: &View, note: Option<&str>) -> io::Result<()> {
    let (columns, rows) = crossterm::terminal::size().unwrap_or((80, 24));
    let lines = lines(activity, view, note, usize::from(columns), usize::from(rows));
    let mut bytes = Vec::new();
    for (at, (line, is_heading)) in lines.iter().enumerate() {
        queue!(bytes, MoveTo(0, u16::try_from(at).unwrap_or(u16::MAX)))?;
        let attribute = if *is_heading { Attribute::Reverse } else { Attribute::Reset };
        // Cleared first: behind a full line the cursor still stands on its last character.
        queue!(bytes, Clear(ClearType::CurrentLine), SetAttribute(attribute), Print(line))?;
        queue!(bytes, SetAttribute(Attribute::Reset))?;
    }
    if lines.len() < usize::from(rows) {
        queue!(bytes, MoveTo(0, u16::try_from(lines.len()).unwrap_or(u16::MAX)), Clear(ClearType::FromCursorDown))?;
    }
    out.write_all(&bytes)?;
    out.flush()
}

/// The lines, and which are headings.
fn lines(activity: &Activity, view: &View, note: Option<&str>, columns: usize, rows: usize) -> Vec<(String, bool)> {
    let share =
        activity.share.map_or_else(|| "nothing sent".into(), |share| format!("{:.1} % past the stack", share * 100.0));
    let mut lines = vec![
        (
            format!(
                "sidestep top: {} connections, {} in a socket map; {} KB/s, {share}",
                activity.rows.len(),
                activity.in_socket_map,
                short(activity.bytes_per_second / 1000.0)
            ),
            false,
        ),
        (
            format!(
                "sorted by {} ({}); s: other column  r: reverse  arrows: scroll  q: quit",
                view.sort.name(),
                if view.reverse { "up" } else { "down" }
            ),
            false,
        ),
        (
            format!(
                "{:<20} {:<20} {:>5} {:>7} {:>5} {:>7} {:<10}  IN",
                "CLIENT", "SERVER", "PORT", "KB/s", "PAST", "MSG/s", "STATE"
            ),
            true,
        ),
    ];
    if let Some(note) = note {
        lines.insert(2, (format!("! {note}"), false));
    }
    let space = rows.saturating_sub(lines.len());
    lines.extend(activity.rows.iter().skip(view.first).take(space).map(|one| (row(one), false)));
    for (line, is_heading) in &mut lines {
        *line = line.chars().take(columns).collect();
        if *is_heading {
            *line = format!("{line:<columns$}");
        }
    }
    lines
}

fn row(row: &Row) -> String {
    let end = |name: &str, pid: u32| {
        let pid = format!("[{pid}]");
        // Names come from programs, and a terminal obeys control characters.
        let name: String = name.chars().filter(|one| !one.is_control()).take(20 - pid.len()).collect();
        name + &pid
    };
    let state = match (row.state, row.hindrance) {
        (State::InSocketMap, _) => "in map",
        (_, Some("client_nonblocking")) => "cl blocks",
        (_, Some("server_nonblocking")) => "srv blocks",
        (_, Some("established")) => "closing",
        (_, Some("no_ulp")) => "ulp",
        (State::Eligible, _) => "eligible",
        _ => "plain",
    };
    let past = row.share.map_or_else(|| "-".into(), |share| format!("{:.0}%", share * 100.0));
    let port = row.server.local.rsplit(':').next().unwrap_or_default();
    let line = format!(
        "{:<20} {:<20} {port:>5} {:>7} {past:>5} {:>7} {state}",
        end(&row.client.process, row.client.pid),
        end(&row.server.process, row.server.pid),
        short(row.bytes_per_second / 1000.0),
        short(row.messages_per_second),
    );
    debug_assert!(line.chars().count() <= WIDTH, "{line}");
    format!("{line:<WIDTH$}  {} -> {}", row.client.place(), row.server.place())
}

/// A number in at most 6 characters.
fn short(number: f64) -> String {
    match number {
        n if n < 1000.0 => format!("{n:.1}"),
        n if n < 100_000.0 => format!("{n:.0}"),
        n if n < 100_000_000.0 => format!("{:.0}k", n / 1e3),
        n => format!("{:.0}M", n / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 999.94, 1000.0, 99_999.4, 100_000.0, 99_999_000.0, 100_000_000.0].map(short);
        assert_eq!(all, ["0.0", "999.9", "1000", "99999", "100k", "99999k", "100M"]);
        assert!(all.iter().all(|text| text.len() <= 6));
    }
}
