//! The config map's single value: what user space may change while the programs run.

/// Native-endian layout shared with the programs, which read it by direct map-value address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The soft switch: when false every message takes the stack and no connection is enrolled.
    pub enabled: bool,
    /// Most redirected messages that may wait at one receiver.
    pub max_messages: u32,
    /// Most redirected bytes that may wait at one receiver.
    pub max_bytes: u32,
    /// Sticky tier: most bytes a direction may redirect in all, since nothing tells how many are still unread.
    pub sticky_bytes: u32,
    /// Redirect to a receiver that is not accepted yet, of which nobody knows whether it will block. For kernels on
    /// which FIONREAD does not see what came by the stack: there a first message on the stack stalls whoever trusts
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
}

impl Config {
    /// Size of the map's value in bytes.
    pub const SIZE: usize = 40;
    pub(in crate::dataplane) const ENABLED: i16 = 0;
    pub(in crate::dataplane) const MAX_MESSAGES: i16 = 4;
    pub(in crate::dataplane) const MAX_BYTES: i16 = 8;
    pub(in crate::dataplane) const STICKY_BYTES: i16 = 12;
    pub(in crate::dataplane) const REDIRECT_UNACCEPTED: i16 = 16;
    pub(in crate::dataplane) const STREAM_MESSAGES: i16 = 24;
    pub(in crate::dataplane) const KEEPALIVE: i16 = 20;
    pub(in crate::dataplane) const SPARE_ASKERS: i16 = 28;
    pub(in crate::dataplane) const SPARE_ARMED: i16 = 32;

    /// What a map's value says; `None` when it has another size, as another version's may.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<4>();
        let [
            enabled,
            max_messages,
            max_bytes,
            sticky_bytes,
            redirect_unaccepted,
            keepalive,
            stream_messages,
            spare_askers,
            spare_armed,
            _,
        ] = words
        else {
            return None;
        };
        let number = |word: &[u8; 4]| u32::from_ne_bytes(*word);
        Some(Self {
            enabled: number(enabled) != 0,
            max_messages: number(max_messages),
            max_bytes: number(max_bytes),
            sticky_bytes: number(sticky_bytes),
            redirect_unaccepted: number(redirect_unaccepted) != 0,
            spare_askers: number(spare_askers) != 0,
            stream_messages: number(stream_messages),
            keepalive: number(keepalive),
            spare_armed: number(spare_armed) != 0,
        })
    }

    /// The value to write into the map.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let words = [
            u32::from(self.enabled),
            self.max_messages,
            self.max_bytes,
            self.sticky_bytes,
            u32::from(self.redirect_unaccepted),
            self.keepalive,
            self.stream_messages,
            u32::from(self.spare_askers),
            u32::from(self.spare_armed),
        ];
        let mut bytes = [0; Self::SIZE];
        let (places, _) = bytes.as_chunks_mut::<4>();
        places.iter_mut().zip(words).for_each(|(place, word)| *place = word.to_ne_bytes());
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
