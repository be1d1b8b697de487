//! Processes, as programs see the one that runs: its numbers, its files, and the registers of its system call.

use super::World;
use super::layout::{self, put};
use super::socket::SocketId;
use crate::uapi::system_call;
use crate::verifier_sim::interp::{Access, Machine, RegionId, RegionKind};

/// How many there are; each has the sockets of one in so many numbers.
pub const PROCESSES: usize = 4;
/// Number of splice(2).
pub(super) const SYS_SPLICE: u64 = system_call::SPLICE as u64;
/// Number of recvfrom(2), arch/x86/entry/syscalls/syscall_64.tbl: any other number than splice(2)'s will do.
pub(super) const SYS_RECVFROM: u64 = 45;
/// Entries of a table of files.
const FILES: usize = 16;
/// Bytes of a program's arguments.
const ARGUMENTS: usize = 64;
/// Bytes of `struct bpf_iter_meta` (include/linux/bpf.h): where the output goes, and two numbers.
const META: usize = 24;
/// `S_IFSOCK` and permissions.
pub(super) const SOCKET_MODE: u16 = 0o140_777;
/// `S_IFIFO` and permissions.
const PIPE_MODE: u16 = 0o010_600;

/// A descriptor that is not a socket's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongDescriptor {
    /// It is closed.
    Closed,
    /// The table of files is shorter. What is behind it in memory may look like a file.
    BeyondTable,
    /// It is a pipe's. What its file names may look like a socket.
    Pipe,
}

/// A process that runs a program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    /// Its number, and its thread's: not the first one.
    pub(super) id: (u32, u32),
    /// Address of its thread's structure.
    pub(super) task: u64,
    /// Address of the registers that its system call has saved.
    pub(super) registers: u64,
}

/// All processes, and what programs are given.
#[derive(Clone, Debug)]
pub(super) struct Processes {
    tasks: [RegionId; PROCESSES],
    /// The array of files, one for all: it has the file of one socket.
    files: RegionId,
    inode: RegionId,
    /// The file of a pipe.
    pipe: RegionId,
    /// The file of a socket that has been released.
    released: RegionId,
    registers: RegionId,
    arguments: RegionId,
    key: RegionId,
    /// What iterators are told of their output (`struct bpf_iter_meta`).
    meta: RegionId,
}

impl Processes {
    pub(super) fn new(machine: &mut Machine) -> Self {
        let mut add = |size| machine.memory.add(RegionKind::Kernel, Access::Read, vec![0; size]);
        let [leaders, tasks] = [(); 2].map(|()| [(); PROCESSES].map(|()| add(layout::STRUCT_SIZE)));
        let [inode, fifo, pipe, registers, structure, table, released, socket] =
            [(); 8].map(|()| add(layout::STRUCT_SIZE));
        let [files, arguments, key, meta] = [2 * FILES * 8, ARGUMENTS, ARGUMENTS, META].map(add);
        for (at, (leader, task)) in leaders.iter().zip(&tasks).enumerate() {
            let bytes = machine.memory.bytes_mut(*leader);
            put(bytes, layout::START, &Self::start(at).to_ne_bytes());
            let bytes = machine.memory.bytes_mut(*task);
            put(bytes, layout::GROUP_LEADER, &leader.address().to_ne_bytes());
            put(bytes, layout::TASK_FILES, &structure.address().to_ne_bytes());
        }
        put(machine.memory.bytes_mut(structure), layout::FDT, &table.address().to_ne_bytes());
        put(machine.memory.bytes_mut(table), layout::MAX_FDS, &(FILES as u32).to_ne_bytes());
        put(machine.memory.bytes_mut(table), layout::FD, &files.address().to_ne_bytes());
        put(machine.memory.bytes_mut(inode), layout::MODE, &SOCKET_MODE.to_ne_bytes());
        put(machine.memory.bytes_mut(fifo), layout::MODE, &PIPE_MODE.to_ne_bytes());
        put(machine.memory.bytes_mut(pipe), layout::INODE, &fifo.address().to_ne_bytes());
        let file = machine.memory.bytes_mut(released);
        put(file, layout::INODE, &inode.address().to_ne_bytes());
        put(file, layout::PRIVATE_DATA, &socket.address().to_ne_bytes());
        Self { tasks, files, inode, pipe, released, registers, arguments, key, meta }
    }

    /// Which process has a socket.
    pub(super) fn of(id: SocketId) -> usize {
        (id % PROCESSES as u64) as usize
    }

    /// When a process began.
    fn start(process: usize) -> u64 {
        1_000_000 + process as u64
    }

    /// Address of what all sockets' files are of.
    pub(super) fn inode(&self) -> u64 {
        self.inode.address()
    }

    pub(super) fn running(&self, process: usize) -> Process {
        let number = 100 + process as u32;
        let task = self.tasks.get(process).map_or(0, |task| task.address());
        Process { id: (number, 1000 + number), task, registers: self.registers.address() }
    }

    /// A system call about the socket with this file begins; the address of its registers.
    pub(super) fn call(&self, machine: &mut Machine, id: SocketId, file: RegionId) -> u64 {
        let descriptor = World::descriptor(id);
        let files = machine.memory.bytes_mut(self.files);
        files.fill(0);
        put(files, descriptor as usize * 8, &file.address().to_ne_bytes());
        // What a caller has in the upper half is not looked at.
        let register = u64::from(descriptor) | 0x7777_0000_0000;
        put(machine.memory.bytes_mut(self.registers), layout::DI, &register.to_ne_bytes());
        self.registers.address()
    }

    /// The same with a descriptor that is not of the socket with this file.
    pub(super) fn wrong_call(
        &self,
        machine: &mut Machine,
        [socket, file]: [RegionId; 2],
        wrong: WrongDescriptor,
    ) -> u64 {
        let descriptor = match wrong {
            WrongDescriptor::Closed | WrongDescriptor::Pipe => 5,
            WrongDescriptor::BeyondTable => FILES + 5,
        };
        put(machine.memory.bytes_mut(self.pipe), layout::PRIVATE_DATA, &socket.address().to_ne_bytes());
        let named = match wrong {
            WrongDescriptor::Closed => 0,
            WrongDescriptor::BeyondTable => file.address(),
            WrongDescriptor::Pipe => self.pipe.address(),
        };
        let files = machine.memory.bytes_mut(self.files);
        files.fill(0);
        put(files, descriptor * 8, &named.to_ne_bytes());
        put(machine.memory.bytes_mut(self.registers), layout::DI, &(descriptor as u64).to_ne_bytes());
        self.registers.address()
    }

    /// The address of a program's arguments.
    pub(super) fn arguments(&self, machine: &mut Machine, arguments: &[u64]) -> u64 {
        let bytes = machine.memory.bytes_mut(self.arguments);
        bytes.chunks_exact_mut(8).zip(arguments).for_each(|(to, from)| to.copy_from_slice(&from.to_ne_bytes()));
        self.arguments.address()
    }

    /// The addresses of files that are not of an open socket: of a pipe, and of a socket that has been released.
    pub(super) fn other_files(&self) -> [u64; 2] {
        [self.pipe, self.released].map(RegionId::address)
    }

    /// The address of what iterators are told of their output.
    pub(super) fn meta(&self) -> u64 {
        self.meta.address()
    }

    /// The address of a key that an iterator has come to.
    pub(super) fn key(&self, machine: &mut Machine, key: &[u8]) -> u64 {
        put(machine.memory.bytes_mut(self.key), 0, key);
        self.key.address()
    }
}

impl World {
    /// The process that has a socket: its number and when it began.
    pub fn process(id: SocketId) -> (u32, u64) {
        let process = Processes::of(id);
        (100 + process as u32, Processes::start(process))
    }

    /// The process's descriptor of a socket.
    pub fn descriptor(id: SocketId) -> u32 {
        3 + (id % 8) as u32
    }
}
