//! Types by name, where a name may say which of several variants of a type it stands for: `task_struct___old`.

use crate::verifier_sim::types::KernelTypes;

/// What separates a name from its variant: as many underscores, and no more (`bpf_core_is_flavor_sep`).
const SEPARATOR: &[u8] = b"___";

/// A name without its variant, behind the last separator (`bpf_core_essential_name_len`).
pub(in crate::verifier_sim) fn essential(name: &[u8]) -> &[u8] {
    // One letter before it and one behind it are no underscores.
    let around = SEPARATOR.len() + 2;
    let is_separator = |window: &[u8]| matches!(window, [before, inner @ .., after] if *before != b'_' && inner == SEPARATOR && *after != b'_');
    match name.windows(around).rposition(is_separator) {
        Some(at) => &name[..=at],
        None => name,
    }
}

/// FNV-1a (Fowler, Noll, Vo), of 32 bits: it only spares comparisons.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl KernelTypes {
    /// The types of every kind whose names, whatever their variants, have the hash of `name`, in order: nearly always those that have
    /// this name. The caller compares the names, since in a crafted file all types can have one hash.
    pub(in crate::verifier_sim) fn alike(&self, name: &[u8]) -> impl Iterator<Item = u32> {
        let all = self.by_hash.get_or_init(|| {
            let named = (1..=self.btf.type_count()).filter_map(|id| {
                let name = self.btf.short_name(id).filter(|name| !name.is_empty())?;
                Some((hash(essential(name)), id))
            });
            let mut all: Vec<_> = named.collect();
            all.sort_unstable();
            all
        });
        let wanted = hash(essential(name));
        let from = all.partition_point(|(hash, _)| *hash < wanted);
        let alike = all[from..].iter().take_while(move |(hash, _)| *hash == wanted);
        alike.map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::BtfBuilder;

    #[test]
    fn the_last_three_underscores_between_other_letters_separate() {
        for (name, wanted) in [
            ("task_struct", "task_struct"),
            ("task_struct___old", "task_struct"),
            ("a___b___c", "a___b"),
            ("a____b", "a____b"),
            ("___b", "___b"),
            ("a___", "a___"),
            ("a___b", "a"),
            ("a___b__c", "a"),
            ("", ""),
        ] {
            assert_eq!(essential(name.as_bytes()), wanted.as_bytes(), "{name}");
        }
    }

    #[test]
    fn variants_are_found_in_order() {
        let mut builder = <BtfBuilder>::new();
        let int = builder.int("int", 4, true);
        let first = builder.structure("pair___one", 4, &[("a", int, 0)]);
        let alias = builder.typedef("pair", int);
        builder.structure("pairs", 4, &[]);
        let plain = builder.structure("pair", 4, &[]);
        let types = KernelTypes::parse(builder.finish()).unwrap();
        let found: Vec<_> = types.alike(b"pair___other").collect();
        assert_eq!(found, [first, alias, plain]);
        assert_eq!(types.alike(b"nothing").count(), 0);
    }
}
