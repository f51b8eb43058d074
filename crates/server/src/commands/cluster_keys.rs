//! The platform's keys in a cluster: made once, kept in one Secret, written into memory when a pod starts. They stand in no
//! manifest, no chart's values and no volume.

mod made;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use clap::Args;
use panda_domain::clock::Clock;
use panda_kubernetes::{Keepsakes, Parts};
use panda_registry_token::RegistryKey;

use super::{Failure, Outcome, say};
use crate::config::Config;
use crate::wiring::cluster_connection;
use made::{BUILDER_CA, BUILDER_CERT, BUILDER_KEY, REGISTRY_KEY};

/// The parts that the server reads as files below `keys`.
const FILES: [&str; 7] = [
    "master.key",
    REGISTRY_KEY,
    "local-ca.key",
    "local-ca.crt",
    BUILDER_CA,
    "builder-client.crt",
    "builder-client.key",
];

/// What helps when the cluster refuses.
const RIGHTS: &str = "apply the platform's Role again (`helm upgrade`), and see that the API server answers";

/// Where the keys lie.
#[derive(Debug, Args)]
pub(crate) struct ClusterKeysArgs {
    /// The Secret with all keys, in the pod's own namespace.
    #[arg(long, default_value = "panda-keys", value_name = "NAME")]
    secret: String,
    /// The Secret beside it with the certificate that the registry knows our tokens by
    #[arg(long, value_name = "NAME")]
    registry_trust: Option<String>,
    /// The Secret with the builder's certificate, in the builder's namespace
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "builder_host")]
    builder: Option<String>,
    /// The name by which the server reaches the builder; its certificate is for it
    #[arg(long, value_name = "HOST")]
    builder_host: Option<String>,
}

/// Makes what isn't there, and writes the files. Every pod of the platform does so when it starts; all get the same.
pub(super) async fn run(config: &Config, args: &ClusterKeysArgs) -> Outcome {
    let connection = cluster_connection(config);
    let keepsakes = Keepsakes::connect(&connection).await.map_err(|error| Failure::of(error, RIGHTS))?;
    let namespace = keepsakes.own_namespace().to_owned();
    let keys = all_keys(config, args, &keepsakes, &namespace).await?;
    let whose = format!("Secret `{}` in namespace `{namespace}`", args.secret);
    write(&config.data_dir.join("keys"), &keys, &whose)?;
    if let Some(name) = &args.registry_trust {
        let trust = registry_trust(config)?;
        hand_over(&keepsakes, &namespace, name, &trust).await?;
    }
    if let Some(place) = &args.builder {
        let (namespace, name) = place.split_once('/').ok_or_else(|| {
            Failure::new(format!("`{place}` names no namespace"), "write --builder NAMESPACE/NAME")
        })?;
        let mut builder = Parts::new();
        for (part, file) in [(BUILDER_CA, "ca.crt"), (BUILDER_CERT, "tls.crt"), (BUILDER_KEY, "tls.key")] {
            builder.insert(file.to_owned(), part_of(&keys, part, &whose)?.clone());
        }
        hand_over(&keepsakes, namespace, name, &builder).await?;
    }
    Ok(())
}

/// Returns all keys: those that are kept, else new ones, or those of whoever was quicker.
async fn all_keys(
    config: &Config,
    args: &ClusterKeysArgs,
    keepsakes: &Keepsakes,
    namespace: &str,
) -> Outcome<Parts> {
    let read = keepsakes.read(namespace, &args.secret).await;
    if let Some(keys) = read.map_err(|error| Failure::of(error, RIGHTS))? {
        return Ok(keys);
    }
    refuse_new_keys(args, keepsakes, namespace).await?;
    let new = made::keys(config, args.builder_host.as_deref().unwrap_or("panda-builder"))?;
    let kept = keepsakes.keep(namespace, &args.secret, &new).await;
    let kept = kept.map_err(|error| Failure::of(error, RIGHTS))?;
    if kept == new {
        say(&format!("keys are made: Secret `{}` in namespace `{namespace}`", args.secret));
    }
    Ok(kept)
}

/// What was made from the keys is still there, so the keys were, and the state is sealed with them: new ones would open nothing (P9).
async fn refuse_new_keys(args: &ClusterKeysArgs, keepsakes: &Keepsakes, namespace: &str) -> Outcome {
    let trust = args.registry_trust.iter().map(|name| (namespace, name.as_str()));
    let builder = args.builder.iter().filter_map(|place| place.split_once('/'));
    for (namespace, name) in trust.chain(builder) {
        let read = keepsakes.read(namespace, name).await;
        if read.map_err(|error| Failure::of(error, RIGHTS))?.is_some() {
            let cause = format!(
                "the keys of this installation are gone: there is no Secret `{}`, and `{name}` in namespace `{namespace}` was made from them",
                args.secret
            );
            let fix = "put the Secret back from your copy (docs/kubernetes.md, \"Keys\"); new keys open nothing of what is kept. Only \
                       if nothing has to be kept: remove the other Secret and the state as well";
            return Err(Failure::new(cause, fix));
        }
    }
    Ok(())
}

/// Gives another pod its part. One that doesn't fit the keys was made by those of another installation.
async fn hand_over(keepsakes: &Keepsakes, namespace: &str, name: &str, parts: &Parts) -> Outcome {
    let kept = match keepsakes.read(namespace, name).await {
        Ok(Some(kept)) => kept,
        Ok(None) => {
            keepsakes.keep(namespace, name, parts).await.map_err(|error| Failure::of(error, RIGHTS))?
        }
        Err(error) => return Err(Failure::of(error, RIGHTS)),
    };
    if kept == *parts {
        return Ok(());
    }
    Err(Failure::new(
        format!("Secret `{name}` in namespace `{namespace}` was made from other keys than ours"),
        format!("if nobody else uses it: kubectl -n {namespace} delete secret {name}, and restart its pod"),
    ))
}

/// The registry gets a certificate, which is no secret.
fn registry_trust(config: &Config) -> Outcome<Parts> {
    let file = config.data_dir.join("keys").join(REGISTRY_KEY);
    let key = RegistryKey::load(&file, Clock::system());
    let key = key.map_err(|error| Failure::of(error, "put the right key back into the Secret"))?;
    let key = key.ok_or_else(|| Failure::new("the registry's key isn't there", "this is a bug"))?;
    Ok(BTreeMap::from([("registry.crt".to_owned(), key.certificate_pem().as_bytes().to_vec())]))
}

fn part_of<'a>(keys: &'a Parts, part: &str, whose: &str) -> Outcome<&'a Vec<u8>> {
    keys.get(part).filter(|bytes| !bytes.is_empty()).ok_or_else(|| {
        let fix =
            "put it back from your copy of the Secret; without one, its other parts are of no use either";
        Failure::new(format!("{whose} has no `{part}`"), fix)
    })
}

/// Writes the files that the server reads, for its eyes only. A file that is there is replaced by the same.
fn write(folder: &Path, keys: &Parts, whose: &str) -> Outcome {
    for name in FILES {
        let bytes = part_of(keys, name, whose)?;
        let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(folder)?;
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            std::fs::rename(&new, &path)
        };
        write().map_err(|error| {
            let cause = format!("write `{}`: {error}", path.display());
            Failure::new(cause, "mount an emptyDir in memory there, writable for the pod's user")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn config(folder: &Path) -> Config {
        Config::load(None, None, Some(folder.to_owned())).unwrap()
    }

    #[test]
    fn keys_that_are_made_can_be_used_after_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let keys = made::keys(&config, "panda-builder.panda-build.svc").unwrap();
        write(&folder.path().join("keys"), &keys, "Secret").unwrap();
        for file in FILES {
            let mode = std::fs::metadata(folder.path().join("keys").join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        let trust = registry_trust(&config).unwrap();
        assert!(String::from_utf8_lossy(&trust["registry.crt"]).contains("BEGIN CERTIFICATE"));
        assert!(!String::from_utf8_lossy(&trust["registry.crt"]).contains("PRIVATE KEY"));
    }

    #[test]
    fn a_secret_that_lacks_a_part_stops_the_start_and_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut keys = made::keys(&config(folder.path()), "builder").unwrap();
        keys.remove("master.key");
        let failure =
            write(&folder.path().join("keys"), &keys, "Secret `panda-keys`").unwrap_err().to_string();
        assert!(failure.contains("Secret `panda-keys` has no `master.key`"), "{failure}");
    }
}
