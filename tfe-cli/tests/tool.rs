//! The tool as a process: exit codes, words, and what it sends.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
};

const TOKEN: &str = "the-token";
const ACCOUNT: &str = r#"{"data":{"id":"user-1","type":"users","attributes":{"username":"ada","email":null}}}"#;

/// A server for as many requests as the test makes: 503 first, then the account to whoever has the token.
fn server(requests: usize) -> (SocketAddr, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move |number: usize| {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let is_known = head.contains(&format!("authorization: bearer {TOKEN}\r\n"));
        let (status, body) = match (number, is_known) {
            (0, _) => ("503 Service Unavailable", ""),
            (_, true) => ("200 OK", ACCOUNT),
            (_, false) => ("401 Unauthorized", ""),
        };
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
        head
    };
    (address, thread::spawn(move || (0..requests).map(serve).collect()))
}

fn tfe(home: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tfe"));
    command.args(arguments).env_clear().env("HOME", home);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that needs no input may be gone before it gets any.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn configure(home: &Path, address: SocketAddr) {
    let block = format!("host \"tfe.example.com\" {{ services = {{ \"tfe.v2\" = \"http://{address}/api/v2/\" }} }}");
    std::fs::write(home.join(".terraformrc"), block).unwrap();
}

#[test]
fn a_token_from_the_standard_input_is_checked_stored_and_used() {
    let home = tempfile::tempdir().unwrap();
    let (address, requests) = server(3);
    configure(home.path(), address);
    let login = tfe(home.path(), &["login", "--token-stdin", "--hostname", "tfe.example.com"], &format!("{TOKEN}\n"));
    assert!(login.status.success(), "{login:?}");
    // The only host is found, and a pipe gets neither colour nor padding.
    let whoami = tfe(home.path(), &["whoami"], "");
    assert_eq!(String::from_utf8(whoami.stdout).unwrap(), "host\ttfe.example.com\nusername\tada\nemail\t\n");
    let requests = requests.join().unwrap();
    assert!(requests.iter().all(|head| head.starts_with("get /api/v2/account/details ")), "{requests:?}");
}

#[test]
fn a_token_that_is_not_accepted_is_not_stored() {
    let home = tempfile::tempdir().unwrap();
    let (address, requests) = server(2);
    configure(home.path(), address);
    let login = tfe(home.path(), &["login", "--token-stdin", "--hostname", "tfe.example.com"], "wrong");
    assert_eq!(login.status.code(), Some(4), "{login:?}");
    assert!(!home.path().join(".terraform.d").exists());
    requests.join().unwrap();
}

#[test]
fn wrong_usage_and_missing_tokens_have_their_exit_codes() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, code, advice) in [
        (&["nonsense"][..], 2, "Usage"),
        (&["whoami"], 2, "--hostname"),
        (&["workspace", "list", "--hostname", "tfe.example.com"], 2, "--organization"),
        (&["whoami", "--hostname", "https://tfe.example.com"], 2, "without https://"),
        (&["whoami", "--hostname", "tfe.example.com"], 4, "tfe login --hostname tfe.example.com"),
    ] {
        let output = tfe(home.path(), arguments, "");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), text.contains(advice)), (Some(code), true), "{arguments:?}: {text}");
    }
}

#[test]
fn help_tells_the_exit_codes() {
    let home = tempfile::tempdir().unwrap();
    let help = tfe(home.path(), &["--help"], "");
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success() && text.contains("Exit codes:") && text.contains("Examples:"), "{text}");
}
