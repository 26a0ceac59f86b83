//! Data directories that were written when there was one member, and it had one address.

use std::path::Path;

use bytes::{BufMut as _, BytesMut};
use redb::{Database, TableDefinition};
use tempfile::TempDir;
use towpath_directory::state::{Command, Kind, Origin, State, snapshot};
use towpath_directory::{Change, Config, Directory, MemberError, Peers, Start};

use crate::raw::{Raw, create, get};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const MEMBERSHIP: &str = r#"{"configs":[[1]],"nodes":{"1":{"addr":"127.0.0.1:2181"}}}"#;

/// An entry of term 1 as it lies in the log.
fn row(term: u64, kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut rest = BytesMut::new();
    rest.put_u64(term);
    rest.put_u64(1);
    rest.put_u8(kind);
    rest.put_slice(payload);
    let mut row = vec![1];
    row.extend_from_slice(&crc32fast::hash(&rest).to_be_bytes());
    row.extend_from_slice(&rest);
    row
}

fn write(dir: &Path, rows: &[(u64, Vec<u8>)], meta: &[(&str, &str)]) {
    let database = Database::create(dir.join("log.redb")).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut log = write.open_table(LOG).unwrap();
        for (index, row) in rows {
            log.insert(index, &**row).unwrap();
        }
        let mut table = write.open_table(META).unwrap();
        for (key, json) in meta {
            table.insert(key, json.as_bytes()).unwrap();
        }
    }
    write.commit().unwrap();
}

const VOTE: (&str, &str) = (
    "vote",
    r#"{"leader_id":{"term":1,"node_id":1},"committed":true}"#,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_log_is_read_and_it_can_grow() {
    let dir = TempDir::new().unwrap();
    let rows = [(0, row(0, 2, MEMBERSHIP.as_bytes())), (1, row(1, 0, b""))];
    write(dir.path(), &rows, &[VOTE]);
    let first = Directory::start(Config::new(dir.path())).await.unwrap();
    let mut raw = Raw::open(first.address()).await;
    assert_eq!(raw.call(&create(1, "/a", 0)).await.error, 0);
    // Without a peer port it's alone for good.
    let change = Change::Remove { id: 1 };
    assert_eq!(
        first.cluster().change(change).await,
        Err(MemberError::Alone)
    );
    first.stop().await;

    let mut config = Config::new(dir.path());
    config.peers = Some(Peers::new(Start::Found));
    let first = Directory::start(config).await.unwrap();
    let own = first.cluster().own().unwrap().clone();
    let place = TempDir::new().unwrap();
    let mut config = Config::new(place.path());
    config.node_id = 2;
    config.peers = Some(Peers::new(Start::Join));
    let second = Directory::start(config).await.unwrap();
    crate::cluster::until("it says where it is", || async {
        let members = first.cluster().members().await.unwrap();
        (members.members[0].member == own).then_some(())
    })
    .await;
    let change = Change::Add {
        id: 2,
        member: second.cluster().own().unwrap().clone(),
    };
    first.cluster().change(change).await.unwrap();
    let mut raw = Raw::open(second.address()).await;
    assert_eq!(raw.call(&get(1, "/a", false)).await.error, 0);
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_snapshot_is_read() {
    let dir = TempDir::new().unwrap();
    let last = r#"{"leader_id":{"term":1,"node_id":1},"index":9}"#;
    let meta = format!(
        r#"{{"last_log_id":{last},"last_membership":{{"log_id":{},"membership":{MEMBERSHIP}}}}}"#,
        r#"{"leader_id":{"term":0,"node_id":0},"index":0}"#
    );
    let mut state = State::default();
    let open = Command {
        time_ms: 1,
        origin: Origin {
            life: 1,
            request: 1,
        },
        kind: Kind::Open {
            session: 77,
            timeout_ms: 60_000,
            password: [7; 16],
        },
    };
    state.apply(&open, &mut Vec::new()).unwrap();
    let name = "former.snapshot";
    std::fs::create_dir(dir.path().join("snapshots")).unwrap();
    let mut file = std::fs::File::create(dir.path().join("snapshots").join(name)).unwrap();
    snapshot::write(&state, meta.as_bytes(), &mut file).unwrap();
    let meta = [
        VOTE,
        ("snapshot", r#""former.snapshot""#),
        ("purged", last),
        ("committed", last),
    ];
    write(dir.path(), &[], &meta);
    let directory = Directory::start(Config::new(dir.path())).await.unwrap();
    let raw = Raw::resume(directory.address(), 0, 5000, 77, &[7; 16]).await;
    assert_eq!(raw.unwrap().session, 77);
    directory.stop().await;
}
