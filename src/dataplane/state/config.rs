//! The config map's single value: what user space may change while the programs run.

use crate::asm::Field;
use crate::dataplane::options::Probation;
use crate::layout;

/// Native-endian layout shared with the programs, which read it by direct map-value address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The soft switch: when false every message takes the stack and no connection is enrolled.
    pub enabled: bool,
    /// Most redirected messages that may wait at one receiver.
    pub max_messages: u32,
    /// Most redirected bytes that may wait at one receiver.
    pub max_bytes: u32,
    /// Sticky tier: most bytes a direction may redirect in all, since the programs cannot see how many are still unread.
    pub sticky_bytes: u32,
    /// Redirect to a receiver that is not accepted yet, of which it is not known whether it will block. For kernels on
    /// which FIONREAD does not see what came by the stack: there a first message on the stack stalls a reader that trusts
    /// it (nginx, Java). The price is a MSG_WAITALL reader's, whose first read may come back short.
    pub redirect_unaccepted: bool,
    /// Leave readers alone that may ask FIONREAD how much there is: for kernels on which it does not see what was
    /// redirected.
    pub spare_askers: bool,
    /// Messages in a row, with none from the peer in between, that make a stream of a sender without TCP_NODELAY. The
    /// stack gathers such messages into full segments, at half the cost of redirecting each, so its pair leaves.
    pub stream_messages: u32,
    /// Seconds without a packet after which a pair's passive end probes its peer (TCP keepalive), unless the
    /// application has asked for keepalive itself; 0 for never, at most 32,767 (`MAX_TCP_KEEPIDLE`). Redirected bytes
    /// are no packets, so without probes connection tracking forgets a busy connection, and can then not translate its
    /// FIN.
    pub keepalive: u32,
    /// The drain leaves sockets with our keepalive settings (`membership::wake_reader`) until their callbacks have given the application's
    /// back: for as long as there are callbacks.
    pub spare_armed: bool,
    /// The shortest phase in which the speed of a stream is measured, in nanoseconds, where that is asked for
    /// ([`Streams::Auto`](crate::dataplane::Streams::Auto)).
    pub pace_nanos: u32,
    /// How many bytes pass between two looks at the clock; each message counts 4 KiB more.
    pub pace_work: u32,
}

layout! {
    /// The configuration map's value.
    pub(in crate::dataplane) struct Value: 44 {
        ENABLED: u32 = 0;
        MAX_MESSAGES: u32 = 4;
        MAX_BYTES: u32 = 8;
        STICKY_BYTES: u32 = 12;
        REDIRECT_UNACCEPTED: u32 = 16;
        KEEPALIVE: u32 = 20;
        STREAM_MESSAGES: u32 = 24;
        SPARE_ASKERS: u32 = 28;
        SPARE_ARMED: u32 = 32;
        PACE_NANOS: u32 = 36;
        PACE_WORK: u32 = 40;
    }
}

impl Config {
    /// Size of the map's value in bytes.
    pub const SIZE: usize = Value::SIZE;

    /// What a map's value says; `None` when it has another size, as another version's may.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let value: &[u8; Self::SIZE] = bytes.try_into().ok()?;
        let number = |field: Field<Value, u32>| {
            let word = value.get(field.offset() as usize..).and_then(<[u8]>::first_chunk);
            word.map_or(0, |word| u32::from_ne_bytes(*word))
        };
        Some(Self {
            enabled: number(Value::ENABLED) != 0,
            max_messages: number(Value::MAX_MESSAGES),
            max_bytes: number(Value::MAX_BYTES),
            sticky_bytes: number(Value::STICKY_BYTES),
            redirect_unaccepted: number(Value::REDIRECT_UNACCEPTED) != 0,
            spare_askers: number(Value::SPARE_ASKERS) != 0,
            stream_messages: number(Value::STREAM_MESSAGES),
            keepalive: number(Value::KEEPALIVE),
            spare_armed: number(Value::SPARE_ARMED) != 0,
            pace_nanos: number(Value::PACE_NANOS),
            pace_work: number(Value::PACE_WORK),
        })
    }

    /// Where sockets must be until their readers have earned trust.
    pub fn probation(self) -> Probation {
        if self.redirect_unaccepted { Probation::Outside } else { Probation::Inside }
    }

    /// The value to write into the map.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let words = [
            (Value::ENABLED, u32::from(self.enabled)),
            (Value::MAX_MESSAGES, self.max_messages),
            (Value::MAX_BYTES, self.max_bytes),
            (Value::STICKY_BYTES, self.sticky_bytes),
            (Value::REDIRECT_UNACCEPTED, u32::from(self.redirect_unaccepted)),
            (Value::KEEPALIVE, self.keepalive),
            (Value::STREAM_MESSAGES, self.stream_messages),
            (Value::SPARE_ASKERS, u32::from(self.spare_askers)),
            (Value::SPARE_ARMED, u32::from(self.spare_armed)),
            (Value::PACE_NANOS, self.pace_nanos),
            (Value::PACE_WORK, self.pace_work),
        ];
        for (field, word) in words {
            if let Some(place) = bytes.get_mut(field.offset() as usize..).and_then(<[u8]>::first_chunk_mut) {
                *place = word.to_ne_bytes();
            }
        }
        bytes
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            // Never reached before the bound by the sockets' buffers, unless the application has made these large.
            max_messages: 2048,
            max_bytes: 3 << 20,
            // What a sender of plain TCP can leave at a receiver that never reads: 2.7 to 3.9 MB were measured.
            sticky_bytes: 2 << 20,
            redirect_unaccepted: false,
            spare_askers: false,
            // A quarter of a millisecond's work, and more messages than a large answer usually has.
            stream_messages: 256,
            keepalive: 0,
            spare_armed: false,
            // Shorter than the turn of a thread on a busy CPU (2.8 ms on Linux 6.18), and long enough for many messages.
            pace_nanos: 2_000_000,
            // A look takes some 30 ns, and 128 messages take at least 100 us.
            pace_work: 512 << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn the_map_value_is_read_as_it_was_written() {
        for enabled in [false, true] {
            let config = Config { enabled, redirect_unaccepted: !enabled, ..Config::default() };
            assert_eq!(Config::from_bytes(&config.to_bytes()), Some(config));
        }
        assert_eq!(Config::from_bytes(&[0; Config::SIZE + 4]), None);
        assert_eq!(Config::from_bytes(&[]), None);
    }
}
