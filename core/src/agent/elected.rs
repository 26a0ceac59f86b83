//! The right to write, from an election in the directory.
//!
//! The first epoch of a candidacy is that of the win; each further one is taken anew under the same
//! election node. Where the candidacy is over, so is the run.

use std::time::Duration;

use tokio::sync::watch;
use towpath_coordination::{Renewer, Session, Standing, Token};
use towpath_protocol::tree::record::{Cluster, Committed};
use towpath_protocol::tree::{TaskName, path};

use super::TaskKey;
use crate::commit::takeover::{Grant, Right};
use crate::pipeline::authority::Confirmed;
use crate::pipeline::{Authority, PipelineError};

/// Pause after an epoch that wasn't granted, while the candidate still seems to lead.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The right of a candidate that has won.
pub(super) struct Elected {
    pub(super) session: Session,
    pub(super) key: TaskKey,
    /// Whether each sink begins by itself, with its own first copy: others that have run say nothing.
    pub(super) of_its_own: bool,
    pub(super) renewer: Renewer,
    /// The token of the win, if nothing has run under it yet.
    pub(super) first: Option<Token>,
    pub(super) confirmed: watch::Receiver<bool>,
}

impl Elected {
    async fn token(&mut self) -> Result<Token, PipelineError> {
        if let Some(token) = self.first.take() {
            return Ok(token);
        }
        let mut standings = self.renewer.standings();
        loop {
            let standing = standings
                .wait_for(|standing| matches!(standing, Standing::Leading(_) | Standing::Lost(_)))
                .await
                .map(|standing| standing.clone());
            match standing {
                Ok(Standing::Lost(loss)) => return Err(over(loss.to_string())),
                Ok(_) => {}
                Err(_) => return Err(over("this Core has left the election".to_owned())),
            }
            match self.renewer.renew().await {
                Ok(token) => return Ok(token),
                Err(error) => {
                    tracing::warn!(pipeline = %self.key.pipeline, %error, "no new epoch yet");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}

fn over(detail: String) -> PipelineError {
    PipelineError::NotElected { detail }
}

impl Authority for Elected {
    async fn right(&mut self) -> Result<Right, PipelineError> {
        let token = self.token().await?;
        let cluster = self.session.read::<Cluster>(&path::cluster()).await;
        match cluster {
            Ok(Some(cluster)) => Ok(Right::Granted(Grant {
                cluster: cluster.value.record.id,
                generation: token.generation,
                epoch: token.epoch,
            })),
            Ok(None) => Err(over("the directory has no identity".to_owned())),
            Err(error) => Err(over(error.to_string())),
        }
    }

    /// Any task of the pipeline that has ever committed: a sink that was renamed has another task.
    async fn ran_before(&mut self) -> Result<bool, PipelineError> {
        let unknown = |error: towpath_coordination::CoordinationError| over(error.to_string());
        let tasks = path::tasks(&self.key.pipeline);
        for name in self.session.children(&tasks).await.map_err(unknown)? {
            let Ok(task) = name.parse::<TaskName>() else {
                continue;
            };
            if self.of_its_own && task != self.key.task {
                continue;
            }
            let commit = path::commit(&self.key.pipeline, &task);
            let committed = self.session.read::<Committed>(&commit).await;
            if committed.map_err(unknown)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn confirmed(&self) -> Confirmed {
        self.confirmed.clone()
    }
}
