//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::StartAt;
use towpath_protocol::tree::MemberId;

use crate::process::http::Http;
use crate::process::stop::Supervised;
use crate::process::tls::Tls;
use crate::process::tokens::Tokens;

/// Replicates a MySQL binlog into another database: exactly once, in order, across any crash.
#[derive(Debug, Parser)]
#[command(name = "towpath", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run pipelines on this machine until SIGTERM or Ctrl-C.
    ///
    /// Starts a Server, a Core and a Monitor as child processes with a private data folder; then
    /// every other command works from another terminal without saying where the directory is. The
    /// place of a pipeline is kept in its sink: start it again after any crash, on any machine, and
    /// it goes on where the sink stands.
    ///
    /// One pipeline with snapshot = "only" runs in this very process, and ends when all is copied.
    ///
    /// Exit codes: 0 stopped as asked, 1 an error that needs you, 2 wrong usage; with --standalone
    /// also 3, superseded by another process of the same pipeline.
    Run(Run),
    /// Check everything that a pipeline needs, and say how to mend what is missing.
    ///
    /// Changes nothing. Exit codes: 0 ready to run, 1 something must be mended first.
    Check(Check),
    /// Run a Server: a member of the directory where all processes of a cluster meet.
    ///
    /// One Server on loopback needs no more than this. The ZooKeeper protocol is on its port.
    /// Stops in order on SIGTERM.
    Server(Box<Server>),
    /// Run a Monitor: watches the cluster, raises alerts, and tells people by hooks.
    ///
    /// Several may run; one of them leads. Hooks of pipelines get their variables from this
    /// process's environment. Stops in order on SIGTERM.
    Monitor(Box<Monitor>),
    /// Run a Core: it moves the data of the pipelines that the directory assigns to it.
    ///
    /// Passwords in pipeline files are taken from this process's environment. Start two, and one
    /// takes over from the other. Stops in order on SIGTERM.
    Core(Box<Core>),
    /// Show the cluster live on this terminal: pipelines, Cores, alerts, the directory.
    ///
    /// Press ? there for its keys. Leaves everything running when it ends.
    Console(towpath_console::Console),
    #[command(flatten)]
    Verb(towpath_console::Verb),
    /// See and change which Servers host the directory; back it up.
    Cluster(Box<Cluster>),
    /// Look into the directory, or change it by hand.
    Dir(towpath_console::Dir),
    /// Print the source's row changes as JSON lines.
    ///
    /// Reads the source only; the sink and its offset are not touched. Stops with Ctrl-C.
    Tail(Tail),
    /// Compare the sink's rows with the source's, while both are live, and repair what differs.
    ///
    /// Goes through each table by key ranges, and narrows those that differ to keys. A row counts
    /// as different when that is proven, with the sink known to be up to date: what is only late is
    /// no difference. --repair writes the source's rows into the sink beside the running pipeline.
    ///
    /// Exit codes: 0 everything is equal or was repaired, 1 something differs, 2 not everything
    /// could be compared, or wrong usage.
    Verify(Box<Verify>),
    /// Have a table copied anew into the sink, by the pipeline while it runs.
    ///
    /// Exit codes: 0 the pipeline will, 1 it's refused.
    Resnapshot(Box<Resnapshot>),
    /// Let a sink go back to an older place: what came since is applied again.
    ///
    /// Shows what comes again, by reading it in the source's binlog, and asks. The pipeline may
    /// run: its commit that was under way is refused, and it goes on from the older place. Rows
    /// that come again are applied by key, whatever is there, until the sink holds all that it
    /// held.
    ///
    /// Exit codes: 0 done, 1 it's refused, 2 wrong usage.
    Rewind(Box<Rewind>),
    /// Leave transactions out of a sink for good.
    ///
    /// Shows what they hold, as far as the source's binlog still has it, and asks. Afterwards the
    /// rows concerned may differ: towpath verify tells.
    ///
    /// Exit codes: 0 done, 1 it's refused, 2 wrong usage.
    Skip(Box<Skip>),
    /// Take a sink over that belongs to another directory, which is gone.
    ///
    /// Raises this directory's generation above that of the sink's row. Cores of the other
    /// directory can't write to the sink any more.
    ///
    /// Exit codes: 0 done, 1 it's refused, 2 wrong usage.
    Adopt(Box<Adopt>),
    /// Explain an error code: what it means, what to do, and what is safe.
    ///
    /// Without a code it lists them all; words find codes by their titles. Needs no server.
    Explain(Explain),
    /// Print a script that completes this program's words in a shell.
    ///
    /// For bash: towpath completions bash > ~/.local/share/bash-completion/completions/towpath
    Completions(Completions),
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A code such as TP1203, or words of a title.
    #[arg(value_name = "CODE")]
    pub(crate) code: Vec<String>,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell.
    pub(crate) shell: clap_complete::Shell,
}

/// The commands, as the help lists them: what belongs together under one heading.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Run", &["run", "check", "tail"]),
    (
        "Look",
        &[
            "status", "console", "get", "describe", "history", "alerts", "explain",
        ],
    ),
    (
        "Pipelines",
        &[
            "apply",
            "start",
            "stop",
            "pause",
            "resume",
            "move",
            "delete",
            "verify",
            "resnapshot",
            "rewind",
            "skip",
            "adopt",
        ],
    ),
    (
        "Cluster",
        &[
            "cluster",
            "ack",
            "drain",
            "undrain",
            "source",
            "log-level",
            "dir",
        ],
    ),
    (
        "Processes and shell",
        &["server", "core", "monitor", "completions", "help"],
    ),
];

/// The command line, with commands under headings.
pub(crate) fn command() -> clap::Command {
    let command = Cli::command();
    let shown = command.get_subcommands();
    let shown: Vec<_> = shown.filter(|sub| !sub.is_hide_set()).collect();
    let wide = shown.iter().map(|sub| sub.get_name().len()).max();
    let wide = wide.unwrap_or_default();
    let mut commands = String::new();
    for (heading, names) in GROUPS {
        commands.push_str(&format!("{heading}:\n"));
        for name in names {
            let about = shown.iter().find(|sub| sub.get_name() == *name);
            let about = about.and_then(|sub| sub.get_about());
            let about = match (about, *name) {
                (Some(about), _) => about.to_string(),
                (None, "help") => "Print the help of a command".to_owned(),
                (None, _) => continue,
            };
            commands.push_str(&format!("  {name:wide$}  {about}\n"));
        }
        commands.push('\n');
    }
    // Names and texts are ours: no braces, which a template would take for its own.
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{commands}Options:\n{{options}}{{after-help}}"
    )).after_help(
        "Commands that look or change something find the directory by --directory, by \
         TOWPATH_DIRECTORY, or by the towpath run of this user. They exit with 0 when it's done, 1 \
         when it's refused, failed or nobody answers, 2 on wrong usage.",
    )
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The pipeline files.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The data folder; by default one below the user's state folder, of the first pipeline's name.
    #[arg(long, value_name = "DIR", env = "TOWPATH_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Where the directory listens; port 0 picks a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// One pipeline in this very process, with no directory beside it: nothing but the data path.
    #[arg(long, conflicts_with_all = ["data", "listen"])]
    pub(crate) standalone: bool,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The pipeline file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print one JSON object instead of lines for people.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `server`.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Where it keeps the directory's log and snapshots; made if it isn't there.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Where clients of the directory connect.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:2181")]
    pub(crate) listen: SocketAddr,
    /// Where other machines reach that, if they use another address.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,
    /// Host the directory, and plan nothing: pipelines that run go on, and nobody takes commands.
    #[arg(long)]
    pub(crate) directory_only: bool,
    /// Demand a role of every client of the directory, by its certificate where there are no
    /// tokens. With tokens it's always demanded.
    #[arg(long)]
    pub(crate) roles: bool,
    /// Its name among the Servers; server-N if not given, with the number of --node-id.
    #[arg(long)]
    pub(crate) id: Option<MemberId>,
    /// Labels, as NAME=VALUE[,…].
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',', value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) member: Member,
    #[command(flatten)]
    pub(crate) log: Log,
    // Last: its heading in the help holds for what follows.
    #[command(flatten)]
    pub(crate) peers: Peers,
}

/// One of several Servers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Several Servers")]
pub(crate) struct Peers {
    /// The number of this member of the directory. It belongs to one data folder for good.
    #[arg(long, value_name = "1…126", env = "TOWPATH_NODE_ID", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=126))]
    pub(crate) node_id: u8,
    /// Where the other Servers reach this one. Without it there are no others.
    #[arg(long, value_name = "ADDR:PORT", env = "TOWPATH_PEER_LISTEN")]
    pub(crate) peer_listen: Option<SocketAddr>,
    /// The same as they know it, if they use another address.
    #[arg(long, value_name = "HOST:PORT", requires = "peer_listen")]
    pub(crate) peer_advertise: Option<String>,
    /// With an empty data folder: wait until "towpath cluster add" adds this Server, instead of
    /// founding a directory. Only one Server ever founds; afterwards it may be given to all.
    #[arg(long, requires = "peer_listen")]
    pub(crate) join: bool,
    /// This Server's certificate for the others, with the name N.member.towpath, where N is its
    /// number. PEM file; --tls-cert if not given.
    #[arg(long, value_name = "FILE", env = "TOWPATH_PEER_CERT", requires_all = ["peer_key", "peer_ca"])]
    pub(crate) peer_cert: Option<PathBuf>,
    /// Its private key, a PEM file.
    #[arg(
        long,
        value_name = "FILE",
        env = "TOWPATH_PEER_KEY",
        requires = "peer_cert"
    )]
    pub(crate) peer_key: Option<PathBuf>,
    /// Who has signed the Servers' certificates for one another, a PEM file. Whoever holds one with
    /// such a name may read and change everything.
    #[arg(
        long,
        value_name = "FILE",
        env = "TOWPATH_PEER_CA",
        requires = "peer_cert"
    )]
    pub(crate) peer_ca: Option<PathBuf>,
    /// Servers speak with one another without TLS: whoever reaches --peer-listen can read and
    /// change everything.
    #[arg(long, requires = "peer_listen", conflicts_with = "peer_cert")]
    pub(crate) peer_insecure: bool,
}

/// Arguments of `monitor`.
#[derive(Debug, Args)]
pub(crate) struct Monitor {
    #[command(flatten)]
    pub(crate) directory: Directory,
    /// Its name among the Monitors.
    #[arg(long, default_value = "monitor-1")]
    pub(crate) id: MemberId,
    /// Whom to tell of what belongs to no pipeline: a file of [[alert.hook]] tables.
    #[arg(long, value_name = "FILE")]
    pub(crate) hooks: Option<PathBuf>,
    /// Run the programs that pipelines' hooks of kind "command" name. Everybody who can apply a
    /// pipeline can then run programs here.
    #[arg(long)]
    pub(crate) allow_command_hooks: bool,
    #[command(flatten)]
    pub(crate) member: Member,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// The way to the directory.
#[derive(Debug, Args)]
pub(crate) struct Directory {
    /// Where the directory is: host:port of one or more Servers, separated by commas.
    #[arg(
        long,
        value_name = "ADDR:PORT[,…]",
        value_delimiter = ',',
        required = true,
        env = "TOWPATH_DIRECTORY"
    )]
    pub(crate) directory: Vec<String>,
}

/// What every role has.
#[derive(Debug, Args)]
pub(crate) struct Member {
    #[command(flatten)]
    pub(crate) tls: Tls,
    #[command(flatten)]
    pub(crate) tokens: Tokens,
    #[command(flatten)]
    pub(crate) http: Http,
    /// Listen without TLS, or without knowing who asks, where it isn't loopback: anybody on that
    /// network can read along, and without tokens command.
    #[arg(long)]
    pub(crate) allow_plaintext: bool,
    #[command(flatten)]
    pub(crate) supervised: Supervised,
}

/// Arguments of `core`.
#[derive(Debug, Args)]
pub(crate) struct Core {
    #[command(flatten)]
    pub(crate) directory: Directory,
    /// Its name among the Cores; made of the machine's if not given.
    #[arg(long)]
    pub(crate) id: Option<MemberId>,
    /// Labels, as NAME=VALUE[,…].
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',', value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) member: Member,
    #[command(flatten)]
    pub(crate) log: Log,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("use NAME=VALUE".to_owned()),
    }
}

/// Arguments of `tail`.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// The pipeline file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where to start: now, earliest, gtid:<set>, <file>:<offset> or an RFC 3339 time.
    #[arg(long, default_value = "now")]
    pub(crate) start: String,
    /// End where the source's binlog ends now, instead of waiting for more.
    #[arg(long)]
    pub(crate) until_now: bool,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// A pipeline: a file, or the name of one that is in force.
#[derive(Debug, Args)]
pub(crate) struct Pipeline {
    /// The pipeline file, or the name of a pipeline in the directory. Its variables are taken from
    /// this process's environment.
    #[arg(value_name = "PIPELINE")]
    pub(crate) pipeline: String,
    /// Which of its sinks; by default the only one.
    #[arg(long, value_name = "NAME")]
    pub(crate) sink: Option<String>,
    // Last: its heading in the help holds for what follows.
    #[command(flatten)]
    pub(crate) connect: towpath_console::Connect,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Only this table; may be given several times.
    #[arg(long = "table", value_name = "DATABASE.TABLE")]
    pub(crate) tables: Vec<String>,
    /// Write the source's rows into the sink where they differ, and delete what only the sink has.
    #[arg(long)]
    pub(crate) repair: bool,
    /// How long the sink may stand still, as 30s or 10m, before what differs can't be proven.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = towpath_console::verb::duration)]
    pub(crate) patience: Duration,
    /// Print one JSON object instead of lines for people.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) of: Pipeline,
}

/// Arguments of `resnapshot`.
#[derive(Debug, Args)]
pub(crate) struct Resnapshot {
    /// The table.
    #[arg(long, value_name = "DATABASE.TABLE")]
    pub(crate) table: String,
    /// Only rows that meet this, an expression in the source's SQL.
    #[arg(long = "where", value_name = "CONDITION")]
    pub(crate) condition: Option<String>,
    #[command(flatten)]
    pub(crate) of: Pipeline,
}

/// Arguments of `rewind`.
#[derive(Debug, Args)]
pub(crate) struct Rewind {
    /// Where to: a GTID set that is a part of what the sink holds, <file>:<offset> of the source's
    /// binlog, or an RFC 3339 time.
    #[arg(long, value_name = "PLACE", value_parser = crate::leave::place)]
    pub(crate) to: StartAt,
    /// Schema changes in between aren't run again: the sink has them.
    #[arg(long, conflicts_with = "ddl_again")]
    pub(crate) ddl_ran: bool,
    /// Schema changes in between run again: the sink's tables are as they were there.
    #[arg(long)]
    pub(crate) ddl_again: bool,
    /// Don't ask.
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) of: Pipeline,
}

/// Arguments of `skip`.
#[derive(Debug, Args)]
pub(crate) struct Skip {
    /// Which transactions: a GTID, or a set of them.
    #[arg(long = "gtid", value_name = "GTID", value_parser = crate::leave::gtids)]
    pub(crate) gtids: GtidSet,
    /// Don't ask.
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) of: Pipeline,
}

/// Arguments of `adopt`.
#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// Don't ask.
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) of: Pipeline,
}

/// Arguments of `cluster`.
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    #[command(subcommand)]
    pub(crate) verb: ClusterVerb,
    /// Wait this long for the answer, as 500ms, 60s or 5m. What was begun goes on without us.
    #[arg(long, value_name = "DURATION", default_value = "5m",
        value_parser = towpath_console::verb::duration, global = true)]
    pub(crate) timeout: Duration,
    // Last: its heading in the help holds for what follows.
    #[command(flatten)]
    pub(crate) connect: towpath_console::Connect,
}

/// What is asked of the Servers that host the directory.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterVerb {
    /// Show the members of the directory: who leads, who lags, who doesn't answer.
    Status {
        /// Print one JSON object instead of lines for people.
        #[arg(long)]
        json: bool,
    },
    /// Add a Server that runs with --join. It gets a vote once it has what the others have.
    ///
    /// Repeating it finishes what was interrupted.
    Add {
        /// Its number: that of its --node-id, which no member has had before.
        #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(1..=126))]
        id: u8,
        #[command(flatten)]
        at: At,
    },
    /// Remove a member. Asks first; its data folder must never be used again.
    ///
    /// If it leads, another leads first.
    Remove {
        /// Its number.
        #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(1..=126))]
        id: u8,
        /// Don't ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Put a Server that runs with --join in the place of another, dead or alive, in one step. Asks
    /// first.
    Replace {
        /// The number of the one that goes.
        #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(1..=126))]
        id: u8,
        /// The number of the one that comes, which no member has had before.
        #[arg(long, value_name = "M", value_parser = clap::value_parser!(u8).range(1..=126))]
        by: u8,
        #[command(flatten)]
        at: At,
        /// Don't ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Fold the leader's log into a snapshot now.
    Snapshot,
    /// Write the tree as it is now into a file of the leading Server's: backups/NAME in its data
    /// folder.
    Backup {
        /// The file's name, without a folder.
        name: String,
    },
    /// Begin a new directory from a backup, on this machine: its first member, alone.
    ///
    /// Changes nothing but DIR. Start "towpath server --data DIR" then, and let others join. Sessions
    /// of the backup's time expire. Needs no Server.
    Restore {
        /// The backup.
        #[arg(value_name = "FILE")]
        backup: PathBuf,
        /// The data folder, without a directory in it.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The member's number, as the Server will have it: one that no member of the former directory
        /// has had, of which one may still run.
        #[arg(long, value_name = "1…126", value_parser = clap::value_parser!(u8).range(1..=126))]
        node_id: u8,
    },
}

/// Where a Server is, as the others know it.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// Where the other Servers reach it: its --peer-advertise, or --peer-listen.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) peer: String,
    /// Where clients reach it: its --advertise, or --listen.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) client: String,
}

/// How to log.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// What to log: error, warn, info, debug, trace, or a filter such as
    /// `towpath_core::commit=debug`.
    #[arg(
        long,
        value_name = "FILTER",
        env = "TOWPATH_LOG",
        default_value = "info"
    )]
    pub(crate) log: String,
    /// How to log: for people, or one JSON object a line. By default the former on a terminal.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Also log to files there, JSON lines, a file a day. Lines are dropped rather than waited for.
    #[arg(long, value_name = "DIR", env = "TOWPATH_LOG_DIR")]
    pub(crate) log_dir: Option<PathBuf>,
    /// How many of these files are kept.
    #[arg(long, value_name = "N", default_value_t = 14, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) log_files: u16,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// As it's written on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_under_one_heading() {
        let command = command();
        command.clone().debug_assert();
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        grouped.retain(|name| *name != "help");
        grouped.sort_unstable();
        let mut shown: Vec<_> = command
            .get_subcommands()
            .filter(|sub| !sub.is_hide_set())
            .map(clap::Command::get_name)
            .collect();
        shown.sort_unstable();
        assert_eq!(grouped, shown);
    }
}
