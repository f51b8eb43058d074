//! Build secrets, handed to the daemon from memory when a step mounts them.

use std::collections::HashMap;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::Secrets;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use panda_domain::secret::Secret;
use tonic::{Request, Response, Status};

/// Answers the daemon's requests for secrets by name.
pub(super) struct MemorySecrets(pub(super) Arc<HashMap<String, Secret>>);

#[tonic::async_trait]
impl Secrets for MemorySecrets {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = &request.get_ref().id;
        match self.0.get(id) {
            Some(secret) => {
                Ok(Response::new(GetSecretResponse { data: secret.reveal().as_bytes().to_vec() }))
            }
            None => Err(Status::not_found(format!("secret {id}: not found"))),
        }
    }
}
