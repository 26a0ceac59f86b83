//! A single member of the directory: `serve DATA_DIR ADDR:PORT [SUPER_DIGEST [SNAPSHOT_ENTRIES]]`.
//! Prints the address that it listens on, and stops cleanly on SIGTERM.

use std::io::Write as _;

use towpath_directory::{Config, Directory};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(listen)) = (arguments.next(), arguments.next()) else {
        return Err("usage: serve DATA_DIR ADDR:PORT [SUPER_DIGEST [SNAPSHOT_ENTRIES]]".into());
    };
    let mut config = Config::new(dir);
    config.listen = listen.parse()?;
    config.super_digest = arguments.next();
    if let Some(entries) = arguments.next() {
        config.limits.snapshot_commands = entries.parse()?;
        config.limits.snapshot_keep_entries = 0;
    }
    let directory = Directory::start(config).await?;
    println!("{}", directory.address());
    std::io::stdout().flush()?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    terminate.recv().await;
    directory.stop().await;
    Ok(())
}
