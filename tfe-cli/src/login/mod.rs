//! Signing in with a browser, as terraform does: OAuth with a proof key (RFC 7636), the answer sent to a port of this
//! machine.
//!
//! The proof key is what makes the public client safe: whoever sees the code go by cannot use it without the verifier,
//! which never leaves this process until the code is exchanged over the encrypted connection.

mod callback;

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::header;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tfe_core::secret::Secret;
use tokio::net::TcpListener;
use url::{Url, form_urlencoded};

use crate::{
    client::{builder, causes},
    credentials::LoginService,
};

/// How long somebody may take to sign in: long enough to find a second factor.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long the exchange of the code may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many ports are tried; the range may be all there are.
const MAX_PORTS: usize = 100;
/// The path that the answer is sent to (terraform's login protocol, version 1).
const PATH: &str = "/login";

/// Why signing in did not work.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No port in the server's range is free.
    #[error("none of the ports {first} to {last} is free on this machine; end what uses them, or use: tfe login --token-stdin")]
    NoPort {
        /// The first port.
        first: u16,
        /// The last port.
        last: u16,
    },
    /// Nobody answered.
    #[error("nobody signed in within {} minutes; try again", PATIENCE.as_secs() / 60)]
    TimedOut,
    /// The answer was no.
    #[error("the server did not let you in: {0}; try again, or use: tfe login --token-stdin")]
    Denied(String),
    /// The code could not be exchanged.
    #[error("the server gave no token: {0}; try again, or use: tfe login --token-stdin")]
    Exchange(String),
    /// This machine is in the way.
    #[error("signing in is not possible on this machine: {0}; use: tfe login --token-stdin")]
    Local(String),
}

/// Signs in: announces the address to open in a browser, waits for the answer, and gives the token.
///
/// Waits ten minutes at most.
pub async fn login(service: &LoginService, announce: &mut (dyn FnMut(&Url) + Send)) -> Result<Secret, LoginError> {
    let listener = listen(service.ports).await?;
    let port = listener.local_addr().map_err(|error| LoginError::Local(error.to_string()))?.port();
    let attempt = Attempt { redirect: format!("http://localhost:{port}{PATH}"), state: random()?, verifier: random()? };
    announce(&attempt.authorization(service));
    let waiting = callback::wait(&listener, &attempt.state);
    let code = tokio::time::timeout(PATIENCE, waiting).await.map_err(|_| LoginError::TimedOut)??;
    attempt.exchange(service, &code).await
}

/// What belongs to one try.
struct Attempt {
    redirect: String,
    state: String,
    verifier: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(with = "tfe_core::secret::exposed")]
    access_token: Secret,
}

impl Attempt {
    fn authorization(&self, service: &LoginService) -> Url {
        let mut url = service.authorization.clone();
        url.query_pairs_mut()
            .append_pair("client_id", &service.client)
            .append_pair("code_challenge", &challenge(&self.verifier))
            .append_pair("code_challenge_method", "S256")
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("response_type", "code")
            .append_pair("state", &self.state);
        url
    }

    async fn exchange(&self, service: &LoginService, code: &str) -> Result<Secret, LoginError> {
        let failed = |error: reqwest::Error| LoginError::Exchange(causes(&error.without_url()));
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", &service.client)
            .append_pair("code", code)
            .append_pair("code_verifier", &self.verifier)
            .append_pair("grant_type", "authorization_code")
            .append_pair("redirect_uri", &self.redirect)
            .finish();
        let client = builder().timeout(EXCHANGE_TIMEOUT).build().map_err(failed)?;
        let request = client.post(service.token.clone()).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let response = request.header(header::ACCEPT, "application/json").body(form).send().await.map_err(failed)?;
        let answer: Answer = response.error_for_status().map_err(failed)?.json().await.map_err(failed)?;
        Ok(answer.access_token)
    }
}

async fn listen((first, last): (u16, u16)) -> Result<TcpListener, LoginError> {
    // Any place in the range to begin with, so that two at the same time seldom want the same port.
    let mut bytes = [0_u8; 2];
    getrandom::fill(&mut bytes).map_err(|error| LoginError::Local(error.to_string()))?;
    let count = usize::from(last - first) + 1;
    let start = usize::from(u16::from_le_bytes(bytes)) % count;
    for port in (first..=last).cycle().skip(start).take(count.min(MAX_PORTS)) {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return Ok(listener);
        }
    }
    Err(LoginError::NoPort { first, last })
}

/// 256 bits of chance in letters that an address takes.
fn random() -> Result<String, LoginError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| LoginError::Local(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_the_standard() {
        // RFC 7636, appendix B.
        assert_eq!(challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[tokio::test]
    async fn taken_ports_are_reported() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(matches!(listen((port, port)).await, Err(LoginError::NoPort { .. })));
    }
}
