//! The members: a BPF iterator that writes what tells which connections are to leave, and marks those that have been chosen
//! ([`Head::LEAVING`]). The gate, the callbacks and the drain respect the mark.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::asm::Reg::{R0, R1, R2, R3, R6, R8, R9};
use crate::asm::{self, Asm, Features, Field, Laid, MapRef, Program, Ptr, Uses};
use crate::dataplane::emit::clear;
use crate::dataplane::kernel::ctx::{
    ITER_SOCKMAP, ITER_STORAGE, ITER_TASK_FILE, IterSockmap, IterStorage, IterTaskFile,
};
use crate::dataplane::kernel::objects::{Cgroup, Directory, IterMeta, TcpSock};
use crate::dataplane::kernel::{KernelOffsets, MemberFields};
use crate::dataplane::programs::each_storage::{each_member, each_storage};
use crate::dataplane::state::SocketState;
use crate::dataplane::state::socket::{Head, OWN, Socket};
use crate::layout;
use crate::uapi::helper::id as helper;
use crate::uapi::net::AF_INET6;

/// A hash of the cookies that are to be marked.
pub const CHOSEN: MapRef = MapRef(100);

/// Cgroups above each other that are looked at. A container of Kubernetes in a node that is a container has eight.
const LEVELS: usize = 24;

/// Over which sockets the iterator goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembersOver {
    /// Those in the sockhash, where iterators have storage (Linux 5.11).
    Sockhash,
    /// Those that have a storage, whether they are in the sockhash or not.
    Storages,
}

layout! {
    /// What is written for each socket, behind its storage.
    struct Raw: 232 {
        /// The IDs of its cgroup and of those above it, up to the root; then 0.
        CGROUPS: [u64; 24] = 0;
        /// Network byte order; of IPv4 the first 4 bytes.
        LOCAL: [u64; 2] = 192;
        REMOTE: [u64; 2] = 208;
        FAMILY: u16 = 224;
        /// Host byte order.
        LOCAL_PORT: u16 = 226;
        /// Network byte order.
        REMOTE_PORT: u16 = 228;
        UNUSED: u16 = 230;
    }
}

impl Raw {
    const WORDS: Field<Self, [u64; 29]> = Field::new(0);
    const LOCAL_V4: Field<Self, u32> = Field::new(Self::LOCAL.offset());
    const REMOTE_V4: Field<Self, u32> = Field::new(Self::REMOTE.offset());
}

/// One socket of ours: what it is, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// What our programs know of it.
    pub state: SocketState,
    /// Its own address, as this end sees it.
    pub local: SocketAddr,
    /// Its peer's address, as this end sees it.
    pub remote: SocketAddr,
    /// The IDs of the cgroup in which it was made and of those above it, the root's last.
    pub cgroups: Vec<u64>,
}

impl Member {
    /// How many bytes the iterator writes for a socket whose storage has so many.
    pub fn size(storage: usize) -> usize {
        storage + Raw::BYTES
    }

    /// From what the iterator has written; `None` when it is of another size.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (storage, raw) = bytes.split_at_checked(bytes.len().checked_sub(Raw::BYTES)?)?;
        let raw: &[u8; Raw::BYTES] = raw.try_into().ok()?;
        let ids = Raw::CGROUPS.items().map(|field| u64::from_ne_bytes(value(raw, field)));
        Some(Self {
            state: SocketState::from_bytes(storage)?,
            local: address(raw, Raw::LOCAL, u16::from_ne_bytes(value(raw, Raw::LOCAL_PORT))),
            remote: address(raw, Raw::REMOTE, u16::from_be_bytes(value(raw, Raw::REMOTE_PORT))),
            cgroups: ids.take_while(|id| *id != 0).collect(),
        })
    }
}

fn address(raw: &[u8; Raw::BYTES], field: Field<Raw, [u64; 2]>, port: u16) -> SocketAddr {
    let bytes: [u8; 16] = value(raw, field);
    let is_v6 = i32::from(u16::from_ne_bytes(value(raw, Raw::FAMILY))) == AF_INET6;
    let v4 = || IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]));
    SocketAddr::new(if is_v6 { IpAddr::V6(Ipv6Addr::from(bytes)) } else { v4() }, port)
}

fn value<T: Laid, const N: usize>(raw: &[u8; Raw::BYTES], field: Field<Raw, T>) -> [u8; N] {
    let bytes = usize::try_from(field.offset()).ok().and_then(|at| raw.get(at..)?.first_chunk());
    bytes.copied().unwrap_or([0; N])
}

/// Assembles the iterator for storages of this many bytes. It names the maps [`crate::dataplane::MapRole::Storage`] and [`CHOSEN`].
pub fn members(
    offsets: &KernelOffsets,
    fields: &MemberFields,
    over: MembersOver,
    storage: u32,
) -> Result<Program, asm::Error> {
    let mut asm = Asm::with_features(match offsets.casts {
        Some(_) => Features::LINUX_5_10 | Features::KFUNC,
        None => Features::LINUX_5_10,
    });
    let a = &mut asm;
    a.mov(R6, R1);
    a.block("out", |a, out| {
        match over {
            MembersOver::Sockhash => each_member(a, out),
            MembersOver::Storages => each_storage(a, offsets, out),
        }
        let key = a.slot::<u64>("cookie");
        mark_chosen(a, key);
        let record = a.slot::<Raw>("record");
        clear(a, Raw::WORDS.items(), record);
        let sk: Ptr<TcpSock> = offsets.behind(a, R9, R8, out);
        addresses(a, offsets, fields, sk, record, out);
        cgroups(a, offsets, fields, sk, record);
        for part in [None, Some(record)] {
            match (over, offsets.sockets_by_file) {
                (MembersOver::Sockhash, _) => a.ld(R1, ITER_SOCKMAP, IterSockmap::META),
                (MembersOver::Storages, None) => a.ld(R1, ITER_STORAGE, IterStorage::META),
                (MembersOver::Storages, Some(_)) => a.ld(R1, ITER_TASK_FILE, IterTaskFile::META),
            }
            a.ld(R1, Ptr::<IterMeta>::new(R1), IterMeta::SEQ);
            match part {
                None => {
                    a.mov(R2, OWN.reg());
                    a.mov(R3, storage.cast_signed());
                }
                Some(record) => {
                    a.addr(R2, record);
                    a.mov(R3, Raw::BYTES as i32);
                }
            }
            a.call(helper::SEQ_WRITE);
        }
    });
    a.mov(R0, 0);
    a.exit();
    asm.finish()
}

/// Marks the socket with the storage in R7 if it has been chosen.
fn mark_chosen(a: &mut Asm, key: asm::Slot<u64>) {
    a.emitter("mark", Uses::scratch().reads(OWN.reg()), |a| {
        a.block("not_chosen", |a, not_chosen| {
            a.ld(R1, OWN, Socket::HEAD.then(Head::COOKIE));
            a.set(key, R1);
            a.addr(R2, key);
            a.load_map(R1, CHOSEN);
            a.call(helper::MAP_LOOKUP_ELEM);
            a.require(R0.differs(0), not_chosen, "it has been chosen");
            a.st(OWN, Socket::HEAD.then(Head::LEAVING), 1);
        });
    });
}

fn addresses(
    a: &mut Asm,
    offsets: &KernelOffsets,
    fields: &MemberFields,
    sk: Ptr<TcpSock>,
    record: asm::Slot<Raw>,
    out: asm::Label,
) {
    a.emitter("addresses", Uses::scratch().reads(sk.reg()), |a| {
        let ports = [
            (fields.family, Raw::FAMILY),
            (fields.local_port, Raw::LOCAL_PORT),
            (fields.remote_port, Raw::REMOTE_PORT),
        ];
        for (source, target) in ports {
            offsets.read(a, R1, sk, source, out);
            a.st(record, target, R1);
        }
        for (source, target) in [(fields.local_v4, Raw::LOCAL_V4), (fields.remote_v4, Raw::REMOTE_V4)] {
            offsets.read(a, R1, sk, source, out);
            a.st(record, target, R1);
        }
        a.block("ipv4", |a, ipv4| {
            a.ld(R1, record, Raw::FAMILY);
            a.jump_if(R1.differs(AF_INET6), ipv4);
            for (source, target) in [(fields.local_v6, Raw::LOCAL), (fields.remote_v6, Raw::REMOTE)] {
                for half in 0..2 {
                    offsets.read(a, R1, sk, source.item(half), out);
                    a.st(record, target.item(half), R1);
                }
            }
        });
    });
}

/// The cgroup and those above it; none where the socket does not name one, and so belongs to the root. Loses R8 and R9.
fn cgroups(a: &mut Asm, offsets: &KernelOffsets, fields: &MemberFields, sk: Ptr<TcpSock>, record: asm::Slot<Raw>) {
    a.emitter("cgroups", Uses::scratch().reads(sk.reg()).writes([R8, R9]), |a| {
        a.block("root", |a, root| {
            offsets.follow(a, sk, fields.cgroup, root);
            let (cgroup, directory) = (Ptr::<Cgroup>::new(R9), Ptr::<Cgroup>::new(R8));
            for level in 0..LEVELS {
                a.jump_if(R9.equals(0), root);
                a.mov(R8, R9);
                offsets.follow(a, directory, fields.directory, root);
                offsets.follow(a, Ptr::<Directory>::new(R8), fields.id, root);
                a.st(record, Raw::CGROUPS.item(level), R8);
                if level + 1 < LEVELS {
                    offsets.follow(a, cgroup, fields.parent, root);
                }
            }
        });
    });
}
