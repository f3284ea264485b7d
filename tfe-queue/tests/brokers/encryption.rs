//! Encrypted connections: whom they trust.

use std::{env, error::Error, path::Path, process::Command, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tfe_queue::{Queue, open_queue};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::support::{assert_heals, bounded, named_queue, queue_options, rabbitmq, redis, unique_name};

/// Tells a child process where the encrypted servers are.
const URLS: &str = "TFE_TEST_ENCRYPTED_URLS";

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_is_refused() {
    let (Some(redis), Some(rabbitmq)) = (redis(), rabbitmq()) else { return };
    let authority = tempfile::tempdir().unwrap();
    for url in encrypted(&[redis, rabbitmq], authority.path()).await {
        let queue = open_queue(&url, queue_options(&unique_name())).unwrap();
        let error = bounded(queue.check()).await.unwrap_err();
        let reason = error.source().unwrap().to_string().to_lowercase();
        assert!(reason.contains("certificate") && reason.contains("issuer"), "{reason}");
    }
}

/// The roots are those of the process, so this needs a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_the_system_is_trusted() {
    let (Some(redis), Some(rabbitmq)) = (redis(), rabbitmq()) else { return };
    let authority = tempfile::tempdir().unwrap();
    let urls = encrypted(&[redis, rabbitmq], authority.path()).await;
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "encryption::in_a_child_process", "--ignored", "--nocapture"]);
    child.env("SSL_CERT_FILE", authority.path().join("authority.pem")).env(URLS, urls.join(" "));
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by an_authority_of_the_system_is_trusted"]
async fn in_a_child_process() {
    for url in env::var(URLS).unwrap().split(' ') {
        let queue: Arc<dyn Queue> = named_queue(url, &unique_name()).await;
        assert_heals(&*queue).await;
    }
}

/// Stands before the servers of URLs with encryption, certified by an authority whose certificate is put into the
/// directory.
async fn encrypted(urls: &[String], directory: &Path) -> Vec<String> {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(directory.join("authority.pem"), authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut encrypted = Vec::new();
    for url in urls {
        let target = url.rsplit(['/', '@']).find(|part| part.contains(':')).unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        encrypted.push(url.replace("://", "s://").replace(&target, &format!("localhost:{port}")));
        tokio::spawn(serve(listener, acceptor.clone(), target));
    }
    encrypted
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, target: String) {
    while let Ok((client, _)) = listener.accept().await {
        let (acceptor, target) = (acceptor.clone(), target.clone());
        tokio::spawn(async move {
            // A client that does not trust us goes away here.
            let Ok(mut client) = acceptor.accept(client).await else { return };
            let mut server = TcpStream::connect(target).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}
