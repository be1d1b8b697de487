//! How messages are in the body of a request or an answer: one byte that says whether it is compressed, its length in four bytes,
//! and its bytes (grpc/grpc, doc/PROTOCOL-HTTP2.md, "Length-Prefixed-Message").

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before a message.
const HEAD: usize = 5;

/// The longest message that is taken: as the kubelet has it (`maxMsgSize` of k8s.io/cri-client).
const MAX_MESSAGE: usize = 16 << 20;

/// A message as it is sent.
pub(super) fn frame(message: &impl prost::Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut bytes = BytesMut::with_capacity(HEAD + message.len());
    bytes.put_u8(0);
    // Requests have a few bytes.
    bytes.put_u32(message.len().try_into().unwrap_or(u32::MAX));
    bytes.put_slice(&message);
    bytes.freeze()
}

/// Takes messages out of bytes as they come.
#[derive(Debug, Default)]
pub(super) struct Unframer {
    bytes: BytesMut,
}

impl Unframer {
    /// More bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message; none as long as it is incomplete. The error says what is wrong.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, String> {
        let Some((head, rest)) = self.bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [is_compressed, length @ ..] = *head;
        if is_compressed != 0 {
            return Err("a message is compressed, which was not asked for".into());
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE {
            return Err(format!("a message of {length} bytes is longer than {MAX_MESSAGE}"));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.bytes.advance(HEAD);
        Ok(Some(self.bytes.split_to(length).freeze()))
    }

    /// Whether nothing is left over.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let bytes = [&[0, 0, 0, 0, 3, 1, 2, 3][..], &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 1, 9]].concat();
        for step in 1..bytes.len() {
            let (mut unframer, mut found) = (Unframer::default(), Vec::new());
            for part in bytes.chunks(step) {
                unframer.push(part);
                while let Some(message) = unframer.next().unwrap() {
                    found.push(message.to_vec());
                }
            }
            assert_eq!(found, [vec![1, 2, 3], vec![], vec![9]]);
            assert!(unframer.is_empty());
        }
    }

    #[test]
    fn compressed_and_huge_messages_are_refused_at_their_head() {
        let refused = |bytes: &[u8]| {
            let mut unframer = Unframer::default();
            unframer.push(bytes);
            unframer.next().unwrap_err()
        };
        assert!(refused(&[1, 0, 0, 0, 0]).contains("compressed"));
        assert!(refused(&[0, 255, 255, 255, 255]).contains("4294967295 bytes"));
        assert!(refused(&[0, 1, 0, 0, 1]).contains("16777217 bytes"));
    }
}
