//! Databases and caches, with their own clients, over TCP.

use super::{python_client, same};
use crate::case::{Case, Set};
use crate::content::CONTENT;
use crate::fixture::Fixture;

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
        work: |fixture| {
            fixture.serve(&["memcached", "-u", "root", "-l", "127.0.0.1", "-p", "11211", "-U", "0"], 11211)?;
            python_client(fixture, &["memcached-client", "11211", &fixture.path("content")])
        },
    },
];

pub(crate) const POSTGRES: &[&str] = &["psql", "pgbench", "postgres", "initdb", "setpriv", "python3"];

/// Where psql and its kind find the server.
pub(crate) const DSN: &str = "postgresql://tester@127.0.0.1:5432/postgres?sslmode=disable&gssencmode=disable";

/// Starts PostgreSQL, which refuses to run as root, as a user of its own number.
pub(crate) fn postgres(fixture: &Fixture) -> Result<(), String> {
    // `nobody`, which every system has.
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let data = fixture.path("data");
    std::fs::create_dir(&data).map_err(|error| error.to_string())?;
    std::os::unix::fs::chown(&data, Some(65534), Some(65534)).map_err(|error| error.to_string())?;
    let tool = |name| crate::tools::find(name).map(|path| path.display().to_string()).ok_or(format!("no {name}"));
    let (initdb, server) = (tool("initdb")?, tool("postgres")?);
    fixture.run(
        &[&user[..], &[&initdb, "-D", &data, "-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]]
            .concat(),
    )?;
    let options = ["-D", &data, "-h", "127.0.0.1", "-p", "5432", "-F", "-c", "unix_socket_directories="];
    fixture.serve(&[&user[..], &[&server], &options].concat(), 5432)?;
    // It listens before it answers.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        match fixture.run(&["psql", DSN, "-Atc", "SELECT 1"]) {
            Err(error) if std::time::Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
            Ok(_) => return Ok(()),
        }
    }
}

/// The content as lines of text goes in and comes out.
fn psql(fixture: &Fixture) -> Result<String, String> {
    postgres(fixture)?;
    let content = std::fs::read(fixture.path("content")).map_err(|error| error.to_string())?;
    let lines: String = content
        .chunks(48)
        .map(|part| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
        .collect();
    let file = fixture.write("lines", &lines)?;
    fixture.run(&["psql", DSN, "-c", "CREATE TABLE t (n serial, line text)"])?;
    fixture.run(&["psql", DSN, "-c", &format!("\\copy t (line) from '{file}'")])?;
    let back = fixture.path("back");
    fixture.run(&["psql", DSN, "-c", &format!("\\copy (select line from t order by n) to '{back}'")])?;
    same(fixture, "back", lines.as_bytes())?;
    Ok("equal".into())
}

/// Whether the balances add up.
pub(crate) const SUMS: &str = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = \
    (SELECT sum(bbalance) FROM pgbench_branches) AND (SELECT sum(delta) FROM pgbench_history) = \
    (SELECT sum(tbalance) FROM pgbench_tellers)";

/// The balances must add up, as pgbench's own transactions promise.
fn pgbench(fixture: &Fixture) -> Result<String, String> {
    postgres(fixture)?;
    fixture.run(&["pgbench", "-i", "-q", "-s", "1", DSN])?;
    let output = fixture.run(&["pgbench", "-c", "4", "-t", "250", "-n", DSN])?;
    let done = output.lines().find(|line| line.contains("actually processed")).unwrap_or_default().to_owned();
    let equal = fixture.run(&["psql", DSN, "-Atc", SUMS])?;
    Ok(format!("{done}; the sums are equal: {}", equal.trim()))
}

fn mariadb(fixture: &Fixture) -> Result<String, String> {
    let data = format!("--datadir={}", fixture.path("data"));
    fixture.run(&[
        "mariadb-install-db",
        "--no-defaults",
        &data,
        "--user=root",
        "--auth-root-authentication-method=normal",
    ])?;
    let socket = format!("--socket={}", fixture.path("socket"));
    let options = ["--no-defaults", &data, "--user=root", "--bind-address=127.0.0.1", "--port=3306", &socket];
    fixture
        .serve(&[&["mariadbd"], &options[..], &["--max-allowed-packet=64M", "--secure-file-priv="]].concat(), 3306)?;
    let client =
        ["mariadb", "--no-defaults", "--protocol=tcp", "-h127.0.0.1", "-P3306", "-uroot", "--max-allowed-packet=64M"];
    let ask = |text: &str| fixture.run(&[&client[..], &["-NBe", text]].concat());
    let content = std::fs::read(fixture.path("content")).map_err(|error| error.to_string())?;
    let mut script = String::from("CREATE TABLE t (n int, b longblob);\n");
    for (number, part) in content.chunks(CONTENT / 16).enumerate() {
        let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        script += &format!("INSERT INTO t VALUES ({number}, x'{hex}');\n");
    }
    let script = fixture.write("script", &script)?;
    ask("CREATE DATABASE IF NOT EXISTS test")?;
    fixture.run(&[&client[..], &["--database=test", "-e", &format!("source {script}")]].concat())?;
    let back = ask("SELECT LOWER(HEX(b)) FROM test.t ORDER BY n")?;
    let expected: String = content
        .chunks(CONTENT / 16)
        .map(|part| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
        .collect();
    fixture.write("back", &back)?;
    same(fixture, "back", expected.as_bytes())?;
    let sum = ask("SELECT SHA2(GROUP_CONCAT(n ORDER BY n), 256) FROM test.t")?;
    Ok(sum.trim().into())
}

fn redis_server(fixture: &Fixture) -> Result<(), String> {
    fixture.serve(
        &["redis-server", "--port", "6379", "--bind", "127.0.0.1", "--save", "", "--dir", &fixture.path("")],
        6379,
    )
}

fn redis(fixture: &Fixture) -> Result<String, String> {
    redis_server(fixture)?;
    // redis-cli has no option for a binary file, so the value goes in as a Lua literal, and comes back as its SHA-1 and raw.
    let content = std::fs::read(fixture.path("content")).map_err(|error| error.to_string())?;
    let hex: String = content[..CONTENT / 16].iter().map(|byte| format!("{byte:02x}")).collect();
    let script = fixture.write("set.lua", &format!("return redis.call('set', KEYS[1], '{hex}')"))?;
    for _ in 0..5 {
        fixture.run(&["redis-cli", "--eval", &script, "key"])?;
        let back = fixture.run(&["redis-cli", "--raw", "get", "key"])?;
        fixture.write("back", back.trim_end())?;
        same(fixture, "back", hex.as_bytes())?;
    }
    Ok("equal".into())
}

/// It fails on any answer that is an error.
fn redis_benchmark(fixture: &Fixture) -> Result<String, String> {
    redis_server(fixture)?;
    let output = fixture.run(&[
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
    let left = fixture.run(&["redis-cli", "llen", "mylist"])?;
    Ok(format!("mylist has {} items", left.trim()))
}
