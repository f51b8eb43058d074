//! Published TCP ports of an app.

use axum::extract::State;
use panda_api_types::{Page, Port};
use panda_domain::port::PortState;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging::whole;
use super::{Json, Shared, Target, TargetParams};
use crate::app::ports::{self, AppPort};
use crate::auth::Principal;
use crate::error::Result;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// The TCP ports at which the world reaches an app.
#[utoipa::path(get, path = "/apps/{app}/ports", tag = "ports", params(TargetParams),
    responses((status = 200, body = Page<Port>)))]
async fn list(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
) -> Result<Json<Page<Port>>> {
    Ok(Json(whole(of_app(&platform, &principal, &target).await?, |port| port)))
}

/// Returns an app's ports as they are shown.
pub(super) async fn of_app(platform: &Shared, principal: &Principal, target: &Target) -> Result<Vec<Port>> {
    let ports = ports::list(platform, principal, &target.app, &target.environment).await?;
    Ok(ports.into_iter().map(shown).collect())
}

/// Shows a port. An address is told once connections to it are taken.
fn shown(port: AppPort) -> Port {
    let AppPort { process, port, published, host, state } = port;
    let (word, host, detail) = match state {
        PortState::Open { host: other } => ("open", Some(other.unwrap_or(host)), None),
        PortState::Waiting { reason } => ("waiting", None, Some(reason)),
        PortState::Failed { reason } => ("failed", None, Some(reason)),
    };
    let address = host.zip(published).map(|(host, published)| {
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        format!("tcp://{host}:{published}")
    });
    Port {
        process: process.to_string(),
        port,
        protocol: "tcp".to_owned(),
        published,
        address,
        state: word.to_owned(),
        detail,
    }
}
