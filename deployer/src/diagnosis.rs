//! Why instances don't get ready, in words: a code, the cause in a line, the fix.

use panda_domain::failure::{Failure, FailureCode};
use panda_domain::formation::Size;
use panda_domain::instance::InstanceState;
use panda_domain::release::ProcessSpec;

use crate::plan::Trouble;
use crate::runtime::{ObservedInstance, TaskStatus};

/// Explains trouble with an instance of a process.
pub fn of_instance(trouble: &Trouble, spec: Option<&ProcessSpec>, size: Size) -> Failure {
    let process = &trouble.process;
    let Some(instance) = &trouble.instance else {
        return Failure::new(
            FailureCode::P204,
            format!("no instance of `{process}` could be started"),
            "run `panda doctor`",
        );
    };
    if let Some(reason) = &instance.waiting {
        let fix = "check the image's name, that it exists for this machine's architecture, and that the registry can be reached";
        return Failure::new(FailureCode::P207, format!("`{process}` can't start: {reason}"), fix);
    }
    if let Some(reason) = &instance.held_up {
        let fix = "`panda doctor` tells what the runtime lacks; then deploy again";
        return Failure::new(FailureCode::P501, format!("`{process}` didn't start in time: {reason}"), fix);
    }
    if instance.state == InstanceState::Oom || instance.last_exit.as_ref().is_some_and(|e| e.oom) {
        return out_of_memory(process.as_str(), instance, size);
    }
    if let Some(exit) = &instance.last_exit
        && (instance.restarts > 0 || instance.state == InstanceState::Crashing)
    {
        return exited(process.as_str(), exit.code, instance.restarts);
    }
    not_ready(process.as_str(), instance, spec)
}

fn out_of_memory(process: &str, instance: &ObservedInstance, size: Size) -> Failure {
    let limit = mebibytes(size.memory_bytes);
    let peak = instance.memory_peak_bytes.map(|b| format!(", peak {}", mebibytes(b))).unwrap_or_default();
    let cause = format!("`{process}` was killed for using more memory than its limit ({limit}{peak})");
    let double = mebibytes(size.memory_bytes * 2).replace(" MiB", "Mi");
    Failure::new(FailureCode::P206, cause, format!("give it more: `panda scale {process} --memory {double}`"))
}

fn exited(process: &str, code: i64, restarts: u32) -> Failure {
    let how = match code {
        127 => "its command was not found in the image (exit code 127)".to_owned(),
        126 => "its command can't be executed (exit code 126)".to_owned(),
        // The engine tells a limit that was passed; this may have been the machine's.
        137 => "it was killed (signal 9), as the kernel does when the machine runs out of memory".to_owned(),
        129..=165 => format!("it was ended by signal {}", code - 128),
        _ => format!("it exited with code {code}"),
    };
    let times = if restarts > 1 { format!(", {restarts} times in a row") } else { String::new() };
    Failure::new(
        FailureCode::P208,
        format!("`{process}` doesn't stay up: {how}{times}"),
        "read its last lines: `panda logs`",
    )
}

fn not_ready(process: &str, instance: &ObservedInstance, spec: Option<&ProcessSpec>) -> Failure {
    let port = spec.and_then(|s| s.port);
    let path = spec.and_then(|s| s.health.path.as_deref());
    let Some(port) = port else {
        return Failure::new(
            FailureCode::P208,
            format!("`{process}` didn't stay up"),
            "read its last lines: `panda logs`",
        );
    };
    let on_port = instance.listening.iter().find(|(p, _)| *p == port);
    if let Some((_, true)) = on_port {
        let cause = format!(
            "`{process}` listens on port {port} of localhost only, so nothing outside its container reaches it"
        );
        return Failure::new(FailureCode::P202, cause, "listen on 0.0.0.0 (the variable HOST says so)");
    }
    if on_port.is_none()
        && let Some((other, local)) = instance.listening.first()
    {
        let where_ = if *local { " of localhost" } else { "" };
        let cause = format!("`{process}` listens on port {other}{where_}, but {port} was expected");
        return Failure::new(
            FailureCode::P203,
            cause,
            format!("listen on the port in the variable PORT, or deploy with `--port {other}`"),
        );
    }
    if let (Some(_), Some(path)) = (on_port, path) {
        let answer = instance.probe.as_deref().unwrap_or("no answer in time");
        let cause = format!("the health check of `{process}` at {path} fails: {answer}");
        return Failure::new(
            FailureCode::P205,
            cause,
            "make the path answer with 200 to 399, or change `processes.web.health.path`",
        );
    }
    let startup = spec.map_or(120, |s| s.health.startup_s);
    let cause = format!("`{process}` listens on no port; {port} was expected within {startup} s");
    Failure::new(
        FailureCode::P204,
        cause,
        "start the server on the port in the variable PORT; read its last lines: `panda logs`",
    )
}

/// Explains a release command that didn't succeed.
pub fn of_release_command(command: &[String], status: &TaskStatus) -> Failure {
    let shown = command.join(" ");
    let how = match status {
        TaskStatus::Ended { timed_out: true, .. } => "didn't end in time and was killed".to_owned(),
        TaskStatus::Ended { oom: true, .. } => "was killed for its use of memory".to_owned(),
        TaskStatus::Ended { code, .. } => format!("exited with code {code}"),
        TaskStatus::Absent | TaskStatus::Running => "didn't end".to_owned(),
    };
    let fix = "read its output above, mend it, deploy again; the release before serves on";
    Failure::new(FailureCode::P301, format!("the release command `{shown}` {how}"), fix)
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
