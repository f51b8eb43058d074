//! The platform's keys in a cluster, when some of them are lost.

use std::path::PathBuf;

use panda_e2e::Cluster;
use panda_e2e::ground::binary;
use panda_test_support::process::{Finished, Program};
use panda_test_support::skip::skip;

/// An installation's Secrets, in a namespace of their own.
struct Keys {
    cluster: Cluster,
    namespace: String,
    kubeconfig: String,
    folder: tempfile::TempDir,
}

impl Keys {
    fn place() -> Option<Self> {
        let Some(cluster) = Cluster::of_the_run() else {
            skip("kubernetes-runtime", "KUBECONFIG names no cluster with an ingress");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let namespace = format!("keys-{}", std::process::id());
        cluster.kubectl(&["create", "namespace", &namespace]).expect("a namespace is made");
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::copy(&cluster.kubeconfig, &kubeconfig).expect("copy the kubeconfig");
        let kubeconfig = kubeconfig.display().to_string();
        let own =
            ["config", "set-context", "--current", "--namespace", &namespace, "--kubeconfig", &kubeconfig];
        cluster.kubectl(&own).expect("the namespace is chosen");
        Some(Self { cluster, namespace, kubeconfig, folder })
    }

    /// What every pod of the platform does when it starts; the pod's memory is empty.
    async fn start(&self) -> anyhow::Result<Finished> {
        let data = self.folder.path().join("data");
        let _ = std::fs::remove_dir_all(&data);
        Program::new(binary("panda-server")?)
            .args(["--data-dir".into(), data])
            .args(["cluster-keys", "--secret", "panda-keys", "--registry-trust", "panda-registry-trust"])
            .args([
                "--builder",
                &format!("{}/panda-builder-tls", self.namespace),
                "--builder-host",
                "builder",
            ])
            .env("HOME", self.folder.path())
            .env("PANDA_RUNTIME__KIND", "kubernetes")
            .env("PANDA_KUBERNETES__KUBECONFIG", &self.kubeconfig)
            .run(std::time::Duration::from_mins(1))
            .await
    }

    fn remove(&self, secrets: &[&str]) -> anyhow::Result<()> {
        let delete = ["-n", &self.namespace, "delete", "secret"];
        self.cluster.kubectl(&[&delete, secrets].concat()).map(drop)
    }

    /// Copies all of them into a file, without what is that cluster's own.
    fn copy(&self) -> anyhow::Result<PathBuf> {
        let found = self.cluster.kubectl(&["-n", &self.namespace, "get", "secrets", "-o", "json"])?;
        let mut found: serde_json::Value = serde_json::from_str(&found)?;
        for secret in found["items"].as_array_mut().into_iter().flatten() {
            secret["metadata"] = serde_json::json!({ "name": secret["metadata"]["name"] });
        }
        let path = self.folder.path().join("copy.json");
        std::fs::write(&path, found.to_string())?;
        Ok(path)
    }

    fn names(&self) -> anyhow::Result<String> {
        self.cluster.kubectl(&["-n", &self.namespace, "get", "secrets", "-o", "name"])
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = self.cluster.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
    }
}

#[tokio::test]
async fn lost_keys_are_not_made_anew_while_anything_is_left_that_was_made_from_them() -> anyhow::Result<()> {
    let Some(keys) = Keys::place() else { return Ok(()) };
    for _ in 0..2 {
        let done = keys.start().await?;
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    // Either of the others is enough to know that there were keys.
    for (left, gone) in
        [("panda-registry-trust", "panda-builder-tls"), ("panda-builder-tls", "panda-registry-trust")]
    {
        let copy = keys.copy()?;
        keys.remove(&["panda-keys", gone])?;
        let refused = keys.start().await?;
        assert_ne!(refused.code, Some(0), "{refused:?}");
        for words in ["the keys of this installation are gone", "`panda-keys`", left, "put the Secret back"] {
            assert!(refused.stderr.contains(words), "{words} isn't said: {}", refused.stderr);
        }
        assert!(!keys.names()?.contains("panda-keys"), "none was made");
        // As the operator does: from a copy.
        keys.remove(&[left])?;
        keys.cluster.kubectl(&["-n", &keys.namespace, "create", "-f", &copy.display().to_string()])?;
        let done = keys.start().await?;
        assert_eq!(done.code, Some(0), "with the keys back: {done:?}");
    }
    // Nothing is left of them: this is a new installation.
    keys.remove(&["panda-keys", "panda-registry-trust", "panda-builder-tls"])?;
    assert_eq!(keys.start().await?.code, Some(0));
    assert!(keys.names()?.contains("panda-keys"));
    Ok(())
}
