//! What the endpoint is told and what is kept of its answers: the rest is in `tests/`.

use super::*;
use crate::config::Concealed;

/// Of an endpoint that nobody is at, for tokens that begin with `old_`.
pub(in crate::legacy) fn settings() -> Introspection {
    Introspection {
        address: ("127.0.0.1".to_owned(), 1),
        target: "/introspect".parse().unwrap(),
        host: http::HeaderValue::from_static("127.0.0.1:1"),
        selectors: ["old_".to_owned()].into(),
        authorization: Concealed::new("Bearer x".to_owned()),
        tls: None,
        timeout: Duration::from_secs(2),
        cache_ttl: Duration::from_secs(60),
        connections: 4,
        audience: None,
        scope: Some("jobs".to_owned()),
        account: Some("account".to_owned()),
        user: Some("user".to_owned()),
    }
}

#[test]
fn an_answer_is_remembered_no_longer_than_the_token_is_valid() {
    let kept = Kept::new(Duration::from_secs(900), 10, Arc::new(super::super::LaneStats::idle()));
    let asking = Asking { client: Client::new(settings()), breaker: Breaker::new().into(), kept };
    let until = |expires: Option<i64>| {
        let expires = expires.map(|after| crate::core::record::Timestamp(now().0 + after));
        let claims = Claims { expires, ..Claims::default() };
        asking.until(&claims).saturating_duration_since(Instant::now()).as_secs_f64().round()
    };
    assert_eq!(
        [until(None), until(Some(3600)), until(Some(5)), until(Some(-5))],
        [60., 60., 5., 0.]
    );
}
