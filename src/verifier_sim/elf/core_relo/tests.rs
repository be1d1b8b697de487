//! Each kind of relocation, by types that are made here.

use std::collections::BTreeMap;

use super::decision::{Decider, Decision, Resize};
use super::fault::Fault;
use super::kind::Kind;
use super::records::Record;
use super::work::MOST;
use super::{CoreRelocations, Relocated};
use crate::asm::Insn;
use crate::btf::{Btf, BtfBuilder};
use crate::verifier_sim::types::KernelTypes;

/// The object's types, with the type and the access string that are asked about.
struct Local {
    btf: Btf,
    type_id: u32,
    access: u32,
}

fn local(access: &str, types: impl FnOnce(&mut BtfBuilder) -> u32) -> Local {
    let mut builder = <BtfBuilder>::new();
    let type_id = types(&mut builder);
    let access = builder.string(access);
    Local { btf: Btf::parse(builder.finish()).unwrap(), type_id, access }
}

fn kernel(types: impl FnOnce(&mut BtfBuilder)) -> KernelTypes {
    let mut builder = <BtfBuilder>::new();
    types(&mut builder);
    KernelTypes::parse(builder.finish()).unwrap()
}

impl Local {
    fn record(&self, kind: Kind) -> Record {
        Record { section: 0, offset: 0, type_id: self.type_id, access: self.access, kind: kind as u32 }
    }

    fn decide(&self, kernel: &KernelTypes, kind: Kind) -> Result<Decision, Fault> {
        Decider::new(&self.btf, Some(kernel)).decide(&self.record(kind))
    }

    /// What comes into the instruction.
    fn number(&self, kernel: &KernelTypes, kind: Kind) -> Option<u64> {
        self.decide(kernel, kind).unwrap().number
    }
}

/// `struct pair { int a; TYPE b; }` with `b` at this byte.
fn pair(builder: &mut BtfBuilder, of: u32, at: u32) -> u32 {
    let int = builder.int("int", 4, true);
    builder.structure("pair", at + 8, &[("a", int, 0), ("b", of, at * 8)])
}

fn int_pair(builder: &mut BtfBuilder, at: u32) -> u32 {
    let int = builder.int("int", 4, true);
    pair(builder, int, at)
}

#[test]
fn a_field_that_has_moved_is_found() {
    let local = local("0:1", |types| int_pair(types, 4));
    let kernel = kernel(|types| {
        int_pair(types, 24);
    });
    let offset = local.decide(&kernel, Kind::FieldByteOffset).unwrap();
    assert_eq!(offset, Decision { expected: Some(4), number: Some(24), resize: None });
    assert_eq!(local.number(&kernel, Kind::FieldByteSize), Some(4));
    assert_eq!(local.number(&kernel, Kind::FieldExists), Some(1));
    assert_eq!(local.number(&kernel, Kind::FieldSigned), Some(1));
    assert_eq!(local.number(&kernel, Kind::FieldRshiftU64), Some(32));
}

#[test]
fn a_field_that_is_missing_exists_not_and_has_no_place() {
    let local = local("0:1", |types| int_pair(types, 4));
    let without = kernel(|types| {
        types.structure("pair", 4, &[]);
    });
    // One of this name has another kind of type.
    let other = kernel(|types| {
        let int = types.int("int", 4, true);
        let pointer = types.pointer(int);
        pair(types, pointer, 8);
    });
    for kernel in [&without, &other, &kernel(|_| ())] {
        let exists = local.decide(kernel, Kind::FieldExists).unwrap();
        assert_eq!(exists, Decision { expected: Some(1), number: Some(0), resize: None });
        for kind in [Kind::FieldByteOffset, Kind::FieldByteSize, Kind::FieldSigned, Kind::FieldLshiftU64] {
            assert_eq!(local.number(kernel, kind), None, "{kind:?}");
        }
    }
}

#[test]
fn variants_mean_the_same_type() {
    let local = local("0:0", |types| {
        let int = types.int("int", 4, true);
        types.structure("pair___mine", 4, &[("b", int, 0)])
    });
    let kernel = kernel(|types| {
        int_pair(types, 16);
    });
    assert_eq!(local.number(&kernel, Kind::FieldByteOffset), Some(16));
}

#[test]
fn members_without_a_name_and_arrays_are_passed_through() {
    let local = local("0:0:0:2", |types| {
        let int = types.int("int", 4, true);
        let array = types.array(int, int, 4);
        let inner = types.structure("", 16, &[("numbers", array, 0)]);
        types.structure("outer", 16, &[("", inner, 0)])
    });
    let outer = |count: u32, last: bool| {
        kernel(move |types| {
            let (int, short) = (types.int("int", 4, true), types.int("short", 2, true));
            let array = types.array(short, int, count);
            let union = types.union("", 32, &[("x", int), ("numbers", array)]);
            let behind: &[_] = if last { &[] } else { &[("y", int, 512)] };
            types.structure("outer", 64, &[&[("head", int, 0), ("", union, 256)], behind].concat());
        })
    };
    assert_eq!(local.number(&outer(3, false), Kind::FieldByteOffset), Some(32 + 2 * 2));
    assert_eq!(local.number(&outer(2, false), Kind::FieldExists), Some(0));
    // No elements mean any number of them, at the end of what the array is in.
    assert_eq!(local.number(&outer(0, false), Kind::FieldExists), Some(1));
    let elsewhere = kernel(|types| {
        let int = types.int("int", 4, true);
        let array = types.array(int, int, 0);
        types.structure("outer", 8, &[("numbers", array, 0), ("y", int, 0)]);
    });
    assert_eq!(local.number(&elsewhere, Kind::FieldExists), Some(0));
}

/// Makes a type.
type Make = fn(&mut BtfBuilder) -> u32;

/// A field of the type `ours` in the object, and of the type `theirs` in the kernel.
fn fields(ours: Make, theirs: Make) -> (Local, KernelTypes) {
    let local = local("0:1", |types| {
        let of = ours(types);
        pair(types, of, 8)
    });
    let kernel = kernel(|types| {
        let of = theirs(types);
        pair(types, of, 8);
    });
    (local, kernel)
}

#[test]
fn fields_have_types_of_one_kind() {
    let alike = |ours: Make, theirs: Make| {
        let (local, kernel) = fields(ours, theirs);
        local.number(&kernel, Kind::FieldExists) == Some(1)
    };
    let float: Make = |types| types.float("float", 4);
    let double: Make = |types| types.float("double", 8);
    let int: Make = |types| types.int("int", 4, true);
    let color: Make = |types| types.enumeration("color", &[]);
    let other: Make = |types| types.enumeration("other", &[]);
    let unnamed: Make = |types| types.enumeration("", &[]);
    let structure: Make = |types| types.structure("part", 8, &[]);
    let union: Make = |types| types.union("whole", 8, &[]);
    for (ours, theirs) in [(float, double), (color, color), (color, unnamed), (structure, union)] {
        assert!(alike(ours, theirs) && alike(theirs, ours));
    }
    for (ours, theirs) in [(float, int), (color, other), (color, int), (structure, int)] {
        assert!(!alike(ours, theirs) && !alike(theirs, ours));
    }
}

/// A load takes the kernel's size if the value stays the same.
#[test]
fn loads_are_resized_if_that_is_sound() {
    let sizes = |ours: Make, theirs: Make| {
        let (local, kernel) = fields(ours, theirs);
        local.decide(&kernel, Kind::FieldByteOffset).unwrap().resize
    };
    let word: Make = |types| types.int("unsigned int", 4, false);
    let double: Make = |types| types.int("unsigned long", 8, false);
    assert_eq!(sizes(word, word), None);
    assert_eq!(sizes(word, double), Some(Resize { from: 4, to: 8, is_sound: true }));
    assert_eq!(sizes(double, word), Some(Resize { from: 8, to: 4, is_sound: true }));
    let signed: Make = |types| types.int("long", 8, true);
    assert_eq!(sizes(word, signed), Some(Resize { from: 4, to: 8, is_sound: false }));
    let narrow: Make = |types| types.enumeration("color", &[]);
    let wide: Make = |types| types.wide_enumeration("color", &[]);
    assert_eq!(sizes(narrow, wide), Some(Resize { from: 4, to: 8, is_sound: false }));
}

#[test]
fn types_have_a_number_and_a_size_in_both() {
    let local = local("0", |types| int_pair(types, 4));
    let kernel = kernel(|types| {
        types.int("other", 4, false);
        int_pair(types, 24);
    });
    let id = kernel.named(b"pair").unwrap();
    assert_eq!(local.number(&kernel, Kind::TypeIdLocal), Some(local.type_id.into()));
    let target = Decision { expected: None, number: Some(id.into()), resize: None };
    assert_eq!(local.decide(&kernel, Kind::TypeIdTarget), Ok(target));
    assert_eq!(local.number(&kernel, Kind::TypeExists), Some(1));
    let size = Decision { expected: Some(12), number: Some(32), resize: None };
    assert_eq!(local.decide(&kernel, Kind::TypeSize), Ok(size));
    let nothing = self::kernel(|_| ());
    for kind in [Kind::TypeIdTarget, Kind::TypeExists, Kind::TypeSize, Kind::TypeMatches] {
        assert_eq!(local.number(&nothing, kind), Some(0), "{kind:?}");
    }
    assert_eq!(local.number(&nothing, Kind::TypeIdLocal), Some(local.type_id.into()));
}

#[test]
fn functions_are_alike_if_their_parameters_are() {
    let typedef = |types: &mut BtfBuilder, parameters: u32, pointer: bool| {
        let int = types.int("int", 4, true);
        let to = types.pointer(int);
        let one = ("", if pointer { to } else { int });
        let proto = types.func_proto(0, &vec![one; parameters as usize]);
        let pointer = types.pointer(proto);
        types.typedef("callback_t", pointer)
    };
    let local = local("0", |types| typedef(types, 2, true));
    for (parameters, pointer, alike) in [(2, true, 1), (3, true, 0), (2, false, 0)] {
        let kernel = kernel(|types| {
            typedef(types, parameters, pointer);
        });
        for kind in [Kind::TypeExists, Kind::TypeMatches] {
            assert_eq!(local.number(&kernel, kind), Some(alike), "{kind:?} {parameters} {pointer}");
        }
    }
}

/// `struct whole { struct part *to; enum color color; struct part inside; }`, of types that this makes.
fn whole(types: &mut BtfBuilder, color: &[(&str, u32)], part: u32, declared: u32) -> u32 {
    let to = types.pointer(declared);
    let color = types.enumeration("color", color);
    types.structure("whole", 24, &[("to", to, 0), ("color", color, 64), ("inside", part, 96)])
}

#[test]
fn a_type_matches_that_has_all_the_other_has() {
    let part = |types: &mut BtfBuilder, name: &str, bytes: u32| {
        let int = types.int("int", bytes, true);
        types.structure("part", 8, &[(name, int, 0)])
    };
    let local = local("0", |types| {
        let part = part(types, "x", 4);
        whole(types, &[("RED", 1)], part, part)
    });
    let matches = |color: &[(&str, u32)], name: &str, bytes: u32, declared: Option<bool>| {
        let kernel = kernel(|types| {
            let part = part(types, name, bytes);
            let declared = declared.map_or(part, |is_union| types.forward("part", is_union));
            whole(types, color, part, declared);
        });
        assert_eq!(local.number(&kernel, Kind::TypeExists), Some(1));
        local.number(&kernel, Kind::TypeMatches).unwrap()
    };
    assert_eq!(matches(&[("RED", 1)], "x", 4, None), 1);
    // Values of other numbers, more of them, and a type that is only declared behind a pointer.
    assert_eq!(matches(&[("BLUE", 1), ("RED", 2)], "x", 4, Some(false)), 1);
    assert_eq!(matches(&[("RED", 1)], "x", 4, Some(true)), 0);
    assert_eq!(matches(&[("BLUE", 1)], "x", 4, None), 0);
    assert_eq!(matches(&[("RED", 1)], "y", 4, None), 0);
    assert_eq!(matches(&[("RED", 1)], "x", 8, None), 0);
}

#[test]
fn values_are_found_by_name() {
    let local = local("1", |types| types.enumeration("color", &[("RED", 1), ("BLUE___mine", 2)]));
    let narrow = kernel(|types| {
        types.enumeration("color", &[("BLUE", u32::MAX), ("RED", 7)]);
    });
    let wide = kernel(|types| {
        types.wide_enumeration("color", &[("BLUE", 1 << 40)]);
    });
    let none = kernel(|types| {
        types.enumeration("color", &[("RED", 1)]);
    });
    for (kernel, value) in [(&narrow, Some(u64::MAX)), (&wide, Some(1 << 40)), (&none, None)] {
        assert_eq!(local.number(kernel, Kind::EnumvalValue), value);
        assert_eq!(local.number(kernel, Kind::EnumvalExists), Some(value.is_some().into()));
    }
    assert_eq!(local.decide(&none, Kind::EnumvalValue).unwrap().expected, Some(2));
}

/// What one relocation has ruled out stays ruled out for the others of the object, as with libbpf.
#[test]
fn types_of_one_name_must_lead_to_the_same() {
    let two = |second: u32| {
        kernel(move |types| {
            int_pair(types, 8);
            let int = types.int("int", 4, true);
            types.structure("pair___other", 64, &[("b", int, second * 8), ("c", int, 0)]);
        })
    };
    let local = local("0:1", |types| int_pair(types, 4));
    assert_eq!(local.number(&two(8), Kind::FieldByteOffset), Some(8));
    let error = local.decide(&two(16), Kind::FieldByteOffset).unwrap_err();
    assert!(matches!(&error, Fault::Refused(why) if why.contains("ambiguous")), "{error:?}");
    // Only the first has `a`: after a question for it, the second is not asked any more.
    let mut first = 0;
    let local = self::local("0:1", |types| {
        first = types.string("0:0");
        int_pair(types, 4)
    });
    let kernel = two(16);
    let mut decider = Decider::new(&local.btf, Some(&kernel));
    let mut number = |access| {
        let decision = decider.decide(&Record { access, ..local.record(Kind::FieldByteOffset) });
        decision.map(|decision| decision.number)
    };
    assert!(number(local.access).is_err());
    assert_eq!((number(first), number(local.access)), (Ok(Some(0)), Ok(Some(8))));
}

#[test]
fn without_the_kernels_types_only_local_numbers_are_known() {
    let local = local("0", |types| int_pair(types, 4));
    let decide = |kind| Decider::new(&local.btf, None).decide(&local.record(kind));
    assert_eq!(decide(Kind::TypeIdLocal).unwrap().number, Some(local.type_id.into()));
    assert_eq!(decide(Kind::TypeExists), Err(Fault::NeedsTypes));
}

#[test]
fn wrong_records_are_refused() {
    let kernel = kernel(|_| ());
    let refused = |local: &Local, record: Record| {
        let decision = Decider::new(&local.btf, Some(&kernel)).decide(&record);
        assert!(matches!(decision, Err(Fault::Refused(_))), "{decision:?}");
    };
    let good = local("0:1", |types| int_pair(types, 4));
    refused(&good, Record { kind: 13, ..good.record(Kind::FieldExists) });
    refused(&good, Record { type_id: 99, ..good.record(Kind::FieldExists) });
    refused(&good, Record { access: 9999, ..good.record(Kind::FieldExists) });
    refused(&good, good.record(Kind::TypeExists));
    refused(&good, good.record(Kind::EnumvalExists));
    let unnamed = local("0", |types| types.structure("", 4, &[]));
    refused(&unnamed, unnamed.record(Kind::TypeExists));
}

/// `count` structs, each of which has the one before twice.
fn doubling(types: &mut BtfBuilder, count: usize) -> u32 {
    let mut inner = types.int("int", 4, true);
    for _ in 0..count {
        inner = types.structure("level", 4, &[("x", inner, 0), ("y", inner, 0)]);
    }
    inner
}

/// Types that contain themselves, or double with each level, end soon.
#[test]
fn crafted_types_take_no_time() {
    // 31 levels of two members each, of which the last differ.
    let mut field = 0;
    let local = local("0", |types| {
        field = types.string("0:0");
        let inner = doubling(types, 30);
        types.structure("level", 4, &[("x", inner, 0), ("z", 1, 0)])
    });
    let doubled = kernel(|types| {
        doubling(types, 31);
    });
    let why = |decision: Result<Decision, Fault>| match decision {
        Err(Fault::Refused(why)) => why.into_owned(),
        other => panic!("{other:?}"),
    };
    let mut decider = Decider::new(&local.btf, Some(&doubled));
    let matches = why(decider.decide(&local.record(Kind::TypeMatches)));
    assert!(matches.contains("take too long"), "{matches}");
    // Then the other relocations of the object fail at once, also those that need none of the kernel's types.
    assert_eq!(decider.left(), 0);
    assert!(why(decider.decide(&local.record(Kind::TypeIdLocal))).contains("take too long"));

    // A struct of itself, in which no member has a name: `x` is in none of its levels.
    let endless = kernel(|types| {
        types.structure("level", 4, &[("", 1, 0)]);
    });
    let mut decider = Decider::new(&local.btf, Some(&endless));
    let nested = why(decider.decide(&Record { access: field, ..local.record(Kind::FieldExists) }));
    assert!(nested.contains("nested too deeply"), "{nested}");
    let spent = MOST - decider.left();
    assert!((64..200).contains(&spent), "{spent}");
}

/// What is asked again and again is not free, and a name is not longer than kernels allow.
#[test]
fn names_and_relocations_count_as_work() {
    let long = "x".repeat(1 << 20);
    let long = long.as_str();
    let mut field = 0;
    let local = local("0", |types| {
        field = types.string("0:0");
        let int = types.int("int", 4, true);
        types.structure("pair", 4, &[(long, int, 0)])
    });
    let kernel = kernel(|types| {
        let int = types.int("int", 4, true);
        types.structure("pair", 4, &[(long, int, 0)]);
    });
    let record = Record { access: field, ..local.record(Kind::FieldExists) };
    let mut decider = Decider::new(&local.btf, Some(&kernel));
    assert_eq!(decider.decide(&record).map(|decision| decision.number), Ok(Some(0)));
    let first = MOST - decider.left();
    let mut more = 0;
    for _ in 0..100 {
        let before = decider.left();
        assert!(decider.decide(&record).is_ok());
        more = before - decider.left();
        assert!(more >= 20, "{more}");
    }
    assert!((more..200).contains(&first), "{first} {more}");
}

/// Reasons in words of their own are kept for so many relocations and not for the rest.
#[test]
fn not_every_reason_is_kept() {
    const MANY: usize = 1002;
    let mut section = 0;
    let local = local("wrong", |types| {
        section = types.string("socket");
        int_pair(types, 4)
    });
    let mut words = vec![16, section, MANY as u32];
    words.extend((0..MANY as u32).flat_map(|slot| [slot * 8, local.type_id, local.access, 0]));
    let header = [32, 0, 0, 0, 0, 0, words.len() as u32 * 4];
    let mut ext = [0xeb9f_u16.to_ne_bytes(), [1, 0]].concat();
    ext.extend(header.into_iter().chain(words).flat_map(u32::to_ne_bytes));
    let mut insns = vec![Insn::default(); MANY];
    let mut sections = BTreeMap::from([("socket".to_owned(), (3, &mut insns))]);
    let relocated = Relocated::apply(&ext, &local.btf, None, &mut sections).unwrap();
    for slot in [0, 999, 1000, 1001] {
        let mut count = CoreRelocations::default();
        let error = relocated.count(&local.btf, 3, slot..slot + 1, 0, &mut count).unwrap_err().to_string();
        let what = format!("at byte {} of section \"socket\" (field_byte_offset of type {})", slot * 8, local.type_id);
        assert!(error.contains(&what), "{error}");
        assert_eq!(error.contains("it has the access string \"wrong\""), slot < 1000, "{error}");
        assert_eq!(error.contains("the reason is not kept"), slot >= 1000, "{error}");
    }
}
