//! `tokens`: for CI and other programs.

use panda_api_types::{ErrorCode, Token, TokenCreated, TokenRequest};
use panda_domain::clock::Clock;
use reqwest::Method;

use crate::api::Ask;
use crate::args::TokensCommand;
use crate::error::{CliError, Result};
use crate::session::Session;
use crate::table::ago;

/// Makes, lists and ends tokens.
pub(super) async fn run(session: &Session, command: Option<TokensCommand>) -> Result<()> {
    match command.unwrap_or(TokensCommand::List) {
        TokensCommand::Create { name, scope, ttl } => {
            let request = TokenRequest { name, scope, ttl_days: ttl };
            let created: TokenCreated = session.api.exchange(Method::POST, &tokens(), &request).await?;
            if session.out.json {
                session.out.json(&created);
            } else {
                let until = created.token.expires_at.get(..10).unwrap_or(&created.token.expires_at);
                session.out.say(&format!(
                    "{} ({}) until {until}; shown once:",
                    created.token.name, created.token.scope
                ));
                session.out.line(&created.secret);
            }
            Ok(())
        }
        TokensCommand::List => list(session).await,
        TokensCommand::Revoke { token } => revoke(session, &token).await,
    }
}

fn tokens() -> Ask {
    Ask::at(["tokens"])
}

async fn list(session: &Session) -> Result<()> {
    let all: Vec<Token> = session.api.list(&tokens(), None).await?;
    if session.out.json {
        session.out.json(&all);
        return Ok(());
    }
    let clock = Clock::system();
    let rows = all.iter().map(|token| {
        let used = token.last_used_at.as_deref().map_or_else(|| "never".to_owned(), |at| ago(at, &clock));
        let until = token.expires_at.get(..10).unwrap_or(&token.expires_at).to_owned();
        vec![token.id.clone(), token.name.clone(), token.scope.clone(), token.owner.clone(), until, used]
    });
    session.out.table(&["id", "name", "scope", "owner", "until", "used"], rows.collect());
    Ok(())
}

async fn revoke(session: &Session, wanted: &str) -> Result<()> {
    let all: Vec<Token> = session.api.list(&tokens(), None).await?;
    let mut found = all.iter().filter(|token| token.id == wanted || token.name == wanted);
    let (Some(token), None) = (found.next(), found.next()) else {
        let several = all.iter().filter(|token| token.name == wanted).count() > 1;
        return Err(if several {
            CliError::new(ErrorCode::Conflict, format!("several tokens are named `{wanted}`"))
                .hint("use the id")
        } else {
            CliError::new(ErrorCode::NotFound, format!("there is no token `{wanted}`"))
                .hint("`panda tokens list` shows all")
        });
    };
    session.api.order(Method::DELETE, &tokens().then([&token.id])).await?;
    let done = serde_json::json!({ "revoked": token.id, "name": token.name });
    session.out.done(&done, &format!("revoked {} ({})", token.name, token.id));
    Ok(())
}
