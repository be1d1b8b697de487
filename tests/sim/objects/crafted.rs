//! BTF of programs that wants to hurt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sidestep::btf::BtfBuilder;
use sidestep::verifier_sim::types::ProgramTypes;

/// One answer takes milliseconds in a release build; this leaves room for a build without optimisation on a busy processor.
const LONGEST: Duration = Duration::from_secs(20);
/// The most members that one structure has.
const MOST: usize = 0xffff;

fn read(btf: BtfBuilder) -> Arc<ProgramTypes> {
    let (bytes, start) = (btf.finish(), Instant::now());
    let types = ProgramTypes::parse(bytes).unwrap();
    assert!(start.elapsed() < LONGEST, "{:?}", start.elapsed());
    Arc::new(types)
}

#[test]
fn very_many_members_are_not_looked_at() {
    let mut btf = <BtfBuilder>::new();
    let int = btf.int("int", 4, false);
    let lock = btf.structure("bpf_spin_lock", 4, &[("val", int, 0)]);
    let members: Vec<_> = (0..MOST as u32).map(|number| ("a", int, number)).collect();
    let wide = btf.structure("wide", 4, &members);
    let nested: Vec<_> = (0..MOST as u32).map(|_| ("b", wide, 0)).chain([("lock", lock, 0)]).skip(1).collect();
    for _ in 0..10 {
        btf.structure("nested", 4, &nested);
    }
    read(btf);
}

#[test]
fn structures_that_contain_themselves_are_refused() {
    let mut btf = <BtfBuilder>::new();
    let int = btf.int("int", 4, false);
    let lock = btf.structure("bpf_spin_lock", 4, &[("val", int, 0)]);
    let own = lock + 1;
    btf.structure("own", 8, &[("lock", lock, 0), ("own", own, 32), ("own", own, 32)]);
    let array = btf.array(own + 1, int, 1 << 30);
    btf.structure("arrays", 8, &[("lock", lock, 0), ("array", array, 0)]);
    read(btf);
}

#[test]
fn very_many_lists_with_very_many_tags_are_not_looked_at() {
    let mut btf = <BtfBuilder>::new();
    let long = btf.int("long", 8, false);
    let list = btf.structure("bpf_list_head", 16, &[("a", long, 0), ("b", long, 64)]);
    for number in 0..30_000 {
        let lists = btf.structure("lists", 16, &[("list", list, 0)]);
        btf.argument_tag(&format!("contains:lists{number}:node"), lists, 0);
    }
    read(btf);
}
