//! A loopback connection whose ends can be put into a sockhash of its own.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use super::finding::Answer;
use crate::agent::error::Context;
use crate::agent::lifecycle::inventory::Inventory;
use crate::asm::{Asm, FP, MapRef, Reg, Size};
use crate::dataplane;
use crate::syscall::{Errno, ForeignSocket, Map, MapSpec, ProgSpec, Program, UpdateFlags, prog_attach};
use crate::uapi::flags::{F_INGRESS, SK_PASS};
use crate::uapi::helper::id::MSG_REDIRECT_HASH;
use crate::uapi::{AttachType, MapType, ProgType};

/// A loopback message takes microseconds; the rest is for a machine that is busy with something else.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a socket of our own is taken out of a data plane's sockhash, if it is found there again or the sockhash changes meanwhile.
const TRIES: u32 = 5;
/// Keys in the sockhash.
pub(super) const CLIENT: u32 = 0;
/// The other one.
pub(super) const SERVER: u32 = 1;

/// Two ends of a loopback connection, and a sockhash whose program redirects to [`SERVER`].
pub(super) struct Pair {
    /// The end that sends.
    pub(super) client: TcpStream,
    /// The end that receives.
    pub(super) server: TcpStream,
    sockets: Map,
}

impl Pair {
    /// Connected, and neither end in the sockhash.
    pub(super) fn new() -> Result<Self, Answer> {
        let text = |error: crate::syscall::Error| Answer::unknown(&error);
        let sockets = sockhash().map_err(text)?;
        let insns = redirector()
            .and_then(|program| program.encode_native(|_| Some(sockets.as_fd().as_raw_fd())))
            .map_err(|error| Answer::Unknown(error.to_string()))?;
        let spec =
            ProgSpec { license: dataplane::LICENSE, ..ProgSpec::new("sidestep_check", ProgType::SK_MSG, &insns) };
        let program = Program::load(&spec).map_err(text)?;
        prog_attach(sockets.as_fd(), program.as_fd(), AttachType::SK_MSG_VERDICT).map_err(text)?;
        let connect = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let client = TcpStream::connect_timeout(&listener.local_addr()?, TIMEOUT)?;
            let (server, _) = listener.accept()?;
            for end in [&client, &server] {
                end.set_read_timeout(Some(TIMEOUT))?;
                end.set_write_timeout(Some(TIMEOUT))?;
            }
            Ok((client, server))
        };
        let (client, server) =
            connect().map_err(|error: std::io::Error| Answer::Unknown(format!("no loopback connection: {error}")))?;
        Ok(Self { client, server, sockets })
    }

    /// Connected, and both ends in the sockhash.
    pub(super) fn of_members() -> Result<Self, Answer> {
        let pair = Self::new()?;
        pair.enrol(CLIENT)?;
        pair.enrol(SERVER)?;
        Ok(pair)
    }

    /// Puts an end into the sockhash.
    pub(super) fn enrol(&self, key: u32) -> Result<(), Answer> {
        let end = if key == CLIENT { &self.client } else { &self.server };
        let value = u64::from(end.as_raw_fd() as u32).to_ne_bytes();
        let put = || self.sockets.update(&key.to_ne_bytes(), &value, UpdateFlags::NO_EXIST);
        let mut why = None;
        for _ in 0..TRIES {
            match put() {
                // A socket has one sk_msg program. Where this process is inside an accelerated cgroup, that is the data plane's.
                Err(error) if error.errno() == Some(Errno::EBUSY) => {
                    // On a busy machine the sockhash may change faster than it can be listed.
                    why = self.take_out_of_data_planes().err();
                }
                answer => return answer.map_err(|error| Answer::unknown(&error)),
            }
        }
        let why = why.map_or_else(|| "another tool has it in a socket map".into(), |error| error.to_string());
        Err(Answer::Unknown(format!("a socket of our own has another sk_msg program, also after {TRIES} tries: {why}")))
    }

    /// Takes both ends out of the sockhashes of data planes that are attached. Nothing is underway between them.
    fn take_out_of_data_planes(&self) -> crate::agent::Result<()> {
        let cookie = |end: &TcpStream| {
            ForeignSocket::own(end.as_fd()).and_then(|end| end.cookie()).context("identify a socket of our own")
        };
        let ends = [cookie(&self.client)?, cookie(&self.server)?];
        let inventory = Inventory::take()?;
        for id in inventory.iter().flat_map(Inventory::sockhashes) {
            // One that has just gone has no members.
            let Ok(sockets) = Map::from_id(id) else { continue };
            // With pairing by sequence numbers the key is the socket's cookie.
            if sockets.key_size() == size_of::<u64>() {
                for cookie in ends {
                    sockets.delete(&cookie.to_ne_bytes()).context("take a socket of our own out of a sockhash")?;
                }
                continue;
            }
            for key in sockets.keys() {
                let key = key.context("list the sockets in a sockhash")?;
                let holds = |cookie: u64| {
                    sockets.lookup(&key).is_ok_and(|value| value.as_deref() == Some(&cookie.to_ne_bytes()))
                };
                if ends.into_iter().any(holds) {
                    sockets.delete(&key).context("take a socket of our own out of a sockhash")?;
                }
            }
        }
        Ok(())
    }

    /// Takes an end out of the sockhash.
    pub(super) fn remove(&self, key: u32) -> Result<(), Answer> {
        self.sockets.delete(&key.to_ne_bytes()).map(drop).map_err(|error| Answer::unknown(&error))
    }

    /// Sends from the client.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Answer> {
        self.client.write_all(bytes).map_err(|error| Answer::Unknown(format!("cannot send: {error}")))
    }
}

/// With room for both ends.
pub(super) fn sockhash() -> crate::syscall::Result<Map> {
    Map::create(&MapSpec::new("sidestep_check", MapType::SOCKHASH, 4, 8, 2))
}

/// `bpf_msg_redirect_hash(ctx, sockets, &SERVER, BPF_F_INGRESS); return SK_PASS`.
fn redirector() -> Result<crate::asm::Program, crate::asm::Error> {
    let mut asm = Asm::new();
    asm.store(Size::W, FP, -4, SERVER as i32);
    asm.load_map(Reg::R2, MapRef(0));
    asm.mov(Reg::R3, FP);
    asm.add(Reg::R3, -4);
    asm.mov(Reg::R4, F_INGRESS);
    asm.call(MSG_REDIRECT_HASH);
    asm.mov(Reg::R0, SK_PASS);
    asm.exit();
    asm.finish()
}
