//! `towpath server`: a Server in this process.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use towpath_directory::{MemberStatus, Members, PeerTls, Peers, Role, Start, Status};
use towpath_protocol::tree::MemberId;
use towpath_server::{Server, ServerOptions};

use crate::cli;
use crate::process::exposition::{Family, Sample};
use crate::process::tls::Tls;
use crate::process::{http, logs};

/// Runs a Server until a signal.
///
/// # Errors
/// It doesn't start.
pub(crate) async fn server(arguments: cli::Server) -> anyhow::Result<ExitCode> {
    let logs = logs::start(&arguments.log, "server")?;
    let listen = arguments.listen;
    let member = arguments.member;
    let tls = &member.tls;
    let node_id = arguments.peers.node_id;
    let id = match arguments.id {
        Some(id) => id,
        None => MemberId::new(format!("server-{node_id}"))?,
    };
    let server = Server::start(ServerOptions {
        id,
        data_dir: arguments.data,
        listen,
        advertise: arguments.advertise,
        node_id,
        peers: peers(arguments.peers, tls),
        plans: !arguments.directory_only,
        tls: tls
            .tls_cert
            .clone()
            .zip(tls.tls_key.clone())
            .map(|(certificate, key)| towpath_directory::Tls {
                certificate,
                key,
                client_ca: tls.tls_ca.clone(),
            }),
        allow_plaintext: member.allow_plaintext,
        tokens: member.tokens.all()?,
        demand_roles: arguments.roles,
        labels: arguments.labels.into_iter().collect(),
    })
    .await
    .with_context(|| format!("the Server at {listen} can't start"))?;
    let (mut sessions, followed) = (server.session(), logs.clone());
    tokio::spawn(async move {
        if let Ok(session) = sessions.wait_for(Option::is_some).await
            && let Some(session) = &*session
        {
            followed.follow(session);
        }
    });
    let ready = (
        server.directory().statuses(),
        server.directory().cluster().views(),
        server.session(),
    );
    let scraped = (
        server.directory().statuses(),
        server.directory().cluster().views(),
    );
    let http = http::serve(
        &member,
        Box::new(move || {
            let (status, view, session) = &ready;
            not_ready(&status(), view().as_ref(), session.borrow().is_some())
        }),
        Box::new(move || {
            let (status, view) = &scraped;
            let mut families = families(&status());
            if let Some(members) = view() {
                families.extend(of_members(&members));
            }
            families
        }),
    )
    .await?;
    let directory = server.directory().address();
    tracing::info!(%directory, %http, "ready");
    let ports = json!({"directory": directory, "http": http});
    member.supervised.tell_ready(&ports)?;
    tokio::select! {
        () = member.supervised.stop() => {}
        // Whoever supervises this process starts it again, and the start reads what the disk holds.
        // There is nothing to leave in order: another member leads, or none can.
        error = server.directory().failed() => return Err(error.into()),
    }
    tracing::info!("asked to stop");
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// How this Server speaks with others; none without a port for them. Its certificate for clients
/// will do, if it has no other one.
fn peers(arguments: cli::Peers, tls: &Tls) -> Option<Peers> {
    let start = match arguments.join {
        true => Start::Join,
        false => Start::Found,
    };
    let own = |certificate: Option<PathBuf>, key: Option<PathBuf>, ca: Option<PathBuf>| {
        Some(PeerTls {
            certificate: certificate?,
            key: key?,
            ca: ca?,
        })
    };
    let mut peers = Peers::new(start);
    peers.listen = arguments.peer_listen?;
    peers.advertise = arguments.peer_advertise;
    peers.insecure = arguments.peer_insecure;
    peers.tls = own(arguments.peer_cert, arguments.peer_key, arguments.peer_ca);
    if peers.tls.is_none() && !peers.insecure {
        peers.tls = own(
            tls.tls_cert.clone(),
            tls.tls_key.clone(),
            tls.tls_ca.clone(),
        );
    }
    Some(peers)
}

/// Why this Server doesn't do its work, which is to serve clients or to pass them on to the member
/// that leads.
fn not_ready(status: &Status, members: Option<&Members>, is_registered: bool) -> Vec<String> {
    if !status.serving && !status.follows {
        let is_new = members.is_none_or(|members| members.members.is_empty());
        let reason = match is_new {
            true => "this member waits to be added to a directory: towpath cluster add",
            false => {
                "no member leads that this one knows of; do a majority of the members run, and \
                 reach each other?"
            }
        };
        return vec![reason.to_owned()];
    }
    match is_registered {
        true => Vec::new(),
        false => {
            vec!["this Server isn't in the directory yet; its log says why, if it lasts".to_owned()]
        }
    }
}

/// What this member knows of itself and the others; only the leader knows how far they are.
fn of_members(members: &Members) -> Vec<Family> {
    let gauge = |name, help, samples| Family {
        name,
        help,
        counter: false,
        samples,
    };
    let by_member = |value: fn(&MemberStatus) -> Option<f64>| {
        let sample = |member: &MemberStatus| {
            Some(Sample {
                labels: vec![("member", member.id.to_string())],
                value: value(member)?,
            })
        };
        members
            .members
            .iter()
            .filter_map(sample)
            .collect::<Vec<_>>()
    };
    let is_leader = members.leader == Some(members.seen_by);
    let votes = |member: &&MemberStatus| member.role != Role::Learner;
    let mut families = vec![
        gauge(
            "towpath_directory_leader",
            "Whether this member leads",
            Sample::one(u8::from(is_leader).into()),
        ),
        gauge(
            "towpath_directory_has_leader",
            "Whether this member knows of one that leads",
            Sample::one(u8::from(members.leader.is_some()).into()),
        ),
        gauge(
            "towpath_directory_term",
            "Number of the election",
            Sample::one(members.term as f64),
        ),
        gauge(
            "towpath_directory_last_index",
            "Last entry of this member's log",
            Sample::one(members.last_index as f64),
        ),
        gauge(
            "towpath_directory_members",
            "Members of the directory",
            Sample::one(members.members.len() as f64),
        ),
        gauge(
            "towpath_directory_voters",
            "Members that have a vote",
            Sample::one(members.members.iter().filter(votes).count() as f64),
        ),
    ];
    if is_leader {
        families.push(gauge(
            "towpath_directory_member_lag_entries",
            "Entries by which a member lags behind this one, which leads",
            by_member(|member| member.lag_entries.map(|lag| lag as f64)),
        ));
        families.push(gauge(
            "towpath_directory_member_acked_seconds",
            "Since a member has acknowledged this one, which leads",
            by_member(|member| member.acked_ms.map(|ms| ms as f64 / 1e3)),
        ));
    }
    if let Some(ms) = members.quorum_acked_ms {
        families.push(gauge(
            "towpath_directory_quorum_acked_seconds",
            "Since a majority has acknowledged this member, which leads",
            Sample::one(ms as f64 / 1e3),
        ));
    }
    families.retain(|family| !family.samples.is_empty());
    families
}

fn families(status: &Status) -> Vec<Family> {
    let family = |name, help, counter, value: u64| Family {
        name,
        help,
        counter,
        samples: Sample::one(value as f64),
    };
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    vec![
        family(
            "towpath_directory_serving",
            "Whether this member serves clients",
            false,
            status.serving.into(),
        ),
        family(
            "towpath_directory_zxid",
            "Number of the last change",
            false,
            status.zxid.unsigned_abs(),
        ),
        family(
            "towpath_directory_nodes",
            "Nodes in the tree",
            false,
            count(status.nodes),
        ),
        family(
            "towpath_directory_ephemeral_nodes",
            "Ephemeral nodes in the tree",
            false,
            count(status.ephemerals),
        ),
        family(
            "towpath_directory_data_bytes",
            "Bytes of paths and data in the tree",
            false,
            status.data_bytes,
        ),
        family(
            "towpath_directory_watches",
            "Watches that are set",
            false,
            count(status.watches),
        ),
        family(
            "towpath_directory_sessions",
            "Sessions that live",
            false,
            count(status.sessions),
        ),
        family(
            "towpath_directory_connections",
            "Connections of clients",
            false,
            count(status.connections),
        ),
        family(
            "towpath_directory_outstanding_requests",
            "Requests that wait for the log",
            false,
            count(status.outstanding),
        ),
        family(
            "towpath_directory_requests",
            "Requests of clients",
            true,
            status.received,
        ),
        family(
            "towpath_directory_expired_sessions",
            "Sessions that this member let expire",
            true,
            status.expired_sessions,
        ),
    ]
}
