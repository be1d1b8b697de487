//! The way from a type to a field in it: access strings such as `0:2:1`, by the object's BTF.

use super::fault::Fault;
use crate::btf::{Array, Btf, Head, Kind};

/// Most characters of what is said of a relocation.
const MAX_TEXT: usize = 200;

/// Most numbers in an access string, and most steps of a way (`BPF_CORE_SPEC_MAX_LEN`).
pub(super) const MAX_STEPS: usize = 64;

/// One step that means something in C. Anonymous structs and unions on the way are not steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To an element of this type. The first step of every way is such a one: its type is the whole.
    Element { of: u32, index: u32 },
    /// To a member of this struct or union.
    Member { of: u32, index: u32 },
}

/// A way, and how far it leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) steps: Vec<Step>,
    pub(super) bit_offset: u32,
}

impl Path {
    pub(super) fn advance(&mut self, bits: Option<u32>) -> Result<(), Fault> {
        let sum = bits.and_then(|bits| self.bit_offset.checked_add(bits));
        self.bit_offset = sum.ok_or_else(|| Fault::refused("the field lies too far from the start of its type"))?;
        Ok(())
    }

    /// Goes on to an element.
    pub(super) fn element(&mut self, btf: &Btf, of: u32, index: u32) -> Result<(), Fault> {
        let size = btf.size_of(of).ok_or_else(|| Fault::refused("a type on the way to the field has no size"))?;
        self.advance(size.checked_mul(8).and_then(|bits| bits.checked_mul(index)))?;
        self.steps.push(Step::Element { of, index });
        Ok(())
    }

    /// Whether the array that the way has led to has this element. A last member that is an array of no elements has every one.
    pub(super) fn has_element(&self, btf: &Btf, array: Array, index: u32) -> bool {
        let is_last = |of: u32, member: u32| btf.head(of).is_some_and(|head| member as usize + 1 == head.parts);
        let flexible = array.count == 0
            && matches!(self.steps.last(), Some(&Step::Member { of, index: member }) if is_last(of, member));
        flexible || index < array.count
    }
}

/// The numbers of an access string.
pub(super) fn numbers(access: &[u8]) -> Result<Vec<u32>, Fault> {
    let wrong = || Fault::refused(cut(format!("it has the access string {:?}", String::from_utf8_lossy(access))));
    let number = |part: &[u8]| std::str::from_utf8(part).ok()?.parse().ok();
    let numbers: Option<Vec<u32>> = access.split(|byte| *byte == b':').take(MAX_STEPS + 1).map(number).collect();
    numbers.filter(|numbers| numbers.len() <= MAX_STEPS).ok_or_else(wrong)
}

/// What a type is under its typedefs, qualifiers and tags; 0 for void.
pub(super) fn skip(btf: &Btf, id: u32) -> Result<u32, Fault> {
    btf.resolve_or_void(id).ok_or_else(|| Fault::refused("a type refers to one that is missing, or to itself"))
}

/// The way that these numbers describe, from the type `root`.
pub(super) fn follow(btf: &Btf, root: u32, numbers: &[u32]) -> Result<Path, Fault> {
    let mut path = Path::default();
    let mut id = skip(btf, root)?;
    for (at, &index) in numbers.iter().enumerate() {
        if at == 0 {
            path.element(btf, id, index)?;
            continue;
        }
        id = skip(btf, id)?;
        let head = btf.head(id).ok_or_else(|| Fault::refused("the access string leads into void"))?;
        if head.is_composite() {
            id = member(btf, &mut path, id, head, index)?;
        } else if let Some(array) = btf.array(head) {
            id = skip(btf, array.element)?;
            if !path.has_element(btf, array, index) {
                return Err(Fault::refused("the access string leads beyond the end of an array"));
            }
            path.element(btf, id, index)?;
        } else {
            return Err(Fault::refused("the access string leads into what has no parts"));
        }
    }
    Ok(path)
}

fn member(btf: &Btf, path: &mut Path, of: u32, head: Head, index: u32) -> Result<u32, Fault> {
    let member = btf.member_of(head, index as usize);
    let member = member.ok_or_else(|| Fault::refused("the access string leads beyond the last member"))?;
    path.advance(Some(member.bit_offset))?;
    if btf.is_named(member.name) {
        path.steps.push(Step::Member { of, index });
    }
    Ok(member.type_id)
}

/// The type and the way in words: `struct task_struct.se.load`.
pub(super) fn describe(btf: &Btf, root: u32, path: &Path) -> String {
    let mut text = describe_type(btf, root);
    for step in path.steps.iter().skip(1) {
        if text.len() > MAX_TEXT {
            break;
        }
        match *step {
            Step::Element { index, .. } => text.push_str(&format!("[{index}]")),
            Step::Member { of, index } => {
                let member = btf.head(of).and_then(|head| btf.member_of(head, index as usize));
                text.push('.');
                text.push_str(&member.map_or_else(String::new, |member| name(btf, member.name)));
            }
        }
    }
    text
}

/// A name as text. The object may come from anywhere: what does not print is escaped.
pub(super) fn name(btf: &Btf, at: u32) -> String {
    String::from_utf8_lossy(btf.short_string(at).unwrap_or_default()).escape_debug().collect()
}

/// A text of bounded length.
pub(super) fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(at);
        text.push_str("...");
    }
    text
}

/// A type in words: `struct task_struct`.
pub(super) fn describe_type(btf: &Btf, id: u32) -> String {
    let word = match btf.kind(id) {
        Some(Kind::Struct) => "struct ",
        Some(Kind::Union) => "union ",
        Some(Kind::Enum | Kind::Enum64) => "enum ",
        _ => "",
    };
    match btf.head(id).map(|head| name(btf, head.name)).filter(|name| !name.is_empty()) {
        Some(name) => format!("{word}{name}"),
        None => format!("{word}type {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::BtfBuilder;

    /// ```c
    /// struct inner { int a; int b[3]; };
    /// struct outer { long head; union { int x; struct inner deep[2]; }; int tail[]; };
    /// ```
    fn sample() -> (Btf, u32) {
        let mut builder = <BtfBuilder>::new();
        let (int, long) = (builder.int("int", 4, true), builder.int("long", 8, true));
        let (three, none) = (builder.array(int, int, 3), builder.array(int, int, 0));
        let inner = builder.structure("inner", 16, &[("a", int, 0), ("b", three, 32)]);
        let two = builder.array(inner, int, 2);
        let anonymous = builder.union("", 32, &[("x", int), ("deep", two)]);
        let outer = builder.structure("outer", 40, &[("head", long, 0), ("", anonymous, 64), ("tail", none, 320)]);
        let alias = builder.typedef("outer_t", outer);
        (Btf::parse(builder.finish()).unwrap(), alias)
    }

    #[test]
    fn ways_go_through_arrays_and_what_has_no_name() {
        let (btf, root) = sample();
        for (access, bits, steps, text) in [
            ("0", 0, 1, "outer_t"),
            ("2", 640, 1, "outer_t"),
            ("0:0", 0, 2, "outer_t.head"),
            ("0:1", 64, 1, "outer_t"),
            ("0:1:0", 64, 2, "outer_t.x"),
            ("0:1:1:1:1:2", 64 + 128 + 32 + 64, 5, "outer_t.deep[1].b[2]"),
            ("1:2:7", 320 + 320 + 224, 3, "outer_t.tail[7]"),
        ] {
            let path = follow(&btf, root, &numbers(access.as_bytes()).unwrap()).unwrap();
            assert_eq!((path.bit_offset, path.steps.len()), (bits, steps), "{access}");
            assert_eq!(describe(&btf, root, &path), text);
        }
    }

    #[test]
    fn wrong_ways_are_refused() {
        let (btf, root) = sample();
        for access in ["", ":", "0:", "a", "-1", "0:3", "0:0:0", "0:1:1:2", "0:1:1:0:1:3", "4294967295", "4294967296"] {
            let way = numbers(access.as_bytes()).and_then(|numbers| follow(&btf, root, &numbers));
            assert!(matches!(way, Err(Fault::Refused(_))), "{access}: {way:?}");
        }
        assert!(follow(&btf, 0, &[0]).is_err() && follow(&btf, 99, &[0]).is_err());
        assert_eq!(numbers(vec!["0"; MAX_STEPS].join(":").as_bytes()).map(|all| all.len()), Ok(MAX_STEPS));
        assert!(numbers(vec!["0"; MAX_STEPS + 1].join(":").as_bytes()).is_err());
    }

    /// A name that ends the line, or takes control of the terminal, does neither.
    #[test]
    fn texts_are_short_and_print() {
        let mut builder = <BtfBuilder>::new();
        let int = builder.int("int", 4, true);
        let odd = builder.structure("a\nb", 4, &[("\x1b[2J", int, 0)]);
        let long = "x".repeat(300);
        let long = long.as_str();
        let inner = builder.structure("inner", 4, &[(long, int, 0)]);
        let outer = builder.structure("outer", 4, &[(long, inner, 0)]);
        let btf = Btf::parse(builder.finish()).unwrap();
        let text = |root, numbers: &[u32]| describe(&btf, root, &follow(&btf, root, numbers).unwrap());
        assert_eq!(text(odd, &[0, 0]), "struct a\\nb.\\u{1b}[2J");
        // The second name is not read any more.
        assert_eq!(text(outer, &[0, 0, 0]), format!("struct outer.{long}"));
        let text = cut(text(outer, &[0, 0, 0]));
        assert!(
            text.starts_with("struct outer.xxx") && text.ends_with("xxx...") && text.len() == MAX_TEXT + 3,
            "{text}"
        );
        assert_eq!(cut("short".into()), "short");
        let Err(Fault::Refused(why)) = numbers(&[b'\n'; 511]) else { panic!("it is an access string") };
        assert!(why.starts_with("it has the access string \"\\n\\n") && why.len() < 250, "{why}");
    }

    #[test]
    fn a_type_that_refers_to_itself_is_refused() {
        let mut builder = <BtfBuilder>::new();
        builder.typedef("endless", 1);
        let btf = Btf::parse(builder.finish()).unwrap();
        assert!(skip(&btf, 1).is_err() && skip(&btf, 2).is_err());
        assert_eq!(skip(&btf, 0), Ok(0));
    }
}
