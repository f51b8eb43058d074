//! Registry credentials, handed to the daemon from memory, one pair a host.

use std::collections::HashMap;
use std::sync::Arc;

use bollard_buildkit_proto::moby::filesync::v1::auth_server::Auth;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use panda_domain::secret::Secret;
use tonic::{Request, Response, Status};

/// A user and a password (or token) for one registry host.
#[derive(Debug, Clone)]
pub struct RegistryCredentials {
    /// Who we are to the registry.
    pub user: String,
    /// The password or access token.
    pub password: Secret,
}

/// Answers the daemon's requests for credentials; an unknown host is asked anonymously.
pub(super) struct MemoryAuth(pub(super) Arc<HashMap<String, RegistryCredentials>>);

#[tonic::async_trait]
impl Auth for MemoryAuth {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let (username, secret) = match self.0.get(&request.get_ref().host) {
            Some(found) => (found.user.clone(), found.password.reveal().to_owned()),
            None => Default::default(),
        };
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    // The session doesn't announce the calls below, so that the daemon fetches tokens by itself.

    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("the daemon fetches tokens"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the daemon fetches tokens"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the daemon fetches tokens"))
    }
}
