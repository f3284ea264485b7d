//! Who may see what, and how clients learn what they talk to.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::{Answer, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_ping_say_what_clients_need() {
    let server = TestServer::start_idle().await;
    let services = Answer::of(server.anonymous(Method::GET, "/.well-known/terraform.json")).await.expect(200);
    assert_eq!(services.headers["content-type"], "application/json");
    insta::assert_json_snapshot!(services.json);
    let ping = Answer::of(server.anonymous(Method::GET, "/api/v2/ping")).await.expect(204);
    for (name, value) in [("tfp-api-version", "2.6"), ("tfp-appname", "Terraform Enterprise"), ("x-tfe-version", "v202511-1")] {
        assert_eq!(ping.headers[name], value);
    }
    Answer::of(server.anonymous(Method::GET, "/_health_check")).await.expect(200);
}

#[test]
fn the_routes_are_known() {
    let table: Vec<_> = tfe_server::route_table().iter().map(|(method, path)| format!("{method} {path}")).collect();
    insta::assert_snapshot!(table.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_there_is_nothing() {
    let server = TestServer::start_idle().await;
    for path in ["/api/v2/account/details", "/api/v2/organizations", "/api/v2/runs/run-1"] {
        Answer::of(server.anonymous(Method::GET, path)).await.expect_error(401, "unauthorized");
        Answer::of(server.anonymous(Method::GET, path).bearer_auth("wrong")).await.expect(401);
    }
    server.get("/api/v2/nothing").await.expect_error(404, "not found");
    let wrong = "/_signed/state-download/sv-1/9999999999/AAAA";
    Answer::of(server.anonymous(Method::GET, wrong)).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_ends_when_it_is_deleted() {
    let server = TestServer::start_idle().await;
    let me = server.get("/api/v2/account/details").await.expect(200).id();
    let made = server
        .post(&format!("/api/v2/users/{me}/authentication-tokens"), json!({ "data": { "attributes": { "description": "ci" } } }))
        .await
        .expect(201);
    let secret = made.text_at("/data/attributes/token");
    let list = server.get(&format!("/api/v2/users/{me}/authentication-tokens")).await.expect(200);
    assert!(!list.text.contains(&secret));
    let with = || server.anonymous(Method::GET, "/api/v2/account/details").bearer_auth(&secret);
    Answer::of(with()).await.expect(200);
    server.delete(&format!("/api/v2/authentication-tokens/{}", made.id())).await.expect(204);
    Answer::of(with()).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_token_ends_at_its_organization() {
    let server = TestServer::start_idle().await;
    let other = json!({ "data": { "attributes": { "name": "other", "email": "a@example.com" } } });
    server.post("/api/v2/organizations", other).await.expect(201);
    let workspace = server.workspace("mine").await;
    let token =
        server.post("/api/v2/organizations/other/authentication-token", json!({})).await.expect(201).text_at("/data/attributes/token");
    let get = async |path: &str| Answer::of(server.anonymous(Method::GET, path).bearer_auth(&token)).await;
    get("/api/v2/organizations/other").await.expect(200);
    get("/api/v2/organizations/acme").await.expect(404);
    get(&format!("/api/v2/workspaces/{workspace}")).await.expect(404);
    assert_eq!(get("/api/v2/organizations").await.json["data"].as_array().unwrap().len(), 1);
}

/// `terraform login`, with a browser's part played by hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_approves_terraform_login() {
    let server = TestServer::start_idle().await;
    let (verifier, redirect) = ("verifier-of-the-cli", "http://localhost:10005/login");
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let request = [
        ("client_id", "terraform-cli"),
        ("response_type", "code"),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("redirect_uri", redirect),
        ("state", "xyz"),
    ];
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(request).finish();
    let page = format!("/oauth/authorization?{query}");
    let sent_away = Answer::of(server.anonymous(Method::GET, &page)).await.expect(303);
    assert!(sent_away.headers["location"].to_str().unwrap().starts_with("/session?next=%2Foauth"));

    let wrong = [("username", "admin"), ("password", "wrong")];
    Answer::of(server.anonymous(Method::POST, "/session").form(&wrong)).await.expect(401);
    let right = [("username", "admin"), ("password", "correct horse"), ("next", page.as_str())];
    let signed_in = Answer::of(server.anonymous(Method::POST, "/session").form(&right)).await.expect(303);
    assert_eq!(signed_in.headers["location"], page.as_str());
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let asked = Answer::of(server.anonymous(Method::GET, &page).header("cookie", &cookie)).await.expect(200);
    assert!(asked.text.contains("<strong>admin</strong>"));

    let decide = |site: &'static str, decision: &'static str| {
        let form: Vec<_> = request.into_iter().chain([("decision", decision)]).collect();
        server.anonymous(Method::POST, "/oauth/authorization").header("cookie", &cookie).header("sec-fetch-site", site).form(&form)
    };
    Answer::of(decide("cross-site", "approve")).await.expect(400);
    let denied = Answer::of(decide("same-origin", "deny")).await.expect(303);
    assert!(denied.headers["location"].to_str().unwrap().contains("error=access_denied"));
    let approved = Answer::of(decide("same-origin", "approve")).await.expect(303);
    let target = url::Url::parse(approved.headers["location"].to_str().unwrap()).unwrap();
    assert!(target.as_str().starts_with(redirect) && target.query().unwrap().contains("state=xyz"));
    let code = target.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();

    let exchange = |verifier: &str| {
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", "terraform-cli"),
            ("code", &code),
            ("code_verifier", verifier),
            ("redirect_uri", redirect),
        ];
        server.anonymous(Method::POST, "/oauth/token").form(&form)
    };
    Answer::of(exchange("another verifier")).await.expect(400);
    let token = Answer::of(exchange(verifier)).await.expect(200).text_at("/access_token");
    Answer::of(exchange(verifier)).await.expect(400);
    let account = server.anonymous(Method::GET, "/api/v2/account/details").bearer_auth(token);
    assert_eq!(Answer::of(account).await.expect(200).text_at("/data/attributes/username"), "admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_run_are_for_those_who_signed_in() {
    let server = TestServer::start().await;
    let workspace = server.workspace("paged").await;
    let configuration = server.configuration(&workspace, "output \"a\" { value = 1 }", false).await;
    let run = server.run(&workspace, &configuration, json!({ "message": "<script>alert(1)</script>", "auto-apply": true })).await;
    server.run_until(&run, &["applied"]).await;
    let page = format!("/app/acme/paged/runs/{run}");
    Answer::of(server.anonymous(Method::GET, &page)).await.expect(303);
    let form = [("token", server.token.as_str())];
    let signed_in = Answer::of(server.anonymous(Method::POST, "/session").form(&form)).await.expect(303);
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let get = async |path: &str| Answer::of(server.anonymous(Method::GET, path).header("cookie", &cookie)).await.expect(200);
    let shown = get(&page).await;
    assert!(shown.text.contains("applied") && shown.text.contains("/_signed/log/"), "{}", shown.text);
    assert!(!shown.text.contains("<script>alert"), "the message is escaped");
    assert!(shown.headers["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
    for path in ["/app", "/app/acme", "/app/acme/paged", "/app/settings/tokens", &format!("{page}/summary")] {
        get(path).await;
    }
}
