//! What a server had executed when rows were read.
//!
//! A transaction's rows are visible a moment before `gtid_executed` has it: in between, its GTID is owned
//! (`gtid_owned`). With a semisynchronous source that moment is as long as a replica takes to acknowledge.

use std::collections::BTreeSet;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use tokio::time::Instant;
use towpath_protocol::gtid::GtidSet;

/// How often it is asked whether GTIDs are still owned.
const PAUSE: Duration = Duration::from_millis(5);

/// All that a read before this call may have seen.
#[derive(Debug, PartialEq, Eq)]
pub enum Executed {
    /// `gtid_executed` has all of it.
    All(GtidSet),
    /// These were owned at the call, and still are.
    Not {
        /// GTIDs.
        owned: String,
    },
}

/// What the server has executed, with everything that a read before this call may have seen. Waits for at most
/// `patience` for transactions that are about to be shown.
///
/// # Errors
/// Those of the connection.
pub async fn executed_with_all_seen(
    conn: &mut Conn,
    patience: Duration,
) -> Result<Executed, Error> {
    let began = Instant::now();
    let mut waited_for: Option<BTreeSet<String>> = None;
    loop {
        let text: Option<String> = conn.query_first("SELECT @@GLOBAL.gtid_owned").await?;
        let owned = owned_gtids(&text.unwrap_or_default());
        let still = match waited_for {
            None => owned,
            // What has begun since wasn't seen.
            Some(before) => before.intersection(&owned).cloned().collect(),
        };
        if still.is_empty() {
            break;
        }
        if began.elapsed() > patience {
            let owned: Vec<String> = still.into_iter().collect();
            return Ok(Executed::Not {
                owned: owned.join(", "),
            });
        }
        waited_for = Some(still);
        tokio::time::sleep(PAUSE).await;
    }
    let text: Option<String> = conn.query_first("SELECT @@GLOBAL.gtid_executed").await?;
    let set = text.unwrap_or_default().parse();
    set.map(Executed::All)
        .map_err(|error| Error::Other(Box::new(error)))
}

/// `uuid[:tag]:number#thread[#thread …][:number#thread …]`, with commas between origins, as GTIDs.
fn owned_gtids(text: &str) -> BTreeSet<String> {
    let mut gtids = BTreeSet::new();
    for origin in text.split(',') {
        let mut parts = origin.trim().split(':');
        let uuid = parts.next().unwrap_or_default();
        let mut tag = "";
        for part in parts {
            match part.split_once('#') {
                Some((number, _)) => {
                    let tag = if tag.is_empty() {
                        String::new()
                    } else {
                        format!("{tag}:")
                    };
                    gtids.insert(format!("{uuid}:{tag}{number}"));
                }
                None => tag = part,
            }
        }
    }
    gtids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_gtids_are_told_without_their_threads() {
        let told = |text: &str| owned_gtids(text).into_iter().collect::<Vec<_>>();
        assert_eq!(told(""), Vec::<String>::new());
        assert_eq!(
            told("aa:1#7:2#8#9,\nbb:5#7:tag:6#3:7#4"),
            ["aa:1", "aa:2", "bb:5", "bb:tag:6", "bb:tag:7"]
        );
    }
}
