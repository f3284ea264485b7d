//! A web site that counts what is fetched, breaks off, and stalls.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::bench::Files;

/// How an archive is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Whole,
    /// This many times only half of it, then the connection is closed.
    Broken(u32),
    /// Half of it, and then nothing for ever.
    Stalled,
}

/// A running site; it ends with the test's runtime.
pub(crate) struct Site {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    files: Files,
    manner: Mutex<Manner>,
    counts: Mutex<BTreeMap<String, u32>>,
    stalled: Notify,
}

impl Site {
    pub(crate) async fn start(files: Files, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { files, manner: Mutex::new(manner), counts: Mutex::default(), stalled: Notify::new() });
        let site = Self { url, shared: shared.clone() };
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let shared = shared.clone();
                tokio::spawn(async move { shared.answer(connection).await });
            }
        });
        site
    }

    /// How often files were fetched whose names end so.
    pub(crate) fn count(&self, suffix: &str) -> u32 {
        self.shared.counts.lock().unwrap().iter().filter(|(name, _)| name.ends_with(suffix)).map(|(_, count)| count).sum()
    }

    /// Waits until half an archive was sent and no more comes.
    pub(crate) async fn stalled(&self) {
        self.shared.stalled.notified().await;
    }
}

impl Shared {
    async fn answer(&self, connection: TcpStream) {
        let mut connection = BufReader::new(connection);
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| line.trim() != "") {
            let mut line = String::new();
            if connection.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            lines.push(line);
        }
        let target = lines[0].split(' ').nth(1).unwrap();
        let path = target.split('?').next().unwrap().trim_start_matches('/').to_owned();
        *self.counts.lock().unwrap().entry(path.clone()).or_default() += 1;
        let Some(content) = self.files.get(&path) else {
            let _ = connection.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            return;
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", content.len());
        let _ = connection.write_all(head.as_bytes()).await;
        let manner = if path.ends_with("64.zip") { self.next_manner() } else { Manner::Whole };
        let sent = if manner == Manner::Whole { content } else { &content[..content.len() / 2] };
        let _ = connection.write_all(sent).await;
        let _ = connection.flush().await;
        if manner == Manner::Stalled {
            self.stalled.notify_one();
            std::future::pending::<()>().await;
        }
    }

    fn next_manner(&self) -> Manner {
        let mut manner = self.manner.lock().unwrap();
        let now = *manner;
        *manner = match now {
            Manner::Broken(0 | 1) => Manner::Whole,
            Manner::Broken(times) => Manner::Broken(times - 1),
            other => other,
        };
        now
    }
}
