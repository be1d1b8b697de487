//! Databases and caches, with their own clients, over TCP.

use super::{python_client, same};
use crate::case::{Case, Set};
use crate::content::CONTENT;
use crate::scope::Scope;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "psql-copy",
        programs: "psql with `\\copy` both ways, PostgreSQL",
        needs: POSTGRES,
        set: Set::Short,
        least: 0,
        work: psql,
    },
    Case {
        name: "pgbench",
        programs: "pgbench, PostgreSQL",
        needs: POSTGRES,
        set: Set::Short,
        least: 5000,
        work: pgbench,
    },
    Case {
        name: "mariadb",
        programs: "mariadb, MariaDB",
        needs: &["mariadbd", "mariadb", "mariadb-install-db"],
        set: Set::Long,
        least: 0,
        work: mariadb,
    },
    Case {
        name: "redis",
        programs: "redis-cli, Redis",
        needs: &["redis-server", "redis-cli"],
        set: Set::Short,
        least: 0,
        work: redis,
    },
    Case {
        name: "redis-benchmark",
        programs: "redis-benchmark, Redis",
        needs: &["redis-server", "redis-benchmark"],
        set: Set::Short,
        least: 10_000,
        work: redis_benchmark,
    },
    Case {
        name: "memcached",
        programs: "Python with poll(2), memcached",
        needs: &["memcached", "python3"],
        set: Set::Short,
        least: 300,
        work: |scope| {
            scope.serve(&["memcached", "-u", "root", "-l", "127.0.0.1", "-p", "11211", "-U", "0"], 11211)?;
            python_client(scope, &["memcached-client", "11211", &scope.path("content")])
        },
    },
];

pub(crate) const POSTGRES: &[&str] = &["psql", "pgbench", "postgres", "initdb", "setpriv", "python3"];

/// Where psql and its kind find the server.
pub(crate) const DSN: &str = "postgresql://tester@127.0.0.1:5432/postgres?sslmode=disable&gssencmode=disable";

/// Starts PostgreSQL, which refuses to run as root, as a user of its own number.
pub(crate) fn postgres(scope: &Scope) -> Result<(), String> {
    // `nobody`, which every system has.
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let data = scope.path("data");
    std::fs::create_dir(&data).map_err(|error| error.to_string())?;
    std::os::unix::fs::chown(&data, Some(65534), Some(65534)).map_err(|error| error.to_string())?;
    let tool = |name| crate::tools::find(name).map(|path| path.display().to_string()).ok_or(format!("no {name}"));
    let (initdb, server) = (tool("initdb")?, tool("postgres")?);
    scope.run(
        &[&user[..], &[&initdb, "-D", &data, "-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]]
            .concat(),
    )?;
    let options = ["-D", &data, "-h", "127.0.0.1", "-p", "5432", "-F", "-c", "unix_socket_directories="];
    scope.serve(&[&user[..], &[&server], &options].concat(), 5432)?;
    // It listens before it answers.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        match scope.run(&["psql", DSN, "-Atc", "SELECT 1"]) {
            Err(error) if std::time::Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
            Ok(_) => return Ok(()),
        }
    }
}

/// The content as lines of text goes in and comes out.
fn psql(scope: &Scope) -> Result<String, String> {
    postgres(scope)?;
    let content = std::fs::read(scope.path("content")).map_err(|error| error.to_string())?;
    let lines: String = content
        .chunks(48)
        .map(|part| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
        .collect();
    let file = scope.write("lines", &lines)?;
    scope.run(&["psql", DSN, "-c", "CREATE TABLE t (n serial, line text)"])?;
    scope.run(&["psql", DSN, "-c", &format!("\\copy t (line) from '{file}'")])?;
    let back = scope.path("back");
    scope.run(&["psql", DSN, "-c", &format!("\\copy (select line from t order by n) to '{back}'")])?;
    same(scope, "back", lines.as_bytes())?;
    Ok("equal".into())
}

/// Whether the balances add up.
pub(crate) const SUMS: &str = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = \
    (SELECT sum(bbalance) FROM pgbench_branches) AND (SELECT sum(delta) FROM pgbench_history) = \
    (SELECT sum(tbalance) FROM pgbench_tellers)";

/// The balances must add up, as pgbench's own transactions promise.
fn pgbench(scope: &Scope) -> Result<String, String> {
    postgres(scope)?;
    scope.run(&["pgbench", "-i", "-q", "-s", "1", DSN])?;
    let output = scope.run(&["pgbench", "-c", "4", "-t", "250", "-n", DSN])?;
    let done = output.lines().find(|line| line.contains("actually processed")).unwrap_or_default().to_owned();
    let equal = scope.run(&["psql", DSN, "-Atc", SUMS])?;
    Ok(format!("{done}; the sums are equal: {}", equal.trim()))
}

fn mariadb(scope: &Scope) -> Result<String, String> {
    let data = format!("--datadir={}", scope.path("data"));
    scope.run(&[
        "mariadb-install-db",
        "--no-defaults",
        &data,
        "--user=root",
        "--auth-root-authentication-method=normal",
    ])?;
    let socket = format!("--socket={}", scope.path("socket"));
    let options = ["--no-defaults", &data, "--user=root", "--bind-address=127.0.0.1", "--port=3306", &socket];
    scope.serve(&[&["mariadbd"], &options[..], &["--max-allowed-packet=64M", "--secure-file-priv="]].concat(), 3306)?;
    let client =
        ["mariadb", "--no-defaults", "--protocol=tcp", "-h127.0.0.1", "-P3306", "-uroot", "--max-allowed-packet=64M"];
    let ask = |text: &str| scope.run(&[&client[..], &["-NBe", text]].concat());
    let content = std::fs::read(scope.path("content")).map_err(|error| error.to_string())?;
    let mut script = String::from("CREATE TABLE t (n int, b longblob);\n");
    for (number, part) in content.chunks(CONTENT / 16).enumerate() {
        let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        script += &format!("INSERT INTO t VALUES ({number}, x'{hex}');\n");
    }
    let script = scope.write("script", &script)?;
    ask("CREATE DATABASE IF NOT EXISTS test")?;
    scope.run(&[&client[..], &["--database=test", "-e", &format!("source {script}")]].concat())?;
    let back = ask("SELECT LOWER(HEX(b)) FROM test.t ORDER BY n")?;
    let expected: String = content
        .chunks(CONTENT / 16)
        .map(|part| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
        .collect();
    scope.write("back", &back)?;
    same(scope, "back", expected.as_bytes())?;
    let sum = ask("SELECT SHA2(GROUP_CONCAT(n ORDER BY n), 256) FROM test.t")?;
    Ok(sum.trim().into())
}

fn redis_server(scope: &Scope) -> Result<(), String> {
    scope
        .serve(&["redis-server", "--port", "6379", "--bind", "127.0.0.1", "--save", "", "--dir", &scope.path("")], 6379)
}

fn redis(scope: &Scope) -> Result<String, String> {
    redis_server(scope)?;
    // redis-cli has no option for a binary file, so the value goes in as a Lua literal, and comes back as its SHA-1 and raw.
    let content = std::fs::read(scope.path("content")).map_err(|error| error.to_string())?;
    let hex: String = content[..CONTENT / 16].iter().map(|byte| format!("{byte:02x}")).collect();
    let script = scope.write("set.lua", &format!("return redis.call('set', KEYS[1], '{hex}')"))?;
    for _ in 0..5 {
        scope.run(&["redis-cli", "--eval", &script, "key"])?;
        let back = scope.run(&["redis-cli", "--raw", "get", "key"])?;
        scope.write("back", back.trim_end())?;
        same(scope, "back", hex.as_bytes())?;
    }
    Ok("equal".into())
}

/// It fails on any answer that is an error.
fn redis_benchmark(scope: &Scope) -> Result<String, String> {
    redis_server(scope)?;
    let output = scope.run(&[
        "redis-benchmark",
        "-q",
        "-n",
        "20000",
        "-c",
        "10",
        "-d",
        "1024",
        "-r",
        "1",
        "-t",
        "set,get,incr,lpush,lrange_100",
    ])?;
    if output.contains("rror") {
        return Err(output);
    }
    // What the last of each command left behind tells whether all arrived.
    let left = scope.run(&["redis-cli", "llen", "mylist"])?;
    Ok(format!("mylist has {} items", left.trim()))
}
