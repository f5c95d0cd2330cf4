//! One import line: what is taken is what it says, what is refused is refused without showing
//! anything that could recognise a token. `SECRET` in an input stands for such a thing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::cli::import_fuzzing::{keys, read_line, redacted};
use portcullis::store::Command;
use serde_json::Value;

/// Begins as our tokens do, and is none: in no place of a line may it be shown.
const MARKED: &str = "pts_MARKEDmarkedMARKEDmarkedMARKEDmarked";
const VERIFIERS: [&str; 5] = ["token", "digest", "sha256", "hash", "introspect"];

fuzz_target!(|text: &str| {
    let line = text.replace("SECRET", MARKED);
    let keys = keys();
    let shown = redacted(&line);
    assert!(!shown.contains(MARKED), "{shown}");
    match read_line(&line, &keys) {
        Ok(command) => {
            let object: Value = serde_json::from_str(&line).expect("what is taken is JSON");
            let object = object.as_object().expect("what is taken is an object");
            is_what_the_line_says(&command, object);
            assert_eq!(read_line(&line, &keys), Ok(command), "the same each time");
        }
        Err(reason) => {
            assert!(!reason.is_empty());
            assert!(!reason.contains(MARKED), "{reason}");
        }
    }
});

fn is_what_the_line_says(command: &Command, object: &serde_json::Map<String, Value>) {
    let kind = object.get("type").and_then(Value::as_str).unwrap_or("token");
    let number = |key: &str| object.get(key).and_then(Value::as_u64);
    match command {
        Command::CreateAccount { id, name, .. } => {
            assert_eq!((kind, number("id")), ("account", Some(*id)));
            assert_eq!(object["name"], **name);
        }
        Command::CreateProject { account_id, id, .. } => {
            assert_eq!((kind, number("account_id")), ("project", Some(*account_id)));
            assert_eq!(number("id"), Some(*id));
        }
        Command::CreateUser { account_id, .. } => {
            assert_eq!((kind, number("account_id")), ("user", Some(*account_id)));
        }
        Command::AddIpRule { account_id, cidr, .. } => {
            assert_eq!((kind, number("account_id")), ("ip_rule", Some(*account_id)));
            assert_eq!(portcullis::core::ip::canonical(*cidr), Ok(*cidr));
        }
        Command::EnableIpRules { account_id, enabled } => {
            assert_eq!((kind, number("account_id")), ("ip_rules", Some(*account_id)));
            assert_eq!(object["enabled"], *enabled);
        }
        Command::SetId { account_id, project_id, .. } => {
            assert_eq!((kind, number("account_id")), ("id", Some(*account_id)));
            assert_eq!(number("project_id"), Some(*project_id));
        }
        Command::CreateToken(token) => {
            assert_eq!((kind, number("account_id")), ("token", Some(token.account_id)));
            let given = |key: &&str| object.get(*key).is_some_and(|value| is_given(value));
            let verifiers: Vec<&str> = VERIFIERS.into_iter().filter(given).collect();
            assert_eq!(verifiers.len(), 1, "{verifiers:?}");
            let grants = object.get("grants").and_then(Value::as_array).map_or(0, Vec::len);
            assert_eq!(token.grants.len(), grants);
            assert!(!format!("{token:?}").contains(&hex::encode([0x0f; 32])));
        }
        other => panic!("no line asks for {other:?}"),
    }
}

fn is_given(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}
