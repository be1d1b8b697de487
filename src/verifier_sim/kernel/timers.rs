//! Socket options that decide when TCP sends by itself: keepalive, how long it waits for answers, and the window.

use super::World;
use super::layout;
use super::socket::SocketId;
use crate::uapi::net::{
    SO_KEEPALIVE, SOCK_KEEPOPEN, SOL_SOCKET, SOL_TCP, TCP_KEEPALIVE_INTVL, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_RTO_MAX_MS,
    TCP_USER_TIMEOUT, TCP_WINDOW_CLAMP,
};
use crate::verifier_sim::interp::{EINVAL, Errno};

/// `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL`, include/net/tcp.h.
const MOST_SECONDS: u32 = 32_767;
/// `TCP_KEEPALIVE_TIME`, include/net/tcp.h: the default of [`Timers::idle`].
const DEFAULT_IDLE: u32 = 7200;
/// `TCP_RTO_MAX_SEC`, include/net/tcp.h, in milliseconds: the default of [`Timers::rto_max`], and the most.
const MOST_RTO: u32 = 120_000;
/// The default of [`Timers::window_clamp`]: that of a buffer which has grown.
const FIRST_CLAMP: u32 = 1 << 20;
/// Half of `SOCK_MIN_RCVBUF` (include/net/sock.h), about: no clamp is smaller (`tcp_set_window_clamp`, net/ipv4/tcp.c).
const LEAST_CLAMP: u32 = 1152;
/// Ticks a second, as most distributions build their kernels (`CONFIG_HZ`).
const TICKS: u32 = 250;

/// The options of one socket, as getsockopt(2) gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// TCP_KEEPIDLE, seconds; 0 for the default.
    pub idle: u32,
    /// TCP_KEEPINTVL, seconds.
    pub interval: u32,
    /// TCP_USER_TIMEOUT, milliseconds; 0 for none.
    pub user_timeout: u32,
    /// TCP_RTO_MAX_MS, milliseconds.
    pub rto_max: u32,
    /// TCP_WINDOW_CLAMP, bytes.
    pub window_clamp: u32,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            keepalive: false,
            idle: 0,
            interval: TCP_KEEPALIVE_INTVL as u32,
            user_timeout: 0,
            rto_max: MOST_RTO,
            window_clamp: FIRST_CLAMP,
        }
    }
}

impl Timers {
    /// Whether it probes every second.
    pub(super) fn probes(self) -> bool {
        self.keepalive && self.idle == 1
    }

    /// As the kernel keeps them: a bit among the socket's options, and the idle time in ticks.
    pub(super) fn publish(self, options: u64, sk: &mut [u8]) {
        let options = options | if self.keepalive { SOCK_KEEPOPEN as u64 } else { 0 };
        layout::put(sk, layout::SK_FLAGS, &options.to_ne_bytes());
        layout::put(sk, layout::KEEPALIVE_TIME, &(self.idle * TICKS).to_ne_bytes());
    }

    /// `getsockopt` of an integer; `None` when this kernel does not know the option.
    pub(super) fn get(self, level: i32, option: i32) -> Option<u32> {
        Some(match (level, option) {
            (SOL_SOCKET, SO_KEEPALIVE) => self.keepalive.into(),
            (SOL_TCP, TCP_KEEPIDLE) if self.idle == 0 => DEFAULT_IDLE,
            (SOL_TCP, TCP_KEEPIDLE) => self.idle,
            (SOL_TCP, TCP_KEEPINTVL) => self.interval,
            (SOL_TCP, TCP_USER_TIMEOUT) => self.user_timeout,
            (SOL_TCP, TCP_RTO_MAX_MS) => self.rto_max,
            (SOL_TCP, TCP_WINDOW_CLAMP) => self.window_clamp,
            _ => return None,
        })
    }

    /// `setsockopt` of an integer; `None` when this kernel does not know the option (`do_tcp_setsockopt`, net/ipv4/tcp.c).
    pub(super) fn set(&mut self, level: i32, option: i32, value: u32) -> Option<Result<(), Errno>> {
        let within = |place: &mut u32, first: u32, last: u32| {
            if !(first..=last).contains(&value) {
                return Err(EINVAL);
            }
            *place = value;
            Ok(())
        };
        Some(match (level, option) {
            (SOL_SOCKET, SO_KEEPALIVE) => {
                self.keepalive = value != 0;
                Ok(())
            }
            (SOL_TCP, TCP_KEEPIDLE) => within(&mut self.idle, 1, MOST_SECONDS),
            (SOL_TCP, TCP_KEEPINTVL) => within(&mut self.interval, 1, MOST_SECONDS),
            (SOL_TCP, TCP_USER_TIMEOUT) => within(&mut self.user_timeout, 0, i32::MAX as u32),
            (SOL_TCP, TCP_RTO_MAX_MS) => within(&mut self.rto_max, 1000, MOST_RTO),
            (SOL_TCP, TCP_WINDOW_CLAMP) if value > 0 => {
                self.window_clamp = value.max(LEAST_CLAMP);
                Ok(())
            }
            (SOL_TCP, TCP_WINDOW_CLAMP) => Err(EINVAL),
            _ => return None,
        })
    }

    /// Whether two sockets' options are the same, except SO_KEEPALIVE.
    pub fn agrees(self, other: Self) -> bool {
        let all = |timers: Self| {
            [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_USER_TIMEOUT, TCP_RTO_MAX_MS, TCP_WINDOW_CLAMP]
                .map(|option| timers.get(SOL_TCP, option))
        };
        all(self) == all(other)
    }
}

impl World {
    /// setsockopt(2) of all of them.
    pub fn set_timers(&mut self, id: SocketId, timers: Timers) {
        if let Some(socket) = self.get(id) {
            socket.timers = timers;
        }
    }
}
