//! The peer port, and those who have no business there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use towpath_directory::{
    Change, Config, Directory, MemberError, PeerError, PeerTls, Peers, RaftError, Start, StartError,
};

use super::{Cluster, Session, soon};
use crate::raw::{create, get};
use crate::tls::Authority;

fn certificate(authority: &Authority, dir: &Path, file: &str, name: &str) -> PeerTls {
    let (certificate, key) = authority.issue_for(dir, file, name);
    PeerTls {
        certificate,
        key,
        ca: authority.certificate.clone(),
    }
}

fn config(dir: PathBuf, id: u8, tls: PeerTls) -> Config {
    let mut config = Config::new(dir);
    config.node_id = id;
    let mut peers = Peers::new(match id {
        1 => Start::Found,
        _ => Start::Join,
    });
    peers.tls = Some(tls);
    config.peers = Some(peers);
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_certificate_of_a_member_makes_one() {
    let dir = TempDir::new().unwrap();
    let place = |name: &str| dir.path().join(name);
    let ours = Authority::new(dir.path(), "ours.crt");
    let other = Authority::new(dir.path(), "other.crt");
    let own = |id: u8| {
        let name = format!("{id}.member.towpath");
        certificate(&ours, dir.path(), &format!("member{id}"), &name)
    };
    let first = Directory::start(config(place("1"), 1, own(1)))
        .await
        .unwrap();
    let second = Directory::start(config(place("2"), 2, own(2)))
        .await
        .unwrap();
    let add = |id: u8, directory: &Directory| Change::Add {
        id: u64::from(id),
        member: directory.cluster().own().unwrap().clone(),
    };
    soon(first.cluster().change(add(2, &second))).await.unwrap();

    let mut wrong = vec![
        ("another member's", own(2)),
        (
            "a client's",
            certificate(&ours, dir.path(), "client", "core.role.towpath"),
        ),
    ];
    let mut stranger = certificate(&other, dir.path(), "stranger", "3.member.towpath");
    wrong.push(("another authority's", stranger.clone()));
    // It trusts ours, so that it would talk to us.
    stranger.ca = ours.certificate.clone();
    wrong.push(("a stranger's who trusts us", stranger));
    for (at, (whose, tls)) in wrong.into_iter().enumerate() {
        let impostor = Directory::start(config(place(&format!("x{at}")), 3, tls))
            .await
            .unwrap();
        let refused = soon(first.cluster().change(add(3, &impostor))).await;
        assert!(
            matches!(refused, Err(MemberError::Refused { id: 3, .. })),
            "{whose}: {refused:?}"
        );
        // And in the other direction.
        let asked = impostor.cluster();
        let refused = asked.greeted_by(1, first.cluster().own().unwrap()).await;
        assert!(refused.is_err(), "{whose}: {refused:?}");
        impostor.stop().await;
    }
    let third = Directory::start(config(place("3"), 3, own(3)))
        .await
        .unwrap();
    let members = soon(first.cluster().change(add(3, &third))).await.unwrap();
    assert_eq!(members.members.len(), 3);
    let mut session = Session::open(third.address(), 5000).await;
    assert_eq!(session.call(&create(1, "/a", 0)).await.error, 0);
    for directory in [third, second, first] {
        directory.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_peer_port_harms_nobody() {
    let dir = TempDir::new().unwrap();
    let ours = Authority::new(dir.path(), "ours.crt");
    let tls = certificate(&ours, dir.path(), "member", "*.member.towpath");
    let guarded = Directory::start(config(dir.path().join("1"), 1, tls))
        .await
        .unwrap();
    let plain = Cluster::of(3).await;
    let mut session = Session::open(plain.address(plain.leader().await), 20_000).await;
    assert_eq!(session.call(&create(1, "/a", 0)).await.error, 0);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut headers = [&preface[..], &settings].concat();
    // HEADERS of 9 bytes that are no HPACK, then one of 16 MiB that never comes.
    headers.extend_from_slice(&[0, 0, 9, 1, 5, 0, 0, 0, 1]);
    headers.extend_from_slice(&[0xff; 9]);
    let mut endless = [&preface[..], &settings].concat();
    endless.extend_from_slice(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]);
    let rude: [&[u8]; 7] = [
        b"",
        b"ruok",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 4096],
        &preface[..10],
        &headers,
        &endless,
    ];
    let ports = [&guarded, &plain.running[&1], &plain.running[&2]]
        .map(|directory| directory.cluster().own().unwrap().peer.clone());
    let mut streams = Vec::new();
    for port in &ports {
        for bytes in rude {
            for _ in 0..5 {
                let mut stream = TcpStream::connect(port).await.unwrap();
                let _ = stream.write_all(bytes).await;
                streams.push(stream);
            }
        }
    }
    for xid in 0..200 {
        assert_eq!(session.call(&get(xid, "/a", false)).await.error, 0);
    }
    // All of them are ended, the silent ones as well.
    for mut stream in streams {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest));
        let _ = closed.await.expect("the member ends it");
    }
    let mut session = Session::open(guarded.address(), 5000).await;
    assert_eq!(session.call(&create(1, "/a", 0)).await.error, 0);
    guarded.stop().await;
    plain.stop_all().await;
}

#[tokio::test]
async fn strangers_are_not_invited() {
    let dir = TempDir::new().unwrap();
    let start = |peers: Peers| {
        let mut config = Config::new(dir.path());
        config.peers = Some(peers);
        Directory::start(config)
    };
    let mut open = Peers::new(Start::Found);
    open.listen = "0.0.0.0:0".parse().unwrap();
    let error = start(open.clone()).await.unwrap_err();
    let insecure = |error: &StartError| {
        matches!(
            error,
            StartError::Raft(RaftError::Peers(PeerError::Insecure(_)))
        )
    };
    assert!(insecure(&error), "{error}");
    // Said to be, it's done; but 0.0.0.0 is nobody's address.
    open.insecure = true;
    let error = start(open.clone()).await.unwrap_err();
    let nowhere = |error: &StartError| {
        matches!(
            error,
            StartError::Raft(RaftError::Peers(PeerError::Address(_)))
        )
    };
    assert!(nowhere(&error), "{error}");
    open.advertise = Some("127.0.0.1:7".into());
    start(open).await.unwrap().stop().await;
}
