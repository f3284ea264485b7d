//! The transit engine of a real OpenBao: the promises of every vault, and what happens when the service is sealed,
//! forgets a token, lacks a line in its policy or loses its key.
//!
//! The service is named by `TFE_TEST_VAULT` with the root token `TFE_TEST_VAULT_TOKEN`; `TFE_TEST_VAULT_PROGRAM` is
//! the program, for tests that need a service of their own.

#![cfg(feature = "transit")]

mod support;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use support::bao::{Bao, with_bao, with_own_bao};
use tfe_core::secret::Secret;
use tfe_storage::{Finding, TransitLogin, TransitSettings, TransitVault, Vault, VaultError};

mod conformance {
    use super::{Arc, Vault, by_token, connect, with_bao};

    async fn with_vault(test: impl AsyncFnOnce(Arc<dyn Vault>)) {
        with_bao(async |bao| test(Arc::new(connect(by_token(&bao)).await.unwrap())).await).await;
    }

    tfe_storage::vault_conformance!(with_vault);
}

const LINES: [(&str, &[&str]); 5] = [
    ("encrypt/KEY", &["update"]),
    ("decrypt/KEY", &["update"]),
    ("rewrap/KEY", &["update"]),
    ("keys/KEY", &["create", "read", "update"]),
    ("keys/KEY/rotate", &["update"]),
];

#[tokio::test]
async fn the_documented_policy_is_enough() {
    with_bao(async |bao| {
        let vault = connect(by_role(&bao, &LINES).await).await.unwrap();
        let findings = vault.diagnose().await;
        assert!(findings.len() == 5 && findings.iter().all(Finding::is_good), "{findings:#?}");
        let sealed = vault.seal("c", b"value").await.unwrap();
        assert_eq!(vault.rotate().await.unwrap(), 2);
        assert_eq!(vault.rewrap("c", &sealed).await.unwrap().unwrap().as_str().split(':').nth(1), Some("v2"));
    })
    .await;
}

#[tokio::test]
async fn every_missing_line_of_the_policy_is_named() {
    with_bao(async |bao| {
        connect(by_role(&bao, &LINES).await).await.unwrap();
        for missing in 0..LINES.len() {
            let mut lines = LINES.to_vec();
            let (path, _) = lines.remove(missing);
            let settings = by_role(&bao, &lines).await;
            let wanted = format!("{}/{}", bao.mount, path.replace("KEY", &bao.key));
            let Ok(vault) = connect(settings.clone()).await else {
                let denied = connect(settings).await.unwrap_err();
                assert!(matches!(&denied, VaultError::Denied { path, .. } if *path == wanted), "{denied}");
                continue;
            };
            let findings = vault.diagnose().await;
            let problems: Vec<_> = findings.iter().filter_map(|finding| finding.problem.as_ref()).collect();
            assert_eq!(problems.len(), 1, "without {wanted}: {findings:#?}");
            assert!(problems[0].remedy.contains(&format!("path \"{wanted}\"")), "{problems:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_that_ended_is_replaced_by_a_new_login() {
    with_bao(async |bao| {
        let vault = connect(by_role(&bao, &LINES).await).await.unwrap();
        let sealed = vault.seal("c", b"value").await.unwrap();
        bao.call("POST", "sys/leases/revoke-force/auth/approle", json!({})).await;
        bao.call("PUT", "sys/leases/revoke-prefix/auth/approle", json!({})).await;
        for _ in 0..5 {
            assert_eq!(vault.open("c", &sealed).await.unwrap().as_slice(), b"value");
        }
    })
    .await;
}

#[tokio::test]
async fn short_leases_are_renewed() {
    with_bao(async |bao| {
        let settings = by_role_for(&bao, &LINES, "3s").await;
        let vault = connect(settings).await.unwrap();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            vault.check().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_login_is_refused() {
    with_bao(async |bao| {
        let settings = by_role(&bao, &LINES).await;
        let TransitLogin::AppRole { mount, role_id, .. } = settings.login.clone() else { unreachable!() };
        let login = TransitLogin::AppRole { mount, role_id, secret_id: Secret::from("wrong") };
        let result = connect(TransitSettings { login, ..settings.clone() }).await;
        assert!(matches!(result, Err(VaultError::LoginRefused)), "{result:?}");
        let login = TransitLogin::Token(Secret::from("wrong"));
        let result = connect(TransitSettings { login, ..settings }).await;
        assert!(matches!(result, Err(VaultError::Denied { .. })), "{result:?}");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_key_makes_values_unreadable_and_says_so() {
    with_bao(async |bao| {
        let vault = connect(by_token(&bao)).await.unwrap();
        let sealed = vault.seal("c", b"value").await.unwrap();
        bao.call("POST", &format!("{}/keys/{}/config", bao.mount, bao.key), json!({ "deletion_allowed": true })).await;
        bao.call("DELETE", &format!("{}/keys/{}", bao.mount, bao.key), Value::Null).await;
        let result = vault.open("c", &sealed).await;
        assert!(matches!(&result, Err(VaultError::KeyGone(name)) if *name == bao.key), "{result:?}");
    })
    .await;
}

#[tokio::test]
async fn old_versions_that_are_forbidden_are_named() {
    with_bao(async |bao| {
        let vault = connect(by_token(&bao)).await.unwrap();
        let sealed = vault.seal("c", b"value").await.unwrap();
        vault.rotate().await.unwrap();
        bao.call("POST", &format!("{}/keys/{}/config", bao.mount, bao.key), json!({ "min_decryption_version": 2 })).await;
        let result = vault.open("c", &sealed).await;
        assert!(matches!(result, Err(VaultError::KeyGone(_))), "{result:?}");
    })
    .await;
}

#[tokio::test]
async fn a_key_without_contexts_is_not_used() {
    with_bao(async |bao| {
        bao.call("POST", &format!("{}/keys/{}", bao.mount, bao.key), json!({})).await;
        let result = connect(by_token(&bao)).await;
        assert!(matches!(&result, Err(VaultError::Unusable(reason)) if reason.contains("not derived")), "{result:?}");
    })
    .await;
}

#[tokio::test]
async fn a_sealed_service_is_unavailable_and_works_again_when_unsealed() {
    with_own_bao(async |bao| {
        let vault = connect(by_role(&bao, &LINES).await).await.unwrap();
        let sealed = vault.seal("c", b"value").await.unwrap();
        for _ in 0..3 {
            bao.seal().await;
            for result in [vault.open("c", &sealed).await.map(drop), vault.seal("c", b"x").await.map(drop), vault.check().await] {
                assert!(matches!(result, Err(VaultError::Unavailable(_))), "{result:?}");
            }
            bao.unseal().await;
            assert_eq!(vault.open("c", &sealed).await.unwrap().as_slice(), b"value");
        }
    })
    .await;
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_unavailable_within_the_timeout() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bao = Bao::at(&format!("http://{}", silent.local_addr().unwrap()), "root");
    let begun = std::time::Instant::now();
    let result = connect(TransitSettings { timeout: Duration::from_millis(500), ..by_token(&bao) }).await;
    assert!(matches!(result, Err(VaultError::Unavailable(_))), "{result:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn settings_show_no_secret() {
    let bao = Bao::at("http://127.0.0.1:1", "hunter2");
    assert!(!format!("{:?}", by_token(&bao)).contains("hunter2"));
}

async fn connect(settings: TransitSettings) -> Result<TransitVault, VaultError> {
    TransitVault::connect(settings).await
}

fn by_token(bao: &Bao) -> TransitSettings {
    TransitSettings {
        address: bao.address.clone(),
        namespace: None,
        mount: bao.mount.clone(),
        key: bao.key.clone(),
        login: TransitLogin::Token(Secret::from(bao.token.as_str())),
        renew_every: Duration::from_hours(1),
        timeout: Duration::from_secs(5),
        authority: None,
    }
}

async fn by_role(bao: &Bao, lines: &[(&str, &[&str])]) -> TransitSettings {
    by_role_for(bao, lines, "1h").await
}

/// A new role whose policy has these lines, and whose tokens live that long.
async fn by_role_for(bao: &Bao, lines: &[(&str, &[&str])], lifetime: &str) -> TransitSettings {
    let line = |(path, capabilities): &(&str, &[&str])| {
        format!("path \"{}/{}\" {{ capabilities = {capabilities:?} }}\n", bao.mount, path.replace("KEY", &bao.key))
    };
    let (role_id, secret_id) = bao.role(&lines.iter().map(line).collect::<String>(), lifetime).await;
    let login = TransitLogin::AppRole { mount: "auth/approle".to_owned(), role_id, secret_id: Secret::from(secret_id) };
    TransitSettings { login, ..by_token(bao) }
}
