//! The program that asks a key management service. The only place in this crate that starts a process.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use zeroize::Zeroizing;

/// How long the service may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Hands `wrapped` to the program and returns what it prints.
pub(crate) async fn unwrap_key(command: &[String], wrapped: &[u8]) -> Result<Zeroizing<String>, String> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("no program is named".to_owned());
    };
    #[expect(clippy::disallowed_methods, reason = "argv from the operator's own configuration, no shell")]
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("start `{program}`: {e}"))?;
    let run = async {
        let mut stdin = child.stdin.take().expect("standard input was asked for above");
        // A program that ends without reading tells more by its exit than by the broken pipe.
        let _ = stdin.write_all(wrapped).await;
        drop(stdin);
        child.wait_with_output().await.map_err(|e| format!("wait for `{program}`: {e}"))
    };
    let output = tokio::time::timeout(DEADLINE, run)
        .await
        .map_err(|_| format!("`{program}` gave no answer within {} s", DEADLINE.as_secs()))??;
    if !output.status.success() {
        return Err(format!("`{program}` ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map(Zeroizing::new).map_err(|_| format!("`{program}` printed no text"))
}
