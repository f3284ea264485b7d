//! Where a request comes from, and over what.

use std::{convert::Infallible, net::IpAddr};

use axum::{extract::FromRequestParts, http::request::Parts};
use tfe_core::subnet::Subnet;

use crate::{app::App, error::ApiError};

/// The other end of the connection; unknown when an embedder serves the router.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Whether nothing was asked for on the connection before.
///
/// A client asks again by itself when a connection breaks that it has used before, as the transport of Go does with what changes
/// nothing (`net/http`, `Transport`); if the first question of a connection gets no answer, it gives up. So a first question is not
/// held until there is news: whoever follows a log over the death of a server would else be lost with the next one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct IsFirst(pub(crate) bool);

impl<S: Sync> FromRequestParts<S> for IsFirst {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_default())
    }
}

/// The client's address. What a proxy says counts if the proxy is trusted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

impl FromRequestParts<App> for ClientAddress {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Peer(peer) = parts.extensions.get::<Peer>().copied().ok_or(ApiError::NotFound)?;
        let forwarded = parts.headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<_> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
        client(peer, &hops, &app.settings.initial_admin.trusted_proxies).map(Self).ok_or(ApiError::NotFound)
    }
}

/// The nearest address that is no trusted proxy; none if a trusted proxy names something that is no address. Whoever
/// connects through a proxy that is not trusted counts as that proxy.
fn client(peer: IpAddr, hops: &[&str], trusted: &[Subnet]) -> Option<IpAddr> {
    let mut address = peer;
    for hop in hops.iter().rev() {
        if !trusted.iter().any(|proxy| proxy.contains(address)) {
            break;
        }
        address = hop.parse().ok()?;
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let trusted: Vec<Subnet> = vec!["10.0.0.0/8".parse().unwrap()];
        let from = |peer, hops: &[&str]| client(address(peer), hops, &trusted);
        assert_eq!(from("203.0.113.1", &["127.0.0.1"]), Some(address("203.0.113.1")));
        assert_eq!(from("10.0.0.1", &["127.0.0.1", "203.0.113.1"]), Some(address("203.0.113.1")));
        assert_eq!(from("10.0.0.1", &["203.0.113.1", "10.0.0.2"]), Some(address("203.0.113.1")));
        assert_eq!(from("10.0.0.1", &[]), Some(address("10.0.0.1")));
        assert_eq!(from("10.0.0.1", &["unknown"]), None);
    }
}
