//! Published TCP ports of an app: who may have which, and what became of them.

use panda_api_types::ErrorCode;
use panda_domain::names::{AppName, EnvironmentName, ProcessName};
use panda_domain::port::{HeldPort, PortRange, PortState, TcpPort, fulfilled};
use panda_domain::release::ReleaseConfig;
use panda_domain::team::Permission;
use panda_store::{PlacementRow, PortRefusal, PortRow, Tx};

use super::apps;
use crate::Platform;
use crate::auth::Principal;
use crate::error::{Error, Result};

/// A port of an app, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPort {
    /// The process that listens.
    pub process: ProcessName,
    /// The port that it listens on.
    pub port: u16,
    /// The port that the world connects to, `None` when there is none for it.
    pub published: Option<u16>,
    /// The host that the world connects to, unless the state names another.
    pub host: String,
    /// What was seen of it.
    pub state: PortState,
}

/// Returns the ports of an app: those that what serves wants, then those that a deploy waits for.
pub async fn list(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<Vec<AppPort>> {
    principal.require(Permission::Read, Some(app))?;
    let mut tx = platform.store.read().await?;
    let row = apps::require_placement(&mut tx, &principal.team, app, environment).await?;
    let rows = tx.ports(&principal.team, &row.placement.id).await?;
    let serving = match &row.placement.last_good_release {
        Some(release) => tx.release(&principal.team, release).await?,
        None => None,
    };
    Ok(seen(&row.placement.host, serving.as_ref().map(|release| &release.config), &rows))
}

/// Makes of what is wished, had and told what people see.
fn seen(host: &str, serving: Option<&ReleaseConfig>, rows: &[PortRow]) -> Vec<AppPort> {
    let held: Vec<HeldPort> = rows.iter().map(|row| row.held.clone()).collect();
    let wishes = serving.map_or(&[][..], |config| &config.ports);
    let all = wishes.iter().zip(fulfilled(wishes, &held));
    let mut ports: Vec<AppPort> = all
        .map(|(wish, published)| {
            let row = rows.iter().find(|row| Some(row.held.published) == published);
            let (process, port) = (wish.process.clone(), wish.port);
            let state = state_of(wish, serving, row);
            AppPort { process, port, published: published.or(wish.published), host: host.to_owned(), state }
        })
        .collect();
    let serves = |row: &&PortRow| ports.iter().any(|port| port.published == Some(row.held.published));
    let waiting: Vec<_> = rows.iter().filter(|row| !serves(row)).collect();
    ports.extend(waiting.into_iter().map(|row| AppPort {
        process: row.held.process.clone(),
        port: row.held.port,
        published: Some(row.held.published),
        host: host.to_owned(),
        state: PortState::Waiting { reason: "until a deploy that wants it is live".to_owned() },
    }));
    ports
}

fn state_of(wish: &TcpPort, serving: Option<&ReleaseConfig>, row: Option<&PortRow>) -> PortState {
    let process = &wish.process;
    if serving.is_some_and(|config| !config.processes.contains_key(process)) {
        let reason =
            format!("the release that serves has no process `{process}`; correct [[ports]] and deploy again");
        return PortState::Failed { reason };
    }
    match row {
        None => PortState::Failed { reason: "another app has it by now; deploy again to get one".to_owned() },
        Some(PortRow { observed: Some(state), .. }) => state.clone(),
        Some(_) => PortState::Waiting { reason: "until the routes were made".to_owned() },
    }
}

/// Gives an app the ports that a release of it wants, or says why it can't have them.
pub async fn claim(platform: &Platform, tx: &mut Tx, row: &PlacementRow, wishes: &[TcpPort]) -> Result<()> {
    let range = &platform.settings.tcp_ports;
    if wishes.is_empty() {
        return Ok(());
    }
    if range.is_empty() {
        let text = "this server publishes no TCP ports";
        return Err(Error::new(ErrorCode::Unsupported, text).with_hint(
            "the operator allows some by `listen.tcp_ports`, such as \"20000-20099\"; or remove [[ports]]",
        ));
    }
    for (index, port) in wishes.iter().enumerate() {
        if let Some(published) = port.published.filter(|published| !range.contains(*published)) {
            let text = format!("{published} isn't among the ports that this server publishes, {range}");
            return Err(Error::invalid_field(format!("ports.{index}.published"), text)
                .with_hint("name one of those, or leave `published` out and get a free one"));
        }
    }
    let placement = &row.placement;
    match tx.claim_ports(&placement.team, &placement.id, wishes, range).await? {
        Ok(()) => Ok(()),
        Err(refusal) => Err(refused(refusal, range)),
    }
}

fn refused(refusal: PortRefusal, range: &PortRange) -> Error {
    match refusal {
        PortRefusal::Taken(port) => {
            Error::new(ErrorCode::NameTaken, format!("port {port} is in use by another app"))
                .with_hint("name another one, or leave `published` out of [[ports]] and get a free one")
        }
        PortRefusal::AllTaken => Error::new(
            ErrorCode::QuotaExceeded,
            format!("all ports that this server publishes, {range}, are in use"),
        )
        .with_hint("the operator allows more by `listen.tcp_ports`; removing [[ports]] of an app frees its"),
    }
}

/// Gives an app that comes from another server its ports: the same numbers where they are to be had here, else others. Returns what
/// people should know, and takes away the ports that this server can't give.
pub async fn bring(
    platform: &Platform,
    tx: &mut Tx,
    row: &PlacementRow,
    ports: &mut Vec<TcpPort>,
) -> Result<Vec<String>> {
    let (mut kept, mut notices): (Vec<TcpPort>, _) = (Vec::new(), Vec::new());
    let (range, placement) = (&platform.settings.tcp_ports, &row.placement);
    for mut port in ports.drain(..) {
        port.published = port.published.filter(|published| range.contains(*published));
        let mut given = false;
        for published in [port.published, None] {
            kept.push(TcpPort { published, ..port.clone() });
            given = tx.claim_ports(&placement.team, &placement.id, &kept, range).await?.is_ok();
            if given {
                break;
            }
            kept.pop();
        }
        if !given {
            notices.push(format!(
                "port {} of `{}` stays behind: this server has no TCP port for it (`listen.tcp_ports`)",
                port.port, port.process
            ));
        }
    }
    *ports = kept;
    Ok(notices)
}

#[cfg(test)]
mod tests {
    use panda_domain::manifest::{DetectedProcesses, Overrides, parse};

    use super::*;

    fn config(ports: &str) -> ReleaseConfig {
        let manifest = parse(ports).unwrap();
        manifest.to_release_config(&DetectedProcesses::default(), &Overrides::default())
    }

    fn row(published: u16, port: u16, observed: Option<PortState>) -> PortRow {
        let held = HeldPort { published, process: ProcessName::web(), port };
        PortRow { placement: panda_domain::ids::IdSource::counted().next(), held, observed }
    }

    #[test]
    fn a_port_is_open_only_when_that_was_seen_and_says_otherwise_why_not() {
        let wants =
            config("[[ports]]\nport = 9000\n[[ports]]\nport = 9001\n[[ports]]\nprocess = \"gone\"\nport = 1");
        let open = PortState::Open { host: None };
        let rows = [row(20_000, 9000, Some(open.clone())), row(20_001, 9002, None)];
        let ports = seen("shop.example.com", Some(&wants), &rows);
        let told: Vec<_> = ports.iter().map(|port| (port.port, port.published, &port.state)).collect();
        assert_eq!(told[0], (9000, Some(20_000), &open));
        assert!(matches!(told[1], (9001, None, PortState::Failed { .. })), "{told:?}");
        assert!(matches!(told[2].2, PortState::Failed { reason } if reason.contains("`gone`")), "{told:?}");
        assert!(matches!(told[3], (9002, Some(20_001), PortState::Waiting { .. })), "{told:?}");
    }
}
