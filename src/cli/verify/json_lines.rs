//! Many programs in one process: one JSON record a line in, one verdict a line out, in order.
//!
//! ```json
//! {"name": "p1", "prog_type": "sk_msg", "expected_attach_type": 0, "attach_target": null, "prog_flags": 0, "insns": "b700000001000000...",
//!  "maps": [{"type": 1, "key_size": 4, "value_size": 8, "max_entries": 16, "map_flags": 0,
//!            "special": [["bpf_spin_lock", 0]], "inner": {...}, "data": "0011...", "frozen": true, "insns": [3]}]}
//! {"name": "p1", "verdict": "reject", "reason": "insn 4: R1 invalid mem access 'scalar'"}
//! ```
//! A map's `insns` are the slots of the 64-bit immediate loads that load it. Only `prog_type` and `insns` must be there.

use std::io::{BufRead, Read, Write};

use byteorder::LittleEndian;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::asm;
use crate::cli::error::Error;
use crate::cli::hex;
use crate::uapi::AttachType;
use crate::verifier_sim::spec::{MapLoad, MapSpec, MapType, Options, ProgType, ProgramSpec, SpecialField};
use crate::verifier_sim::verify;

/// Longest line that is read: the largest program the kernel takes, a million slots of 16 digits, with room for maps.
const MAX_LINE: u64 = 32 << 20;

/// One program to judge.
#[derive(Deserialize)]
struct Record {
    prog_type: Named,
    #[serde(default)]
    expected_attach_type: Option<Named>,
    /// What a tracing program traces.
    #[serde(default)]
    attach_target: Option<String>,
    #[serde(default)]
    prog_flags: Option<u32>,
    insns: String,
    #[serde(default)]
    maps: Option<Vec<MapRecord>>,
}

/// A type by its number or its name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Number(u32),
    Name(String),
}

#[derive(Deserialize)]
struct MapRecord {
    #[serde(rename = "type")]
    map_type: Named,
    #[serde(default)]
    key_size: u32,
    #[serde(default)]
    value_size: u32,
    #[serde(default)]
    max_entries: u32,
    #[serde(default)]
    map_flags: Option<u32>,
    #[serde(default)]
    special: Option<Vec<(String, u32)>>,
    #[serde(default)]
    inner: Option<Box<MapRecord>>,
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    frozen: Option<bool>,
    #[serde(default)]
    insns: Option<Vec<usize>>,
}

#[derive(Serialize)]
struct Answer<'a> {
    name: &'a Value,
    verdict: &'a str,
    reason: &'a str,
}

/// Why a record cannot be judged.
enum BadRecord {
    /// No kernel would take it.
    Rejected(String),
    /// It names something that is not simulated.
    Unsupported(String),
}

/// Judges every line of `input`; each answer is flushed before the next line is read.
pub(super) fn run(input: &mut dyn BufRead, out: &mut dyn Write, options: &Options) -> Result<(), Error> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.take(MAX_LINE).read_until(b'\n', &mut line);
        if read.map_err(|error| Error::Failed(format!("cannot read the records: {error}")))? == 0 {
            return Ok(());
        }
        if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
            skip_line(input).map_err(|error| Error::Failed(format!("cannot read the records: {error}")))?;
            answer(out, &Value::Null, "reject", &format!("the line is longer than {MAX_LINE} bytes"))?;
            continue;
        }
        if !line.trim_ascii().is_empty() {
            judge(&line, out, options)?;
        }
    }
}

/// Reads to the end of an overlong line without keeping it.
fn skip_line(input: &mut dyn BufRead) -> std::io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let length = end.map_or(buffer.len(), |end| end + 1);
        input.consume(length);
        if end.is_some() {
            return Ok(());
        }
    }
}

fn judge(line: &[u8], out: &mut dyn Write, options: &Options) -> Result<(), Error> {
    let record: Value = match serde_json::from_slice(line) {
        Ok(record) => record,
        Err(error) => {
            return answer(out, &Value::Null, "reject", &format!("the line is not a JSON record: {error}"));
        }
    };
    let name = record.get("name").cloned().unwrap_or_default();
    match parse(record) {
        Ok(mut program) => {
            if let Value::String(name) = &name {
                program.name.clone_from(name);
            }
            let verdict = verify(&program, options);
            answer(out, &name, verdict.word(), &verdict.reason())
        }
        Err(BadRecord::Rejected(reason)) => answer(out, &name, "reject", &reason),
        Err(BadRecord::Unsupported(reason)) => answer(out, &name, "unsupported", &reason),
    }
}

fn answer(out: &mut dyn Write, name: &Value, verdict: &str, reason: &str) -> Result<(), Error> {
    // A reason is one line whatever it quotes; JSON escapes the rest.
    serde_json::to_writer(&mut *out, &Answer { name, verdict, reason }).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

fn parse(record: Value) -> Result<ProgramSpec, BadRecord> {
    let record = Record::deserialize(record)
        .map_err(|error| BadRecord::Rejected(format!("the line is not a program record: {error}")))?;
    let prog_type = match record.prog_type {
        Named::Number(number) => ProgType(number),
        Named::Name(name) => ProgType::from_name(&name.to_ascii_lowercase().replace("bpf_prog_type_", ""))
            .ok_or_else(|| BadRecord::Unsupported(format!("there is no program type {name:?}")))?,
    };
    let expected_attach_type = match record.expected_attach_type {
        None => 0,
        Some(Named::Number(number)) => number,
        Some(Named::Name(name)) => match AttachType::from_name(name.to_ascii_lowercase().trim_start_matches("bpf_")) {
            Some(known) => known.number(),
            // The kernel does not look at it for these types, so any name is as good as none.
            None if matches!(prog_type, ProgType::SOCK_OPS | ProgType::SK_MSG) => 0,
            None => return Err(BadRecord::Unsupported(format!("there is no attach type {name:?}"))),
        },
    };
    let bytes = hex::decode(&record.insns)
        .map_err(|error| BadRecord::Rejected(format!("the instructions are not hexadecimal bytes: {error}")))?;
    let insns = asm::decode_program::<LittleEndian>(&bytes).map_err(|error| BadRecord::Rejected(error.to_string()))?;
    let mut program = ProgramSpec {
        prog_type,
        expected_attach_type,
        attach_target: record.attach_target,
        prog_flags: record.prog_flags.unwrap_or(0),
        insns,
        ..ProgramSpec::default()
    };
    for (number, map) in record.maps.unwrap_or_default().into_iter().enumerate() {
        for &insn in map.insns.iter().flatten() {
            program.map_loads.push(MapLoad { insn, map: number });
        }
        program.maps.push(map.into_spec()?);
    }
    Ok(program)
}

impl MapRecord {
    fn into_spec(self) -> Result<MapSpec, BadRecord> {
        let map_type = match self.map_type {
            Named::Number(number) => MapType(number),
            Named::Name(name) => MapType::from_name(&name.to_ascii_lowercase().replace("bpf_map_type_", ""))
                .ok_or_else(|| BadRecord::Unsupported(format!("there is no map type {name:?}")))?,
        };
        let data = match self.data {
            Some(text) => Some(hex::decode(&text).map_err(|error| {
                BadRecord::Rejected(format!("the data of a map is not hexadecimal bytes: {error}"))
            })?),
            None => None,
        };
        let special = self.special.unwrap_or_default();
        Ok(MapSpec {
            map_type,
            key_size: self.key_size,
            value_size: self.value_size,
            max_entries: self.max_entries,
            map_flags: self.map_flags.unwrap_or(0),
            special: special
                .into_iter()
                .map(|(name, offset)| SpecialField { name, offset, ..SpecialField::default() })
                .collect(),
            inner: self.inner.map(|inner| inner.into_spec().map(Box::new)).transpose()?,
            data,
            frozen: self.frozen.unwrap_or(false),
            ..MapSpec::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge_all(input: &str) -> Vec<Value> {
        let mut out = Vec::new();
        run(&mut input.as_bytes(), &mut out, &Options::default()).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn parsed(text: &str) -> Result<ProgramSpec, String> {
        parse(serde_json::from_str(text).unwrap()).map_err(|error| match error {
            BadRecord::Rejected(reason) | BadRecord::Unsupported(reason) => reason,
        })
    }

    #[test]
    fn a_record_becomes_a_program() {
        let program = parsed(
            r#"{"name": "p", "prog_type": "sock_ops", "expected_attach_type": "cgroup_sock_ops", "prog_flags": 1, "extra": [],
                "insns": "18110000000000000000000000000000b7000000010000009500000000000000",
                "maps": [{"type": "hash_of_maps", "key_size": 4, "value_size": 8, "max_entries": 16, "map_flags": 2,
                          "special": [["bpf_spin_lock", 4]], "inner": {"type": 2, "key_size": 4, "value_size": 1,
                          "max_entries": 9}, "data": "00ff", "frozen": true, "insns": [0]}]}"#,
        )
        .unwrap();
        assert_eq!((program.prog_type, program.expected_attach_type, program.prog_flags), (ProgType::SOCK_OPS, 3, 1));
        assert_eq!(program.insns.len(), 4);
        assert_eq!(program.map_loads, [MapLoad { insn: 0, map: 0 }]);
        let inner =
            MapSpec { map_type: MapType::ARRAY, key_size: 4, value_size: 1, max_entries: 9, ..MapSpec::default() };
        assert_eq!(
            program.maps,
            [MapSpec {
                map_type: MapType::HASH_OF_MAPS,
                key_size: 4,
                value_size: 8,
                max_entries: 16,
                map_flags: 2,
                special: vec![SpecialField { name: "bpf_spin_lock".into(), offset: 4, ..SpecialField::default() }],
                inner: Some(Box::new(inner)),
                data: Some(vec![0, 0xff]),
                frozen: true,
                ..MapSpec::default()
            }]
        );
    }

    #[test]
    fn what_is_missing_has_the_kernels_default() {
        let program = parsed(r#"{"prog_type": 16, "insns": "9500000000000000", "maps": null, "prog_flags": null}"#);
        let program = program.unwrap();
        assert_eq!((program.prog_type, program.expected_attach_type), (ProgType::SK_MSG, 0));
        assert_eq!((program.prog_flags, program.maps.len()), (0, 0));
        let elsewhere =
            r#"{"prog_type": "sk_msg", "expected_attach_type": "sk_skb_verdict", "insns": "9500000000000000"}"#;
        assert_eq!(parsed(elsewhere).unwrap().expected_attach_type, AttachType::SK_SKB_VERDICT.number());
        let traced = r#"{"prog_type": "tracing", "expected_attach_type": "BPF_TRACE_ITER", "attach_target": "task_file",
            "insns": "9500000000000000"}"#;
        let traced = parsed(&traced.replace('\n', "")).unwrap();
        assert_eq!(traced.expected_attach_type, AttachType::TRACE_ITER.number());
        assert_eq!(traced.attach_target.as_deref(), Some("task_file"));
        let nowhere = r#"{"prog_type": "xdp", "expected_attach_type": "no_such", "insns": "9500000000000000"}"#;
        assert!(parsed(nowhere).unwrap_err().contains("no attach type"));
    }

    #[test]
    fn every_line_is_answered_in_order() {
        let answers = judge_all(concat!(
            "no json\n",
            "\n",
            r#"{"name": "half", "prog_type": "sk_msg", "insns": "95000000000000"}"#,
            "\n",
            r#"{"name": "hex", "prog_type": "sk_msg", "insns": "zz"}"#,
            "\n",
            r#"{"name": "type", "prog_type": "no_such", "insns": ""}"#,
            "\n",
            r#"{"name": "map", "prog_type": "sk_msg", "insns": "", "maps": [{"type": "no_such"}]}"#,
            "\n",
            r#"{"name": "missing", "prog_type": "sk_msg"}"#,
            "\n",
            r#"{"name": 17, "prog_type": "sk_msg", "insns": 5}"#,
            "\n",
            "[1, 2]\n",
            "\u{0}\n",
            r#"{"name": "last", "prog_type": "sk_msg", "insns": "b7000000010000009500000000000000"}"#,
        ));
        let seen: Vec<_> =
            answers.iter().map(|answer| (answer["name"].clone(), answer["verdict"].as_str().unwrap())).collect();
        assert_eq!(
            seen[..9],
            [
                (Value::Null, "reject"),
                ("half".into(), "reject"),
                ("hex".into(), "reject"),
                ("type".into(), "unsupported"),
                ("map".into(), "unsupported"),
                ("missing".into(), "reject"),
                (17.into(), "reject"),
                (Value::Null, "reject"),
                (Value::Null, "reject"),
            ]
        );
        assert_eq!(seen[9].0, Value::from("last"));
        for answer in &answers[..9] {
            assert!(!answer["reason"].as_str().unwrap().is_empty(), "{answer}");
        }
    }

    #[test]
    fn an_overlong_line_costs_no_memory_and_no_other_line() {
        let mut long = vec![b'x'; MAX_LINE as usize + 100];
        long.extend_from_slice(b"\n{\"name\": \"next\", \"prog_type\": \"sk_msg\", \"insns\": \"zz\"}\n");
        let mut out = Vec::new();
        run(&mut long.as_slice(), &mut out, &Options::default()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().next().unwrap().contains("longer than"), "{text}");
        assert!(text.lines().nth(1).unwrap().contains("next"), "{text}");
    }

    #[test]
    fn bytes_that_are_no_text_are_answered() {
        let mut out = Vec::new();
        run(&mut &b"\xff\xfe\n"[..], &mut out, &Options::default()).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("\"verdict\":\"reject\""));
    }
}
