//! The proxy of the steps by hand.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use panda_test_support::process::{Daemon, Program};

/// Tells answers of one configuration from those of the one before.
pub(crate) const GENERATION: &str = "x-generation";

/// An nginx of our own; ends with the handle.
#[derive(Debug)]
pub(crate) struct Nginx {
    folder: PathBuf,
    listen: SocketAddr,
    _daemon: Daemon,
}

impl Nginx {
    pub(crate) async fn start(folder: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder)?;
        let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        fs::write(folder.join("nginx.conf"), configuration(listen, 0, &[]))?;
        let daemon =
            program(&folder).args(["-g", "daemon off;"]).start("nginx", &folder.join("nginx.log"))?;
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            let log = daemon.log();
            anyhow::ensure!(
                daemon.ended().is_none() && begun.elapsed() < Duration::from_secs(10),
                "nginx doesn't listen: {log}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { folder, listen, _daemon: daemon })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.listen)
    }

    /// Writes the upstream anew and reloads, as a person would.
    pub(crate) async fn switch(&self, generation: u32, instances: &[String]) -> anyhow::Result<()> {
        fs::write(self.folder.join("nginx.conf"), configuration(self.listen, generation, instances))?;
        let done = program(&self.folder).args(["-s", "reload"]).run(Duration::from_secs(20)).await?;
        anyhow::ensure!(done.code == Some(0), "nginx -s reload: {}", done.stderr);
        Ok(())
    }
}

fn program(folder: &std::path::Path) -> Program {
    // Debian has it in a folder that a login shell of a user doesn't search.
    let path = if std::path::Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let file = folder.join("nginx.conf");
    Program::new(path).args(["-p".into(), folder.to_owned(), "-c".into(), file]).args(["-e", "error.log"])
}

fn configuration(listen: SocketAddr, generation: u32, instances: &[String]) -> String {
    let servers: Vec<String> = instances.iter().map(|address| format!("    server {address};\n")).collect();
    let servers = servers.concat();
    let (upstream, place) = match instances {
        [] => (String::new(), "return 503;".to_owned()),
        _ => (
            format!("  upstream app {{\n{servers}    keepalive 16;\n  }}\n"),
            "proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\";".to_owned(),
        ),
    };
    format!(
        "worker_processes 1;\npid nginx.pid;\nerror_log error.log;\nuser root;\nevents {{ worker_connections 512; }}\nhttp {{\n  access_log off;\n{upstream}  \
         server {{\n    listen {listen};\n    add_header {GENERATION} {generation} always;\n    location / {{ {place} }}\n  }}\n}}\n"
    )
}
