//! The state of one register, or of a register saved on the stack.

use bitflags::bitflags;

use crate::uapi::helper::Object;
use crate::verifier_sim::numbers::bounds::Bounds;

/// What a register holds (`enum bpf_reg_type`, less its modifier flags).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::verifier_sim) enum Kind {
    /// Nothing that may be read.
    #[default]
    NotInit,
    /// A number.
    Scalar,
    /// The program's context.
    Ctx,
    /// A map itself.
    ConstMapPtr,
    /// A map's value.
    MapValue,
    /// A map's key, which a callback is given.
    MapKey,
    /// A function of the program.
    Func,
    /// A frame of the program's stack.
    Stack,
    /// Bytes of a message or packet.
    Packet,
    /// Bytes that another program put before a packet (`data_meta`).
    PacketMeta,
    /// The end of a message or packet.
    PacketEnd,
    /// A full socket (`struct bpf_sock`).
    Socket,
    /// A socket of which only what all sockets have may be read.
    SockCommon,
    /// `struct bpf_tcp_sock`.
    TcpSock,
    /// `struct bpf_xdp_sock`.
    XdpSock,
    /// `struct bpf_flow_keys`.
    FlowKeys,
    /// Memory of a known size.
    Mem,
    /// A kernel structure described by BTF.
    BtfId,
    /// Memory of an iterator, whose size is known when it is attached.
    Buf,
}

bitflags! {
    /// Modifiers of a [`Kind`] (`enum bpf_type_flag`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(in crate::verifier_sim) struct Flags: u16 {
        /// May be NULL: must be checked first.
        const MAYBE_NULL = 1;
        /// May not be written through.
        const RDONLY = 2;
        /// A record of a ring buffer.
        const RINGBUF = 4;
        /// Per-CPU: needs `bpf_per_cpu_ptr`.
        const PERCPU = 8;
        /// Guaranteed to stay valid.
        const TRUSTED = 16;
        /// Not known to be valid; only fault-safe reads.
        const UNTRUSTED = 32;
        /// Valid as long as the program does not sleep.
        const RCU = 64;
        /// Of user space.
        const USER = 128;
        /// A slice of a packet (`DYNPTR_TYPE_SKB`, `DYNPTR_TYPE_XDP`).
        const PACKET = 256;
        /// A slice of what a dynptr describes.
        const SLICE = 512;
        /// Memory that the program has allocated (`MEM_ALLOC`).
        const ALLOC = 1024;
        /// An object that a list or tree owns, valid as long as its lock is held (`NON_OWN_REF`).
        const NON_OWNING = 2048;
    }
}

/// The kernel structure with this number, as kept in [`Reg::arg`].
pub(in crate::verifier_sim) fn object_from_number(number: u32) -> Option<Object> {
    Object::ALL.into_iter().find(|known| *known as u32 == number)
}

/// In the id of a scalar: it is a linked register plus [`Reg::off`], in 64 bits (`BPF_ADD_CONST64`).
pub(in crate::verifier_sim) const ADD_CONST64: u32 = 1 << 31;
/// The same in 32 bits (`BPF_ADD_CONST32`).
pub(in crate::verifier_sim) const ADD_CONST32: u32 = 1 << 30;
/// Either of them.
pub(in crate::verifier_sim) const ADD_CONST: u32 = ADD_CONST64 | ADD_CONST32;

/// Pointers may not reach further than this from their base (`BPF_MAX_VAR_OFF`).
pub(in crate::verifier_sim) const MAX_VAR_OFF: i64 = 1 << 29;

/// The state of one register (`struct bpf_reg_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier_sim) struct Reg {
    /// What it holds.
    pub(in crate::verifier_sim) kind: Kind,
    /// Modifiers of `kind`.
    pub(in crate::verifier_sim) flags: Flags,
    /// Fixed part of a pointer's offset; of a scalar with [`ADD_CONST`], its distance from the linked one.
    pub(in crate::verifier_sim) off: i32,
    /// Meaning depends on `kind`: number of the map, frame of the stack, number of the function, size of the memory, bytes
    /// of the packet known to be there (as i32; see [`AT_PACKET_END`]), kernel type.
    pub(in crate::verifier_sim) arg: u32,
    /// Which lookup in a map of maps a map pointer came from; 0 for maps named by the program.
    pub(in crate::verifier_sim) map_uid: u32,
    /// Pointers that are NULL together, packet pointers with the same variable part, linked scalars. 0 is none.
    pub(in crate::verifier_sim) id: u32,
    /// The reference that has to be released. 0 is none.
    pub(in crate::verifier_sim) ref_id: u32,
    /// Value of a scalar; variable part of a pointer's offset.
    pub(in crate::verifier_sim) val: Bounds,
}

/// [`Reg::arg`] of a packet pointer known to equal the end or to lie beyond (`AT_PKT_END`).
pub(in crate::verifier_sim) const AT_PACKET_END: i32 = -1;
/// [`Reg::arg`] of a packet pointer known to lie beyond the end (`BEYOND_PKT_END`).
pub(in crate::verifier_sim) const BEYOND_PACKET_END: i32 = -2;

impl Default for Reg {
    fn default() -> Self {
        Self::NOT_INIT
    }
}

impl Reg {
    /// Where in what it points to it points, once the variable part of its offset is known.
    pub(in crate::verifier_sim) fn place(&self) -> i64 {
        i64::from(self.off).wrapping_add(self.val.bits.value as i64)
    }

    /// A register that may not be read.
    pub(in crate::verifier_sim) const NOT_INIT: Self = Self {
        kind: Kind::NotInit,
        flags: Flags::empty(),
        off: 0,
        arg: 0,
        map_uid: 0,
        id: 0,
        ref_id: 0,
        val: Bounds::UNKNOWN,
    };

    /// Any number.
    pub(in crate::verifier_sim) const UNKNOWN: Self = Self { kind: Kind::Scalar, ..Self::NOT_INIT };

    /// One number.
    pub(in crate::verifier_sim) const fn known(value: u64) -> Self {
        Self { kind: Kind::Scalar, val: Bounds::known(value), ..Self::NOT_INIT }
    }

    /// A pointer to the start of something.
    pub(in crate::verifier_sim) const fn pointer(kind: Kind, arg: u32) -> Self {
        Self { kind, arg, val: Bounds::known(0), ..Self::NOT_INIT }
    }

    /// Whether it holds a number.
    pub(in crate::verifier_sim) fn is_scalar(&self) -> bool {
        self.kind == Kind::Scalar
    }

    /// Whether it holds the number 0.
    pub(in crate::verifier_sim) fn is_null(&self) -> bool {
        self.is_scalar() && self.val.bits.is(0)
    }

    /// Whether it is a pointer that must be checked for NULL.
    pub(in crate::verifier_sim) fn may_be_null(&self) -> bool {
        self.flags.contains(Flags::MAYBE_NULL)
    }

    /// Whether it is a pointer into a packet, or into what lies before it (`type_is_pkt_pointer`).
    pub(in crate::verifier_sim) fn is_packet(&self) -> bool {
        matches!(self.kind, Kind::Packet | Kind::PacketMeta)
    }

    /// The same, or to the packet's end.
    pub(in crate::verifier_sim) fn is_packet_any(&self) -> bool {
        self.is_packet() || self.kind == Kind::PacketEnd
    }

    /// Whether it points to an object that the program has allocated, and is valid (`type_is_ptr_alloc_obj`).
    pub(in crate::verifier_sim) fn is_object(&self) -> bool {
        self.kind == Kind::BtfId && self.flags.contains(Flags::ALLOC) && !self.flags.contains(Flags::UNTRUSTED)
    }

    /// Whether the object belongs to a list or tree (`type_is_non_owning_ref`).
    pub(in crate::verifier_sim) fn is_non_owning(&self) -> bool {
        self.is_object() && self.flags.contains(Flags::NON_OWNING)
    }

    /// Whether what it points to stays valid during a call (`is_trusted_reg`), if it is a pointer to a structure.
    pub(in crate::verifier_sim) fn is_trusted(&self) -> bool {
        let trusted = Flags::TRUSTED | Flags::ALLOC | Flags::NON_OWNING;
        self.ref_id != 0 || (self.flags.intersects(trusted) && (self.flags - trusted).is_empty())
    }

    /// Whether it points to the packet's first byte, as far as the program has not moved it (`reg_is_init_pkt_pointer`).
    pub(in crate::verifier_sim) fn is_packet_start(&self) -> bool {
        self.kind == Kind::Packet && self.id == 0 && self.off == 0 && self.val.bits.is(0)
    }

    /// Whether it is one of the socket types with their own access tables.
    pub(in crate::verifier_sim) fn is_sock(&self) -> bool {
        matches!(self.kind, Kind::Socket | Kind::SockCommon | Kind::TcpSock | Kind::XdpSock)
    }

    /// Bytes known to be readable behind a packet pointer's variable part; negative: see [`AT_PACKET_END`].
    pub(in crate::verifier_sim) fn range(&self) -> i32 {
        self.arg as i32
    }

    /// Forgets the link to other scalars.
    pub(in crate::verifier_sim) fn unlink(&mut self) {
        self.id = 0;
        self.off = 0;
    }

    /// Whether both differ in nothing but ids.
    pub(in crate::verifier_sim) fn same_but_ids(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.flags == other.flags
            && self.off == other.off
            && self.arg == other.arg
            && self.map_uid == other.map_uid
            && self.val == other.val
    }

    /// The name of the type in the kernel's log.
    pub(in crate::verifier_sim) fn type_name(&self) -> String {
        let base = match self.kind {
            Kind::NotInit => "?",
            Kind::Scalar => "scalar",
            Kind::Ctx => "ctx",
            Kind::ConstMapPtr => "map_ptr",
            Kind::MapValue => "map_value",
            Kind::MapKey => "map_key",
            Kind::Func => "func",
            Kind::Stack => "fp",
            Kind::Packet => "pkt",
            Kind::PacketMeta => "pkt_meta",
            Kind::PacketEnd => "pkt_end",
            Kind::Socket => "sock",
            Kind::SockCommon => "sock_common",
            Kind::TcpSock => "tcp_sock",
            Kind::XdpSock => "xdp_sock",
            Kind::FlowKeys => "flow_keys",
            Kind::Mem => "mem",
            Kind::BtfId => "ptr_",
            Kind::Buf => "buf",
        };
        let mut name = String::new();
        for (flag, prefix) in [
            (Flags::RDONLY, "rdonly_"),
            (Flags::RINGBUF, "ringbuf_"),
            (Flags::USER, "user_"),
            (Flags::PERCPU, "percpu_"),
            (Flags::RCU, "rcu_"),
            (Flags::UNTRUSTED, "untrusted_"),
            (Flags::TRUSTED, "trusted_"),
        ] {
            if self.flags.contains(flag) {
                name.push_str(prefix);
            }
        }
        name.push_str(base);
        if self.may_be_null() {
            name.push_str(if self.kind == Kind::BtfId { "or_null_" } else { "_or_null" });
        }
        name
    }
}
