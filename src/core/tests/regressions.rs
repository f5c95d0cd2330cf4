//! What once broke, each under the name of what it should do.

use super::fixture::reason_of;
use super::fixture::{CURRENT, Request, World, account, digest, grant, hash, route, secret, token};
use crate::core::decide::{decide, resume};
use crate::core::explain::{Outcome, explain_token};
use crate::core::record::{Record, Timestamp, TokenRecord};
use crate::core::routes::ProjectSpec;
use crate::core::verdict::{Lane, Reason};

#[test]
fn a_query_parameter_that_is_there_twice_is_a_bad_request_even_if_the_first_is_no_id() {
    let records = [
        Record::Account(account(1)),
        Record::Token(token(1, &secret(1), &[grant("job_viewer", None)])),
    ];
    for query in
        ["project_id=x&project_id=10", "project_id=&project_id=", "project_id=x&project%5Fid=1"]
    {
        let request = Request::new("GET", &format!("/runs/?{query}"), &secret(1));
        assert_eq!(World::new().reason(&records, &request), Reason::BadRequest, "{query}");
    }
}
