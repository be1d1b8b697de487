//! The name of a process that an operator knows.
//!
//! One rule. The kernel's name of a process (comm) is shown when the process was started under it: when the executable, or one
//! of the first arguments (an interpreter's script), has that name. The kernel keeps 15 bytes of it; the whole name is shown.
//! Otherwise comm is a number, as of a program that was started by its descriptor, or the name that a thread has given itself,
//! and the base name of the executable is shown.

use std::fs;
use std::io::Read;
use std::path::Path;

/// `TASK_COMM_LEN` less the zero at its end (include/linux/sched.h).
const COMM_LEN: usize = 15;
/// How many arguments may hold the name: an interpreter, an option or two, and the script.
const ARGUMENTS: usize = 4;
/// How much of the arguments is looked at, and how much of a name is shown: enough for a path, and for a line.
const MAX_ARGUMENTS: u64 = 4096;
const MAX_NAME: usize = 64;

/// The name of process `pid`, whose main thread the kernel calls `comm`. Without CAP_SYS_PTRACE the executables of other
/// users' processes cannot be seen; then comm is all there is.
pub(super) fn of(pid: u32, comm: &str) -> String {
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let mut arguments = Vec::new();
    if let Ok(file) = fs::File::open(format!("/proc/{pid}/cmdline")) {
        // What cannot be read is not known: the process has ended.
        let _ = file.take(MAX_ARGUMENTS).read_to_end(&mut arguments);
    }
    let arguments = arguments.split(|byte| *byte == 0).take(ARGUMENTS);
    choose(comm, executable.as_deref(), arguments.map(String::from_utf8_lossy).map(|one| one.into_owned()))
}

fn choose(comm: &str, executable: Option<&Path>, arguments: impl Iterator<Item = String>) -> String {
    let executable = executable.map(|path| base_name(&path.to_string_lossy()).to_owned());
    let arguments: Vec<_> = arguments.collect();
    // An argument is a path, or the title that the process has given itself ("postgres: writer").
    let arguments = arguments.iter().flat_map(|one| [base_name(one), one]);
    let mut started_as = executable.iter().map(String::as_str).chain(arguments);
    let is_number = comm.bytes().all(|byte| byte.is_ascii_digit());
    let whole = |name: &&str| *name == comm || comm.len() == COMM_LEN && name.starts_with(comm);
    let name = match started_as.find(whole) {
        Some(name) if !is_number => name,
        _ => executable.as_deref().unwrap_or(comm),
    };
    // Names come from programs, and a terminal obeys control characters.
    name.chars().filter(|one| !one.is_control()).take(MAX_NAME).collect()
}

/// The last part of a path; of an executable that has no file any more, or only ever was in memory, its name.
fn base_name(path: &str) -> &str {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_prefix("memfd:").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(comm: &str, executable: &str, arguments: &[&str]) -> String {
        let executable = (!executable.is_empty()).then(|| Path::new(executable));
        choose(comm, executable, arguments.iter().map(|one| (*one).to_owned()))
    }

    #[test]
    fn a_process_has_the_name_that_it_was_started_under() {
        for (comm, executable, arguments, expected) in [
            ("nginx", "/usr/sbin/nginx", &["nginx: worker process"][..], "nginx"),
            // Started by descriptor, or from memory.
            ("11", "/opt/envoy-1.31/envoy", &["/proc/self/fd/11", "-c", "x"], "envoy"),
            ("3", "/memfd:agent (deleted)", &["/proc/self/fd/3"], "agent"),
            // Longer than the kernel keeps.
            ("systemd-socket-", "/usr/lib/systemd/systemd-socket-proxyd", &["x"], "systemd-socket-proxyd"),
            ("gunicorn: maste", "/usr/bin/python3.13", &["gunicorn: master [app]"], "gunicorn: master [app]"),
            // A script.
            ("gunicorn", "/usr/bin/python3.13", &["/usr/bin/python3", "/usr/bin/gunicorn", "app"], "gunicorn"),
            // A thread's name.
            ("MainThread", "/usr/bin/node", &["node", "server.js"], "node"),
            ("io-worker-1", "/usr/bin/java (deleted)", &["java", "-jar", "x.jar"], "java"),
            // Another user's process, seen without CAP_SYS_PTRACE.
            ("11", "", &["/proc/self/fd/11"], "11"),
            ("redis-server", "", &["redis-server *:6379"], "redis-server"),
            ("a\u{1b}[2J", "", &[], "a[2J"),
        ] {
            assert_eq!(name(comm, executable, arguments), expected, "{comm}");
        }
    }

    #[test]
    fn the_name_of_this_process_is_that_of_its_executable() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(
            of(std::process::id(), "12"),
            own.file_name().unwrap().to_string_lossy()[..].chars().take(MAX_NAME).collect::<String>()
        );
        assert_eq!(of(u32::MAX, "gone"), "gone");
    }
}
