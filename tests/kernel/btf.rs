//! The running kernel's own types.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use sidestep::btf::BtfBuilder;
use sidestep::syscall::Errno;
use sidestep::syscall::btf::{BtfObject, vmlinux};

use crate::support::wait::scaled;

#[test]
fn the_kernels_structs_have_the_fields_that_the_programs_read() {
    let btf = match vmlinux() {
        Ok(btf) => btf,
        Err(error) => {
            crate::support::machine::missing(
                "the_kernels_structs_have_the_fields_that_the_programs_read",
                &error.to_string(),
            );
            return;
        }
    };
    assert!(btf.type_count() > 10_000);
    // The first field of all sockets is the common part, and a tcp_sock starts with its sock.
    assert_eq!(btf.offset_of("sock", "__sk_common").unwrap(), 0);
    assert_eq!(
        btf.offset_of("tcp_sock", "inet_conn.icsk_inet.sk.__sk_common.skc_cookie").unwrap(),
        btf.offset_of("sock_common", "skc_cookie").unwrap()
    );
    for field in ["copied_seq", "write_seq", "rcv_nxt", "snd_nxt"] {
        assert_eq!(btf.field("tcp_sock", field).unwrap().size(), 4, "{field}");
    }
    // Members of anonymous unions count as the struct's own.
    assert_eq!(btf.field("sock_common", "skc_daddr").unwrap().size(), 4);
    let shutdown = btf.field("sock", "sk_shutdown").unwrap();
    assert_eq!(shutdown.bits, 8);
    assert!(btf.func_by_name("tcp_bpf_sendmsg").is_some() || btf.func_by_name("tcp_sendmsg").is_some());
    assert!(btf.offset_of("sock", "there_is_no_such_field").is_err());
}

#[test]
fn reading_it_takes_milliseconds() {
    let read = || {
        let start = cpu_time();
        let btf = vmlinux().ok()?;
        let parsed = cpu_time() - start;
        for field in ["copied_seq", "write_seq", "rcv_nxt", "snd_nxt", "inet_conn.icsk_inet.sk.sk_rcvbuf"] {
            btf.offset_of("tcp_sock", field).unwrap();
        }
        btf.func_by_name("there_is_no_such_function");
        let all = cpu_time() - start;
        println!("vmlinux BTF: {} types, parsed in {parsed:?}, with six lookups {all:?}", btf.type_count());
        Some(all)
    };
    // What else shares the processor's caches costs time, and more so once than another time. The quickest counts.
    let Some(quickest) = (0..3).map(|_| read()).collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min())
    else {
        crate::support::machine::missing("reading_it_takes_milliseconds", "there is no vmlinux BTF");
        return;
    };
    // Some 10 ms on the slowest machine we have; fifty times that is a fault, not noise.
    assert!(quickest < scaled(Duration::from_millis(500)), "{quickest:?}");
}

/// Processor time of this thread.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[test]
fn the_kernel_takes_what_the_builder_makes() {
    if !crate::support::machine::require_root("the_kernel_takes_what_the_builder_makes") {
        return;
    }
    let mut builder = <BtfBuilder>::new();
    let int = builder.int("int", 4, true);
    let array = builder.array(int, int, 3);
    let alias = builder.typedef("three_t", array);
    builder.structure("record", 16, &[("first", int, 0), ("rest", alias, 32)]);
    builder.bit_structure("flags", 4, &[("low", int, 0, 3), ("high", int, 3, 5)]);
    BtfObject::load(&builder.finish()).unwrap();
    let error = BtfObject::load(b"nonsense instead of BTF, long enough").unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EINVAL));
}
