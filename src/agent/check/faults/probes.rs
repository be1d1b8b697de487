//! What is tried for the faults that show themselves.

use std::os::fd::AsRawFd;

use super::Probe;
use super::order;
use crate::agent::check::behaviour::{self, Path};
use crate::agent::check::finding::Answer;
use crate::agent::check::pair::{Pair, SERVER};

/// Everything, each with its answer.
pub(super) fn all() -> Vec<(Probe, Answer)> {
    let mut answers = of_order();
    answers.extend([
        (Probe::FionreadStack, Answer::of(behaviour::fionread(Path::Stack))),
        (Probe::FionreadRedirected, Answer::of(behaviour::fionread(Path::Redirected))),
        (Probe::ReceiveBuffer, Answer::of(receive_buffer())),
        (Probe::TlsKeys, Answer::of(tls_keys())),
    ]);
    answers
}

/// Those that can forbid to use the kernel.
pub(super) fn of_order() -> Vec<(Probe, Answer)> {
    order::probe().into()
}

/// The kernel tells how many bytes it counts in a socket's buffers (SO_MEMINFO, Linux 4.12).
fn receive_buffer() -> Result<Answer, Answer> {
    let mut pair = Pair::of_members()?;
    pair.send(b"some bytes that wait")?;
    // `SK_MEMINFO_VARS` words, of which the first is `SK_MEMINFO_RMEM_ALLOC` (include/uapi/linux/sock_diag.h).
    let mut words = [0_u32; 9];
    let mut len = size_of_val(&words) as libc::socklen_t;
    // SAFETY: `words` is live and writable for `len` bytes, and so is `len`.
    let answer = unsafe {
        libc::getsockopt(
            pair.server.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &mut len,
        )
    };
    match (answer, words[0]) {
        (0, 0) => Ok(Answer::No("the kernel counts no byte of a message that waits".into())),
        (0, bytes) => Ok(Answer::Yes(format!("{bytes} bytes count while 20 wait"))),
        _ => Err(Answer::Unknown(format!("SO_MEMINFO cannot be read: {}", std::io::Error::last_os_error()))),
    }
}

/// Where protocols above TCP are listed that are loaded. Asking for one that is not would load it.
const LOADED: &str = "/proc/sys/net/ipv4/tcp_available_ulp";
/// `TCP_ULP` of `include/uapi/linux/tcp.h`; `SOL_TLS` of `include/linux/socket.h`; `TLS_TX` and `struct
/// tls12_crypto_info_aes_gcm_128`, of 40 bytes, of `include/uapi/linux/tls.h`.
const TCP_ULP: libc::c_int = 31;
const SOL_TLS: libc::c_int = 282;
const TLS_TX: libc::c_int = 1;
const TLS_1_2: u16 = 0x0303;
const AES_GCM_128: u16 = 51;
const KEYS: usize = 40;

/// Gives a member keys that no program uses.
fn tls_keys() -> Result<Answer, Answer> {
    let listed = std::fs::read_to_string(LOADED).unwrap_or_default();
    if !listed.split_whitespace().any(|name| name == "tls") {
        return Err(Answer::Unknown("kTLS (module tls) is not loaded, so it was not tried".into()));
    }
    let pair = Pair::new()?;
    pair.enrol(SERVER)?;
    let socket = pair.server.as_raw_fd();
    let set = |level, option, value: &[u8]| {
        // SAFETY: `value` is live and readable for the length that is passed with it.
        let answer = unsafe { libc::setsockopt(socket, level, option, value.as_ptr().cast(), value.len() as u32) };
        if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    set(libc::IPPROTO_TCP, TCP_ULP, b"tls\0")
        .map_err(|error| Answer::Unknown(format!("TCP_ULP cannot be set: {error}")))?;
    let mut keys = [0; KEYS];
    keys[..2].copy_from_slice(&TLS_1_2.to_ne_bytes());
    keys[2..4].copy_from_slice(&AES_GCM_128.to_ne_bytes());
    match set(SOL_TLS, TLS_TX, &keys) {
        Ok(()) => Ok(Answer::No("the kernel takes keys for a member".into())),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Ok(Answer::Yes("the kernel refuses keys for a member".into()))
        }
        Err(error) => Err(Answer::Unknown(format!("the keys cannot be set: {error}"))),
    }
}
