//! A Docker host as `panda-server install` makes it: registry, builder, edge and server as containers, private to a test.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use panda_api_types::{ClaimRequest, TokenCreated, TokenRequest};
use panda_test_support::prober::{Prober, Target};
use panda_test_support::process::{Finished, Program};
use reqwest::Method;
use reqwest::header::{COOKIE, ORIGIN, SET_COOKIE};

use crate::api::{Api, answer};
use crate::docker::Docker;
use crate::ground::{Ground, binary, repository};
use crate::installation::{EMAIL, PASSWORD, make_database};
use crate::range::Range;

/// How long one command may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// A host, before or after its installation. Everything of it is removed with the handle.
#[derive(Debug)]
pub struct DockerHost {
    /// Prefix of its containers' names.
    pub name: String,
    /// Its state.
    pub data: PathBuf,
    /// The engine as the tests see it.
    pub docker: Docker,
    /// Where its API listens.
    pub api: SocketAddr,
    folder: PathBuf,
    postgres: String,
    https: SocketAddr,
    http: SocketAddr,
    /// Where its registry listens.
    pub registry: SocketAddr,
    range: Range,
    token: String,
    images: Vec<String>,
}

impl DockerHost {
    /// Chooses names and ports, and makes images of server and edge. Nothing is installed yet.
    pub fn prepare(ground: &Ground) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("{}h{}", ground.run, NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = ground.folder.join(&name);
        std::fs::create_dir_all(folder.join("home"))?;
        let [api, https, http, registry] = free_addresses()?;
        let images = vec![format!("panda-server:{name}"), format!("panda-edge:{name}")];
        let docker = Docker::at(&ground.docker);
        let socket = format!("unix://{}", ground.docker.display());
        for (program, image) in ["panda-server", "panda-edge"].iter().zip(&images) {
            let script = repository().join("deploy/images/panda/build.sh");
            Program::new(script)
                .args([binary(program)?, image.into()])
                .env("DOCKER_HOST", &socket)
                .output()?;
        }
        let (data, range) = (folder.join("data"), Range::take()?);
        Ok(Self {
            name,
            data,
            docker,
            api,
            folder,
            postgres: ground.postgres.clone(),
            https,
            http,
            registry,
            range,
            token: String::new(),
            images,
        })
    }

    /// Writes a configuration, before the installation, that keeps the state in a database of its own in the run's PostgreSQL.
    pub fn keep_state_in_postgres(&self) -> anyhow::Result<()> {
        let url = make_database(&self.postgres, &self.name)?;
        let port = self.https.port();
        let text =
            format!("public_url = \"https://panda.localhost:{port}\"\n\n[database]\nurl = \"{url}\"\n");
        std::fs::write(self.folder.join("server.toml"), text).context("write the configuration")
    }

    /// Runs `panda-server` on the host.
    pub async fn server(&self, arguments: &[&str]) -> anyhow::Result<Finished> {
        Program::new(binary("panda-server")?)
            .args([PathBuf::from("--config"), self.folder.join("server.toml")])
            .args(arguments.iter().copied())
            .env("HOME", self.folder.join("home"))
            .run(PATIENCE)
            .await
    }

    /// The same; anything but exit 0 is an error. Returns standard output and standard error.
    pub async fn server_ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let done = self.server(arguments).await?;
        let said = format!("{}{}", done.stdout, done.stderr);
        anyhow::ensure!(
            done.code == Some(0),
            "panda-server {arguments:?} exited with {:?}\n{said}",
            done.code
        );
        Ok(said)
    }

    /// Runs `panda-server install` with this host's names and ports.
    pub async fn install(&self) -> anyhow::Result<Finished> {
        let ports =
            [self.http, self.https, self.api, self.registry].map(|address| address.port().to_string());
        let [http, https, api, registry] = &ports;
        let data = self.data.display().to_string();
        let subnets = self.range.subnet();
        let mut arguments =
            vec!["--data-dir", &data, "install", "--name", &self.name, "--apps-domain", "localhost"];
        arguments.extend([
            "--server-image",
            &self.images[0],
            "--edge-image",
            &self.images[1],
            "--subnets",
            &subnets,
        ]);
        arguments.extend([
            "--http-port",
            http,
            "--https-port",
            https,
            "--api-port",
            api,
            "--registry-port",
            registry,
        ]);
        let mirrors = std::env::var("PANDA_TEST_MIRRORS").unwrap_or_default();
        let images = std::env::var("PANDA_TEST_IMAGES").unwrap_or_default();
        arguments.extend(["--allow-image-host", images.split('/').next().unwrap_or_default()]);
        for mirror in mirrors.split_whitespace() {
            arguments.extend(["--builder-mirror", mirror]);
        }
        self.server(&arguments).await
    }

    /// Claims it with the token that `install` printed, and makes a token for the CLI.
    pub async fn claim(&mut self, printed: &str) -> anyhow::Result<()> {
        let line = printed.lines().find_map(|line| line.strip_prefix("claim token: "));
        let claim_token = line.with_context(|| format!("no claim token in:\n{printed}"))?.to_owned();
        let api = Api::at(&format!("http://{}", self.api))?;
        let request =
            ClaimRequest { claim_token, email: EMAIL.into(), password: PASSWORD.into(), team: None };
        let claimed = api.request(Method::POST, "/claim").json(&request).send().await?.error_for_status()?;
        let cookie = claimed.headers().get(SET_COOKIE).context("claiming set no cookie")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let wish = TokenRequest { name: "tests".into(), scope: "full".into(), ttl_days: None };
        let origin = format!("https://panda.localhost:{}", self.https.port());
        let request = api.request(Method::POST, "/tokens").header(COOKIE, cookie).header(ORIGIN, origin);
        let made: TokenCreated = answer(request.json(&wish)).await?;
        self.token = made.secret;
        Ok(())
    }

    /// Runs `panda` as the owner; anything but exit 0 is an error. Returns standard output.
    pub async fn cli_ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let done = Program::new(binary("panda")?)
            .args(arguments.iter().copied())
            .env("HOME", self.folder.join("home"))
            .env("PANDA_SERVER", format!("http://{}", self.api))
            .env("PANDA_TOKEN", &self.token)
            .in_folder(&self.folder)
            .run(PATIENCE)
            .await?;
        anyhow::ensure!(
            done.code == Some(0),
            "panda {arguments:?} exited with {:?}\n{}\n{}",
            done.code,
            done.stdout,
            done.stderr
        );
        Ok(done.stdout)
    }

    /// Starts a prober at an app's address, through the edge.
    pub fn probe(&self, app: &str) -> anyhow::Result<Prober> {
        let url = format!("https://{app}.localhost:{}/", self.https.port());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.https.port()));
        let ca = std::fs::read_to_string(self.data.join("keys/local-ca.crt"))?;
        Prober::start(&Target { url, address, ca: Some(ca) }, 50)
    }

    /// Makes an image that differs from the server's or the edge's by one instruction, such as `LABEL a=b`.
    pub fn variant(&mut self, program: &str, tag: &str, instruction: &str) -> anyhow::Result<String> {
        let image = format!("{program}:{}-{tag}", self.name);
        let container = self.docker.call(&["create", &format!("{program}:{}", self.name)])?;
        let container = container.trim();
        let made = self.docker.call(&["commit", "--change", instruction, container, &image]);
        self.docker.call(&["rm", container])?;
        made?;
        self.images.push(image.clone());
        Ok(image)
    }

    /// Makes an image of the server that doesn't say that it knows the registry's tokens, as none did before there were any.
    pub fn older_server(&mut self, tag: &str, instruction: &str) -> anyhow::Result<String> {
        const WRAPPER: &str = "#!/bin/sh\ncase \"$*\" in\n\
            *preflight) panda-server.real \"$@\" 2>&1 | grep -v 'knows: ' ;;\n\
            *) exec panda-server.real \"$@\" ;;\nesac\n";
        let image = format!("panda-server:{}-{tag}", self.name);
        let wrapper = self.folder.join("panda-server");
        std::fs::write(&wrapper, WRAPPER)?;
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755))?;
        let container = self.docker.call(&["create", "debian:bookworm-slim"])?;
        let container = container.trim();
        let copied = [
            (binary("panda-server")?, "/usr/bin/panda-server.real"),
            (wrapper, "/usr/bin/panda-server"),
            ("/etc/ssl/certs/ca-certificates.crt".into(), "/etc/ssl/ca.crt"),
        ]
        .iter()
        .try_for_each(|(from, to)| {
            let to = format!("{container}:{to}");
            self.docker.call(&["cp", "-L", &from.display().to_string(), &to]).map(drop)
        });
        let mut commit = vec!["commit", "--change", "ENTRYPOINT [\"/usr/bin/panda-server\"]"];
        commit.extend(["--change", "ENV SSL_CERT_FILE=/etc/ssl/ca.crt", "--change", instruction]);
        commit.extend([container, &image]);
        let made = copied.and_then(|()| self.docker.call(&commit));
        self.docker.call(&["rm", container])?;
        made?;
        self.images.push(image.clone());
        Ok(image)
    }

    /// Returns the containers of the platform and its apps, as `name image`.
    pub fn containers(&self) -> anyhow::Result<Vec<String>> {
        let label = format!("label=dev.panda.platform={}", self.name);
        let format = "{{.Names}} {{.Image}}";
        let platform = self.docker.call(&["ps", "-a", "--format", format, "--filter", &label])?;
        let mut found: Vec<_> = platform.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        found.extend(self.docker.containers(&self.range.prefix())?);
        Ok(found)
    }
}

impl Drop for DockerHost {
    fn drop(&mut self) {
        let containers =
            self.docker.call(&["ps", "-aq", "--filter", &format!("label=dev.panda.platform={}", self.name)]);
        let ids = containers.unwrap_or_default();
        let mut arguments = vec!["rm", "-f", "-v"];
        arguments.extend(ids.split_whitespace());
        if arguments.len() > 3 {
            let _ = self.docker.call(&arguments);
        }
        self.docker.clean(&self.range.prefix());
        let _ = self.docker.call(&["network", "rm", &format!("{}-build", self.name)]);
        let volumes = ["registry", "buildkitd"].map(|part| format!("{}-{part}", self.name));
        let _ = self.docker.call(&["volume", "rm", "-f", &volumes[0], &volumes[1]]);
        let mut arguments = vec!["rmi", "-f"];
        arguments.extend(self.images.iter().map(String::as_str));
        let _ = self.docker.call(&arguments);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn free_addresses() -> anyhow::Result<[SocketAddr; 4]> {
    let listeners: Vec<TcpListener> =
        (0..4).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); 4];
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        *address = listener.local_addr()?;
    }
    Ok(addresses)
}
