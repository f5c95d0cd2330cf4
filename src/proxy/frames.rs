//! WebSocket frames as they go by (RFC 6455 section 5.2): only where one ends, so that another can
//! be put behind it.

/// A close frame of a server: not masked, final, code 1008 "policy violation" (RFC 6455 sections
/// 5.5.1 and 7.4.1) and what the caller is told.
pub(super) fn close(told: &str) -> Vec<u8> {
    const POLICY_VIOLATION: [u8; 2] = 1008_u16.to_be_bytes();
    /// Of a control frame.
    const PAYLOAD_LIMIT: usize = 125;
    let told = &told.as_bytes()[..told.len().min(PAYLOAD_LIMIT - POLICY_VIOLATION.len())];
    let length = (POLICY_VIOLATION.len() + told.len()) as u8;
    [&[0x88, length], &POLICY_VIOLATION[..], told].concat()
}

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; 10],
    header_bytes: usize,
    payload_left: u64,
}

impl Frames {
    /// Whether the next byte begins a frame.
    pub(super) fn is_between(&self) -> bool {
        self.header_bytes == 0 && self.payload_left == 0
    }

    /// How many of the next bytes belong to the frame that is under way, as far as is known.
    pub(super) fn left(&self) -> usize {
        match (self.header_bytes, self.payload_left) {
            (0, 0) => 0,
            (0, left) => usize::try_from(left).unwrap_or(usize::MAX),
            _ => 1,
        }
    }

    /// These bytes went by.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            if self.payload_left > 0 {
                let passed = self.payload_left.min(bytes.len() as u64);
                self.payload_left -= passed;
                bytes = &bytes[passed as usize..];
            } else {
                self.header[self.header_bytes] = *first;
                self.header_bytes += 1;
                bytes = &bytes[1..];
                self.end_header();
            }
        }
    }

    /// Reads the length, once it is there. A mask, which a server does not send, counts as payload.
    fn end_header(&mut self) {
        let (length, mask) = match self.header[1] {
            _ if self.header_bytes < 2 => return,
            second => (second & 0x7f, u64::from(second >> 7) * 4),
        };
        let extended = &self.header[2..self.header_bytes];
        let payload = match (length, extended.len()) {
            (126, 2) | (127, 8) => {
                extended.iter().fold(0, |length, byte| length << 8 | u64::from(*byte))
            }
            (126 | 127, _) => return,
            (length, _) => u64::from(length),
        };
        self.payload_left = payload.saturating_add(mask);
        self.header_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_frame_is_found_however_bytes_are_cut_up() {
        let short = [&[0x81, 3][..], b"abc"].concat();
        let empty = vec![0x8a, 0];
        let middle = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        let long = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65_536]].concat();
        let masked = [&[0x81, 0x83, 1, 2, 3, 4][..], b"abc"].concat();
        for frame in [short, empty, middle, long, masked] {
            for size in [1, 2, 3, 1000] {
                let mut frames = Frames::default();
                let mut passed = 0;
                for bytes in frame.chunks(size) {
                    frames.pass(bytes);
                    passed += bytes.len();
                    assert_eq!(frames.is_between(), passed == frame.len(), "{passed} of {size}");
                }
            }
        }
    }

    #[test]
    fn what_is_left_of_a_frame_leads_to_its_end_and_not_beyond() {
        let frame = [&[0x82, 126, 0, 200][..], &[7; 200]].concat();
        let mut frames = Frames::default();
        frames.pass(&frame[..3]);
        let mut passed = 3;
        while !frames.is_between() {
            let left = frames.left();
            frames.pass(&frame[passed..passed + left]);
            passed += left;
        }
        assert_eq!(passed, frame.len());
    }

    #[test]
    fn a_close_frame_says_why() {
        assert_eq!(close("Invalid token."), b"\x88\x10\x03\xf0Invalid token.");
        assert_eq!(close(&"x".repeat(300)).len(), 127);
    }
}
