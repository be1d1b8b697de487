//! A finished program: slots, and what is known about each.

use std::collections::BTreeMap;
use std::panic::Location;

use byteorder::{ByteOrder, NativeEndian};

use super::{Check, Error, Insn};

/// A map by its index in a list that the caller keeps; becomes a descriptor at encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapRef(pub u32);

/// Instructions with their origins, comments and labels.
///
/// In [`Program::insns`] the immediate of a map load is the number of its [`MapRef`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    pub(super) insns: Vec<Insn>,
    pub(super) origins: Vec<Option<&'static Location<'static>>>,
    pub(super) comments: BTreeMap<usize, String>,
    pub(super) labels: BTreeMap<usize, Vec<String>>,
    pub(super) maps: Vec<(usize, MapRef)>,
    pub(super) checks: Vec<Check>,
}

impl Program {
    /// A program about which nothing is known but its slots.
    pub fn from_insns(insns: Vec<Insn>) -> Self {
        Self { origins: vec![None; insns.len()], insns, ..Self::default() }
    }

    /// The slots.
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }

    /// The slots that load a map or an address in its value, in order, with the map.
    pub fn maps(&self) -> &[(usize, MapRef)] {
        &self.maps
    }

    /// The map that this slot loads, if it does.
    pub fn map_at(&self, slot: usize) -> Option<MapRef> {
        let found = self.maps.binary_search_by_key(&slot, |(at, _)| *at).ok()?;
        self.maps.get(found).map(|(_, map)| *map)
    }

    /// The Rust line that emitted this slot.
    pub fn origin(&self, slot: usize) -> Option<&'static Location<'static>> {
        self.origins.get(slot).copied().flatten()
    }

    /// The comment on this slot; several comments are joined by newlines.
    pub fn comment(&self, slot: usize) -> Option<&str> {
        self.comments.get(&slot).map(String::as_str)
    }

    /// The name of the first label bound to this slot.
    pub fn label_at(&self, slot: usize) -> Option<&str> {
        self.labels_at(slot).next()
    }

    /// The names of all labels bound to this slot, in the order in which they were made.
    pub fn labels_at(&self, slot: usize) -> impl Iterator<Item = &str> {
        self.labels.get(&slot).into_iter().flatten().map(String::as_str)
    }

    /// The slots with each map replaced by the descriptor that `descriptor` gives for it.
    pub fn resolve(&self, mut descriptor: impl FnMut(MapRef) -> Option<i32>) -> Result<Vec<Insn>, Error> {
        let mut insns = self.insns.clone();
        for &(slot, map) in &self.maps {
            let fd = descriptor(map).ok_or(Error::UnresolvedMap { slot, map })?;
            if let Some(insn) = insns.get_mut(slot) {
                insn.imm = fd;
            }
        }
        Ok(insns)
    }

    /// The program's bytes in the order `B`, maps replaced by descriptors.
    pub fn encode<B: ByteOrder>(&self, descriptor: impl FnMut(MapRef) -> Option<i32>) -> Result<Vec<u8>, Error> {
        Ok(self.resolve(descriptor)?.into_iter().flat_map(Insn::encode::<B>).collect())
    }

    /// The program's bytes in this machine's order, as bpf(2) takes them.
    pub fn encode_native(&self, descriptor: impl FnMut(MapRef) -> Option<i32>) -> Result<Vec<u8>, Error> {
        self.encode::<NativeEndian>(descriptor)
    }
}
