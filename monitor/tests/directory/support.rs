//! A directory in a temporary place, a way to it that can be frozen, a receiver that can be
//! difficult, and whoever else writes the tree.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use towpath_coordination::{ConnectOptions, Expect, Session};
use towpath_directory::{Config, Directory};
use towpath_monitor::{Monitor, MonitorOptions, MonitorStatus, Timings};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{
    Alert, AppliedSpec, Desired, Failure, Probe, Record, Versioned,
};
use towpath_protocol::tree::{AlertId, path};

pub(crate) struct Cluster {
    pub(crate) address: SocketAddr,
    pub(crate) session: Session,
    _directory: Directory,
    _dir: TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let directory = Directory::start(Config::new(dir.path())).await.unwrap();
        let address = directory.address();
        let session = Session::connect(ConnectOptions::new([address.to_string()]))
            .await
            .unwrap();
        session.found_cluster().await.unwrap();
        Self {
            address,
            session,
            _directory: directory,
            _dir: dir,
        }
    }

    pub(crate) fn options(&self, id: &str, address: SocketAddr) -> MonitorOptions {
        let mut connect = ConnectOptions::new([address.to_string()]);
        connect.session_timeout = Duration::from_secs(1);
        let mut options = MonitorOptions::new(id.parse().unwrap(), connect);
        options.environment =
            Arc::new(|name| (name == "HOOK_SECRET").then(|| "tr0ub4dor".to_owned()));
        let short = Duration::from_millis(200);
        options.timings = Timings {
            source_hold: short,
            failed_clear: short,
            clear: short,
            ..Timings::default()
        };
        options
    }

    pub(crate) async fn monitor(&self, id: &str) -> Monitor {
        Monitor::start(self.options(id, self.address))
            .await
            .unwrap()
    }

    /// Applies a pipeline with these hooks.
    pub(crate) async fn apply(&self, name: &str, hooks: &str) {
        let pipeline: PipelineName = name.parse().unwrap();
        let mut spec = example::<AppliedSpec>();
        spec.text = format!("name = \"{name}\"\n{hooks}");
        self.put(&path::spec(&pipeline), spec).await;
        self.put(&path::desired(&pipeline), example::<Desired>())
            .await;
    }

    pub(crate) async fn put<T: Record>(&self, path: &towpath_protocol::tree::NodePath, record: T) {
        self.session
            .write(path, record, Expect::Anything)
            .await
            .unwrap();
    }

    /// Lets the task of a pipeline fail.
    pub(crate) async fn fail(&self, name: &str, text: &str) {
        let failure = Failure {
            text: text.into(),
            ..example()
        };
        let node = path::failure(&name.parse().unwrap(), &"replica".parse().unwrap());
        self.put(&node, failure).await;
    }

    /// It runs again.
    pub(crate) async fn mend(&self, name: &str) {
        let (pipeline, task) = (name.parse().unwrap(), "replica".parse().unwrap());
        self.session
            .remove(&path::failure(&pipeline, &task), None)
            .await
            .unwrap();
        self.put(
            &path::progress(&pipeline, &task),
            example::<towpath_protocol::tree::record::Progress>(),
        )
        .await;
    }

    pub(crate) async fn probe(&self, answers: bool) {
        let probe = Probe {
            answers,
            ..example()
        };
        self.put(&path::probe(&"primary".parse().unwrap()), probe)
            .await;
    }

    /// Waits until the leader has looked at all that was written so far.
    pub(crate) async fn looked(&self, name: &str) {
        let probe = Probe {
            answers: false,
            ..example()
        };
        self.put(&path::probe(&name.parse().unwrap()), probe).await;
        self.alert(&format!("source-down.{name}"), |_| true).await;
    }

    /// Waits until an alert is as it should be.
    pub(crate) async fn alert(&self, id: &str, is: impl Fn(&Alert) -> bool) -> Alert {
        let id: AlertId = id.parse().unwrap();
        let node = path::alert(&id);
        soon(async {
            loop {
                if let Some(entry) = self.session.read::<Alert>(&node).await.unwrap()
                    && is(&entry.value.record)
                {
                    return entry.value.record;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }
}

pub(crate) fn example<T: Record>() -> T {
    Versioned::from_json(T::EXAMPLE.as_bytes()).unwrap().record
}

pub(crate) async fn status(monitor: &Monitor, is: impl Fn(&MonitorStatus) -> bool) {
    soon(async {
        while !is(&monitor.status()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what)
        .await
        .expect("it happens")
}

/// How a receiver answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Status(u16, &'static str),
    Hang,
}

pub(crate) const OK: Answer = Answer::Status(200, "");

/// A request that a receiver got.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) accepted: bool,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn key(&self) -> &str {
        &self.headers["idempotency-key"]
    }
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) answer: watch::Sender<Answer>,
    requests: tokio::sync::Mutex<mpsc::UnboundedReceiver<Request>>,
    accepted: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::listen(None).await
    }

    /// One that speaks TLS if it's given a way to.
    pub(crate) async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, answers) = watch::channel(OK);
        let (send, requests) = mpsc::unbounded_channel();
        let accepted: Arc<Mutex<Vec<String>>> = Arc::default();
        let all = accepted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, send, all) = (answers.clone(), send.clone(), all.clone());
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, answers, send, all).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, answers, send, all).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            answer,
            requests: requests.into(),
            accepted,
        }
    }

    pub(crate) async fn next(&self) -> Request {
        soon(async { self.requests.lock().await.recv().await.unwrap() }).await
    }

    /// The next one that it says yes to.
    pub(crate) async fn accepts(&self) -> Request {
        loop {
            let request = self.next().await;
            if request.accepted {
                return request;
            }
        }
    }

    /// The keys of all that were accepted, in order.
    pub(crate) fn accepted(&self) -> Vec<String> {
        self.accepted.lock().unwrap().clone()
    }

    pub(crate) fn hook(&self, name: &str) -> String {
        format!(
            "[[alert.hook]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"http://{}/alerts?a=b\"\n",
            self.address
        )
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut answers: watch::Receiver<Answer>,
    send: mpsc::UnboundedSender<Request>,
    all: Arc<Mutex<Vec<String>>>,
) {
    let mut bytes = Vec::new();
    let (headers, body) = loop {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        assert!(head.starts_with("POST /alerts?a=b HTTP/1.1\r\n"), "{head}");
        let headers: BTreeMap<_, _> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        if body.len() == headers["content-length"].parse::<usize>().unwrap() {
            break (headers, body.to_owned());
        }
    };
    let answer = answers.borrow_and_update().clone();
    let accepted = matches!(answer, Answer::Status(200..=299, _));
    let request = Request {
        headers,
        body,
        accepted,
    };
    if accepted {
        all.lock().unwrap().push(request.key().to_owned());
    }
    let _ = send.send(request);
    match answer {
        Answer::Status(status, header) => {
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n{header}\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.flush().await;
        }
        Answer::Hang => {
            let _ = stream.read(&mut [0]).await;
        }
    }
}

/// Passes bytes on to the directory until it's cut.
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    cut: watch::Sender<bool>,
}

impl Link {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, state) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut state = state.clone();
                tokio::spawn(async move {
                    if *state.borrow() {
                        return;
                    }
                    let Ok(mut server) = TcpStream::connect(target).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = state.wait_for(|cut| *cut) => {}
                    }
                });
            }
        });
        Self { address, cut }
    }

    pub(crate) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
