//! `seawall token`: who may use the API over TCP.

use clap::{Args, Subcommand};
use reqwest::Method;
use seawall_model::Timestamp;
use seawall_store::Scope;

use super::format::{age, table};
use super::{Global, printable};
use crate::api::{Made, NewToken, TokenInfo};
use crate::client::Client;
use crate::exit::Failure;

/// `token`.
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token and print it: it is shown this once
    Create(Create),
    /// List tokens, without their secrets
    Ls,
    /// Revoke tokens: from now on nobody is let in with them
    Revoke(Revoke),
}

/// `token create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What it is to be called, such as who has it
    name: String,
    /// What its bearer may do: look; change sessions as well; make and revoke tokens as well
    #[arg(long, value_name = "read|write|admin", default_value = "read")]
    scope: Scope,
    /// How long it is good, such as 12h or 90d; or never, to have it good until it is revoked
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = expiry)]
    expires: Expiry,
}

/// `token revoke`.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Their names or ids
    #[arg(required = true)]
    tokens: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    Never,
    After(std::time::Duration),
}

fn expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    let after: std::time::Duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write 12h, 90d or never"))?;
    // Longer than anybody keeps a secret, and the year still has four digits.
    match after.as_secs() {
        0 => Err("it would be over at once".to_owned()),
        1..=3_155_760_000 => Ok(Expiry::After(after)),
        _ => Err("at most 100 years; or write never".to_owned()),
    }
}

impl Token {
    /// Makes, lists or revokes.
    pub(crate) async fn run(self, global: &Global, client: &Client) -> Result<u8, Failure> {
        match self {
            Self::Create(Create { name, scope, expires }) => {
                let expires_at = match expires {
                    Expiry::Never => None,
                    Expiry::After(after) => Some(Timestamp::now() + after),
                };
                let made: Made = client.post(&["tokens"], &[], &NewToken { name, scope, expires_at }).await?;
                global.show(&made, |made| format!("{}\n", made.token))?;
            }
            Self::Ls => {
                let tokens: Vec<TokenInfo> = client.get(&["tokens"], &[]).await?;
                global.show(&tokens, |tokens| listed(tokens))?;
            }
            Self::Revoke(Revoke { tokens }) => {
                let mut revoked = Vec::new();
                for token in &tokens {
                    let response = client.send(Method::DELETE, &["tokens", token], &[]).await?;
                    let token: TokenInfo = client.json(response).await?;
                    if !global.json {
                        global.show(&token, |token| format!("{}\n", printable(&token.name)))?;
                    }
                    revoked.push(token);
                }
                if global.json {
                    global.show(&revoked, |_| String::new())?;
                }
            }
        }
        Ok(0)
    }
}

fn listed(tokens: &[TokenInfo]) -> String {
    let now = Timestamp::now();
    let rows = tokens.iter().map(|token| {
        let expires = match token.expires_at {
            None => "never".to_owned(),
            Some(at) if at <= now => format!("over for {}", age(now, at)),
            Some(at) => format!("in {}", age(at, now)),
        };
        vec![
            token.name.clone(),
            token.id.clone(),
            token.scope.as_str().to_owned(),
            age(now, token.created_at),
            expires,
            token.used_at.map_or_else(|| "never".to_owned(), |at| age(now, at)),
        ]
    });
    table(&["NAME", "ID", "SCOPE", "AGE", "EXPIRES", "USED"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_a_time_or_never() {
        assert_eq!(expiry("never"), Ok(Expiry::Never));
        assert_eq!(expiry("1d"), Ok(Expiry::After(std::time::Duration::from_secs(86_400))));
        for text in ["", "0s", "soon", "-1d", "200y", "90"] {
            assert!(expiry(text).is_err(), "{text}");
        }
    }
}
