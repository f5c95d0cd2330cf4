//! What a gate and a lane of its own say to each other: whatever comes is refused, or is what would be
//! written of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::legacy::{Answer, Question};

fuzz_target!(|frame: &[u8]| {
    if let Ok(question) = Question::read(frame) {
        assert_eq!(&question.frame()[4..], frame);
        let shown = format!("{question:?}");
        assert!(!shown.contains("MARKEDMARKEDMARKEDMARK"), "{shown}");
    }
    match Answer::read(frame) {
        Ok(answer) => assert_eq!(&answer.frame()[4..], frame),
        Err(fault) => assert!(!fault.is_empty()),
    }
});
