//! Servers from the distribution, with configurations of our own in a directory of our own.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::client::content;
use crate::support::child::ChildGuard;
use crate::support::link::free_port;
use crate::support::machine::unique;
use crate::support::wait::wait_until;
use crate::{EXCHANGES, STREAM};

/// A key that is not a secret, and its certificate until the year 2126, signed by itself:
/// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj /CN=sidestep-test`.
const CERTIFICATE: &str = include_str!("tls.pem");

/// A user and a group without rights, which every system has.
const UNPRIVILEGED: u32 = 65_534;

/// Are they all here? Says loudly which is not, and fails where nothing may be left out.
pub(crate) fn installed(names: &[&str]) -> bool {
    let missing: Vec<_> = names.iter().filter(|name| path(name).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    crate::support::machine::missing(
        "servers",
        &format!("{missing:?} not found; install nginx-light, haproxy, redis-server, postgresql and python3"),
    )
}

fn path(name: &str) -> Option<PathBuf> {
    let versions = Path::new("/usr/lib/postgresql").read_dir().into_iter().flatten().flatten();
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin"]
        .iter()
        .map(PathBuf::from)
        .chain(versions.map(|version| version.path().join("bin")))
        .map(|directory| directory.join(name))
        .find(|path| path.exists())
}

/// A running server; ends with this value.
pub(crate) struct Server {
    _process: ChildGuard,
    directory: PathBuf,
    pub(crate) port: u16,
}

impl Server {
    /// Answers /N with N bytes, whatever the method, after it has read the whole body.
    pub(crate) fn nginx() -> Self {
        Self::nginx_on(free_port())
    }

    /// The same on a port that has been chosen.
    pub(crate) fn nginx_on(port: u16) -> Self {
        let directory = directory("nginx");
        let root = directory.display();
        // The same file twice: a POST goes to a second location by proxy, so that nginx has to read its body.
        let files = free_port();
        let text = format!(
            "daemon off; master_process off; pid {root}/pid; error_log stderr crit;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; client_max_body_size 0; client_header_buffer_size 1k;\n\
             large_client_header_buffers 4 16k; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n\
             fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_method GET; proxy_pass_request_body off;\n\
             proxy_set_header Content-Length ''; proxy_http_version 1.1; proxy_set_header Connection '';\n\
             proxy_pass http://127.0.0.1:{files}; }} }}\n\
             server {{ listen 127.0.0.1:{files}; root {root}; large_client_header_buffers 4 16k; }} }}\n"
        );
        Self::nginx_of(directory, port, &text)
    }

    /// Two of them, one in front of the other, with TLS between them that the kernel encrypts and decrypts where it can.
    pub(crate) fn nginx_with_ktls() -> Self {
        let directory = directory("nginx-ktls");
        let root = directory.display();
        fs::write(directory.join("tls.pem"), CERTIFICATE).unwrap();
        let [port, tls, files] = [free_port(), free_port(), free_port()];
        // OpenSSL gives keys for both ways to the kernel with TLS 1.2, with TLS 1.3 those for sending only.
        let text = format!(
            "daemon off; master_process off; pid {root}/pid; error_log stderr crit;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; client_max_body_size 0; client_header_buffer_size 1k;\n\
             large_client_header_buffers 4 16k; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n\
             fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
             proxy_http_version 1.1; proxy_set_header Connection '';\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass https://127.0.0.1:{tls};\n\
             proxy_ssl_protocols TLSv1.2; proxy_ssl_conf_command Options KTLS; }} }}\n\
             server {{ listen 127.0.0.1:{tls} ssl; ssl_certificate {root}/tls.pem; ssl_certificate_key {root}/tls.pem;\n\
             ssl_protocols TLSv1.2; ssl_conf_command Options KTLS; location / {{ proxy_method GET;\n\
             proxy_pass_request_body off; proxy_set_header Content-Length ''; proxy_http_version 1.1;\n\
             proxy_set_header Connection ''; proxy_pass http://127.0.0.1:{files}; }} }}\n\
             server {{ listen 127.0.0.1:{files}; root {root}; large_client_header_buffers 4 16k; }} }}\n"
        );
        Self::nginx_of(directory, port, &text)
    }

    /// With this configuration, and a file for each exchange.
    fn nginx_of(directory: PathBuf, port: u16, text: &str) -> Self {
        for exchange in EXCHANGES.into_iter().chain([STREAM]) {
            fs::write(directory.join(exchange.response.to_string()), content(exchange.response)).unwrap();
        }
        let config = directory.join("nginx.conf");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(path("nginx").unwrap());
        command.arg("-p").arg(&directory).arg("-e").arg("stderr").arg("-c").arg(&config);
        Self::start(command, directory, port)
    }

    /// Passes everything on to `upstream`.
    pub(crate) fn haproxy(upstream: u16) -> Self {
        Self::haproxy_with(free_port(), upstream, "mode http\n  http-reuse always")
    }

    /// The same on a port that has been chosen, with its kernel's help: bytes go from socket to socket by splice(2).
    pub(crate) fn splicing_haproxy(port: u16, upstream: u16) -> Self {
        let options = ["auto", "request", "response"].map(|which| format!("  option splice-{which}\n")).concat();
        Self::haproxy_with(port, upstream, &format!("mode tcp\n{options}"))
    }

    fn haproxy_with(port: u16, upstream: u16, options: &str) -> Self {
        let directory = directory("haproxy");
        let text = format!(
            "global\n  maxconn 256\n  tune.bufsize 32768\n  stats socket {root}/control level admin\n\
             defaults\n  timeout connect 60s\n  timeout client 60s\n  timeout server 60s\n\
             listen test\n  bind 127.0.0.1:{port}\n  {options}\n  server one 127.0.0.1:{upstream}\n",
            root = directory.display()
        );
        let config = directory.join("haproxy.cfg");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(path("haproxy").unwrap());
        command.arg("-db").arg("-q").arg("-f").arg(&config);
        Self::start(command, directory, port)
    }

    /// Passes all bytes on to `upstream`, whatever they are.
    pub(crate) fn haproxy_in_tcp_mode(upstream: u16) -> Self {
        Self::haproxy_with(free_port(), upstream, "mode tcp")
    }

    pub(crate) fn redis() -> Self {
        let (directory, port) = (directory("redis"), free_port());
        let mut command = Command::new(path("redis-server").unwrap());
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--loglevel", "warning"]);
        command.arg("--dir").arg(&directory);
        Self::start(command, directory, port)
    }

    /// Sends back what it gets.
    pub(crate) fn asyncio() -> Self {
        let (directory, port) = (directory("asyncio"), free_port());
        let mut command = Command::new(path("python3").unwrap());
        command.args(["-c", include_str!("echo.py"), &port.to_string()]);
        Self::start(command, directory, port)
    }

    /// With one user, `tester`, who needs no password.
    pub(crate) fn postgres() -> Self {
        let (directory, port) = (directory("postgres"), free_port());
        std::os::unix::fs::chown(&directory, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        let data = directory.join("data");
        // It refuses to run as root.
        let command = |name| {
            let mut command = Command::new(path(name).unwrap());
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED).env("LC_ALL", "C").current_dir(&directory).arg("-D").arg(&data);
            command
        };
        let mut initdb = command("initdb");
        initdb.args(["-U", "tester", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"]);
        // Its warning that a guest has no locales would count as one of the kernel's.
        let made = initdb.output().unwrap();
        assert!(made.status.success(), "initdb fails: {}", String::from_utf8_lossy(&made.stderr));
        let mut postgres = command("postgres");
        postgres.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-F", "-c", "unix_socket_directories="]);
        // It would print the long statements of clients that are gone.
        postgres.args(["-c", "log_min_error_statement=panic", "-c", "log_min_messages=fatal"]);
        // Nothing of the kernel's that would stay when it is killed.
        postgres.args(["-c", "shared_memory_type=mmap", "-c", "dynamic_shared_memory_type=mmap"]);
        Self::start(postgres, directory, port)
    }

    /// HAProxy's own count of the bytes it has spliced.
    pub(crate) fn spliced(&self) -> u64 {
        let mut control = UnixStream::connect(self.directory.join("control")).unwrap();
        control.write_all(b"show info\n").unwrap();
        let mut text = String::new();
        control.read_to_string(&mut text).unwrap();
        // TotalSplicedBytesOut, which HAProxy 2.6 spells TotalSplicdedBytesOut.
        let line = text.lines().find(|line| line.starts_with("TotalSplic"));
        let count = line.and_then(|line| line.split_once(": ")?.1.parse().ok());
        count.unwrap_or_else(|| panic!("no count of spliced bytes in {text}"))
    }

    fn start(mut command: Command, directory: PathBuf, port: u16) -> Self {
        let mut process = ChildGuard::spawn(command.stdin(Stdio::null()));
        wait_until("the server listens", || {
            assert!(process.try_wait().unwrap().is_none(), "the server has ended; its words are above");
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        Self { _process: process, directory, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process, which is killed after this, keeps no file that it needs.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(unique(&format!("sidestep-servers-{name}")));
    fs::create_dir_all(&directory).unwrap();
    directory
}
