//! `ports`: where the world reaches an app over plain TCP.

use panda_api_types::Port;

use crate::error::Result;
use crate::session::{Session, Target};

/// Lists an app's published ports.
pub(super) async fn run(session: &Session) -> Result<()> {
    let target = session.target()?;
    let ports: Vec<Port> = session.api.list(&target.ask(["ports"]), None).await?;
    if session.out.json {
        session.out.json(&ports);
        return Ok(());
    }
    if ports.is_empty() {
        session.out.say("no TCP ports; [[ports]] in panda.toml publishes one");
        return Ok(());
    }
    let rows = ports.iter().map(|port| {
        let address = port.address.clone().unwrap_or_else(|| "-".to_owned());
        vec![port.process.clone(), port.port.to_string(), address, state(port)]
    });
    session.out.table(&["process", "inside", "address", "state"], rows.collect());
    Ok(())
}

/// Says where a deploy is reached over TCP, beside its URL, which alone goes to where scripts read.
pub(crate) async fn say_open(session: &Session, target: &Target) {
    // The deploy is live whether or not this can be told; servers from before ports don't know the question.
    let Ok(ports) = session.api.list::<Port>(&target.ask(["ports"]), None).await else { return };
    for port in ports {
        match &port.address {
            Some(address) => {
                session.out.say(&format!("port {} of `{}` is at {address}", port.port, port.process));
            }
            None => session.out.say(&format!("port {} of `{}`: {}", port.port, port.process, state(&port))),
        }
    }
}

/// Says the state with its reason.
pub(super) fn state(port: &Port) -> String {
    match &port.detail {
        Some(detail) => format!("{} ({detail})", port.state),
        None => port.state.clone(),
    }
}
