//! `portcullis audit verify`: whether the log is what was written.

use serde::Serialize;

use super::Verify;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::{Opened, Session};
use crate::store::{AuditReport, Finding, Store};

/// What was found, for scripts.
#[derive(Serialize)]
struct ReportShape<'r> {
    ok: bool,
    entries: u64,
    head: String,
    found: u64,
    findings: Vec<FindingShape<'r>>,
    given_up_keys: &'r [String],
}

#[derive(Serialize)]
struct FindingShape<'r> {
    #[serde(flatten)]
    finding: &'r Finding,
    message: String,
}

pub(super) fn run(verify: &Verify, session: &mut Session<'_>) -> Result<(), Failure> {
    let Opened { store, .. } = session.open()?;
    let report = store.verify_audit(verify.after.as_ref(), &verify.expect)?;
    if session.json {
        session.print_json(&shape(&report))?;
    } else {
        session.print(&text(&report))?;
    }
    if !report.given_up_keys.is_empty() {
        session.say(&format!(
            "entries sealed by keys that are no longer in digest.key ({}) are vouched for by later \
             ones",
            report.given_up_keys.join(", ")
        ));
    }
    match report.found {
        0 => Ok(()),
        found => Err(Failure {
            exit: Exit::Found,
            message: Some(format!(
                "the audit log is not what was written ({found} findings): keep this store as it \
                 is, and compare it with a backup"
            )),
        }),
    }
}

fn shape(report: &AuditReport) -> ReportShape<'_> {
    let AuditReport { entries, head, findings, found, given_up_keys } = report;
    ReportShape {
        ok: *found == 0,
        entries: *entries,
        head: head.to_string(),
        found: *found,
        findings: findings
            .iter()
            .map(|finding| FindingShape { finding, message: finding.to_string() })
            .collect(),
        given_up_keys,
    }
}

fn text(report: &AuditReport) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        text.push_str(&format!("{finding}\n"));
    }
    if report.found > report.findings.len() as u64 {
        let further = report.found - report.findings.len() as u64;
        text.push_str(&format!("and {further} further findings\n"));
    }
    if report.found == 0 {
        text.push_str(&format!("audit log ok: {} entries\n", report.entries));
    }
    text.push_str(&format!("head: {}\n", report.head));
    text
}
