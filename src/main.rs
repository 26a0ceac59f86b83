//! The program `towpath`: dispatch to what each word of the command line means, and nothing else.

mod cli;
mod process;
mod run;
mod server;
mod monitor;
mod core;
mod check;
mod tail;
mod named;
mod verify;
mod resnapshot;
mod leave;
mod cluster;
mod explain;
mod coded;

use std::process::ExitCode;

use clap::FromArgMatches as _;

use cli::{Cli, Command};

/// Another process has taken the sink over: not a failure of this one, but the end of it.
const EXIT_SUPERSEDED: u8 = 3;

/// Makes glibc give the memory of large rows back.
///
/// By itself it raises the size from which an allocation has pages of its own each time that such a
/// one is freed, up to 32 MiB; what is smaller stays with the process, wherever it was left. A part
/// of a large transaction (`CHUNK_BYTES_MAX`) is not smaller: queued by one thread and dropped by
/// another, such parts would leave holes that are half of the process.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "mallopt takes two integers, and nothing else runs yet"
)]
fn keep_large_allocations_apart() {
    const BYTES: libc::c_int = 1024 * 1024;
    // Refused, it would be as before.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, BYTES) };
}

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    keep_large_allocations_apart();
    // One provider for all of rustls' users, whatever else is linked in.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let mut command = cli::command();
    let matches = command.get_matches_mut();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.format(&mut command).exit(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("towpath: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Run(arguments) => run::run(arguments).await,
            Command::Check(arguments) => check::check(arguments).await,
            Command::Server(arguments) => server::server(*arguments).await,
            Command::Monitor(arguments) => monitor::monitor(*arguments).await,
            Command::Core(arguments) => core::core(*arguments).await,
            Command::Console(console) => console.run().await,
            Command::Verb(verb) => verb.run().await,
            Command::Cluster(arguments) => cluster::cluster(*arguments).await,
            Command::Dir(dir) => dir.run().await,
            Command::Tail(arguments) => tail::tail(arguments).await,
            Command::Verify(arguments) => Ok(verify::verify(*arguments).await),
            Command::Resnapshot(arguments) => resnapshot::resnapshot(*arguments).await,
            Command::Rewind(arguments) => leave::rewind(*arguments).await,
            Command::Skip(arguments) => leave::skip(*arguments).await,
            Command::Adopt(arguments) => leave::adopt(*arguments).await,
            Command::Explain(arguments) => explain::explain(&arguments),
            Command::Completions(arguments) => {
                let script = &mut std::io::stdout();
                clap_complete::generate(arguments.shell, &mut command, "towpath", script);
                Ok(ExitCode::SUCCESS)
            }
        }
    });
    // A blocked write or a slow server must not hold the exit up.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            eprint!("{}", coded::lines(&error));
            ExitCode::FAILURE
        }
    }
}
