//! Rules for the iptables binaries, for kernels whose nf_tables cannot do NAT.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use super::Family;
use super::rules::{Chain, Match, Rule, Verdict};

/// Installs the rules with the first iptables-restore that is there, in the calling thread's namespace. The error is a
/// clause: why none of them did.
pub(super) fn install(family: Family, rules: &[Rule]) -> Result<(), String> {
    let programs = match family {
        Family::V4 => ["iptables-legacy-restore", "iptables-restore"],
        Family::V6 => ["ip6tables-legacy-restore", "ip6tables-restore"],
    };
    let text = render(rules);
    for program in programs {
        match restore(program, &text) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{program} cannot be run ({error})")),
            Ok(Some(complaint)) => return Err(format!("{program} says \"{complaint}\"")),
            Ok(None) => return Ok(()),
        }
    }
    Err(format!("neither {} nor {} is installed", programs[0], programs[1]))
}

/// Feeds the text to the program; `Some` is what it complained of.
fn restore(program: &str, text: &str) -> io::Result<Option<String>> {
    let mut child = Command::new(program)
        .args(["--noflush", "--wait", "5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading says why on its stderr.
        let _ = stdin.write_all(text.as_bytes());
    }
    let output = child.wait_with_output()?;
    let complaint = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Ok((!output.status.success()).then_some(complaint))
}

/// The rules as iptables-restore reads them.
fn render(rules: &[Rule]) -> String {
    let mut text = String::from("*nat\n");
    for chain in Chain::ALL {
        for rule in rules.iter().filter(|rule| rule.chain == chain) {
            let _ = write!(text, "-A {}", chain.name());
            for &condition in &rule.matches {
                text.push_str(&option(condition));
            }
            let _ = match rule.verdict {
                Verdict::Return => writeln!(text, " -j RETURN"),
                Verdict::Redirect(port) => writeln!(text, " -j REDIRECT --to-ports {port}"),
            };
        }
    }
    text.push_str("COMMIT\n");
    text
}

fn option(condition: Match) -> String {
    let not = |equal| if equal { "" } else { " !" };
    match condition {
        Match::Tcp => " -p tcp".to_owned(),
        Match::DestinationPort(port, equal) => format!("{} --dport {port}", not(equal)),
        Match::OutLoopback => " -o lo".to_owned(),
        Match::Source(address) => format!(" -s {address}"),
        Match::Destination(address, equal) => format!("{} -d {address}", not(equal)),
        Match::Uid(id, equal) => format!(" -m owner{} --uid-owner {id}", not(equal)),
        Match::Gid(id, equal) => format!(" -m owner{} --gid-owner {id}", not(equal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::redirect::rules::istio;

    #[test]
    fn the_text_is_what_istio_feeds_to_iptables() {
        let expected = "\
*nat
-A PREROUTING -p tcp --dport 15008 -j RETURN
-A PREROUTING -p tcp --dport 15090 -j RETURN
-A PREROUTING -p tcp --dport 15021 -j RETURN
-A PREROUTING -p tcp --dport 15020 -j RETURN
-A PREROUTING -p tcp -j REDIRECT --to-ports 15006
-A OUTPUT -o lo -s 127.0.0.6 -j RETURN
-A OUTPUT -o lo ! -d 127.0.0.1 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j REDIRECT --to-ports 15006
-A OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A OUTPUT -m owner --uid-owner 1337 -j RETURN
-A OUTPUT -o lo ! -d 127.0.0.1 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j REDIRECT --to-ports 15006
-A OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A OUTPUT -m owner --gid-owner 1337 -j RETURN
-A OUTPUT -d 127.0.0.1 -j RETURN
-A OUTPUT -p tcp -j REDIRECT --to-ports 15001
COMMIT
";
        assert_eq!(render(&istio(Family::V4)), expected);
        let v6 = expected.replace("127.0.0.6", "::6").replace("127.0.0.1", "::1");
        assert_eq!(render(&istio(Family::V6)), v6);
    }
}
