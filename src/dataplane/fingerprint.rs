//! Fingerprints by which a newer binary knows what an older one has left in the kernel.

use crate::asm::Program;
use crate::dataplane::options::{Options, Tier};
use crate::dataplane::{DataPlane, MapDef, Policy};

/// To be raised when the meaning of a map's bytes changes and no size does.
const MEANING: u32 = 5;

impl DataPlane {
    /// Changes with everything two programs must agree on to serve the same sockets: the maps, the entry, and how
    /// sockets are paired and read. Programs of equal layout may take each other's place under traffic.
    pub fn layout(&self) -> u64 {
        let mut hash = Fnv::new();
        // The offsets differ only by kernel, and nothing in one outlives it.
        let Options { pairing, tier, readers, policy } = &self.options;
        // Of the policy, what a socket's state was written under; which sockets it admits may change at any time.
        let Policy { direction, opt_out, trust, .. } = policy;
        hash.number(MEANING);
        hash.bytes(pairing.name().as_bytes());
        hash.number(u32::from(*tier == Tier::Sticky));
        hash.number(*readers as u32);
        hash.number(*direction as u32);
        hash.number(u32::from(*opt_out));
        hash.number(u32::from(trust.cgroups));
        hash.number(u32::from(self.options.joins_later()));
        for MapDef { role, kind, key_size, value_size, max_entries, flags } in &self.maps {
            hash.bytes(role.name().as_bytes());
            for number in [*kind as u32, *key_size, *value_size, *max_entries, *flags] {
                hash.number(number);
            }
        }
        hash.program(&self.dispatcher);
        hash.0
    }

    /// Changes with any instruction of any program.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv::new();
        let always = [&self.sock_ops, &self.sk_msg];
        let perhaps = [&self.drain, &self.tally, &self.opt_out, &self.trusted, &self.receives, &self.splices];
        for program in always.into_iter().chain(perhaps.into_iter().flatten()) {
            hash.program(program);
        }
        hash.0
    }
}

/// FNV-1a (draft-eastlake-fnv): not for secrets, only for telling apart.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn number(&mut self, number: u32) {
        self.bytes(&number.to_le_bytes());
    }

    fn program(&mut self, program: &Program) {
        for insn in program.insns() {
            self.bytes(&insn.encode::<byteorder::LittleEndian>());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::dataplane::{Options, Pairing, Policy, Readers, Tier, build};

    fn plane() -> crate::dataplane::DataPlane {
        let policy = Policy::default();
        build(Options { pairing: Pairing::Sequence, tier: Tier::Sticky, readers: Readers::Any, policy }).unwrap()
    }

    #[test]
    fn the_layout_changes_with_maps_and_options_and_not_with_programs() {
        let [same, mut map, mut program, mut entry] = [plane(), plane(), plane(), plane()];
        assert_eq!((plane().layout(), plane().fingerprint()), (same.layout(), same.fingerprint()));
        map.maps[1].value_size += 8;
        assert_ne!(map.layout(), same.layout());
        program.sk_msg = plane().sock_ops;
        assert_eq!(program.layout(), same.layout());
        assert_ne!(program.fingerprint(), same.fingerprint());
        entry.dispatcher = plane().sk_msg;
        assert_ne!(entry.layout(), same.layout());
        let options = Options { readers: Readers::NonBlocking, ..same.options.clone() };
        assert_ne!(build(options).unwrap().layout(), same.layout());
    }
}
