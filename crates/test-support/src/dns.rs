//! A name server on loopback that says what the test wants: A, TXT, CAA, nothing, or that it can't.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const A: u16 = 1;
const TXT: u16 = 16;
const CAA: u16 = 257;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

#[derive(Default)]
struct Zone {
    records: HashMap<(String, u16), Vec<u8>>,
    fails: bool,
}

/// A name server. Stops when dropped.
pub struct TestDns {
    zone: Arc<Mutex<Zone>>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl TestDns {
    /// Starts one with nothing in it.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind a port on loopback");
        let address = socket.local_addr().expect("a bound socket has an address");
        let zone = Arc::<Mutex<Zone>>::default();
        let server = tokio::spawn(serve(socket, zone.clone()));
        Self { zone, address, server }
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives a name an IPv4 address.
    pub fn set_a(&self, name: &str, address: &str) {
        let address: Ipv4Addr = address.parse().expect("an IPv4 address");
        self.set(name, A, address.octets().to_vec());
    }

    /// Gives a name a text of at most 255 bytes.
    pub fn set_txt(&self, name: &str, text: &str) {
        let length = u8::try_from(text.len()).expect("a short text");
        self.set(name, TXT, [&[length], text.as_bytes()].concat());
    }

    /// Lets one authority issue certificates for a name, by the record's value: a domain, or `;` for nobody.
    pub fn set_caa(&self, name: &str, value: &str) {
        let tag = "issue";
        let length = u8::try_from(tag.len()).expect("a short word");
        self.set(name, CAA, [&[0, length], tag.as_bytes(), value.as_bytes()].concat());
    }

    /// Makes it answer that it can't.
    pub fn fail(&self, fails: bool) {
        self.zone.lock().expect("nobody panics with the zone").fails = fails;
    }

    fn set(&self, name: &str, kind: u16, data: Vec<u8>) {
        self.zone.lock().expect("nobody panics with the zone").records.insert((name.to_owned(), kind), data);
    }
}

impl Drop for TestDns {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0_u8; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let reply = reply(&buffer[..length], &zone.lock().expect("nobody panics with the zone"));
        if let Some(reply) = reply {
            // A client that has gone is no reason to stop.
            let _ = socket.send_to(&reply, from).await;
        }
    }
}

/// Answers the one question of a query: header, question, at most one record.
fn reply(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let (name, end) = name_at(query, 12)?;
    let question = query.get(12..end + 4)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let data = zone.records.get(&(name.clone(), kind));
    let known = zone.records.keys().any(|(other, _)| *other == name);
    let code = match (zone.fails, known) {
        (true, _) => SERVER_FAILURE,
        (false, true) => 0,
        (false, false) => NO_SUCH_NAME,
    };
    let data = data.filter(|_| !zone.fails);
    let mut reply =
        vec![query[0], query[1], 0x85, 0x80 | code, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0];
    reply.extend(question);
    if let Some(data) = data {
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 1]);
        reply.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        reply.extend(data);
    }
    Some(reply)
}

fn name_at(query: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join(".").to_lowercase(), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
}
