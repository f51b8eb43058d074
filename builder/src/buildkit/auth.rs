//! Who we are to registries, told to the daemon from memory: a password for a host, or a token for the repositories of one build.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use bollard_buildkit_proto::moby::filesync::v1::auth_server::Auth;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use panda_domain::secret::Secret;
use panda_registry_token::{Action, LIFETIME, RegistryKey};
use tonic::{Request, Response, Status};

/// A user and a password (or token) for one registry host.
#[derive(Debug, Clone)]
pub struct RegistryCredentials {
    /// Who we are to the registry.
    pub user: String,
    /// The password or access token.
    pub password: Secret,
}

/// What one build may do in the platform's own registry.
pub(crate) struct OwnRegistry {
    host: String,
    key: RegistryKey,
    /// Where it may read and write. Whatever else a Dockerfile names there, `FROM` included, is refused by the registry.
    repositories: Vec<String>,
    /// Proves to the daemon that it is still this build that asks. The daemon shares the tokens that it has been given between
    /// sessions with the same authority, so each build has its own.
    authority: Ed25519KeyPair,
}

impl fmt::Debug for OwnRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnRegistry({}: {:?})", self.host, self.repositories)
    }
}

impl OwnRegistry {
    /// Prepares for one build.
    pub(crate) fn new(
        host: String,
        key: RegistryKey,
        repositories: Vec<String>,
    ) -> Result<Self, Unspecified> {
        Ok(Self { host, key, repositories, authority: Ed25519KeyPair::generate()? })
    }

    /// Makes a token for what of `scopes` (`repository:NAME:ACTION,ACTION`) is this build's. What isn't is left out rather
    /// than refused: the daemon also asks for other repositories to save an upload, and goes on without.
    fn token(&self, scopes: &[String]) -> Secret {
        let asked = scopes.iter().flat_map(|scope| scope.split(' '));
        let access: Vec<(&str, &[Action])> = asked.filter_map(|scope| self.granted(scope)).collect();
        self.key.token(&access, LIFETIME)
    }

    fn granted(&self, scope: &str) -> Option<(&str, &'static [Action])> {
        let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
        let name = self.repositories.iter().find(|own| *own == name)?;
        let push = actions.split(',').any(|action| action == "push");
        Some((name, if push { &[Action::Pull, Action::Push] } else { &[Action::Pull] }))
    }
}

/// What a session knows of registries.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    /// Passwords, by host.
    pub(crate) passwords: HashMap<String, RegistryCredentials>,
    /// The platform's own.
    pub(crate) own: Option<OwnRegistry>,
}

/// Answers the daemon's requests for credentials; an unknown host is asked anonymously.
pub(super) struct MemoryAuth(pub(super) Arc<Logins>);

impl MemoryAuth {
    /// Returns what we have for a registry of ours; of any other the daemon asks for a password and fetches tokens by itself.
    fn own(&self, host: &str) -> Result<&OwnRegistry, Status> {
        let own = self.0.own.as_ref().filter(|own| own.host == host);
        own.ok_or_else(|| Status::unimplemented("the daemon fetches tokens of this registry by itself"))
    }
}

#[tonic::async_trait]
impl Auth for MemoryAuth {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let (username, secret) = match self.0.passwords.get(&request.get_ref().host) {
            Some(found) => (found.user.clone(), found.password.reveal().to_owned()),
            None => Default::default(),
        };
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(
        &self,
        request: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        let request = request.get_ref();
        let token = self.own(&request.host)?.token(&request.scopes);
        let expires_in = i64::try_from(LIFETIME.as_secs()).unwrap_or(i64::MAX);
        // Without a time of issue the daemon counts from now on.
        Ok(Response::new(FetchTokenResponse { token: token.reveal().to_owned(), expires_in, issued_at: 0 }))
    }

    async fn get_token_authority(
        &self,
        request: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        let own = self.own(&request.get_ref().host)?;
        let public_key = own.authority.public_key().as_ref().to_vec();
        Ok(Response::new(GetTokenAuthorityResponse { public_key }))
    }

    async fn verify_token_authority(
        &self,
        request: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        let request = request.get_ref();
        let own = self.own(&request.host)?;
        // The form of NaCl's `sign`: the signature, then what was signed.
        let signed = [own.authority.sign(&request.payload).as_ref(), &request.payload].concat();
        Ok(Response::new(VerifyTokenAuthorityResponse { signed }))
    }
}

#[cfg(test)]
mod tests {
    use panda_domain::clock::Clock;

    use super::*;

    #[test]
    fn a_build_is_granted_its_own_repositories_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let key = RegistryKey::load_or_create(&folder.path().join("key"), Clock::system()).unwrap();
        let own = OwnRegistry::new("registry:5000".into(), key, vec!["acme/api".into()]).unwrap();
        let granted = |scope: &str| own.granted(scope);
        assert_eq!(granted("repository:acme/api:pull"), Some(("acme/api", &[Action::Pull][..])));
        let both = &[Action::Pull, Action::Push][..];
        assert_eq!(granted("repository:acme/api:pull,push"), Some(("acme/api", both)));
        assert_eq!(granted("repository:acme/api:delete"), Some(("acme/api", &[Action::Pull][..])));
        for foreign in [
            "repository:acme/shop:pull",
            "repository:acme/api/x:pull",
            "repository:acme:pull",
            "registry:catalog:*",
            "repository:acme/api",
            "",
        ] {
            assert_eq!(granted(foreign), None, "{foreign}");
        }
    }
}
