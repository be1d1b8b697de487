//! The payload that the TCP/IP stack of a network namespace has received: independent of everything that sidestep counts.

use std::fs;

/// Bytes of the headers of a segment over IPv4: 20 of IP, 20 of TCP and 12 of timestamps, which Linux sends by default.
/// A SYN has 8 more, a reset 12 fewer.
const HEADERS: u64 = 52;
/// The same over IPv6, whose header has 40 bytes.
const HEADERS_V6: u64 = 72;

/// Payload received so far by the stack of the calling thread's network namespace. Redirected bytes are not in it.
///
/// A segment that is larger than a packet counts once, with its headers once (`ip_rcv_core`, net/ipv4/ip_input.c).
pub(crate) fn received() -> Result<u64, String> {
    let read = |name: &str| {
        let path = format!("/proc/thread-self/net/{name}");
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    };
    let (snmp, netstat, snmp6) = (read("snmp")?, read("netstat")?, read("snmp6").unwrap_or_default());
    let v4 = [column(&netstat, "IpExt:", "InOctets"), column(&snmp, "Ip:", "InReceives")];
    let [Some(octets), Some(packets)] = v4 else { return Err("no InOctets or InReceives in /proc/net".into()) };
    let v6 = |name| {
        let line = snmp6.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or_default()
    };
    Ok(octets.saturating_sub(HEADERS * packets) + v6("Ip6InOctets").saturating_sub(HEADERS_V6 * v6("Ip6InReceives")))
}

/// How many bytes may have come again, at most: the receiver's stack counts them, and its socket does not. A sender on a busy machine
/// takes a reader that does not run for loss, and sends its last segment again (RFC 8985, section 7).
pub(crate) fn repeated() -> Result<u64, String> {
    let snmp = fs::read_to_string("/proc/thread-self/net/snmp").map_err(|error| error.to_string())?;
    // A segment is at most as long as the total length of an IPv4 header can say (RFC 791, section 3.1).
    Ok(column(&snmp, "Tcp:", "RetransSegs").ok_or("no RetransSegs in /proc/net/snmp")? << 16)
}

/// Of two lines that begin with `prefix`, names and numbers, the number below `name`.
fn column(text: &str, prefix: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.split(' ').next() == Some(prefix));
    let place = lines.next()?.split(' ').position(|word| word == name)?;
    lines.next()?.split(' ').nth(place)?.parse().ok()
}

#[test]
fn a_column_is_found_by_its_name() {
    let text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InX InOctets\nIpExt: 3 4\n";
    assert_eq!(column(text, "IpExt:", "InOctets"), Some(4));
    assert_eq!(column(text, "TcpExt:", "InOctets"), None);
}
