//! The one request that the browser sends back, and as much HTTP as it takes to understand it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use url::Url;

use super::{LoginError, PATH};

/// Largest head of a request in bytes; a browser's has two or three kilobytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long one connection may take: browsers open some that they never use.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits for the request with the right state, and gives the code in it. Other requests are turned away.
pub(super) async fn wait(listener: &TcpListener, state: &str) -> Result<String, LoginError> {
    loop {
        let (stream, _) = listener.accept().await.map_err(|error| LoginError::Local(error.to_string()))?;
        let serving = tokio::time::timeout(CONNECTION_TIMEOUT, serve(stream, state));
        // A connection that is slow or breaks is not the answer; the answer may still come.
        if let Ok(Ok(Some(outcome))) = serving.await {
            return outcome;
        }
    }
}

type Outcome = Result<String, LoginError>;

async fn serve(mut stream: TcpStream, state: &str) -> std::io::Result<Option<Outcome>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_HEAD_BYTES {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    let outcome = understand(&String::from_utf8_lossy(&head), state);
    let (status, text) = match &outcome {
        Some(Ok(_)) => ("200 OK", "You are signed in. You can close this page and go back to the terminal."),
        Some(Err(_)) => ("403 Forbidden", "You are not signed in. The terminal says why."),
        None => ("404 Not Found", "There is nothing here."),
    };
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
    );
    // A browser that does not wait for its page has answered all the same.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    Ok(outcome)
}

/// The code or the refusal in a request, or none if it is another request.
fn understand(head: &str, state: &str) -> Option<Outcome> {
    let target = head.lines().next()?.strip_prefix("GET ")?.split(' ').next()?;
    let url = Url::parse("http://localhost/").ok()?.join(target).ok()?;
    let value = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    // A wrong state is a page that tries to sign somebody in as somebody else; the right answer may still come.
    if url.path() != PATH || value("state").as_deref() != Some(state) {
        return None;
    }
    match (value("code"), value("error")) {
        (Some(code), None) => Some(Ok(code)),
        (_, Some(error)) => Some(Err(LoginError::Denied(value("error_description").unwrap_or(error)))),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_request_is_the_answer() {
        let code = understand("GET /login?code=a%2Bb&state=s HTTP/1.1\r\n", "s").unwrap().unwrap();
        assert_eq!(code, "a+b");
        for other in
            ["GET /favicon.ico HTTP/1.1", "GET /login?code=c&state=other HTTP/1.1", "POST /login?code=c&state=s HTTP/1.1", "", "GET"]
        {
            assert!(understand(other, "s").is_none(), "{other}");
        }
        let denied = understand("GET /login?error=access_denied&state=s HTTP/1.1", "s").unwrap().unwrap_err();
        assert!(denied.to_string().contains("access_denied"));
    }

    #[tokio::test]
    async fn the_answer_comes_after_other_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let browser = async move {
            drop(TcpStream::connect(address).await.unwrap());
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /login?code=c&state=s HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).await.unwrap();
            assert!(page.contains("You are signed in"));
        };
        let (code, ()) = tokio::join!(wait(&listener, "s"), browser);
        assert_eq!(code.unwrap(), "c");
    }
}
