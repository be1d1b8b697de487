//! Programs: loading, refusals with their log, facts, statistics.

use std::os::fd::{AsFd, AsRawFd};

use sidestep::asm::{Asm, Cond, Features, Insn, Reg, Size, opcode};
use sidestep::btf::{BtfBuilder, Linkage};
use sidestep::syscall::{BtfObject, DebugInfo, Errno, Map, MapSpec, ProgSpec, Program, RunTimeStats, id};

use crate::program::{bytes, call, exit, load_map, mov, returns, trivial};
use crate::support::machine::require_root;
use sidestep::uapi::{AttachType, MapType, ProgType};

#[test]
fn the_kernel_confirms_a_program() {
    if !require_root("the_kernel_confirms_a_program") {
        return;
    }
    let map = Map::create(&MapSpec::new("t.used", MapType::ARRAY, 4, 8, 1)).unwrap();
    let mut insns = load_map(1, map.as_fd().as_raw_fd()).to_vec();
    insns.extend([mov(0, 1), exit()]);
    let program = Program::load(&ProgSpec::new("t.sock_ops", ProgType::SOCK_OPS, &bytes(&insns))).unwrap();
    let info = program.info().unwrap();
    assert_eq!((info.name.as_str(), info.prog_type), ("t.sock_ops", ProgType::SOCK_OPS));
    assert_eq!(info.map_ids, [map.info().unwrap().id]);
    assert!(info.id > 0 && info.xlated_len >= 8 && info.tag != [0; 8] && info.load_time_ns > 0);
    assert_eq!(Program::from_id(info.id).unwrap().info().unwrap().tag, info.tag);
    assert!(id::ids(id::Kind::Prog).any(|id| id.unwrap() == info.id));
}

#[test]
fn a_refusal_carries_the_verifiers_words() {
    if !require_root("a_refusal_carries_the_verifiers_words") {
        return;
    }
    // r0 is never set.
    let error = Program::load(&ProgSpec::new("t.bad", ProgType::SK_MSG, &bytes(&[exit()]))).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EACCES));
    assert!(error.log().unwrap().contains("R0 !read_ok"), "{error}");
    assert!(error.to_string().starts_with("cannot load the sk_msg program \"t.bad\": Permission denied (EACCES); "));
}

#[test]
fn the_kernel_follows_islands() {
    if !require_root("the_kernel_follows_islands") {
        return;
    }
    let mut a = Asm::with_features(Features::LINUX_5_10);
    let (out, middle, far) = (a.label("out"), a.label("middle"), a.label("far"));
    a.load(Size::W, Reg::R2, Reg::R1, 0);
    a.mov(Reg::R0, 0);
    a.jump(Cond::Set, Reg::R2, 1, far);
    (0..40_000).for_each(|_| a.mov(Reg::R0, 1));
    a.jump(Cond::Eq, Reg::R2, 100, middle);
    a.bind(out);
    a.exit();
    a.bind(middle);
    (0..40_000).for_each(|_| a.mov(Reg::R0, 1));
    a.bind(far);
    a.jump(Cond::Eq, Reg::R2, 102, out);
    a.exit();
    let program = a.finish().unwrap();
    assert!((80_010..80_100).contains(&program.insns().len()), "{}", program.insns().len());
    Program::load(&ProgSpec::new("t.islands", ProgType::SOCK_OPS, &bytes(program.insns()))).unwrap();
}

#[test]
fn the_log_grows_until_it_fits() {
    if !require_root("the_log_grows_until_it_fits") {
        return;
    }
    // At level 2 each instruction takes about 40 bytes: several times the first buffer.
    let mut insns = vec![mov(0, 0)];
    insns.extend((1..20_000).map(|number| mov(2, number)));
    let spec = ProgSpec::new("t.long", ProgType::SOCK_OPS, &[]);
    let good: Vec<Insn> = insns.iter().copied().chain([exit()]).collect();
    let (_, log) = Program::load_with_log(&ProgSpec { insns: &bytes(&good), ..spec }, 2).unwrap();
    assert!(log.len() > 256 << 10, "{}", log.len());
    assert!(log.contains("r2 = 1 ") || log.contains("r2 = 1\n"), "the beginning is missing: {}", &log[..200]);
    assert!(log.contains("processed 20001 insns"), "the end is missing");
    let bad: Vec<Insn> = insns
        .into_iter()
        .chain([Insn { code: opcode::ALU64 | opcode::MOV | opcode::X, src: 9, ..mov(0, 0) }, exit()])
        .collect();
    let error = Program::load(&ProgSpec { insns: &bytes(&bad), log_level: 2, ..spec }).unwrap_err();
    assert!(error.log().unwrap().contains("R9 !read_ok") && error.log().unwrap().len() > 256 << 10);
    // Linux 7.3 ends the log with the same in a sentence.
    let text = error.to_string();
    assert!(text.contains("R9 !read_ok") || text.contains("R9 is not readable"), "{text}");
    assert!(text.len() < 4096, "{text}");
}

#[test]
fn nonsense_is_refused_before_or_by_the_kernel() {
    if !require_root("nonsense_is_refused_before_or_by_the_kernel") {
        return;
    }
    let odd = Program::load(&ProgSpec::new("t.odd", ProgType::SOCK_OPS, &[0; 9])).unwrap_err();
    assert!(odd.to_string().contains("8-byte instructions"), "{odd}");
    let none = Program::load(&ProgSpec::new("t.none", ProgType::SOCK_OPS, &[])).unwrap_err();
    assert!([Some(Errno::E2BIG), Some(Errno::EINVAL)].contains(&none.errno()), "{none}");
    let unknown = Program::load(&ProgSpec::new("t.unknown", ProgType(4000), &returns(0))).unwrap_err();
    assert_eq!(unknown.errno(), Some(Errno::EINVAL));
    assert!(unknown.to_string().contains("does not know the program type"), "{unknown}");
}

#[test]
fn a_helper_the_type_may_not_call_is_named_in_the_log() {
    if !require_root("a_helper_the_type_may_not_call_is_named_in_the_log") {
        return;
    }
    // bpf_get_socket_cookie (46): not for sk_msg on any kernel.
    let error = Program::load(&ProgSpec::new("t.helper", ProgType::SK_MSG, &bytes(&[call(46), exit()]))).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EINVAL));
    assert!(error.log().unwrap().contains("bpf_get_socket_cookie#46"), "{error}");
}

#[test]
fn source_lines_show_up_in_the_log() {
    if !require_root("source_lines_show_up_in_the_log") {
        return;
    }
    let mut builder = <BtfBuilder>::new();
    let int = builder.int("int", 4, true);
    let context = builder.pointer(0);
    let proto = builder.func_proto(int, &[("ctx", context)]);
    let func = builder.func("main_prog", proto, Linkage::Global);
    let (file, line) = (builder.string("prog.rs"), builder.string("emit.exit()"));
    let btf = BtfObject::load(&builder.finish()).unwrap();
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
    let debug = DebugInfo {
        btf: btf.as_fd(),
        // struct bpf_func_info: insn_off, type_id; struct bpf_line_info: insn_off, file, line, line << 10 | column.
        func_info: &words(&[0, func]),
        line_info: &words(&[0, file, line, 7 << 10 | 3]),
    };
    let spec = ProgSpec { debug: Some(debug), ..ProgSpec::new("t.lines", ProgType::SK_MSG, &[]) };
    let error = Program::load(&ProgSpec { insns: &bytes(&[exit()]), ..spec }).unwrap_err();
    assert!(error.log().unwrap().contains("emit.exit()"), "{error}");
    let good = Program::load(&ProgSpec { insns: &returns(1), ..spec }).unwrap();
    assert!(good.info().unwrap().btf_id > 0);
}

#[test]
fn statistics_can_be_switched_on() {
    if !require_root("statistics_can_be_switched_on") {
        return;
    }
    let _on = RunTimeStats::enable().unwrap();
    let enabled = sidestep::syscall::sysctl::number("kernel/bpf_stats_enabled").unwrap();
    // The setting itself stays as it was; what counts is that runs are counted, which `link` tests.
    assert!(enabled.is_some());
    assert_eq!(trivial("t.idle", ProgType::SOCK_OPS).info().unwrap().run_count, 0);
}

#[test]
fn an_iterator_loads_by_its_btf_id() {
    if !require_root("an_iterator_loads_by_its_btf_id") {
        return;
    }
    let btf = sidestep::syscall::btf::vmlinux().unwrap();
    let spec = ProgSpec {
        expected_attach_type: Some(AttachType::TRACE_ITER),
        attach_btf_id: btf.func_by_name("bpf_iter_sockmap").unwrap(),
        ..ProgSpec::new("t.iter", ProgType::TRACING, &[])
    };
    let program = Program::load(&ProgSpec { insns: &returns(0), ..spec }).unwrap();
    assert_eq!(program.info().unwrap().prog_type, ProgType::TRACING);
}
