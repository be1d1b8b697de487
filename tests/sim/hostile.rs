//! Records that want to hurt: `verify --json-lines` answers each with one line, soon and in bounded memory.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sidestep::asm::Insn;
use sidestep::asm::opcode as op;

/// The longest for one record. A release build on a free processor takes below one second for each; this leaves room for a
/// build without optimisation on a busy one.
const LONGEST: Duration = Duration::from_secs(25);
/// Most memory at any time. The text of a million instructions and what is known of each take about half of it.
const MAX_MEMORY: u64 = 1 << 30;

/// The hexadecimal digits of one slot.
fn slot(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> String {
    let bytes = Insn { code, dst, src, off, imm }.encode::<byteorder::LittleEndian>();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mov(dst: u8, imm: i32) -> String {
    slot(op::ALU64 | op::MOV | op::K, dst, 0, 0, imm)
}

fn exit() -> String {
    slot(op::JMP | op::EXIT, 0, 0, 0, 0)
}

fn load_mark(dst: u8) -> String {
    slot(op::LDX | op::MEM | op::W, dst, 1, 16, 0)
}

fn record(name: &str, insns: &str, maps: &Value) -> Vec<u8> {
    json!({ "name": name, "prog_type": "sk_msg", "insns": insns, "maps": maps }).to_string().into_bytes()
}

/// Programs that are long, or whose paths are.
fn programs() -> Vec<Vec<u8>> {
    const MANY: usize = 999_990;
    let plain = |name, insns: String| record(name, &insns, &Value::Null);
    let skip = slot(op::JMP | op::JA, 0, 0, 0, 0);
    let endless = mov(0, 0) + &slot(op::ALU64 | op::ADD | op::K, 0, 0, 0, 1);
    // Two paths a step that stay different, since each has added another number.
    let fork = |step: i32| {
        load_mark(2)
            + &slot(op::JMP | op::JEQ | op::K, 2, 0, 1, step)
            + &slot(op::ALU64 | op::ADD | op::K, 7, 0, 0, 1 << (step % 31))
    };
    // Blocks in reverse order, each of which jumps back to the one before it.
    let blocks = 150_000;
    let block = slot(op::ALU64 | op::ADD | op::K, 0, 0, 0, 1) + &slot(op::ALU64 | op::XOR | op::K, 0, 0, 0, 7);
    let reversed = mov(0, 0)
        + &slot(op::JMP32 | op::JA, 0, 0, 0, 3 * (blocks - 1))
        + &block
        + &exit()
        + &(block.clone() + &slot(op::JMP32 | op::JA, 0, 0, 0, -6)).repeat(blocks as usize - 1);
    // Seven functions, each of which calls the next twenty times.
    let call = |distance: i32| slot(op::JMP | op::CALL, 0, op::PSEUDO_CALL, 0, distance);
    let function = (0..20).map(|index| call(20 - index)).collect::<String>() + &exit();
    // A loop whose counter is never the same, with a full stack.
    let spills = (1..=64).map(|index| slot(op::STX | op::MEM | op::DW, 10, 7, -8 * index, 0)).collect::<String>();
    let step =
        load_mark(2) + &slot(op::JMP | op::JEQ | op::K, 2, 0, 1, 1) + &slot(op::ALU64 | op::ADD | op::K, 7, 0, 0, 1);
    let looped = step + &spills + &slot(op::ALU64 | op::ADD | op::K, 7, 0, 0, 1);
    let back = -(looped.len() as i16 / 16) - 1;
    vec![
        plain("straight", mov(0, 0).repeat(MANY) + &exit()),
        plain("nothing but exits", exit().repeat(MANY)),
        plain("jumps to the next", skip.repeat(MANY) + &mov(0, 0) + &exit()),
        plain(
            "branches only",
            load_mark(2) + &slot(op::JMP | op::JGT | op::K, 2, 0, 0, 5).repeat(MANY) + &mov(0, 0) + &exit(),
        ),
        plain("an endless loop", mov(0, 0) + &slot(op::JMP | op::JA, 0, 0, -1, 0) + &exit()),
        plain("a loop forever", endless + &slot(op::JMP | op::JLT | op::K, 0, 0, -2, i32::MAX) + &exit()),
        plain("forks", mov(7, 0) + &(0..2000).map(fork).collect::<String>() + &mov(0, 0) + &exit()),
        plain("blocks in reverse", reversed),
        plain("a tree of calls", function.repeat(7) + &mov(0, 0) + &exit()),
        plain("functions only", (call(0) + &exit()).repeat(400_000) + &mov(0, 0) + &exit()),
        plain(
            "a loop with a stack",
            mov(7, 0)
                + &spills
                + &looped
                + &slot(op::JMP | op::JLT | op::K, 7, 0, back, 1 << 30)
                + &mov(0, 0)
                + &exit(),
        ),
    ]
}

/// Maps that are many, or whose numbers are absurd.
fn maps() -> Vec<Vec<u8>> {
    let load = slot(op::LD | op::IMM | op::DW, 1, op::PSEUDO_MAP_FD, 0, 0) + &slot(0, 0, 0, 0, 0);
    let program = load.clone() + &mov(0, 0) + &exit();
    let small = json!({ "type": 1, "key_size": 4, "value_size": 8, "max_entries": 1, "insns": [0] });
    let with = |key: &str, value: Value| {
        let mut map = small.clone();
        map[key] = value;
        map
    };
    let most = u32::MAX;
    let mut nested = small.clone();
    for _ in 0..60 {
        nested = json!({ "type": 13, "key_size": 4, "value_size": 4, "max_entries": 1, "insns": [0], "inner": nested });
    }
    let locks: Vec<Value> = (0..50_000).map(|offset| json!(["bpf_spin_lock", offset])).collect();
    let each: Vec<Value> = (0..300).map(|index| with_insn(&small, 2 * index)).collect();
    vec![
        record(
            "largest",
            &program,
            &json!([{ "type": most, "key_size": most, "value_size": most, "max_entries": most, "map_flags": most, "insns": [0] }]),
        ),
        record("a huge value", &program, &json!([with("value_size", most.into())])),
        record("many", &program, &Value::from(vec![small.clone(); 100_000])),
        record("one for each load", &(load.repeat(300) + &mov(0, 0) + &exit()), &Value::from(each)),
        record("loads outside", &program, &json!([with("insns", Value::from(vec![u64::MAX; 50_000]))])),
        record("nested", &program, &json!([nested])),
        record("many locks", &program, &json!([with("special", Value::from(locks))])),
        record("much data", &program, &json!([with("data", "00".repeat(5_000_000).into())])),
    ]
}

fn with_insn(map: &Value, insn: u32) -> Value {
    let mut map = map.clone();
    map["insns"] = json!([insn]);
    map
}

/// Lines that are no records.
fn garbage() -> Vec<Vec<u8>> {
    let cut = record("cut", &mov(0, 0).repeat(100), &Value::Null);
    let inner =
        [br#"{"name":"n","prog_type":"sk_msg","insns":"","maps":["#.to_vec(), br#"{"type":13,"inner":"#.repeat(5000)]
            .concat();
    vec![
        cut[..cut.len() - 9].to_vec(),
        b"[".repeat(1_000_000),
        br#"{"a":"#.repeat(100_000),
        inner,
        br#"{"name":1e999,"prog_type":1e999,"insns":""}"#.to_vec(),
        b"{\"name\":\"\xff\xfe\",\"prog_type\":\"sk_msg\",\"insns\":\"\"}".to_vec(),
        b"\0".repeat(1000),
        b"\xff".repeat(100_000),
        b"x".repeat(100 << 20),
        [br#"{"name":"long","prog_type":"sk_msg","insns":""#.to_vec(), b"b7".repeat(50 << 20), b"\"}".to_vec()]
            .concat(),
    ]
}

/// The most memory the process has had.
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn every_hostile_record_is_answered_soon() {
    let mut sidestep = Command::new(env!("CARGO_BIN_EXE_sidestep"))
        .args(["verify", "--json-lines"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = sidestep.stdin.take().unwrap();
    let mut answers = BufReader::new(sidestep.stdout.take().unwrap()).lines();
    let last = record("last", &(mov(0, 1) + &exit()), &Value::Null);
    let mut slowest = (Duration::ZERO, String::new());
    for hostile in [programs(), maps(), garbage(), vec![last]].concat() {
        let start = Instant::now();
        input.write_all(&hostile).unwrap();
        input.write_all(b"\n").unwrap();
        let answer = answers.next().expect("an answer to every record, not a crash").unwrap();
        let took = start.elapsed();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let verdict = answer["verdict"].as_str().unwrap();
        assert!(matches!(verdict, "accept" | "reject" | "unsupported"), "{answer}");
        assert!(verdict == "accept" || !answer["reason"].as_str().unwrap().is_empty(), "{answer}");
        assert!(took < LONGEST, "{took:?} for {answer}");
        slowest = slowest.max((took, answer["name"].to_string()));
        if answer["name"] == "last" {
            assert_eq!(verdict, "accept");
        }
    }
    let memory = peak_memory(sidestep.id());
    eprintln!("the slowest record took {:.2?}: {}; the process had {} MB", slowest.0, slowest.1, memory >> 20);
    assert!(memory < MAX_MEMORY, "{memory} bytes");
    drop(input);
    assert!(sidestep.wait().unwrap().success());
    assert!(answers.next().is_none(), "more answers than records");
}
