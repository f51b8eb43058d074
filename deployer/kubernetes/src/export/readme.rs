//! What whoever applies an export has to know.

use std::fmt::Write as _;

use panda_deployer::export::{ExportedApp, Readme};

use super::kustomization::SECRETS;
use super::{RELEASE_JOB, data, named};

/// Writes the README beside plain objects.
pub(super) fn yaml(app: &ExportedApp) -> String {
    let name = &app.name;
    let mut steps = format!("    kubectl create namespace {name}\n");
    if !app.holes().is_empty() {
        let secret = data::secret_name(app);
        let _ = write!(steps, "    kubectl -n {name} create secret generic {secret}");
        for hole in app.holes() {
            let _ = write!(steps, " \\\n      --from-literal={hole}='…'");
        }
        steps.push('\n');
    }
    steps.push_str(&release(app));
    let _ =
        writeln!(steps, "    kubectl -n {name} apply -f .\n    kubectl -n {name} rollout status deployment");
    let holes = "For a value of several lines, or one that must not stand in your shell's history: put it into a file and say \
                 `--from-file=NAME=FILE` in place of `--from-literal`. Pods wait until every one of them is there; `kubectl \
                 describe pod` names the first that is missing.";
    common(app, "objects for `kubectl apply`", &steps, holes)
        .image(app, &format!("change `image:` in every `deployment-*.yaml`{}", and_in_job(app)))
        .text()
}

/// Writes the README beside a kustomization.
pub(super) fn kustomize(app: &ExportedApp) -> String {
    let name = &app.name;
    let mut steps = format!("    kubectl create namespace {name}\n");
    if !app.holes().is_empty() {
        let _ = writeln!(steps, "    mkdir -p -m 700 {SECRETS}");
        for hole in app.holes() {
            let _ = writeln!(steps, "    printf %s '…' > {SECRETS}/{hole}");
        }
    }
    let release = release(app);
    let apply = format!("    kubectl -n {name} apply -k .\n");
    steps.push_str(&apply);
    steps.push_str(&release);
    let _ = writeln!(steps, "    kubectl -n {name} rollout status deployment");
    let holes = format!(
        "Each file in `{SECRETS}/` is one value, byte for byte: `printf %s` adds no line break, an editor may. Git is told to leave \
         that folder alone. Without one of the files nothing is applied, and the error names it."
    );
    common(app, "a kustomization for `kubectl apply -k`", &steps, &holes)
        .image(
            app,
            &format!(
                "change `newName` and `digest` under `images` in `kustomization.yaml`{}",
                and_in_job(app)
            ),
        )
        .text()
}

/// The commands that run the release command and wait for its end.
fn release(app: &ExportedApp) -> String {
    if app.release_command.is_none() {
        return String::new();
    }
    let (name, job) = (&app.name, named(app, "release"));
    format!(
        "    kubectl -n {name} apply -f configmap-env.yaml{files} -f {RELEASE_JOB}\n    \
         kubectl -n {name} wait --for=condition=complete --timeout=10m job/{job}\n",
        files = if data::files(app).is_some() { " -f configmap-files.yaml" } else { "" }
    )
}

fn and_in_job(app: &ExportedApp) -> String {
    app.release_command.as_ref().map(|_| format!(" and `image:` in `{RELEASE_JOB}`")).unwrap_or_default()
}

fn common(app: &ExportedApp, what: &str, steps: &str, holes: &str) -> Readme {
    let mut readme = Readme::of(app, what).section("Start it", steps);
    let names = app.holes();
    if !names.is_empty() {
        let list = names.iter().map(|name| format!("- `{name}`\n")).collect::<Vec<_>>().concat();
        let secret = data::secret_name(app);
        let text = format!(
            "No value of a secret is in these files. The secret `{secret}` needs:\n\n{list}\n{holes}"
        );
        readme = readme.section("Secrets to fill in", &text);
    }
    if app.release_command.is_some() {
        let text = format!(
            "`{RELEASE_JOB}` runs what Panda ran once before each new release, such as migrations. Before the next release: `kubectl \
             -n {name} delete job {job}`, then apply it anew.",
            name = app.name,
            job = named(app, "release")
        );
        readme = readme.section("The release command", &text);
    }
    if let Some((_, port)) = app.web() {
        readme = readme.section("Hosts and certificates", &hosts(app, port));
    }
    if !app.ports.is_empty() {
        let text = format!(
            "`service-*-tcp-*.yaml` publish what isn't HTTP, each at a balancer of the cluster: `kubectl -n {} get services` tells \
             its address. Where there is none, write `type: NodePort`, and reach it at the port that the same command shows, on any \
             node.",
            app.name
        );
        readme = readme.section("TCP ports", &text);
    }
    if app.own_registry {
        let text = format!(
            "If your registry asks for a login, pods use the pull secret `{secret}`, if it is there:\n\n    \
             kubectl -n {name} create secret docker-registry {secret} \\\n      \
             --docker-server=REGISTRY --docker-username=… --docker-password=…",
            name = app.name,
            secret = named(app, "registry")
        );
        readme = readme.section("Login to a registry", &text);
    }
    readme
        .neighbours(app, "export them into the same namespace, where they have the same names")
        .variables()
        .section(
            "What isn't here",
            "Network policies, quotas and Pod Security are a namespace's, not an app's. Each container sets its own limits, runs \
             without privileges and gets no token of the cluster.",
        )
}

fn hosts(app: &ExportedApp, port: u16) -> String {
    let list =
        app.hosts.iter().map(|(host, path)| format!("- `{host}{path}`\n")).collect::<Vec<_>>().concat();
    let (name, tls) = (&app.name, named(app, "tls"));
    format!(
        "`ingress.yaml` leads these to the app, by the cluster's default ingress class (set `ingressClassName` for another):\n\n\
         {list}\n\
         Its certificate lies in the secret `{tls}`. With cert-manager: `kubectl -n {name} annotate ingress {name} \
         cert-manager.io/cluster-issuer=ISSUER`; with one of your own: `kubectl -n {name} create secret tls {tls} --cert=… \
         --key=…`. Then let DNS lead there. Hosts that Panda gave (below its own domain) lead to that Panda: write yours instead. Two \
         Ingresses of one host on one cluster share its requests, so leave this file out where Panda still serves it.\n\n\
         To look before DNS is changed: `kubectl -n {name} port-forward service/{name} 8080:{port}`."
    )
}
