//! A directory in a temporary place, and a way to it that can be frozen.

use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use towpath_coordination::{ConnectOptions, Session, SessionState};
use towpath_directory::{Config, Directory};

pub(crate) struct Server {
    pub(crate) directory: Option<Directory>,
    pub(crate) config: Config,
    _dir: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let mut config = Config::new(dir.path());
        let directory = Directory::start(config.clone()).await.unwrap();
        config.listen = directory.address();
        Self {
            directory: Some(directory),
            config,
            _dir: dir,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.config.listen
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(directory) = self.directory.take() {
            directory.stop().await;
        }
    }

    pub(crate) async fn start_again(&mut self) {
        self.directory = Some(Directory::start(self.config.clone()).await.unwrap());
    }

    pub(crate) async fn session(&self) -> Session {
        connect(self.address(), 10_000).await
    }

    /// A session of one second, through a link that can be frozen.
    pub(crate) async fn fragile(&self) -> (Session, Link) {
        let link = Link::to(self.address()).await;
        (connect(link.address, 1000).await, link)
    }
}

pub(crate) async fn connect(address: SocketAddr, timeout_ms: u64) -> Session {
    let mut options = ConnectOptions::new([address.to_string()]);
    options.session_timeout = Duration::from_millis(timeout_ms);
    Session::connect(options).await.unwrap()
}

/// Passes bytes on, unless it's frozen: then it keeps connections, and passes nothing.
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    frozen: watch::Sender<bool>,
}

impl Link {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (frozen, state) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut state = state.clone();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(target).await else {
                        return;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let up = pass(from_client, to_server, state.clone());
                    let down = pass(from_server, to_client, state.clone());
                    tokio::select! {
                        () = up => {}
                        () = down => {}
                        // The owner of the link is gone.
                        _ = state.wait_for(|_| false) => {}
                    }
                });
            }
        });
        Self { address, frozen }
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }
}

async fn pass(
    from: tokio::net::tcp::OwnedReadHalf,
    to: tokio::net::tcp::OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = [0; 4096];
    loop {
        if from.readable().await.is_err() || frozen.wait_for(|frozen| !frozen).await.is_err() {
            return;
        }
        let count = match from.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            if to.writable().await.is_err() {
                return;
            }
            match to.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what)
        .await
        .expect("it happens")
}

pub(crate) async fn state(session: &Session, state: SessionState) {
    let mut statuses = session.statuses();
    soon(statuses.wait_for(|status| status.state == state))
        .await
        .unwrap();
}
