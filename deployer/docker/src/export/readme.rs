//! What whoever starts an exported app has to know.

use panda_deployer::export::{ExportedApp, Readme};

use super::compose::RELEASE;
use super::published;

/// Writes the README beside a compose file.
pub(super) fn text(app: &ExportedApp) -> String {
    let holes = app.holes();
    let mut readme = Readme::of(app, "a compose file").section("Start it", &steps(app, !holes.is_empty()));
    if !holes.is_empty() {
        let list = holes.iter().map(|name| format!("- `{name}`\n")).collect::<Vec<_>>().concat();
        let text = format!(
            "No value of a secret is in these files. `.env`, which Git is told to leave alone, needs:\n\n{list}\n\
             One line each: `NAME='value'`. In single quotes nothing in a value is changed, and it may have several lines. Without \
             one of them nothing starts, and the error names it. A variable of that name in your shell wins over `.env`: unset it \
             first, or you start the app with that value."
        );
        readme = readme.section("Secrets to fill in", &text);
    }
    if app.release_command.is_some() {
        let text = format!(
            "`docker compose run --rm {RELEASE}` runs what Panda ran once before each new release, such as migrations."
        );
        readme = readme.section("The release command", &text);
    }
    if let Some((first, last)) = published(app) {
        readme = readme.section("Hosts, certificates and health", &hosts(app, first, last));
    }
    if !app.ports.is_empty() {
        let list = app.ports.iter().map(|port| {
            format!("- `{}`, port {}, from port {} of the host on\n", port.process, port.port, port.published)
        });
        let text = format!(
            "These speak what they speak, without TLS and without anything in between:\n\n{}\nA port of the host leads to one \
             instance, the next one to the next. A balancer in front of them is yours to choose.",
            list.collect::<String>()
        );
        readme = readme.section("TCP ports", &text);
    }
    readme
        .image(app, "change `image:` in `compose.yaml`")
        .neighbours(app, "export them too and let both use one network, where they have the same names")
        .variables()
        .section(
            "What differs",
            "Compose starts a new version after it has stopped the old one, restarts what ends but not what hangs, and gives a \
             service no more cores than the machine has: lower `cpus` if it refuses to start.",
        )
        .text()
}

fn steps(app: &ExportedApp, secrets: bool) -> String {
    let mut steps = String::from("With Docker Compose 2.23.1 or later, in this folder:\n\n");
    if secrets {
        steps.push_str("    cp .env.example .env && chmod 600 .env     # then fill it in\n");
    }
    if app.release_command.is_some() {
        steps.push_str("    docker compose run --rm ");
        steps.push_str(RELEASE);
        steps.push('\n');
    }
    steps.push_str("    docker compose up -d --wait\n");
    steps
}

fn hosts(app: &ExportedApp, first: u16, last: u16) -> String {
    let list =
        app.hosts.iter().map(|(host, path)| format!("- `{host}{path}`\n")).collect::<Vec<_>>().concat();
    let answers = if first == last {
        format!(
            "The app answers on `http://127.0.0.1:{first}`; `PUBLISH=127.0.0.1:9000` in `.env` makes it another port."
        )
    } else {
        format!(
            "Its instances answer on `http://127.0.0.1`, ports {first} to {last}, one each; `PUBLISH=127.0.0.1:9000-{}` in `.env` \
             makes it others.",
            9000 + u32::from(last - first)
        )
    };
    let health = app.web().and_then(|(web, port)| Some((web.health.path.as_deref()?, port)));
    let health = health.map_or_else(String::new, |(path, port)| {
        format!(
            "\n\nPanda asked instances for `{path}` from outside, and so does Caddy. Docker could only ask from inside, by a program \
             of the image. If it has one: `healthcheck: {{test: [CMD, wget, -q, -O, /dev/null, \"http://127.0.0.1:{port}{path}\"]}}`."
        )
    });
    format!(
        "{answers} For its hosts\n\n{list}\n`Caddyfile` is all that Caddy needs: it gets the \
         certificates, redirects to HTTPS, and sends requests only to instances that are well. `caddy run` in this folder, on the \
         machine that DNS leads to. Hosts that Panda gave (below its own domain) lead to that Panda: write yours instead.{health}"
    )
}
