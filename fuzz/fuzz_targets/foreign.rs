//! Other gateways' files. The first line of an input names the format: `kong`, `envoy` or
//! `haproxy-map`. `SECRET` stands for a key that nothing may show.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::cli::import_fuzzing::{Gateway, keys, read_foreign};
use portcullis::core::record::Verifier;
use portcullis::store::Command;

const MARKED: &str = "MARKED~key~of~another~gateway~0123456789";

fuzz_target!(|text: &str| {
    let Some((format, text)) = text.split_once('\n') else { return };
    let gateway = match format {
        "kong" => Gateway::Kong,
        "envoy" => Gateway::Envoy,
        "haproxy-map" => Gateway::HaproxyMap,
        _ => return,
    };
    let text = text.replace("SECRET", MARKED);
    // YAML also ends lines at a carriage return.
    let lines = text.split(['\n', '\r']).count() as u64 + 1;
    let keys = keys();
    let digest = keys.current().digest(MARKED.as_bytes());
    let found = match read_foreign(gateway, text.as_bytes(), &keys) {
        Ok(found) => found,
        Err(message) => {
            let (line, what) = message.split_once(": ").expect("a line and what is wrong");
            assert!(line.parse::<u64>().is_ok_and(|line| line <= lines), "{message}");
            return assert!(!what.is_empty() && !what.contains(MARKED), "{message}");
        }
    };
    for (line, read) in found {
        assert!((1..=lines).contains(&line), "{line} of {lines}");
        match read {
            Ok(Command::CreateToken(token)) => {
                assert_eq!(token.user_id, None);
                assert_eq!(token.grants.len(), 1, "what the option says and no more");
                let marked = Verifier::Digest { key_id: "k1".to_owned(), digest };
                assert!(token.verifier != marked || text.contains(MARKED));
            }
            Ok(other) => panic!("a key is a token, not {other:?}"),
            Err(reason) => assert!(!reason.is_empty() && !reason.contains(MARKED), "{reason}"),
        }
    }
});
