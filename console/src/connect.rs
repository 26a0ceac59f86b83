//! Where the directory is.

use std::time::Duration;

use clap::Args;
use towpath_coordination::{ConnectOptions, Session};

/// A person waits for the answer.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Where the directory is.
#[derive(Clone, Debug, Args)]
pub struct Connect {
    /// Where the directory is: host:port of one or more Servers, separated by commas.
    #[arg(
        long,
        value_name = "ADDR:PORT[,…]",
        env = "TOWPATH_DIRECTORY",
        value_delimiter = ',',
        global = true
    )]
    pub directory: Vec<String>,
}

impl Connect {
    /// A session with the directory.
    ///
    /// # Errors
    /// Nobody said where it is, or it doesn't answer.
    pub async fn session(&self) -> anyhow::Result<Session> {
        if self.directory.is_empty() {
            anyhow::bail!(
                "which directory? give --directory ADDR:PORT of a Server, or set TOWPATH_DIRECTORY"
            );
        }
        let mut options = ConnectOptions::new(self.directory.iter().cloned());
        options.connect_timeout = CONNECT_MAX;
        // A console holds nothing that another should get soon.
        options.session_timeout = Duration::from_secs(10);
        Ok(Session::connect(options).await?)
    }
}
