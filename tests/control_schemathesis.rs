//! The management API against its own description: whatever schemathesis makes of it.

use std::process::Command;

use crate::support::tools::{python, succeed};
use crate::support::world::PERSONAL;
use crate::support::{Control, Home, Request};

/// Calls that are made up for each operation, besides those at the edges of every schema.
const EXAMPLES: &str = "5";

#[test]
fn the_description_is_openapi_3_1() {
    let control = Control::new();
    let description = control.send(&Request::get("/openapi.json"));
    assert_eq!(description.status, 200);
    assert_eq!(description.json()["openapi"], "3.1.0");
    let file = control.home.path("openapi.json");
    std::fs::write(&file, &description.body).unwrap();
    succeed(python().args(["-m", "openapi_spec_validator"]).arg(file));
}

#[test]
fn the_api_does_what_its_description_says() {
    // It sends each call without a valid token as well, and expects 401 each time.
    let mut home = Home::new();
    home.set("limits", "failed_credentials", "\"off\"");
    let control = Control::in_home(home);
    // What one caller deletes, perhaps its own token, must not keep the other from its calls.
    for token in [PERSONAL, &control.admin] {
        succeed(&mut schemathesis(&control, token));
    }
    assert!(!control.gate.log().contains("ERROR"), "{}", control.gate.log());
}

/// Every check but that a body which fits the schema is taken: that the account of the body is the
/// one of the path cannot be said in a schema.
fn schemathesis(control: &Control, token: &str) -> Command {
    let program = std::path::PathBuf::from(python().get_program()).with_file_name("schemathesis");
    let url = format!("http://{}", control.gate.control_address());
    let mut command = Command::new(program);
    command
        .args(["run", &format!("{url}/openapi.json"), "--no-color"])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES])
        .args(["--generation-deterministic", "--suppress-health-check", "all"])
        .args(["--exclude-checks", "positive_data_acceptance"])
        .current_dir(control.home.folder())
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/schemathesis"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("no_proxy", "*");
    command
}
