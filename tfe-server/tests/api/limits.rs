//! How often somebody may ask.

use reqwest::{Method, StatusCode, header};
use tfe_server::Settings;

use crate::harness::{Answer, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_ask_again() {
    let server = TestServer::start_limited(Settings { rate_limit: Some(5), ..Settings::default() }).await;
    let mut refused = None;
    for _ in 0..100 {
        let answer = server.get("/api/v2/organizations/acme").await;
        assert!(answer.headers.contains_key("x-ratelimit-limit") && answer.headers.contains_key("x-ratelimit-remaining"));
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a hundred requests are more than five in a second");
    let reset: f64 = refused.headers["x-ratelimit-reset"].to_str().unwrap().parse().unwrap();
    assert!((0.0..=1.0).contains(&reset), "{reset}");
    assert_eq!(refused.json["errors"][0]["detail"], "You have exceeded the API's rate limit.");
    // Health is asked for by machines that must not be turned away.
    let health = Answer::of(server.anonymous(Method::GET, "/api/v1/health/liveness")).await;
    assert_eq!(health.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_cannot_be_guessed_for_long() {
    let server = TestServer::start_idle().await;
    let attempt = |password: &str| {
        let body = format!("username=admin&password={}", password.replace(' ', "+"));
        let request = server.anonymous(Method::POST, "/session").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        Answer::of(request.header(header::ORIGIN, &server.url).body(body))
    };
    for _ in 0..10 {
        assert_eq!(attempt("wrong").await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(attempt("correct horse").await.status, StatusCode::TOO_MANY_REQUESTS, "the right one comes too late to be of use");
}
