//! Tokens of a process: its own role's, and those of all roles for a Server.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use towpath_coordination::{Credentials, Secret, credentials};
use towpath_protocol::tree::Role;

/// Tokens by which roles are proven.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Tokens {
    /// The folder of the roles' tokens: files core, monitor, operator, admin. A process needs its
    /// own role's; a Server takes all that are there, and then demands one of every client.
    /// TOWPATH_CORE_TOKEN and its like go first.
    #[arg(long, value_name = "DIR", env = "TOWPATH_TOKENS")]
    pub(crate) tokens: Option<PathBuf>,
}

impl Tokens {
    /// What this process shows of itself.
    ///
    /// # Errors
    /// There is a folder without a token of this role, or what is there is no token.
    pub(crate) fn credentials(&self, role: Role) -> anyhow::Result<Credentials> {
        Ok(Credentials::load(role, self.tokens.as_deref())?)
    }

    /// The tokens of all roles, for the Server; none means that there are no roles.
    ///
    /// # Errors
    /// There is a folder without any, or what is there is no token.
    pub(crate) fn all(&self) -> anyhow::Result<Vec<(Role, Secret)>> {
        let mut found = Vec::new();
        for role in Role::ALL {
            let tokens = credentials::tokens(role, self.tokens.as_deref())?;
            found.extend(tokens.into_iter().map(|token| (role, token)));
        }
        if let (true, Some(folder)) = (found.is_empty(), &self.tokens) {
            bail!(
                "--tokens {}: no file there is named after a role: core, monitor, operator, admin",
                folder.display()
            );
        }
        Ok(found)
    }
}
