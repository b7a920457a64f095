//! `/v1/tokens`: who may use the API over TCP.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use seawall_model::Timestamp;
use seawall_store::{Scope, Token};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::audit::Granted;
use super::extract::{Json, Query, Reference};
use super::openapi::OfToken;
use super::reload::Nothing;
use crate::problem::{Kind, Problem};
use crate::tokens::TokenError;

/// A token, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct TokenInfo {
    /// The part of it that is no secret.
    pub(crate) id: String,
    /// What it is called; the log and the events say `token NAME`.
    pub(crate) name: String,
    /// What its bearer may do.
    pub(crate) scope: Scope,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When it ceases to be good. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Timestamp>,
    /// When it was last used, to within a minute. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) used_at: Option<Timestamp>,
}

/// A token that was just made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Made {
    /// What is shown of it later, too.
    #[serde(flatten)]
    pub(crate) info: TokenInfo,
    /// What its bearer sends, as `Authorization: Bearer`. It is never shown again.
    #[schema(pattern = "^swl_[0-9a-f]{16}_[0-9a-f]{64}$")]
    pub(crate) token: String,
}

/// A token that is to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// What it is to be called: no two have the same name.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    pub(crate) name: String,
    /// What its bearer may do.
    pub(crate) scope: Scope,
    /// When it ceases to be good. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Timestamp>,
}

impl From<Token> for TokenInfo {
    fn from(token: Token) -> Self {
        let Token { id, name, hash: _, scope, created_at, expires_at, used_at } = token;
        Self { id, name, scope, created_at, expires_at, used_at }
    }
}

/// Only for those who may make and revoke tokens: everybody on the Unix socket, and tokens of that scope.
pub(super) struct Admin;

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Granted>() {
            Some(Granted(Scope::Admin)) => Ok(Self),
            Some(Granted(scope)) => Err(Granted::too_little(*scope, Scope::Admin)),
            None => Err(Problem::new(Kind::Denied, "nobody knows who asks")),
        }
    }
}

/// Every token, by name.
#[utoipa::path(
    get, path = "/v1/tokens", operation_id = "list_tokens",
    tag = "tokens", responses((status = 200, body = [TokenInfo]))
)]
pub(super) async fn list(
    State(api): State<Api>,
    _: Admin,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Response, Problem> {
    let tokens: Vec<TokenInfo> = api.tokens.list().into_iter().map(TokenInfo::from).collect();
    Ok(axum::Json(tokens).into_response())
}

/// Make a token. The answer is the only one that has its secret.
#[utoipa::path(
    post, path = "/v1/tokens", operation_id = "create_token", tag = "tokens", request_body = NewToken,
    responses((status = 201, description = "It is stored", body = Made))
)]
pub(super) async fn create(
    State(api): State<Api>,
    _: Admin,
    Query(Nothing {}): Query<Nothing>,
    Json(new): Json<NewToken>,
) -> Result<Response, Problem> {
    let NewToken { name, scope, expires_at } = new;
    let (token, secret) = api.tokens.create(name, scope, expires_at).await?;
    let made = Made { info: token.into(), token: secret.reveal().to_owned() };
    Ok((StatusCode::CREATED, axum::Json(made)).into_response())
}

/// Revoke a token: from the answer on nobody is let in with it. What its bearer began before goes on.
#[utoipa::path(
    delete, path = "/v1/tokens/{name}", operation_id = "revoke_token", tag = "tokens", params(OfToken),
    responses((status = 200, description = "It is revoked", body = TokenInfo))
)]
pub(super) async fn revoke(
    State(api): State<Api>,
    _: Admin,
    Reference(name): Reference,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Response, Problem> {
    let token = api.tokens.revoke(&name).await?;
    Ok(axum::Json(TokenInfo::from(token)).into_response())
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let text = error.to_string();
        match error {
            TokenError::NameTaken(_) => Self {
                problems: vec![seawall_model::Problem { field: "name".to_owned(), message: text.clone() }],
                ..Self::new(Kind::Conflict, text)
            },
            TokenError::BadName(_) => Self::field(Kind::Invalid, "name", text),
            TokenError::Over(_) => Self::field(Kind::Invalid, "expires_at", text),
            TokenError::TooMany => Self::new(Kind::Conflict, text),
            TokenError::Unknown(_) => Self::new(Kind::NotFound, text),
            TokenError::Store(_) => Self::new(Kind::Store, crate::exit::chain(&error)),
        }
    }
}
