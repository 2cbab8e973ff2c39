//! Prints a new token, which is shown this once. A token that cannot be printed is taken back, since nobody has it.

use anyhow::{bail, ensure};

use super::context::{Context, Report};
use crate::{
    accounts::{Actor, remove_user, revoke_admin_token, revoke_token},
    name::{AdminTokenId, TokenId, UserId},
    output,
    store::{AdminTokenRevocation, RevokeExtent},
};

/// What was created for a new token.
#[derive(Debug)]
pub(super) enum Issued {
    /// A user, with a first token.
    User(UserId),
    /// A further token of a user.
    Token(UserId, TokenId),
    /// A token in the place of another one, which stays valid until a time.
    Rotated { user: UserId, token: TokenId, until: String },
    /// An admin token.
    AdminToken(AdminTokenId),
}

impl Issued {
    /// Prints the token and the note on it. If that fails, ends what was created, or says how to.
    pub(super) async fn print(&self, report: Report, context: &Context<'_>) -> anyhow::Result<()> {
        let Err(lost) = report.print_result().and_then(|()| output::sync()) else {
            // The token is safe: a note that cannot be printed is no failure.
            let _ = report.print_note();
            return Ok(());
        };
        if let Self::Rotated { user, token, until } = self {
            bail!(
                "failed to print the token: {lost}; it is lost, and the old one stays valid until {until}: `tollgate token add {user}` creates another, and `tollgate token revoke {token}` revokes the lost one"
            );
        }
        match self.take_back(context).await {
            Ok(()) => bail!("failed to print the token, so nothing was created: {lost}"),
            Err(error) => bail!(
                "failed to print the token: {lost}; it is lost, but valid, since it could not be revoked: {error:#}; {}",
                self.advice()
            ),
        }
    }

    /// Ends the token. That another process did so before is no error.
    async fn take_back(&self, context: &Context<'_>) -> anyhow::Result<()> {
        let (store, actor) = (context.store().await?, Actor::command());
        match self {
            Self::User(user) => _ = remove_user(&store, &actor, user).await?,
            Self::Token(user, token) | Self::Rotated { user, token, .. } => {
                revoke_token(&store, &actor, user, token, RevokeExtent::Alone).await?;
            }
            Self::AdminToken(token) => {
                let revoked = revoke_admin_token(&store, &actor, token, RevokeExtent::Alone).await?;
                ensure!(revoked != AdminTokenRevocation::Last, "it is the only admin token");
            }
        }
        Ok(())
    }

    fn advice(&self) -> String {
        match self {
            Self::User(user) => format!("`tollgate user remove {user}` removes the new user"),
            Self::Token(_, token) | Self::Rotated { token, .. } => {
                format!("`tollgate token revoke {token}` revokes it")
            }
            Self::AdminToken(token) => format!(
                "`tollgate token add --admin` creates another one, then `tollgate token revoke --admin {token}` revokes it"
            ),
        }
    }
}
