//! How a call has ended: the fields `grpc-status` and `grpc-message` of the trailers, or of the head where there is no body
//! (grpc/grpc, doc/PROTOCOL-HTTP2.md, "Responses").

use http::HeaderMap;

/// `UNIMPLEMENTED` (grpc/grpc, doc/statuscodes.md).
pub(super) const UNIMPLEMENTED: u32 = 12;

/// Most characters of a message that are kept.
const MAX_MESSAGE: usize = 300;

/// How a call has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// 0 means that it has succeeded.
    pub(super) code: u32,
    pub(super) message: String,
}

impl Status {
    /// The status in these fields, if there is one.
    pub(super) fn of(fields: &HeaderMap) -> Option<Self> {
        let code = fields.get("grpc-status")?.to_str().ok()?.parse().ok()?;
        let message = fields.get("grpc-message").map_or_else(String::new, |text| decode(text.as_bytes()));
        Some(Self { code, message })
    }
}

/// Undoes the percent-encoding, and cuts what is long.
fn decode(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.extend(u8::try_from(high * 16 + low));
                rest = behind.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).chars().take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn messages_are_decoded_and_cut() {
        assert_eq!(decode(b"a%20b%C3%A9"), "a b\u{e9}");
        assert_eq!(decode(b"100%"), "100%");
        assert_eq!(decode(b"%zz%4"), "%zz%4");
        assert_eq!(decode(b"%ff"), "\u{fffd}");
        assert_eq!(decode(&b"x".repeat(5_000)).len(), MAX_MESSAGE);
    }

    #[test]
    fn a_status_has_a_number() {
        let status = |code: &'static str| {
            Status::of(&HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                HeaderValue::from_static(code),
            )]))
        };
        assert_eq!(status("12").unwrap().code, UNIMPLEMENTED);
        for text in ["", "x", "-1", "99999999999"] {
            assert_eq!(status(text), None, "{text:?}");
        }
        assert_eq!(Status::of(&HeaderMap::new()), None);
    }
}
