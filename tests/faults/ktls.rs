//! kTLS: a socket that sets TCP_ULP leaves the sockhash, and is served as by plain TCP.
//!
//! Each case runs twice, without and with acceleration, and its account of what each system call gave must be the same. A case
//! takes a connection that has been accelerated, as that of a program which makes its TLS handshake by itself, and hands one
//! end or both to kTLS.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::poll::PollFlags;
use sidestep::agent::Acceleration;
use sidestep::dataplane::{Counter, Pairing};
use sidestep::syscall::{Map, MapSpec, UpdateFlags};
use sidestep::testbed::listen;
use sidestep::uapi::MapType;

use crate::feature::Feature;
use crate::link::{ANY_PORT, back_and_forth, expect, pair, pattern, send, wait};
use crate::machine;
use crate::nested::{NestedCgroups, describe};

/// `TCP_ULP`, include/uapi/linux/tcp.h.
const TCP_ULP: i32 = 31;
/// `SOL_TLS`, include/linux/socket.h.
const SOL_TLS: i32 = 282;
/// `TLS_SET_RECORD_TYPE`, include/uapi/linux/tls.h.
const SET_RECORD_TYPE: i32 = 1;
/// An alert (RFC 8446, section 5.1) that says close_notify (section 6.1) as a warning.
const ALERT: u8 = 21;
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// EINVAL.
const REFUSED: &str = "InvalidInput";

/// Which way of a socket gets keys: `TLS_TX`, `TLS_RX` of include/uapi/linux/tls.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Tx = 1,
    Rx = 2,
}

/// When a program sets TCP_ULP: before its handshake, as OpenSSL, or with the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    BeforeHandshake,
    WithKeys,
}

/// Whether this machine must have kTLS. A guest of tests/matrix must; another machine may be built without.
fn available(test: &str) -> bool {
    if !Feature::KernelTls.required(test) {
        return false;
    }
    let known = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap();
    let has_it = known.split_whitespace().any(|protocol| protocol == "tls");
    if !has_it && !machine::is_guest() {
        eprintln!("\n*** {test}: NOT TESTED: this kernel has no kTLS; tests/matrix/run tests it in its guests ***\n");
    }
    has_it || machine::is_guest()
}

fn setsockopt(socket: &TcpStream, level: i32, option: i32, value: &[u8]) -> String {
    let len = value.len() as libc::socklen_t;
    // SAFETY: the descriptor is live, and the value has as many bytes as are said.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.as_ptr().cast(), len) };
    if result == 0 { "ok".into() } else { format!("{:?}", std::io::Error::last_os_error().kind()) }
}

fn set_protocol(socket: &TcpStream) -> String {
    setsockopt(socket, libc::IPPROTO_TCP, TCP_ULP, b"tls")
}

/// `struct tls12_crypto_info_aes_gcm_128` of include/uapi/linux/tls.h: TLS 1.2, AES-GCM with 128 bits, the same keys each time.
fn set_keys(socket: &TcpStream, way: Way) -> String {
    let mut info = [0x5a_u8; 40];
    info[..2].copy_from_slice(&0x0303_u16.to_ne_bytes());
    info[2..4].copy_from_slice(&51_u16.to_ne_bytes());
    info[32..].fill(0);
    setsockopt(socket, SOL_TLS, way as i32, &info)
}

/// Sends a record of this type.
fn send_record(socket: &TcpStream, kind: u8, bytes: &[u8]) -> String {
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        kind: u8,
    }
    let header = libc::cmsghdr {
        cmsg_len: std::mem::size_of::<libc::cmsghdr>() + 1,
        cmsg_level: SOL_TLS,
        cmsg_type: SET_RECORD_TYPE,
    };
    let mut control = Control { header, kind };
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all zeros is a valid message header.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = std::mem::size_of::<Control>();
    // SAFETY: the header points to live objects of the sizes that it says.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    if sent < 0 { format!("{:?}", std::io::Error::last_os_error().kind()) } else { format!("sent {sent}") }
}

/// The next message of a socket that decrypts: its record's type, if the kernel says it, and its bytes.
fn receive_record(socket: &TcpStream) -> String {
    wait(socket, PollFlags::POLLIN);
    let mut bytes = vec![0_u8; 4096];
    let mut control = [0_u64; 8];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all zeros is a valid message header.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = std::mem::size_of_val(&control);
    // SAFETY: the header points to live, writable objects of the sizes that it says.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    if received < 0 {
        return format!("{:?}", std::io::Error::last_os_error().kind());
    }
    // SAFETY: the kernel has filled the header, whose control messages are in `control`.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    let kind = if first.is_null() {
        "no type".into()
    } else {
        // SAFETY: a control message of SOL_TLS carries one byte.
        unsafe { format!("type {} {}", (*first).cmsg_level, *libc::CMSG_DATA(first)) }
    };
    format!("{kind}: {:?}", &bytes[..received as usize])
}

/// So many bytes as they came, or how many there were until nothing comes any more.
fn receive_bytes(socket: &TcpStream, len: usize) -> String {
    let mut bytes = vec![0; len];
    let mut at = 0;
    while at < len {
        match (&*socket).read(&mut bytes[at..]) {
            Ok(0) => break,
            Ok(read) => at += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, PollFlags::POLLIN),
            Err(error) => return format!("{:?}", error.kind()),
        }
    }
    format!("{:?}", &bytes[..at])
}

/// A connection that has been accelerated, if there is acceleration; `first` is the end that the case is about.
struct Connection {
    first: TcpStream,
    second: TcpStream,
    log: Vec<String>,
}

impl Connection {
    fn new(client_first: bool) -> Self {
        let listener = listen(ANY_PORT).unwrap();
        let (client, server) = pair(&listener, listener.local_addr().unwrap());
        back_and_forth(&client, &server, &pattern(31, 300), 5);
        let (first, second) = if client_first { (client, server) } else { (server, client) };
        Self { first, second, log: Vec::new() }
    }

    fn note(&mut self, what: impl Into<String>) {
        self.log.push(what.into());
    }

    /// Three messages in turn, the first by the client, as of a TLS 1.3 handshake.
    fn handshake(&mut self, client_first: bool) {
        let (client, server) = if client_first { (&self.first, &self.second) } else { (&self.second, &self.first) };
        for (from, to, seed) in [(client, server, 1), (server, client, 2), (client, server, 3)] {
            let bytes = pattern(seed, 200);
            send(from, &bytes);
            expect(to, &bytes);
        }
    }
}

/// A record of application data as kTLS sends it, from a connection outside of all cgroups that are accelerated.
fn record(cgroups: &NestedCgroups, kind: u8, bytes: &[u8]) -> Vec<u8> {
    cgroups.leave();
    let listener = listen(ANY_PORT).unwrap();
    let (client, server) = pair(&listener, listener.local_addr().unwrap());
    cgroups.enter();
    assert_eq!((set_protocol(&client), set_keys(&client, Way::Tx)), ("ok".into(), "ok".into()));
    send_record(&client, kind, bytes);
    // The header has 5 bytes, the nonce 8, the tag 16 (RFC 5288, section 3).
    let mut record = vec![0; bytes.len() + 29];
    let mut at = 0;
    while at < record.len() {
        wait(&server, PollFlags::POLLIN);
        at += (&server).read(&mut record[at..]).unwrap();
    }
    record
}

/// What a case is: the ways that the first and the second end get keys for.
type Case = (&'static [Way], &'static [Way]);

const CASES: [Case; 5] = [
    (&[Way::Tx], &[]),
    (&[Way::Rx], &[]),
    (&[Way::Tx, Way::Rx], &[]),
    (&[Way::Tx], &[Way::Rx]),
    (&[Way::Tx, Way::Rx], &[Way::Tx, Way::Rx]),
];

/// Runs a case; the account of it.
fn run(cgroups: &NestedCgroups, case: Case, client_first: bool, when: When) -> Vec<String> {
    let records = [record(cgroups, 23, &pattern(5, 100)), record(cgroups, ALERT, &CLOSE_NOTIFY)];
    let mut connection = Connection::new(client_first);
    let [first, second] = [case.0, case.1];
    let protocols = |connection: &mut Connection| {
        for (end, ways) in [("first", first), ("second", second)] {
            let socket = if end == "first" { &connection.first } else { &connection.second };
            if !ways.is_empty() {
                let result = set_protocol(socket);
                connection.note(format!("{end} TCP_ULP: {result}"));
            }
        }
    };
    if when == When::BeforeHandshake {
        protocols(&mut connection);
        connection.handshake(client_first);
    } else {
        protocols(&mut connection);
    }
    for (end, ways) in [("first", first), ("second", second)] {
        for way in ways {
            let socket = if end == "first" { &connection.first } else { &connection.second };
            let result = set_keys(socket, *way);
            connection.note(format!("{end} {way:?}: {result}"));
        }
    }
    let Connection { first: a, second: b, log } = &mut connection;
    for (from, to, sends, receives) in [(&*a, &*b, first, second), (&*b, &*a, second, first)] {
        let messages = [(23, pattern(5, 100)), (ALERT, CLOSE_NOTIFY.to_vec())];
        for (record, (kind, bytes)) in records.iter().zip(messages) {
            if sends.contains(&Way::Tx) {
                log.push(send_record(from, kind, &bytes));
            } else if receives.contains(&Way::Rx) {
                send(from, record);
            } else {
                send(from, &bytes);
            }
            if receives.contains(&Way::Rx) {
                log.push(receive_record(to));
            } else {
                let len = if sends.contains(&Way::Tx) { record.len() } else { bytes.len() };
                log.push(receive_bytes(to, len));
            }
        }
    }
    connection.log
}

/// Lines of the kernel's log that report a fault of the kernel.
fn kernel_faults() -> Vec<String> {
    let mut log = vec![0_u8; 1 << 20];
    // `SYSLOG_ACTION_READ_ALL`, include/linux/syslog.h.
    // SAFETY: the buffer is live and writable, with as many bytes as are said.
    let read = unsafe { libc::klogctl(3, log.as_mut_ptr().cast(), log.len() as i32) };
    assert!(read >= 0, "the kernel's log: {}", std::io::Error::last_os_error());
    let text = String::from_utf8_lossy(&log[..read as usize]).into_owned();
    let faults = text.lines().filter(|line| ["WARNING:", "BUG:", "refcount_t"].iter().any(|word| line.contains(word)));
    faults.map(str::to_owned).collect()
}

fn told(acceleration: &Acceleration) -> String {
    describe(&acceleration.snapshot().unwrap())
}

fn cases_are_as_of_plain_tcp(when: When) {
    if !available("kTLS on an accelerated connection") {
        return;
    }
    let cgroups = NestedCgroups::new();
    for case in CASES {
        for client_first in [true, false] {
            let plain = run(&cgroups, case, client_first, when);
            let acceleration = cgroups.accelerate(Pairing::Sequence);
            let ours = run(&cgroups, case, client_first, when);
            let name = format!("{case:?}, client first {client_first}, {when:?}");
            assert!(plain.iter().all(|line| !line.ends_with(REFUSED)), "{name}: plain TCP: {plain:?}");
            let counters = acceleration.snapshot().unwrap();
            assert!(counters.get(Counter::RedirectedMessages) > 0, "{name}: {}", told(&acceleration));
            assert_eq!(ours, plain, "{name}: {}", told(&acceleration));
            assert_eq!(counters.get(Counter::Unenrolled), 1, "{name}: {}", told(&acceleration));
        }
    }
}

#[test]
fn ktls_set_up_before_a_handshake_is_as_of_plain_tcp() {
    cases_are_as_of_plain_tcp(When::BeforeHandshake);
}

#[test]
fn ktls_set_up_with_its_keys_is_as_of_plain_tcp() {
    if !available("kTLS on an accelerated connection") {
        return;
    }
    if keys_are_refused_in_maps() {
        keys_are_taken_after_the_next_message();
    } else {
        cases_are_as_of_plain_tcp(When::WithKeys);
    }
}

/// Whether this kernel takes no keys of a socket that is in a socket map (`do_tls_setsockopt_conf`, net/tls/tls_main.c).
fn keys_are_refused_in_maps() -> bool {
    let listener = listen(ANY_PORT).unwrap();
    let (client, _server) = pair(&listener, listener.local_addr().unwrap());
    let map = Map::create(&MapSpec::new("t_sockets", MapType::SOCKHASH, 8, 8, 1)).unwrap();
    let descriptor = client.as_raw_fd() as u64;
    map.update(&[0; 8], &descriptor.to_ne_bytes(), UpdateFlags::empty()).unwrap();
    assert_eq!(set_protocol(&client), "ok");
    set_keys(&client, Way::Tx) == REFUSED
}

/// No program can take a socket out of a sockhash while its application is inside setsockopt(2): that takes a packet. So the
/// kernel refuses keys that come without a message in between, as where kTLS lacks a cipher, and takes them after one.
fn keys_are_taken_after_the_next_message() {
    let cgroups = NestedCgroups::new();
    for client_first in [true, false] {
        for way in [Way::Tx, Way::Rx] {
            let record = record(&cgroups, 23, &pattern(5, 100));
            let acceleration = cgroups.accelerate(Pairing::Sequence);
            let mut connection = Connection::new(client_first);
            assert_eq!(set_protocol(&connection.first), "ok");
            assert_eq!(set_keys(&connection.first, way), REFUSED, "{}", told(&acceleration));
            connection.handshake(client_first);
            assert_eq!(set_keys(&connection.first, way), "ok", "{}", told(&acceleration));
            assert_eq!(acceleration.snapshot().unwrap().get(Counter::Unenrolled), 1, "{}", told(&acceleration));
            let Connection { first, second, .. } = &connection;
            if way == Way::Tx {
                send_record(first, 23, &pattern(5, 100));
                expect(second, &record);
            } else {
                send(second, &record);
                let received = receive_record(first);
                assert!(received.ends_with(&format!("{:?}", pattern(5, 100))), "{received}");
            }
        }
    }
}

/// The kernel builds kTLS's functions, for all sockets, from those that a socket has when it sets TCP_ULP: while it is in a
/// sockhash, these are others than TCP's (`tls_build_proto`, net/tls/tls_main.c).
#[test]
fn a_reset_of_a_ktls_socket_leaves_the_kernel_well() {
    if !available("kTLS on an accelerated connection") {
        return;
    }
    let cgroups = NestedCgroups::new();
    let before = kernel_faults();
    let acceleration = cgroups.accelerate(Pairing::Sequence);
    for client_first in [true, false] {
        for _ in 0..5 {
            let mut connection = Connection::new(client_first);
            assert_eq!(set_protocol(&connection.first), "ok");
            connection.handshake(client_first);
            assert_eq!(set_keys(&connection.first, Way::Tx), "ok", "{}", told(&acceleration));
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            nix::sys::socket::setsockopt(&connection.second, nix::sys::socket::sockopt::Linger, &linger).unwrap();
            drop(connection.second);
            wait(&connection.first, PollFlags::POLLIN);
            drop(connection.first);
        }
    }
    // The log forgets what is old.
    let new: Vec<_> = kernel_faults().into_iter().filter(|line| !before.contains(line)).collect();
    assert!(new.is_empty(), "{new:?}");
}
