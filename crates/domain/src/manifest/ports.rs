//! `[[ports]]`: what the world reaches over plain TCP.

use crate::names::ProcessName;
use crate::port::{LOWEST_PUBLISHED, MAX_PORTS, TcpPort};

use super::error::{Fault, shown};
use super::process::port as any_port;
use super::section::{Mistakes, Section};
use super::tree::{Node, Value};
use super::{quantity, text};

pub(super) fn ports(node: &Node, mistakes: &mut Mistakes<'_>) -> Vec<TcpPort> {
    let Value::List(items) = &node.value else {
        let fault = Fault::invalid(format!("is {}, no list", node.value.shown()), "write [[ports]]");
        mistakes.add("ports", node.at, fault);
        return Vec::new();
    };
    let mut ports: Vec<TcpPort> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("ports.{index}");
        if index == MAX_PORTS {
            let fault = Fault::invalid(format!("is one of more than {MAX_PORTS}"), "publish fewer ports");
            mistakes.add(&path, item.at, fault);
            break;
        }
        let Some(port) = port(&path, item, mistakes) else { continue };
        let same = |other: &&TcpPort| other.process == port.process && other.port == port.port;
        if ports.iter().any(|other| same(&other)) {
            mistakes.add(&path, item.at, Fault::invalid("is listed twice", "keep one of the two"));
        } else if let (Some(published), true) =
            (port.published, ports.iter().any(|other| other.published == port.published))
        {
            let cause = format!("publishes {published}, as an entry above does");
            mistakes.add(
                &path,
                item.at,
                Fault::invalid(cause, "give each its own, or leave `published` out"),
            );
        } else {
            ports.push(port);
        }
    }
    ports
}

fn port(path: &str, node: &Node, mistakes: &mut Mistakes<'_>) -> Option<TcpPort> {
    let mut section = Section::open(path.to_owned(), node, mistakes)?;
    let said = section.node("port").is_some();
    let port = section.read("port", mistakes, any_port);
    let process = section.read("process", mistakes, text::name::<ProcessName>);
    let protocol = section.read("protocol", mistakes, tcp);
    let asked = section.node("published").is_some();
    let published = section.read("published", mistakes, published);
    let wrong = asked && published.is_none()
        || section.node("process").is_some() && process.is_none()
        || section.node("protocol").is_some() && protocol.is_none();
    section.finish(mistakes, &[]);
    if !said {
        mistakes.add(
            path,
            node.at,
            Fault::invalid("has no `port`", "add the port that the process listens on, such as port = 9000"),
        );
    }
    let process = process.unwrap_or_else(ProcessName::web);
    port.filter(|_| !wrong).map(|port| TcpPort { process, port, published })
}

fn tcp(node: &Node) -> Result<(), Fault> {
    match text::text(node)? {
        "tcp" => Ok(()),
        "http" | "https" => Err(Fault::invalid(
            "is HTTP, which needs no entry",
            "remove the entry: requests go to the app's URL; a domain of its own is added by [[domains]]",
        )),
        other => Err(Fault::invalid(
            format!("is {}, but only TCP can be published", shown(other)),
            "write protocol = \"tcp\", or remove the entry",
        )),
    }
}

fn published(node: &Node) -> Result<u16, Fault> {
    let port = quantity::whole(node, u32::from(LOWEST_PUBLISHED)..=65535)?;
    Ok(u16::try_from(port).expect("the range ends where u16 does"))
}
