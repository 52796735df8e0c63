//! Frames on a byte stream: four bytes of length, big-endian, then one JSON value.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a frame could not be written or read. After any of these the connection is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer announces a frame beyond the limit, or one was to be sent.
    #[error("a frame of {length} bytes passes the limit of {limit}")]
    TooLong {
        /// The announced length, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The frame is not the JSON of the expected kind.
    #[error("a frame is not in the expected form")]
    Form(#[from] serde_json::Error),
}

/// One value as a frame.
///
/// # Errors
/// When the value has no JSON form or passes [`MAX_FRAME`].
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let body = serde_json::to_vec(value)?;
    let too_long = FrameError::TooLong { length: body.len(), limit: MAX_FRAME };
    if body.len() > MAX_FRAME {
        return Err(too_long);
    }
    let Ok(length) = u32::try_from(body.len()) else {
        return Err(too_long);
    };
    let mut frame = Vec::with_capacity(body.len().saturating_add(PREFIX));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Takes bytes as they come and gives whole frames.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    bytes: Vec<u8>,
}

impl Decoder {
    /// A decoder that refuses frames of more than `limit` bytes before it has read them.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { limit, bytes: Vec::new() }
    }

    /// Bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if it has arrived.
    ///
    /// # Errors
    /// When the frame passes the limit or is not a `T`.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(prefix) = self.bytes.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(FrameError::TooLong { length, limit: self.limit });
        }
        let end = length.saturating_add(PREFIX);
        let Some(body) = self.bytes.get(PREFIX..end) else {
            return Ok(None);
        };
        let value = serde_json::from_slice(body)?;
        self.bytes.drain(..end);
        Ok(Some(value))
    }
}

const PREFIX: usize = 4;
/// Largest frame, in bytes: a batch of records, one of which may hold 256 KiB of arguments in base64.
pub const MAX_FRAME: usize = 2 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_beyond_the_limit_is_refused_before_it_arrives() {
        let mut decoder = Decoder::new(16);
        decoder.push(&17u32.to_be_bytes());
        assert!(matches!(decoder.take::<String>(), Err(FrameError::TooLong { length: 17, .. })));
    }

    proptest! {
        #[test]
        fn frames_come_whole_however_they_are_cut(values: Vec<String>, cut in 1usize..9) {
            let bytes: Vec<u8> = values.iter().flat_map(|value| encode(value).unwrap()).collect();
            let mut decoder = Decoder::new(MAX_FRAME);
            let mut read = Vec::new();
            for chunk in bytes.chunks(cut) {
                decoder.push(chunk);
                while let Some(value) = decoder.take::<String>().unwrap() {
                    read.push(value);
                }
            }
            prop_assert_eq!(read, values);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let mut decoder = Decoder::new(1024);
            decoder.push(&bytes);
            drop(decoder.take::<crate::hostlink::ToAuthority>());
        }
    }
}
