//! The lines that a long-running command writes: text for people, JSON for programs.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::timestamp::rfc3339;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogFormat {
    Text,
    Json,
}

/// The words for the flag.
pub(super) const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// How this process writes to standard error; text as long as no command has said otherwise.
static ERRORS: OnceLock<LogFormat> = OnceLock::new();

/// Where a command's lines go.
pub(super) struct Log<'a> {
    format: LogFormat,
    pub(super) out: &'a mut dyn Write,
}

impl<'a> Log<'a> {
    /// From now on, the notes of this process have the same format.
    pub(super) fn new(format: LogFormat, out: &'a mut dyn Write) -> Self {
        // Only a test runs several commands in a process, and it reads no notes.
        let _ = ERRORS.set(format);
        crate::agent::set_log(|line| super::streams::note(format_args!("sidestep: {line}")));
        Self { format, out }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == LogFormat::Json
    }

    /// A line of which the text says all.
    pub(super) fn say(&mut self, event: &str, message: &str) -> io::Result<()> {
        if self.is_json() {
            self.fields(event, &json!({ "message": message }))
        } else {
            writeln!(self.out, "{message}")
        }
    }

    /// A line of JSON: when, what, and `fields`, an object.
    pub(super) fn fields(&mut self, event: &str, fields: &Value) -> io::Result<()> {
        write_line(self.out, SystemTime::now(), event, fields)
    }
}

/// Writes one JSON object on a line: when, what, and `fields`, an object.
pub(super) fn write_line(out: &mut dyn Write, time: SystemTime, event: &str, fields: &Value) -> io::Result<()> {
    let mut line = Map::new();
    line.insert("time".into(), rfc3339(time).into());
    line.insert("event".into(), event.into());
    if let Value::Object(fields) = fields {
        line.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    // One write, so that a reader never sees half a line unless the pipe is full.
    let mut bytes = Value::Object(line).to_string().into_bytes();
    bytes.push(b'\n');
    out.write_all(&bytes)
}

/// A note for standard error, in the format of this process.
pub(super) fn note_line(line: &str) -> String {
    if ERRORS.get() != Some(&LogFormat::Json) {
        return format!("{line}\n");
    }
    let message = line.strip_prefix("sidestep: ").unwrap_or(line);
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = write_line(&mut bytes, SystemTime::now(), "note", &json!({ "message": message }));
    String::from_utf8_lossy(&bytes).into_owned()
}
