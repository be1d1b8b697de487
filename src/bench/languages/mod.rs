//! Ends in other languages, by the networking of each that programs use: what people run.
//!
//! Each is a program of a page that does what `worker` does for ping-pong, and is started with the arguments `client` or `server`,
//! address, port (0: any), and bytes of a message. Its CPU time is read from outside, since its runtime has threads of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Serialize;

/// A language whose programs can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// Package net.
    Go,
    /// A selector of java.nio.
    Java,
    /// node:net.
    Node,
    /// asyncio.
    Python,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Go, Self::Java, Self::Node, Self::Python];

    /// What to call it in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Go => "Go",
            Self::Java => "Java",
            Self::Node => "Node",
            Self::Python => "Python",
        }
    }

    /// The source of its program, and its file's name.
    fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::Go => ("worker.go", include_str!("worker.go")),
            Self::Java => ("Worker.java", include_str!("Worker.java")),
            Self::Node => ("worker.js", include_str!("worker.js")),
            Self::Python => ("worker.py", include_str!("worker.py")),
        }
    }

    /// The compiler, where it has one.
    fn compiler(self) -> Option<[&'static str; 4]> {
        match self {
            Self::Go => Some(["go", "build", "-o", "worker"]),
            Self::Java => Some(["javac", "-d", ".", "-nowarn"]),
            Self::Node | Self::Python => None,
        }
    }

    /// What runs it.
    fn interpreter(self) -> Option<&'static str> {
        match self {
            Self::Go => None,
            Self::Java => Some("java"),
            Self::Node => Some("node"),
            Self::Python => Some("python3"),
        }
    }

    /// Debian's package of what it needs.
    fn package(self) -> &'static str {
        match self {
            Self::Go => "golang-go",
            Self::Java => "default-jdk-headless",
            Self::Node => "nodejs",
            Self::Python => "python3",
        }
    }
}

/// The directory in which the programs of a run are compiled; it goes with this value.
#[derive(Debug)]
pub(super) struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// Nothing is made before it is needed.
    pub(super) fn new() -> Self {
        Self { directory: std::env::temp_dir().join(format!("sidestep-bench-{}", std::process::id())) }
    }

    /// Writes the program of a language, and compiles it where that is its way. The answer is the command to start it with, or a
    /// sentence that says why it cannot run.
    pub(super) fn prepare(&self, language: Language) -> Result<Vec<String>, String> {
        let (file, text) = language.source();
        let path = self.directory.join(file);
        let cannot = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        std::fs::create_dir_all(&self.directory).map_err(cannot)?;
        std::fs::write(&path, text).map_err(cannot)?;
        if let Some([program, arguments @ ..]) = language.compiler() {
            self.run(language, program, &[&arguments[..], &[file]].concat())?;
        }
        let whole = |name: &str| self.directory.join(name).display().to_string();
        Ok(match language.interpreter() {
            None => vec![whole("worker")],
            Some(java @ "java") => {
                self.run(language, java, &["-version"])?;
                // One CPU: the threads of other collectors would compete with the ends.
                let flags = ["java", "-XX:+UseSerialGC", "-cp"].map(str::to_owned);
                [&flags[..], &[self.directory.display().to_string(), "Worker".to_owned()]].concat()
            }
            Some(interpreter) => {
                self.run(language, interpreter, &["--version"])?;
                vec![interpreter.to_owned(), whole(file)]
            }
        })
    }

    fn run(&self, language: Language, program: &str, arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.directory).stdin(Stdio::null());
        if std::env::var_os("HOME").is_none() {
            // Where Go keeps what it has compiled, unless told otherwise.
            command.env("HOME", &self.directory);
        }
        let package = language.package();
        let output =
            command.output().map_err(|error| format!("cannot start {program} ({error}); install {package}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
        Err(format!("{program} failed: {first}"))
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        // There may be nothing to remove.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
